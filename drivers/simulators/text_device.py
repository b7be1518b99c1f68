"""A virtual device with a text protocol: every point shows what it means in the hall, as the dialect writes it."""

import math
from functools import partial

from drivers.codec import Reading, decode_answer
from drivers.derived import derive
from drivers.simulators.faults import Fault
from drivers.simulators.hall import HallModel, Seat
from drivers.simulators.showing import plausible, restart, shown
from drivers.text.image import Raw
from drivers.text.profile import TextCommand, TextPoint, TextProfile


class TextUnit:
    """A unit on a line. `fault` is applied by the bus that carries the unit and may be changed at any time."""

    def __init__(self, device: "TextDevice", number: int) -> None:
        self.name = device.seat.name
        self.fault: Fault | None = None
        self.requests = 0
        self.exceptions = 0
        self.writes_refused = 0  #: questions that none of the profile's commands asks
        self._device = device
        self._number = number
        profile = device.profile
        self.questions = {profile.question(command, number): command for command in profile.command}
        self.unasked = [command for command in profile.command if not profile.question(command, number)]

    def answer(self, question: bytes, fault: Fault | None) -> bytes:
        """The answer to one of `questions`, with the faults that a sound frame can carry."""
        self.requests += 1
        return self.say(self.questions[question], question, fault)

    def patience_s(self, command: TextCommand) -> float:
        """For how long what it says of `command` by itself holds."""
        return self._device.profile.ask(command.name, self._number).patience_s

    def say(self, command: TextCommand, question: bytes, fault: Fault | None) -> bytes:
        """What it says of `command` now, asked or not."""
        profile = self._device.profile
        values = self._device.values(command.name)
        if fault is not None and fault.kind == "exception":
            self.exceptions += 1
            return profile.refusal(self._number, question, int(fault.amount))
        if fault is not None and fault.kind == "wrong-unit":
            return profile.answer(command, profile.units[(self._number + 1) % len(profile.units)], values)
        frame = profile.answer(command, self._number, values)
        return frame[:-6] + frame[-2:] if fault is not None and fault.kind == "short" else frame

    def restart(self) -> None:
        self._device.restart()

    def refuse(self, question: bytes) -> bytes:
        """What it says to a question that none of its commands asks; b"": nothing."""
        self.writes_refused += 1
        return self._device.profile.refusal(self._number, question)


class TextDevice:
    """A device of `profile` in its `seat`; `unit` is its side of the line, under the address `number`."""

    def __init__(self, profile: TextProfile, seat: Seat, hall: HallModel, number: int = 1) -> None:
        self.profile = profile
        self.seat = seat
        self._hall = hall
        self.number = number
        self.unit = TextUnit(self, number)

    def restart(self) -> None:
        """Its counters begin at zero."""
        restart(self._hall, self.seat, self.profile)

    def values(self, command: str) -> dict[str, Raw]:
        """What the answer to `command` says now: raw values by point name, each good where the point can show one."""
        return {point.name: self._raw(point) for point in self.profile.points_of(command)}

    def reading(self, name: str) -> Reading:
        """What a perfect collector makes of the answer as it is now. Raises KeyError."""
        return self._read(self.profile.named(name).command)[name]

    def readings(self) -> dict[str, Reading]:
        """`reading` of every point, in the profile's order."""
        answers: dict[str, Reading] = {}
        for command in self.profile.command:
            answers |= self._read(command.name)
        found = {point.name: answers[point.name] for point in self.profile.point}
        return found | derive(self.profile, found)

    def _read(self, command: str) -> dict[str, Reading]:
        profile = self.profile
        frame = profile.answer(profile.command_named(command), self.number, self.values(command))
        return decode_answer(profile, command, profile.ask(command, self.number).read(frame))

    def _raw(self, point: TextPoint) -> Raw:
        candidates = (
            partial(shown, self._hall, self.seat, self.profile, point),
            partial(plausible, self._hall, self.seat, point),
        )
        for candidate in candidates:
            value = candidate()
            if isinstance(value, str):
                return value
            raw = point.scaling.raw(float(value))
            raw = raw if point.is_float else float(round(raw))
            if _inside(point, raw):
                return raw
        return None


def _inside(point: TextPoint, raw: float) -> bool:
    low, high = point.range or (-math.inf, math.inf)
    limits = point.raw_limits
    fits = limits is None or limits[0] <= raw <= limits[1]
    return fits and low <= point.scaling.published(raw) <= high
