"""What lines and units showed of late, beside what was predicted of them.

The load of a line is the share of the last minute in which it was in use: a mean since the start would hide what began
an hour ago. A unit whose answers take much longer than planned for a whole minute is named, with what its turnaround
seems to be: then its profile is wrong about it, or its address hides a slow line.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from drivers.address import BusAddress

log = logging.getLogger(__name__)

#: How far back the load of a line looks.
WINDOW_S = 60.0
#: Looks remembered: one a second, or fewer.
MAX_LOOKS = 64
#: An answer may take so many times what was predicted, and so much more than it, before anybody is told: below is the
#: event loop, a switch, the mixture of long and short reads.
SLOW_FACTOR = 2.0
SLOW_LEAST_S = 0.010
#: ... and that for so long: a unit that starts, or a burst of its longest reads, is no news.
SLOW_AFTER_S = 60.0


class UnitPlan(Protocol):
    """What was predicted of a unit."""

    @property
    def device(self) -> str: ...
    @property
    def turnaround_s(self) -> float: ...
    @property
    def read_s(self) -> float: ...


class BusPlan(Protocol):
    """What was predicted of a line."""

    @property
    def address(self) -> BusAddress: ...
    @property
    def units(self) -> Sequence[UnitPlan]: ...


class Measured:
    """Fed at each look with the lines' time in use so far and the units' round trips."""

    def __init__(self, plans: Iterable[BusPlan], began: float) -> None:
        self._plans = {unit.device: (unit, bool(bus.address.baud)) for bus in plans for unit in bus.units}
        self._looks: deque[tuple[float, Mapping[str, float]]] = deque([(began, {})], MAX_LOOKS)
        self._slow_since: dict[str, float] = {}
        self._told: set[str] = set()  # whose slowness is in the journal

    def loads(self, now: float, busy_s: Mapping[str, float]) -> dict[str, float]:
        """Share of the last minute (or since the start) in which each line was in use. `busy_s`: since the start."""
        looks = self._looks
        while len(looks) > 1 and now - looks[1][0] >= WINDOW_S:
            looks.popleft()
        then, busy_then = looks[0]
        elapsed = now - then
        looks.append((now, busy_s))
        return {bus: (busy - busy_then.get(bus, 0.0)) / elapsed if elapsed > 0 else 0.0 for bus, busy in busy_s.items()}

    def predicted_s(self, device: str) -> float:
        """The mean time of a read of `device` that the plan reckons with."""
        return self._plans[device][0].read_s

    def slow(self, now: float, rtt_s: Mapping[str, float]) -> list[dict[str, Any]]:
        """The units that have been much slower than predicted at every look of the last minute.

        `rtt_s` holds only units that answer. `turnaround_ms` is what would explain it; None where the plan knows of no
        serial line, and one behind a gateway is as likely.
        """
        found = []
        for device in self._slow_since.keys() - rtt_s.keys():  # silent: begins anew when it answers
            del self._slow_since[device]
        for device, rtt in rtt_s.items():
            plan, serial = self._plans[device]
            excess = rtt - plan.read_s
            if excess < SLOW_LEAST_S or rtt < SLOW_FACTOR * plan.read_s:
                self._slow_since.pop(device, None)
                if device in self._told:
                    self._told.remove(device)
                    log.info("%s: as quick as predicted again, %.0f ms per read", device, 1000 * rtt)
            elif now - self._slow_since.setdefault(device, now) >= SLOW_AFTER_S:
                if device not in self._told:
                    self._told.add(device)
                    text = "%s: takes %.0f ms per read where %.0f ms were predicted"
                    log.warning(text, device, 1000 * rtt, 1000 * plan.read_s)
                found.append(
                    {
                        "device": device,
                        "rtt_ms": round(1000 * rtt, 1),
                        "predicted_ms": round(1000 * plan.read_s, 1),
                        "turnaround_ms": round(1000 * (plan.turnaround_s + excess)) if serial else None,
                    }
                )
        return found
