"""What an uplink sends next: live rows first, the backlog behind them, each oldest first.

Nothing is remembered of rows but where each lane stands: a row that was sent and not freed is found again by the
next pass through the backlog, because the spool still has it.

Rows are read from the spool. While the live lane stands at its end, rows that were just committed are handed to it as
well and need not be read back. A row enters the lane only if it follows on where the lane stands, so that it makes no
difference which way it came.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Protocol

from collector.types import Row

#: Payload bytes taken from the spool at once per lane: a few rows of 64 KiB.
FETCH_BYTES = 256 << 10
#: Payload bytes that the live lane takes over when they are committed: one commit of the pipeline (`COMMIT_BYTES`).
#: An uplink that has more before it is behind, and reads them from the spool when it gets there.
HANDED_BYTES = 4 << 20
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

    def ack(self, uplink: str, seqs: Sequence[int], *, lazily: bool = False) -> "Future[int]": ...


class _Lane:
    """A range of seqs, taken forwards: those up to `after` are in `rows` or were taken, or were not in the spool."""

    def __init__(self, after: int, before: int | None) -> None:
        self.after = after
        self.before = before
        self.rows: deque[Row] = deque()
        self.size = 0  #: payload bytes in `rows`
        self.dry = False  #: the spool has nothing beyond `after`

    def add(self, row: Row) -> None:
        self.after = row.seq
        self.rows.append(row)
        self.size += len(row.payload)

    def pop(self) -> Row:
        row = self.rows.popleft()
        self.size -= len(row.payload)
        return row


class Feed:
    """The two lanes of one uplink. `share` of the sends is the backlog's while both have rows."""

    def __init__(self, spool: SpoolReader, centre: str, share: float) -> None:
        self._spool = spool
        self._centre = centre
        self._share = share
        self._credit = 0.0
        self._pass_s = FIRST_PASS_S
        self._pass_at: float | None = None
        self.end()

    def begin(self) -> None:
        """A connection starts: everything on disk by now is backlog, what comes is live."""
        newest = self._spool.next_seq - 1
        self._open = True
        self._live = _Lane(newest, None)
        self._backlog = _Lane(0, newest + 1)
        self._pass_at = None
        self._pass_s = FIRST_PASS_S

    def end(self) -> None:
        """There is no connection: no row is kept in memory until the next one begins."""
        self._open = False
        self._live = self._backlog = _Lane(0, 1)  # no seq lies between

    @property
    def has_backlog(self) -> bool:
        return bool(self._backlog.rows) or not self._backlog.dry

    def committed(self, rows: Iterable[Row]) -> None:
        """`rows` are on disk, in the order of their seqs; what is not taken over here is read from the spool."""
        live = self._live
        for row in rows if self._open else ():
            if row.seq <= live.after:  # a fetch was quicker
                continue
            if row.seq > live.after + 1 or live.size + len(row.payload) > HANDED_BYTES:
                live.dry = False
                break
            live.add(row)

    async def take(self, unwanted: Callable[[int], bool]) -> Row | None:
        """The next row, or None when there is none now; `unwanted` seqs are passed over. Raises SpoolError."""
        live, backlog = self._live, self._backlog
        await self._refill(live, unwanted)
        await self._refill(backlog, unwanted)
        if live.rows and backlog.rows:
            self._credit += self._share
            if self._credit < 1.0:
                return live.pop()
            self._credit -= 1.0
            return backlog.pop()
        lane = live if live.rows else backlog
        return lane.pop() if lane.rows else None

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
        """Make the first of the lane's rows a wanted one, if the spool has any."""
        while True:
            while lane.rows and unwanted(lane.rows[0].seq):
                lane.pop()
            if lane.rows or lane.dry:
                return
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
            for row in rows:
                if row.seq > lane.after:  # else it was handed over meanwhile
                    lane.add(row)
