"""An RTU line in virtual time, and an owner that compares every value with the register's."""

import random
import struct
from collections import Counter
from collections.abc import Callable

from drivers.base import Request
from drivers.modbus.rtu import crc16, seal
from drivers.modbus.rtu_exchange import RtuExchange
from firmware_tests.virtual_time import STRANGER, Owner, Pace, VirtualLine

BAUD = 19_200
TIMEOUT_S = 0.3
LATE_S = 0.6
PACE = Pace(11 / BAUD, TIMEOUT_S, in_time_s=(0.003, 0.9 * TIMEOUT_S), latest_s=TIMEOUT_S + LATE_S - 0.02)


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


class RtuLine(VirtualLine):
    faults = ("echo", "noise", "flipped", "cut", "stranger", "function", "short", "exception")

    def _spoilt_in_its_way(self, kind: str, answer: bytes) -> bytes:
        unit, function = answer[0], answer[1]
        if kind == "flipped":  # as many bits as the checksum is sure to find
            bits = sum(1 << bit for bit in self._random.sample(range(8 * len(answer)), self._random.randrange(1, 4)))
            return (int.from_bytes(answer, "big") ^ bits).to_bytes(len(answer), "big")
        if kind == "stranger":
            return seal(STRANGER, answer[1:-2])
        if kind == "function":
            return seal(unit, b"\x65\x01\x02")
        if kind == "short":  # one register too few, well formed
            return seal(unit, bytes((function, answer[2] - 2)) + answer[3:-4])
        return seal(unit, bytes((function | 0x80, self._random.choice((2, 4, 6)))))


class RtuOwner(Owner):
    _exchange: RtuExchange

    def _start(self, ready: list[int]) -> Callable[[bytes], bool]:
        request = random_request(self._random, ready)
        self._exchange.start(request)
        return lambda data: data == data_of(request.unit, request.address, request.count)

    def _resting(self) -> bool:
        return self._exchange.waiting or self._exchange.look_at is not None

    def _due(self) -> object:
        """Transmit, look or judge the silence."""
        exchange = self._exchange
        if not self._resting():
            return exchange.silence(self._now)
        if held := self._line.take(self._now):
            return exchange.received(held, self._now)
        if exchange.waiting:
            question = exchange.transmit(self._now)
            self._line.carry(question, answer_to(question), self._now)
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
    random_ = random.Random(seed)
    return RtuOwner(exchange, RtuLine(PACE, random_), TIMEOUT_S, random_).run(transactions)
