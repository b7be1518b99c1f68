"""Telegraf's `[[inputs.modbus]]` as a profile: the styles register, request and metric of its configuration.

Addresses are those on the wire, as Telegraf sends them. Meanings of types and byte orders are Telegraf's own: its
FLOAT32 of the register style is an unsigned fixed-point number, its byte order in the other styles is ABCD by default.
"""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from drivers.errors import ProfileError
from drivers.importers.draft import Draft, finite, shown, whole

_TABLE_OF_LIST = {
    "discrete_inputs": "discrete",
    "coils": "coil",
    "holding_registers": "holding",
    "input_registers": "input",
}
_BITS = ("coil", "discrete")
_ORDERS = {
    **dict.fromkeys(("AB", "ABCD", "ABCDEFGH", "MSW-BE", "MSW"), "ABCD"),
    **dict.fromkeys(("BA", "DCBA", "HGFEDCBA", "LSW-LE", "LSW"), "DCBA"),
    **dict.fromkeys(("BADC", "BADCFEHG", "MSW-LE"), "BADC"),
    **dict.fromkeys(("CDAB", "GHEFCDAB", "LSW-BE"), "CDAB"),
}
_TYPES = {
    **{f"{sign}INT{bits}": f"{'u' if sign else 's'}{bits}" for sign in ("", "U") for bits in (16, 32, 64)},
    "FLOAT32": "f32", "FLOAT64": "f64", "STRING": "string", "BIT": "bool", "UINT8L": "u16", "UINT8H": "u16",
}  # fmt: skip
_FIXED = {"FIXED": "INT", "UFIXED": "UINT", "FLOAT32": "UINT"}  #: of the register style, as long as its addresses
_BYTE = {"UINT8L": (0, 7), "UINT8H": (8, 15)}
_REASON_OF_TYPE = {
    **dict.fromkeys(("INT8L", "INT8H"), "a profile has no signed number of eight bits"),
    "FLOAT16": "a profile has no float of 16 bits",
}


class _Field(NamedTuple):
    where: str
    device: tuple[str, int]  #: controller and unit
    table: Any
    name: Any
    address: Any
    type: Any
    order: Any
    scale: Any
    registers: Any  #: of a text
    bit: Any


def read(text: str, subject: str, unit: int | None = None) -> Draft:
    """The fields of one device; `unit` chooses it where the file has several. Raises ProfileError."""
    try:
        inputs = tomllib.loads(text).get("inputs")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError(subject, [("(syntax)", str(error), "is it a Telegraf configuration?")]) from error
    instances = _tables(inputs.get("modbus")) if isinstance(inputs, Mapping) else []
    fields = [found for i, each in instances for found in _fields(each, f"inputs.modbus[{i}]")]
    devices = sorted({found.device for found in fields if unit is None or found.device[1] == unit})
    if not devices:
        reason = "no field of [[inputs.modbus]]" + ("" if unit is None else f" for unit {unit}")
        raise ProfileError(subject, [("inputs.modbus", reason, "a profile is made of these fields")])
    if len(devices) > 1:
        names = ", ".join(f"unit {number} at {controller or '(no controller)'}" for controller, number in devices)
        hint = "choose with --unit, or cut the file to one device"
        raise ProfileError(subject, [("inputs.modbus", f"several devices: {names}", hint)])
    draft = Draft(f"Telegraf configuration {subject}")
    draft.caveats.append("TODO: Telegraf knows no units; add `unit` to each point.")
    for found in fields:
        if found.device == devices[0]:
            _take(draft, found)
    return draft


def _fields(instance: Mapping[str, Any], where: str) -> Iterator[_Field]:
    """Every field of an instance, whatever is wrong with it."""
    controller = instance.get("controller")
    device = (controller if isinstance(controller, str) else "", whole(instance.get("slave_id"), 0, 255) or 0)
    for key, table in _TABLE_OF_LIST.items():
        for i, each in _tables(instance.get(key)):
            yield _of_register(each, f"{where}.{key}[{i}]", device, table)
    for style in ("request", "metric"):
        for i, group in _tables(instance.get(style)):
            own = (device[0], whole(group.get("slave_id"), 0, 255) or device[1])
            for j, each in _tables(group.get("fields")):
                table = (group if style == "request" else each).get("register", "holding")
                order = group.get("byte_order") or "ABCD"
                if not each.get("omit"):
                    yield _of_group(each, f"{where}.{style}[{i}].fields[{j}]", own, table, order)


