"""How long an uplink waits before it knocks again, and which row it had better not bring along."""

import random

from collector.errors import UplinkError, UplinkRefused

#: After a refusal nobody has to hurry: no broker sees us more often than this.
REFUSED_MIN_S = 30.0
MAX_S = 60.0
#: A connection that held this long proves that the trouble before it is over. Shorter ones do not: two clients
#: with one client id would push each other out in a circle.
STABLE_S = 60.0
#: Connections that ended with the same row alone under way, before the row is held back, and for how long.
MAX_FATAL = 3
HELD_BACK_S = 900.0
#: Rows remembered so; a broker that ends connections for other reasons leaves harmless entries.
MAX_SUSPECTS = 64


class Backoff:
    """Exponential from 1 s to MAX_S with full jitter; at least REFUSED_MIN_S where somebody must act first."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0

    def after(self, error: UplinkError, lasted_s: float) -> float:
        """Seconds to wait after a connection that lasted so long, 0 if it never came to be."""
        if lasted_s >= STABLE_S:
            self._failures = 0
        ceiling = min(MAX_S, 2.0 ** min(self._failures, 10))
        self._failures += 1
        if isinstance(error, UplinkRefused):
            return self._rng.uniform(REFUSED_MIN_S, MAX_S)
        return self._rng.uniform(0.0, ceiling)


class Suspects:
    """Rows that seem to end every connection: too large for a broker that says so by hanging up."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[int, float]] = {}  # seq → connections ended, held back until

    def alone_at_the_end(self, seq: int, now: float) -> None:
        """A connection ended while this row, and no other, waited for its PUBACK."""
        fatal, _ = self._rows.pop(seq, (0, 0.0))
        self._rows[seq] = (fatal + 1, now + HELD_BACK_S)
        if len(self._rows) > MAX_SUSPECTS:
            del self._rows[next(iter(self._rows))]

    def acquit(self, seq: int) -> None:
        """The broker took it."""
        self._rows.pop(seq, None)

    def held_back(self, seq: int, now: float) -> bool:
        fatal, until = self._rows.get(seq, (0, 0.0))
        return fatal >= MAX_FATAL and now < until
