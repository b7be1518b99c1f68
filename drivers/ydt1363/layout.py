"""What stands in the INFO of an answer: fields one behind the other, and groups as many as a count in the answer says.

A field has a path, by which a point names it: `frequency`, `input[2].voltage_a`, `cell[15].voltage`; counts from 1.
"""

import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from drivers.errors import BadFrame
from drivers.meaning import Name, Strict
from drivers.text.image import Raw

#: `f32` has its low byte first, all whole numbers their high byte (YD/T 1363.3, data formats).
FieldType = Literal["u8", "s8", "u16", "s16", "u24", "u32", "s32", "f32", "text", "version", "time", "skip", "rest"]
SIZES: dict[str, int] = {"u8": 1, "s8": 1, "u16": 2, "s16": 2, "u24": 3, "u32": 4, "s32": 4, "f32": 4, "time": 7}
#: Types whose size an item gives itself.
SIZED = frozenset({"text", "version", "skip"})
TEXTS = frozenset({"text", "version", "time"})
#: A byte of which a field without a value is full.
NO_VALUE = 0x20
#: Groups within groups; the standard has two (batteries in a panel of a plant).
MAX_DEPTH = 3
MAX_GROUPS = 255

_FLOAT = struct.Struct("<f")
_TIME = struct.Struct(">H5B")


class Item(Strict):
    """Fields of one type, or a group that repeats: exactly one of `type`, `count`, `repeat` and `times`.

    `skip` are bytes that nobody reads; `rest`, at the end of a layout, whatever bytes a device still has.

    `count`: a byte with this name tells how many groups follow it. `repeat`: as many as an earlier count of
    the same group. `times`: always so many.
    """

    type: FieldType | None = None
    names: tuple[Name, ...] = ()
    length: Annotated[int, Field(ge=1, le=250)] | None = None  #: bytes of a text, version or skip
    null: bool = True  #: False: 20H in all its bytes is a number like any other
    usual: Annotated[int, Field(ge=0, le=0xFFFF)] | None = None  #: what a simulated device says where no point stands
    count: Name | None = None
    repeat: Name | None = None
    times: Annotated[int, Field(ge=1, le=MAX_GROUPS)] | None = None
    each: Name | None = None  #: what a group is called in a path
    of: "tuple[Item, ...]" = ()

    @property
    def size(self) -> int:
        """Bytes of one of its fields."""
        return self.length or SIZES.get(self.type or "", 1)


