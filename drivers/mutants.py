"""Would anybody notice a mistake in this profile? Each fact of the map changed once, as people mistake it.

A mutant is a profile with one such change:

- address one too low or too high; the other table of the same kind (holding and input, coil and discrete)
- type: the other sign, a float for an integer and the reverse, binary for BCD, half or twice the length
- order: each of the others; on a text its bytes swapped; registers of a text: one more, one less
- bit: the next one, the one before; bits: shifted by one either way
- scale ten times and a tenth, pow2 one more and one less, offset dropped or one step more; scale_register and encoding
  dropped
- unit: another one of the same dimension
- each sentinel of `invalid` dropped
- limits: the other address_base; the other word orders, when there is a number they apply to
- in a text protocol: what the dialect's points say of themselves (`TextPoint.mistaken`), the neighbouring field or bit

It is noticed when the linter objects, when a golden frame does not decode to what it must, or when the value that a
simulated device shows (by the sound profile) has no good reading any more. Left out is what no frame and no value can
tell: name, note, kind, symbols, category, deadband, every, decimals, and the range itself, which decides what is
plausible and not what is true. Left out are also changes that change nothing: a sign that the range forbids anyway.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from drivers.codec import Status, decode_point
from drivers.errors import DeviceError
from drivers.lint import UNITS, lint
from drivers.meaning import AnyProfile
from drivers.point import BIT_TABLES, Point
from drivers.profile import Profile
from drivers.simulators.device import VirtualDevice
from drivers.simulators.hall import HallModel
from drivers.simulators.showing import seat_for
from drivers.simulators.text_device import TextDevice
from drivers.text.profile import TextPoint, TextProfile

Simulated = VirtualDevice | TextDevice

_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_OTHER_TABLE = {"holding": "input", "input": "holding", "coil": "discrete", "discrete": "coil"}
#: What each type is mistaken for.
_OTHER_TYPES = {
    "u16": ("s16", "u32"),
    "s16": ("u16", "s32"),
    "u32": ("s32", "f32", "u16"),
    "s32": ("u32", "f32", "s16"),
    "f32": ("s32", "u32", "f64"),
    "u64": ("s64", "f64", "u32"),
    "s64": ("u64", "f64", "s32"),
    "f64": ("s64", "u64", "f32"),
    "bcd16": ("u16", "bcd32"),
    "bcd32": ("u32", "bcd16"),
    "bcd64": ("u64", "bcd32"),
}
_ONE_REGISTER = ("u16", "s16", "bcd16")
_SIGNS = ({"u16", "s16"}, {"u32", "s32"}, {"u64", "s64"})
_PREFIXES = ("", "m", "k", "M")
#: As many as the largest profile has: some fifteen to a point (`drivers.meaning.MAX_POINTS`).
MOST_MUTANTS = 100_000


class Mutant(NamedTuple):
    """A profile with one mistake; `key` is where and `change` what it is."""

    key: str
    change: str
    profile: AnyProfile


@dataclass
class Tally:
    """What came of a profile's mutants."""

    noticed: Counter[str] = field(default_factory=Counter)  #: by "linter", "golden frames" or "range"
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.noticed.total() + len(self.survivors)

    @property
    def share(self) -> float:
        """Part of the mutants that was noticed; 1 when there are none."""
        return self.noticed.total() / self.total if self.total else 1.0


