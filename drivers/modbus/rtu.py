"""Modbus RTU framing, pure bytes (Modbus over serial line V1.02, 2.5.1).

    unit (1) | PDU | CRC-16 (2, low byte first)

The end of a frame is found by its expected length and its CRC, not by silence: USB adapters and serial servers
deliver bytes in lumps, milliseconds apart, so silence in user space says little about silence on the line.
"""

import struct
from array import array

from drivers.base import Request
from drivers.errors import BadFrame
from drivers.modbus.pdu import EXCEPTION_BIT, answer_data, encode_read

#: Two frames of the greatest length (256 B): the one that is looked for and what may stand before it.
MAX_BUFFER = 512
MIN_FRAME = 4
QUESTION_BYTES = 8
EXCEPTION_BYTES = 5
#: Unit, function, byte count: what tells the length of an answer.
HEAD_BYTES = 3
#: Stray bytes that a turning driver or a missing bias resistor may put before a frame.
GLITCH_BYTES = 3

#: Remainders of every byte and of every 16-bit word, poly A001H reflected: two bytes of a frame are one look-up.
_BYTE = [0] * 256
for _byte in range(256):
    _rest = _byte
    for _ in range(8):
        _rest = _rest >> 1 ^ (0xA001 if _rest & 1 else 0)
    _BYTE[_byte] = _rest
_WORD = array("H", ((half := word >> 8 ^ _BYTE[word & 0xFF]) >> 8 ^ _BYTE[half & 0xFF] for word in range(0x10000)))


def crc16(data: bytes | bytearray) -> int:
    """The checksum of `data`; 0 for a whole frame whose own checksum is right."""
    crc = 0xFFFF
    for word in struct.unpack_from(f"<{len(data) >> 1}H", data):
        crc = _WORD[crc ^ word]
    return crc >> 8 ^ _BYTE[(crc ^ data[-1]) & 0xFF] if len(data) & 1 else crc


def seal(unit: int, pdu: bytes) -> bytes:
    """The frame that carries `pdu`."""
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


def encode(request: Request) -> bytes:
    """The frame that asks for `request`. Raises ValueError like `encode_read`."""
    return seal(request.unit, encode_read(request))


def answer_length(request: Request) -> int:
    """Bytes in the frame of a good answer."""
    return 5 + request.answer_bytes


def read_answer(request: Request, frame: bytes) -> memoryview:
    """The data bytes of a whole frame. Raises BadFrame and DeviceException as `answer_data` does."""
    if len(frame) < MIN_FRAME or crc16(frame) != 0:
        raise BadFrame(f"checksum is wrong: {frame.hex(' ')}")
    if frame[0] != request.unit:
        raise BadFrame(f"asked unit {request.unit}, answered unit {frame[0]}")
    return answer_data(request, memoryview(frame)[1:-2])


class RtuReceiver:
    """Finds answers among whatever a line delivers.

    `expected` is the owner's: unit → the request whose answer may still come, in time or late. An answer begins with
    unit, function and byte count of such a request, has the length that follows from it and a right CRC; everything
    else is passed over one byte at a time, so any noise is followed by the next good frame.
    """

    def __init__(self, expected: dict[int, Request]) -> None:
        self._expected = expected
        self._buffer = bytearray()
        self._echo = b""
        self._scanned = 0  # no frame begins before this
        self.corrupt: set[int] = set()  #: units of which an answer of the right form had a wrong CRC

    def __len__(self) -> int:
        """Bytes held; never above MAX_BUFFER."""
        return len(self._buffer)

    @property
    def missing(self) -> int:
        """Bytes that the frame which seems to have begun still lacks, at least; 0: none has begun."""
        held = len(self._buffer) - self._scanned
        request = self._expected.get(self._buffer[self._scanned]) if held > 0 else None
        if request is None:
            return 0
        size = EXCEPTION_BYTES if held < HEAD_BYTES else self._size_at(self._scanned, request)
        return max(0, size - held)

    def begin(self, question: bytes) -> None:
        """Forget all bytes: `question` is now transmitted, and a two-wire adapter may echo it.

        Whatever equals the question is the echo. The answer of a bit read can do so as well (address 0300H-03FFH,
        17 to 24 bits, one certain pattern): it is then not accepted, rather than an echo be taken for an answer.
        """
        self.clear()
        self._echo = question

    def clear(self) -> None:
        self._buffer.clear()
        self._scanned = 0
        self.corrupt.clear()

    def feed(self, data: bytes) -> None:
        """Add received bytes; beyond MAX_BUFFER the oldest are dropped."""
        self._buffer += data
        surplus = len(self._buffer) - MAX_BUFFER
        if surplus > 0:
            del self._buffer[:surplus]
            self._scanned = max(0, self._scanned - surplus)

    def find(self, *, final: bool = False) -> bytes | None:
        """The next whole expected answer; what stands before it is dropped. None: nothing yet.

        `final`: the line is silent, so what began and did not end is not waited for.
        """
        buffer, start = self._buffer, 0 if final else self._scanned
        while len(buffer) - start >= EXCEPTION_BYTES:
            request = self._expected.get(buffer[start])
            size = self._size_at(start, request) if request is not None else 0
            if size and len(buffer) - start < size:
                if not final:
                    break
                size = 0
            if size:
                frame = bytes(buffer[start : start + size])
                if frame == self._echo:
                    del buffer[start : start + size]
                    continue
                if crc16(frame) == 0:
                    del buffer[: start + size]
                    self._scanned = 0
                    return frame
                self.corrupt.add(frame[0])
            start += 1
        self._scanned = start
        return None

    def foreign(self) -> bytes | None:
        """The bytes held, if they are one whole frame nobody expected, behind at most GLITCH_BYTES; else None."""
        for start in range(min(GLITCH_BYTES + 1, len(self._buffer) - MIN_FRAME + 1)):
            frame = bytes(self._buffer[start:])
            if crc16(frame) == 0 and frame != self._echo:
                return frame
        return None

    def _size_at(self, start: int, request: Request) -> int:
        """Length of the frame that seems to begin at `start`; 0 when it is none of `request`."""
        buffer = self._buffer
        if self._echo and buffer.startswith(self._echo[: len(buffer) - start], start):
            return QUESTION_BYTES
        function = buffer[start + 1]
        if function == request.function | EXCEPTION_BIT:
            return EXCEPTION_BYTES
        if function == request.function and buffer[start + 2] == request.answer_bytes:
            return answer_length(request)
        return 0
