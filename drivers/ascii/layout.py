"""Where the values of an answer stand: in columns, between separators, where a pattern says, or at bytes.

A place is a range of the answer's text (of its bytes, for `bytes` and `hex`), so the same places that are read from can
be written to: a simulated device answers with a known answer in which other values were put.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from drivers.ascii.octets import MAX_OCTETS, Octets
from drivers.ascii.value import SIZES, Form, from_bytes, from_text, to_bytes, to_text
from drivers.errors import BadFrame
from drivers.meaning import Strict
from drivers.text.image import Raw

Kind = Literal["columns", "split", "pattern", "bytes", "hex"]
Encoding = Literal["ascii", "latin-1", "utf-8", "gb18030"]

#: A pattern is compiled once per process.
CACHED_PATTERNS = 256
#: Cells of the longest battery string that one answer may list.
MAX_ITEMS = 256

_Position = Annotated[int, Field(ge=0, le=1024)]


class Place(Form):
    """Where one value stands in the answer and how it is written there.

    `at` is its first character or byte, 0 is the first of the body; `width` how many of them. In a field, `width` is
    what it must have: another number of characters means that some were lost. With `repeat`, `item` is the group it
    stands in and `at` or `field` is counted in this group; `behind` counts from the groups' end.
    """

    at: _Position | None = None
    width: Annotated[int, Field(ge=1, le=MAX_OCTETS)] | None = None
    field: _Position | None = None  #: between separators, 0 is the first
    group: str | None = None  #: name of a group of the pattern
    item: Annotated[int, Field(ge=0, lt=MAX_ITEMS)] | None = None
    behind: bool = False

    @property
    def size(self) -> int:
        """Characters or bytes it takes."""
        return self.width or SIZES.get(self.type, 1)


class Repeat(Strict):
    """Groups of equal form, as many as the answer itself says."""

    count: Place  #: where it says how many
    first: Annotated[int, Field(ge=0, le=1024)]  #: `at` or `field` of the first group
    size: Annotated[int, Field(ge=1, le=1024)]  #: characters, bytes or fields of a group
    most: Annotated[int, Field(ge=1, le=MAX_ITEMS)]  #: more are noise


class Layout(Strict):
    """How the body of an answer is taken apart."""

    layout: Kind = "columns"
    #: Characters (bytes, for `bytes` and `hex`; fields, for `split`) of the body, without groups: where a character was
    #: lost, everything behind it stands elsewhere.
    length: Annotated[int, Field(ge=1, le=1024)] | None = None
    longer: bool = False  #: the body may have more than `length`
    separator: str = ""  #: between fields; "": any run of blanks
    pattern: str = ""  #: of a regular expression with named groups, looked for in the text
    encoding: Encoding = "ascii"
    drop: tuple[Octets, ...] = ()  #: taken out first: a printer's control sequences
    nulls: tuple[str, ...] = ()  #: words that mean "no value", besides blanks, dashes and stars
    repeat: Repeat | None = None

    @property
    def in_bytes(self) -> bool:
        return self.layout in ("bytes", "hex")


#: A body made ready: text, or bytes.
Subject = str | bytes


def prepare(layout: Layout, body: bytes) -> Subject:
    """The text or bytes that places refer to. Raises BadFrame for what is neither text nor hex digits."""
    for sequence in layout.drop:
        body = body.replace(sequence, b"")
    if layout.layout == "bytes":
        return body
    if layout.layout == "hex":
        if not re.fullmatch(rb"(?:[0-9A-Fa-f]{2})*", body):
            raise BadFrame(f"are no pairs of hex digits: {body[:60]!r}")
        return bytes.fromhex(body.decode("ascii"))
    try:
        return body.decode(layout.encoding)
    except UnicodeDecodeError as error:
        raise BadFrame(f"is no text in {layout.encoding}: {body[:60]!r}") from error


def spans(layout: Layout, subject: Subject, places: Mapping[str, Place]) -> dict[str, tuple[int, int] | None]:
    """Begin and end in `subject` of each named place; None: this answer does not have it.

    Raises BadFrame when the answer has another form than the layout says.
    """
    if layout.layout == "pattern":
        assert isinstance(subject, str)
        match = compiled(layout.pattern).search(subject)
        if match is None:
            raise BadFrame(f"does not fit the pattern: {subject[:60]!r}")
        found = {name: match.span(place.group or 0) for name, place in places.items()}
        return {name: None if span[0] < 0 else span for name, span in found.items()}
    fields = _fields(layout, subject) if layout.layout == "split" else None
    count = _count(layout, subject, fields)
    whole = len(subject) if fields is None else len(fields)
    expected = (layout.length or 0) + (count * layout.repeat.size if layout.repeat else 0)
    if layout.length is not None and (whole < expected or (whole > expected and not layout.longer)):
        raise BadFrame(f"has {whole} {_unit(layout)}, not {expected}: {subject[:60]!r}")
    return {name: _span(layout, subject, fields, place, count) for name, place in places.items()}


def read(layout: Layout, body: bytes, places: Mapping[str, Place]) -> dict[str, Raw]:
    """The value at each named place. Raises BadFrame, and nothing else, when the answer is not of this form."""
    subject = prepare(layout, body)
    found = spans(layout, subject, places)
    return {name: _value(layout, subject, places[name], span) for name, span in found.items()}


def write(layout: Layout, body: bytes, places: Mapping[str, Place], values: Mapping[str, Raw]) -> bytes:
    """The body of a known answer with other values in it; None, or no value, is written as "not available" where the
    place has a way to say so. Groups that the known answer does not have cannot be written.

    Raises BadFrame when `body` is not of this form, ValueError for a value that does not fit.
    """
    subject = prepare(layout, body)
    here = {name: span for name, span in spans(layout, subject, places).items() if span is not None}
    shared: dict[tuple[int, int], list[str]] = {}
    for name, span in here.items():
        shared.setdefault(span, []).append(name)
    for span in sorted(shared, reverse=True):  # from the end, because a text may get longer
        cut = subject[span[0] : span[1]]
        for name in shared[span]:
            cut = _rewritten(layout, places[name], values.get(name), cut)
        subject = subject[: span[0]] + cut + subject[span[1] :]  # type: ignore[operator] # both text, or both bytes
    if isinstance(subject, bytes):
        return subject if layout.layout == "bytes" else subject.hex().upper().encode("ascii")
    return subject.encode(layout.encoding)


@lru_cache(maxsize=CACHED_PATTERNS)
def compiled(pattern: str) -> re.Pattern[str]:
    """Raises re.error."""
    return re.compile(pattern)


def _value(layout: Layout, subject: Subject, place: Place, span: tuple[int, int] | None) -> Raw:
    if span is None:
        return None
    cut = subject[span[0] : span[1]]
    return from_bytes(place, cut, layout.encoding) if isinstance(cut, bytes) else from_text(place, cut, layout.nulls)


def _rewritten(layout: Layout, place: Place, value: Raw, like: Subject) -> Subject:
    if isinstance(like, bytes):
        return to_bytes(place, value, like, layout.encoding)
    text = to_text(place, value, like, layout.nulls)
    if layout.layout == "columns" and len(text) > len(like):
        raise ValueError(f"{value!r} does not fit into {len(like)} columns")
    return text.ljust(len(like)) if layout.layout == "columns" else text


def _fields(layout: Layout, subject: Subject) -> Sequence[tuple[int, int]]:
    """Begin and end of each field."""
    assert isinstance(subject, str)
    if not layout.separator:
        return [match.span() for match in re.finditer(r"[^ \t\r\n]+", subject)]
    fields = []
    begin = 0
    for part in subject.split(layout.separator):
        fields.append((begin, begin + len(part)))
        begin += len(part) + len(layout.separator)
    return fields


def _count(layout: Layout, subject: Subject, fields: Sequence[tuple[int, int]] | None) -> int:
    """How many groups the answer says it has."""
    if layout.repeat is None:
        return 0
    span = _span(layout, subject, fields, layout.repeat.count, 0)
    count = _value(layout, subject, layout.repeat.count, span)
    if not isinstance(count, int | float) or not 0 <= count <= layout.repeat.most or count != int(count):
        raise BadFrame(f"says that it lists {count}, at most {layout.repeat.most} are possible")
    return int(count)


def _span(
    layout: Layout, subject: Subject, fields: Sequence[tuple[int, int]] | None, place: Place, count: int
) -> tuple[int, int] | None:
    begin = (place.at if fields is None else place.field) or 0
    if layout.repeat is not None and place.item is not None:
        if place.item >= count:
            return None
        begin += layout.repeat.first + place.item * layout.repeat.size
    elif layout.repeat is not None and place.behind:
        begin += layout.repeat.first + count * layout.repeat.size
    whole = len(subject) if fields is None else len(fields)
    size = place.size if fields is None else 1
    if begin > whole - size:
        raise BadFrame(f"has {whole} {_unit(layout)}, a value stands at {begin} to {begin + size - 1}")
    if fields is None:
        return begin, begin + size
    first, end = fields[begin]
    if place.width is not None and end - first != place.width:
        raise BadFrame(f"has {end - first} characters in field {begin}, not {place.width}: {subject[first:end]!r}")
    return first, end


def _unit(layout: Layout) -> str:
    return {"split": "fields", "columns": "characters"}.get(layout.layout, "bytes")
