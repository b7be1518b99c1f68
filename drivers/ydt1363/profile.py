"""Profiles of devices that speak YD/T 1363.3: commands by CID2, points by their path in the answer's layout."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from drivers.errors import AskAgain, BadFrame, Mistake, OtherUnit, Refused
from drivers.meaning import MAX_POINTS, Strict
from drivers.text.framing import Delimited, Framing
from drivers.text.image import Raw
from drivers.text.profile import MAX_COMMANDS, TextCommand, TextLimits, TextPoint, TextProfile
from drivers.ydt1363 import layout
from drivers.ydt1363.frame import (
    EOI,
    GET_ADDRESS,
    GET_VERSION,
    MAX_FRAME,
    READS,
    VENDOR,
    WRITES,
    Frame,
    WrongLength,
    WrongSum,
    ask,
    seal,
    unseal,
)
from drivers.ydt1363.layout import Item, Reader
from drivers.ydt1363.rtn import AGAIN, CID2_INVALID, OK, VERSION_ERROR, WRONG_LENGTH, WRONG_SUM, reason

HexByte = Annotated[str, Field(pattern=r"^[0-9A-F]{2}$")]
#: A group in a path: the fields are the same in all of them.
_NUMBER = re.compile(r"\[([1-9][0-9]*)\]")


class YdtLimits(TextLimits):
    """Many devices need a tenth of a second after an answer before they hear the next question."""

    gap_s: Annotated[float, Field(ge=0, le=5)] = 0.1


class YdtOptions(Strict):
    """How this model differs from the standard."""

    version: HexByte = "20"  #: VER of questions; a device that wants another says so, and gets it
    cid1: HexByte  #: kind of device: 2A UPS, 40 AC panel, 41 rectifiers, 42 DC panel, 46 and 4A batteries, 60 cooling
    soi: HexByte = "7E"  #: first byte of a question
    soi_answer: HexByte | None = None  #: first byte of an answer; None: the same
    vendor_reads: tuple[HexByte, ...] = ()  #: the maker's own commands, 80 to EF, that are known to read only
    rtn: dict[str, str] = Field(default={})  #: what the maker's own return codes mean, by two hexadecimal digits


class YdtCommand(TextCommand):
    """One CID2 with what its answer holds."""

    cid2: HexByte
    #: INFO of the question in hexadecimal digits; {adr} stands for the unit's address
    info: Annotated[str, Field(pattern=r"^([0-9A-F]{2}|\{adr\})*$", max_length=64)] = ""
    dataflag: bool = True  #: whether INFO begins with the byte DATAFLAG, here the field `dataflag`
    layout: tuple[Item, ...] = Field(min_length=1)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The layout from the first byte of INFO on."""
        flag = Item(type="u8", names=("dataflag",), null=False)
        return (flag, *self.layout) if self.dataflag else self.layout


class YdtPoint(TextPoint):
    """`field` is a path in the command's layout."""

    field: Annotated[str, Field(max_length=120)]
    bit: Annotated[int, Field(ge=0, le=31)] | None = None  #: of a whole number: the point is this bit alone
    _item: Item | None = PrivateAttr(None)  # set by the profile, which has the layout

    @property
    def item(self) -> Item:
        return self._item or Item(type="u8", names=("unknown",))

    @property
    def place(self) -> str:
        return self.field if self.bit is None else f"{self.field} bit {self.bit}"

    def mistaken(self, command: "YdtCommand") -> Iterator[tuple[str, Any]]:
        paths = list(layout.fields(command.items))
        at = paths.index(_NUMBER.sub("[]", self.field))
        for other in paths[max(0, at - 1) : at] + paths[at + 1 : at + 2]:
            yield "field", other.replace("[]", "[1]")
        for number in _NUMBER.finditer(self.field):
            for other_number in (int(number[1]) - 1, int(number[1]) + 1):
                yield "field", f"{self.field[: number.start()]}[{other_number}]{self.field[number.end() :]}"
        if self.bit is not None:
            yield from (("bit", bit) for bit in (self.bit - 1, self.bit + 1) if bit >= 0)

    @property
    def wire_type(self) -> str:
        return "bool" if self.is_bool else str(self.item.type)

    @property
    def raw_limits(self) -> tuple[int, int] | None:
        if self._item is None or self.is_float or self.is_text:
            return None  # of a field that is not there only that is told
        return (0, 1) if self.is_bool else layout.limits(self.item)

    @property
    def is_float(self) -> bool:
        return self.item.type == "f32"

    @property
    def is_text(self) -> bool:
        return self.item.type in layout.TEXTS

    @property
    def is_bool(self) -> bool:
        return self.bit is not None


