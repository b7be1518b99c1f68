"""A small physical model of a data hall: where every simulated reading comes from, so that the readings fit together.

IT load has a daily rhythm; the UPS loses part of what it passes on; cooling follows heat and outdoor temperature;
temperatures follow cooling with a delay; energy is the integral of power. Same seed and same times, same values.
"""

import math
import random
from dataclasses import dataclass, field
from functools import lru_cache

DAY_S = 86400.0
NOMINAL_V, NOMINAL_HZ = 230.0, 50.0
#: The furthest one call may advance: a week of steps takes some seconds of CPU.
MAX_ADVANCE_S = 7 * DAY_S


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a device stands: on which feed (see `HallModel.feeds`), with which share of it, and its own name.

    The name gives every device small differences of its own, so that no two sensors agree to the last digit.
    """

    name: str
    feed: str = "it"
    share: float = 1.0
    phases: int = 3  #: 1 or 3
    battery_blocks: int = 32  #: of 12 V in series behind a UPS
    counted: dict[str, float] = field(default_factory=dict, compare=False)  #: by its counters until it last started


class _Drift:
    """Noise with a memory of `tau_s` and a standard deviation of `sigma` (Ornstein-Uhlenbeck)."""

    def __init__(self, rng: random.Random, sigma: float, tau_s: float) -> None:
        self.value = rng.gauss(0.0, sigma)
        self._rng, self._sigma, self._tau_s = rng, sigma, tau_s

    def step(self, dt: float) -> float:
        keep = math.exp(-dt / self._tau_s)
        self.value = keep * self.value + self._sigma * math.sqrt(1 - keep * keep) * self._rng.gauss(0.0, 1.0)
        return self.value


class HallModel:
    """The hall at `time_s`, simulated seconds since midnight of its first day.

    `it_kw` is the nominal IT load. The model steps by `step_s`; `advance` goes as far as whole steps reach, so
    that the way there (one call or many) makes no difference.
    """

    def __init__(
        self, seed: int = 1, it_kw: float = 180.0, *, start_s: float = 10 * 3600.0, step_s: float = 1.0
    ) -> None:
        self.seed = seed
        self.nominal_kw = it_kw
        self._start_s, self._step_s, self._steps = start_s, step_s, 0
        rng = random.Random(seed)
        self._load_noise = _Drift(rng, 0.012, 60.0)
        self._weather = _Drift(rng, 0.6, 3600.0)
        self._mains_v = _Drift(rng, 0.005, 30.0)
        self._grid_hz = _Drift(rng, 0.015, 10.0)
        self._supply_noise = _Drift(rng, 0.12, 120.0)
        self._moisture = _Drift(rng, 1.2, 1200.0)
        self._phases = [_Drift(rng, 0.02, 300.0) for _ in range(3)]
        self._drifts = [self._load_noise, self._weather, self._mains_v, self._grid_hz]
        self._drifts += [self._supply_noise, self._moisture, *self._phases]
        self._follow()
        self.cooling_thermal_kw = self.it_kw + self.ups_loss_kw
        self.supply_c, self.return_c, self.inlet_c = 20.0, 31.0, 22.5
        for _ in range(900):  # settle before anybody looks
            self._temperatures(1.0)
        #: Half a year of nominal load lies behind the meters.
        self.energy_kwh = {feed: kw * 24 * 182.0 for feed, kw in self.feeds().items()}
        self.demand_kw = self.feeds()
        self.peak_kw = self.feeds()

    def advance(self, to_s: float) -> None:
        """Go on until `to_s`. Raises ValueError for a time before the present or more than MAX_ADVANCE_S ahead."""
        ahead = to_s - self.time_s
        if not -1e-6 <= ahead <= MAX_ADVANCE_S:
            raise ValueError(
                f"hall at {self.time_s:.0f} s cannot go to {to_s:.0f} s: from 0 to {MAX_ADVANCE_S:.0f} s on"
            )
        for _ in range(int(ahead / self._step_s + 1e-9)):
            self._steps += 1
            self._step(self._step_s)

    @property
    def time_s(self) -> float:
        """The present, in simulated seconds since midnight of the first day."""
        return self._start_s + self._steps * self._step_s

    def feeds(self) -> dict[str, float]:
        """Active power of every feed in kW: what a meter there shows."""
        return {
            "mains": self.it_kw + self.ups_loss_kw + self.cooling_kw + self.other_kw,
            "ups": self.it_kw + self.ups_loss_kw,
            "it": self.it_kw,
            "cooling": self.cooling_kw,
        }

    @property
    def pue(self) -> float:
        """Power usage effectiveness at this moment (ISO/IEC 30134-2, from power instead of yearly energy)."""
        return self.feeds()["mains"] / self.it_kw

    def phase_v(self, phase: int) -> float:
        """Line-to-neutral voltage of phase 1-3."""
        return NOMINAL_V * (1 + self._mains_v.value + 0.15 * self._phases[phase - 1].value)

    def phase_part(self, phase: int) -> float:
        """Part of a feed's power on phase 1-3; the three add up to 1."""
        weights = [1 + drift.value for drift in self._phases]
        return weights[phase - 1] / sum(weights)

    def wobble(self, name: str, period_s: float = 60.0) -> float:
        """A slow movement between -1 and 1, its own for every `name`: local differences and unknown quantities."""
        first, second = _phases_of(f"{self.seed}/{name}")
        at = self.time_s / period_s
        return 0.6 * math.sin(math.tau * (at + first)) + 0.4 * math.sin(math.tau * (at / 7.3 + second))

    def _step(self, dt: float) -> None:
        for drift in self._drifts:
            drift.step(dt)
        self._follow()
        self._temperatures(dt)
        self._meter(dt)

    def _follow(self) -> None:
        """What follows the time of day and the noise at once: load, losses, outdoor temperature, grid."""
        hour = self.time_s % DAY_S / 3600
        rhythm = 0.74 + 0.11 * math.sin(math.tau * (hour - 9) / 24)
        self.load = max(0.1, rhythm + self._load_noise.value)
        self.it_kw = self.nominal_kw * self.load
        self.ups_loss_kw = self.nominal_kw * (0.010 + 0.028 * self.load + 0.012 * self.load**2)
        self.outdoor_c = 23.0 + 5.5 * math.sin(math.tau * (hour - 9) / 24) + self._weather.value
        self.frequency_hz = NOMINAL_HZ + self._grid_hz.value

    def _temperatures(self, dt: float) -> None:
        heat_kw = self.it_kw + self.ups_loss_kw
        self.cooling_thermal_kw += (heat_kw - self.cooling_thermal_kw) * min(1.0, dt / 180.0)
        self.cooling_part = self.cooling_thermal_kw / self.nominal_kw
        lag_kw = heat_kw - self.cooling_thermal_kw
        self.fan_percent = min(100.0, 35 + 50 * self.cooling_part)
        supply = 20.0 + self._supply_noise.value + 0.08 * lag_kw
        rise = 16.0 * self.cooling_part / (self.fan_percent / 75)
        self.supply_c += (supply - self.supply_c) * min(1.0, dt / 90.0)
        self.return_c += (self.supply_c + rise - self.return_c) * min(1.0, dt / 240.0)
        self.inlet_c += (self.supply_c + 0.18 * (self.return_c - self.supply_c) - self.inlet_c) * min(1.0, dt / 120.0)
        self.humidity = min(70.0, max(25.0, 46.0 - 1.6 * (self.inlet_c - 22.0) + self._moisture.value))
        cop = min(7.0, max(2.5, 5.6 - 0.09 * (self.outdoor_c - 18)))
        fans_kw = 0.05 * self.nominal_kw * (self.fan_percent / 100) ** 3
        self.cooling_kw = self.cooling_thermal_kw / cop + fans_kw
        self.other_kw = 0.015 * self.nominal_kw

    def _meter(self, dt: float) -> None:
        for feed, kw in self.feeds().items():
            self.energy_kwh[feed] += kw * dt / 3600
            self.demand_kw[feed] += (kw - self.demand_kw[feed]) * min(1.0, dt / 900.0)
            self.peak_kw[feed] = max(self.peak_kw[feed], self.demand_kw[feed])


@lru_cache(maxsize=10_000)  # one entry per name, some hundred bytes each
def _phases_of(name: str) -> tuple[float, float]:
    rng = random.Random(name)
    return rng.random(), rng.random()
