"""Publish: from the spool to one centre's broker, for ever, and free a row only when it may be freed.

`confirm = "broker"` frees on PUBACK, and the promise ends there: a broker may lose what it has PUBACKed.
`confirm = "bridge"` frees when the bridge says that the row is in the database.
"""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from collector.clock import Clock
from collector.errors import PayloadRefused, UplinkError, UplinkLost, UplinkRefused
from collector.mqtt import Message, MqttOptions, MqttSession
from collector.publish.backoff import Backoff
from collector.publish.delivery import Delivery, UplinkOptions
from collector.publish.feed import SpoolReader
from collector.types import Row

log = logging.getLogger(__name__)

#: How often due dates are looked at when nothing happens, seconds.
TICK_S = 1.0
STATUS_S = 60.0


class Uplink:
    """Carries one spool to one centre. Everything happens in the event loop; the spool has its own thread."""

    def __init__(
        self,
        options: UplinkOptions,
        mqtt: MqttOptions,
        spool: SpoolReader,
        *,
        topic_prefix: str,
        status: Callable[[], dict[str, Any]],
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self._options = options
        self._spool = spool
        self._prefix = topic_prefix
        self._status = status
        self._clock = clock
        self._backoff = Backoff(rng or random.Random())
        # Nothing is left at the broker for us: what was not confirmed is sent again anyway.
        self._mqtt = replace(
            mqtt, clean_start=True, session_expiry_s=0, receive_maximum=options.window_rows, manual_ack=False
        )
        self._session: MqttSession | None = None
        self._wake = asyncio.Event()
        self._state = "connecting"
        self._since = clock.mono()
        self._status_at = 0.0
        self._delivery = Delivery(options, spool, topic_prefix, clock, self._wake.set)
        self._progress = self._delivery.progress

    async def run(self) -> None:
        """Connect, publish, connect again. Cancel it to end; `stop` then says goodbye."""
        while True:
            will = Message(f"{self._prefix}/status", self._status_text("offline", clean=False), retain=True)
            session = MqttSession(replace(self._mqtt, will=will), self._delivery.heard)
            try:
                await session.__aenter__()
                self._session = session
                await self._connected(session)
            except UplinkError as error:
                lasted_s = self._disconnected(session, error)
                await session.__aexit__(None, None, None)
                await self._pause(self._backoff.after(error, lasted_s))

    async def stop(self, deadline_s: float) -> None:
        """After `run` was cancelled: publish the retained offline status and disconnect, within the deadline."""
        session, self._session = self._session, None
        if session is None:
            return
        with contextlib.suppress(UplinkError, TimeoutError):
            async with asyncio.timeout(deadline_s):
                await session.publish(f"{self._prefix}/status", self._status_text("offline", clean=True), retain=True)
        await session.__aexit__(None, None, None)

    def committed(self, rows: Sequence[Row]) -> None:
        """`rows` are on disk now. Call in the loop's thread, in the order of the commits."""
        self._delivery.committed(rows)

    def snapshot(self) -> dict[str, Any]:
        """State and counters for the status file, as plain data."""
        return {
            "centre": self._options.centre,
            "broker": self._mqtt.url,
            "confirm": self._options.confirm,
            "state": self._state,
            "since_s": round(self._clock.mono() - self._since, 1),
            **self._delivery.snapshot(),
        }

    async def _connected(self, session: MqttSession) -> None:
        """Everything that happens on one connection. Leaves by UplinkError only."""
        if self._options.confirm == "bridge":
            await session.subscribe(self._delivery.ack_topic)
        self._progress.connects += 1
        self._status_at = self._clock.mono()
        self._delivery.begin()
        self._enter("connected")
        lost = asyncio.ensure_future(session.closed())
        lost.add_done_callback(self._ended)
        try:
            while not lost.done():
                self._wake.clear()
                if self._clock.mono() >= self._status_at:
                    self._status_at = self._clock.mono() + STATUS_S
                    self._say(session, self._status_text("online"))
                await self._delivery.turn(session)
                with contextlib.suppress(TimeoutError):  # not wait_for: before 3.12 it may swallow a cancellation
                    async with asyncio.timeout(TICK_S):
                        await self._wake.wait()
            lost.result()
        finally:
            lost.cancel()
        raise UplinkLost(f"{self._mqtt.url}: closed by us")

    def _ended(self, lost: asyncio.Future[None]) -> None:
        if not lost.cancelled():
            lost.exception()  # retrieved, also when the connection is left for another reason
        self._wake.set()

    def _disconnected(self, session: MqttSession, error: UplinkError) -> float:
        """Settle what was under way; returns how long the connection had lasted, 0 if there was none."""
        now = self._clock.mono()
        self._delivery.end(session, error)
        self._session = None
        was_connected = self._state == "connected"
        lasted_s = now - self._since if was_connected else 0.0
        news = was_connected or str(error) != self._progress.last_error
        log.log(logging.WARNING if news else logging.DEBUG, "uplink %s: %s", self._options.centre, error)
        self._progress.last_error = str(error)
        self._enter("refused" if isinstance(error, UplinkRefused) else "connecting")
        return lasted_s

    def _enter(self, state: str) -> None:
        now = self._clock.mono()
        if state == "connected":
            log.info("uplink %s: connected to %s after %.1f s", self._options.centre, self._mqtt.url, now - self._since)
        if state != self._state:
            self._state, self._since = state, now

    async def _pause(self, seconds: float) -> None:
        due = self._clock.mono() + seconds
        while (left := due - self._clock.mono()) > 0:
            await asyncio.sleep(min(TICK_S, left))

    def _say(self, session: MqttSession, text: bytes) -> None:
        said = session.publish(f"{self._prefix}/status", text, retain=True)
        said.add_done_callback(self._said)

    def _said(self, puback: asyncio.Future[int]) -> None:
        error = puback.exception()
        if isinstance(error, PayloadRefused | UplinkRefused):
            self._progress.last_error = str(error)

    def _status_text(self, state: str, *, clean: bool | None = None) -> bytes:
        body = {**self._status(), "state": state, "spool": self._spool.spool_id, "seq": self._spool.next_seq - 1}
        if clean is not None:
            body["clean"] = clean
        return json.dumps(body, ensure_ascii=False).encode()
