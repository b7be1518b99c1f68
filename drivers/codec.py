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

from drivers.meaning import AnyProfile, Meaning
from drivers.point import BIT_TABLES, Point
from drivers.profile import Profile
from drivers.scaling import MAX_EXPONENT
from drivers.text.image import number_at
from drivers.text.profile import TextPoint, TextProfile

Value = float | int | str | bool

#: From here on an integer divided by a power of ten can be half a last decimal off: it could not be printed exactly.
EXACT = 2.0**52
#: A scale register that says "no scale factor": SunSpec's `sunssf`.
NO_EXPONENT = -0x8000

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


def decode_point(profile: AnyProfile, point: Meaning, data: bytes, offset: int = 0) -> Reading:
    """The point whose first register (or bit, in a bit table) stands `offset` registers (or bits) into `data`.

    Raises ValueError when `data` does not hold the whole point, or not its scale register.
    """
    if isinstance(point, TextPoint):
        return _from_image(point, data, offset)
    assert isinstance(profile, Profile)
    assert isinstance(point, Point)
    if point.table in BIT_TABLES:
        if not 0 <= offset < 8 * len(data):
            raise _outside(point, data, offset)
        return Reading(bool(data[offset // 8] >> offset % 8 & 1), Status.GOOD)
    cut = data[2 * offset : 2 * (offset + point.length)] if offset >= 0 else b""
    if len(cut) != 2 * point.length:
        raise _outside(point, data, offset)
    in_order = reorder(cut, profile.order(point))
    if point.type == "string":
        return _read_text(in_order)
    exponent = _exponent(profile, point, data, offset)
    pattern = int.from_bytes(in_order, "big")
    if point.bits is not None:
        pattern = pattern >> point.bits[0] & (1 << point.bits[1] - point.bits[0] + 1) - 1
    if any(low <= pattern <= high for low, high in point.sentinels) or exponent == NO_EXPONENT:
        return Reading(None, Status.NOT_AVAILABLE)
    if point.type == "bool":
        return Reading(bool(pattern >> (point.bit or 0) & 1), Status.GOOD)
    return judged(point, raw_value(point.type, pattern), exponent)


def decode_answer(profile: TextProfile, command: str, image: bytes) -> dict[str, Reading]:
    """Every point in the answer to `command`, from the register image of that answer."""
    places = profile.places(command)
    return {point.name: decode_point(profile, point, image, places[point.name]) for point in profile.points_of(command)}


def encode_point(profile: Profile, point: Point, value: Value | None, exponent: int = 0) -> tuple[int, ...]:
    """Register words that decode to `value`, to the nearest step and clamped to what the type holds.

    `exponent` is what the point's scale register says. None, and NaN for integers, is the point's first sentinel. For
    a bool or bits in a register: the words with only those bits; in a bit table: 0 or 1. Raises ValueError for None
    where the point has no way to say it, and for a value of the wrong kind.
    """
    if isinstance(value, str) != (point.type == "string") and value is not None:
        raise ValueError(f"{point.name}: {value!r} is no value for type {point.type}")
    if point.type == "bool" and value is not None:
        return (int(bool(value)) << (0 if point.table in BIT_TABLES else point.bit or 0),)
    if isinstance(value, str) or point.type == "string":
        in_order = _text_bytes(str(value or ""), 2 * point.length)
    else:
        in_order = _pattern(point, value, exponent).to_bytes(2 * point.length, "big")
    return _words(reorder(in_order, profile.order(point)))


def own_bits(profile: Profile, point: Point) -> tuple[int, ...]:
    """Register words with a 1 at each bit that is the point's; the others may be other points'."""
    mask = (1 << 16 * point.length) - 1
    if point.bits is not None:
        mask = (1 << point.bits[1] + 1) - (1 << point.bits[0])
    elif point.type == "bool":
        mask = 1 << (point.bit or 0)
    return _words(reorder(mask.to_bytes(2 * point.length, "big"), profile.order(point)))


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
    """The number that an unsigned bit pattern is in a numeric type; NaN for a decimal digit above 9."""
    if point_type in _FLOAT_FORMAT:
        size = int(point_type[1:]) // 8
        number: float = struct.unpack(_FLOAT_FORMAT[point_type], pattern.to_bytes(size, "big"))[0]
        return number
    if point_type.startswith("bcd"):
        digits = f"{pattern:x}"
        return int(digits) if digits.isdecimal() else math.nan
    bits = int(point_type[1:])
    return pattern - (1 << bits) if point_type[0] == "s" and pattern >> bits - 1 else pattern


def _exponent(profile: Profile, point: Point, data: bytes, offset: int) -> int:
    """What the point's scale register says; 0 where there is none."""
    address = profile.scale_address(point)
    if address is None:
        return 0
    place = 2 * (offset + address - profile.wire_address(point))
    word = data[place : place + 2] if place >= 0 else b""
    if len(word) != 2:
        raise ValueError(f"{point.name}: its scale register does not lie inside {len(data)} bytes")
    return int.from_bytes(word, "big", signed=True)


def _from_image(point: TextPoint, data: bytes, offset: int) -> Reading:
    """A point of a text protocol: a double as the device sent it, or a text."""
    if not point.is_text:
        reading = judged(point, number_at(data, offset), 0)
        return Reading(bool(reading.value), Status.GOOD) if point.is_bool and reading.value is not None else reading
    cut = data[2 * offset : 2 * (offset + point.image_registers)] if offset >= 0 else b""
    if len(cut) != 2 * point.image_registers:
        raise ValueError(f"{point.name} (text) at offset {offset} does not lie inside {len(data)} bytes")
    return _read_text(cut)


def _read_text(data: bytes) -> Reading:
    text = _text(data)
    return Reading(text, Status.GOOD) if text else Reading(None, Status.NOT_AVAILABLE)


def judged(point: Meaning, raw: float, exponent: int = 0) -> Reading:
    """The published value of a raw number; `exponent` is what the point's scale register says."""
    if not math.isfinite(raw):
        return Reading(None, Status.NOT_AVAILABLE)
    if abs(exponent) > MAX_EXPONENT:
        return Reading(None, Status.OUT_OF_RANGE)
    scaling = point.scaling
    value = scaling.published(float(raw), exponent)
    if isinstance(point, Point) and point.encoding == "four_quadrant" and 1 < abs(value) <= 2:
        value = math.copysign(2 - abs(value), value)
    low, high = point.range or (-math.inf, math.inf)
    if not low <= value <= high or abs(value) * 10.0**scaling.decimals >= EXACT:
        return Reading(None, Status.OUT_OF_RANGE)
    return Reading(int(value) if point.is_state else value, Status.GOOD)


def _pattern(point: Point, value: float | None, exponent: int) -> int:
    """The unsigned bit pattern for a published number."""
    shift = 0 if point.bits is None else point.bits[0]
    if value is None or math.isnan(value):
        if point.invalid:
            return point.sentinels[0][0] << shift
        if not point.is_float:
            raise ValueError(f"{point.name}: type {point.type} without a sentinel cannot say that there is no value")
        value = math.nan
    if point.is_float:
        limit = _FLOAT_MAX[point.type]
        raw = point.scaling.raw(value, exponent) if math.isfinite(value) else value
        if math.isfinite(raw):
            raw = max(-limit, min(limit, raw))
        return int.from_bytes(struct.pack(_FLOAT_FORMAT[point.type], raw), "big")
    low, high = point.raw_limits or (0, 0)
    exact = max(float(low), min(float(high), point.scaling.raw(value, exponent)))
    raw = max(low, min(high, round(exact)))
    return int(str(raw), 16) if point.type.startswith("bcd") else raw % (1 << 16 * point.length) << shift


def _words(wire: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(wire[k : k + 2], "big") for k in range(0, len(wire), 2))


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
