"""A second opinion on line protocol: a parser written from its rules, sharing nothing with the encoder."""

import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: dict[str, float | int | str]
    ts_ns: int


def _until(text: str, at: int, stops: str) -> tuple[str, int]:
    """Text up to an unescaped stop. A backslash escapes only comma, equals sign and blank."""
    out = ""
    while text[at] not in stops:
        if text[at] == "\\" and text[at + 1] in ",= ":
            at += 1
        out += text[at]
        at += 1
    assert out, f"empty name or value at {at} of {text!r}"
    return out, at


def _value(text: str, at: int) -> tuple[float | int | str, int]:
    if text[at] == '"':
        out = ""
        at += 1
        while text[at] != '"':
            if text[at] == "\\" and text[at + 1] in '"\\':
                at += 1
            out += text[at]
            at += 1
        return out, at + 1
    end = at
    while text[end] not in ", ":
        end += 1
    number = text[at:end]
    assert set(number) <= set("-0123456789.i"), number
    return (int(number[:-1]) if number.endswith("i") else float(number)), end


def parse_line(text: str) -> Line:
    measurement, at = _until(text, 0, ", ")
    tags = []
    while text[at] == ",":
        key, at = _until(text, at + 1, "=")
        value, at = _until(text, at + 1, ", ")
        tags.append((key, value))
    fields: dict[str, float | int | str] = {}
    separator = " "
    while text[at] == separator:
        key, at = _until(text, at + 1, "=")
        assert key not in fields, f"{key} twice in {text!r}"
        fields[key], at = _value(text, at + 1)
        separator = ","
    assert text[at] == " "
    return Line(measurement, tuple(tags), fields, int(text[at + 1 :]))


def parse_payload(payload: bytes) -> tuple[dict[str, str], list[Line]]:
    """The comment line's words and the lines. Checks the CRC and the number of fields it states."""
    first, _, body = payload.partition(b"\n")
    words = first.decode().split(" ")
    assert words[0] == "#dc1"
    head = dict(word.split("=", 1) for word in words[1:])
    assert list(head) == ["gateway", "boot", "spool", "seq", "points", "crc"]
    assert head["crc"] == f"{zlib.crc32(body):08x}"
    assert body.endswith(b"\n")
    lines = [parse_line(text) for text in body.decode()[:-1].split("\n")]
    assert int(head["points"]) == sum(len(line.fields) for line in lines)
    return head, lines
