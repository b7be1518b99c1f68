"""Several virtual units on one Modbus RTU line.

Modbus over serial line V1.02: section 2.5.1 (framing, 3.5 characters of silence). Broadcasts get no answer.
"""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.modbus.rtu import crc16, seal
from drivers.simulators.faults import Fault
from drivers.simulators.serial_bus import SerialBus
from drivers.simulators.unit import ENCAPSULATED, REPORT_SERVER_ID, Unit

#: Functions 1 to 6 are asked in 8 bytes; 15 and 16 carry their own byte count.
_LAST_OF_FIXED, _FIXED_SIZE = 6, 8
_WRITE_MANY = (15, 16)


class RtuBus(SerialBus):
    """The units of one line, by unit id."""

    def __init__(
        self, units: Mapping[int, Unit], write: Callable[[bytes], None], reset: Callable[[], None], **line: Any
    ) -> None:
        super().__init__(write, reset, **line)
        self.units = dict(units)

    def take(self, held: bytearray, *, silent: bool) -> bool:
        size = len(held) if silent else _request_size(held)
        if not 4 <= size <= len(held):
            return False
        frame = bytes(held[:size])
        if crc16(frame) != 0:
            return False
        del held[:size]
        unit = self.units.get(frame[0])
        if unit is not None:
            self._answer(unit, frame)
        return True

    def _answer(self, unit: Unit, request: bytes) -> None:
        pdu = unit.answer(request[1:-2])

        def frame(fault: Fault | None) -> bytes:
            return seal(request[0], pdu) if fault is None else seal(*fault.spoil_answer(request[0], pdu))

        self.reply(unit, request, frame)


def _request_size(held: bytearray) -> int:
    """Length of the request that begins `held`; 0 while or where it cannot be told."""
    if len(held) < 2:
        return 0
    function = held[1]
    if function <= _LAST_OF_FIXED:
        return _FIXED_SIZE
    if function in _WRITE_MANY:
        return 9 + held[6] if len(held) > 6 else 0
    return {REPORT_SERVER_ID: 4, ENCAPSULATED: 7}.get(function, 0)
