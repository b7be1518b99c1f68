"""One unit's standing: unknown, up, suspect or down, and when it may be asked again.

A unit goes down only after enough failures *and* enough time without an answer, so that neither one burst of noise
nor one slow minute takes it out. While it is down it is asked once per pause, one block and no retry; the pause
doubles up to a bound and is jittered, so that a hall whose power returned is not asked in one storm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """What we believe of a unit."""

    UNKNOWN = "unknown"  #: never answered yet
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a unit counts as down and how it is probed; times in seconds."""

    down_after_failures: int = 3
    down_after_s: float = 3.0
    probe_min_s: float = 1.0
    probe_max_s: float = 60.0


class Unit:
    """State and counters of one unit. Times are monotonic seconds."""

    __slots__ = (
        "answered",
        "asked",
        "bad_frames",
        "blocks",
        "breaker",
        "device",
        "exceptions",
        "failed_since",
        "failures",
        "last_error",
        "last_ok_ts_ns",
        "lost",
        "pause_s",
        "probe_at",
        "probes",
        "retries",
        "rtt_s",
        "skipped",
        "standing",
        "timeout_s",
        "timeouts",
        "unit",
    )

    def __init__(
        self, device: str, unit: int, timeout_s: float, breaker: Breaker, now: float, retries: int = 3
    ) -> None:
        self.device = device
        self.unit = unit
        self.timeout_s = timeout_s
        self.retries = retries  #: of a read that brought nothing, before it waits for its interval
        self.breaker = breaker
        self.blocks: list[int] = []
        self.standing = Standing.UNKNOWN
        self.failures = 0
        self.failed_since = now
        self.last_ok_ts_ns = 0  # never
        self.last_error = ""
        self.pause_s = breaker.probe_min_s
        self.probe_at = 0.0
        self.probes = 0
        self.rtt_s = 0.0
        self.asked = self.answered = self.timeouts = self.exceptions = self.bad_frames = self.lost = 0
        self.skipped = 0  # polls that came due while an earlier one of the same block was still waiting

    def heard(self, now: float) -> bool:
        """The unit answered, be it with an exception. True when it was down until now."""
        was_down = self.standing is Standing.DOWN
        self.standing = Standing.UP
        self.failures = 0
        self.pause_s = self.breaker.probe_min_s
        return was_down

    def missed(self, now: float, jitter: Callable[[], float], longest_pause_s: float = 0.0) -> bool:
        """The unit did not answer usefully. True when it went down just now. `jitter` gives 0 to 1.

        While it is down its pauses grow to `probe_max_s`, or to `longest_pause_s` if that is longer.
        """
        if self.failures == 0:
            self.failed_since = now
        self.failures += 1
        if self.standing is Standing.DOWN:
            self.pause_s = min(2 * self.pause_s, max(self.breaker.probe_max_s, longest_pause_s))
            self._pause(now, jitter)
            return False
        self.standing = Standing.SUSPECT
        enough = self.failures >= self.breaker.down_after_failures
        if enough and now - self.failed_since >= self.breaker.down_after_s:
            self.standing = Standing.DOWN
            self._pause(now, jitter)
            return True
        return False

    def unreachable(self, error: str) -> None:
        """The whole line is gone; says nothing of the unit itself, which starts afresh when the line is back."""
        self.standing = Standing.DOWN
        self.last_error = error

    def reachable(self) -> None:
        """The line is back."""
        self.standing = Standing.SUSPECT
        self.failures = 0
        self.pause_s = self.breaker.probe_min_s

    def _pause(self, now: float, jitter: Callable[[], float]) -> None:
        self.probe_at = now + self.pause_s * (0.75 + 0.5 * jitter())
