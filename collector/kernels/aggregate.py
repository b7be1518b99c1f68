"""Statistics of the open windows."""

import numpy as np
from numpy.typing import NDArray

from collector.kernels._jit import kernel

GOOD, CLOCK_UNSURE = 0, 6  # collector.types.Quality
#: Columns of `state`. SUM is that of the differences to FIRST: a counter at 1e9 keeps all digits of its mean.
COUNT, FIRST, SUM, LOW, HIGH, LAST, STATE_COLUMNS = 0, 1, 2, 3, 4, 5, 6
#: Columns of `counted`: what a counter counted, over how many pairs of neighbouring readings, and how often it fell.
DELTA, STEPS, RESETS, COUNTED_COLUMNS = 0, 1, 2, 3
#: A counter that falls has run over if it then went on by less than this part of its span, else it was reset. A
#: reading is missed for a few intervals, not for the time in which a register fills by a 32nd; a reset that looks
#: like it must hit a counter in the last 32nd before its end.
ROLLOVER_PART = 1.0 / 32.0

u64 = np.uint64


@kernel(
    "int64(int64, int32[::1], int64[::1], float64[::1], uint8[::1], int64, int64[::1], int64[::1], int64[::1],"
    " int64[::1], float64[:,:,::1], int32[::1], float64[::1], float64[:,::1], float64[:,:,::1])"
)
def accumulate(
    begin: int,
    point: NDArray[np.int32],
    ts_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    quality: NDArray[np.uint8],
    horizon_ns: int,
    start: NDArray[np.int64],
    width: NDArray[np.int64],
    slot: NDArray[np.int64],
    late: NDArray[np.int64],
    state: NDArray[np.float64],
    counter_of: NDArray[np.int32],
    span: NDArray[np.float64],
    before: NDArray[np.float64],
    counted: NDArray[np.float64],
) -> int:
    """Put the good samples from `begin` on into the open windows, two of each width: the current and the next.

    Width w's current window begins at `start[w]` and lies in `state[2 * w + slot[w]]`, the next in the other slot.
    Samples before them, or after the horizon, only count in `late`. Returns the number of the first sample that lies
    beyond the next window of some width and was not taken, or the number of samples.

    Point p is counter `counter_of[p]`, -1 for none. What it counted since its last reading in width w, `before[w]`,
    goes to the window of the later reading, in `counted` as in `state`. `span` is where it begins at 0 again, 0 if it
    never does.
    """
    end = len(point)
    for w in range(len(start)):
        after = start[w] + 2 * width[w]
        for i in range(u64(begin), u64(end)):
            if ts_ns[i] >= after and ts_ns[i] <= horizon_ns and quality[i] in (GOOD, CLOCK_UNSURE):
                end = int(np.int64(i))
                break
    for w in range(len(start)):
        first, following = start[w], start[w] + width[w]
        now, then = u64(2 * w + slot[w]), u64(2 * w + 1 - slot[w])
        for i in range(u64(begin), u64(end)):
            if quality[i] not in (GOOD, CLOCK_UNSURE):
                continue
            t = ts_ns[i]
            if t < first or t > horizon_ns:
                late[w] += 1
                continue
            v = value[i]
            p = u64(point[i])
            s = now if t < following else then
            if state[s, p, COUNT] == 0.0:
                state[s, p, FIRST] = v
                state[s, p, LOW] = v
                state[s, p, HIGH] = v
            state[s, p, COUNT] += 1.0
            state[s, p, SUM] += v - state[s, p, FIRST]
            state[s, p, LOW] = v if v < state[s, p, LOW] else state[s, p, LOW]
            state[s, p, HIGH] = v if v > state[s, p, HIGH] else state[s, p, HIGH]
            state[s, p, LAST] = v
            if counter_of[p] < 0:
                continue
            c = u64(counter_of[p])
            step = v - before[w, c]
            before[w, c] = v
            if np.isnan(step):
                continue
            over = step + span[c]
            if step < 0.0 and over >= 0.0 and over <= span[c] * ROLLOVER_PART:
                step = over
            counted[s, c, STEPS] += 1.0
            counted[s, c, RESETS] += 1.0 if step < 0.0 else 0.0
            counted[s, c, DELTA] += step if step > 0.0 else 0.0
    return end
