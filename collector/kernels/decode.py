"""Registers to numbers."""

import numpy as np
from numpy.typing import NDArray

from collector.kernels._jit import inlined, kernel

#: A value is taken out of one word of memory, so an image must have as many bytes, used or not.
LEAST_BYTES = 8

#: How the bits of a value are read.
INTEGER, FLOAT, UNSIGNED_64, DOUBLE, BIT, BCD = 0, 1, 2, 3, 4, 5
#: Columns of `members`: where each point of a block lies and the form of its value, which many points share: the next
#: RUN members have the same.
POINT, AT, FORM, RUN, MEMBER_COLUMNS = 0, 1, 2, 3, 4
#: Columns of `layouts`, by form. The eight bytes from the value's first one on are one word, the first in its lowest
#: byte; rotated by TURN, and its halves' registers (SWAP_REGISTERS) and these' bytes (SWAP_BYTES) exchanged where these
#: masks have ones, its highest byte is the value's first. Shifted LEFT and then RIGHT it holds only the value's
#: bits; shifted by SIGN there and back, an integer has its sign. PATTERNS of them, from PATTERN on, mean "no value".
TURN, SWAP_REGISTERS, SWAP_BYTES, LEFT, RIGHT, SIGN, PATTERN, PATTERNS, KIND = 0, 1, 2, 3, 4, 5, 6, 7, 8
#: RARE is 1 for what takes more than that: another KIND than the first two, several patterns (in `invalid`, PATTERNS
#: is 0), a scale register SCALE_AT bytes behind the value, QUADRANTS, 1 for a power factor whose leading half lies
#: beyond 1.
RARE, BIT_NUMBER, SCALE_AT, QUADRANTS, LAYOUT_COLUMNS = 9, 10, 11, 12, 13
#: Columns of `invalid`: first and last pattern that means "no value".
FIRST, LAST, INVALID_COLUMNS = 0, 1, 2
#: Columns of `scales`, by form: what the number means. POWER is 10**decimals.
MUL, ADD, DIV, LOW, HIGH, POWER, SCALE_COLUMNS = 0, 1, 2, 3, 4, 5, 6

#: From here on an integer divided by a power of ten can be half a last decimal off: it could not be printed exactly.
EXACT = 2.0**52

NOT_AVAILABLE, OUT_OF_RANGE, COMM_ERROR = 2, 3, 4  # collector.types.Quality
OK = 0  # collector.types.Outcome

#: Columns of `computed`: the member of the block, and its operations; no operations: there is nothing to compute.
WHICH, BEGIN, END, COMPUTED_COLUMNS = 0, 1, 2, 3
#: Columns of `operations`. ARGUMENT is a member of the block or a place in `constants`.
CODE, ARGUMENT, OPERATION_COLUMNS = 0, 1, 2
MEMBER, CONSTANT, ADD_UP, SUBTRACT, MULTIPLY, DIVIDE, NEGATE = 0, 1, 2, 3, 4, 5, 6
#: drivers.formula.MAX_STACK
STACK = 16

#: drivers.scaling.MAX_EXPONENT and what a scale register says when there is no scale.
MAX_EXPONENT = 10
NO_EXPONENT = -0x8000
POWERS = np.array([10.0**k for k in range(MAX_EXPONENT + 1)])

u64 = np.uint64


@inlined
def word_at(image: NDArray[np.uint8], at: np.uint64) -> np.uint64:
    """Eight bytes, the first as the lowest; zeros for those beyond the image's end."""
    begin = min(at, u64(len(image)) - u64(8))
    word = u64(0)
    for k in range(u64(8)):  # LLVM makes one load of it
        word |= u64(image[begin + u64(k)]) << (u64(8) * u64(k))
    return u64(word >> (u64(8) * (at - begin)))


@inlined
def in_order(word: np.uint64, turn: np.uint64, registers: np.uint64, bytes_: np.uint64) -> np.uint64:
    """The word with the halves, the halves' registers and the registers' bytes exchanged, or not, as the form says."""
    word = word << turn | word >> ((u64(64) - turn) & u64(63))
    change = (word ^ word >> u64(16)) & registers
    word ^= change | change << u64(16)
    change = (word ^ word >> u64(8)) & bytes_
    return u64(word ^ (change | change << u64(8)))


@inlined
def from_decimal(raw: np.uint64) -> float:
    """The number whose 16 decimal digits are the nibbles, NaN if one is none."""
    above_nine = (raw >> u64(3)) & (raw >> u64(2) | raw >> u64(1)) & u64(0x1111111111111111)
    twos = (raw & u64(0x0F0F0F0F0F0F0F0F)) + u64(10) * ((raw >> u64(4)) & u64(0x0F0F0F0F0F0F0F0F))
    fours = (twos & u64(0x00FF00FF00FF00FF)) + u64(100) * ((twos >> u64(8)) & u64(0x00FF00FF00FF00FF))
    eights = (fours & u64(0x0000FFFF0000FFFF)) + u64(10000) * ((fours >> u64(16)) & u64(0x0000FFFF0000FFFF))
    value = (eights & u64(0xFFFFFFFF)) + u64(100000000) * (eights >> u64(32))
    return np.float64(value) if above_nine == u64(0) else np.nan


