"""What a point of a profile means in the hall model: from its unit and name to a quantity of the hall.

`VALUE_OF` lists (dimension of the unit, pattern in the name, quantity); the first row that matches wins. Everything
here is in the base unit of its dimension: kW, kVA, kvar, kWh, V, A, Ω, Hz, deg, Ah, °C, %, s, m, kPa, rpm.
"""

import math
import re
from collections.abc import Callable
from functools import lru_cache

from drivers.simulators.hall import NOMINAL_V, HallModel, Seat

#: unit → (dimension, how many of this unit make one base unit)
UNITS: dict[str, tuple[str, float]] = {
    "kW": ("power", 1), "W": ("power", 1000), "MW": ("power", 0.001),
    "kVA": ("apparent", 1), "VA": ("apparent", 1000), "MVA": ("apparent", 0.001),
    "kvar": ("reactive", 1), "var": ("reactive", 1000), "Mvar": ("reactive", 0.001),
    "kWh": ("energy", 1), "Wh": ("energy", 1000), "MWh": ("energy", 0.001),
    "kVAh": ("energy", 1.03), "VAh": ("energy", 1030), "MVAh": ("energy", 0.00103),
    "kvarh": ("energy", 0.25), "varh": ("energy", 250), "Mvarh": ("energy", 0.00025),
    "V": ("voltage", 1), "mV": ("voltage", 1000), "kV": ("voltage", 0.001),
    "A": ("current", 1), "mA": ("current", 1000), "Ω": ("resistance", 1), "mΩ": ("resistance", 1000),
    "Hz": ("frequency", 1), "deg": ("angle", 1), "Ah": ("charge", 1), "°C": ("temperature", 1),
    "%": ("percent", 1), "%RH": ("humidity", 1),
    "m": ("length", 1), "mm": ("length", 1000), "rpm": ("speed", 1),
    "kPa": ("pressure", 1), "Pa": ("pressure", 1000), "bar": ("pressure", 0.01),
    "s": ("duration", 1), "min": ("duration", 1 / 60), "h": ("duration", 1 / 3600),
    "": ("", 1),
}  # fmt: skip

#: Power factor of servers and of a hall with its motors.
_POWER_FACTOR = {"it": 0.98, "ups": 0.99, "mains": 0.95, "cooling": 0.86}
BLOCK_V = 2.27 * 6  #: float voltage of one 12 V lead-acid block
_RUNTIME_FULL_LOAD_S = 900.0
#: A UPS is built for this many times the nominal load behind it.
HEADROOM = 1.25
#: A rack PDU spreads its load over that many.
OUTLETS = 24

_LINE_PAIR = re.compile(r"(?:^|_)(ab|bc|ca|l1_?l2|l2_?l3|l3_?l1|ll)(?:_|$)")
_PHASE = re.compile(r"(?:^|_)(?:l|ph|phase_?)?([123abcrst])(?:_|$)")
_PHASE_NUMBER = {"1": 1, "2": 2, "3": 3, "a": 1, "b": 2, "c": 3, "r": 1, "s": 2, "t": 3}


@lru_cache(maxsize=4096)  # one entry per point name of the profiles in use
def phase_of(name: str) -> int:
    """Phase 1-3 that a point name speaks of, 0 for the whole device."""
    found = _PHASE.search(name)
    return _PHASE_NUMBER[found[1]] if found else 0


def feed_power(hall: HallModel, seat: Seat, name: str) -> float:
    """Active power in kW of the device or, for a name with a phase, of one phase."""
    return hall.feeds()[seat.feed] * seat.share * _part(hall, seat, name)


def _part(hall: HallModel, seat: Seat, name: str) -> float:
    phase = phase_of(name)
    return hall.phase_part(phase) if phase and seat.phases == 3 else 1.0


def _power_factor(hall: HallModel, seat: Seat, name: str) -> float:
    return _POWER_FACTOR[seat.feed] + 0.004 * hall.wobble(seat.feed, 120.0)


def _apparent(hall: HallModel, seat: Seat, name: str) -> float:
    return feed_power(hall, seat, name) / _power_factor(hall, seat, name)


def _reactive(hall: HallModel, seat: Seat, name: str) -> float:
    return feed_power(hall, seat, name) * math.tan(math.acos(_power_factor(hall, seat, name)))


def _angle(hall: HallModel, seat: Seat, name: str) -> float:
    return math.degrees(math.acos(_power_factor(hall, seat, name)))


