"""Register bytes to values and back, one point at a time: what a profile's keys mean, spelled out.

The reference for everything that decodes faster, and what the command line, the linter and the simulators use.
Bytes are as on the wire: registers big-endian, bits packed from the lowest bit of the first byte on (Modbus
application protocol V1.1b3, 4.2 and 6.1).
"""

import math
import struct
import sys
from enum import IntEnum
from typing import NamedTuple

from drivers.profile import BIT_TABLES, Point, Profile

Value = float | int | str | bool

#: Beyond this, neighbouring integers are not different doubles any more, so a number could not be printed exactly.
EXACT = 2.0**53

_FLOAT_FORMAT = {"f32": ">f", "f64": ">d"}
_FLOAT_MAX = {"f32": (2 - 2.0**-23) * 2.0**127, "f64": sys.float_info.max}


class Status(IntEnum):
    """What is known of a value; the numbers are those of the collector's Quality."""

    GOOD = 0
    NOT_AVAILABLE = 2  #: the device says "no value": a sentinel, NaN, infinity, an empty text
    OUT_OF_RANGE = 3  #: outside the profile's plausible range, or not exact as a double


class Reading(NamedTuple):
    """A decoded point. `value` is None unless `status` is GOOD; states are int, switches bool, texts str."""

    value: Value | None
    status: Status


def decode_point(profile: Profile, point: Point, data: bytes, offset: int = 0) -> Reading:
    """The point whose first register (or bit, in a bit table) stands `offset` registers (or bits) into `data`.

    Raises ValueError when `data` does not hold the whole point.
    """
    if point.table in BIT_TABLES:
        if not 0 <= offset < 8 * len(data):
            raise _outside(point, data, offset)
        return Reading(bool(data[offset // 8] >> offset % 8 & 1), Status.GOOD)
    cut = data[2 * offset : 2 * (offset + point.length)] if offset >= 0 else b""
    if len(cut) != 2 * point.length:
        raise _outside(point, data, offset)
    in_order = reorder(cut, profile.order(point))
    if point.type == "string":
        text = _text(in_order)
        return Reading(text, Status.GOOD) if text else Reading(None, Status.NOT_AVAILABLE)
    pattern = int.from_bytes(in_order, "big")
    if pattern in point.invalid:
        return Reading(None, Status.NOT_AVAILABLE)
    if point.type == "bool":
        return Reading(bool(pattern >> (point.bit or 0) & 1), Status.GOOD)
    return _judged(point, raw_value(point.type, pattern))


def encode_point(profile: Profile, point: Point, value: Value | None) -> tuple[int, ...]:
    """Register words that decode to `value`, to the nearest step and clamped to what the type holds.

    None, and NaN for integers, is the point's first sentinel. For a bool in a register: the word with only that bit;
    in a bit table: 0 or 1. Raises ValueError for None where the point has no way to say it, and for a value of the
    wrong kind.
    """
    if isinstance(value, str) != (point.type == "string") and value is not None:
        raise ValueError(f"{point.name}: {value!r} is no value for type {point.type}")
    if point.type == "bool" and value is not None:
        return (int(bool(value)) << (0 if point.table in BIT_TABLES else point.bit or 0),)
    if isinstance(value, str) or point.type == "string":
        in_order = _text_bytes(str(value or ""), 2 * point.length)
    else:
        in_order = _pattern(point, value).to_bytes(2 * point.length, "big")
    wire = reorder(in_order, profile.order(point))
    return tuple(int.from_bytes(wire[k : k + 2], "big") for k in range(0, len(wire), 2))


def reorder(data: bytes, order: str) -> bytes:
    """Bytes as on the wire from bytes in big-endian order, and the other way round: each order is its own inverse.

    The letters are the bytes of 0xAABBCCDD; for 64 bit the same rule runs over four registers. On texts only the
    bytes in a register are ever swapped.
    """
    if order in ("CDAB", "DCBA"):
        data = b"".join(data[k : k + 2] for k in range(len(data) - 2, -1, -2))
    if order in ("BADC", "DCBA"):
        data = b"".join(data[k : k + 2][::-1] for k in range(0, len(data), 2))
    return data


def raw_value(point_type: str, pattern: int) -> float | int:
    """The number that an unsigned bit pattern is in a numeric type."""
    if point_type in _FLOAT_FORMAT:
        size = int(point_type[1:]) // 8
        number: float = struct.unpack(_FLOAT_FORMAT[point_type], pattern.to_bytes(size, "big"))[0]
        return number
    low, high = integer_limits(point_type)
    return pattern - (high - low + 1) if pattern > high else pattern


def integer_limits(point_type: str) -> tuple[int, int]:
    """Lowest and highest raw number of an integer type."""
    bits = int(point_type[1:])
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if point_type[0] == "s" else (0, (1 << bits) - 1)


def _judged(point: Point, raw: float) -> Reading:
    if not math.isfinite(raw):
        return Reading(None, Status.NOT_AVAILABLE)
    scaling = point.scaling
    value = scaling.published(float(raw))
    low, high = point.range or (-math.inf, math.inf)
    if not low <= value <= high or abs(value) * 10.0**scaling.decimals >= EXACT:
        return Reading(None, Status.OUT_OF_RANGE)
    return Reading(int(value) if point.is_state else value, Status.GOOD)


def _pattern(point: Point, value: float | None) -> int:
    """The unsigned bit pattern for a published number."""
    if value is None or math.isnan(value):
        if point.invalid:
            return point.invalid[0]
        if not point.is_float:
            raise ValueError(f"{point.name}: type {point.type} without a sentinel cannot say that there is no value")
        value = math.nan
    if point.is_float:
        limit = _FLOAT_MAX[point.type]
        raw = point.scaling.raw(value) if math.isfinite(value) else value
        if math.isfinite(raw):
            raw = max(-limit, min(limit, raw))
        return int.from_bytes(struct.pack(_FLOAT_FORMAT[point.type], raw), "big")
    low, high = integer_limits(point.type)
    exact = max(float(low), min(float(high), point.scaling.raw(value)))
    return max(low, min(high, round(exact))) % (1 << 16 * point.length)


def _text(data: bytes) -> str:
    """Up to the first NUL, without padding and control characters; bytes that are no UTF-8 become U+FFFD."""
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(c for c in text if c.isprintable()).strip()


def _text_bytes(text: str, size: int) -> bytes:
    """`text` cut to `size` bytes at a whole character and filled up with NUL."""
    whole = text.encode("utf-8")[:size].decode("utf-8", "ignore")
    return whole.encode("utf-8").ljust(size, b"\0")


def _outside(point: Point, data: bytes, offset: int) -> ValueError:
    return ValueError(f"{point.name} ({point.type}) at offset {offset} does not lie inside {len(data)} bytes")
