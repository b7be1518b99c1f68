"""Several virtual units on one serial line, as bytes in and bytes out, with the line's own timing and faults."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable

from drivers.simulators.faults import BABBLE_BYTES, BABBLE_EVERY_S, MAX_OWED, Fault, Faulty, spend

#: Start, eight data bits, parity or second stop, stop.
CHARACTER_BITS = 11
#: Silence that ends a frame of unknown length. A pty carries whole writes, so this only has to exceed scheduling.
_SILENCE_S = 0.02


class SerialBus(ABC):
    """One line. Feed it what the master sends; it calls `write` with what the line carries.

    `baud` paces questions and answers as that line would; None answers at once. `turnaround_s` is the units' own
    thinking time. `reset` is called when a unit's fault resets the line.
    """

    #: Longest question; a longer stream without a pause is noise.
    longest = 256
    character_bits = CHARACTER_BITS

    def __init__(
        self,
        write: Callable[[bytes], None],
        reset: Callable[[], None],
        *,
        baud: int | None = None,
        turnaround_s: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.noise = random.Random(seed)
        self.bad_frames = 0
        self._write = write
        self._reset = reset
        self._character_s = self.character_bits / baud if baud else 0.0
        self._turnaround_s = turnaround_s
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self._silence: asyncio.TimerHandle | None = None
        self._owed: set[asyncio.TimerHandle] = set()
        self._yielding: set[asyncio.TimerHandle] = set()
        self._babbling = False

    def begin(self) -> None:  # noqa: B027 - most lines have nothing that speaks by itself
        """The line is there: what speaks by itself begins to."""

    @abstractmethod
    def take(self, held: bytearray, *, silent: bool) -> bool:
        """Take one whole question from the front of `held` and answer it; False when there is none.

        `silent`: the line has been, so that what is held is all of it.
        """

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
        if len(self._held) > self.longest:
            self._spoilt()
        while self._held and self.take(self._held, silent=False):
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

    def reply(self, unit: Faulty, question: bytes, answer: Callable[[Fault | None], bytes]) -> None:
        """Send what `unit` says to `question`; `answer` makes the frame, as the fault wants it but for its bytes."""
        fault = unit.fault
        frame = answer(fault)
        wait = self._turnaround_s + (len(question) + 3.5) * self._character_s
        if fault is None:
            self._send_after(wait, frame, yields=True)
            return
        spend(unit, fault)
        if fault.mute:
            return
        if fault.kind == "reset":
            self._reset()
        elif fault.kind == "babble":
            if not self._babbling:
                self._babble(unit)
        else:
            if fault.kind == "echo":
                self._write(question)
            self._send_after(wait + fault.delay_s, fault.spoil_frame(frame, self.noise), yields=fault.kind != "late")

    def _fell_silent(self) -> None:
        if not self.take(self._held, silent=True):
            self._spoilt()

    def _spoilt(self) -> None:
        self.bad_frames += 1
        self._held.clear()

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

    def _babble(self, unit: Faulty) -> None:
        self._babbling = unit.fault is not None and unit.fault.kind == "babble"
        self._write(self.noise.randbytes(BABBLE_BYTES))
        if self._babbling:
            self._later(BABBLE_EVERY_S, lambda: self._babble(unit), yields=False)
