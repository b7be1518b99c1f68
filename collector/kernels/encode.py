"""Numbers to InfluxDB line protocol."""

import numpy as np
from numpy.typing import NDArray

from collector.kernels._jit import inlined, kernel

GOOD, CLOCK_UNSURE = 0, 6  # collector.types.Quality
#: Quality that was never told; equal to no real one.
NEVER = 255

#: What a field says of its point. A field is the number `i * PARTS + part`: the part of sample or window i. Its text is
#: `forms[form_of[point] * PARTS + part]`; PARTS is a power of two, for it is divided by for each field.
VALUE, QUALITY, MEAN, LOW, HIGH, LAST, COUNT, EXPECTED, DELTA, RESETS, PARTS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16
#: Columns of `forms`: "name=" in the text, and the decimals of its number, INTEGER for `3i`.
TEXT_AT, TEXT_BYTES, DECIMALS, FORM_COLUMNS = 0, 1, 2, 3
INTEGER = -1
#: Columns of `rows`. `rows` and `out` bound one call; the caller comes back for the rest.
END, POINTS, EARLIEST_NS, CATEGORY, ROW_COLUMNS = 0, 1, 2, 3, 4

#: Separator, sign, 19 digits, point and suffix of a number; blank, sign, 19 digits and newline of a timestamp.
FIELD_BYTES = 24
STAMP_BYTES = 24
#: Text is written in pieces of one machine word and copied WIDE at a time, more than nearly all names have: both text
#: and output need that much room behind what is used.
PIECE, WIDE = 8, 32

#: From here on doubles are too coarse for the decimals asked for.
EXACT = 2.0**53
#: Splits a double into two halves of 26 bits whose products are exact (Dekker 1971).
SPLITTER = 2.0**27 + 1.0

u64 = np.uint64
u8 = np.uint8
POWERS = np.array([10.0**k for k in range(16)])
INTEGER_POWERS = np.array([10**k for k in range(20)], np.uint64)
TO_8, TO_16 = u64(10**8), u64(10**16)

COMMA, BLANK, NEWLINE, MINUS, DOT, LETTER_I = u8(44), u8(32), u8(10), u8(45), u8(46), u8(105)


@inlined
def put_piece(piece: np.uint64, out: NDArray[np.uint8], to: np.uint64) -> None:
    """Store eight bytes, the lowest first."""
    for j in range(u64(PIECE)):
        out[to + u64(j)] = u8((piece >> (u64(8) * u64(j))) & u64(255))


