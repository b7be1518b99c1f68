"""Registers to numbers."""

import numpy as np
from numpy.typing import NDArray

from collector.kernels._jit import inlined, kernel

#: How the bytes of a value are read.
UNSIGNED, SIGNED, FLOAT, BIT, BCD = 0, 1, 2, 3, 4
#: Columns of `members`: where each point of a block lies and the form of its value, which many points share.
POINT, AT, FORM, MEMBER_COLUMNS = 0, 1, 2, 3
#: Columns of `layouts`, by form: byte k of the value is byte `k ^ MASK` of its registers. Shifted LEFT and then RIGHT,
#: a word of 64 bits holds only the value's bits. SCALE_AT bytes behind the value lies its scale register, 0 without
#: one. QUADRANTS is 1 for a power factor whose leading half lies beyond 1.
BYTES, MASK, KIND, BIT_NUMBER, LEFT, RIGHT, SCALE_AT, QUADRANTS, LAYOUT_COLUMNS = 0, 1, 2, 3, 4, 5, 6, 7, 8
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
    if quality[i] != 0:
        return
    x = np.float64(run(program[BEGIN], program[END], operations, constants, base, value, stack))
    y = (x * scale[MUL] + scale[ADD]) / scale[DIV]
    if not np.isfinite(x):
        quality[i] = NOT_AVAILABLE
    elif y >= scale[LOW] and y <= scale[HIGH] and abs(y) * scale[POWER] < EXACT:
        value[i] = y
        quality[i] = good
    else:
        quality[i] = OUT_OF_RANGE


@kernel(
    "void(Array(uint8, 1, 'C', True), Array(int32, 1, 'C', True), Array(int64, 1, 'C', True),"  # True: read-only
    " Array(int64, 1, 'C', True), Array(uint8, 1, 'C', True), uint8, int64[::1], int64[::1], int32[:,::1],"
    " int32[:,::1], float64[:,::1], int64[::1], uint64[:,::1], int64[::1], int32[:,::1], int32[:,::1], float64[::1],"
    " int32[::1], int64[::1], float64[::1], uint8[::1])"
)
def decode(
    image: NDArray[np.uint8],
    block: NDArray[np.int32],
    start: NDArray[np.int64],
    stamp: NDArray[np.int64],
    outcome: NDArray[np.uint8],
    good: int,
    first: NDArray[np.int64],
    need: NDArray[np.int64],
    members: NDArray[np.int32],
    layouts: NDArray[np.int32],
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
    """One sample per member of each record's block, in record order.

    Block b owns `members[first[b]:first[b + 1]]` and needs `need[b]` bytes. A record has the bytes up to the start of
    the next good one; with fewer than it needs it counts as failed. Members in `computed` are computed from others of
    the same record.
    """
    stack = np.empty(STACK, np.float64)
    size = np.int64(len(image))
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
        for j in range(u64(first[b + 1] - first[b])):
            i = u64(out) + j
            m = u64(first[b]) + j
            point[i] = members[m, POINT]
            ts_ns[i] = stamp[r]
            value[i] = np.nan
            quality[i] = COMM_ERROR
            if not usable:
                continue
            at = u64(base + members[m, AT])
            form = u64(members[m, FORM])
            mask = u64(layouts[form, MASK])
            raw = u64(0)
            for k in range(u64(layouts[form, BYTES])):
                raw = (raw << u64(8)) | u64(image[at + (k ^ mask)])
            raw = (raw << u64(layouts[form, LEFT])) >> u64(layouts[form, RIGHT])
            missing = False
            for s in range(u64(first_invalid[form]), u64(first_invalid[form + u64(1)])):
                missing |= raw - invalid[s, FIRST] <= invalid[s, LAST] - invalid[s, FIRST]  # below FIRST wraps round
            kind = layouts[form, KIND]
            if kind == UNSIGNED:
                x = np.float64(raw)
            elif kind == SIGNED:
                unused = u64(layouts[form, LEFT])
                x = np.float64(u64(raw << unused).view(np.int64) >> np.int64(unused))
            elif kind == BIT:
                x = np.float64((raw >> u64(layouts[form, BIT_NUMBER])) & u64(1))
            elif kind == FLOAT and layouts[form, BYTES] == 4:
                x = np.float64(np.uint32(raw).view(np.float32))
            elif kind == FLOAT:
                x = u64(raw).view(np.float64)
            else:
                number = u64(0)
                for k in range(u64(16)):
                    digit = (raw >> u64(60 - 4 * np.int64(k))) & u64(15)
                    missing |= bool(digit > u64(9))
                    number = number * u64(10) + digit
                x = np.float64(number)
            exponent = np.int64(0)
            if layouts[form, SCALE_AT] != 0:
                high = u64(np.int64(at) + layouts[form, SCALE_AT])
                exponent = ((np.int64(image[high]) << 8 | np.int64(image[high + u64(1)])) ^ 0x8000) - 0x8000
                missing |= bool(exponent == NO_EXPONENT)
            if missing or not np.isfinite(x):
                quality[i] = NOT_AVAILABLE
                continue
            y = (x * scales[form, MUL] + scales[form, ADD]) / scales[form, DIV]
            if layouts[form, SCALE_AT] != 0:
                up = POWERS[exponent] if 0 < exponent <= MAX_EXPONENT else 1.0
                down = POWERS[-exponent] if -MAX_EXPONENT <= exponent < 0 else 1.0
                y = (x * scales[form, MUL] * up + scales[form, ADD] * down) / (scales[form, DIV] * down)
                y = y if abs(exponent) <= MAX_EXPONENT else np.inf
            if layouts[form, QUADRANTS] != 0 and abs(y) > 1.0 and abs(y) <= 2.0:
                y = np.copysign(2.0 - abs(y), y)
            if y >= scales[form, LOW] and y <= scales[form, HIGH] and abs(y) * scales[form, POWER] < EXACT:
                value[i] = y
                quality[i] = good
            else:
                quality[i] = OUT_OF_RANGE
        for d in range(u64(first_computed[b]), u64(first_computed[b + 1])):
            if usable:
                form = u64(members[u64(first[b]) + u64(computed[d, WHICH]), FORM])
                compute(computed[d], operations, constants, scales[form], out, good, value, quality, stack)