class YdtProfile(TextProfile):
    """One model of device."""

    names_unit: ClassVar[bool] = True
    units: ClassVar[range] = range(255)

    protocol: Literal["ydt1363"]
    limits: YdtLimits = YdtLimits()
    ydt1363: YdtOptions
    command: tuple[YdtCommand, ...] = Field(min_length=1, max_length=MAX_COMMANDS)
    point: tuple[YdtPoint, ...] = Field(min_length=1, max_length=MAX_POINTS)

    def model_post_init(self, _: Any) -> None:
        known = {command.name: layout.fields(command.items) for command in self.command}
        for point in self.point:
            point._item = known.get(point.command, {}).get(_NUMBER.sub("[]", point.field))

    @property
    def own_questions(self) -> bool:
        return bool(self.ydt1363.vendor_reads)  # that a maker's own command only reads is the profile's word

    def question(self, command: YdtCommand, unit: int) -> bytes:
        return self._question(command, unit, self._version)

    def framing(self, command: YdtCommand) -> Framing:
        return Delimited(end=EOI, start=bytes((self._soi_answer,)), longest=MAX_FRAME)

    def read(self, command: YdtCommand, unit: int, frame: bytes) -> Mapping[str, Raw]:
        answer = unseal(frame, self._soi_answer)
        if answer.address != unit:
            raise OtherUnit(answer.address, unit)
        if answer.cid1 != self._cid1:
            raise BadFrame(f"asked CID1 {self._cid1:02X}H, answered CID1 {answer.cid1:02X}H")
        if answer.code != OK:
            raise self._refused(command, unit, answer)
        reader = Reader(answer.octets)
        reader.read(command.items)
        return {point.name: _of_point(point, reader.values.get(point.field)) for point in self.points_of(command.name)}

    def answer(self, command: YdtCommand, unit: int, values: Mapping[str, Raw]) -> bytes:
        fields: dict[str, Raw] = {"dataflag": 0}
        for point in self.points_of(command.name):
            value = values.get(point.name)
            if point.bit is None or value is None:
                fields[point.field] = value
            else:
                fields[point.field] = int(fields.get(point.field) or 0) | int(float(value)) << point.bit
        info = layout.build(command.items, fields, self._counts(command, fields)).hex().upper().encode()
        return seal(Frame(self._version, unit, self._cid1, OK, info), self._soi_answer)

    def refusal(self, unit: int, question: bytes, code: int | None = None) -> bytes:
        try:
            asked = unseal(question, int(self.ydt1363.soi, 16))
        except WrongSum:
            asked, code = Frame(self._version, unit, self._cid1, 0), WRONG_SUM
        except WrongLength:
            asked, code = Frame(self._version, unit, self._cid1, 0), WRONG_LENGTH
        except BadFrame:
            return b""
        if asked.address != unit or asked.cid1 != self._cid1:
            return b""
        if code is None and asked.code in (GET_VERSION, GET_ADDRESS):
            code = OK  # whoever asks: the answer is in VER and ADR
        elif code is None:
            code = CID2_INVALID if asked.version == self._version else VERSION_ERROR
        said = Frame(self._version, unit, self._cid1, code)
        return seal(said, self._soi_answer)

    def mistakes(self) -> Iterator[Mistake]:
        listed = {int(cid2, 16) for cid2 in self.ydt1363.vendor_reads}
        for cid2 in sorted(listed):
            if cid2 not in VENDOR or cid2 in WRITES:
                yield "ydt1363.vendor_reads", f"{cid2:02X} is no maker's command that reads", "80 to EF, not 94 and 95"
        for code in self.ydt1363.rtn:
            if not re.fullmatch("[0-9A-F]{2}", code):
                yield f"ydt1363.rtn.{code}", "is no return code", "two hexadecimal digits"
        for command in self.command:
            key = f"command[{command.name}]"
            cid2 = int(command.cid2, 16)
            if cid2 in WRITES:
                yield f"{key}.cid2", f"{command.cid2} changes the device", "this collector only reads"
            elif cid2 not in READS | listed:
                hint = "a maker's own command that is known to read only is listed in ydt1363.vendor_reads"
                yield f"{key}.cid2", f"{command.cid2} is not known to read only", hint
            yield from ((f"{key}.layout", *mistake) for mistake in layout.mistakes(command.items))
        yield from self._point_mistakes()

    def _point_mistakes(self) -> Iterator[Mistake]:
        places: dict[tuple[str, str, int | None], str] = {}
        for point in self.point:
            key = f"point[{point.name}]"
            if point._item is None:
                command = next((command for command in self.command if command.name == point.command), None)
                known = ", ".join(layout.fields(command.items)) if command is not None else ""
                yield f"{key}.field", f"the layout of {point.command} has no {point.field}", f"known: {known}"
                continue
            if point.bit is not None and (point.is_text or point.is_float or point.bit >= 8 * point.item.size):
                yield f"{key}.bit", f"bit {point.bit} of {point.field}", f"{point.item.type} has no such bit"
            first = places.setdefault((point.command, point.field, point.bit), point.name)
            if first != point.name:
                yield f"{key}.field", f"{point.place} is already {first}", "remove one"

    @property
    def _version(self) -> int:
        return int(self.ydt1363.version, 16)

    @property
    def _cid1(self) -> int:
        return int(self.ydt1363.cid1, 16)

    @property
    def _soi_answer(self) -> int:
        return int(self.ydt1363.soi_answer or self.ydt1363.soi, 16)

    def _question(self, command: YdtCommand, unit: int, version: int) -> bytes:
        info = command.info.replace("{adr}", f"{unit:02X}").encode()
        return ask(version, unit, self._cid1, int(command.cid2, 16), info, soi=int(self.ydt1363.soi, 16))

    def _refused(self, command: YdtCommand, unit: int, answer: Frame) -> Refused:
        """What a return code means for the one who asked."""
        text = f"RTN {answer.code:02X}H: {self.ydt1363.rtn.get(f'{answer.code:02X}') or reason(answer.code)}"
        if answer.code == VERSION_ERROR:
            return AskAgain(answer.code, text, self._question(command, unit, answer.version))
        if answer.code in AGAIN:
            return AskAgain(answer.code, text, None)
        return Refused(answer.code, text, retryable=answer.code != CID2_INVALID)

    def _counts(self, command: YdtCommand, values: Mapping[str, Raw]) -> dict[str, int]:
        """How many groups a device has that shows all points: as many as the highest number in a path."""
        counts: dict[str, int] = {}
        for path in values:
            for found in _NUMBER.finditer(path):
                group = path[: found.start()]
                prefix = group.rpartition(".")[0]
                name = _count_of(command.items, _NUMBER.sub("[]", group))
                if name is not None:
                    where = f"{prefix}.{name}" if prefix else name
                    counts[where] = max(counts.get(where, 0), int(found[1]))
        return counts


def _count_of(items: tuple[Item, ...], group: str) -> str | None:
    """Name of the count that tells how many of `group` (its path, without number) there are; None: always the same."""
    head, _, rest = group.partition("[].")
    for item in items:
        if item.each == head and item.of:
            return _count_of(item.of, rest) if rest else item.count or item.repeat
    return None


def _of_point(point: YdtPoint, value: Raw) -> Raw:
    """The point's own part of a field."""
    if point.bit is None or value is None or isinstance(value, str):
        return value
    return int(value) >> point.bit & 1
