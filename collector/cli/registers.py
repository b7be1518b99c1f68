"""The registers that `collector probe --read` asks for: as the user writes them, and in every form they may have."""

import re
import struct
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from drivers.base import Request
    from drivers.probe import Report

_READ = re.compile(r"(?:(?P<table>[a-z]+):)?(?P<address>\d+)(?:\+(?P<count>\d+))?")
#: First digit of the old five- or six-digit numbers, which count from 1.
_TABLE_OF_DIGIT = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
#: A float outside of this is hardly a reading of a plant; used only to mark the plausible word order.
_PLAUSIBLE = (1e-3, 1e7)


def read_of(text: str, unit: int) -> "Request":
    """A read as the user writes it. Raises click.BadParameter."""
    from drivers.base import Request
    from drivers.modbus.pdu import encode_read
    from drivers.point import FUNCTION_OF_TABLE

    match = _READ.fullmatch(text)
    hint = "write holding:3059+10, input:0, coil:16+8, discrete:0+4, or 40001+10 in the old counting"
    if match is None:
        raise click.BadParameter(f"{text!r} is not TABLE:ADDRESS+COUNT — {hint}", param_hint="--read")
    table, digits, address = match["table"], match["address"], int(match["address"])
    if table is None:
        if len(digits) not in (5, 6) or digits[0] not in _TABLE_OF_DIGIT or int(digits[1:]) == 0:
            raise click.BadParameter(f"{text!r} names no table — {hint}", param_hint="--read")
        table, address = _TABLE_OF_DIGIT[digits[0]], int(digits[1:]) - 1
    if table not in FUNCTION_OF_TABLE:
        raise click.BadParameter(f"there is no table {table!r} — {hint}", param_hint="--read")
    request = Request(unit, FUNCTION_OF_TABLE[table], address, int(match["count"] or 1))
    try:
        encode_read(request)
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}", param_hint="--read") from None
    return request


def registers(report: "Report") -> dict[str, list[dict[str, Any]]]:
    """The raw reads: each register in every form it may have; bits as 0 and 1."""
    from drivers.base import Request

    raw = {}
    for request, data in report.data.items():
        if request in report.blocks or not isinstance(request, Request):
            continue
        if request.function <= 2:
            bits = [data[i // 8] >> i % 8 & 1 for i in range(request.count)]
            raw[str(request)] = [{"address": request.address + i, "bit": bit} for i, bit in enumerate(bits)]
        else:
            raw[str(request)] = [_register(request, data, i) for i in range(request.count)]
    return raw


def _register(request: "Request", data: bytes, i: int) -> dict[str, Any]:
    from drivers.codec import reorder

    word = data[2 * i : 2 * i + 2]
    row: dict[str, Any] = {
        "address": request.address + i,
        "hex": word.hex().upper(),
        "u16": struct.unpack(">H", word)[0],
        "s16": struct.unpack(">h", word)[0],
    }
    if i + 1 < request.count:
        for order in _ORDERS:
            pair = reorder(data[2 * i : 2 * i + 4], order)
            number = struct.unpack(">f", pair)[0]
            row[f"u32_{order}"] = struct.unpack(">I", pair)[0]
            row[f"f32_{order}"] = number if abs(number) < float("inf") else None  # JSON has no NaN
    return row


def show_registers(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print what `registers` gives."""
    for read, rows in found.items():
        click.echo(f"\n{read}")
        if "bit" in rows[0]:
            click.echo("  " + " ".join(f"{row['address']}:{row['bit']}" for row in rows))
        else:
            _show_registers(rows)


def _show_registers(rows: list[dict[str, Any]]) -> None:
    """One line per register; the 32-bit forms are those of this register and the next, * marks the plausible float."""
    head = f"  {'address':>7}  {'hex':<4}  {'u16':>5}  {'s16':>6}"
    click.echo(head + "".join(f"  {'f32 ' + order:>12}" for order in _ORDERS) + f"  {'u32 ABCD':>10}  {'u32 CDAB':>10}")
    for row in rows:
        line = f"  {row['address']:>7}  {row['hex']:<4}  {row['u16']:>5}  {row['s16']:>6}"
        if "u32_ABCD" in row:
            numbers = [row[f"f32_{order}"] for order in _ORDERS]
            likely = [n is not None and _PLAUSIBLE[0] <= abs(n) < _PLAUSIBLE[1] for n in numbers]
            for number, marked in zip(numbers, likely, strict=True):
                shown = "-" if number is None else f"{number:.5g}"
                line += f"  {shown + ('*' if marked and sum(likely) == 1 else ''):>12}"
            line += f"  {row['u32_ABCD']:>10}  {row['u32_CDAB']:>10}"
        click.echo(line)
