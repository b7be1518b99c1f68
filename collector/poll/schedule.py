"""Which read of a bus goes next: earliest deadline first among those that are due.

A read comes due on a grid, interval after interval; its deadline is the next
place on the grid. Entries are never searched for: a read that was put elsewhere leaves a stale entry behind, which
is dropped when it surfaces.
"""

import heapq

from collector.poll.unit import Unit
from collector.types import BlockSpec
from drivers.base import LinkCost, Request

NEVER = float("inf")
#: A block that stays silent while its unit answers others is slowed down after this many times, to this at most.
SILENT_BLOCK_STRIKES = 3
SILENT_BLOCK_MAX_S = 60.0


class Read:
    """One block and when it is due. Times are monotonic seconds."""

    __slots__ = ("at", "due", "interval", "number", "refused", "request", "retired", "strikes", "unit", "wire_s")

    def __init__(self, number: int, spec: BlockSpec, unit: Unit, cost: LinkCost) -> None:
        self.number = number
        self.request = spec.command or Request(spec.unit, spec.function, spec.address, spec.count)
        self.unit = unit
        self.interval = spec.interval_s
        self.wire_s = cost.of(self.request)
        self.due = 0.0  #: its place on the grid
        self.at = NEVER  #: when it will be asked: `due`, or sooner for a retry, or later; NEVER: not waiting
        self.strikes = 0  #: failures since its last answer
        self.refused = False  #: told already that the device refuses it for good
        self.retired = False  #: replaced by the parts of a split

    def begin(self, at: float) -> None:
        """Ask at `at`, then on the grid. All grids of one interval share their places, so that what is due together
        is asked together: a burst costs half of what the same requests cost spread over the interval.
        """
        self.due = at - at % self.interval

    def advance(self, now: float) -> None:
        """Move to the next place on the grid after `now`; places already past are skipped and counted."""
        if self.due > now:
            return  # this attempt was a retry: its regular place is still ahead
        if self.strikes > SILENT_BLOCK_STRIKES:
            slow = self.interval * 2.0 ** min(self.strikes - SILENT_BLOCK_STRIKES, 16)
            self.due = now + max(self.interval, min(slow, SILENT_BLOCK_MAX_S))
            return
        self.due += self.interval
        if self.due <= now:
            skipped = int((now - self.due) / self.interval) + 1
            self.unit.skipped += skipped
            self.due += skipped * self.interval


class Schedule:
    """The waiting reads of one bus."""

    __slots__ = ("_due", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Read]] = []  # (at, number, read)
        self._due: list[tuple[float, int, Read]] = []  # (deadline, number, read)

    def put(self, read: Read, at: float) -> None:
        """Ask `read` at `at`; any earlier arrangement for it is void."""
        read.at = at
        heapq.heappush(self._waiting, (at, read.number, read))

    def next_due(self, now: float) -> Read | None:
        """Take out the due read with the earliest deadline; None when nothing is due."""
        waiting, due = self._waiting, self._due
        while waiting and waiting[0][0] <= now:
            at, number, read = heapq.heappop(waiting)
            if read.at != at:
                continue
            if not due and not (waiting and waiting[0][0] <= now) and not read.retired:
                read.at = NEVER  # nothing to compare it with: the usual case on a line that keeps up
                return read
            heapq.heappush(due, (at + read.interval, number, read))
        while due:
            deadline, _, read = heapq.heappop(due)
            if read.at + read.interval == deadline and not read.retired:
                read.at = NEVER
                return read
        return None

    def wake_at(self) -> float:
        """When to look again; may be too early, never too late."""
        return self._waiting[0][0] if self._waiting else NEVER

    def clear(self) -> None:
        """Forget everything that waits."""
        for _, _, read in (*self._waiting, *self._due):
            read.at = NEVER
        self._waiting.clear()
        self._due.clear()
