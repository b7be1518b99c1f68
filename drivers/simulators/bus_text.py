"""Several virtual units on one line with a text protocol."""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.simulators.serial_bus import SerialBus
from drivers.simulators.text_device import TextUnit


class TextBus(SerialBus):
    """The units of one line, by address."""

    def __init__(
        self, units: Mapping[int, TextUnit], write: Callable[[bytes], None], reset: Callable[[], None], **line: Any
    ) -> None:
        super().__init__(write, reset, **line)
        self.units = dict(units)
        self._questions = [(q, unit) for unit in units.values() for q in unit.questions if q]

    def take(self, held: bytearray, *, silent: bool) -> bool:
        """The first question that stands in `held`, whatever noise before it; in silence also one nobody knows."""
        found = [(at, -len(q), q, unit) for q, unit in self._questions if (at := held.find(q)) >= 0]
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
