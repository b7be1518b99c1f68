"""A command's values as a register image, and one point of it back.

Each number is four registers, a big-endian double as the device sent it (before scale and offset), NaN where the
device says that there is none; each text is UTF-8 in registers of two bytes, filled up with NUL. Points stand in the
order of the profile.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivers.text.profile import TextPoint

#: What a device says of a point, before scale and offset; None: no value.
Raw = float | int | str | None

NUMBER_REGISTERS = 4
_DOUBLE = struct.Struct(">d")


def offsets(points: "Sequence[TextPoint]") -> tuple[dict[str, int], int]:
    """Place of each point in registers, and registers of the whole image."""
    places = {}
    end = 0
    for point in points:
        places[point.name] = end
        end += point.image_registers
    return places, end


def pack(points: "Sequence[TextPoint]", values: Mapping[str, Raw]) -> bytes:
    """The image of `points`; one that `values` does not have is not available."""
    parts = []
    for point in points:
        value = values.get(point.name)
        if point.is_text:
            parts.append(_text_bytes(str(value or ""), 2 * point.image_registers))
        else:
            number = math.nan if value is None else float(value)
            parts.append(_DOUBLE.pack(math.nan if number in point.invalid else number))
    return b"".join(parts)


def number_at(data: bytes, offset: int) -> float:
    """The number `offset` registers into `data`. Raises ValueError when it is not inside."""
    try:
        number: float = _DOUBLE.unpack_from(data, 2 * offset)[0]
    except struct.error as error:
        raise ValueError(str(error)) from None
    return number


def _text_bytes(text: str, size: int) -> bytes:
    """`text` cut to `size` bytes at a whole character and filled up with NUL."""
    whole = text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
    return whole.encode("utf-8").ljust(size, b"\0")
