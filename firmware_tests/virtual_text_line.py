"""A line with a text protocol in virtual time, and an owner that knows which question each answer belongs to.

Every question gets a number, and the number is what its answer says: an answer that is taken for another question's,
also for a later one of the same words to the same unit, is a wrong value.
"""

import random
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from drivers.base import Request
from drivers.errors import BadFrame, OtherUnit, Refused
from drivers.modbus import ascii as modbus_ascii
from drivers.text.command import Command
from drivers.text.exchange import TextExchange
from drivers.text.framing import Delimited
from drivers.ydt1363.frame import MAX_FRAME, Frame, ask, seal, unseal
from firmware_tests.virtual_time import STRANGER, Owner, Pace, VirtualLine

CHARACTER_S = 10 / 9600
GAP_S = 0.02
TIMEOUT_S = 0.5
LATE_S = 1.0
PACE = Pace(CHARACTER_S, TIMEOUT_S, in_time_s=(0.01, 0.8 * TIMEOUT_S), latest_s=TIMEOUT_S + LATE_S - 0.1)


@dataclass(frozen=True)
class Ydt:
    """YD/T 1363.3: an answer tells its unit, not its command, and has a checksum."""

    faults: tuple[str, ...] = ("echo", "noise", "flipped", "cut", "stranger", "refusal")

    def command(self, unit: int, name: str) -> Command:
        question = ask(0x20, unit, 0x40, 0x42, name.encode())

        def read(frame: bytes) -> bytes:
            said = unseal(frame)
            if said.address != unit:
                raise OtherUnit(said.address, unit)
            if said.code:
                raise Refused(said.code, "refused", retryable=True)
            return struct.pack(">d", int(said.info, 16))

        return Command(unit, name, question, 60, Delimited(end=b"\r", start=b"~", longest=MAX_FRAME), read, True)

    def answer(self, unit: int, number: int) -> bytes:
        return seal(Frame(0x20, unit, 0x40, 0, b"%08X" % number))

    def refusal(self, answer: bytes) -> bytes:
        return seal(Frame(0x20, unseal(answer).address, 0x40, 0x06))


@dataclass(frozen=True)
class ModbusAscii:
    """Reads of two registers: an answer tells its unit, not which registers, and has a checksum."""

    faults: tuple[str, ...] = ("echo", "noise", "flipped", "cut", "stranger", "refusal")

    def command(self, unit: int, name: str) -> Command:
        asked = modbus_ascii.command(Request(unit, 3, int(name), 2))
        return replace(asked, read=lambda frame: struct.pack(">d", int.from_bytes(asked.read(frame), "big")))

    def answer(self, unit: int, number: int) -> bytes:
        return modbus_ascii.seal(unit, bytes((3, 4)) + number.to_bytes(4, "big"))

    def refusal(self, answer: bytes) -> bytes:
        return modbus_ascii.seal(modbus_ascii.unseal(answer)[0], bytes((0x83, 6)))


@dataclass(frozen=True)
class Anonymous:
    """An answer is a number in brackets: neither unit nor command nor checksum."""

    faults: tuple[str, ...] = ("echo", "noise", "cut")

    def command(self, unit: int, name: str) -> Command:
        def read(frame: bytes) -> bytes:
            if not frame.startswith(b"(") or len(frame) != 10 or not frame[1:-1].isdigit():
                raise BadFrame("no number of eight digits")
            return struct.pack(">d", int(frame[1:-1]))

        return Command(unit, name, b"%d%s\r" % (unit, name.encode()), 30, Delimited(b"\r", b"(", 32), read)

    def answer(self, unit: int, number: int) -> bytes:
        return b"(%08d\r" % number


Speech = Ydt | ModbusAscii | Anonymous


class TextLine(VirtualLine):
    def __init__(self, speech: Speech, random_: random.Random) -> None:
        super().__init__(PACE, random_)
        self.faults = speech.faults
        self._speech = speech
        self._number = 0

    def ask(self, unit: int, question: bytes, number: int, now: float) -> None:
        self._number = number
        self.carry(question, self._speech.answer(unit, number), now)

    def _spoilt_in_its_way(self, kind: str, answer: bytes) -> bytes:
        if kind == "flipped":
            at = self._random.randrange(1, len(answer) - 1)
            return answer[:at] + bytes((answer[at] ^ 1 << self._random.randrange(7),)) + answer[at + 1 :]
        if kind == "stranger":
            return self._speech.answer(STRANGER, self._number)
        assert not isinstance(self._speech, Anonymous)
        return self._speech.refusal(answer)


class TextOwner(Owner):
    _exchange: TextExchange
    _line: TextLine

    def __init__(self, exchange: TextExchange, speech: Speech, random_: random.Random) -> None:
        super().__init__(exchange, TextLine(speech, random_), TIMEOUT_S, random_)
        self._speech = speech
        self._number = 0

    def _start(self, ready: list[int]) -> Callable[[bytes], bool]:
        self._number = number = self._number + 1
        self._exchange.start(self._speech.command(self._random.choice(ready), self._random.choice(("00", "01"))))
        return lambda image: struct.unpack(">d", image)[0] == number

    def _due(self) -> object:
        """Transmit, or judge the silence."""
        exchange = self._exchange
        if not exchange.waiting:
            return exchange.silence(self._now)
        unit = exchange.asked.unit
        self._line.ask(unit, exchange.transmit(self._now), self._number, self._now)
        return None


class Careless(TextExchange):
    """The twin: what came before a question is transmitted stays in the buffer."""

    def _discard(self) -> None:
        pass


def run(exchange: TextExchange, speech: Speech, questions: int, seed: int) -> Counter[str]:
    return TextOwner(exchange, speech, random.Random(seed)).run(questions)
