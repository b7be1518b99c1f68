"""SunSpec information models as a profile: the JSON form and the older smdx (XML) of github.com/sunspec/models.

A model says where its points lie from its own first register on. Where that is differs from device to device: it is
asked for. Types, sentinels and the big-endian order are those of the SunSpec information model specification.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.errors import ProfileError
from drivers.importers.draft import Draft, shown, whole
from drivers.meaning import MAX_POINTS

#: type → ours, registers, the pattern that means "not implemented"
_TYPES = {
    **{f"{name}16": (ours, 1, none) for name, ours, none in (("int", "s16", 0x8000), ("uint", "u16", 0xFFFF))},
    **{f"{name}32": (ours, 2, none) for name, ours, none in (("int", "s32", 1 << 31), ("uint", "u32", (1 << 32) - 1))},
    **{f"{name}64": (ours, 4, none) for name, ours, none in (("int", "s64", 1 << 63), ("uint", "u64", (1 << 64) - 1))},
    **{f"acc{bits}": (f"u{bits}", bits // 16, 0) for bits in (16, 32, 64)},
    **{f"enum{bits}": (f"u{bits}", bits // 16, (1 << bits) - 1) for bits in (16, 32)},
    "count": ("u16", 1, 0xFFFF),
    "float32": ("f32", 2, None),
    "float64": ("f64", 4, None),
}
_BITFIELDS = {"bitfield16": 1, "bitfield32": 2}
_LENGTHS = {"sunssf": 1, "pad": 1, "raw16": 1, "ipaddr": 2, "ipv6addr": 8, "eui48": 4, "bitfield64": 4}
#: What other profiles call it.
_NAMES = {
    "A": "current", "PhV": "voltage_ln", "PPV": "voltage_ll", "Hz": "frequency", "W": "power", "VA": "apparent_power",
    "VAR": "reactive_power", "PF": "power_factor", "TotWhImp": "energy_import", "TotWhExp": "energy_export",
    "SN": "serial", "Vr": "firmware", "Md": "model", "Mn": "manufacturer", "SoC": "battery_charge",
    **{f"{theirs}ph{x}": f"{ours}_{x.lower()}" for x in "ABC" for theirs, ours in (
        ("A", "current"), ("PhV", "voltage"), ("W", "power"), ("VA", "apparent_power"), ("VAR", "reactive_power"),
        ("PF", "power_factor"),
    )},
    **{f"{theirs}{x}": f"voltage_{x.lower()}" for x in ("AB", "BC", "CA") for theirs in ("PhVph", "PPVph")},
    **{f"TotWh{way}Ph{x}": f"energy_{way.lower()}ort_{x.lower()}" for way in ("Imp", "Exp") for x in "ABC"},
}  # fmt: skip
_UNITS = {"Pct": "%", "C": "°C", "Degrees": "deg", "Secs": "s", "cos()": ""}
_HEADER = ("ID", "L")
_ENERGY = ("Wh", "VAh", "varh")
MAX_REPEATS = 64


@dataclass
class _Group:
    """Points of a model in their order, the offset of each known; and of what repeats after them."""

    name: str
    points: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)


def read(text: str, subject: str, at: int | None = None) -> Draft:
    """The points of one model whose ID register is wire address `at`. Raises ProfileError."""
    if at is None:
        reason = "a SunSpec model tells offsets, not addresses"
        hint = "say --at ADDRESS: where the device has the model's ID, often 40002 for its first"
        raise ProfileError(subject, [("--at", reason, hint)])
    draft = Draft(f"SunSpec model {subject}", limits={"address_base": 0, "word_order": "ABCD"})
    draft.caveats.append(f"The model's ID register is taken to be at wire address {at}; elsewhere it may be another.")
    xml = text.lstrip("\ufeff \t\r\n").startswith("<")
    scales: dict[str, int] = {}
    for group in _of_xml(draft, text, subject) if xml else _of_json(draft, text, subject):
        # a group may use the scales of those around it, which come before it
        scales |= {
            str(point.get("name")): at + offset for offset, point in group.points if point.get("type") == "sunssf"
        }
        for offset, point in group.points:
            _take(draft, group.name, at + offset, point, scales)
    return draft


def _take(draft: Draft, group: str, address: int, point: Mapping[str, Any], scales: Mapping[str, int]) -> None:
    name, kind = point.get("name"), point.get("type")
    where = f"{group}.{name}"
    if not isinstance(name, str) or not name or not isinstance(kind, str):
        draft.leave(where, "has no name or no type")
    elif name in _HEADER:
        draft.leave(where, "is the model's header")
    elif kind in ("sunssf", "pad"):
        draft.leave(where, "is the scale of other points" if kind == "sunssf" else "is filler")
    elif kind in _BITFIELDS:
        _take_bits(draft, where, address, name, point, _BITFIELDS[kind])
    elif kind == "string":
        registers = whole(point.get("size"), 1, 125)
        keys: dict[str, Any] = {"type": "string", "registers": registers, "every": 3600}
        draft.add(where, _called(name), table="holding", address=address, **keys)
    elif kind not in _TYPES:
        draft.leave(where, f"type {shown(kind)} has no counterpart in a profile")
    else:
        number = _number(kind, point, scales)
        if isinstance(number, str):
            draft.leave(where, number)
            return
        ours = _called(name)
        if ours.startswith("power_factor") and number.get("unit") == "%":
            number |= {"unit": "", "scale": round(0.01 * number.get("scale", 1), 12)}
        draft.add(where, ours, table="holding", address=address, **number)


def _number(kind: str, point: Mapping[str, Any], scales: Mapping[str, int]) -> dict[str, Any] | str:
    """Type, scale, sentinel, unit and symbols of a number, or why a profile cannot say them."""
    ours, _, none = _TYPES[kind]
    keys: dict[str, Any] = {"type": ours, "invalid": None if none is None else [none]}
    if kind.startswith("enum"):
        return {**keys, "kind": "state", "symbols": _symbols(point) or None}
    units, sf = point.get("units"), point.get("sf")
    keys["unit"] = _UNITS.get(units, units) if isinstance(units, str) else None
    keys["kind"] = "counter" if kind.startswith("acc") else None
    keys["every"] = 10 if units in _ENERGY else None
    if sf is None:
        return keys
    if whole(sf, -10, 10) is not None:
        return {**keys, "scale": 10.0**sf}
    if not isinstance(sf, str) or sf not in scales:
        return f"its scale {shown(sf)} is not in the model"
    return {**keys, "scale_register": scales[sf]}


def _take_bits(draft: Draft, where: str, address: int, name: str, point: Mapping[str, Any], registers: int) -> None:
    """One switch per named bit; bit 0 is the lowest of the last register."""
    symbols = _symbols(point)
    if not symbols:
        draft.leave(where, "its bits have no names")
    for number, symbol in symbols.items():
        bit = int(number)
        if not 0 <= bit < 16 * registers:
            draft.leave(f"{where}.{symbol}", f"bit {bit} does not lie inside {16 * registers} bits")
            continue
        register = address + registers - 1 - bit // 16
        draft.add(
            f"{where}.{symbol}",
            f"{_called(name)}_{symbol}",
            table="holding",
            address=register,
            type="bool",
            bit=bit % 16,
        )


def _called(name: str) -> str:
    """What other profiles call it, else the name with its words apart: TotVAhExpPhA is tot_vah_exp_ph_a."""
    return _NAMES.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)


def _symbols(point: Mapping[str, Any]) -> dict[str, str]:
    """Number as text → name; what is none of a symbol is nothing."""
    found = point.get("symbols")
    each = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    return {
        str(one["value"]): one["name"]
        for one in each
        if whole(one.get("value"), 0, (1 << 32) - 1) is not None and isinstance(one.get("name"), str)
    }


def _of_json(draft: Draft, text: str, subject: str) -> list[_Group]:
    try:
        data = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise ProfileError(subject, [("(syntax)", str(error), "is it a SunSpec model, JSON or smdx?")]) from error
    group = data.get("group") if isinstance(data, Mapping) else None
    if not isinstance(group, Mapping):
        raise ProfileError(subject, [("group", "is missing", "a model's JSON begins with a group of points")])
    found: list[_Group] = []
    _walk(draft, group, 0, found, str(group.get("name") or "model"))
    return found


def _walk(draft: Draft, group: Mapping[str, Any], offset: int, found: list[_Group], name: str) -> int | None:
    """Collect a group and those inside it; the offset behind it, None when that depends on the device."""
    own = _Group(name)
    found.append(own)
    for point in _mappings(group.get("points")):
        length = _length(point)
        if length is None:
            draft.leave(f"{name}.{point.get('name')}", f"type {shown(point.get('type'))}, so what follows has no place")
            return None
        own.points.append((offset, point))
        offset += length
    for inner in _mappings(group.get("groups")):
        inner_name = f"{name}.{inner.get('name')}"
        count = whole(inner.get("count", 1), 1, MAX_REPEATS)
        if count is None or name.count(".") > 3 or len(found) > MAX_POINTS:
            draft.leave(inner_name, f"repeats {shown(inner.get('count'))} times, which only the device can tell")
            return None
        for i in range(count):
            behind = _walk(draft, inner, offset, found, inner_name if count == 1 else f"{inner_name}[{i + 1}]")
            if behind is None:
                return None
            offset = behind
    return offset


def _length(point: Mapping[str, Any]) -> int | None:
    """Registers of a point; None when they cannot be told."""
    kind = point.get("type")
    size = whole(point.get("size"), 1, 125)
    if size is not None or not isinstance(kind, str):
        return size
    return _TYPES[kind][1] if kind in _TYPES else {**_BITFIELDS, **_LENGTHS}.get(kind)


def _of_xml(draft: Draft, text: str, subject: str) -> list[_Group]:
    if re.search(r"<!(?!--)", text):  # a document type may define entities that grow without bound
        raise ProfileError(subject, [("(syntax)", "has a document type or the like", "an smdx file needs none")])
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise ProfileError(subject, [("(syntax)", str(error), "is it an smdx file?")]) from error
    model = root.find("model")
    if model is None:
        raise ProfileError(subject, [("model", "is missing", "an smdx file holds <sunSpecModels><model>")])
    found: list[_Group] = []
    offset = 2  # smdx counts behind ID and length
    for block in model.findall("block"):
        name = f"{model.get('name') or 'model'}{'' if not found else f'.{len(found)}'}"
        if block.get("type") == "repeating":
            draft.leave(f"{name} (repeating block)", "repeats as often as only the device can tell")
            break
        found.append(_Group(name, list(_points_of(draft, block, offset, name))))
        length = block.get("len") or ""
        if not (length.isdecimal() and len(length) <= 5):
            draft.leave(name, f"length {shown(length)} is no number, so what follows has no place")
            break
        offset += int(length)
    return found


def _points_of(draft: Draft, block: Any, start: int, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Offset and point, in the words of the JSON form."""
    for point in block.findall("point"):
        offset, length = point.get("offset") or "", point.get("len") or ""
        if not (offset.isdecimal() and len(offset) <= 5):
            draft.leave(f"{name}.{point.get('id')}", f"offset {shown(offset)} is no number")
            continue
        sf = point.get("sf")
        symbols = [
            {"name": each.get("id"), "value": int(each.text)}
            for each in point.findall("symbol")
            if each.text and each.text.strip().isdecimal() and len(each.text) < 12
        ]
        said = {
            "name": point.get("id"),
            "type": point.get("type"),
            "units": point.get("units"),
            "symbols": symbols,
            "size": int(length) if length.isdecimal() and len(length) < 4 else None,
            "sf": int(sf) if sf and sf.lstrip("-").isdecimal() and len(sf) < 4 else sf,
        }
        yield start + int(offset), said


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
