"""Where answers wait for the next tick: two images in turn, one read by the tick while the field fills the other."""

from array import array

import numpy as np

from collector.types import Outcome, RawBatch

#: Records per image beyond which reads are dropped and counted: a stall of the disk must not become a stall of memory.
MAX_RECORDS = 1 << 20


class _Image:
    __slots__ = ("block", "bytes", "fill", "outcome", "start", "ts_ns")

    def __init__(self, capacity: int) -> None:
        self.bytes = bytearray(capacity)
        self.clear()

    def clear(self) -> None:
        self.fill = 0
        self.block = array("i")
        self.start = array("q")
        self.ts_ns = array("q")
        self.outcome = bytearray()


class Intake:
    """Collects what arrives between two ticks.

    `capacity` bytes bound an image; an answer that does not fit is dropped and counted in `dropped`.
    """

    def __init__(self, capacity: int) -> None:
        self._image = _Image(capacity)
        self._spare = _Image(capacity)
        self._capacity = capacity
        self.accepted = 0
        self.dropped = 0

    def answer(self, block: int, ts_ns: int, data: memoryview) -> None:
        """A good answer's data bytes; copied before this returns."""
        image = self._image
        start = image.fill
        end = start + len(data)
        if end > self._capacity or len(image.block) >= MAX_RECORDS:
            self.dropped += 1
            return
        image.bytes[start:end] = data
        image.fill = end
        image.block.append(block)
        image.start.append(start)
        image.ts_ns.append(ts_ns)
        image.outcome.append(Outcome.OK)
        self.accepted += 1

    def fail(self, block: int, ts_ns: int, outcome: Outcome) -> None:
        """A read that brought nothing."""
        image = self._image
        if len(image.block) >= MAX_RECORDS:
            self.dropped += 1
            return
        image.block.append(block)
        image.start.append(image.fill)
        image.ts_ns.append(ts_ns)
        image.outcome.append(outcome)
        self.accepted += 1

    def take(self) -> RawBatch:
        """What arrived since the last call. Valid until the call after the next one: finish with it before."""
        image, self._image = self._image, self._spare
        self._spare = image
        self._image.clear()
        return RawBatch(
            image=np.frombuffer(image.bytes, np.uint8),
            block=np.array(image.block, np.int32),
            start=np.array(image.start, np.int64),
            ts_ns=np.array(image.ts_ns, np.int64),
            outcome=np.frombuffer(bytes(image.outcome), np.uint8),
        )
