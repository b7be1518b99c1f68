"""How long a database or broker is left alone after it failed, and what the operator is told about it."""

import logging
import random

from collector.clock import Clock
from collector.errors import CollectorError
from collector.wording import counted

log = logging.getLogger(__name__)

#: First pause after a failure; doubles up to the longest, each time between half and all of it.
FIRST_PAUSE_S = 0.5
#: Somebody must act: asking more often only fills the other side's log.
REFUSED_PAUSE_S = 60.0


class Pace:
    """One outage at a time: pauses that grow, one warning at its beginning, one line at its end."""

    def __init__(self, subject: str, longest_s: float, clock: Clock, rng: random.Random) -> None:
        self.subject = subject
        self._longest_s = longest_s
        self._clock = clock
        self._rng = rng
        self._failures = 0  #: of this outage
        self._growth = 0  #: failures since the last time that lasted
        self._since = 0.0
        self._refused = False
        self.last_error = ""  #: empty while all is well

    @property
    def down_s(self) -> float:
        """Seconds since the outage began, 0 when there is none."""
        return self._clock.mono() - self._since if self._failures else 0.0

    def failed(self, error: CollectorError) -> float:
        """Seconds to wait before the next attempt: never less than the other side asked for."""
        if not self._failures:
            self._since = self._clock.mono()
        self._failures += 1
        self._growth = min(self._growth + 1, 16)
        self.last_error = str(error)
        self._tell(error)
        if not error.retryable:
            return REFUSED_PAUSE_S * self._rng.uniform(1.0, 1.25)
        longest = min(FIRST_PAUSE_S * 2.0 ** (self._growth - 1), self._longest_s)
        asked: float = getattr(error, "retry_after_s", None) or 0.0
        return max(longest * self._rng.uniform(0.5, 1.0), asked)

    def succeeded(self, *, steady: bool = True) -> None:
        """It works. When that is not known to last (`steady` False) the next pause still grows."""
        if self._failures:
            failures = counted(self._failures, "failure")
            log.info("%s: well again after %.1f s and %s", self.subject, self.down_s, failures)
        self._failures = 0
        self._growth = 0 if steady else self._growth
        self._refused = False
        self.last_error = ""

    def _tell(self, error: CollectorError) -> None:
        if not error.retryable and not self._refused:
            log.error("%s — kept, but going nowhere until somebody acts", error)
        elif self._failures == 1:
            log.warning("%s — trying again", error)
        else:
            log.debug("%s — failure %d of this outage", error, self._failures)
        self._refused = self._refused or not error.retryable
