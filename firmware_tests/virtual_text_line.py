"""A line with a text protocol in virtual time, and an owner that knows which question each answer belongs to.

Every question gets a number, and the number is what its answer says: an answer that is taken for another question's,
also for a later one of the same words to the same unit, is a wrong value.
"""

import heapq
import random
import struct
from collections import Counter
from dataclasses import dataclass

from drivers.errors import BadFrame, DeviceError, OtherUnit, Refused
from drivers.text.command import Command
from drivers.text.exchange import TextExchange
from drivers.text.framing import Delimited
from drivers.ydt1363.frame import MAX_FRAME, Frame, ask, seal, unseal

UNITS = (1, 2, 3)
#: Somebody else's number on the same wire.
STRANGER = 9
CHARACTER_S = 10 / 9600
GAP_S = 0.02
TIMEOUT_S = 0.5
LATE_S = 1.0
#: An answer later than this is beyond what the owner promised to wait for.
LATEST_S = TIMEOUT_S + LATE_S


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


class VirtualLine:
    """The wire and the units on it: questions in, bytes out, each with the time it is delivered."""

    def __init__(self, speech: Ydt | Anonymous, random_: random.Random) -> None:
        self.deliveries: list[tuple[float, int, bytes]] = []
        self.sent = Counter[str]()
        self._speech = speech
        self._random = random_
        self._order = 0

    def ask(self, unit: int, question: bytes, number: int, now: float) -> None:
        delay = self._delay()
        if delay is None:
            self.sent["never"] += 1
            return
        answer = self._speech.answer(unit, number)
        if self._random.random() < 0.1:
            self.sent["twice"] += 1
            answer += answer  # a repeater: directly behind
        elif self._random.random() < 0.2:
            kind = self._random.choice(self._speech.faults)
            self.sent[kind] += 1
            answer = self._spoilt(kind, question, answer, number)
        self.sent["late" if delay > TIMEOUT_S else "in time"] += 1
        begin = now + len(question) * CHARACTER_S + delay
        if self._random.random() < 0.5:
            self._deliver(begin + len(answer) * CHARACTER_S + self._random.uniform(0, 0.016), answer)
            return
        for i, octet in enumerate(answer):
            self._deliver(begin + (i + 1) * CHARACTER_S, bytes((octet,)))

    def _delay(self) -> float | None:
        """From the end of the question to the begin of its answer; None: there is none."""
        kind = self._random.random()
        if kind < 0.45:
            return self._random.uniform(0.01, 0.8 * TIMEOUT_S)
        if kind < 0.55:
            return self._random.uniform(0.9 * TIMEOUT_S, 1.1 * TIMEOUT_S)  # next to the deadline, on either side
        return self._random.uniform(TIMEOUT_S, LATEST_S - 0.1) if kind < 0.95 else None

    def _spoilt(self, kind: str, question: bytes, answer: bytes, number: int) -> bytes:
        if kind == "echo":
            return question + answer
        if kind == "noise":
            return self._random.randbytes(self._random.randrange(1, 40)) + answer
        if kind == "flipped":
            at = self._random.randrange(1, len(answer) - 1)
            return answer[:at] + bytes((answer[at] ^ 1 << self._random.randrange(7),)) + answer[at + 1 :]
        if kind == "cut":
            return answer[: self._random.randrange(1, len(answer))]
        if kind == "stranger":
            return self._speech.answer(STRANGER, number)
        return seal(Frame(0x20, unseal(answer).address, 0x40, 0x06))

    def _deliver(self, at: float, data: bytes) -> None:
        self._order += 1
        heapq.heappush(self.deliveries, (at, self._order, data))


class Owner:
    """Asks one question after the other in virtual time and compares every answer with the number of its question."""

    def __init__(self, exchange: TextExchange, speech: Ydt | Anonymous, random_: random.Random) -> None:
        self.outcomes = Counter[str]()
        self._exchange = exchange
        self._speech = speech
        self._random = random_
        self._line = VirtualLine(speech, random_)
        self._number = 0
        self._now = 0.0

    def run(self, questions: int) -> Counter[str]:
        """What came of them: right, wrong, failed, expired; and what the units sent."""
        for _ in range(questions):
            self._one()
        return self.outcomes + self._line.sent

    def _one(self) -> None:
        exchange = self._exchange
        while not (ready := [unit for unit in UNITS if exchange.ready_at(unit) <= self._now]):
            self._until(min(exchange.ready_at(unit) for unit in UNITS))
        self._number += 1
        exchange.start(self._speech.command(self._random.choice(ready), self._random.choice(("00", "01"))))
        outcome = self._until(self._now + TIMEOUT_S + 0.05)
        if outcome is None:
            exchange.expire(self._now)
            self.outcomes["expired"] += 1
        elif isinstance(outcome, DeviceError):
            self.outcomes["failed"] += 1
        else:
            right = struct.unpack(">d", outcome)[0] == self._number
            self.outcomes["right" if right else "wrong"] += 1
        if self._random.random() < 0.3:
            self._until(self._now + self._random.uniform(0, 0.2))

    def _until(self, end: float) -> object:
        """Turn the clock to `end`, or to the outcome of the question in flight."""
        exchange, line = self._exchange, self._line
        asking = exchange.asked is not None
        while True:
            due = exchange.next_at()
            arrives = line.deliveries[0][0] if line.deliveries else end
            if min(arrives, end if due is None else due) >= end:
                self._now = max(self._now, end)
                return None
            outcome = self._due(due) if due is not None and due < arrives else self._arrived(arrives)
            if asking and outcome is not None:
                return outcome

    def _arrived(self, at: float) -> object:
        self._now = max(self._now, at)
        return self._exchange.received(heapq.heappop(self._line.deliveries)[2], self._now)

    def _due(self, at: float) -> object:
        """Transmit, or judge the silence."""
        exchange, self._now = self._exchange, max(self._now, at)
        if not exchange.waiting:
            return exchange.silence(self._now)
        unit = exchange.asked.unit
        self._line.ask(unit, exchange.transmit(self._now), self._number, self._now)
        return None


class Careless(TextExchange):
    """The twin: what came before a question is transmitted stays in the buffer."""

    def _discard(self) -> None:
        pass


def run(exchange: TextExchange, speech: Ydt | Anonymous, questions: int, seed: int) -> Counter[str]:
    return Owner(exchange, speech, random.Random(seed)).run(questions)
