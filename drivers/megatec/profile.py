"""Profiles of the Megatec/Q1 family: each command is a query, each point a value of its answer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from drivers.errors import Mistake, Refused
from drivers.meaning import MAX_POINTS, Strict
from drivers.megatec import fields
from drivers.megatec.frame import AnswerLine, Query, encode, seal
from drivers.megatec.replies import LAYOUTS, read_answer, write_answer
from drivers.scaling import Scaling, derive
from drivers.text.command import Command
from drivers.text.framing import Framing
from drivers.text.image import Raw
from drivers.text.profile import MAX_COMMANDS, TextCommand, TextLimits, TextPoint, TextProfile

#: So many refusals without an answer before them are believed.
BELIEVED = 2
#: Decimals of a number that a UPS writes with as many as fit: 2.27 V per cell.
FITTING_DECIMALS = 2


class MegatecLimits(TextLimits):
    """RS-232, 2400 8N1. The interface of many UPSs takes its power from DTR and wants RTS low, and a second to wake."""

    settle_s: float = Field(default=1.1, ge=0, le=10)
    dtr: bool | None = True
    rts: bool | None = False


class MegatecOptions(Strict):
    """The table `[megatec]`."""

    crc: bool = False  #: Voltronic's dialect: two bytes of checksum before each CR


class MegatecPoint(TextPoint):
    """One value of an answer."""

    field: str  #: the value, by its name in `drivers.megatec.replies.LAYOUTS`

    @property
    def place(self) -> str:
        return self.field

    def mistaken(self, command: TextCommand) -> Iterator[tuple[str, Any]]:
        yield from (("field", name) for name in LAYOUTS[command.name].names if name != self.field)

    @property
    def column(self) -> fields.Field | None:
        """Where it stands; None: nowhere, or it follows from other values."""
        layout = LAYOUTS.get(self.command)
        return layout.field_of(self.field) if layout is not None else None

    @property
    def wire_type(self) -> str:
        kind = self.column.kind if self.column is not None else "number"
        return {"text": "string", "flags": "bool"}.get(kind, kind)

    @property
    def is_float(self) -> bool:
        return self.column is not None and self.column.kind == "number" and self.kind != "state"

    @property
    def is_text(self) -> bool:
        return self.column is not None and self.column.kind == "text"

    @property
    def is_bool(self) -> bool:
        return self.column is not None and self.column.kind == "flags"

    @property
    def scaling(self) -> Scaling:
        decimals = self.decimals
        if decimals is None and self.is_float and self.column is not None:
            decimals = FITTING_DECIMALS if self.column.decimals is None else self.column.decimals
        return derive(scale=self.scale, offset=self.offset, pow2=self.pow2, decimals=decimals, coarse=self.is_coarse)


class _Doubting:
    """Reads the answers to one question and does not believe each refusal: there is no checksum, and a busy UPS refuses
    what it knows. It lasts only when it is repeated, and never after a good answer.
    """

    def __init__(self, read: Callable[[bytes], bytes]) -> None:
        self._read = read
        self._refusals = 0  # since the start; below 0: it was answered

    def __call__(self, frame: bytes) -> bytes:
        """Like `read`. Raises Refused that is retryable while it is doubted."""
        try:
            image = self._read(frame)
        except Refused as refused:
            if 0 <= self._refusals < BELIEVED:
                self._refusals += 1
            if self._refusals < BELIEVED:
                raise Refused(refused.code, str(refused), retryable=True) from None
            raise
        self._refusals = -1
        return image


class MegatecProfile(TextProfile):
    """One model of UPS."""

    echo_is_answer = True
    alone = True

    protocol: Literal["megatec"]
    limits: MegatecLimits = MegatecLimits()
    megatec: MegatecOptions = MegatecOptions()
    command: tuple[TextCommand, ...] = Field(min_length=1, max_length=MAX_COMMANDS)
    point: tuple[MegatecPoint, ...] = Field(min_length=1, max_length=MAX_POINTS)

    def question(self, command: TextCommand, unit: int) -> bytes:
        return encode(Query(command.name), crc=self.megatec.crc)

    def framing(self, command: TextCommand) -> Framing:
        return AnswerLine(Query(command.name), crc=self.megatec.crc)

    def read(self, command: TextCommand, unit: int, frame: bytes) -> Mapping[str, Raw]:
        values = read_answer(Query(command.name), frame, crc=self.megatec.crc)
        return {point.name: values[point.field] for point in self.points_of(command.name)}

    def answer(self, command: TextCommand, unit: int, values: Mapping[str, Raw]) -> bytes:
        said = {point.field: values.get(point.name) for point in self.points_of(command.name)}
        return write_answer(Query(command.name), said, crc=self.megatec.crc)

    def ask(self, name: str, unit: int) -> Command:
        asked = super().ask(name, unit)
        return replace(asked, read=_Doubting(asked.read))

    def refusal(self, unit: int, question: bytes, code: int | None = None) -> bytes:
        return seal(b"(NAK", crc=self.megatec.crc)

    def mistakes(self) -> Iterator[Mistake]:
        for command in self.command:
            if command.name not in Query.__members__:
                hint = f"known: {', '.join(Query)}"
                yield f"command[{command.name}].name", "is no question of this protocol", hint
        for point in self.point:
            layout = LAYOUTS.get(point.command)
            if layout is not None and point.field not in layout.names:
                hint = f"known: {', '.join(layout.names)}"
                yield f"point[{point.name}].field", f"the answer to {point.command} has no {point.field}", hint
