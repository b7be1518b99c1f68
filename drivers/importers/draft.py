"""What an importer makes of a foreign register list: points as a profile writes them, and what is left out of it."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from drivers.errors import ProfileError
from drivers.lint import UNITS
from drivers.meaning import MAX_POINTS
from drivers.names import unit_of
from drivers.point import REGISTERS_OF_TYPE
from drivers.profile import Profile, parse_profile

#: Prefixed units of power and energy as the one that all profiles publish, and the factor to it.
_PUBLISHED_UNIT = {
    prefix + base: ("k" + base, factor)
    for base in ("W", "VA", "var", "Wh", "VAh", "varh")
    for prefix, factor in (("", 0.001), ("M", 1000))
}
#: Spellings that mean one thing only. Not those that begin with an m: mw may be milliwatts or megawatts.
_UNIT_SPELLINGS = {
    **{unit.lower(): unit for unit in UNITS if unit[:1].lower() != "m"},
    **dict.fromkeys(("c", "degc", "deg c", "℃", "celsius"), "°C"),
    **dict.fromkeys(("pct", "percent"), "%"),
    "rh": "%RH", "ohm": "Ω", "degrees": "deg", "amps": "A", "volts": "V", "secs": "s", "mins": "min", "hours": "h",
}  # fmt: skip
_KEYS = (
    *("name", "table", "address", "type", "order", "bit", "bits", "registers", "scale", "offset", "scale_register"),
    *("decimals", "unit", "kind", "symbols", "invalid", "every", "note"),
)
#: What a profile means without the key.
_DEFAULTS: dict[str, Any] = {"scale": 1, "offset": 0, "unit": "", "note": ""}
#: Of names as they are taken; a number or an ending that keeps two apart still fits into the 64 of a field.
_NAME_LENGTH = 44
#: What a point is called further whose name promises a unit that the source does not give.
UNIT_UNKNOWN = "_unit_unknown"
_UNIT_TODO = (
    f"TODO: names that end in {UNIT_UNKNOWN} promise a unit without it; give the point its unit, then its name."
)
#: (unit, the shared one) → factor
_FACTORS = {
    ("min", "s"): 60,
    ("h", "s"): 3600,
    ("mV", "V"): 0.001,
    ("kV", "V"): 1000,
    ("mA", "A"): 0.001,
    ("bar", "kPa"): 100,
}
#: Rounds of leaving out what the linter refuses. Mistakes of form hide those of content, so two or three are usual.
_ROUNDS = 10
_FINDING = re.compile(r"point\[([^\]]+)\]\.")


class LeftOut(NamedTuple):
    """A line of the source that is not in the profile, and why."""

    where: str
    reason: str


class Imported(NamedTuple):
    """A profile that the linter accepts, as text and as read from it."""

    text: str
    profile: Profile
    left_out: tuple[LeftOut, ...]


@dataclass
class Draft:
    """Points found so far. `limits` and `caveats` go into the profile as they are."""

    source: str
    limits: dict[str, Any] = field(default_factory=dict)
    caveats: list[str] = field(default_factory=list)
    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    _where: dict[str, str] = field(default_factory=dict)
    _taken: dict[tuple[str, int], str] = field(default_factory=dict)

    def add(self, where: str, name: str, *, unit: str | None = None, **keys: Any) -> None:
        """Take over the point that stands at `where` in the source; keys that are None are not written.

        The name becomes one that a field may have, the unit one of the vocabulary (None: the source does not say).
        """
        if len(self.points) >= MAX_POINTS:
            self.leave(where, f"a profile has at most {MAX_POINTS} points")
            return
        shared = next((self._taken[place] for place in _places(keys) if place in self._taken), None)
        if shared is not None:
            self.leave(where, f"shares registers with {shared}, which stands before it")
            return
        called, known = settled(plain_name(name, f"{keys.get('table')}_{keys.get('address')}"), unit, keys)
        taken = self._free(called)
        note = [name] if name != taken else []
        if unit and known is None:
            note.append(f"unit {unit}")
            self.caveats.append(f"TODO: {taken} has the unit {shown(unit)} in the source, which the vocabulary lacks.")
        elif called.endswith(UNIT_UNKNOWN) and _UNIT_TODO not in self.caveats:
            self.caveats.append(_UNIT_TODO)
        if known is not None:
            keys["unit"], factor = known
            keys |= {key: _product(keys.get(key), _DEFAULTS[key], factor) for key in ("scale", "offset")}
        if keys.get("note"):
            note.append(str(keys["note"]))
        keys["note"] = printable(", ".join(note))
        said = {key: value for key, value in keys.items() if value not in (None, _DEFAULTS.get(key))}
        self.points[taken] = {"name": taken, **said}
        self._where[taken] = where
        self._taken |= dict.fromkeys(_places(keys), taken)

    def leave(self, where: str, reason: str) -> None:
        """The line at `where` is not taken over."""
        self.left_out.append(LeftOut(where, reason))

    def finish(self, vendor: str, model: str, category: str) -> Imported:
        """The profile without the points that the linter refuses, which are left out. Raises ProfileError for none."""
        left_out, points = list(self.left_out), dict(self.points)
        for _ in range(_ROUNDS):
            text = self._toml(vendor, model, category, points.values())
            try:
                parsed = parse_profile(text, self.source) if points else None
            except ProfileError as error:
                refused = {found[1]: reason for key, reason, _ in error.findings if (found := _FINDING.match(key))}
                if not refused.keys() & points.keys():
                    raise
                for name in refused.keys() & points.keys():
                    del points[name]
                    left_out.append(LeftOut(self._where[name], f"{name} {refused[name]}"))
                continue
            if isinstance(parsed, Profile):
                return Imported(text, parsed, tuple(left_out))
            break
        nothing = [("", "holds no register that a profile can name", "is it the right format?")]
        raise ProfileError(self.source, [(*line, "") for line in left_out] or nothing)

    def _free(self, name: str) -> str:
        """`name`, or where it is taken with the next free number."""
        free, n = name, 2
        while free in self.points:
            free, n = f"{name}_{n}", n + 1
        return free

    def _toml(self, vendor: str, model: str, category: str, points: Iterable[Mapping[str, Any]]) -> str:
        todo = "TODO: the source gives no plausible ranges; add `range`, and `invalid` for what means no value."
        lines = [f"# {printable(f'{vendor} {model}')}: imported, to be verified.", "", "schema = 1", "", "[device]"]
        device = {"vendor": vendor, "model": model, "category": category, "source": self.source, "evidence": "doubtful"}
        lines += [f"{key} = {literal(value)}" for key, value in device.items()]
        lines += ["caveats = [", *(f"  {literal(caveat)}," for caveat in (*self.caveats, todo)), "]"]
        if self.limits:
            lines += ["", "[limits]", *(f"{key} = {literal(value)}" for key, value in self.limits.items())]
        for point in points:
            lines += ["", "[[point]]", *(f"{key} = {literal(point[key])}" for key in _KEYS if key in point)]
        return "\n".join(lines) + "\n"


def plain_name(name: str, otherwise: str) -> str:
    """`name` as a field may be called; `otherwise` stands in front of what does not begin with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:_NAME_LENGTH]
    return plain if re.match(r"[a-z]", plain) else f"{otherwise}_{plain}".rstrip("_")


