"""The only place that reads a clock. Everything else is handed a Clock, so that tests can turn the hands."""

import time
from typing import Protocol

#: A wall clock before this was never set (a gateway without a battery boots in 1970). 2024-01-01 UTC.
SANE_SINCE_NS = 1_704_067_200 * 1_000_000_000


class Clock(Protocol):
    """Wall time for timestamps, monotonic time for everything that is measured or waited for."""

    def now_ns(self) -> int:
        """UTC in nanoseconds since the epoch."""
        ...

    def mono(self) -> float:
        """Monotonic seconds; never steps."""
        ...


class SystemClock:
    """The machine's clocks."""

    now_ns = staticmethod(time.time_ns)
    mono = staticmethod(time.monotonic)


class FakeClock:
    """A clock that moves only when told; both hands start where asked."""

    def __init__(self, now_ns: int = 1_800_000_000_000_000_000, mono: float = 1000.0) -> None:
        self._now_ns = now_ns
        self._mono = mono

    def now_ns(self) -> int:
        return self._now_ns

    def mono(self) -> float:
        return self._mono

    def advance(self, seconds: float) -> None:
        """Move both hands forward."""
        self._now_ns += round(seconds * 1e9)
        self._mono += seconds

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock only, as NTP does."""
        self._now_ns += round(seconds * 1e9)


def is_sane(ts_ns: int) -> bool:
    """Whether a wall-clock reading can be true at all."""
    return ts_ns >= SANE_SINCE_NS
