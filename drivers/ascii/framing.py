"""What stands around the text of a question and of an answer, and how the end of an answer is known. Pure bytes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from drivers.ascii.checksum import Check
from drivers.ascii.octets import Octets
from drivers.meaning import Strict

#: The longest answer known here has some 700 bytes; at 9600 baud this takes a second.
MAX_BYTES = 1024
#: Bytes of one frame come closer than this, also through a serial server that sends them in lumps.
QUIET_S = 0.5
#: An answer that was asked for is judged sooner when it is damaged: whatever still comes of it is thrown away before
#: the next question. At 300 baud bytes come every 33 ms.
ASKED_QUIET_S = 0.1
#: A start inside a frame may be what noise left of an earlier one, or belong to the body: with a checksum so many are
#: tried, from the last one on. Without a checksum the last one counts.
MAX_RESTARTS = 8
#: Places where a frame of known length is looked for at a time: what never begins there is noise.
MAX_PLACES = 32


class Envelope(Strict):
    """Start, end and checksum around a body."""

    start: Octets = b""
    end: Octets = b""
    check: Check = Check()

    @property
    def starts(self) -> tuple[bytes, ...]:
        """What a frame may begin with."""
        return (self.start,)

    def seal(self, body: bytes) -> bytes:
        """The frame around `body`. Raises ValueError when the checksum cannot be computed."""
        head = self.start + body
        if self.check.behind_end:
            head += self.end
        sealed = head + self.check.octets(self._covered(head))
        return sealed if self.check.behind_end else sealed + self.end

    def sound(self, frame: bytes) -> bool:
        """Whether `frame` has this start, end and checksum."""
        if len(frame) < len(self.start) + len(self.end) + self.check.width or not frame.startswith(self.starts):
            return False
        at = self._check_at(frame)
        behind = at + self.check.width
        ends = frame[at - len(self.end) : at] if self.check.behind_end else frame[behind:]
        return ends == self.end and self.check.matches(self._covered(frame[:at]), frame[at:behind])

    def body(self, frame: bytes) -> bytes:
        """What a sound `frame` carries."""
        behind = len(self.end) + self.check.width
        return frame[len(self.start) : len(frame) - behind]

    def _check_at(self, frame: bytes) -> int:
        """Where the checksum of a whole frame begins."""
        return len(frame) - self.check.width - (0 if self.check.behind_end else len(self.end))

    def _covered(self, head: bytes) -> bytes:
        """What the checksum behind `head` covers."""
        first = len(self.start) if self.check.skip_first is None else self.check.skip_first
        return head[first : len(head) - self.check.skip_last]


class SizeField(Strict):
    """A number inside the frame that tells its length: `number * unit + add` bytes, all of them counted."""

    at: Annotated[int, Field(ge=0, le=64)]  #: its place in the frame, 0 is the first byte of `start`
    width: Annotated[int, Field(ge=1, le=4)] = 1  #: bytes, or digits
    format: Literal["binary", "hex", "decimal"] = "binary"
    low_first: bool = False
    mask: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] = 0xFFFFFFFF
    unit: Annotated[int, Field(ge=1, le=8)] = 1  #: what it counts, in bytes
    add: Annotated[int, Field(ge=-64, le=64)] = 0

    def frame_bytes(self, frame: bytes) -> int | None:
        """Length of the frame that begins so; None while the field is not there. Raises ValueError if it is none."""
        digits = frame[self.at : self.at + self.width]
        if len(digits) < self.width:
            return None
        if self.format == "binary":
            number = int.from_bytes(digits, "little" if self.low_first else "big")
        elif digits.isalnum():  # int() takes signs, blanks and underscores as well
            number = int(digits, 16 if self.format == "hex" else 10)
        else:
            raise ValueError(f"{digits!r} is no number")
        return (number & self.mask) * self.unit + self.add


class Framing(Envelope):
    """How an answer is cut out of what a line delivers.

    It ends at `end`; or after `length` bytes, or as many as `size` tells, and has `start` and `end` in their places; or
    with a silence of `idle_s`. Beside `end`, `idle_s` also ends an answer whose `end` does not come.
    """

    other_starts: tuple[Octets, ...] = ()  #: as long as `start`; an answer may begin with one of them instead
    length: Annotated[int, Field(ge=1, le=MAX_BYTES)] | None = None
    size: SizeField | None = None
    idle_s: Annotated[float, Field(ge=0.01, le=5)] | None = None
    max_bytes: Annotated[int, Field(ge=2, le=MAX_BYTES)] = 256  #: what is longer is noise

    @property
    def starts(self) -> tuple[bytes, ...]:
        return (self.start, *self.other_starts)

    @property
    def longest(self) -> int:
        return self.length or self.max_bytes

    @property
    def quiet_s(self) -> float:
        """A silence of so long ends what was begun: it is an answer (`idle_s`) or rubbish."""
        return QUIET_S if self.idle_s is None else self.idle_s

    def find(self, data: bytes, *, silent: bool) -> tuple[int, int] | None:
        """Begin and end of the first frame in `data`; None: not yet. `silent`: nothing has come for `quiet_s`.

        The frame may be damaged: whether it is sound, `sound` says. A start inside a frame begins it anew, unless the
        checksum proves the longer one.
        """
        if self.length is not None or self.size is not None:
            return self._measured(data, silent=silent)
        place = self._terminated(data, silent=silent) if self.end else None
        if place is None and silent and self.idle_s is not None:
            begin = self._first_start(data, 0)
            if begin >= 0 and 0 < len(data) - begin <= self.longest:
                return begin, len(data)
        return place

    def whole(self, frame: bytes) -> bytes:
        """`frame` with its `end`, where a silence ended it instead."""
        return frame + self.end if self.idle_s is not None and not frame.endswith(self.end) else frame

    def _terminated(self, data: bytes, *, silent: bool) -> tuple[int, int] | None:
        check = self.check
        behind_end = check.width if check.behind_end else 0
        # A binary checksum before the end may hold the end's own bytes: the end is then found too early by so much.
        doubt = 0 if check.digits or check.behind_end else check.width
        begin = seek = 0
        while (at := data.find(self.end, seek)) >= 0:
            behind = at + len(self.end)
            starts = self._starts(data, begin, at)
            empty = self.start == self.end and starts[:1] == [at - len(self.end)]
            if not starts or empty or behind + behind_end - starts[0] > self.longest:
                # the end of a frame whose begin was lost, or of something too long to be one
                seek, begin = behind, at if self.start == self.end else behind
                continue
            if behind + behind_end > len(data) and not silent:
                return None
            stops = [s for s in range(behind, min(behind + doubt, len(data)) + 1) if data.endswith(self.end, 0, s)]
            for stop in (s + behind_end for s in stops):
                for start in starts:
                    if self.sound(data[start:stop]):
                        return start, stop
            if behind + doubt > len(data) and not silent:
                return None
            return starts[0], min(behind + behind_end, len(data))
        return None

    def _starts(self, data: bytes, begin: int, end: int) -> list[int]:
        """Where the frame that ends at `end` may begin, the likeliest first."""
        if not self.start:
            return [begin]
        starts: list[int] = []
        at = self._last_start(data, begin, end)
        while at >= 0 and len(starts) < (MAX_RESTARTS if self.check.width else 1):
            starts.append(at)
            at = self._last_start(data, begin, at + len(self.start) - 1)
        return starts

    def _first_start(self, data: bytes, begin: int) -> int:
        """The first place from `begin` on where a frame may begin; -1: there is none."""
        return min((at for start in self.starts if (at := data.find(start, begin)) >= 0), default=-1)

    def _last_start(self, data: bytes, begin: int, end: int) -> int:
        return max(data.rfind(start, begin, end) for start in self.starts)

    def _measured(self, data: bytes, *, silent: bool) -> tuple[int, int] | None:
        begin = self._first_start(data, 0)
        damaged = None
        for _ in range(MAX_PLACES):
            if not 0 <= begin < len(data):
                break
            size = self._size(data[begin : begin + self.longest])
            if size is None or begin + size > len(data):
                if not silent:
                    return None  # what stands behind it may be its body
            elif self.sound(data[begin : begin + size]):
                return begin, begin + size
            elif size:
                damaged = damaged or (begin, begin + size)
            begin = self._first_start(data, begin + 1)
        return damaged if silent else None

    def _size(self, head: bytes) -> int | None:
        """Length of the frame that begins with `head`; None while it cannot be told, 0 when it is none."""
        try:
            size = self.length if self.size is None else self.size.frame_bytes(head)
        except ValueError:
            return 0
        return size if size is None or 0 < size <= self.longest else 0


@dataclass(frozen=True, slots=True)
class Asked:
    """The framing of an answer to a question."""

    framing: Framing

    @property
    def longest(self) -> int:
        return self.framing.longest

    @property
    def quiet_s(self) -> float:
        return ASKED_QUIET_S if self.framing.idle_s is None else self.framing.idle_s

    def find(self, data: bytes, *, silent: bool) -> tuple[int, int] | None:
        return self.framing.find(data, silent=silent)
