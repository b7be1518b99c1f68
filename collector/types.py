"""What crosses from one stage to the next. Plain data: frozen dataclasses and numpy arrays, no behaviour.

Time is `ts_ns`: UTC, nanoseconds since the epoch. `*_mono` is the monotonic clock in seconds.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Uint8 = NDArray[np.uint8]


class Quality(IntEnum):
    """What is known of a reading. Only GOOD readings carry a value that may be used."""

    GOOD = 0
    STALE = 1  #: the device is up but this point was not read for longer than it may
    NOT_AVAILABLE = 2  #: the device itself says "no value": a sentinel, NaN or infinity
    OUT_OF_RANGE = 3  #: outside the profile's plausible range
    COMM_ERROR = 4  #: no usable answer: timeout, exception, link down
    SUBSTITUTED = 5
    CLOCK_UNSURE = 6  #: the value is good, its timestamp may not be: the clock was never set


class Outcome(IntEnum):
    """How one read of one block ended."""

    OK = 0
    TIMEOUT = 1
    EXCEPTION = 2
    BAD_FRAME = 3
    LINK_DOWN = 4
    SUSPENDED = 5  #: not asked: its unit is down and only probed


class PointSpec(NamedTuple):
    """One point of one device, with everything the stages after poll need. Its place in the list is its number.

    A tuple, because a gateway has a hundred thousand of them: device and site first, then what its model says.

    The published value is `(raw * mul + add) / div`: with integers below 2**52 all three are exact,
    so the division gives the double nearest to the true decimal and `decimals` digits print it exactly.
    With a scale register raw is multiplied by the power of ten in it before anything else.
    """

    device: str
    name: str  #: field key: what the point's profile publishes it as
    category: str  #: measurement and topic leaf, e.g. "power"
    tags: tuple[tuple[str, str], ...]  #: the site's own tags and those of the point, sorted by key
    type: str  #: u16 s16 u32 s32 u64 s64 f32 f64 bcd16 bcd32 bcd64 bool string; derived: by a block's program
    order: str = "ABCD"  #: ABCD CDAB BADC DCBA (for 64 bit: the same rule over four registers)
    bit: int = -1  #: bit of the register for type bool; -1 for a coil or a discrete input
    bits: tuple[int, int] | None = None  #: first and last bit that are raw, of an unsigned number; None: all
    registers: int = 1  #: length in registers (string), else implied by type
    scale_at: int = 0  #: registers from the point's first one to its scale register (s16); 0: it has none
    encoding: str = ""  #: "four_quadrant": a power factor above 1 is leading and means 2 minus it
    mul: float = 1.0
    add: float = 0.0
    div: float = 1.0
    decimals: int = 0
    low: float = float("-inf")
    high: float = float("inf")
    #: raw patterns that mean "no value", or pairs of the first and the last such; compared before scaling
    invalid: tuple[int | tuple[int, int], ...] = ()
    state: bool = False  #: an integer state: written as `3i`, never averaged
    counter: bool = False  #: only grows; what it counts is summed per window
    rollover: float = 0.0  #: published value at which a counter begins at 0 again; 0: not known
    deadband: float = 0.0
    interval_s: float = 1.0


class Question(Protocol):
    """What a link can ask; `drivers.base.Question`, seen from stages that know no driver."""

    @property
    def unit(self) -> int: ...

    @property
    def line_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One read on the wire, as poll sends it and decode takes it apart. Its place in the list is its number.

    The list only grows while the daemon runs: a split block keeps its number and retires.
    """

    device: str
    unit: int
    function: int  #: Modbus function code 1-4; 0: `command` is asked
    address: int  #: 0-based, as on the wire
    count: int  #: registers or bits of the answer
    interval_s: float
    points: tuple[int, ...]  #: numbers of the points inside, ordered by category, tags, then offset
    offsets: tuple[int, ...]  #: for each point: registers (FC 3, 4) or bits (FC 1, 2) from the start of the block
    #: number and program of each point computed from those inside: a float is a constant, an int a place in `points`,
    #: a text an operator of `drivers.formula`; without a program it never has a value
    derived: tuple[tuple[int, tuple[float | int | str, ...]], ...] = ()
    command: Question | None = None  #: of a text protocol, whose answer comes as registers like any other


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Everything that arrived between two ticks: one record per read, good or failed.

    `image` holds the answers' data bytes as they came (big-endian registers, packed bits); record i's
    bytes start at `start[i]`. `outcome` is an `Outcome`; a failed record has no bytes.
    """

    image: Uint8
    block: Int32
    start: Int64
    ts_ns: Int64
    outcome: Uint8

    def __len__(self) -> int:
        return len(self.block)


@dataclass(frozen=True, slots=True)
class Samples:
    """Decoded readings, one per point of each record, in record order. Value is NaN unless quality says good."""

    point: Int32
    ts_ns: Int64
    value: Float64
    quality: Uint8
    texts: tuple[tuple[int, int, str], ...] = ()  #: (point, ts_ns, text) of string points

    def __len__(self) -> int:
        return len(self.point)


class Counted(NamedTuple):
    """What counters did in closed windows, one entry per row."""

    delta: Float64  #: what was counted; NaN where nothing is known of it, and for points that are no counters
    resets: Float64  #: how often it fell without running over; NaN for never


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Closed windows, ordered by device: one row per point. Statistics are NaN when `count` is 0."""

    window_s: int
    point: Int32
    ts_ns: Int64  #: start of the window
    mean: Float64
    low: Float64
    high: Float64
    last: Float64
    count: Int32  #: good readings inside
    expected: Int32  #: readings due inside
    counted: Counted | None = None  #: None: no point is a counter

    def __len__(self) -> int:
        return len(self.point)


@dataclass(frozen=True, slots=True)
class Row:
    """One spool row and one MQTT message: plain line protocol behind a comment line that names it."""

    seq: int
    category: str
    ts_ns: int  #: earliest timestamp inside
    points: int  #: fields inside
    crc32: int  #: of `payload`
    payload: bytes = field(repr=False)