def judge(profile: AnyProfile, at_most: int = MOST_MUTANTS) -> Tally:
    """Judge the mutants of a sound `profile`; evenly spaced ones when there are more than `at_most`."""
    tally = Tally()
    hall = HallModel(7)
    seat = seat_for(profile, "device", "it", None, hall)
    device: Simulated
    if isinstance(profile, TextProfile):
        device = TextDevice(profile, seat, hall)
    else:
        assert isinstance(profile, Profile)
        device = VirtualDevice(profile, seat, hall)
    made = list(mutants(profile))
    for mutant in made[:: -(-len(made) // at_most) or 1]:
        by = noticed_by(mutant.profile, device)
        if by is None:
            tally.survivors.append(mutant)
        else:
            tally.noticed[by] += 1
    return tally


def noticed_by(mutant: AnyProfile, device: Simulated) -> str | None:
    """What notices the mistake first: "linter", "golden frames", "range"; None: nothing does."""
    findings = lint(mutant)
    if findings:
        return "golden frames" if findings[0].key.startswith("golden[") else "linter"
    for point, sound in zip(mutant.point, device.profile.point, strict=True):
        if point is not sound and _reading(mutant, point, device) is not Status.GOOD:
            return "range"
    return None


def mutants(profile: AnyProfile) -> Iterator[Mutant]:
    """Every mutant, point by point, then those of the limits."""
    for i, point in enumerate(profile.point):
        for key, value, changed in _changes(profile, point):
            points = (*profile.point[:i], changed, *profile.point[i + 1 :])
            change = f"{getattr(point, key)} → {value}"
            yield Mutant(f"point[{point.name}].{key}", change, _with_points(profile, points))
    if isinstance(profile, Profile):
        yield from _of_limits(profile)


def _with_points(profile: AnyProfile, points: tuple[Any, ...]) -> AnyProfile:
    """A copy that knows nothing of the old points: a text profile keeps what it has worked out of them."""
    if isinstance(profile, Profile):
        return profile.model_copy(update={"point": points})
    kept = {field.alias or name: getattr(profile, name) for name, field in type(profile).model_fields.items()}
    return type(profile).model_validate({**kept, "point": points})


def _of_limits(profile: Profile) -> Iterator[Mutant]:
    limits = profile.limits
    changes: list[tuple[str, Any]] = [("address_base", 1 - limits.address_base)]
    if any(point.order is None and point.type != "string" and point.length > 1 for point in profile.point):
        changes += [("word_order", order) for order in _ORDERS if order != limits.word_order]
    for key, value in changes:
        changed = profile.model_copy(update={"limits": limits.model_copy(update={key: value})})
        yield Mutant(f"limits.{key}", f"{getattr(limits, key)} → {value}", changed)


def _changes(profile: AnyProfile, point: Any) -> Iterator[tuple[str, object, Any]]:
    """(key, what it became, the changed point)"""
    places = _of_place(profile, point) if isinstance(profile, Profile) else _of_text(profile, point)
    for key, value, others in (*places, *_of_number(point)):
        changed = point.model_copy(update={key: value, **others})
        if not isinstance(point, Point) or not _the_same(point, changed):
            yield key, value, changed


Change = Iterator[tuple[str, Any, dict[str, Any]]]


def _of_place(profile: Profile, point: Point) -> Change:
    """Where it stands and how its bytes lie."""
    for address in (point.address - 1, point.address + 1):
        if address >= 0:
            yield "address", address, {}
    yield "table", _OTHER_TABLE[point.table], {}
    if point.table in BIT_TABLES:
        return
    for other in _OTHER_TYPES.get(point.type, ()):
        yield "type", other, {"order": None} if other in _ONE_REGISTER else {}
    if point.type == "string":
        yield "order", "ABCD" if profile.order(point) == "BADC" else "BADC", {}
        for registers in (point.length - 1, point.length + 1):
            if registers:
                yield "registers", registers, {}
    elif point.length > 1:
        for order in _ORDERS:
            if order != profile.order(point):
                yield "order", order, {}
    if point.bit is not None:
        for bit in (point.bit - 1, point.bit + 1):
            if 0 <= bit <= 15:
                yield "bit", bit, {}
    if point.bits is not None:
        first, last = point.bits
        for step in (-1, 1):
            if first + step >= 0:
                yield "bits", (first + step, last + step), {}


def _of_text(profile: AnyProfile, point: TextPoint) -> Change:
    """Where in which answer it stands."""
    assert isinstance(profile, TextProfile)
    for key, value in point.mistaken(profile.command_named(point.command)):
        yield key, value, {}


def _of_number(point: Any) -> Change:
    """What the raw number means."""
    for pattern in point.invalid:
        yield "invalid", tuple(each for each in point.invalid if each != pattern), {}
    if point.is_state or point.is_text:
        return
    if point.pow2 is None:
        yield "scale", round(point.scale * 10, 9), {}
        yield "scale", round(point.scale / 10, 9), {}
    else:
        yield "pow2", point.pow2 + 1, {}
        if point.pow2 > 1:
            yield "pow2", point.pow2 - 1, {}
    for key in ("scale_register", "encoding"):
        if getattr(point, key, None) is not None:
            yield key, None, {}
    yield "offset", point.offset + 10.0**-point.scaling.decimals, {}
    if point.offset:
        yield "offset", 0, {}
    base = point.unit[1:] if point.unit[:1] in _PREFIXES and point.unit[1:] in UNITS else point.unit
    for prefix in _PREFIXES if base else ():
        if prefix + base in UNITS and prefix + base != point.unit:
            yield "unit", prefix + base, {}


def _the_same(point: Point, changed: Point) -> bool:
    """Whether the two read every register alike: signs that differ only where the range allows neither."""
    types = {point.type, changed.type}
    if point.range is None or point.is_coarse or types not in _SIGNS:
        return False
    low, high = point.range
    for each in (point, changed):
        bottom, top = each.raw_limits or (0, 0)
        # the patterns with the highest bit set, which the two types read differently
        ends = (bottom, -1) if bottom < 0 else ((top + 1) // 2, top)
        first, last = sorted(each.scaling.published(float(raw)) for raw in ends)
        if first <= high and low <= last:
            return False
    return True


def _reading(mutant: AnyProfile, point: Any, device: Simulated) -> Status:
    """What the mutant makes of the answer of the simulated device; GOOD where it reads beyond its registers."""
    if isinstance(device, TextDevice):
        return _in_answer(mutant, point, device)
    assert isinstance(mutant, Profile)
    bank = device.unit.banks.get(point.function)
    if bank is None or bank.width == 1:
        return Status.GOOD
    try:
        data = bytes(bank.data)
        return decode_point(mutant, point, data, mutant.wire_address(point) - bank.first).status
    except ValueError:
        return Status.GOOD


def _in_answer(mutant: AnyProfile, point: TextPoint, device: TextDevice) -> Status:
    assert isinstance(mutant, TextProfile)
    sound, command = device.profile, device.profile.command_named(point.command)
    try:
        image = mutant.ask(command.name, device.number).read(
            sound.answer(command, device.number, device.values(command.name))
        )
    except DeviceError:
        return Status.NOT_AVAILABLE
    return decode_point(mutant, point, image, mutant.places(command.name)[point.name]).status
