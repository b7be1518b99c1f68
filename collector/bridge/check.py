r"""Is this message what it claims to be? Pure: bytes in, verdict out, never an exception.

A gateway may write only under its own name: the name the broker let it publish under, which is in the topic. A good
message costs a CRC, two searches and one regular expression over the whole payload; only a bad one is looked at line
by line.

    dc/v1/{city}/{site}/{gateway}/data/{category}
    #dc1 gateway={g} boot={8 hex} spool={8 hex} seq={int} points={int} crc={8 hex}\n
    {category},city={city},site={site},gateway={gateway},device=...
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from zlib import crc32

from collector.bridge.lines import field_count, is_body, is_line

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_TOPIC_RE = re.compile(rf"dc/v1/({_NAME})/({_NAME})/({_NAME})/data/({_NAME})")
_HEADER_RE = re.compile(
    rf"#dc1 gateway=({_NAME}) boot=([0-9a-f]{{8}}) spool=([0-9a-f]{{8}}) "
    r"seq=(\d{1,18}) points=(\d{1,9}) crc=([0-9a-f]{8})\n".encode()
)
#: The longest header that matches is 171 bytes: nothing beyond is looked at to find it.
_MAX_HEADER = 256
#: The shortest point is `a=1,`: a header that claims more points than fit is a lie.
_MIN_POINT_BYTES = 4


class Reason(StrEnum):
    """Why a message or a line is not stored. The words appear in the status file and in the dead letters."""

    SIZE = "payload too large"
    TOPIC = "topic is not dc/v1/city/site/gateway/data/category"
    HEADER = "header unreadable"
    SENDER = "header names another gateway than the topic"
    CRC = "checksum differs"
    POINTS = "more points claimed than fit"
    LINES = "too many lines"
    FOREIGN = "line under another name"
    SYNTAX = "not a valid line"
    SERIES = "too many series of one gateway"
    STORE = "rejected by the database"


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one payload."""

    payload_bytes: int
    lines: int


@dataclass(frozen=True, slots=True)
class Sender:
    """One row of one gateway's spool, as topic and header agree on it."""

    city: str
    site: str
    gateway: str
    spool: str
    seq: int

    @property
    def topic(self) -> str:
        """The gateway's own branch of the topic tree."""
        return f"dc/v1/{self.city}/{self.site}/{self.gateway}"


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line that cannot be stored, without its newline."""

    reason: Reason
    line: bytes
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """A message that may be stored. `body` is its good lines, each ended by a newline; `bad` are the others."""

    sender: Sender
    boot: str
    points: int  #: in `body`
    points_claimed: int  #: by the header, for the whole payload
    lines: int  #: in `body`
    body: bytes
    bad: tuple[BadLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message of which nothing may be stored. `sender` is None when it cannot be told who sent which row."""

    reason: Reason
    sender: Sender | None = None
    crc: str = ""  #: as the header gives it: tells an unchanged repetition
    points_claimed: int = 0


def check(topic: str, payload: bytes, limits: Limits) -> Checked | Rejected:
    """Judge one message."""
    names = _TOPIC_RE.fullmatch(topic)
    header = _HEADER_RE.match(payload[:_MAX_HEADER])
    if names is None:
        return Rejected(Reason.TOPIC)
    city, site, gateway, category = names.groups()
    if header is None:
        return Rejected(Reason.HEADER)
    if header[1].decode() != gateway:
        return Rejected(Reason.SENDER)
    sender = Sender(city, site, gateway, header[3].decode(), int(header[4]))
    claimed = int(header[5])
    reason = _damage(payload, header, claimed, limits)
    if reason is not None:
        return Rejected(reason, sender, header[6].decode(), claimed)
    body = payload[header.end() :]
    if body and not body.endswith(b"\n"):
        body += b"\n"
    lines = body.count(b"\n")
    prefix = f"{category},city={city},site={site},gateway={gateway},device=".encode()
    own = body.startswith(prefix) + body.count(b"\n" + prefix)
    boot = header[2].decode()
    if own == lines and is_body(body):
        return Checked(sender, boot, claimed, claimed, lines, body)
    return _line_by_line(Checked(sender, boot, 0, claimed, 0, body), prefix)


def _damage(payload: bytes, header: re.Match[bytes], claimed: int, limits: Limits) -> Reason | None:
    """What is wrong with the payload as a whole, cheapest question first."""
    if len(payload) > limits.payload_bytes:
        return Reason.SIZE
    if claimed * _MIN_POINT_BYTES > len(payload) - header.end():
        return Reason.POINTS
    if crc32(memoryview(payload)[header.end() :]) != int(header[6], 16):
        return Reason.CRC
    if payload.count(b"\n") - 1 > limits.lines:
        return Reason.LINES
    return None


def _line_by_line(message: Checked, prefix: bytes) -> Checked:
    """Part the good lines from the bad ones."""
    good: list[bytes] = []
    bad: list[BadLine] = []
    points = 0
    for line in message.body[:-1].split(b"\n"):
        if not line.startswith(prefix):
            bad.append(BadLine(Reason.FOREIGN, line))
        elif not is_line(line):
            bad.append(BadLine(Reason.SYNTAX, line))
        else:
            good.append(line)
            points += field_count(line)
    body = b"".join(line + b"\n" for line in good)
    # A claim below what is really there is a lie of no use to anybody; it may not make the books negative.
    claimed = max(message.points_claimed, points)
    return Checked(message.sender, message.boot, points, claimed, len(good), body, tuple(bad))
