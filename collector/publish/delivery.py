"""The way of rows over one centre's connections: sent, answered, sent again, and freed when they may be."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from collector import confirmation
from collector.clock import Clock
from collector.errors import PayloadRefused, SpoolError, UplinkError, UplinkLost, UplinkRefused
from collector.mqtt import Message, MqttSession
from collector.mqtt.refusal import PACKET_TOO_LARGE
from collector.publish.backoff import Suspects
from collector.publish.feed import Feed, SpoolReader
from collector.publish.flight import Flight
from collector.types import Row

log = logging.getLogger(__name__)

#: Refused PUBACKs in a row, without one accepted, after which it is no matter of single rows.
MAX_DENIED = 8


@dataclass(frozen=True, slots=True)
class UplinkOptions:
    """One centre."""

    centre: str
    confirm: Literal["bridge", "broker"] = "bridge"
    confirm_timeout_s: float = 30.0
    window_rows: int = 64  #: published and not yet freed
    backlog_share: float = 0.5  #: of the sends, while live rows wait too


@dataclass(slots=True)
class Progress:
    """Rows since start unless said otherwise."""

    connects: int = 0  #: connections
    published: int = 0  #: sends, first and repeated
    resent: int = 0  #: not confirmed in time
    puback_ok: int = 0
    unheard: int = 0  #: PUBACKs that say "no matching subscribers"
    denied: int = 0  #: refused by a negative PUBACK and kept
    refused: int = 0  #: never acceptable to this broker, given up
    left: int = 0  #: passed over until a later pass
    confirmed: int = 0  #: freed at the spool
    bad_confirmations: int = 0  #: messages: not parsable, retained
    foreign_confirmations: int = 0  #: messages: of another spool, or of no row under way
    last_error: str = ""


class Delivery:
    """Rows from a spool to one centre. It lives as long as the uplink; connections come and go.

    `wake` is called when a turn may have something to do.
    """

    def __init__(
        self, options: UplinkOptions, spool: SpoolReader, topic_prefix: str, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self.progress = Progress()
        self.ack_topic = f"{topic_prefix}/ack/{options.centre}"
        self._options = options
        self._spool = spool
        self._prefix = topic_prefix
        self._clock = clock
        self._wake = wake
        self._flight = Flight(options.window_rows, options.confirm_timeout_s)
        self._feed = Feed(spool, options.centre, options.backlog_share)
        self._suspects = Suspects()
        self._done: set[int] = set()  # may be freed; a subset of the rows under way
        self._told: set[int] = set()  # of these, those that the spool is at work on
        self._lazily = False  # and takes its time
        self._denied = 0

    def begin(self) -> None:
        """A connection is made; nothing of an earlier one is under way."""
        self._denied = 0
        self._feed.begin()

    def committed(self, rows: Sequence[Row]) -> None:
        """`rows` are on disk now."""
        self._feed.committed(rows)
        self._wake()

    async def turn(self, session: MqttSession) -> None:
        """Send what may be sent now. Raises UplinkError when this connection should end."""
        now = self._clock.mono()
        if self._denied >= MAX_DENIED:
            raise UplinkRefused(f"{self.progress.last_error}; {self._denied} rows in a row")
        limit_s = max(self._options.confirm_timeout_s, 2.0 * session.options.keepalive_s)
        if self._flight.stalled(now, limit_s):
            raise UplinkLost(f"{session.options.url}: no PUBACK for {limit_s:g} s")
        self._free()
        try:
            await self._resend(session)
            self._feed.next_pass(now)
            while self._flight.has_room(session.window):
                row = await self._feed.take(self._unwanted)
                if row is None:
                    break
                self._publish(session, row)
        except SpoolError as error:
            self.progress.last_error = str(error)

    def end(self, session: MqttSession, error: UplinkError) -> None:
        """The connection ended: what is not freed will be sent again on the next one."""
        unacked = self._flight.unacked
        if session.disconnect_code == PACKET_TOO_LARGE and unacked:
            # One packet was above a limit that the broker kept to itself, so the largest is, whichever it was.
            self._give_up(max(unacked, key=lambda row: row.size).seq, error)
        elif len(unacked) == 1:
            self._suspects.alone_at_the_end(unacked[0].seq, self._clock.mono())
        self._flight.link_lost()
        self._feed.end()

    def snapshot(self) -> dict[str, Any]:
        """What is under way, and the counters."""
        flight = self._flight
        rtt_ms = round(1000 * flight.rtt_s, 3)
        return {"in_flight": len(flight), "pace": flight.pace, "rtt_ms": rtt_ms, **asdict(self.progress)}

    def _publish(self, session: MqttSession, row: Row) -> None:
        self._flight.sent(row.seq, len(row.payload), self._clock.mono())
        self.progress.published += 1
        future = session.publish(f"{self._prefix}/data/{row.category}", row.payload)
        future.add_done_callback(lambda puback: self._answered(row.seq, puback))

    def _answered(self, seq: int, puback: asyncio.Future[int]) -> None:
        """A PUBACK, or the reason why there is none."""
        error = puback.exception()
        if error is None:
            self._accepted(seq, puback.result())
        elif isinstance(error, PayloadRefused):
            self._give_up(seq, error)
        elif isinstance(error, UplinkRefused):
            self._denied += 1
            self.progress.denied += 1
            self.progress.last_error = str(error)
            self._leave(seq)
        # UplinkLost: the connection's end deals with all rows at once
        self._wake()

    def _accepted(self, seq: int, code: int) -> None:
        self._denied = 0
        self._suspects.acquit(seq)
        self._flight.pubacked(seq, self._clock.mono())
        self.progress.puback_ok += 1
        if code:
            self.progress.unheard += 1
        if self._options.confirm == "broker":
            self._finish(self._flight.confirmed([(seq, seq)], self._clock.mono()))

    def heard(self, message: Message) -> None:
        """A confirmation of the bridge, or what somebody would like us to take for one."""
        try:
            if message.topic != self.ack_topic or message.retain:
                raise ValueError("not a fresh message on our topic")
            spool_id, ranges = confirmation.decode(message.payload)
        except ValueError:
            self.progress.bad_confirmations += 1
            return
        seqs = self._flight.confirmed(ranges, self._clock.mono()) if spool_id == self._spool.spool_id else []
        if not seqs:
            self.progress.foreign_confirmations += 1
        self._finish(seqs)

    def _finish(self, seqs: list[int]) -> None:
        self._done.update(seqs)
        self._free()
        self._wake()

    def _free(self) -> None:
        """Tell the spool, one batch at a time; what it cannot write down now is told again in a later turn.

        A batch that takes its time is followed by another when room gets short: the spool writes down both at once.
        """
        lazily = self._flight.is_roomy
        seqs = sorted(self._done - self._told)
        if not seqs or (self._told and (lazily or not self._lazily)):
            return
        self._told.update(seqs)
        self._lazily = lazily
        freed = asyncio.wrap_future(self._spool.ack(self._options.centre, seqs, lazily=lazily))
        freed.add_done_callback(lambda result: self._freed(seqs, result))

    def _freed(self, seqs: list[int], result: asyncio.Future[int]) -> None:
        self._told.difference_update(seqs)
        error = asyncio.CancelledError() if result.cancelled() else result.exception()
        if error is None:
            self._done.difference_update(seqs)
            self._flight.remove(seqs)
            self.progress.confirmed += len(seqs)
            self._free()
        else:
            self.progress.last_error = f"spool: {error}"
        self._wake()

    async def _resend(self, session: MqttSession) -> None:
        """Rows whose confirmation is overdue. The bridge may write one twice; the database keeps one."""
        while self._flight.has_slot(session.window) and (seq := self._flight.overdue(self._clock.mono())) is not None:
            if self._flight.hopeless(seq):
                self._leave(seq)
                continue
            row = await self._feed.again(seq)
            if row is None:  # dropped by the spool's cap meanwhile
                self._flight.remove([seq])
            elif seq in self._flight.rows:  # not confirmed meanwhile
                self.progress.resent += 1
                self._publish(session, row)

    def _leave(self, seq: int) -> None:
        self._flight.remove([seq])
        self._feed.leave(self._clock.mono())
        self.progress.left += 1

    def _give_up(self, seq: int, error: Exception) -> None:
        """A row that this broker will never take: it is freed, so that it blocks nothing, and counted."""
        row = self._flight.rows.get(seq)
        if row is None:
            return
        first = self.progress.refused == 0
        text = "uplink %s: row %d of %d bytes is given up, other centres still get it: %s"
        log.log(logging.WARNING if first else logging.DEBUG, text, self._options.centre, seq, row.size, error)
        self.progress.refused += 1
        row.done = True
        self._finish([seq])

    def _unwanted(self, seq: int) -> bool:
        now = self._clock.mono()
        if self._suspects.held_back(seq, now):
            self._feed.leave(now)
            return True
        return seq in self._flight.rows
