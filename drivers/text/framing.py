"""Where a frame begins and ends among the bytes a line delivers. Pure: no clock, no state.

Noise stands before frames and inside them; what is found here may still be damaged, which is the codec's to see.
"""

from dataclasses import dataclass
from typing import Protocol

#: Bytes of one frame may come this far apart: an FTDI adapter holds them for up to 16 ms, a serial server for longer.
QUIET_S = 0.05


class Framing(Protocol):
    """How one command's answer is found."""

    @property
    def longest(self) -> int:
        """Bytes of the longest frame; a line that sends far more than that without a frame babbles."""
        ...

    @property
    def quiet_s(self) -> float:
        """After a silence of so long what came is judged as it stands."""
        ...

    def find(self, data: bytes, *, silent: bool) -> tuple[int, int] | None:
        """Begin and end of the first whole frame in `data`; None: not yet. `silent`: nothing came for `quiet_s`.

        Never an empty frame. The frame may be damaged: what it is worth the codec says.
        """
        ...


@dataclass(frozen=True, slots=True)
class Delimited:
    """A frame ends with `end` and, unless `start` is empty, begins with one of the bytes of `start`.

    A start byte inside a frame begins it anew: the frame before it was cut off. `end` does not occur inside.
    """

    end: bytes
    start: bytes = b""
    longest: int = 4096
    quiet_s: float = QUIET_S

    def find(self, data: bytes, *, silent: bool) -> tuple[int, int] | None:
        begin = 0
        while (at := data.find(self.end, begin)) >= 0:
            if not self.start:
                return begin, at + len(self.end)
            first = max(data.rfind(self.start[k : k + 1], begin, at) for k in range(len(self.start)))
            if first >= 0:
                return first, at + len(self.end)
            begin = at + len(self.end)
        return None