@inlined
def copy(text: NDArray[np.uint8], at: np.uint64, size: np.uint64, out: NDArray[np.uint8], to: np.uint64) -> None:
    """Copy WIDE bytes at a time, so more than asked for: the processor cannot foresee how long a name is."""
    k = u64(0)
    while True:
        for _ in range(u64(WIDE // PIECE)):
            piece = u64(0)
            for j in range(u64(PIECE)):  # LLVM makes one load and one store of each piece
                piece |= u64(text[at + k + u64(j)]) << (u64(8) * u64(j))
            put_piece(piece, out, to + k)
            k += u64(PIECE)
        if k >= size:
            return


@inlined
def eight_digits(number: np.uint64) -> np.uint64:
    """The eight digits of a number below 10**8 as text, the first one in the lowest byte."""
    # Divide halves, quarters and eighths of the word at once; the factors are 2**20 / 100 and 2**10 / 10, rounded up.
    lanes = number // u64(10000) | (number % u64(10000)) << u64(32)
    tops = ((lanes * u64(10486)) >> u64(20)) & u64(0x0000007F0000007F)
    lanes = tops | (lanes - tops * u64(100)) << u64(16)
    tops = ((lanes * u64(103)) >> u64(10)) & u64(0x000F000F000F000F)
    return (tops | (lanes - tops * u64(10)) << u64(8)) + u64(0x3030303030303030)


@inlined
def nearest(value: np.float64, power: np.float64) -> np.float64:
    """`value * power` rounded to the nearest whole number, halves to even, as if the product were exact."""
    product = value * power
    whole = np.float64(np.rint(product))
    if abs(product - whole) == 0.5:
        # The product may be a half only because it was rounded itself: what was cut off decides.
        a = value * SPLITTER
        a_high = a - (a - value)
        b = power * SPLITTER
        b_high = b - (b - power)
        a_low = value - a_high
        b_low = power - b_high
        cut = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
        if cut > 0.0:
            whole = np.float64(np.ceil(product))
        elif cut < 0.0:
            whole = np.float64(np.floor(product))
    return whole


@inlined
def digits_of(number: np.uint64) -> np.uint64:
    """How many digits a number below 10**16 has."""
    number |= u64(1)
    bits = (np.float64(np.int64(number)).view(np.int64) >> np.int64(52)) - np.int64(1022)
    least = u64((bits * np.int64(1233)) >> np.int64(12))  # by log10(2), rounded down
    return least + u64(number >= INTEGER_POWERS[least])


@inlined
def put_digits(high: np.uint64, low: np.uint64, digits: np.uint64, out: NDArray[np.uint8], to: np.uint64) -> None:
    """Write the last of the sixteen digits in two pieces, at least one."""
    if digits <= u64(PIECE):
        put_piece(low >> (u64(8) * (u64(PIECE) - digits)), out, to)
    else:
        left_out = u64(8) * (u64(2 * PIECE) - digits)
        put_piece(high >> left_out | (low << u64(1)) << (u64(63) - left_out), out, to)
        put_piece(low >> left_out, out, to + u64(PIECE))


@inlined
def put_number(number: int, decimals: np.uint64, out: NDArray[np.uint8], to: np.uint64) -> np.uint64:
    """Write `number / 10**decimals` with all its decimals, none from 10**16 on. Returns the place behind it."""
    out[to] = MINUS
    to += u64(number < 0)
    rest = u64(abs(number))
    if rest >= TO_16:
        digits = digits_of(rest // TO_16)
        put_digits(u64(0), eight_digits(rest // TO_16), digits, out, to)
        to += digits
        rest %= TO_16
        put_digits(eight_digits(rest // TO_8), eight_digits(rest % TO_8), u64(16), out, to)
        return to + u64(16)
    digits = max(digits_of(rest), decimals + u64(1))
    high = u64(0)
    if digits > u64(PIECE):
        high = eight_digits(rest // TO_8)
        rest %= TO_8
    low = eight_digits(rest)
    put_digits(high, low, digits, out, to)
    if decimals == u64(0):
        return to + digits
    to += digits - decimals  # the digits behind the point again, one place further
    out[to] = DOT
    put_digits(high, low, decimals, out, to + u64(1))
    return to + u64(1) + decimals


@inlined
def put_row(rows: NDArray[np.int64], number: int, end: int, points: int, earliest_ns: int, category: int) -> int:
    """Note a finished row. Returns how many there are."""
    rows[number, END] = end
    rows[number, POINTS] = points
    rows[number, EARLIEST_NS] = earliest_ns
    rows[number, CATEGORY] = category
    return number + 1


@kernel("int64(boolean[::1], int32[::1], uint8[::1], int32[::1], uint8[::1], int64[::1], int32[::1], int32[::1])")
def pick(
    keep: NDArray[np.bool_],
    point: NDArray[np.int32],
    quality: NDArray[np.uint8],
    category_of: NDArray[np.int32],
    told: NDArray[np.uint8],
    place: NDArray[np.int64],
    found: NDArray[np.int32],
    fields: NDArray[np.int32],
) -> int:
    """The fields of the kept samples: the value if there is one, the quality where it differs from what was `told`.

    `fields` lists them by category, else as they came; `place` is room for one number per category, `found` for as many
    as `fields`. Returns how many.
    """
    place[:] = 0
    n = u64(0)
    category = 0  # of the samples since `before`, which stand together: a sum in memory would wait for the one before
    before = u64(0)
    for i in range(u64(len(keep))):
        if not keep[i]:
            continue
        p = u64(point[i])
        q = quality[i]
        if category_of[p] != category:
            place[category] += np.int64(n - before)
            before = n
            category = category_of[p]
        good = q in (GOOD, CLOCK_UNSURE)
        if good:
            found[n] = np.int32(i * u64(PARTS) + u64(VALUE))
            n += u64(1)
        if q != told[p] or not good:
            found[n] = np.int32(i * u64(PARTS) + u64(QUALITY))
            n += u64(1)
            told[p] = q
    place[category] += np.int64(n - before)
    begin = 0
    for c in range(len(place)):
        begin += place[c]
        place[c] = begin - place[c]
    to = u64(0)
    category = -1
    for k in range(n):
        c = category_of[point[u64(found[k]) // u64(PARTS)]]
        if c != category:
            if category >= 0:
                place[category] = np.int64(to)
            category = c
            to = u64(place[c])
        fields[to] = found[k]
        to += u64(1)
    return int(n)


@kernel(
    "UniTuple(int64, 2)(int64, int32[::1], int32[::1], int64[::1], float64[:,::1], uint8[::1], int32[::1], int32[::1],"
    " int32[::1], int32[:,::1], int32[:,::1], uint8[::1], int64, int64, int64[:,::1], uint8[::1])"
)
def write(
    begin: int,
    fields: NDArray[np.int32],
    point: NDArray[np.int32],
    ts_ns: NDArray[np.int64],
    values: NDArray[np.float64],
    quality: NDArray[np.uint8],
    category_of: NDArray[np.int32],
    series_of: NDArray[np.int32],
    form_of: NDArray[np.int32],
    prefixes: NDArray[np.int32],
    forms: NDArray[np.int32],
    text: NDArray[np.uint8],
    limit: int,
    reserve: int,
    rows: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> tuple[int, int]:
    """Write `fields[begin:]` as lines, and group these into rows of one category and at most `limit` bytes.

    `values` has one row of numbers, those of the samples, or one for each part of a window from MEAN on.

    Neighbours of one series and time share a line; a line that would exceed the limit goes on in another one. Only a
    line of a single field may be longer. Stops at a line's end when `out` has less than `reserve` bytes left or `rows`
    is full. Returns the number of the first field not written and the number of rows.
    """
    i, filled = begin, 0
    to = line = row = u64(0)
    line_points = row_points = 0
    row_ns = stamp = series = category = 0
    while True:
        over = i == len(fields)
        field = u64(fields[0 if over else i])
        f = field // u64(PARTS)
        part = field % u64(PARTS)
        p = u64(point[f])
        form = u64(form_of[p]) * u64(PARTS) + part
        size = u64(forms[form, TEXT_BYTES])
        too_long = to - line + size + u64(FIELD_BYTES + STAMP_BYTES) > u64(limit)
        if line_points > 0 and (over or series_of[p] != series or ts_ns[f] != stamp or too_long):
            out[to] = BLANK
            to = put_number(stamp, u64(0), out, to + u64(1))
            out[to] = NEWLINE
            to += u64(1)
            if row_points > 0 and to - row > u64(limit):
                filled = put_row(rows, filled, int(line), row_points, row_ns, category)
                row = line
                row_points = 0
            row_ns = min(row_ns, stamp) if row_points > 0 else stamp
            row_points += line_points
            line_points = 0
            line = to
        if line_points == 0:
            full = filled + 2 > len(rows) or to + u64(reserve) > u64(len(out))
            if row_points > 0 and (over or full or category_of[p] != category):
                filled = put_row(rows, filled, int(line), row_points, row_ns, category)
                row = line
                row_points = 0
            if over or full:
                return i, filled
            series = int(series_of[p])
            category = category_of[p]
            stamp = int(ts_ns[f])
            copy(text, u64(prefixes[series, 0]), u64(prefixes[series, 1]), out, to)
            to += u64(prefixes[series, 1])
        out[to] = COMMA if line_points > 0 else BLANK
        to += u64(1)
        copy(text, u64(forms[form, TEXT_AT]), size, out, to)
        to += size
        value = np.float64(quality[f]) if part == u64(QUALITY) else values[max(part, u64(MEAN)) - u64(MEAN), f]
        decimals = u64(max(forms[form, DECIMALS], 0))
        while decimals > u64(0) and abs(value) * POWERS[decimals] >= EXACT:
            decimals -= u64(1)
        to = put_number(int(nearest(value, POWERS[decimals])), decimals, out, to)
        if forms[form, DECIMALS] == INTEGER:
            out[to] = LETTER_I
            to += u64(1)
        line_points += 1
        i += 1
