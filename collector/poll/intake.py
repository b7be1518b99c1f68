"""Where answers wait for the next tick: two images in turn, one read by the tick while the field fills the other."""

from array import array

import numpy as np

from collector.types import Outcome, RawBatch

#: What a record counts for beside its bytes (its number, place, time and outcome): a flood of failures is bounded too.
RECORD_BYTES = 32
OK = int(Outcome.OK)


class _Image:
    __slots__ = ("block", "bytes", "fill", "image", "outcome", "room", "start", "ts_ns")

    def __init__(self, capacity: int) -> None:
        # Untouched pages of an empty array cost nothing: a quiet hall never pays for the capacity of a busy one.
        self.image = np.empty(capacity, np.uint8)
        self.bytes = self.image.data
        self.clear()

    def clear(self) -> None:
        self.fill = 0
        self.room = len(self.bytes)
        self.block = array("i")
        self.start = array("q")
        self.ts_ns = array("q")
        self.outcome = bytearray()


class Intake:
    """Collects what arrives between two ticks.

    `capacity` bytes bound what one image holds; what does not fit is dropped and counted in `dropped`: a stall of
    the disk must not become a growth of memory.
    """

    def __init__(self, capacity: int) -> None:
        self._image = _Image(capacity)
        self._spare = _Image(capacity)
        self.accepted = 0
        self.dropped = 0

    def answer(self, block: int, ts_ns: int, data: memoryview) -> None:
        """A good answer's data bytes; copied before this returns."""
        image = self._image
        start = image.fill
        end = start + len(data)
        image.room -= end - start + RECORD_BYTES
        if image.room < 0:
            self.dropped += 1
            return
        image.bytes[start:end] = data
        image.fill = end
        image.block.append(block)
        image.start.append(start)
        image.ts_ns.append(ts_ns)
        image.outcome.append(OK)
        self.accepted += 1

    def fail(self, block: int, ts_ns: int, outcome: Outcome) -> None:
        """A read that brought nothing."""
        image = self._image
        image.room -= RECORD_BYTES
        if image.room < 0:
            self.dropped += 1
            return
        image.block.append(block)
        image.start.append(image.fill)
        image.ts_ns.append(ts_ns)
        image.outcome.append(outcome)
        self.accepted += 1

    def take(self) -> RawBatch:
        """What arrived since the last call. Valid until the next call: finish with it before."""
        image, self._image = self._image, self._spare
        self._spare = image
        self._image.clear()
        return RawBatch(
            image=image.image[: image.fill],
            block=np.array(image.block, np.int32),
            start=np.array(image.start, np.int64),
            ts_ns=np.array(image.ts_ns, np.int64),
            outcome=np.frombuffer(bytes(image.outcome), np.uint8),
        )
