"""What a profile of any text protocol has: commands, and points that each say in which command's answer they stand.

A dialect derives its own command, point and profile from these and gives the methods marked abstract.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from drivers.errors import Mistake
from drivers.meaning import MAX_POINTS, AnyProfile, Frame, Meaning, Name, Strict
from drivers.text.command import Command
from drivers.text.framing import Framing
from drivers.text.image import NUMBER_REGISTERS, Raw, offsets, pack
from drivers.text.plan import TextBlock

#: Commands of one device; the largest families have some twenty.
MAX_COMMANDS = 64
#: Characters of a text in an answer.
MAX_LENGTH = 250


class TextLimits(Strict):
    """What the device wants of the line."""

    timeout_s: Annotated[float, Field(gt=0, le=30)] = 1.0
    turnaround_s: Annotated[float, Field(ge=0, le=5)] = 0.1  #: typical time from question to first answer character
    gap_s: Annotated[float, Field(ge=0, le=5)] = 0.05  #: silence before each question
    settle_s: Annotated[float, Field(ge=0, le=10)] = 0.0  #: from opening the port to the first question
    dtr: bool | None = None  #: level of the port's DTR line; None: as the system sets it
    rts: bool | None = None  #: level of the port's RTS line


class TextCommand(Strict):
    """One question the device answers."""

    name: Name


class TextPoint(Meaning):
    """One value and the command in whose answer it stands."""

    command: Name
    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] | None = None  #: bytes of a text in UTF-8
    invalid: tuple[float | int, ...] = ()  #: raw numbers that mean "no value"

    @property
    def place(self) -> str:
        """Where in the answer it stands, for people."""
        return ""

    def mistaken(self, command: Any) -> Iterator[tuple[str, Any]]:
        """(key, other value): how people mistake the place where it stands in the answer to `command`."""
        yield from ()

    @property
    def image_registers(self) -> int:
        """Registers it takes in the image of its command."""
        return ((self.length or 2) + 1) // 2 if self.is_text else NUMBER_REGISTERS


class TextRepeat(Strict):
    """Points that stand once for each cell, fuse or branch; `drivers.text.repeat` makes them at loading."""

    count: Annotated[int, Field(ge=1, le=MAX_POINTS)]
    first: Annotated[int, Field(ge=0, le=10_000)] = 1  #: number of the first instance
    tag: Name | None = None  #: publish each instance as if it were a device of its own, under this tag
    point: tuple[dict[str, Any], ...] = Field(min_length=1)  #: keys of a point; {n} in a text is the number


class TextFrame(Frame):
    """Whole frames: as text, with TOML's escapes for what cannot be seen, or in hex.

    `text` has one byte per character; an encoding is named where there are others.
    """

    encoding: Literal["text", "hex", "gb18030", "utf-8"] = "text"
    unit: Annotated[int, Field(ge=0, le=255)] = 1  #: whom the frames name

    def bytes_of(self, frame: str) -> bytes:
        """Raises ValueError for what cannot stand on a line."""
        if self.encoding == "hex":
            return bytes.fromhex(frame)
        return frame.encode("latin-1" if self.encoding == "text" else self.encoding)


class TextProfile(AnyProfile):
    """One model of device that speaks a text protocol. Tables of the dialect's own name hold its options."""

    names_unit: ClassVar[bool] = False  #: whether an answer tells which unit gave it
    echo_is_answer: ClassVar[bool] = False  #: whether a device refuses a question by sending it back

    limits: TextLimits = TextLimits()
    command: tuple[Any, ...] = Field(min_length=1, max_length=MAX_COMMANDS)
    repeat: tuple[TextRepeat, ...] = ()  #: always empty once loaded
    point: tuple[Any, ...] = Field(min_length=1, max_length=MAX_POINTS)
    golden: tuple[TextFrame, ...] = ()

    @abstractmethod
    def question(self, command: Any, unit: int) -> bytes:
        """The frame that asks `unit` for `command`; b"": the device speaks by itself. Only reads."""

    @abstractmethod
    def framing(self, command: Any) -> Framing:
        """How the answer is found among what the line delivers."""

    @abstractmethod
    def read(self, command: Any, unit: int, frame: bytes) -> Mapping[str, Raw]:
        """What a whole frame says: raw values by point name. Raises BadFrame, OtherUnit, Refused, and nothing else."""

    @abstractmethod
    def answer(self, command: Any, unit: int, values: Mapping[str, Raw]) -> bytes:
        """The frame in which a device says `values`, for simulators and tests; what is missing it does not have."""

    def refusal(self, unit: int, question: bytes, code: int | None = None) -> bytes:
        """How a device refuses `question`; `code` None: because it does not know it. b"": it stays silent."""
        return b""

    def mistakes(self) -> Iterator[Mistake]:
        """What is wrong in the dialect's own keys."""
        yield from ()

    def points_of(self, command: str) -> tuple[Any, ...]:
        """The points in the answer to `command`, in the order of its image."""
        return self._by_command.get(command, ())

    def places(self, command: str) -> dict[str, int]:
        """Where each of `points_of` stands in the image of `command`, in registers."""
        return offsets(self.points_of(command))[0]

    def command_named(self, name: str) -> Any:
        """Raises KeyError."""
        for command in self.command:
            if command.name == name:
                return command
        raise KeyError(name)

    def ask(self, name: str, unit: int) -> Command:
        """The question of the command called `name` to `unit`. Raises KeyError."""
        command = self.command_named(name)
        points = self.points_of(name)
        question = self.question(command, unit)

        def read(frame: bytes) -> bytes:
            return pack(points, self.read(command, unit, frame))

        return Command(
            unit,
            name,
            question,
            line_bytes=len(question) + len(self.answer(command, unit, {})),
            framing=self.framing(command),
            read=read,
            names_unit=self.names_unit,
            echo_is_answer=self.echo_is_answer,
        )

    def blocks(self, interval_s: float, points: Collection[str] | None = None) -> list[TextBlock]:
        """One block per command that has a point of `points` (None: all). Raises KeyError for an unknown point."""
        wanted = {point.name for point in self.point} if points is None else {self.named(name).name for name in points}
        made = []
        for command in self.command:
            members = self.points_of(command.name)
            places, registers = offsets(members)
            chosen = [point for point in members if point.name in wanted]
            if not chosen:
                continue
            chosen.sort(key=lambda p: (self.category(p), sorted(p.tags.items()), places[p.name]))
            every = min(point.every for point in chosen)
            made.append(
                TextBlock(
                    command=command.name,
                    count=registers,
                    every=every,
                    interval_s=interval_s * every,
                    points=tuple(point.name for point in chosen),
                    offsets=tuple(places[point.name] for point in chosen),
                    profile=self,
                )
            )
        return made

    @cached_property
    def _by_command(self) -> dict[str, tuple[Any, ...]]:
        found: dict[str, list[Any]] = {}
        for point in self.point:
            found.setdefault(point.command, []).append(point)
        return {command: tuple(points) for command, points in found.items()}
