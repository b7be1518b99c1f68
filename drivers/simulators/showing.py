"""What a point of any profile shows in the hall: a quantity of it, or something plausible."""

import math
import re

from drivers.codec import Value
from drivers.meaning import AnyProfile, Meaning
from drivers.simulators.hall import HallModel, Seat
from drivers.simulators.quantities import BLOCK_V, UNITS, meaning, phase_of

#: States a healthy device is in, most telling first; matched against the symbols of a state point.
_HEALTHY = (
    r"on[ _-]?line|^inverter|^acceptable",
    r"normal|ok\b|healthy|float",
    r"^on$|run|enabled|cooling|auto|^air$",
    r"none|idle|accept",
)
_TRUE_NAMES = re.compile(
    r"(?:^|_)(?:on_?line|enabled|present|healthy)(?:_|$)|^(?:unit_)?running$|^operating$|^available$|^normal_operation$"
    r"|^(?:load_protected|battery_ok|battery_charged|output_powered|output_breaker_closed)$"
    r"|^(?!heat|humidif|dehumidif|eco_|energy_saver|genset_)(?:.*_)?on$"  # not what works against cooling or stands by
)
#: A device runs at this part of what its profile says it can show.
_USUAL_LOAD = 0.45
#: 12 V battery blocks in series behind a UPS of one phase (a cabinet on the floor) and of three (a room).
_BLOCKS = {1: 8, 3: 32}


def seat_for(profile: AnyProfile, name: str, feed: str, share: float | None, hall: HallModel) -> Seat:
    """Where a device of `profile` fits into the hall; without `share` it carries what its ranges allow."""
    phases = 3 if any(point.unit == "A" and phase_of(point.name) == 3 for point in profile.point) else 1
    if share is None:
        power, current = _highest(profile, "power"), _highest(profile, "current")
        kw = _USUAL_LOAD * min(power or math.inf, phases * 0.23 * current if current else math.inf)
        share = min(1.0, kw / hall.nominal_kw)
    return Seat(name, feed, share, phases, _blocks(profile, phases))


def _blocks(profile: AnyProfile, phases: int) -> int:
    """Battery blocks in series: the usual number, or as many as the profile can show (an engine's starter has two)."""
    ends = [p.range[1] for p in profile.point if p.range and p.unit == "V" and p.name.startswith("battery")]
    return max(1, min(_BLOCKS[phases], *(int(end / BLOCK_V) for end in ends), _BLOCKS[3]))


def _highest(profile: AnyProfile, dimension: str) -> float | None:
    """The smallest upper end of the ranges of such points, in the base unit of the dimension."""
    ends = [
        point.range[1] / UNITS[point.unit][1]
        for point in profile.point
        if point.range and UNITS.get(point.unit, ("",))[0] == dimension
    ]
    return min(ends, default=None)


def shown(hall: HallModel, seat: Seat, profile: AnyProfile, point: Meaning) -> Value:
    """The published value of `point` of a device in `seat`."""
    if point.is_text:
        return {"firmware": "1.0", "serial": f"SIM-{seat.name}"}.get(point.name, profile.device.model)
    if point.is_bool:
        return bool(_TRUE_NAMES.search(point.name))
    if point.is_state:
        return _healthy(point)
    known = meaning(point.name, point.unit)
    if known is None:
        return plausible(hall, seat, point)
    quantity, factor = known
    return quantity(hall, seat, point.name) * factor - seat.counted.get(point.name, 0.0)


def restart(hall: HallModel, seat: Seat, profile: AnyProfile) -> None:
    """Let the counters of the device in `seat` begin at zero."""
    for point in profile.point:
        if point.kind == "counter" and (known := meaning(point.name, point.unit)) is not None:
            quantity, factor = known
            seat.counted[point.name] = quantity(hall, seat, point.name) * factor


def plausible(hall: HallModel, seat: Seat, point: Meaning) -> float:
    """A value for a point that means nothing in the hall: inside its range, steady for a counter."""
    low, high = point.range or (0.0, 100.0)
    wobble = hall.wobble(f"{seat.name}/{point.name}", 600.0)
    if point.kind == "counter":
        return low + min(0.5 * (high - low), 1000 + hall.time_s / 3600)
    middle = low + (high - low) * (_USUAL_LOAD + 0.02 * wobble)
    return float(round(middle)) if point.is_state else middle


def _healthy(point: Meaning) -> int:
    """The state of a device that has nothing to report."""
    for pattern in _HEALTHY:
        for number, symbol in point.symbols.items():
            if re.search(pattern, symbol, re.IGNORECASE):
                return int(number)
    if point.symbols:
        return min(map(int, point.symbols))
    return round(point.range[0]) if point.range and point.range[0] > 0 else 0
