"""filter: report by exception. What a point says again is not kept, until its heartbeat is due."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collector.kernels import filter as kernels
from collector.types import PointSpec, Samples


class Filter:
    """Chooses the samples worth sending, judged against the last one kept of the same point.

    Kept is the first sample, every change of quality, a good value that differs from the last kept one by more than
    the point's deadband, and a good value when the last kept one is `heartbeat_s` old or the clock was set back
    behind it. With `publish` "all" every good value is kept. A sample is kept as it is: its time is its own.
    """

    def __init__(self, points: Sequence[PointSpec], heartbeat_s: float, publish: Literal["changes", "all"]) -> None:
        self._heartbeat_ns = round(heartbeat_s * 1e9)
        self._everything = publish == "all"
        self._deadband = np.array([p.deadband for p in points], np.float64)
        self._last_value = np.zeros(len(points), np.float64)
        self._last_ns = np.zeros(len(points), np.int64)
        self._last_quality = np.full(len(points), kernels.NEVER, np.uint8)
        self._last_text: dict[int, tuple[int, str]] = {}  # of string points only

    def __call__(self, samples: Samples) -> NDArray[np.bool_]:
        """Which of the samples to keep."""
        keep = np.empty(len(samples), np.bool_)
        if len(samples):
            kernels.select(
                samples.point,
                samples.ts_ns,
                samples.value,
                samples.quality,
                self._deadband,
                self._heartbeat_ns,
                self._everything,
                self._last_value,
                self._last_ns,
                self._last_quality,
                keep,
            )
        return keep

    def texts(self, samples: Samples) -> tuple[tuple[int, int, str], ...]:
        """The texts to keep: those that changed or whose heartbeat is due."""
        kept = []
        for point, ts_ns, text in samples.texts:
            last_ns, last = self._last_text.get(point, (0, None))
            if self._everything or text != last or not 0 <= ts_ns - last_ns < self._heartbeat_ns:
                self._last_text[point] = (ts_ns, text)
                kept.append((point, ts_ns, text))
        return tuple(kept)