def _rating(hall: HallModel, seat: Seat, name: str) -> float:
    """What the device is built for: the nominal load and a quarter more, as `load` below says."""
    return hall.nominal_kw * seat.share * HEADROOM


def _voltage(hall: HallModel, seat: Seat, name: str) -> float:
    phase = phase_of(name)
    if phase:
        return hall.phase_v(phase)
    return sum(hall.phase_v(each) for each in (1, 2, 3)) / 3


def _line_voltage(hall: HallModel, seat: Seat, name: str) -> float:
    pair = _LINE_PAIR.search(name)
    first = {"ab": 1, "bc": 2, "ca": 3, "l1": 1, "l2": 2, "l3": 3}.get(pair[1][:2] if pair else "", 1)
    one, other = hall.phase_v(first), hall.phase_v(first % 3 + 1)
    return math.sqrt(one * one + other * other + one * other)  # two sides at 120 degrees


def _output_voltage(hall: HallModel, seat: Seat, name: str) -> float:
    return NOMINAL_V + 0.6 * hall.wobble(f"{seat.name}/{name}")


def _current(hall: HallModel, seat: Seat, name: str) -> float:
    phase = phase_of(name)
    if seat.phases == 3 and not phase:
        return sum(_current(hall, seat, letter) for letter in "123") / 3
    return _apparent(hall, seat, name) * 1000 / (hall.phase_v(phase) if phase else NOMINAL_V)


def _battery_voltage(hall: HallModel, seat: Seat, name: str) -> float:
    return seat.battery_blocks * (BLOCK_V + 0.02 * hall.wobble(f"{seat.name}/{name}", 300.0))


def _battery_current(hall: HallModel, seat: Seat, name: str) -> float:
    return 0.2 + 0.05 * hall.wobble(f"{seat.name}/{name}")


def _runtime(hall: HallModel, seat: Seat, name: str) -> float:
    return _RUNTIME_FULL_LOAD_S / hall.load + 20 * hall.wobble(f"{seat.name}/{name}", 120.0)


def _energy(hall: HallModel, seat: Seat, name: str) -> float:
    return hall.energy_kwh[seat.feed] * seat.share / (3 if phase_of(name) and seat.phases == 3 else 1)


def _local(read: Callable[[HallModel], float], spread: float) -> Callable[[HallModel, Seat, str], float]:
    """A quantity of the whole hall with a small difference at each place, steady and moving."""

    def at(hall: HallModel, seat: Seat, name: str) -> float:
        place = f"{seat.name}/{name}"
        return read(hall) + spread * (0.7 * hall.wobble(place, 1e9) + 0.3 * hall.wobble(place, 90.0))

    return at


def _dew_point(hall: HallModel) -> float:
    gamma = math.log(hall.humidity / 100) + 17.62 * hall.return_c / (243.12 + hall.return_c)  # Magnus, WMO 2008
    return 243.12 * gamma / (17.62 - gamma)


