"""Several virtual units on one line with a text protocol."""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.simulators.serial_bus import SerialBus
from drivers.simulators.text_device import TextUnit
from drivers.text.profile import TextCommand

#: What a unit says by itself it says this often, like a fast sensor, so that nobody waits long for it.
_STREAM_S = 0.25


class TextBus(SerialBus):
    """The units of one line, by address."""

    def __init__(
        self, units: Mapping[int, TextUnit], write: Callable[[bytes], None], reset: Callable[[], None], **line: Any
    ) -> None:
        super().__init__(write, reset, **line)
        self.units = dict(units)
        self._questions = [(q, unit) for unit in units.values() for q in unit.questions if q]

    def begin(self) -> None:
        for unit in self.units.values():
            for command in unit.unasked:
                self._say(unit, command)

    def _say(self, unit: TextUnit, command: TextCommand) -> None:
        """Send what `unit` says by itself, and again later."""
        again_s = min(_STREAM_S, unit.patience_s(command) / 2)
        self._later(again_s, lambda: self._say(unit, command), yields=False)
        self.reply(unit, b"", lambda fault: unit.say(command, b"", fault))

    def take(self, held: bytearray, *, silent: bool) -> bool:
        """The first question that stands in `held`, whatever noise before it; in silence also one nobody knows."""
        found = [(at, -len(q), q, unit) for q, unit in self._questions if (at := _place(held, q)) >= 0]
        if found:
            at, _, question, unit = min(found, key=lambda place: place[:2])
            del held[: at + len(question)]
            self.reply(unit, question, lambda fault: unit.answer(question, fault))
            return True
        if not silent:
            return False
        question = bytes(held)
        held.clear()
        for unit in self.units.values():
            refusal = unit.refuse(question)
            if refusal:
                self.reply(unit, question, lambda fault, said=refusal: said)  # type: ignore[misc]
                return True
        self.bad_frames += 1
        return True


def _place(held: bytearray, question: bytes) -> int:
    """Where `question` stands in `held`, -1: nowhere. In the middle of a word it is the end of another question."""
    at = held.find(question)
    while at > 0 and question[:1].isalnum() and held[at - 1 : at].isalnum():
        at = held.find(question, at + 1)
    return at
