"""Report by exception."""

import numpy as np
from numpy.typing import NDArray

from collector.kernels._jit import kernel

GOOD, CLOCK_UNSURE = 0, 6  # collector.types.Quality
#: Quality of a point that was never seen; equal to no real one.
NEVER = 255

u64 = np.uint64


@kernel(
    "void(int32[::1], int64[::1], float64[::1], uint8[::1], float64[::1], int64, boolean,"
    " float64[::1], int64[::1], uint8[::1], boolean[::1])"
)
def select(
    point: NDArray[np.int32],
    ts_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    quality: NDArray[np.uint8],
    deadband: NDArray[np.float64],
    heartbeat_ns: int,
    everything: bool,
    last_value: NDArray[np.float64],
    last_ns: NDArray[np.int64],
    last_quality: NDArray[np.uint8],
    keep: NDArray[np.bool_],
) -> None:
    """Which samples tell something new, against what was last kept of their points (`last_*`, updated)."""
    for i in range(u64(len(point))):
        p = u64(point[i])
        q = quality[i]
        wanted = q != last_quality[p]
        if q in (GOOD, CLOCK_UNSURE):
            age_ns = ts_ns[i] - last_ns[p]
            # A negative age is a clock that was set back: what follows would otherwise be silent until it caught up.
            wanted |= everything or age_ns >= heartbeat_ns or age_ns < 0
            wanted |= abs(value[i] - last_value[p]) > deadband[p]
            if wanted:
                last_value[p] = value[i]
                last_ns[p] = ts_ns[i]
        last_quality[p] = q
        keep[i] = wanted