@inlined
def number(raw: np.uint64, sign: np.uint64, kind: np.uint64) -> float:
    """The number of an integer or a FLOAT."""
    if kind == u64(FLOAT):
        return np.float64(np.uint32(raw & u64(0xFFFFFFFF)).view(np.float32))
    return np.float64(u64(raw << sign).view(np.int64) >> np.int64(sign))


@inlined
def rare(raw: np.uint64, plain: float, kind: np.uint64, bit: np.uint64) -> float:
    """The number of a value of any KIND; `plain` if it is one of the first two."""
    if kind == u64(UNSIGNED_64):
        return np.float64(raw)
    if kind == u64(DOUBLE):
        return u64(raw).view(np.float64)
    if kind == u64(BIT):
        return np.float64((raw >> bit) & u64(1))
    if kind == u64(BCD):
        return np.float64(from_decimal(raw))
    return np.float64(plain)


@inlined
def scaled(x: float, mul: float, add: float, div: float, exponent: int) -> float:
    """`x` times ten to the power of what its scale register says, published."""
    up = POWERS[exponent] if 0 < exponent <= MAX_EXPONENT else 1.0
    down = POWERS[-exponent] if -MAX_EXPONENT <= exponent < 0 else 1.0
    y = (x * mul * up + add * down) / (div * down)
    return y if abs(exponent) <= MAX_EXPONENT else np.inf


@inlined
def published(known: bool, y: float, low: float, high: float, power: float, good: int) -> tuple[float, int]:
    """Value and quality of a sample: `y` where it is known and lies in its range, else why there is none."""
    # Branches are foreseen here, for nearly all values are good; choosing by masks takes twice as long.
    if not known:
        return np.nan, NOT_AVAILABLE
    if y >= low and y <= high and abs(y) * power < EXACT:
        return y, good
    return np.nan, OUT_OF_RANGE


@inlined
def run(
    begin: int,
    end: int,
    operations: NDArray[np.int32],
    constants: NDArray[np.float64],
    base: int,
    value: NDArray[np.float64],
    stack: NDArray[np.float64],
) -> float:
    """The result of a program over the values of a record, which begin at `base`."""
    top = 0
    for k in range(u64(begin), u64(end)):
        code = operations[k, CODE]
        argument = operations[k, ARGUMENT]
        if code == MEMBER:
            stack[top] = value[base + argument]
            top += 1
        elif code == CONSTANT:
            stack[top] = constants[argument]
            top += 1
        elif code == NEGATE:
            stack[top - 1] = -stack[top - 1]
        else:
            top -= 1
            left = stack[top - 1]
            right = stack[top]
            if code == ADD_UP:
                stack[top - 1] = left + right
            elif code == SUBTRACT:
                stack[top - 1] = left - right
            elif code == MULTIPLY:
                stack[top - 1] = left * right
            else:
                stack[top - 1] = left / right
    return float(stack[0])


@inlined
def worst_of(
    begin: int, end: int, operations: NDArray[np.int32], base: int, quality: NDArray[np.uint8], good: int
) -> int:
    """The worst quality of a program's inputs, 0 if all are good."""
    worst = 0 if begin < end else NOT_AVAILABLE
    for k in range(u64(begin), u64(end)):
        if operations[k, CODE] == MEMBER:
            q = quality[base + operations[k, ARGUMENT]]
            worst = max(worst, 0 if q == good else int(q))
    return worst


@inlined
def compute(
    program: NDArray[np.int32],
    operations: NDArray[np.int32],
    constants: NDArray[np.float64],
    scale: NDArray[np.float64],
    base: int,
    good: int,
    value: NDArray[np.float64],
    quality: NDArray[np.uint8],
    stack: NDArray[np.float64],
) -> None:
    """One derived point of a record whose samples begin at `base`: a row of `computed` and one of `scales`."""
    i = u64(base) + u64(program[WHICH])
    value[i] = np.nan
    quality[i] = worst_of(program[BEGIN], program[END], operations, base, quality, good)
    if quality[i] == 0:
        x = np.float64(run(program[BEGIN], program[END], operations, constants, base, value, stack))
        y = (x * scale[MUL] + scale[ADD]) / scale[DIV]
        value[i], quality[i] = published(np.isfinite(x), y, scale[LOW], scale[HIGH], scale[POWER], good)


