"""Several virtual units on one Modbus RTU line, as bytes in and bytes out, with the line's own timing.

Modbus over serial line V1.02: section 2.5.1 (framing, 3.5 characters of silence). Broadcasts get no answer.
"""

import asyncio
import random
from collections.abc import Callable, Mapping

from drivers.modbus.rtu import crc16, seal
from drivers.simulators.faults import BABBLE_BYTES, BABBLE_EVERY_S, MAX_OWED
from drivers.simulators.unit import ENCAPSULATED, REPORT_SERVER_ID, Unit

#: Start, eight data bits, parity or second stop, stop.
CHARACTER_BITS = 11
#: Longest RTU frame; a longer stream without a pause is noise.
MAX_FRAME = 256
#: Silence that ends a frame of unknown length. A pty carries whole writes, so this only has to exceed scheduling.
_SILENCE_S = 0.02
#: A port that was reset is back after this long.
RESET_S = 0.2
#: Functions 1 to 6 are asked in 8 bytes; 15 and 16 carry their own byte count.
_LAST_OF_FIXED, _FIXED_SIZE = 6, 8
_WRITE_MANY = (15, 16)


class RtuBus:
    """The units of one line, by unit id. Feed it what the master sends; it calls `write` with what the line carries.

    `baud` paces requests and answers as that line would; None answers at once. `turnaround_s` is the units' own
    thinking time. `reset` is called when a unit's fault resets the line.
    """

    def __init__(
        self,
        units: Mapping[int, Unit],
        write: Callable[[bytes], None],
        reset: Callable[[], None],
        *,
        baud: int | None = None,
        turnaround_s: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.units = dict(units)
        self.noise = random.Random(seed)
        self.bad_frames = 0
        self._write = write
        self._reset = reset
        self._character_s = CHARACTER_BITS / baud if baud else 0.0
        self._turnaround_s = turnaround_s
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self._silence: asyncio.TimerHandle | None = None
        self._owed: set[asyncio.TimerHandle] = set()
        self._yielding: set[asyncio.TimerHandle] = set()
        self._babbling = False

    def feed(self, data: bytes) -> None:
        """Bytes from the master, in any pieces."""
        for handle in self._yielding:
            handle.cancel()
            self._owed.discard(handle)
        self._yielding.clear()
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._held += data
        if len(self._held) > MAX_FRAME:
            self._spoilt()
        while (size := _request_size(self._held)) and len(self._held) >= size and self._take(size):
            pass
        if self._held:
            self._silence = self._loop.call_later(_SILENCE_S, self._fell_silent)

    def close(self) -> None:
        """Forget everything that is still to be sent."""
        self._babbling = False
        for handle in self._owed:
            handle.cancel()
        self._owed.clear()
        self._yielding.clear()
        self._held.clear()
        if self._silence is not None:
            self._silence.cancel()

    def _take(self, size: int) -> bool:
        """Treat the first `size` bytes as a request; False when they are none."""
        frame = bytes(self._held[:size])
        if crc16(frame) != 0:
            return False
        del self._held[:size]
        unit = self.units.get(frame[0])
        if unit is not None:
            self._answer(unit, frame)
        return True

    def _fell_silent(self) -> None:
        if len(self._held) < 4 or not self._take(len(self._held)):
            self._spoilt()

    def _spoilt(self) -> None:
        self.bad_frames += 1
        self._held.clear()

    def _answer(self, unit: Unit, request: bytes) -> None:
        fault, pdu = unit.fault, unit.answer(request[1:-2])
        wait = self._turnaround_s + (len(request) + 3.5) * self._character_s
        if fault is None:
            self._send_after(wait, seal(request[0], pdu), yields=True)
            return
        unit.fault = fault.used()
        if fault.kind == "silent":
            return
        if fault.kind == "reset":
            self._reset()
        elif fault.kind == "babble":
            if not self._babbling:
                self._babble(unit)
        else:
            if fault.kind == "echo":
                self._write(request)
            frame = fault.spoil_frame(seal(*fault.spoil_answer(request[0], pdu)), self.noise)
            self._send_after(wait + fault.delay_s, frame, yields=fault.kind != "late")

    def _send_after(self, wait: float, frame: bytes, *, yields: bool) -> None:
        """Send later; with `yields` not at all when the master speaks before the answer has begun."""
        if wait <= 0:
            self._write(frame)
        elif len(self._owed) < MAX_OWED:
            self._later(wait, lambda: self._transmit(frame, 0, self._loop.time()), yields=yields)

    def _later(self, wait: float, action: Callable[[], None], *, yields: bool) -> None:
        def due() -> None:
            self._owed.discard(handle)
            self._yielding.discard(handle)
            action()

        handle = self._loop.call_later(wait, due)
        self._owed.add(handle)
        if yields:
            self._yielding.add(handle)

    def _transmit(self, frame: bytes, sent: int, begun: float) -> None:
        """Send what the line has had time for since `begun`, and come back for the rest."""
        if not self._character_s:
            self._write(frame)
            return
        due = min(len(frame), int((self._loop.time() - begun) / self._character_s) + 1)
        self._write(frame[sent:due])
        if due < len(frame):
            self._later(self._character_s, lambda: self._transmit(frame, due, begun), yields=False)

    def _babble(self, unit: Unit) -> None:
        self._babbling = unit.fault is not None and unit.fault.kind == "babble"
        self._write(self.noise.randbytes(BABBLE_BYTES))
        if self._babbling:
            self._later(BABBLE_EVERY_S, lambda: self._babble(unit), yields=False)


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
