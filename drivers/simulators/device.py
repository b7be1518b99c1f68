"""A virtual device made from any profile: every point shows what it means in the hall, encoded as the profile says."""

import math
import re

from drivers.codec import Reading, Status, Value, decode_point, encode_point
from drivers.profile import Point, Profile
from drivers.simulators.hall import HallModel, Seat
from drivers.simulators.quantities import UNITS, meaning, phase_of
from drivers.simulators.unit import BIT_FUNCTIONS, Bank, Identity, Unit

#: States a healthy device is in, most telling first; matched against the symbols of a state point.
_HEALTHY = (
    r"on[ _-]?line|^inverter|^acceptable",
    r"normal|ok\b|healthy|float",
    r"^on$|run|enabled|cooling|auto|^air$",
    r"none|idle|accept",
)
_TRUE_NAMES = re.compile(r"(?:^|_)(?:on_?line|enabled|present|healthy)(?:_|$)|^running$|(?:^|_)on$")
#: A device runs at this part of what its profile says it can show.
_USUAL_LOAD = 0.45
#: 12 V battery blocks in series behind a UPS of one phase (a cabinet on the floor) and of three (a room).
_BLOCKS = {1: 8, 3: 32}


def seat_for(profile: Profile, name: str, feed: str, share: float | None, hall: HallModel) -> Seat:
    """Where a device of `profile` fits into the hall; without `share` it carries what its ranges allow."""
    phases = 3 if any(point.unit == "A" and phase_of(point.name) == 3 for point in profile.point) else 1
    if share is None:
        power, current = _highest(profile, "power"), _highest(profile, "current")
        kw = _USUAL_LOAD * min(power or math.inf, phases * 0.23 * current if current else math.inf)
        share = min(1.0, kw / hall.nominal_kw)
    return Seat(name, feed, share, phases, _BLOCKS[phases])


def _highest(profile: Profile, dimension: str) -> float | None:
    """The smallest upper end of the ranges of such points, in the base unit of the dimension."""
    ends = [
        point.range[1] / UNITS[point.unit][1]
        for point in profile.point
        if point.range and UNITS.get(point.unit, ("",))[0] == dimension
    ]
    return min(ends, default=None)


class VirtualDevice:
    """A device of `profile` in its `seat`; `unit` is its Modbus side, kept in step with the hall.

    `strict`: reading a register that no point names is exception 2; None: as the profile says (`read_holes`).
    """

    def __init__(self, profile: Profile, seat: Seat, hall: HallModel, *, strict: bool | None = None) -> None:
        self.profile = profile
        self.seat = seat
        self._hall = hall
        self._shown_s: float | None = None
        holes = profile.limits.read_holes if strict is None else not strict
        functions = sorted({point.function for point in profile.point})
        self._banks = {function: _bank(profile, function, holes) for function in functions}
        # Bits last: they may lie in a word that another point shows whole.
        self._points = sorted(profile.point, key=lambda point: point.type == "bool")
        identity = Identity(profile.device.vendor, profile.device.model)
        self.unit = Unit(seat.name, self._banks, identity, self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the hall as it is now; does nothing when it has not moved."""
        if self._shown_s == self._hall.time_s:
            return
        self._shown_s = self._hall.time_s
        for point in self._points:
            self._show(point, self._words(point))

    def reading(self, name: str) -> Reading:
        """What a perfect collector makes of the registers as they are now. Raises KeyError."""
        self.refresh()
        point = self.profile.named(name)
        bank = self._banks[point.function]
        place = self.profile.wire_address(point) - bank.first
        if bank.width == 1:
            return decode_point(self.profile, point, bytes((bank.data[place],)))
        return decode_point(self.profile, point, bytes(bank.data[2 * place : 2 * (place + point.length)]))

    def readings(self) -> dict[str, Reading]:
        """`reading` of every point, in the profile's order."""
        return {point.name: self.reading(point.name) for point in self.profile.point}

    def _show(self, point: Point, words: tuple[int, ...]) -> None:
        bank = self._banks[point.function]
        place = self.profile.wire_address(point) - bank.first
        if bank.width == 1:
            bank.data[place] = words[0]
        elif point.type == "bool":
            mask = 1 << (point.bit or 0)
            before = int.from_bytes(bank.data[2 * place : 2 * place + 2], "big")
            bank.data[2 * place : 2 * place + 2] = (before & ~mask | words[0]).to_bytes(2, "big")
        else:
            bank.data[2 * place : 2 * (place + len(words))] = b"".join(word.to_bytes(2, "big") for word in words)

    def _words(self, point: Point) -> tuple[int, ...]:
        """Registers of a good value: the hall's, or where the point cannot show that, one inside its range."""
        for value in (self._value(point), self._plausible(point)):
            words = encode_point(self.profile, point, value)
            if point.type in ("bool", "string"):
                return words
            packed = b"".join(word.to_bytes(2, "big") for word in words)
            if decode_point(self.profile, point, packed).status is Status.GOOD:
                return words
        raise ValueError(f"{self.seat.name}: {point.name} has no good value to show: range {point.range}")

    def _value(self, point: Point) -> Value:
        if point.type == "string":
            return {"firmware": "1.0", "serial": f"SIM-{self.seat.name}"}.get(point.name, self.profile.device.model)
        if point.type == "bool":
            return bool(_TRUE_NAMES.search(point.name))
        if point.is_state:
            return _healthy(point)
        known = meaning(point.name, point.unit)
        if known is None:
            return self._plausible(point)
        quantity, factor = known
        return quantity(self._hall, self.seat, point.name) * factor

    def _plausible(self, point: Point) -> float:
        """A value for a point that means nothing in the hall: inside its range, steady for a counter."""
        low, high = point.range or (0.0, 100.0)
        wobble = self._hall.wobble(f"{self.seat.name}/{point.name}", 600.0)
        if point.kind == "counter":
            return low + min(0.5 * (high - low), 1000 + self._hall.time_s / 3600)
        middle = low + (high - low) * (_USUAL_LOAD + 0.02 * wobble)
        return float(round(middle)) if point.is_state else middle


def _bank(profile: Profile, function: int, holes: bool) -> Bank:
    spans = [profile.span(point) for point in profile.point if point.function == function]
    first, end = min(span[0] for span in spans), max(span[1] for span in spans)
    width = 1 if function in BIT_FUNCTIONS else 2
    defined = bytearray(b"\1" if holes else b"\0") * (end - first)
    for begin, behind in profile.forbidden():
        for address in range(max(begin, first), min(behind, end)):
            defined[address - first] = 0
    for begin, behind in spans:
        defined[begin - first : behind - first] = b"\1" * (behind - begin)
    mask = bytes(defined) if 0 in defined else None
    return Bank(first, bytearray((end - first) * width), width=width, defined=mask, limit=profile.max_count(function))


def _healthy(point: Point) -> int:
    """The state of a device that has nothing to report."""
    for pattern in _HEALTHY:
        for number, symbol in point.symbols.items():
            if re.search(pattern, symbol, re.IGNORECASE):
                return int(number)
    if point.symbols:
        return min(map(int, point.symbols))
    return round(point.range[0]) if point.range and point.range[0] > 0 else 0
