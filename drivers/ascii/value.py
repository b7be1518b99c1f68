"""One value of an answer: from its characters or bytes to a number or a text, and back."""

import re
import struct
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from drivers.errors import BadFrame
from drivers.meaning import Strict
from drivers.text.image import Raw

#: In text: a decimal number, hex digits (`hex-signed`: two's complement of as many bits as they are), one of `words`,
#: any text. In bytes: numbers of 8 to 64 bits, packed decimal digits, text.
Type = Literal[
    "decimal",
    "hex",
    "hex-signed",
    "word",
    "text",
    "u8",
    "s8",
    "u16",
    "s16",
    "u24",
    "s24",
    "u32",
    "s32",
    "u64",
    "s64",
    "f32",
    "f64",
    "bcd",
]
#: Bytes of the types that have a size of their own.
SIZES = {f"{sign}{bits}": bits // 8 for sign in "us" for bits in (8, 16, 24, 32, 64)} | {"f32": 4, "f64": 8}
IN_TEXT = frozenset({"decimal", "hex", "hex-signed", "word", "text"})
IN_BYTES = frozenset({*SIZES, "bcd", "text"})

#: In `words`: whatever else the device says.
ANY_WORD = "*"

_FLOATS = {"f32": "f", "f64": "d"}
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?")
_HEX = re.compile(r"[0-9A-Fa-f]{1,16}")
_DASHES = re.compile(r"[-*.]*[-*][-*.]*")
_DIGIT = re.compile(r"[0-9+]")
_PACKED = re.compile(r"[0-9]+")

Bit = Annotated[int, Field(ge=0, le=63)]


class Form(Strict):
    """How a value is written."""

    type: Type = "decimal"
    low_first: bool = False  #: the lowest byte of a number, or the last two of packed decimal digits, come first
    bit: Bit | None = None  #: only this bit of the number, 0 is the lowest
    bits: tuple[Bit, Bit] | None = None  #: only these of the number, lowest and highest
    words: dict[str, int] = Field(default={})  #: what each word of the device means; "*" stands for any other

    @property
    def part(self) -> tuple[int, int] | None:
        """Lowest bit and number of bits of the part of the number that counts; None: the whole."""
        if self.bit is not None:
            return self.bit, 1
        return None if self.bits is None else (self.bits[0], self.bits[1] - self.bits[0] + 1)


def from_text(form: Form, token: str, nulls: Collection[str]) -> Raw:
    """The value of `token`. Blanks, dashes, stars with or without a point, and each of `nulls` say that there is none.

    Raises BadFrame for characters that are no value of this form: then nothing else of the answer can be trusted.
    """
    said = token.strip()
    if not said or said in nulls or _DASHES.fullmatch(said):
        return None
    if form.type == "text":
        return said
    if form.type == "word":
        return form.words.get(said, form.words.get(ANY_WORD))
    if form.type == "decimal":
        if not _DECIMAL.fullmatch(said):
            raise BadFrame(f"{token!r} is no decimal number")
        return float(said)
    if not _HEX.fullmatch(said):
        raise BadFrame(f"{token!r} is no hex number")
    number = int(said, 16)
    if form.type == "hex-signed" and number >> 4 * len(said) - 1:
        number -= 1 << 4 * len(said)
    return _part_of(form, number)


def from_bytes(form: Form, data: bytes, encoding: str) -> Raw:
    """The value of `data`. Raises BadFrame for digits that are none."""
    if form.type == "text":
        text = data.split(b"\0", 1)[0].decode(encoding, "replace")
        return "".join(c for c in text if c.isprintable()).strip() or None
    in_order = data[::-1] if form.low_first else data
    if form.type in _FLOATS:
        number: float = struct.unpack(">" + _FLOATS[form.type], in_order)[0]
        return number
    if form.type == "bcd":
        digits = in_order.hex()
        if _PACKED.fullmatch(digits):
            return int(digits)
        if set(digits) == {"f"}:
            return None
        raise BadFrame(f"{data.hex(' ').upper()} are no packed decimal digits")
    return _part_of(form, int.from_bytes(in_order, "big", signed=form.type[0] == "s"))


def to_text(form: Form, value: Raw, like: str, nulls: Collection[str]) -> str:
    """`value` written like `like` was: a number as wide, with as many decimals, signed and filled up in the same way.
    What no word means stays as it was.

    Raises ValueError when a number does not fit into as many characters.
    """
    if value is None:
        return _nothing(form, like, nulls)
    if form.type == "text":
        return str(value)
    if form.type == "word":
        return next((word for word, meaning in form.words.items() if meaning == value and word != ANY_WORD), like)
    if form.type == "decimal":
        return _decimal(float(value), like)
    width = len(like.strip())
    number = _with_part(form, int(like, 16) if _HEX.fullmatch(like.strip()) else 0, int(value))
    text = format(number % (1 << 4 * width) if number < 0 else number, f"0{width}X")
    return _fitting(text, like, value)


def to_bytes(form: Form, value: Raw, like: bytes, encoding: str) -> bytes:
    """`value` in as many bytes as `like`; None: as `like` was, where the form cannot say that there is no value.

    Raises ValueError when it does not fit.
    """
    size = len(like)
    if form.type == "text":
        return str(value or "").encode(encoding, "replace")[:size].ljust(size, b"\0")
    if value is None:
        if form.type in _FLOATS:
            value = float("nan")
        elif form.type == "bcd":
            return b"\xff" * size
        else:
            return like
    if form.type in _FLOATS:
        in_order = struct.pack(">" + _FLOATS[form.type], float(value))
    elif form.type == "bcd":
        in_order = bytes.fromhex(_fitting(str(int(value)).rjust(2 * size, "0"), "0" * 2 * size, value))
    else:
        before = int.from_bytes(like[::-1] if form.low_first else like, "big")
        number = _with_part(form, before, int(value))
        try:
            in_order = number.to_bytes(size, "big", signed=number < 0)
        except OverflowError:
            raise ValueError(f"{value!r} does not fit into {size} bytes") from None
    return in_order[::-1] if form.low_first else in_order


def _part_of(form: Form, number: int) -> int:
    if form.part is None:
        return number
    low, size = form.part
    return number >> low & (1 << size) - 1


def _with_part(form: Form, before: int, value: int) -> int:
    """The number `before` with the part that counts replaced."""
    if form.part is None:
        return value
    low, size = form.part
    mask = (1 << size) - 1 << low
    return before & ~mask | value << low & mask


def _nothing(form: Form, like: str, nulls: Collection[str]) -> str:
    """What says that there is no value, as wide as `like`."""
    if like.strip() in nulls or _DASHES.fullmatch(like.strip()):
        return like
    dashes = _DIGIT.sub("-", like) if form.type == "decimal" else "-" * max(1, len(like))
    return next((null.rjust(len(like)) for null in nulls if len(null) <= len(like)), dashes)


def _decimal(value: float, like: str) -> str:
    shape = like.strip()
    decimals = len(shape.partition(".")[2])
    sign = "+" if shape.startswith(("+", "-")) and not _DASHES.fullmatch(shape) else ""
    fill = "" if like.startswith(" ") else "0"
    texts = (format(value, f"{sign}{fill}{len(like)}.{digits}f") for digits in range(decimals, -1, -1))
    # as devices with a fixed width do: a larger number has fewer decimals
    return _fitting(next((text for text in texts if len(text) <= len(like)), format(value, f"{sign}.0f")), like, value)


def _fitting(text: str, like: str, value: Raw) -> str:
    if len(text) > len(like):
        raise ValueError(f"{value!r} does not fit into {len(like)} characters")
    return text.rjust(len(like))
