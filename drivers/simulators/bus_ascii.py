"""Several virtual units on one Modbus ASCII line.

Modbus over serial line V1.02: section 2.5.2 (a colon begins a frame anew, CR LF ends it). Broadcasts get no answer.
"""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.errors import BadFrame
from drivers.modbus.ascii import END, MAX_FRAME, START, seal, unseal
from drivers.simulators.faults import Fault
from drivers.simulators.serial_bus import SerialBus
from drivers.simulators.unit import Unit


class AsciiBus(SerialBus):
    """The units of one line, by unit id."""

    longest = 2 * MAX_FRAME
    character_bits = 10

    def __init__(
        self, units: Mapping[int, Unit], write: Callable[[bytes], None], reset: Callable[[], None], **line: Any
    ) -> None:
        super().__init__(write, reset, **line)
        self.units = dict(units)

    def take(self, held: bytearray, *, silent: bool) -> bool:
        end = held.find(END)
        if end < 0:
            return False
        frame = bytes(held[: end + len(END)])
        del held[: len(frame)]
        frame = frame[max(0, frame.rfind(START)) :]
        try:
            asked = unseal(frame)
        except BadFrame:
            self.bad_frames += 1
            return True
        unit = self.units.get(asked[0])
        if unit is not None:
            self._answer(unit, frame, asked)
        return True

    def _answer(self, unit: Unit, request: bytes, asked: bytes) -> None:
        pdu = unit.answer(asked[1:])

        def frame(fault: Fault | None) -> bytes:
            return seal(asked[0], pdu) if fault is None else seal(*fault.spoil_answer(asked[0], pdu))

        self.reply(unit, request, frame)
