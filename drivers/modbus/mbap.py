"""Modbus TCP and UDP framing, pure bytes (Modbus messaging on TCP/IP V1.0b, 3.1.3).

    transaction id (2) | protocol id = 0 (2) | length (2): of what follows | unit (1) | PDU

Frames follow each other in a stream without any mark, so one wrong header means that the stream is lost. A datagram
is one frame, and a wrong one is no matter of the next.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache

from drivers.base import Request, Sink
from drivers.errors import BadFrame, DeviceException
from drivers.modbus.pdu import MAX_PDU, answer_of_unit, encode_read

HEADER = 7
#: Where the unit id stands.
UNIT = 6
MAX_FRAME = HEADER + MAX_PDU

_PREFIX = struct.Struct(">HHH")
_TAIL = struct.Struct(">HHB")
#: Different requests remembered in encoded form, about 300 B each: 1,000 devices of 60 blocks, all different.
_TEMPLATES = 60_000


@lru_cache(maxsize=_TEMPLATES)
def template(request: Request) -> tuple[bytes, bytes, int]:
    """What is constant about an exchange: (request frame, begin of the good answer, length of the good answer).

    Both byte strings lack their first two bytes, the transaction id. Raises ValueError like `encode_read`.
    """
    pdu = encode_read(request)
    size = request.answer_bytes
    question = _TAIL.pack(0, 1 + len(pdu), request.unit) + pdu
    answer = _TAIL.pack(0, 3 + size, request.unit) + bytes((request.function, size))
    return question, answer, HEADER + 2 + size


class Frames:
    """Cuts what is received into frames. Holds at most one unfinished frame."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """(transaction id, whole frame) of every frame that `data` ends. Raises BadFrame: the stream is lost."""
        received = self._held + data
        self._held = b""
        start = 0
        while (frame := split(received, start, len(received))) is not None:
            transaction, size = frame
            yield transaction, memoryview(received)[start : start + size]
            start += size
        self._held = received[start:]


def split(buffer: bytes | bytearray, start: int, end: int) -> tuple[int, int] | None:
    """(transaction id, length of the whole frame) of the frame that begins at `start`; None while it is incomplete.

    Raises BadFrame when no Modbus TCP frame begins there.
    """
    if end - start < _PREFIX.size:
        return None
    transaction, protocol, length = _PREFIX.unpack_from(buffer, start)
    if protocol != 0 or not 3 <= length <= 1 + MAX_PDU:
        shown = buffer[start : min(end, start + HEADER)].hex(" ")
        raise BadFrame(f"not a Modbus TCP header: {shown} (protocol id {protocol}, length {length})")
    size = _PREFIX.size + length
    return (transaction, size) if end - start >= size else None


def whole(datagram: bytes) -> tuple[int, memoryview]:
    """(transaction id, whole frame) of a datagram. Raises BadFrame when it is not exactly one frame."""
    found = split(datagram, 0, len(datagram))
    if found is None or found[1] != len(datagram):
        begin = f" that begin {datagram[:HEADER].hex(' ')}" if datagram else ""
        raise BadFrame(f"not one Modbus frame: {len(datagram)} bytes{begin}")
    return found[0], memoryview(datagram)


def tell(sink: Sink, request: Request, frame: memoryview) -> None:
    """Give `sink` what the whole `frame` answers to `request`: its data bytes, or why there are none."""
    try:
        data = answer_of_unit(request, frame[UNIT], frame[HEADER:])
    except (BadFrame, DeviceException) as error:
        sink.failed(error)
    else:
        sink.answered(data)
