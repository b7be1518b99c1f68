"""aggregate: tumbling windows of the good readings, aligned to UTC."""

from collections.abc import Sequence

import numpy as np

from collector.kernels import aggregate as kernels
from collector.types import Counted, Float64, Int32, Int64, PointSpec, Samples, WindowRows

SECOND_NS = 1_000_000_000
#: A window closes this much after its end, so that the readings of the tick that crosses it are still inside.
GRACE_NS = 2 * SECOND_NS
#: A clock found this far behind the open windows was wrong before; less is an adjustment that time will make up for.
FAR_NS = 86_400 * SECOND_NS
#: Points in one portion of closed windows. All points of a width close at once, with six to eight fields each: what
#: comes behind encodes and commits one portion after the other.
MAX_ROWS = 1 << 14


class Aggregate:
    """Mean, lowest, highest, last and count of each point's good readings per window, and what a counter counted.

    All points of one width close together, `GRACE_NS` after the window's end by the clock. Each window closes once:
    after a clock was set back, readings of closed windows only count in `late`. Windows during which nothing ran
    (a stall, a clock set forward) give no rows. What a counter counted between two readings belongs to the window of
    the later one, so nothing is lost between windows; where it fell it was reset, unless it ran over, and what it
    counted meanwhile is not known and taken for 0.
    """

    def __init__(self, points: Sequence[PointSpec], windows_s: Sequence[int]) -> None:
        numbers = [i for i, p in enumerate(points) if p.type != "string"]
        self._order = np.array(sorted(numbers, key=lambda i: (points[i].device, points[i].tags)), np.int32)
        interval_s = np.array([p.interval_s for p in points], np.float64)
        self._interval = np.maximum(np.rint(interval_s * 1e9), 1).astype(np.int64)
        self._is_state = np.array([p.state or p.type == "bool" for p in points], np.bool_)
        self._width = np.array(windows_s, np.int64) * SECOND_NS
        self._start = np.zeros(len(windows_s), np.int64)
        self._slot = np.zeros(len(windows_s), np.int64)
        self._state = np.zeros((2 * len(windows_s), len(points), kernels.STATE_COLUMNS))
        self._late = np.zeros(len(windows_s), np.int64)
        counters = [i for i, p in enumerate(points) if p.counter]
        self._counter_of = np.full(len(points), -1, np.int32)
        self._counter_of[counters] = np.arange(len(counters))
        self._span = np.array([points[i].rollover for i in counters], np.float64)
        self._before = np.full((len(windows_s), len(counters)), np.nan)
        self._counted = np.zeros((2 * len(windows_s), len(counters), kernels.COUNTED_COLUMNS))
        self._newest_ns: int | None = None

    @property
    def late(self) -> int:
        """Good readings left out of a window, because it was closed or they came from a clock ahead of ours."""
        return int(self._late.sum())

    def __call__(self, samples: Samples, now_ns: int) -> list[WindowRows]:
        """Take in the samples, all of them taken before `now_ns`; returns the windows that closed, in portions."""
        closed: list[WindowRows] = []
        if self._newest_ns is None:
            self._newest_ns = int(samples.ts_ns.min(initial=now_ns))
            self._start[:] = self._newest_ns // self._width * self._width
        if len(self._width):
            self._accumulate(samples, now_ns, closed)
        stepped_back = now_ns < self._newest_ns - GRACE_NS
        self._newest_ns = now_ns if stepped_back else max(now_ns, self._newest_ns)
        for w in range(len(self._width)):
            if stepped_back:
                # What comes when the clock is here again belongs to the same window by name only.
                self._close(w, closed, empty=False)
                self._close(w, closed, empty=False)
            if self._start[w] - now_ns > FAR_NS:
                self._start[w] = (now_ns // self._width[w] + 1) * self._width[w]
            behind = now_ns - GRACE_NS - self._start[w]
            if behind >= 2 * self._width[w]:
                self._skip_to(w, now_ns - GRACE_NS, closed)
            elif behind >= self._width[w]:
                self._close(w, closed)
        return closed

    def _accumulate(self, samples: Samples, now_ns: int, closed: list[WindowRows]) -> None:
        taken = 0
        while taken < len(samples):
            taken = kernels.accumulate(
                taken,
                samples.point,
                samples.ts_ns,
                samples.value,
                samples.quality,
                now_ns + GRACE_NS,
                self._start,
                self._width,
                self._slot,
                self._late,
                self._state,
                self._counter_of,
                self._span,
                self._before,
                self._counted,
            )
            if taken < len(samples):
                ts_ns = int(samples.ts_ns[taken])
                for w in np.flatnonzero(ts_ns - self._start >= 2 * self._width):
                    self._skip_to(int(w), ts_ns, closed)

    def _skip_to(self, w: int, ts_ns: int, closed: list[WindowRows]) -> None:
        """Close what is open and go on with the window of `ts_ns`, beyond the next one."""
        self._close(w, closed)
        self._close(w, closed, empty=False)
        self._start[w] = ts_ns // self._width[w] * self._width[w]

    def _close(self, w: int, closed: list[WindowRows], *, empty: bool = True) -> None:
        """Close the current window; with `empty` False only if a reading is inside, else it stays."""
        state = self._state[2 * w + self._slot[w]]
        if not empty and not state[:, kernels.COUNT].any():
            return
        start, width = int(self._start[w]), int(self._width[w])
        counted = self._counted[2 * w + self._slot[w]]
        expected = self._due(start + width) - self._due(start)
        told = (expected > 0) | (state[:, kernels.COUNT] > 0)
        points = self._order[told[self._order]]
        closed.extend(
            self._rows(points[begin : begin + MAX_ROWS], state, counted, expected, start, width)
            for begin in range(0, len(points), MAX_ROWS)
        )
        state[:] = 0.0
        counted[:] = 0.0
        self._slot[w] = 1 - self._slot[w]
        self._start[w] = start + width

    def _rows(
        self, point: Int32, state: Float64, counted: Float64, expected: Int64, start: int, width: int
    ) -> WindowRows:
        count, first, total, low, high, last = state[point].T
        nothing = count == 0
        not_averaged = nothing | self._is_state[point]
        mean = np.clip(first + total / np.maximum(count, 1.0), low, high)
        return WindowRows(
            window_s=width // SECOND_NS,
            point=point,
            ts_ns=np.full(len(point), start, np.int64),
            mean=np.where(not_averaged, np.nan, mean),
            low=np.where(not_averaged, np.nan, low),
            high=np.where(not_averaged, np.nan, high),
            last=np.where(nothing, np.nan, last),
            count=count.astype(np.int32),
            expected=expected[point].astype(np.int32),
            counted=self._counts(counted, point),
        )

    def _counts(self, counted: Float64, point: Int32) -> Counted | None:
        """What the counters among the points counted; None without any."""
        if not len(self._span):
            return None
        delta, steps, resets = np.full((3, len(point)), np.nan)
        counter = self._counter_of[point]
        is_counter = counter >= 0
        delta[is_counter], steps[is_counter], resets[is_counter] = counted[counter[is_counter]].T
        return Counted(np.where(steps > 0, delta, np.nan), np.where(resets > 0, resets, np.nan))

    def _due(self, ts_ns: int) -> Int64:
        """How many places of each point's grid lie before `ts_ns`.

        Counted from the epoch and not from our start: a window that we saw only in part must not look complete.
        """
        return -(-ts_ns // self._interval)
