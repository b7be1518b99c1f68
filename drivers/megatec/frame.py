"""Megatec/Q1 framing, pure bytes: questions that only read, and the lines that answer them.

    question   name CR             Q1\\r
    answer     start text CR       ( for status, # for F and I, nothing for M
    Voltronic's CRC dialect puts two bytes before each CR

One letter makes an order of a question: `Q` alone toggles the beeper, `S01` switches the load off, `C` takes that
back, `T` discharges the battery. So there is no way to write a command here: only a Query can be encoded.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from drivers.errors import BadFrame, Refused

#: The longest answer of the family has 113 bytes (WH of Santak); with room for one that is a little longer.
LONGEST = 128
#: Where the question came back, an answer would follow within this: UPSs begin to answer after 50 to 200 ms.
ECHO_S = 0.3
CR = b"\r"


class Query(StrEnum):
    """Everything that can be asked. None of it changes anything in a UPS."""

    Q1 = "Q1"  #: status
    QS = "QS"  #: status in the same form
    F = "F"  #: ratings
    I = "I"  # noqa: E741  #: vendor, model, firmware
    QI = "QI"  #: charge and runtime
    M = "M"  #: letter of the protocol
    Q6 = "Q6"  #: three-phase status
    WA = "WA"  #: power per phase
    QGS = "QGS"  #: Voltronic: status
    QMOD = "QMOD"  #: mode
    QWS = "QWS"  #: warnings
    QBV = "QBV"  #: battery
    QFS = "QFS"  #: fault
    QPI = "QPI"  #: number of the protocol
    QRI = "QRI"  #: ratings
    QMD = "QMD"  #: model
    QVFW = "QVFW"  #: firmware
    QID = "QID"  #: serial number

    @property
    def start(self) -> str:
        """What its answer begins with."""
        return "#" if self in (Query.F, Query.I) else "" if self is Query.M else "("


#: What UPSs say to a question they do not know. Others repeat it, or send nothing but a CR.
REFUSALS = frozenset({"", "?", "NAK", "(NAK", "#NAK"})
#: The number of a refusal; the protocol has none.
REFUSED = 0
#: Anything else in a line comes from noise or a wrong baud rate.
_TEXT = re.compile(r"[\x20-\x7e]*")
#: Some UPSs end a line with CR LF or LF CR, some fill it up with NUL.
_BLANK = b" \n\0"


def encode(query: Query, *, crc: bool = False) -> bytes:
    """The bytes that ask `query`. Raises ValueError for anything that is no Query."""
    return seal(Query(query).encode(), crc=crc)


def seal(text: bytes, *, crc: bool = False) -> bytes:
    """The line that carries `text`."""
    return text + (crc16(text).to_bytes(2, "big") if crc else b"") + CR


def read_line(query: Query, line: bytes, *, crc: bool = False) -> str:
    """The text of the answer to `query` in a whole line: without what stands before it, start, checksum and CR.

    Raises Refused when the UPS does not know the question, BadFrame for everything that is no answer to it.
    """
    body = line.removesuffix(CR).lstrip(_BLANK)
    if not crc:  # whose last byte may be 0
        body = body.rstrip(_BLANK)
    begin = _begin(query, body)
    body = body[max(0, begin) :]
    if _refuses(query, body) or (crc and len(body) > 2 and _refuses(query, body[:-2])):
        raise Refused(REFUSED, f"{query}: the UPS does not know this question: {line!r}", retryable=False)
    if begin < 0:
        raise BadFrame(f"{query}: does not begin with {query.start!r}: {line!r}")
    if crc:
        if crc16(body[:-2]).to_bytes(2, "big") != body[-2:]:
            raise BadFrame(f"{query}: checksum is wrong: {line!r}")
        body = body[:-2]
    text = body.decode("latin-1")
    if not _TEXT.fullmatch(text):
        raise BadFrame(f"{query}: not text: {line!r}")
    return text[len(query.start) :]


def _refuses(query: Query, body: bytes) -> bool:
    return body.strip(_BLANK).decode("latin-1") in REFUSALS or body == query.encode()


def _begin(query: Query, body: bytes) -> int:
    """Where the answer begins, -1: nowhere. A `(` inside begins it anew; a `#` does not: names are padded with it."""
    start = query.start.encode()
    return body.rfind(start) if start == b"(" else body.find(start)


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """Finds the line that answers `query` among whatever came.

    A line that is empty or repeats the question may be noise or an echo with the answer behind it: it counts only
    when the line is silent after it.
    """

    query: Query
    crc: bool = False
    longest: int = LONGEST
    quiet_s: float = ECHO_S

    def find(self, data: bytes, *, silent: bool) -> tuple[int, int] | None:
        """Begin and end of the first line that is an answer, CR included; None: not yet."""
        echo = encode(self.query, crc=self.crc)[:-1]
        doubtful, begin = None, 0
        while (end := data.find(CR, begin)) >= 0:
            body = data[begin:end]
            place = begin + max(0, _begin(self.query, body)), end + 1
            if body.strip(_BLANK) not in (b"", echo):
                return place
            doubtful, begin = place, end + 1
        return doubtful if silent else None


#: CRC-16/XMODEM (poly 1021H), one look-up per byte
_TABLE = [0] * 256
for _byte in range(256):
    _rest = _byte << 8
    for _ in range(8):
        _rest = (_rest << 1 ^ 0x1021 if _rest & 0x8000 else _rest << 1) & 0xFFFF
    _TABLE[_byte] = _rest
#: These end a line or start one, so a checksum never holds them.
_RESERVED = b"\n\r("


def crc16(data: bytes) -> int:
    """Voltronic's checksum: CRC-16/XMODEM, each of its bytes that is LF, CR or `(` incremented by one."""
    crc = 0
    for byte in data:
        crc = (crc << 8 ^ _TABLE[crc >> 8 ^ byte]) & 0xFFFF
    high, low = (byte + (byte in _RESERVED) for byte in crc.to_bytes(2, "big"))
    return high << 8 | low