def _of_register(each: Mapping[str, Any], where: str, device: tuple[str, int], table: str) -> _Field:
    """The register style: a list of addresses whose length is that of the value."""
    addresses = each.get("address")
    first: Any = addresses
    length = 0
    if isinstance(addresses, list) and addresses and all(isinstance(a, int) for a in addresses):
        length = len(addresses)
        first = addresses[0] if addresses == list(range(addresses[0], addresses[0] + length)) else addresses
    data_type = each.get("data_type")
    if isinstance(data_type, str):
        data_type = f"{_FIXED[data_type]}{16 * length}" if data_type in _FIXED else data_type.removesuffix("-IEEE")
    scale = each.get("scale", 1)
    return _Field(
        where, device, table, each.get("name"), first, data_type, each.get("byte_order"), scale, length, each.get("bit")
    )


def _of_group(each: Mapping[str, Any], where: str, device: tuple[str, int], table: Any, order: Any) -> _Field:
    """The styles request and metric: one address and a type that tells the length."""
    scale = each.get("scale") or 1  # 0 means none
    named = (each.get("name"), each.get("address"), each.get("type"))
    return _Field(where, device, table, *named, order, scale, each.get("length"), each.get("bit"))


def _take(draft: Draft, found: _Field) -> None:
    name, address = found.name, whole(found.address, 0, 65535)
    where = f"{found.where} ({name})" if isinstance(name, str) and name else found.where
    if not isinstance(name, str) or not name:
        draft.leave(where, "has no name")
    elif not isinstance(found.table, str) or found.table not in (*_TABLE_OF_LIST.values(),):
        draft.leave(where, f"register {shown(found.table)} is not coil, discrete, holding or input")
    elif address is None:
        draft.leave(where, f"address {shown(found.address)} is no address, or not one after the other")
    elif found.table in _BITS:
        draft.add(where, name, table=found.table, address=address, type="bool")
    else:
        keys = _number(found)
        if isinstance(keys, str):
            draft.leave(where, keys)
        else:
            draft.add(where, name, table=found.table, address=address, **keys)


def _number(found: _Field) -> dict[str, Any] | str:
    """Type, order, scale and the like of a field in registers, or why it cannot be said in a profile."""
    kind = _TYPES.get(found.type) if isinstance(found.type, str) else None
    if kind is None:
        known = _REASON_OF_TYPE.get(found.type) if isinstance(found.type, str) else None
        return known or f"data type {shown(found.type)} is not known"
    order = _ORDERS.get(found.order) if isinstance(found.order, str) else None
    if order is None:
        return f"byte order {shown(found.order)} is not known, and none is guessed"
    swapped = order in ("DCBA", "BADC")
    if kind == "string":
        registers = whole(found.registers, 1, 125)
        return f"length {shown(found.registers)} of a text is not 1 to 125" if registers is None else {
            "type": kind, "registers": registers, "order": "BADC" if swapped else None,
        }  # fmt: skip
    if kind in ("u16", "s16", "bool") and swapped:
        return "its two bytes are swapped inside one register, which a profile cannot say"
    if kind == "bool":
        bit = whole(found.bit, 0, 15)
        return f"bit {shown(found.bit)} is not 0 to 15" if bit is None else {"type": kind, "bit": bit}
    scale = finite(found.scale)
    if not scale:
        return f"scale {shown(found.scale)} is no factor"
    keys: dict[str, Any] = {"type": kind, "scale": None if scale == 1 else scale, "bits": _BYTE.get(found.type)}
    return keys if kind in ("u16", "s16") else {**keys, "order": order}


def _tables(value: Any) -> list[tuple[int, Mapping[str, Any]]]:
    """The tables in a list, with their places; what is none of them is nothing."""
    return [(i, each) for i, each in enumerate(value) if isinstance(each, Mapping)] if isinstance(value, list) else []
