"""What an uplink sends next: live rows first, the backlog behind them, each oldest first.

Nothing is remembered of rows but where each lane stands: a row that was sent and not freed is found again by the
next pass through the backlog, because the spool still has it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from collector.types import Row

#: Payload bytes taken from the spool at once per lane: a few rows of 64 KiB.
FETCH_BYTES = 256 << 10
#: Pause before a pass for the rows left behind; doubles while passes leave rows behind again.
FIRST_PASS_S = 60.0
MAX_PASS_S = 900.0


class SpoolReader(Protocol):
    """What publishing needs of a spool. The futures belong to the spool's thread."""

    @property
    def spool_id(self) -> str: ...

    @property
    def next_seq(self) -> int: ...

    def fetch(
        self, uplink: str, *, after_seq: int, limit_bytes: int, before_seq: int | None = None
    ) -> "Future[list[Row]]": ...

    def ack(self, uplink: str, seqs: Sequence[int]) -> "Future[int]": ...


class _Lane:
    """A range of seqs, read forwards."""

    def __init__(self, after: int, before: int | None) -> None:
        self.after = after
        self.before = before
        self.rows: deque[Row] = deque()
        self.dry = False  #: the last fetch found nothing


class Feed:
    """The two lanes of one uplink. `share` of the sends is the backlog's while both have rows."""

    def __init__(self, spool: SpoolReader, centre: str, share: float) -> None:
        self._spool = spool
        self._centre = centre
        self._share = share
        self._credit = 0.0
        self._pass_s = FIRST_PASS_S
        self._pass_at: float | None = None
        self.begin()

    def begin(self) -> None:
        """A connection starts: everything on disk by now is backlog, what comes is live."""
        newest = self._spool.next_seq - 1
        self._live = _Lane(newest, None)
        self._backlog = _Lane(0, newest + 1)
        self._pass_at = None
        self._pass_s = FIRST_PASS_S

    @property
    def has_backlog(self) -> bool:
        return bool(self._backlog.rows) or not self._backlog.dry

    def committed(self) -> None:
        """New rows are on disk."""
        self._live.dry = False

    async def take(self, unwanted: Callable[[int], bool]) -> Row | None:
        """The next row, or None when there is none now; `unwanted` seqs are passed over. Raises SpoolError."""
        await self._refill(self._live, unwanted)
        await self._refill(self._backlog, unwanted)
        live, backlog = self._live.rows, self._backlog.rows
        if live and backlog:
            self._credit += self._share
            if self._credit < 1.0:
                return live.popleft()
            self._credit -= 1.0
            return backlog.popleft()
        lane = live or backlog
        return lane.popleft() if lane else None

    async def again(self, seq: int) -> Row | None:
        """One row by its number; None when the spool has it no longer."""
        found = self._spool.fetch(self._centre, after_seq=seq - 1, limit_bytes=1, before_seq=seq + 1)
        rows = await asyncio.wrap_future(found)
        return rows[0] if rows else None

    def leave(self, now: float) -> None:
        """A row was sent or passed over and stays in the spool: there will be another pass for it."""
        if self._pass_at is None:
            self._pass_at = now + self._pass_s
            self._pass_s = min(2 * self._pass_s, MAX_PASS_S)

    def next_pass(self, now: float) -> bool:
        """Begin again at the oldest row, when a pass is due and the last one is through."""
        if self._pass_at is None or now < self._pass_at or self.has_backlog:
            return False
        self._pass_at = None
        self._backlog = _Lane(0, self._live.rows[0].seq if self._live.rows else self._live.after + 1)
        return True

    async def _refill(self, lane: _Lane, unwanted: Callable[[int], bool]) -> None:
        while not lane.rows and not lane.dry:
            lane.dry = True  # before the fetch: a commit during it makes the lane wet again
            found = self._spool.fetch(
                self._centre, after_seq=lane.after, limit_bytes=FETCH_BYTES, before_seq=lane.before
            )
            try:
                rows = await asyncio.wrap_future(found)
            except BaseException:
                lane.dry = False
                raise
            if rows:
                lane.dry = False
                lane.after = rows[-1].seq
                lane.rows.extend(row for row in rows if not unwanted(row.seq))
