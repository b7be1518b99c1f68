"""A line with slow and faulty units in virtual time, and an owner that compares every value with the register's.

Few units, few lengths: answers to different requests look alike. Each answer comes in time, late, next to the
deadline, never or twice, in one piece or byte by byte, and every fifth one is spoilt as well.
"""

import heapq
import random
import struct
from collections import Counter

from drivers.base import Request
from drivers.errors import DeviceError
from drivers.modbus.rtu import crc16, seal
from drivers.modbus.rtu_exchange import RtuExchange

UNITS = (1, 2, 3)
#: Somebody else's number on the same wire.
STRANGER = 9
BAUD = 19_200
CHARACTER_S = 11 / BAUD
TIMEOUT_S = 0.3
LATE_S = 0.6
#: An answer later than this is beyond what the owner promised to wait for.
LATEST_S = TIMEOUT_S + LATE_S


def data_of(unit: int, address: int, count: int) -> bytes:
    """What a unit holds: no two registers of the line are alike."""
    return struct.pack(f">{count}H", *(unit << 12 | (address + i) for i in range(count)))


def answer_to(frame: bytes) -> bytes:
    unit, function, address, count = struct.unpack(">BBHH", frame[:6])
    data = data_of(unit, address, count)
    body = bytes((unit, function, len(data))) + data
    return body + struct.pack("<H", crc16(body))


def random_request(random_: random.Random, units: list[int]) -> Request:
    return Request(random_.choice(units), 3, random_.randrange(4000), random_.choice((1, 2, 2, 10)))


def random_delay(random_: random.Random) -> float | None:
    """From the end of the question to the begin of its answer; None: there is none."""
    kind = random_.random()
    if kind < 0.45:
        return random_.uniform(0.003, 0.9 * TIMEOUT_S)
    if kind < 0.55:
        return random_.uniform(0.9 * TIMEOUT_S, 1.1 * TIMEOUT_S)  # next to the deadline, on either side
    return random_.uniform(TIMEOUT_S, LATEST_S - 0.02) if kind < 0.95 else None


def spoilt(question: bytes, answer: bytes, random_: random.Random) -> tuple[str, bytes]:
    """One of the faults of a line or a unit: its name and what is carried instead of `answer`."""
    unit, function = question[0], question[1]
    kind = random_.choice(("echo", "noise", "flipped", "cut", "stranger", "function", "short", "exception"))
    if kind == "echo":
        return kind, question + answer
    if kind == "noise":
        return kind, random_.randbytes(random_.randrange(1, 40)) + answer
    if kind == "flipped":  # as many bits as the checksum is sure to find
        bits = sum(1 << bit for bit in random_.sample(range(8 * len(answer)), random_.randrange(1, 4)))
        return kind, (int.from_bytes(answer, "big") ^ bits).to_bytes(len(answer), "big")
    if kind == "cut":
        return kind, answer[: random_.randrange(1, len(answer))]
    if kind == "stranger":
        return kind, seal(STRANGER, answer[1:-2])
    if kind == "function":
        return kind, seal(unit, b"\x65\x01\x02")
    if kind == "short":  # one register too few, well formed
        return kind, seal(unit, bytes((function, answer[2] - 2)) + answer[3:-4])
    return kind, seal(unit, bytes((function | 0x80, random_.choice((2, 4, 6)))))


