"""The rows an uplink has published and not yet seen freed: how many may there be, and which must go again.

Bookkeeping only, no input or output. Two answers are awaited for each row: the broker's PUBACK, and what frees the
row, which is that same PUBACK or the bridge's confirmation.
"""

from collections.abc import Iterable
from dataclasses import dataclass

#: A PUBACK that takes longer than this means a queue in front of us: fewer rows at once, so that live data passes.
SLOW_RTT_S = 2.0
#: Payload bytes that may wait for a PUBACK, in memory and in the socket, whatever the window is.
MAX_BYTES = 8 << 20
#: The longest a silent bridge waits for its next probe.
MAX_PROBE_S = 600.0
#: A row confirmed in none of so many sends, while later ones are, is left for the next pass.
MAX_SENDS = 4


@dataclass(slots=True)
class Sent:
    """One row under way."""

    seq: int
    size: int
    at: float  #: monotonic seconds of the last send
    sends: int = 1
    pubacked: bool = False
    done: bool = False  #: may be freed; stays here until the spool has it in its books


class Flight:
    """At most `window_rows` rows; `timeout_s` is how long a confirmation may take. Times are monotonic seconds."""

    def __init__(self, window_rows: int, timeout_s: float) -> None:
        self.rows: dict[int, Sent] = {}
        self.pace = 1  #: rows that may wait for a PUBACK at once; grows while the link is quick
        self.rtt_s = 0.0
        self._window_rows = window_rows
        self._timeout_s = timeout_s
        self._unacked = 0
        self._unacked_bytes = 0
        self._heard_at = float("-inf")
        self._puback_at = float("-inf")
        self._probe_at: float | None = None
        self._probe_s = timeout_s

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def unacked(self) -> list[Sent]:
        """Rows without a PUBACK."""
        return [row for row in self.rows.values() if not row.pubacked]

    @property
    def is_roomy(self) -> bool:
        """Whether at least half of the window is free: what may be freed need not hurry."""
        return 2 * len(self.rows) <= self._window_rows

    def has_slot(self, broker_window: int) -> bool:
        """Whether one more PUBLISH may go out."""
        return self._unacked < min(self.pace, broker_window) and self._unacked_bytes < MAX_BYTES

    def has_room(self, broker_window: int) -> bool:
        """Whether one more row may be taken under way."""
        return len(self.rows) < self._window_rows and self.has_slot(broker_window)

    def sent(self, seq: int, size: int, now: float) -> None:
        """A row went out, for the first time or again."""
        row = self.rows.get(seq)
        if row is None:
            self.rows[seq] = Sent(seq, size, now)
        else:
            row.at, row.size, row.sends, row.pubacked = now, size, row.sends + 1, False
        self._unacked += 1
        self._unacked_bytes += size

    def pubacked(self, seq: int, now: float) -> None:
        """The broker has it."""
        row = self.rows.get(seq)
        if row is None or row.pubacked:
            return
        row.pubacked = True
        self._forget_unacked(row)
        self._puback_at = now
        rtt = now - row.at
        self.rtt_s = rtt if self.rtt_s == 0.0 else 0.875 * self.rtt_s + 0.125 * rtt  # as TCP does (RFC 6298)
        self.pace = min(self.pace + 1, self._window_rows) if rtt < SLOW_RTT_S else max(1, self.pace // 2)

    def confirmed(self, ranges: Iterable[tuple[int, int]], now: float) -> list[int]:
        """Rows under way inside `ranges` that were not done before; they are now."""
        inside = list(ranges)
        waiting = [row for row in self.rows.values() if not row.done]
        fresh = [row for row in waiting if any(first <= row.seq <= last for first, last in inside)]
        for row in fresh:
            row.done = True
        if fresh:
            if self._probe_at is not None:  # the bridge is back: what it finds queued counts from now
                for row in waiting:
                    row.at, row.sends = now, 1
            self._heard_at, self._probe_at, self._probe_s = now, None, self._timeout_s
        return [row.seq for row in fresh]

    def overdue(self, now: float) -> int | None:
        """The row to send again, if any: PUBACKed, not confirmed in time.

        While the bridge confirms others the row is lost and goes at once. When nothing at all is heard, more copies
        would only fill the broker: one row is sent as a probe, at growing intervals.
        """
        late = [r for r in self.rows.values() if r.pubacked and not r.done and now - r.at >= self._timeout_s]
        if not late:
            return None
        for row in late:
            if self._heard_at >= row.at:
                return row.seq
        if self._probe_at is None:
            self._probe_at = now
        if now < self._probe_at:
            return None
        self._probe_at = now + self._probe_s
        self._probe_s = min(2 * self._probe_s, MAX_PROBE_S)
        return min(late, key=lambda row: row.at).seq

    def hopeless(self, seq: int) -> bool:
        """Whether something on the way swallows this row: sent MAX_SENDS times while others got through."""
        row = self.rows[seq]
        return row.sends >= MAX_SENDS and self._heard_at >= row.at

    def stalled(self, now: float, limit_s: float) -> bool:
        """Whether the broker owes PUBACKs and has given none for `limit_s`."""
        unacked = self.unacked
        return bool(unacked) and now - max(self._puback_at, min(row.at for row in unacked)) >= limit_s

    def remove(self, seqs: Iterable[int]) -> None:
        """Rows that are freed, refused or left behind."""
        for seq in seqs:
            row = self.rows.pop(seq, None)
            if row is not None and not row.pubacked:
                self._forget_unacked(row)

    def link_lost(self) -> None:
        """Nothing is under way any more but rows that may be freed; the next connection begins gently."""
        self.rows = {seq: row for seq, row in self.rows.items() if row.done}
        for row in self.rows.values():
            row.pubacked = True
        self._unacked = self._unacked_bytes = 0
        self.pace = 1
        self._probe_at, self._probe_s = None, self._timeout_s

    def _forget_unacked(self, row: Sent) -> None:
        self._unacked -= 1
        self._unacked_bytes -= row.size
