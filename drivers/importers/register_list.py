"""A table of registers with the references and types of modpoll and mbpoll, as people keep it in a spreadsheet.

The first line names the columns: `reference`, `type` and `name`, and as many as there are of `scale`, `offset`, `unit`,
`order`, `bit`, `length` and `note`. They stand between commas, semicolons or tabs.

- `type` as behind modpoll's -t: `4` or `4:float`, the digit is the table and `reference` counts from 1; or a type
  alone, such as `float` or `u16`, and a `reference` that carries the table, 40011 or 400011
- `order`: ABCD, CDAB, BADC or DCBA. modpoll has one for the whole device, on its command line: it is asked for where a
  number has more than one register
"""

import csv
import io
import re
from collections.abc import Mapping
from typing import Any

from drivers.errors import ProfileError
from drivers.importers.draft import Draft, finite, shown

NEEDED = ("reference", "type", "name")
KNOWN = (*NEEDED, "scale", "offset", "unit", "order", "bit", "length", "note")
_TABLES = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_TYPES = {
    **dict.fromkeys(("", "hex", "uint16", "u16", "word", "ushort"), "u16"),
    **dict.fromkeys(("int16", "s16", "i16", "short"), "s16"),
    **dict.fromkeys(("int", "int32", "s32", "i32", "long"), "s32"),
    **dict.fromkeys(("uint", "uint32", "u32", "dword", "ulong"), "u32"),
    **dict.fromkeys(("int64", "s64", "i64"), "s64"),
    **dict.fromkeys(("uint64", "u64"), "u64"),
    **dict.fromkeys(("float", "float32", "f32", "real"), "f32"),
    **dict.fromkeys(("double", "float64", "f64"), "f64"),
    **dict.fromkeys(("bool", "bit"), "bool"),
    **dict.fromkeys(("bcd", "bcd16"), "bcd16"),
    **{each: each for each in ("bcd32", "bcd64", "string")},
}
_ONE_REGISTER = ("u16", "s16", "bcd16", "bool")
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d{1,3})?")


def read(text: str, subject: str, order: str | None = None) -> Draft:
    """The registers of the table; `order` is that of numbers whose line gives none. Raises ProfileError."""
    text = text.removeprefix("\ufeff")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="(more)")
        columns = [column.strip().lower() for column in table.fieldnames or ()]
        rows = list(table)
    except csv.Error as error:
        raise ProfileError(subject, [("(syntax)", str(error), "is it a table with one register a line?")]) from error
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        hint = f"the first line names the columns: {', '.join(KNOWN)}"
        raise ProfileError(subject, [("(columns)", f"no column {', '.join(missing)}", hint)])
    draft = Draft(f"register list {subject}", limits={"address_base": 1})
    draft.caveats.append("Numbers count from 1, as modpoll's references do: 11 here is 10 on the wire.")
    for column in columns:
        if column not in KNOWN:
            draft.leave("line 1", f"column {shown(column)} is not known")
    for line, row in enumerate(rows, 2):
        cells = {
            str(key).strip().lower(): (value or "").strip() for key, value in row.items() if isinstance(value, str)
        }
        if any(cells.values()):
            _take(draft, f"line {line}", cells, order)
    return draft


def _take(draft: Draft, where: str, cells: Mapping[str, str], order: str | None) -> None:
    where = f"{where} ({cells['name']})" if cells.get("name") else where
    place = _place(cells.get("reference", ""), cells.get("type", "").lower())
    keys = place if isinstance(place, str) else _meaning(cells, place, order)
    if isinstance(keys, str):
        draft.leave(where, keys)
    elif not cells.get("name"):
        draft.leave(where, "has no name")
    else:
        draft.add(where, cells["name"], unit=cells.get("unit") or None, note=cells.get("note"), **keys)


def _place(reference: str, kind: str) -> dict[str, Any] | str:
    """Table, number and format of a line, or why they cannot be told."""
    table, _, form = kind.partition(":")
    if not re.fullmatch(r"[0-9]{1,6}", reference):
        return f"reference {shown(reference)} is no number"
    if table in _TABLES:
        if len(reference) >= 5 and reference[0] == table:
            both = f"register {int(reference)} or {int(reference[1:])}"
            return f"{reference} in table {table} may be {both}: leave the table out of one of the two"
        return {"table": _TABLES[table], "address": int(reference), "form": form}
    if len(reference) < 5 or reference[0] not in _TABLES:
        return f"neither type {shown(kind)} nor reference {reference} says which table it is in"
    return {"table": _TABLES[reference[0]], "address": int(reference[1:]), "form": kind}


def _meaning(cells: Mapping[str, str], place: dict[str, Any], order: str | None) -> dict[str, Any] | str:
    """The point's keys without its name, or why a profile cannot say them."""
    kind = _TYPES.get(place.pop("form"))
    keys: dict[str, Any] = {**place, "type": "bool" if place["table"] in ("coil", "discrete") else kind}
    if kind is None:
        return f"type {shown(cells.get('type'))} is not known"
    if keys["type"] == "bool":
        return keys if place["table"] in ("coil", "discrete") else _with(keys, cells, "bit", 15)
    given = (cells.get("order") or order or "").upper()
    if given and given not in _ORDERS:
        return f"order {shown(given)} is not {', '.join(_ORDERS)}"
    if kind == "string":
        keys["order"] = "BADC" if given in ("BADC", "DCBA") else None
        return _with(keys, cells, "length", 125)
    if kind not in _ONE_REGISTER:
        if not given:
            return "the order of its words is not given: add a column order, or say --order"
        keys["order"] = given
    for key in ("scale", "offset"):
        if cells.get(key):
            number = _NUMBER.fullmatch(cells[key]) and finite(float(cells[key].replace(",", ".")))
            if number is None:
                return f"{key} {shown(cells[key])} is no number"
            keys[key] = int(number) if float(number).is_integer() and abs(number) < 1e15 else number
    return keys


def _with(keys: dict[str, Any], cells: Mapping[str, str], column: str, most: int) -> dict[str, Any] | str:
    """The keys with the whole number in `column`: the bit of a switch, the registers of a text."""
    text = cells.get(column, "")
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > most:
        return f"a {keys['type']} needs its {column}, up to {most}: {shown(text)}"
    return {**keys, "bit" if column == "bit" else "registers": int(text)}
