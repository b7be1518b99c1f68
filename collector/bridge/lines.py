"""The grammar of InfluxDB line protocol, as regular expressions that run over a whole payload at C speed.

Stricter than the servers where they only guess: no control characters, an explicit timestamp on every line, no
comments and no empty lines; and every line says who writes it, once.
"""

import re
from dataclasses import dataclass

#: Every quantifier is possessive: no input makes these backtrack. Measurements and keys need no escapes (they are
#: names of profiles and sites); tag values and texts may have them.
_MEASUREMENT = rb'[^\x00-\x20\x7f\\,="#]++'
_KEY = rb'[^\x00-\x20\x7f\\,="]++'
_TAG_VALUE = rb"(?:[^\x00-\x20\x7f\\,=]|\\[^\x00-\x1f\x7f])++"
_NUMBER = rb"-?\d{1,308}+(?:\.\d{1,308}+)?+(?:[eE][+-]?\d{1,3}+)?+[iu]?+"
_TEXT = rb'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*+"'
_BOOL = rb"(?:[tT](?:rue|RUE)?+|[fF](?:alse|ALSE)?+)"
_VALUE = rb"(?:" + _NUMBER + rb"|" + _TEXT + rb"|" + _BOOL + rb")"
_FIELD = _KEY + rb"=" + _VALUE
_HEAD = _MEASUREMENT + rb"(?:," + _KEY + rb"=" + _TAG_VALUE + rb")*+"
#: The tags that say who writes stand first, in this order, and once: a second `gateway=` could win over the first.
_OWN_HEAD = (
    _MEASUREMENT
    + b"".join(rb"," + key + rb"=" + _TAG_VALUE for key in (b"city", b"site", b"gateway", b"device"))
    + rb"(?:,(?!(?:city|site|gateway|device)=)"
    + _KEY
    + rb"="
    + _TAG_VALUE
    + rb")*+"
)
_LINE = _OWN_HEAD + rb" " + _FIELD + rb"(?:," + _FIELD + rb")*+ -?\d{1,19}+"

_BODY_RE = re.compile(rb"(?:" + _LINE + rb"\n)*+")
_LINE_RE = re.compile(_LINE)
_PARTS_RE = re.compile(rb"(" + _HEAD + rb") (" + _FIELD + rb"(?:," + _FIELD + rb")*+) (-?\d{1,19}+)")
_FIELD_RE = re.compile(rb"(" + _KEY + rb")=(" + _VALUE + rb"),?")
_TAG_RE = re.compile(rb",(" + _KEY + rb")=(" + _TAG_VALUE + rb")")
_MEASUREMENT_RE = re.compile(_MEASUREMENT)
#: Consumes whole lines, so that findall steps from line to line instead of from byte to byte.
_HEADS_RE = re.compile(rb"([^ \\\n]*+(?:\\.[^ \\\n]*+)*+)[^\n]*+\n")
_UNESCAPE_RE = re.compile(rb"\\([,= \"\\])")

INT64 = range(-(2**63), 2**63)

Value = float | int | str


@dataclass(frozen=True, slots=True)
class Line:
    """One line taken apart."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, Value], ...]
    ts_ns: int


def is_body(body: bytes) -> bool:
    """Whether `body` is nothing but good lines, each ended by a newline. Touches no line in Python."""
    return _BODY_RE.fullmatch(body) is not None and _is_utf8(body)


def is_line(line: bytes) -> bool:
    """Whether `line`, without its newline, is one good line."""
    return _LINE_RE.fullmatch(line) is not None and _is_utf8(line)


def heads(body: bytes) -> list[bytes]:
    """Measurement and tags of every line of a good body, as written: what makes a series."""
    return _HEADS_RE.findall(body)


def field_count(line: bytes) -> int:
    """Points in one good line."""
    match = _PARTS_RE.fullmatch(line)
    return len(_FIELD_RE.findall(match[2])) if match else 0


def parse_line(line: bytes) -> Line:
    """Take one line apart. Raises ValueError when it is not one, or a value has no place in 64 bits."""
    match = _PARTS_RE.fullmatch(line)
    if match is None:
        raise ValueError("not a line of line protocol")
    head, fields, ts = match.groups()
    name = _MEASUREMENT_RE.match(head)
    assert name is not None  # the head has just matched: it begins with one
    return Line(
        measurement=name[0].decode(),
        tags=tuple((k.decode(), _text(v)) for k, v in _TAG_RE.findall(head, name.end())),
        fields=tuple((k.decode(), _value(v)) for k, v in _FIELD_RE.findall(fields)),
        ts_ns=_int64(ts),
    )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(escaped: bytes) -> str:
    return _UNESCAPE_RE.sub(rb"\1", escaped).decode() if b"\\" in escaped else escaped.decode()


def _value(text: bytes) -> Value:
    last = text[-1:]
    if last == b'"':
        return _text(text[1:-1])
    if text[0] in b"tTfF":
        return int(text[0] in b"tT")
    if last in b"iu":
        return _int64(text[:-1])
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number beyond 64-bit floating point")
    return number


def _int64(digits: bytes) -> int:
    number = int(digits)
    if number not in INT64:
        raise ValueError("an integer beyond 64 bits")
    return number
