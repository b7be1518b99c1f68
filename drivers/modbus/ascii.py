"""Modbus ASCII framing, pure bytes (Modbus over serial line V1.02, 2.5.2).

    ':' | unit, PDU, LRC: two hexadecimal digits per byte | CR LF

A frame has a mark at both ends and names its unit, so a line that carries it is one of text (`drivers.text.link`), and
a read is a command of it.
"""

from binascii import unhexlify
from functools import lru_cache

from drivers.base import LinkCost, Request
from drivers.errors import BadFrame, OtherUnit
from drivers.modbus.pdu import answer_data, encode_read
from drivers.text.command import Command
from drivers.text.framing import Delimited

START, END = b":", b"\r\n"
#: Unit and LRC around a PDU of at most 253 bytes.
MAX_FRAME = 513
#: Unit, function, LRC.
MIN_BYTES = 3
QUESTION_CHARACTERS = 17
#: Characters of a good answer that carry no data: marks, unit, function, byte count, LRC.
ANSWER_CHARACTERS = 11
REGISTER_CHARACTERS = 4
#: Silence before a question. The standard asks for none; but a late answer must not be talked into, and its characters
#: follow each other at once.
GAP_CHARACTERS = 3.5
#: A question in its long form costs about 1 kB; as many as a gateway's serial lines can ask in an hour.
_COMMANDS = 20_000


def lrc(data: bytes) -> int:
    """2.5.2.2: the two's complement of the sum of all bytes; 0 for a body that ends with its own."""
    return -sum(data) & 0xFF


def seal(unit: int, pdu: bytes) -> bytes:
    """The frame that carries `pdu`."""
    body = bytes((unit,)) + pdu
    return START + (body + bytes((lrc(body),))).hex().upper().encode() + END


def unseal(frame: bytes) -> bytes:
    """Unit and PDU of a whole frame. Raises BadFrame."""
    if not (frame.startswith(START) and frame.endswith(END) and len(frame) <= MAX_FRAME):
        raise BadFrame(f"not a Modbus ASCII frame: {_shown(frame)}")
    try:
        body = unhexlify(frame[len(START) : -len(END)])
    except ValueError as error:
        raise BadFrame(f"not pairs of hexadecimal digits: {_shown(frame)}") from error
    if len(body) < MIN_BYTES:
        raise BadFrame(f"frame of {len(body)} bytes is too short: {_shown(frame)}")
    if lrc(body) != 0:
        raise BadFrame(f"checksum (LRC) is wrong: {_shown(frame)}")
    return body[:-1]


def read_answer(request: Request, frame: bytes) -> bytes:
    """The data bytes of a whole frame. Raises OtherUnit, and BadFrame and DeviceException as `answer_data` does."""
    body = unseal(frame)
    if body[0] != request.unit:
        raise OtherUnit(body[0], request.unit)
    return bytes(answer_data(request, memoryview(body)[1:]))


@lru_cache(maxsize=_COMMANDS)
def command(request: Request) -> Command:
    """`request` as a command of a text line. Raises ValueError like `encode_read`."""
    return Command(
        unit=request.unit,
        name=str(request),
        question=seal(request.unit, encode_read(request)),
        line_bytes=QUESTION_CHARACTERS + ANSWER_CHARACTERS + 2 * request.answer_bytes,
        framing=Delimited(end=END, start=START, longest=MAX_FRAME),
        read=lambda frame: read_answer(request, frame),
        names_unit=True,
    )


def ascii_cost(character_s: float, turnaround_s: float = 0.0) -> LinkCost:
    """Cost of a read on a line with this time of a character: two of them for each byte, and the frames around."""
    fixed_s = (QUESTION_CHARACTERS + ANSWER_CHARACTERS + GAP_CHARACTERS) * character_s + turnaround_s
    return LinkCost(fixed_s=fixed_s, register_s=REGISTER_CHARACTERS * character_s)


def _shown(frame: bytes) -> str:
    """At most the begin of it: noise has no end."""
    text = ascii(frame[:60].decode("latin-1"))
    return text if len(frame) <= 60 else f"{text} and {len(frame) - 60} more"