class VirtualLine:
    """The wire and the units on it: questions in, bytes out, each with the time it is delivered."""

    def __init__(self, random_: random.Random) -> None:
        self.deliveries: list[tuple[float, int, bytes]] = []
        self.sent = Counter[str]()
        self._random = random_
        self._order = 0

    def ask(self, frame: bytes, now: float) -> None:
        delay = random_delay(self._random)
        if delay is None:
            self.sent["never"] += 1
            return
        answer = answer_to(frame)
        if self._random.random() < 0.1:
            self.sent["twice"] += 1
            answer += answer  # a repeater: directly behind
        elif self._random.random() < 0.2:
            kind, answer = spoilt(frame, answer, self._random)
            self.sent[kind] += 1
        begin = now + len(frame) * CHARACTER_S + delay
        self.sent["late" if delay > TIMEOUT_S else "in time"] += 1
        if self._random.random() < 0.5:
            self._deliver(begin + len(answer) * CHARACTER_S + self._random.uniform(0, 0.016), answer)
            return
        for i, byte in enumerate(answer):  # an on-chip UART: byte by byte
            self._deliver(begin + (i + 1) * CHARACTER_S, bytes((byte,)))

    def take(self, until: float) -> bytes:
        """What the port holds at `until`."""
        held = b""
        while self.deliveries and self.deliveries[0][0] <= until:
            held += heapq.heappop(self.deliveries)[2]
        return held

    def _deliver(self, at: float, data: bytes) -> None:
        self._order += 1
        heapq.heappush(self.deliveries, (at, self._order, data))


class Owner:
    """Asks one request after the other in virtual time and compares every answer with what the register holds."""

    def __init__(self, exchange: RtuExchange, random_: random.Random) -> None:
        self.outcomes = Counter[str]()
        self._exchange = exchange
        self._random = random_
        self._line = VirtualLine(random_)
        self._now = 0.0

    def run(self, transactions: int) -> Counter[str]:
        """What came of them: right, wrong, failed, expired; and what the units sent."""
        for _ in range(transactions):
            self._one()
        return self.outcomes + self._line.sent

    def _one(self) -> None:
        exchange = self._exchange
        while not (ready := [unit for unit in UNITS if exchange.ready_at(unit) <= self._now]):
            self._until(min(exchange.ready_at(unit) for unit in UNITS))
        request = random_request(self._random, ready)
        exchange.start(request)
        outcome = self._until(self._now + TIMEOUT_S + 0.05)
        if outcome is None:
            exchange.expire(self._now)
            self.outcomes["expired"] += 1
        elif isinstance(outcome, DeviceError):
            self.outcomes["failed"] += 1
        else:
            right = outcome == data_of(request.unit, request.address, request.count)
            self.outcomes["right" if right else "wrong"] += 1
        if self._random.random() < 0.3:
            self._until(self._now + self._random.uniform(0, 0.2))

    def _until(self, end: float) -> object:
        """Turn the clock to `end`, or to the outcome of the request in flight."""
        exchange, line = self._exchange, self._line
        asking = exchange.asked is not None
        while True:
            due = exchange.next_at()
            resting = exchange.waiting or exchange.look_at is not None  # as the link does: bytes stay in the port
            arrives = line.deliveries[0][0] if line.deliveries and not resting else end
            if min(arrives, end if due is None else due) >= end:
                self._now = max(self._now, end)
                return None
            outcome = self._due(due) if due is not None and due < arrives else self._arrived(arrives)
            if asking and outcome is not None:
                return outcome

    def _arrived(self, at: float) -> object:
        self._now = max(self._now, at)
        return self._exchange.received(self._line.take(self._now), self._now)

    def _due(self, at: float) -> object:
        """Transmit, look or judge the silence."""
        exchange, self._now = self._exchange, max(self._now, at)
        if not exchange.waiting and exchange.look_at is None:
            return exchange.silence(self._now)
        if held := self._line.take(self._now):
            return exchange.received(held, self._now)
        if exchange.waiting:
            self._line.ask(exchange.transmit(self._now), self._now)
        else:
            exchange.looked()
        return None


class Careless(RtuExchange):
    """The twin: what came before a request is transmitted stays in the buffer."""

    def __init__(self, baud: int, late_s: float) -> None:
        super().__init__(baud, late_s)
        self._receiver.begin = lambda question: None  # type: ignore[method-assign]

    def _discard(self) -> None:
        pass


def run(exchange: RtuExchange, transactions: int, seed: int) -> Counter[str]:
    return Owner(exchange, random.Random(seed)).run(transactions)