Quantity = Callable[[HallModel, Seat, str], float]
VALUE_OF: tuple[tuple[str, str, Quantity], ...] = (
    ("voltage", r"batt|dc_bus|charger", _battery_voltage),
    ("voltage", _LINE_PAIR.pattern, _line_voltage),
    ("voltage", r"output", _output_voltage),
    ("voltage", r"", _voltage),
    ("current", r"batt", _battery_current),
    ("current", r"leak", lambda hall, seat, name: 8e-6),  # of a dry sensing cable
    ("current", r"neutral|ground|(?:^|_)n(?:_|$)", lambda hall, seat, name: 0.04 * _current(hall, seat, "")),
    ("current", r"outlet", lambda hall, seat, name: _current(hall, seat, "") / OUTLETS),
    ("current", r"", _current),
    ("power", r"rated|nominal", _rating),
    ("apparent", r"rated|nominal", _rating),
    ("power", r"peak|max", lambda hall, seat, name: hall.peak_kw[seat.feed] * seat.share),
    ("power", r"demand", lambda hall, seat, name: hall.demand_kw[seat.feed] * seat.share),
    ("power", r"outlet", lambda hall, seat, name: feed_power(hall, seat, "") / OUTLETS),
    ("power", r"", feed_power),
    ("apparent", r"outlet", lambda hall, seat, name: _apparent(hall, seat, "") / OUTLETS),
    ("apparent", r"", _apparent),
    ("reactive", r"", _reactive),
    ("energy", r"export|deliver|reverse|(?:^|_)t[2-4](?:_|$)", lambda hall, seat, name: 0.0),
    ("energy", r"", _energy),
    ("frequency", r"", _local(lambda hall: hall.frequency_hz, 0.003)),
    ("", r"power_factor|(?:^|_)pf|cos_?phi", _power_factor),
    ("angle", r"phase|phi", _angle),
    ("charge", r"", lambda hall, seat, name: 100.0),
    ("", r"packs|ratio", lambda hall, seat, name: 1.0),
    ("", r"version", lambda hall, seat, name: 3.1),
    ("", r"cable_length", lambda hall, seat, name: 120.0),
    ("", r"(?:^|_)(?:leak_distance|location)(?:_|$)", lambda hall, seat, name: 0.0),
    ("length", r"leak", lambda hall, seat, name: 0.0),
    ("length", r"cable", lambda hall, seat, name: 36.6),
    ("resistance", r"per_foot", lambda hall, seat, name: 2.8),
    ("resistance", r"loop|leg|cable", lambda hall, seat, name: 336.0),  # 120 feet at 2.8 Ω
    ("speed", r"engine", _local(lambda hall: 30 * hall.frequency_hz, 2.0)),  # four poles
    ("pressure", r"oil", _local(lambda hall: 410.0, 8.0)),
    ("temperature", r"coolant", _local(lambda hall: 82.0, 1.0)),
    ("temperature", r"(?:^|_)oil", _local(lambda hall: 92.0, 1.0)),
    ("temperature", r"set_?point|target", lambda hall, seat, name: 22.0),
    ("temperature", r"dew", _local(_dew_point, 0.2)),
    ("temperature", r"supply|discharge|outlet", _local(lambda hall: hall.supply_c, 0.4)),
    ("temperature", r"return", _local(lambda hall: hall.return_c, 0.6)),
    ("temperature", r"outdoor|outside|condens", _local(lambda hall: hall.outdoor_c, 0.3)),
    ("temperature", r"batt", _local(lambda hall: 24.5, 0.5)),
    ("temperature", r"water", _local(lambda hall: 9.0, 0.4)),
    ("temperature", r"internal|heatsink|inverter|ups|device", _local(lambda hall: 30 + 8 * hall.load, 0.8)),
    ("temperature", r"", _local(lambda hall: hall.inlet_c, 0.8)),
    ("humidity", r"set_?point|target", lambda hall, seat, name: 45.0),
    ("humidity", r"", _local(lambda hall: hall.humidity, 2.0)),
    ("percent", r"heat|humidif|hot_water", lambda hall, seat, name: 0.0),
    ("percent", r"humid|(?:^|_)rh", _local(lambda hall: hall.humidity, 2.0)),
    ("percent", r"fuel", lambda hall, seat, name: 78.0),
    ("percent", r"charge|level|capacity_left|soc", lambda hall, seat, name: 100.0),
    ("percent", r"fan", lambda hall, seat, name: hall.fan_percent),
    ("percent", r"load|current", lambda hall, seat, name: 100 * hall.load / HEADROOM),
    ("percent", r"effic", lambda hall, seat, name: 100 * hall.it_kw / (hall.it_kw + hall.ups_loss_kw)),
    ("percent", r"compress|cool|valve|capacity", lambda hall, seat, name: min(100.0, 90 * hall.cooling_part)),
    ("percent", r"thd_?(?:v|u)|volt.*thd", _local(lambda hall: 1.8, 0.3)),
    ("percent", r"thd", _local(lambda hall: 6.0, 1.0)),
    ("percent", r"unbal|imbal", _local(lambda hall: 1.5, 0.5)),
    ("duration", r"on_battery|discharg", lambda hall, seat, name: 0.0),
    ("duration", r"runtime|remain|autonomy|backup|left", _runtime),
)  # fmt: skip


@lru_cache(maxsize=4096)  # one entry per point of the profiles in use
def meaning(name: str, unit: str) -> tuple[Quantity, float] | None:
    """The quantity a point shows and the factor from its base unit to `unit`; None when nothing is known of it."""
    dimension, factor = UNITS.get(unit, ("unknown", 1.0))
    for wanted, pattern, quantity in VALUE_OF:
        if wanted == dimension and re.search(pattern, name):
            return quantity, factor
    return None
