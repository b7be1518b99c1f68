"""Mistakes of content in a profile whose form is right: what a reviewer with the manual beside him would find."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from drivers import derived, golden
from drivers.codec import EXACT
from drivers.lint_registers import Check, Registers, lost_parts, without_lost_parts
from drivers.meaning import AnyProfile, Derived, Meaning
from drivers.names import unit_of
from drivers.point import Point
from drivers.profile import Profile
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
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


class Finding(NamedTuple):
    """One mistake: where it stands, what is wrong, what to do."""

    key: str
    reason: str
    hint: str


def lint(profile: AnyProfile) -> list[Finding]:
    """Every mistake of content; empty when there is none."""
    findings = [*_names(profile)]
    registers = None
    if isinstance(profile, Profile):
        findings += map(Finding._make, lost_parts(profile))
        profile = without_lost_parts(profile)
        registers = Registers(profile)
        findings += map(Finding._make, registers.mistakes())
    for point in profile.published:
        checks = (*_placing(profile, registers, point), _numbers(point), _range(point), _words(point))
        findings += [Finding(f"{_key(point)}.{key}", *rest) for check in checks for key, *rest in check]
    findings += map(Finding._make, derived.mistakes(profile))
    if isinstance(profile, TextProfile):
        findings += [*_commands(profile), *(Finding(*mistake) for mistake in profile.mistakes())]
    if not findings:  # a frame tells nothing about a map that is already known to be wrong
        findings = [Finding(*mistake) for mistake in golden.mistakes(profile)]
    return findings


def _key(point: Meaning) -> str:
    return f"derived[{point.name}]" if isinstance(point, Derived) else f"point[{point.name}]"


def _placing(profile: AnyProfile, registers: Registers | None, point: Meaning) -> tuple[Check, ...]:
    """What the protocol asks of the place where a point stands."""
    if isinstance(point, TextPoint):
        return (_text_place(profile, point),)
    return registers.checks(point) if registers is not None and isinstance(point, Point) else ()


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
    shared = unit_of(point.name)
    if point.unit not in UNITS:
        close = {unit.lower(): unit for unit in UNITS}.get(point.unit.lower())
        yield "unit", f"{point.unit!r} is not in the vocabulary", f"write {close}" if close else "see docs/profiles.md"
    elif point.unit and shared not in (None, point.unit):
        hint = "scale it, so that one chart shows the devices of all vendors, or call it otherwise"
        yield "unit", f"is {point.unit}, but {point.name} is in {shared or 'no unit'} in every profile", hint
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
