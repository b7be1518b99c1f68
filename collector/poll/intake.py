"""Where answers wait for the next tick: two images in turn, one read by the tick while the field fills the other."""

import numpy as np

from collector.kernels.express import ACCEPTED, DROPPED, FILL, INTAKE_PLACES, RECORD_BYTES, RECORDS, ROOM
from collector.types import Outcome, RawBatch

OK = int(Outcome.OK)


class Image:
    """Answers' bytes and one record for each read, good or failed."""

    __slots__ = ("block", "bytes", "outcome", "start", "ts_ns", "views")

    def __init__(self, capacity: int) -> None:
        # Untouched pages of an empty array cost nothing: a quiet hall never pays for the capacity of a busy one.
        records = capacity // RECORD_BYTES
        self.bytes = np.empty(capacity, np.uint8)
        self.block = np.empty(records, np.int32)
        self.start = np.empty(records, np.int64)
        self.ts_ns = np.empty(records, np.int64)
        self.outcome = np.empty(records, np.uint8)
        # One element is written faster through a view than through its array.
        self.views = tuple(array.data for array in (self.bytes, self.block, self.start, self.ts_ns, self.outcome))


class Intake:
    """Collects what arrives between two ticks.

    `capacity` bytes bound what one image holds; what does not fit is dropped and counted in `dropped`: a stall of
    the disk must not become a growth of memory.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.image = Image(capacity)
        self._spare = Image(capacity)
        self.state = np.zeros(INTAKE_PLACES, np.int64)
        self.state[ROOM] = capacity
        self._state = self.state.data

    @property
    def accepted(self) -> int:
        return int(self.state[ACCEPTED])

    @property
    def dropped(self) -> int:
        return int(self.state[DROPPED])

    def answer(self, block: int, ts_ns: int, data: memoryview) -> None:
        """A good answer's data bytes; copied before this returns."""
        self._record(block, ts_ns, OK, data)

    def fail(self, block: int, ts_ns: int, outcome: Outcome) -> None:
        """A read that brought nothing."""
        self._record(block, ts_ns, outcome, b"")

    def _record(self, number: int, at_ns: int, what: int, data: "memoryview | bytes") -> None:
        state = self._state
        size = len(data)
        state[ROOM] -= size + RECORD_BYTES
        if state[ROOM] < 0:
            state[DROPPED] += 1
            return
        image, block, start, ts_ns, outcome = self.image.views
        fill, record = state[FILL], state[RECORDS]
        image[fill : fill + size] = data
        block[record], start[record], ts_ns[record], outcome[record] = number, fill, at_ns, what
        state[FILL] = fill + size
        state[RECORDS] = record + 1
        state[ACCEPTED] += 1

    def take(self) -> RawBatch:
        """What arrived since the last call. Valid until the next call: finish with it before."""
        image, self.image, self._spare = self.image, self._spare, self.image
        fill, records = int(self.state[FILL]), int(self.state[RECORDS])
        self.state[:ACCEPTED] = 0, 0, self._capacity
        return RawBatch(
            image=image.bytes[:fill],
            block=image.block[:records],
            start=image.start[:records],
            ts_ns=image.ts_ns[:records],
            outcome=image.outcome[:records],
        )