def mistakes(items: tuple[Item, ...], depth: int = 1, counts: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """(reason, hint) of everything that is wrong in a layout."""
    if depth > MAX_DEPTH:
        yield f"groups lie {depth} deep", f"at most {MAX_DEPTH}"
        return
    for place, item in enumerate(items, 1):
        kinds = [kind for kind in ("type", "count", "repeat", "times") if getattr(item, kind) is not None]
        if len(kinds) != 1:
            yield f"an item has {' and '.join(kinds) or 'nothing'}", "exactly one of type, count, repeat, times"
        elif item.type == "rest" and (place < len(items) or depth > 1):
            yield "rest stands before something else", "it is the end of a layout"
        elif item.type is not None:
            yield from _field_mistakes(item)
        else:
            yield from _group_mistakes(item, depth, counts)
        if item.count is not None:
            counts = (*counts, item.count)


def _field_mistakes(item: Item) -> Iterator[tuple[str, str]]:
    if (item.length is not None) != (item.type in SIZED):
        hint = "text, version and skip need a length in bytes, the others have their own"
        yield f"{item.type} with length {item.length}", hint
    if bool(item.names) == (item.type in ("skip", "rest")):
        yield f"{item.type} with names {list(item.names)}", "every field but skip and rest needs a name"
    if item.of or item.each:
        yield f"{item.type} {', '.join(item.names)} has groups", "of and each belong to count, repeat or times"


def _group_mistakes(item: Item, depth: int, counts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if item.names or item.length is not None:
        yield "a group has names or a length", "put them into its fields"
    if item.repeat is not None and item.repeat not in counts:
        yield f"there is no count {item.repeat} before", f"known: {', '.join(counts) or 'none'}"
    if bool(item.of) != bool(item.each) or not (item.of or item.count):
        yield "a group needs `of`, its fields, and `each`, what it is called", 'e.g. each = "cell"'
    if item.of and all(part.type is None and part.count is None for part in item.of):
        yield f"{item.each} has no field of its own", "a group takes at least one byte"
    yield from mistakes(item.of, depth + 1)


def fields(items: tuple[Item, ...], prefix: str = "") -> dict[str, Item]:
    """Each path with its item; the numbers of groups are left out: `cell[].voltage`."""
    found: dict[str, Item] = {}
    for item in items:
        found |= {prefix + name: item for name in item.names}
        if item.count is not None:
            found[prefix + item.count] = Item(type="u8", names=(item.count,), null=False)
        if item.of:
            found |= fields(item.of, f"{prefix}{item.each}[].")
    return found


class Reader:
    """Takes one INFO apart. `values` has the raw value of every field by path, None for "no value"."""

    def __init__(self, octets: bytes) -> None:
        self.values: dict[str, Raw] = {}
        self._octets = octets
        self._at = 0

    def read(self, items: tuple[Item, ...]) -> None:
        """Raises BadFrame when INFO is shorter or longer than `items` say."""
        self._items(items, "")
        if self._at != len(self._octets):
            raise BadFrame(f"INFO has {len(self._octets)} bytes, the layout takes {self._at}")

    def _items(self, items: tuple[Item, ...], prefix: str) -> None:
        known: dict[str, int] = {}
        for item in items:
            if item.type is not None:
                self._fields(item, prefix)
                continue
            if item.count is not None:
                number = known[item.count] = self._take(1)[0]
                self.values[prefix + item.count] = number
            else:
                number = known[item.repeat] if item.repeat is not None else item.times or 0
            for k in range(number if item.of else 0):
                self._items(item.of, f"{prefix}{item.each}[{k + 1}].")

    def _fields(self, item: Item, prefix: str) -> None:
        if item.type == "rest":
            self._at = len(self._octets)
        elif item.type == "skip":
            self._take(item.size)
        for name in item.names:
            self.values[prefix + name] = value_of(item, self._take(item.size))

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._octets):
            raise BadFrame(f"INFO ends after {len(self._octets)} bytes, inside the layout")
        taken = self._octets[self._at : end]
        self._at = end
        return taken


def value_of(item: Item, octets: bytes) -> Raw:
    """One field's value; None where the device has none."""
    if item.null and octets == bytes((NO_VALUE,)) * len(octets):
        return None
    if item.type == "f32":
        number: float = _FLOAT.unpack(octets)[0]
        return number
    if item.type == "text":
        return octets.decode("gb18030", "replace").strip("\0 ")
    if item.type == "version":
        return ".".join(str(octet) for octet in octets)
    if item.type == "time":
        return _clock(octets)
    return int.from_bytes(octets, "big", signed=item.type in ("s8", "s16", "s32"))


def octets_of(item: Item, value: Raw) -> bytes:
    """The bytes that say `value`, clamped to what they can; None is "no value"."""
    if value is None:
        return bytes((NO_VALUE if item.null else 0,)) * item.size
    if item.type == "text":
        return str(value).encode("gb18030", "replace")[: item.size].ljust(item.size)
    if item.type == "version":
        numbers = [int(part) & 0xFF for part in str(value).split(".") if part.isdecimal()]
        return bytes(numbers[: item.size]).ljust(item.size, b"\0")
    if item.type == "time":
        moment = _moment(str(value))
        return _TIME.pack(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    number = float(value)
    if item.type == "f32":
        return _FLOAT.pack(number)
    low, high = limits(item)
    return max(low, min(high, round(number))).to_bytes(item.size, "big", signed=low < 0)


def limits(item: Item) -> tuple[int, int]:
    """Lowest and highest number a whole-number field can hold."""
    bits = 8 * item.size
    signed = item.type in ("s8", "s16", "s32")
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def build(items: tuple[Item, ...], values: Mapping[str, Raw], counts: Mapping[str, int]) -> bytes:
    """The INFO that says `values` by path, with as many groups as `counts` tells by path of the count."""
    return _build(items, values, counts, "")


def _build(items: tuple[Item, ...], values: Mapping[str, Raw], counts: Mapping[str, int], prefix: str) -> bytes:
    parts = []
    known: dict[str, int] = {}
    for item in items:
        if item.type == "skip":
            parts.append(bytes(item.size))
        if item.type is not None:
            parts += [octets_of(item, values.get(prefix + name, item.usual)) for name in item.names]
            continue
        number = item.times or 0
        if item.count is not None:
            number = known[item.count] = counts.get(prefix + item.count, 0)
            parts.append(bytes((number,)))
        elif item.repeat is not None:
            number = known[item.repeat]
        if item.of:
            groups = (f"{prefix}{item.each}[{k + 1}]." for k in range(number))
            parts += [_build(item.of, values, counts, group) for group in groups]
    return b"".join(parts)


def _moment(text: str) -> datetime:
    """The time that `text` tells, or any other: a simulated device has a name for every text, also for its clock."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - the device's own


def _clock(octets: bytes) -> Raw:
    """Seven bytes, binary: year (2), month, day, hour, minute, second. None for what is no time."""
    try:
        return datetime(*_TIME.unpack(octets)).isoformat()  # noqa: DTZ001 - the device does not say which zone
    except ValueError:
        return None
