r"""Bytes as a profile writes them.

`'\x02R01\r'` is text with escapes (`\xHH \r \n \t \e \\`); `{ hex = "02 52 30 31 0D" }` is the same. So is TOML's own
way in double quotes, `"\u0002R01\r"`, because a control character is taken as it stands.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

#: No known device has a longer question or terminator; more is a mistake.
MAX_OCTETS = 256

_ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "e": b"\x1b", "\\": b"\\"}
_PIECE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.?))|([^\\]+)", re.DOTALL)


def unescape(text: str) -> bytes:
    """The bytes of `text`. Raises ValueError for an unknown escape and for what is not ASCII."""
    parts = []
    for pair, name, plain in _PIECE.findall(text):
        if pair:
            parts.append(bytes.fromhex(pair))
        elif plain:
            if not plain.isascii():
                raise ValueError(f"{plain!r} is not ASCII: write its bytes as \\xHH")
            parts.append(plain.encode("ascii"))
        elif name in _ESCAPES:
            parts.append(_ESCAPES[name])
        else:
            raise ValueError(f"\\{name} is no escape: known are \\xHH \\r \\n \\t \\e \\\\")
    return b"".join(parts)


def parse_octets(value: Any) -> bytes:
    """What a profile wrote, as bytes. Raises ValueError."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and set(value) == {"hex"} and isinstance(value["hex"], str):
        octets = bytes.fromhex(value["hex"])
    elif isinstance(value, str):
        octets = unescape(value)
    else:
        raise ValueError('write text with escapes, or { hex = "02 0D" }')
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"{len(octets)} bytes, at most {MAX_OCTETS}")
    return octets


def show(data: bytes, encoding: str = "ascii") -> str:
    """`data` for a reader: printable characters as they are, everything else as the escape that stands for it."""
    text = data.decode(encoding, "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


Octets = Annotated[
    bytes,
    BeforeValidator(parse_octets),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "description": r"text with the escapes \xHH \r \n \t \e \\"},
                {
                    "type": "object",
                    "properties": {"hex": {"type": "string"}},
                    "required": ["hex"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
