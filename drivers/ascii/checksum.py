"""The checksums of serial devices, over any part of a frame, as bytes or as hex digits.

Each carries the value of the ASCII text "123456789" that the catalogues of checksums list, so it can be told from its
namesakes: "CRC-16" and "CCITT" mean three different things in three manuals.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from drivers.meaning import Strict
from drivers.modbus.rtu import crc16

Kind = Literal[
    "none",
    "sum8",
    "sum8-neg",
    "sum16",
    "sum16-neg",
    "xor8",
    "lrc",
    "crc8",
    "crc16-modbus",
    "crc16-xmodem",
    "crc16-ccitt-false",
]


class _Sum(NamedTuple):
    """One checksum: its size in bytes and how it is computed."""

    size: int
    low_first: bool  #: the usual order of its bytes on the wire
    compute: Callable[[bytes], int]


def _lrc(data: bytes) -> int:
    """Over the bytes that pairs of hex digits stand for. Raises ValueError when `data` is not such pairs."""
    return -sum(bytes.fromhex(data.decode("ascii"))) & 0xFF


def _xor8(data: bytes) -> int:
    rest = 0
    for byte in data:
        rest ^= byte
    return rest


@lru_cache(maxsize=8)
def _table(bits: int, polynomial: int) -> tuple[int, ...]:
    """What each value of the topmost byte leaves behind."""
    top, mask = 1 << bits - 1, (1 << bits) - 1
    rests = []
    for byte in range(256):
        rest = byte << bits - 8
        for _ in range(8):
            rest = (rest << 1 ^ polynomial if rest & top else rest << 1) & mask
        rests.append(rest)
    return tuple(rests)


def _crc(bits: int, polynomial: int, start: int) -> Callable[[bytes], int]:
    table, mask, shift = _table(bits, polynomial), (1 << bits) - 1, bits - 8

    def compute(data: bytes) -> int:
        crc = start
        for byte in data:
            crc = (crc << 8 ^ table[crc >> shift ^ byte]) & mask
        return crc

    return compute


_SUMS = {
    "none": _Sum(0, low_first=False, compute=lambda data: 0),
    "sum8": _Sum(1, low_first=False, compute=lambda data: sum(data) & 0xFF),  # DDH
    "sum8-neg": _Sum(1, low_first=False, compute=lambda data: -sum(data) & 0xFF),  # 23H
    "sum16": _Sum(2, low_first=False, compute=lambda data: sum(data) & 0xFFFF),  # 01DDH
    "sum16-neg": _Sum(2, low_first=False, compute=lambda data: -sum(data) & 0xFFFF),  # FE23H; YD/T 1363, as hex
    "xor8": _Sum(1, low_first=False, compute=_xor8),  # 31H; also called BCC
    "lrc": _Sum(1, low_first=False, compute=_lrc),  # Modbus over serial line V1.02, 2.5.2.2
    "crc8": _Sum(1, low_first=False, compute=_crc(8, 0x07, 0)),  # F4H
    "crc16-modbus": _Sum(2, low_first=True, compute=crc16),  # 4B37H
    "crc16-xmodem": _Sum(2, low_first=False, compute=_crc(16, 0x1021, 0)),  # 31C3H
    "crc16-ccitt-false": _Sum(2, low_first=False, compute=_crc(16, 0x1021, 0xFFFF)),  # 29B1H
}


class Check(Strict):
    """Which checksum a frame carries and what it covers.

    It stands right before the frame's `end`, or right behind it. It covers what lies between the frame's `start` and
    itself, so `end` too when it stands behind that; `skip_first` and `skip_last` change this.
    """

    kind: Kind = "none"
    skip_first: Annotated[int, Field(ge=0, le=64)] | None = None  #: bytes at the frame's begin that it leaves out
    skip_last: Annotated[int, Field(ge=0, le=64)] = 0  #: bytes right before it that it leaves out
    digits: bool = False  #: two hex digits per byte, instead of the bytes themselves
    behind_end: bool = False
    low_first: bool | None = None  #: order of a 16-bit sum's bytes; None: low byte first for crc16-modbus only

    @property
    def width(self) -> int:
        """Bytes it takes in the frame."""
        return _SUMS[self.kind].size * (2 if self.digits else 1)

    def octets(self, covered: bytes) -> bytes:
        """The checksum of `covered` as it stands in the frame.

        Raises ValueError when there is none: `lrc` is defined over pairs of hex digits only.
        """
        size, low_first, compute = _SUMS[self.kind]
        if self.low_first is not None:
            low_first = self.low_first
        value = compute(covered).to_bytes(size, "little" if low_first else "big")
        return value.hex().upper().encode("ascii") if self.digits else value

    def matches(self, covered: bytes, found: bytes) -> bool:
        """Whether `found` is the checksum of `covered`; hex digits may be small letters."""
        try:
            return self.octets(covered) == (found.upper() if self.digits else found)
        except ValueError:
            return False
