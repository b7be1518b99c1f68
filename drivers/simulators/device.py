"""A virtual device made from any profile: every point shows what it means in the hall, encoded as the profile says."""

from drivers.codec import Reading, Status, Value, decode_point, encode_point, own_bits
from drivers.derived import derive
from drivers.point import Point
from drivers.profile import Profile
from drivers.scaling import MAX_EXPONENT
from drivers.simulators.hall import HallModel, Seat
from drivers.simulators.showing import plausible, restart, shown
from drivers.simulators.unit import BIT_FUNCTIONS, Bank, Identity, Unit


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
        self._points = sorted(profile.point, key=lambda point: point.type == "bool" or point.bits is not None)
        self._exponents = _exponents(profile)
        for (function, address), exponent in self._exponents.items():
            place = address - self._banks[function].first
            self._banks[function].data[2 * place : 2 * place + 2] = exponent.to_bytes(2, "big", signed=True)
        identity = Identity(profile.device.vendor, profile.device.model)
        self.unit = Unit(seat.name, self._banks, identity, self.refresh, self._restart)
        self.refresh()

    def refresh(self) -> None:
        """Show the hall as it is now; does nothing when it has not moved."""
        if self._shown_s == self._hall.time_s:
            return
        self._shown_s = self._hall.time_s
        for point in self._points:
            self._show(point)

    def _restart(self) -> None:
        restart(self._hall, self.seat, self.profile)
        self._shown_s = None

    def reading(self, name: str) -> Reading:
        """What a perfect collector makes of the registers as they are now. Raises KeyError."""
        return self.readings()[name] if name in {p.name for p in self.profile.derived} else self._read(name)

    def readings(self) -> dict[str, Reading]:
        """`reading` of every point, in the profile's order."""
        found = {point.name: self._read(point.name) for point in self.profile.point}
        return found | derive(self.profile, found)

    def _read(self, name: str) -> Reading:
        self.refresh()
        return self._decoded(self.profile.named(name))

    def _decoded(self, point: Point) -> Reading:
        bank, (first, end) = self._banks[point.function], self.profile.reach(point)
        data = bytes(bank.data[bank.width * (first - bank.first) : bank.width * (end - bank.first)])
        return decode_point(self.profile, point, data, self.profile.wire_address(point) - first)

    def _show(self, point: Point) -> None:
        """Put a good value into the bank: the hall's, or where the point cannot show that, one inside its range."""
        scale = self.profile.scale_address(point)
        exponent = 0 if scale is None else self._exponents[point.function, scale]
        for value in (self._value(point), plausible(self._hall, self.seat, point)):
            self._put(point, encode_point(self.profile, point, value, exponent))
            if point.type in ("bool", "string") or self._decoded(point).status is Status.GOOD:
                return
        raise ValueError(f"{self.seat.name}: {point.name} has no good value to show: range {point.range}")

    def _put(self, point: Point, words: tuple[int, ...]) -> None:
        """Bits beside the point's own stay as they are."""
        bank = self._banks[point.function]
        place = self.profile.wire_address(point) - bank.first
        if bank.width == 1:
            bank.data[place] = words[0]
            return
        for at, (word, mask) in enumerate(zip(words, own_bits(self.profile, point), strict=True), place):
            before = int.from_bytes(bank.data[2 * at : 2 * at + 2], "big")
            bank.data[2 * at : 2 * at + 2] = (before & ~mask | word).to_bytes(2, "big")

    def _value(self, point: Point) -> Value:
        exponent = self._exponents.get((point.function, self.profile.wire_address(point)))
        if exponent is not None:
            return exponent
        return shown(self._hall, self.seat, self.profile, point)


def _exponents(profile: Profile) -> dict[tuple[int, int], int]:
    """What each scale register says, by function and wire address: the finest step with which all its points fit."""
    found: dict[tuple[int, int], int] = {}
    for point in profile.point:
        scale = profile.scale_address(point)
        if scale is not None:
            finest = -min(point.scaling.decimals, MAX_EXPONENT)
            key = point.function, scale
            found[key] = max(found.get(key, finest), next(e for e in range(finest, MAX_EXPONENT) if _fits(point, e)))
    return found


def _fits(point: Point, exponent: int) -> bool:
    """Whether the point can show all of its range with this exponent; without a range nothing is asked of it."""
    if point.is_float or point.range is None:
        return True
    low, high = point.raw_limits or (0, 0)
    ends = [point.scaling.raw(end, exponent) for end in point.range]
    return exponent == MAX_EXPONENT - 1 or (low <= min(ends) and max(ends) <= high)


def _bank(profile: Profile, function: int, holes: bool) -> Bank:
    spans = profile.needed_runs(function)
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
