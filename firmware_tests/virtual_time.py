"""A line without transaction ids in virtual time: slow and faulty units, and an owner that judges every answer.

Few units, few lengths: answers to different questions look alike. Each answer comes in time, late, next to the
deadline, never or twice, in one piece or byte by byte, and every fifth one is spoilt as well.
"""

import heapq
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drivers.errors import DeviceError

UNITS = (1, 2, 3)
#: Somebody else's number on the same wire.
STRANGER = 9


@dataclass(frozen=True)
class Pace:
    """Of a line and its units, in seconds."""

    character_s: float
    timeout_s: float
    in_time_s: tuple[float, float]
    latest_s: float  #: the owner did not promise to wait for what comes later

    def delay(self, random_: random.Random) -> float | None:
        """From the end of the question to the begin of its answer; None: there is none."""
        kind = random_.random()
        if kind < 0.45:
            return random_.uniform(*self.in_time_s)
        if kind < 0.55:  # next to the deadline, on either side
            return random_.uniform(0.9 * self.timeout_s, 1.1 * self.timeout_s)
        return random_.uniform(self.timeout_s, self.latest_s) if kind < 0.95 else None


class VirtualLine(ABC):
    """The wire and the units on it: questions in, bytes out, each with the time it is delivered."""

    faults: tuple[str, ...]

    def __init__(self, pace: Pace, random_: random.Random) -> None:
        self.deliveries: list[tuple[float, int, bytes]] = []
        self.sent = Counter[str]()
        self._pace = pace
        self._random = random_
        self._order = 0

    def carry(self, question: bytes, answer: bytes, now: float) -> None:
        """`question` is transmitted `now`; `answer` is what its unit makes of it, sooner or later."""
        delay = self._pace.delay(self._random)
        if delay is None:
            self.sent["never"] += 1
            return
        if self._random.random() < 0.1:
            self.sent["twice"] += 1
            answer += answer  # a repeater: directly behind
        elif self._random.random() < 0.2:
            kind = self._random.choice(self.faults)
            self.sent[kind] += 1
            answer = self._spoilt(kind, question, answer)
        character_s = self._pace.character_s
        begin = now + len(question) * character_s + delay
        self.sent["late" if delay > self._pace.timeout_s else "in time"] += 1
        if self._random.random() < 0.5:
            self._deliver(begin + len(answer) * character_s + self._random.uniform(0, 0.016), answer)
            return
        for i, octet in enumerate(answer):  # an on-chip UART: byte by byte
            self._deliver(begin + (i + 1) * character_s, bytes((octet,)))

    def take(self, until: float) -> bytes:
        """What the port holds at `until`."""
        held = b""
        while self.deliveries and self.deliveries[0][0] <= until:
            held += heapq.heappop(self.deliveries)[2]
        return held

    def _spoilt(self, kind: str, question: bytes, answer: bytes) -> bytes:
        """What is carried instead of `answer` by a line or a unit with this fault."""
        if kind == "echo":
            return question + answer
        if kind == "noise":
            return self._random.randbytes(self._random.randrange(1, 40)) + answer
        if kind == "cut":
            return answer[: self._random.randrange(1, len(answer))]
        return self._spoilt_in_its_way(kind, answer)

    @abstractmethod
    def _spoilt_in_its_way(self, kind: str, answer: bytes) -> bytes:
        """The faults that need to know the protocol."""

    def _deliver(self, at: float, data: bytes) -> None:
        self._order += 1
        heapq.heappush(self.deliveries, (at, self._order, data))


class Owner(ABC):
    """Asks one question after the other in virtual time and judges every answer."""

    def __init__(self, exchange: Any, line: VirtualLine, timeout_s: float, random_: random.Random) -> None:
        self.outcomes = Counter[str]()
        self._exchange = exchange
        self._line = line
        self._timeout_s = timeout_s
        self._random = random_
        self._now = 0.0

    def run(self, questions: int) -> Counter[str]:
        """What came of them: right, wrong, failed, expired; and what the units sent."""
        for _ in range(questions):
            self._one()
        return self.outcomes + self._line.sent

    @abstractmethod
    def _start(self, ready: list[int]) -> Callable[[bytes], bool]:
        """Give the exchange a question to one of these units; what tells whether an answer is right."""

    @abstractmethod
    def _due(self) -> object:
        """Do what the exchange wants done now; its outcome."""

    def _resting(self) -> bool:
        """Whether bytes stay in the port for now."""
        return False

    def _one(self) -> None:
        exchange = self._exchange
        while not (ready := [unit for unit in UNITS if exchange.ready_at(unit) <= self._now]):
            self._until(min(exchange.ready_at(unit) for unit in UNITS))
        is_right = self._start(ready)
        outcome = self._until(self._now + self._timeout_s + 0.05)
        if outcome is None:
            exchange.expire(self._now)
            self.outcomes["expired"] += 1
        elif isinstance(outcome, DeviceError):
            self.outcomes["failed"] += 1
        else:
            self.outcomes["right" if is_right(outcome) else "wrong"] += 1
        if self._random.random() < 0.3:
            self._until(self._now + self._random.uniform(0, 0.2))

    def _until(self, end: float) -> Any:
        """Turn the clock to `end`, or to the outcome of the question in flight."""
        exchange, line = self._exchange, self._line
        asking = exchange.asked is not None
        while True:
            due = exchange.next_at()
            arrives = line.deliveries[0][0] if line.deliveries and not self._resting() else end
            if min(arrives, end if due is None else due) >= end:
                self._now = max(self._now, end)
                return None
            if due is not None and due < arrives:
                self._now = max(self._now, due)
                outcome = self._due()
            else:
                self._now = max(self._now, arrives)
                outcome = exchange.received(line.take(self._now), self._now)
            if asking and outcome is not None:
                return outcome