@kernel(
    "void(Array(uint8, 1, 'C', True), int64, Array(int32, 1, 'C', True), Array(int64, 1, 'C', True),"  # True: read-only
    " Array(int64, 1, 'C', True), Array(uint8, 1, 'C', True), uint8, int64[::1], int64[::1], int32[:,::1],"
    " uint64[:,::1], float64[:,::1], int64[::1], uint64[:,::1], int64[::1], int32[:,::1], int32[:,::1], float64[::1],"
    " int32[::1], int64[::1], float64[::1], uint8[::1])"
)
def decode(
    image: NDArray[np.uint8],
    size: int,
    block: NDArray[np.int32],
    start: NDArray[np.int64],
    stamp: NDArray[np.int64],
    outcome: NDArray[np.uint8],
    good: int,
    first: NDArray[np.int64],
    need: NDArray[np.int64],
    members: NDArray[np.int32],
    layouts: NDArray[np.uint64],
    scales: NDArray[np.float64],
    first_invalid: NDArray[np.int64],
    invalid: NDArray[np.uint64],
    first_computed: NDArray[np.int64],
    computed: NDArray[np.int32],
    operations: NDArray[np.int32],
    constants: NDArray[np.float64],
    point: NDArray[np.int32],
    ts_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    quality: NDArray[np.uint8],
) -> None:
    """One sample per member of each record's block, in record order, from the first `size` bytes of the image.

    Block b owns `members[first[b]:first[b + 1]]` and needs `need[b]` bytes. A record has the bytes up to the start of
    the next good one; with fewer than it needs it counts as failed. Members in `computed` are computed from others of
    the same record.
    """
    stack = np.empty(STACK, np.float64)
    end = size
    out = np.int64(len(point))
    for r in range(len(block) - 1, -1, -1):  # backwards, because a record ends where the next one begins
        b = block[r]
        out -= first[b + 1] - first[b]
        base = start[r]
        usable = outcome[r] == OK
        if usable:
            limit = end if end >= base else size
            usable = base >= 0 and base <= limit - need[b]
            end = base if base >= 0 and base <= size else end
        m = u64(first[b])
        behind = u64(first[b + 1])
        i = u64(out)
        for k in range(behind - m):
            point[i + u64(k)] = members[m + u64(k), POINT]
            ts_ns[i + u64(k)] = stamp[r]
            if not usable:
                value[i + u64(k)] = np.nan
                quality[i + u64(k)] = COMM_ERROR
        while usable and m < behind:
            form = u64(members[m, FORM])
            run_end = m + u64(members[m, RUN])
            turn, registers, bytes_ = layouts[form, TURN], layouts[form, SWAP_REGISTERS], layouts[form, SWAP_BYTES]
            left, right, sign = layouts[form, LEFT], layouts[form, RIGHT], layouts[form, SIGN]
            pattern, patterns, kind = layouts[form, PATTERN], layouts[form, PATTERNS], layouts[form, KIND]
            mul, add, div = scales[form, MUL], scales[form, ADD], scales[form, DIV]
            low, high, power = scales[form, LOW], scales[form, HIGH], scales[form, POWER]
            if layouts[form, RARE] == u64(0):
                while m < run_end:
                    raw = in_order(word_at(image, u64(base) + u64(members[m, AT])), turn, registers, bytes_)
                    raw = u64(raw << left) >> right
                    x = number(raw, sign, kind)
                    known = np.isfinite(x) and raw - pattern >= patterns
                    value[i], quality[i] = published(known, (x * mul + add) / div, low, high, power, good)
                    m += u64(1)
                    i += u64(1)
                continue
            while m < run_end:
                at = u64(base) + u64(members[m, AT])
                raw = u64(in_order(word_at(image, at), turn, registers, bytes_) << left) >> right
                x = rare(raw, number(raw, sign, kind), kind, layouts[form, BIT_NUMBER])
                there = raw - pattern >= patterns
                for s in range(u64(first_invalid[form]), u64(first_invalid[form + u64(1)])):
                    there &= raw - invalid[s, FIRST] > invalid[s, LAST] - invalid[s, FIRST]  # below FIRST wraps round
                y = (x * mul + add) / div
                if layouts[form, SCALE_AT] != u64(0):
                    high_byte = at + layouts[form, SCALE_AT]
                    exponent = np.int64(image[high_byte]) << 8 | np.int64(image[high_byte + u64(1)])
                    exponent = (exponent ^ 0x8000) - 0x8000
                    there &= bool(exponent != NO_EXPONENT)
                    y = scaled(x, mul, add, div, int(exponent))
                if layouts[form, QUADRANTS] != u64(0) and abs(y) > 1.0 and abs(y) <= 2.0:
                    y = np.copysign(2.0 - abs(y), y)
                value[i], quality[i] = published(there and np.isfinite(x), y, low, high, power, good)
                m += u64(1)
                i += u64(1)
        for d in range(u64(first_computed[b]), u64(first_computed[b + 1])):
            if usable:
                form = u64(members[u64(first[b]) + u64(computed[d, WHICH]), FORM])
                compute(computed[d], operations, constants, scales[form], out, good, value, quality, stack)