def settled(name: str, unit: str | None, keys: Mapping[str, Any]) -> tuple[str, tuple[str, float] | None]:
    """Name, unit and factor to it. A name that profiles share keeps its unit, or the point is called otherwise."""
    known = published_unit(unit)
    shared = unit_of(name)
    number = keys["type"] not in ("bool", "string") and keys.get("kind") != "state"
    said = "" if known is None else known[0]
    if shared in (None, said) or not number:
        return name, known
    factor = _FACTORS.get((said, shared or ""))
    if known is not None and factor is not None:
        return name, (shared or "", known[1] * factor)
    return name + (UNIT_UNKNOWN if known is None else f"_in_{plain_name(said, 'no_unit')}"), known


def published_unit(unit: str | None) -> tuple[str, float] | None:
    """The unit of the vocabulary that `unit` means and the factor to it; None when it is none of them."""
    known = unit if unit in UNITS else _UNIT_SPELLINGS.get((unit or "").strip().lower())
    return None if unit is None or known is None else _PUBLISHED_UNIT.get(known, (known, 1))


def literal(value: Any) -> str:
    """`value` as TOML writes it; texts without what is not printable."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(printable(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{literal(str(key))} = {literal(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(value)


def printable(text: str) -> str:
    """`text` on one line, without characters that a terminal or TOML must not see."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def shown(value: object) -> str:
    """A value of the source for a message."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def finite(value: object) -> float | int | None:
    """`value` when it is a number that can be a scale; None for anything else."""
    number = isinstance(value, float | int) and not isinstance(value, bool)
    return value if number and math.isfinite(value) else None  # type: ignore[arg-type,return-value]


def whole(value: object, low: int, high: int) -> int | None:
    """`value` when it is a whole number from `low` to `high`; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None


def _places(keys: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Table and register of each register that the point has for itself; bits may share one."""
    if keys["type"] == "bool" or keys.get("bits"):
        return []
    length = keys.get("registers") or REGISTERS_OF_TYPE.get(keys["type"], 1)
    return [(keys["table"], keys["address"] + k) for k in range(length)]


def _product(number: float | None, otherwise: float, factor: float) -> float | int:
    """`number`, or `otherwise` for None, in the other unit, without the dust of binary fractions."""
    exact = float(f"{(otherwise if number is None else number) * factor:.12g}")
    return int(exact) if exact.is_integer() and abs(exact) < 1e15 else exact
