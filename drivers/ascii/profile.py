"""A device whose serial protocol is told by its profile alone: questions, framing, checksum and layout are all data.

The profile lists every question; nothing else can be sent. Whether a question changes something in the device nobody
can know but its manual: `drivers.ascii.lint` refuses those that look like a command unless the profile says, with its
source, that they only read (`reads`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Annotated, Any, Literal

from pydantic import Field

from drivers.ascii.framing import Asked, Envelope, Framing
from drivers.ascii.layout import Layout, Place, compiled, read, write
from drivers.ascii.octets import show
from drivers.ascii.question import body_of, names_unit, unit_of
from drivers.ascii.value import SIZES
from drivers.errors import BadFrame, Mistake, OtherUnit, Refused, Unasked
from drivers.meaning import MAX_POINTS
from drivers.text.command import Command
from drivers.text.image import Raw
from drivers.text.profile import MAX_COMMANDS, TextCommand, TextFrame, TextPoint, TextProfile

#: A device that is heard less often than once a month is heard by nobody.
MAX_AGE_S = 31 * 86400


class AsciiCommand(TextCommand, Layout):
    """One question and how its answer is taken apart; without `ask`, a kind of line that the device sends by itself."""

    ask: str = ""  #: template of the question's body; "": the device speaks by itself and is listened to
    begins: str = ""  #: template of what the answer's body begins with; with {addr} it tells whose answer it is
    receive: Framing | None = None  #: of this answer; None: the profile's
    max_age_s: Annotated[float, Field(gt=0, le=MAX_AGE_S)] | None = None  #: for how long what it said by itself holds
    reads: str = ""  #: where it is written that a question which looks like a command only reads


class AsciiPoint(TextPoint, Place):
    """One value, the command in whose answer it stands, and where there."""

    @property
    def wire_type(self) -> str:
        return self.type

    def mistaken(self, command: AsciiCommand) -> Iterator[tuple[str, Any]]:
        for key in ("at", "field", "item", "bit", "width"):
            number = getattr(self, key)
            if number is not None:
                yield from ((key, other) for other in (number - 1, number + 1) if other >= (key == "width"))
        for other in compiled(command.pattern).groupindex if self.group else ():
            if other != self.group:
                yield "group", other
        if self.bits is not None:
            yield from (("bits", (self.bits[0] + d, self.bits[1] + d)) for d in (-1, 1) if self.bits[0] + d >= 0)
        sign = {"u": "s", "s": "u"}.get(self.type[0]) if self.type in SIZES else None
        for kind in (sign + self.type[1:] if sign else None, {"decimal": "hex", "hex": "decimal"}.get(self.type)):
            if kind is not None and self.part is None:
                yield "type", kind
        if command.in_bytes and self.size > 1 and not self.is_text:
            yield "low_first", not self.low_first
        words = list(self.words)
        if len(words) > 1:
            yield "words", {**self.words, words[0]: self.words[words[1]], words[1]: self.words[words[0]]}

    @property
    def place(self) -> str:
        where = f"field {self.field}" if self.field is not None else self.group or f"{self.at or 0}+{self.size}"
        group = "" if self.item is None else f"{self.item}: "
        bits = "" if self.part is None else f".{self.bit}" if self.bits is None else f".{self.bits[0]}-{self.bits[1]}"
        return f"{group}{where}{bits}"

    @property
    def raw_limits(self) -> tuple[int, int] | None:
        if self.part is not None:
            return 0, (1 << self.part[1]) - 1
        if self.type not in SIZES or self.type[0] == "f":
            return None
        bits = 8 * SIZES[self.type]
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.type[0] == "s" else (0, (1 << bits) - 1)

    @property
    def is_float(self) -> bool:
        return self.type in ("decimal", "f32", "f64") and self.kind != "state"

    @property
    def is_text(self) -> bool:
        return self.type == "text"

    @property
    def is_bool(self) -> bool:
        return self.bit is not None


class AsciiProfile(TextProfile):
    """One model of device."""

    protocol: Literal["ascii"]
    send: Envelope = Envelope()  #: around every question
    receive: Framing = Framing()  #: of every answer
    #: Templates of the answers, start included, with which the device says that it does not know the question.
    refusals: tuple[str, ...] = ()
    command: tuple[AsciiCommand, ...] = Field(min_length=1, max_length=MAX_COMMANDS)
    point: tuple[AsciiPoint, ...] = Field(min_length=1, max_length=MAX_POINTS)

    @property
    def own_questions(self) -> bool:
        return True

    def question(self, command: AsciiCommand, unit: int) -> bytes:
        return self.send.seal(body_of(command.ask, unit)) if command.ask else b""

    def framing(self, command: AsciiCommand) -> Framing | Asked:
        received = command.receive or self.receive
        return Asked(received) if command.ask else received

    def read(self, command: AsciiCommand, unit: int, frame: bytes) -> Mapping[str, Raw]:
        return read(command, self._body(command, unit, frame), self._places[command.name])

    def answer(self, command: AsciiCommand, unit: int, values: Mapping[str, Raw]) -> bytes:
        """A golden answer with other values in it, one that lacks what they lack; b"" when there is none.

        Where a place cannot say that there is no value, or a text cannot stand, the golden one is kept.
        """
        known = self.known.get(command.name)
        if not known:
            return b""
        places = self._places[command.name]
        _, body = min(known, key=lambda k: sum((values.get(name) is None) != (k[0][name] is None) for name in places))
        said = write(command, body, places, values)
        try:
            read(command, said, places)
        except BadFrame:  # a text that cannot stand there, such as one with the separator in it
            numbers = {name: place for name, place in places.items() if not place.is_text}
            said = write(command, body, numbers, values)
        return (command.receive or self.receive).seal(body_of(command.begins, unit) + said)

    def refusal(self, unit: int, question: bytes, code: int | None = None) -> bytes:
        if not self.refusals:
            return b""
        said = body_of(self.refusals[0], unit)
        framing = self.receive.model_copy(update={"start": said[: len(self.receive.start)]})
        return framing.seal(said[len(framing.start) :])

    def ask(self, name: str, unit: int) -> Command:
        command = self.command_named(name)
        asked = super().ask(name, unit)
        asked = replace(
            asked,
            line_bytes=asked.line_bytes if command.ask else 0,
            names_unit=self.tells_unit if command.ask else names_unit(command.begins),
            patience_s=command.max_age_s or 0.0,
            marked=bool((command.receive or self.receive).start),
        )
        return replace(asked, read=partial(self._unless_pushed, asked.read, unit)) if command.ask else asked

    def mistakes(self) -> Iterator[Mistake]:
        from drivers.ascii.lint import mistakes  # it stands above this module

        return mistakes(self)

    def _unless_pushed(self, read: Callable[[bytes], bytes], unit: int, frame: bytes) -> bytes:
        """Like `read`, but what the device says by itself between question and answer is no damaged answer."""
        try:
            return read(frame)
        except BadFrame:
            if self.is_pushed(unit, frame):
                raise Unasked from None
            raise

    def is_pushed(self, unit: int, frame: bytes) -> bool:
        """Whether the device says `frame` by itself."""
        return any(self._says(command, unit, frame) for command in self.command if not command.ask)

    def _says(self, command: AsciiCommand, unit: int, frame: bytes) -> bool:
        with suppress(BadFrame, Refused):
            self.read(command, unit, frame)
            return True
        return False

    @cached_property
    def tells_unit(self) -> bool:
        """Whether every answer tells which unit gave it."""
        return all(names_unit(command.begins) for command in self.command if command.ask)

    def _body(self, command: AsciiCommand, unit: int, frame: bytes) -> bytes:
        """What the answer carries behind its begin. Raises BadFrame, OtherUnit, Refused."""
        framing = command.receive or self.receive
        whole = framing.whole(frame)
        if not framing.sound(whole):
            raise BadFrame(f"has another start, end or checksum: {show(frame)}")
        body = framing.body(whole)
        said = whole[: len(framing.start)] + body
        if any(said == body_of(refusal, unit) for refusal in self.refusals):
            raise Refused(0, f"the device refuses: {show(said)}", retryable=False)
        if not whole.startswith(framing.start):
            raise BadFrame(f"is neither an answer nor a refusal: {show(said)}")
        if not command.begins:
            return body
        who = unit_of(command.begins, body)
        if who is None:
            raise BadFrame(f"does not begin with {show(body_of(command.begins, unit))}: {show(body)}")
        if names_unit(command.begins) and who != unit:
            raise OtherUnit(who, unit)
        return body[len(body_of(command.begins, who)) :]

    @cached_property
    def _places(self) -> dict[str, dict[str, AsciiPoint]]:
        return {c.name: {point.name: point for point in self.points_of(c.name)} for c in self.command}

    def is_proved_by(self, command: AsciiCommand, golden: TextFrame) -> bool:
        """Whether `golden` answers the question of `command`."""
        with suppress(ValueError):
            return self.question(command, golden.unit) == golden.bytes_of(golden.request)
        return False

    @cached_property
    def known(self) -> dict[str, list[tuple[Mapping[str, Raw], bytes]]]:
        """Values and body, without its begin, of each golden answer to each command."""
        found: dict[str, list[tuple[Mapping[str, Raw], bytes]]] = {}
        for golden in self.golden:
            for command in self.command:
                if not self.is_proved_by(command, golden):
                    continue
                with suppress(ValueError, BadFrame, Refused):
                    body = self._body(command, golden.unit, golden.bytes_of(golden.response))
                    said = read(command, body, self._places[command.name])
                    found.setdefault(command.name, []).append((said, body))
                    break
        return found
