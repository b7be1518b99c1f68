"""Mistakes of content in a profile whose form is right: what a reviewer with the manual beside him would find."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from drivers import derived, golden
from drivers.codec import EXACT, own_bits
from drivers.meaning import AnyProfile, Derived, Meaning
from drivers.profile import BIT_TABLES, Point, Profile
from drivers.scaling import decimals_of
from drivers.text.profile import TextPoint, TextProfile

#: One spelling per unit, so that a chart over devices of different vendors has one axis.
UNITS = frozenset(
    {
        *("", "%", "%RH", "°C", "K", "deg", "Hz", "rpm", "dB", "lx", "ppm", "µg/m³", "g/kg"),
        *("V", "mV", "kV", "A", "mA", "Ω", "mΩ", "mS", "Ah"),
        *("W", "kW", "MW", "VA", "kVA", "MVA", "var", "kvar", "Mvar"),
        *("Wh", "kWh", "MWh", "VAh", "kVAh", "MVAh", "varh", "kvarh", "Mvarh"),
        *("s", "ms", "min", "h", "d"),
        *("Pa", "hPa", "kPa", "MPa", "bar", "m", "mm", "m/s", "m³", "m³/h", "L", "L/s", "L/min", "L/h", "kg"),
    }
)
#: What the collector appends to a point's name for its statistics; a point called so would write the same field.
FIELD_SUFFIXES = ("_q", "_mean", "_min", "_max", "_last", "_count", "_expected", "_delta", "_resets")
#: Keys of the database or tags of every reading.
RESERVED_NAMES = frozenset({"time", "city", "site", "gateway", "device"})
LAST_ADDRESS = 65535
#: Each sentinel is a comparison per reading; no known device has more than eight.
MAX_INVALID = 16
_WORD_TYPES = ("u16", "s16", "bcd16", "bool")
UNSIGNED = frozenset({"u16", "u32", "u64"})
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


class Finding(NamedTuple):
    """One mistake: where it stands, what is wrong, what to do."""

    key: str
    reason: str
    hint: str


def lint(profile: AnyProfile) -> list[Finding]:
    """Every mistake of content; empty when there is none."""
    findings = [*_names(profile)]
    if isinstance(profile, Profile):
        findings += _limits(profile)
        parts = [(p.name, part) for p in profile.point for part in _parts(profile, p)]
        findings += [Finding(f"point[{name}].{key}", *rest) for name, (key, *rest) in parts]
        profile = _without_lost_parts(profile)
    for point in profile.published:
        checks = (*_placing(profile, point), _numbers(point), _range(point), _words(point))
        findings += [Finding(f"{_key(point)}.{key}", *rest) for check in checks for key, *rest in check]
    findings += [Finding(*mistake) for mistake in derived.mistakes(profile)]
    if isinstance(profile, Profile):
        findings += _overlaps(profile)
    if isinstance(profile, TextProfile):
        findings += [*_commands(profile), *(Finding(*mistake) for mistake in profile.mistakes())]
    if not findings:  # a frame tells nothing about a map that is already known to be wrong
        findings = [Finding(*mistake) for mistake in golden.mistakes(profile)]
    return findings


def _key(point: Meaning) -> str:
    return f"derived[{point.name}]" if isinstance(point, Derived) else f"point[{point.name}]"


Check = Iterator[tuple[str, str, str]]


def _placing(profile: AnyProfile, point: Meaning) -> tuple[Check, ...]:
    """What the protocol asks of the place where a point stands."""
    if isinstance(point, Derived):
        return ()
    if isinstance(point, TextPoint):
        return (_text_place(profile, point),)
    assert isinstance(profile, Profile)
    assert isinstance(point, Point)
    return _place(profile, point), _type(point), _scale_register(profile, point), _sentinels(point), _encoding(point)


def _text_place(profile: AnyProfile, point: TextPoint) -> Check:
    """Its command exists, and a text has a length."""
    assert isinstance(profile, TextProfile)
    known = [command.name for command in profile.command]
    if point.command not in known:
        yield "command", f"there is no command {point.command}", f"known: {', '.join(known)}"
    if point.is_text and point.length is None:
        yield "length", "a text needs its length", "the most bytes it has in UTF-8"
    if not point.is_text and point.length is not None:
        yield "length", "only a text has a length", "leave it out"
    if point.invalid and (point.is_text or point.is_bool):
        yield "invalid", "a text or bool has no raw number", "leave it out"


def _commands(profile: TextProfile) -> Iterator[Finding]:
    counts = Counter(command.name for command in profile.command)
    for name, count in counts.items():
        if count > 1:
            yield Finding(f"command[{name}].name", f"used {count} times", "each command needs a name of its own")
        if not profile.points_of(name):
            yield Finding(f"command[{name}]", "no point stands in its answer", "remove it, or add the points")


def _limits(profile: Profile) -> Iterator[Finding]:
    for i, (first, last) in enumerate(profile.limits.forbidden):
        if not profile.limits.address_base <= first <= last <= LAST_ADDRESS + profile.limits.address_base:
            hint = "write [first, last] in the document's counting"
            yield Finding(f"limits.forbidden[{i}]", f"{first} to {last} is no range of addresses", hint)


def _names(profile: AnyProfile) -> Iterator[Finding]:
    counts = Counter(point.name for point in profile.published)
    for name, count in counts.items():
        if count > 1:
            yield Finding(f"point[{name}].name", f"used {count} times", "each point needs a name of its own")
    series: dict[tuple[str, frozenset[tuple[str, str]]], dict[str, str]] = {}
    for point in profile.published:
        field, key = ("name", point.name) if point.publish_as is None else ("publish_as", point.publish_as)
        if key in RESERVED_NAMES:
            reason = "is the name of a tag or of the timestamp"
            yield Finding(f"{_key(point)}.{field}", reason, "call it something else")
        fields = series.setdefault((profile.category(point), frozenset(point.tags.items())), {})
        other = fields.setdefault(key, point.name)
        if other != point.name:
            reason = f"{other} is published under the same name, category and tags"
            yield Finding(f"{_key(point)}.{field}", reason, "another name, or another tag")
        for tag, value in point.tags.items():
            if tag in RESERVED_NAMES:
                yield Finding(f"{_key(point)}.tags.{tag}", "the collector sets this tag itself", "rename it")
            if not value or not value.isprintable() or "\\" in value:
                hint = "printable text, not empty, without \\"
                yield Finding(f"{_key(point)}.tags.{tag}", f"{value!r} cannot be a tag value", hint)
    for fields in series.values():
        for key, name in fields.items():
            for suffix in FIELD_SUFFIXES:
                if key.removesuffix(suffix) in fields and key.endswith(suffix):
                    reason = f"the statistics of {key.removesuffix(suffix)} have a field of the same name"
                    hint = f"no point may be called like another plus {suffix}"
                    yield Finding(f"point[{name}].name", reason, hint)


def _place(profile: Profile, point: Point) -> Check:
    """Where it lies: inside the address space, readable in one request, in no forbidden range."""
    first, end = profile.span(point)
    base = profile.limits.address_base
    if first < 0:
        yield "address", f"{point.address} is below address_base = {base}", "the first address of the document is 1"
    if end - 1 > LAST_ADDRESS:
        yield "address", f"ends at {end - 1} on the wire, beyond {LAST_ADDRESS}", "is the table's leading digit inside?"
    if end - first > profile.max_count(point.function):
        reason = f"is {end - first} registers long, limits.max_registers is {profile.limits.max_registers}"
        yield "registers", reason, "a point is never cut into two reads"
    for low, high in profile.forbidden():
        if first < high and low < end:
            yield "address", f"lies in the forbidden range {low + base} to {high - 1 + base}", "take one of them out"


def _type(point: Point) -> Check:
    """Type, table, bit, order and length agree."""
    in_bits = point.table in BIT_TABLES
    if in_bits and point.type != "bool":
        yield "type", f"{point.type} in a table of bits ({point.table})", 'use type = "bool", or holding or input'
    if point.type == "bool" and not in_bits and point.bit is None:
        yield "bit", "a bool in a register needs its bit", "bit = 0 is the lowest, 15 the highest"
    if point.bit is not None and (point.type != "bool" or in_bits):
        yield "bit", f"has no meaning for {point.type} in {point.table}", "only for type bool in holding or input"
    if point.type == "string" and point.registers is None:
        yield "registers", "a string needs its length in registers", "two characters each"
    if point.type != "string" and point.registers is not None:
        yield "registers", f"{point.type} is always {point.length} long", "leave it out"
    if point.order is not None and point.type in _WORD_TYPES:
        yield "order", f"{point.type} has one register, so no word order", "leave it out"
    if point.order in ("CDAB", "DCBA") and point.type == "string":
        yield "order", f"{point.order} on a string", "ABCD: high byte first; BADC: low byte first"


def _parts(profile: Profile, point: Point) -> Check:
    """What the point refers to is there: its bits in the number, its scale register among the points."""
    if point.bits is not None and point.type in UNSIGNED and not _inside(point, *point.bits):
        first, last = point.bits
        hint = f"write [lowest, highest], 0 to {16 * point.length - 1}"
        yield "bits", f"{first} to {last} do not lie inside {point.type}", hint
    if point.bits is not None and (point.type not in UNSIGNED or point.table in BIT_TABLES):
        yield "bits", f"has no meaning for {point.type} in {point.table}", "for u16, u32, u64 in holding or input"
    if isinstance(point.scale_register, str) and all(p.name != point.scale_register for p in profile.point):
        yield "scale_register", f"there is no point {point.scale_register}", "the name of a point, or an address"


def _without_lost_parts(profile: Profile) -> Profile:
    """The profile without what `_parts` complains of, so that everything else can be told as well."""
    lost = {p.name: {key: None for key, *_ in _parts(profile, p)} for p in profile.point}
    points = tuple(p.model_copy(update=lost[p.name]) if lost[p.name] else p for p in profile.point)
    return profile.model_copy(update={"point": points})


def _inside(point: Point, first: int, last: int) -> bool:
    return 0 <= first <= last < 16 * point.length


def _scale_register(profile: Profile, point: Point) -> Check:
    """The register that holds the power of ten is one, and comes in one answer with the point."""
    scale = profile.scale_address(point)
    if scale is None:
        return
    if point.is_state or point.type == "string":
        yield "scale_register", "a state, bool or string has no scale", "leave it out"
        return
    if point.pow2 is not None:
        yield "scale_register", f"stands beside pow2 = {point.pow2}", "one of them"
    if not 0 <= scale <= LAST_ADDRESS:
        yield "scale_register", f"{scale} on the wire is no address", "in the document's counting, like address"
    for other in profile.point:
        low, high = profile.span(other)
        exponent = (other.type, other.scale, other.offset, other.pow2) == ("s16", 1, 0, None)
        if other.table == point.table and low <= scale < high and not exponent:
            hint = "the register of a power of ten is an s16 without scale"
            yield "scale_register", f"is a register of {other.name} ({other.type})", hint
            return
        if point.scale_register == other.name and other.table != point.table:
            yield "scale_register", f"{other.name} is in another table ({other.table})", "one answer must hold both"
            return
    first, end = profile.reach(point)
    base = profile.limits.address_base
    if end - first > profile.max_count(point.function):
        reason = f"is {end - first} registers away, limits.max_registers is {profile.limits.max_registers}"
        yield "scale_register", reason, "one answer must hold both"
    for low, high in profile.forbidden():
        if first < high and low < end:
            reason = f"the forbidden range {low + base} to {high - 1 + base} lies between"
            yield "scale_register", reason, "one answer must hold both"
    if not profile.limits.read_holes and not any(
        low <= first and end <= high for low, high in profile.named_runs(point.function)
    ):
        reason = "registers that no point names lie between, and read_holes is false"
        yield "scale_register", reason, "name them, if the device has them"


def _numbers(point: Meaning) -> Check:
    """Scale, offset, decimals and sentinels are possible for the type."""
    plain = point.scale == 1 and point.offset == 0 and point.pow2 is None
    if (point.is_state or point.is_text) and not plain:
        yield "scale", "a state, bool or string has no scale, offset or pow2", "leave them out"
    if (point.is_state or point.is_text) and point.decimals:
        yield "decimals", "a state, bool or string has no decimals", "leave it out"
    if point.pow2 is not None and point.scale != 1:
        yield "pow2", f"stands beside scale = {point.scale}", "one of them"
    if point.scale == 0:
        yield "scale", "0 makes every value the same", "give the factor from raw to published"
    scaling = point.scaling
    if max(abs(scaling.mul), abs(scaling.add), scaling.div) >= EXACT:
        yield "scale", f"scale {point.scale} with offset {point.offset} cannot be computed exactly", "fewer digits"
    needed = max(decimals_of(point.scale), decimals_of(point.offset)) if point.pow2 is None else 0
    if not point.is_float and needed > min(6, scaling.decimals):
        hint = f"{needed} are needed" if needed <= 6 else "at most 6 are possible: use a larger unit"
        yield (
            "decimals",
            f"{min(6, scaling.decimals)} are not enough for scale {point.scale}, offset {point.offset}",
            hint,
        )


def _encoding(point: Point) -> Check:
    if point.encoding is not None and (point.is_state or point.type == "string" or point.unit):
        yield "encoding", f"{point.encoding} is an encoding of power factors", "leave it out, or the unit"


def _sentinels(point: Point) -> Check:
    if point.invalid and (point.type == "string" or point.table in BIT_TABLES):
        yield "invalid", f"{point.type} in {point.table} has no raw pattern", "leave it out"
        return
    if len(point.invalid) > MAX_INVALID:
        yield "invalid", f"{len(point.invalid)} patterns, at most {MAX_INVALID}", "use range instead"
    bits = 16 * point.length if point.bits is None else point.bits[1] - point.bits[0] + 1
    for low, high in point.sentinels:
        if not (0 <= low < 1 << bits and 0 <= high < 1 << bits):
            wrong = low if not 0 <= low < 1 << bits else high
            hint = f"as it stands in the registers, 0 to {(1 << bits) - 1:#x}: -1 is the highest"
            yield "invalid", f"{wrong} is no unsigned pattern of {bits} bits", hint
        elif low > high:
            yield "invalid", f"{low:#x} is above {high:#x}", "write [first, last]"


def _range(point: Meaning) -> Check:
    """The range is one, and the type can produce both its ends."""
    if point.deadband and (point.is_state or point.is_text):
        yield "deadband", "a state, bool or string changes or does not", "leave it out"
    if point.range is None:
        return
    low, high = point.range
    if point.is_bool or point.is_text:
        yield "range", "has no meaning for a bool or string", "leave it out"
    elif low >= high:
        yield "range", f"{low} is not below {high}", "write [lowest, highest]"
    elif isinstance(point, Point) and point.encoding == "four_quadrant":
        if low < -1 or high > 1:
            yield "range", f"{low} to {high} for a power factor", "-1 to 1: it is published decoded"
    elif point.raw_limits is not None and point.scale != 0 and not point.is_coarse:
        ends = sorted(point.scaling.published(raw) for raw in point.raw_limits)
        if low < ends[0] or high > ends[1]:
            hint = "negative values need s16, s32 or s64" if low < ends[0] == 0 else "wrong type or scale, or too wide"
            yield "range", f"{point.wire_type} with this scale gives {ends[0]:g} to {ends[1]:g} only", hint


def _words(point: Meaning) -> Check:
    """Unit and symbols."""
    if point.unit not in UNITS:
        close = {unit.lower(): unit for unit in UNITS}.get(point.unit.lower())
        yield "unit", f"{point.unit!r} is not in the vocabulary", f"write {close}" if close else "see docs/profiles.md"
    if (point.is_state or point.is_text) and point.unit:
        yield "unit", "a state, bool or string has no unit", "leave it out"
    if point.kind == "state" and point.is_float:
        yield "kind", f"a state in {point.wire_type}", "states are integers"
    if (point.is_bool or point.is_text) and point.kind == "counter":
        yield "kind", f"{point.wire_type} does not count", "leave it out"
    if point.rollover is not None and point.kind != "counter":
        yield "rollover", "only a counter runs over", 'add kind = "counter"'
    elif point.rollover is not None and point.raw_limits and point.scale != 0 and not point.is_coarse:
        highest = max(point.scaling.published(raw) for raw in point.raw_limits)
        step = abs(point.scaling.mul / point.scaling.div)
        if point.rollover > (highest + step) * (1 + 1e-9):
            yield "rollover", f"{point.rollover:g} is never reached: {point.wire_type} ends at {highest:g}", "in unit"
    if point.symbols and point.kind != "state":
        yield "symbols", "only a state has symbols", 'add kind = "state"'
    elif point.symbols and not point.is_float and not point.is_text:
        low, high = point.raw_limits or (-EXACT, EXACT)
        for value in point.symbols:
            if not _INTEGER.fullmatch(value) or not low <= int(value) <= high:
                yield "symbols", f"{value!r} is no value of {point.wire_type}", "the number as text, as it is published"


def _overlaps(profile: Profile) -> Iterator[Finding]:
    """Two points that say different things of one register. Bits may share it with each other and with its word."""
    for table in dict.fromkeys(point.table for point in profile.point):
        points = [p for p in profile.point if p.table == table]
        parts = [p for p in points if p.type == "bool" or p.bits is not None]
        taken: dict[tuple[int, int], str] = {}
        for point in parts:
            own = [
                (point.address + k, bit)
                for k, word in enumerate(own_bits(profile, point))
                for bit in range(16)
                if word >> bit & 1
            ]
            first = next((taken[place] for place in own if place in taken), None)
            taken |= dict.fromkeys(own, point.name)
            if first is not None:
                where = f"{point.address}" if table in BIT_TABLES else f"its bits of {point.address}"
                yield Finding(f"point[{point.name}].address", f"{where} is already {first}", "remove one")
        reach, holder = -1, ""
        for start, end, name in sorted((*profile.span(p), p.name) for p in points if p not in parts):
            if start < reach:
                yield Finding(f"point[{name}].address", f"shares registers with {holder}", "one of the two is wrong")
            if end > reach:
                reach, holder = end, name
