"""A late RTU answer is never another register's value.

A few slow units share a line. They answer in time, late, never, twice, in pieces, merged with the next answer: while
nobody is asked, while another unit is, or (if they could) while they are asked something else themselves.
"""

import asyncio
import heapq
import os
import random
import struct
import tty
from collections import Counter
from contextlib import contextmanager

import pytest

from drivers.base import Request
from drivers.errors import DeviceError, NoAnswer
from drivers.modbus.rtu import crc16
from drivers.modbus.rtu_exchange import RtuExchange
from drivers.session import Session

UNITS = (1, 2, 3)
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
    """Few lengths, so that answers to different requests look alike."""
    return Request(random_.choice(units), 3, random_.randrange(4000), random_.choice((1, 2, 2, 10)))


def random_delay(random_: random.Random) -> float | None:
    """From the end of the question to the begin of its answer; None: there is none."""
    kind = random_.random()
    if kind < 0.45:
        return random_.uniform(0.003, 0.9 * TIMEOUT_S)
    if kind < 0.55:
        return random_.uniform(0.9 * TIMEOUT_S, 1.1 * TIMEOUT_S)  # next to the deadline, on either side
    return random_.uniform(TIMEOUT_S, LATEST_S - 0.02) if kind < 0.95 else None


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
        begin = now + len(frame) * CHARACTER_S + delay
        self.sent["late" if delay > TIMEOUT_S else "in time"] += 1
        if self._random.random() < 0.5:
            self._deliver(begin + len(answer) * CHARACTER_S + self._random.uniform(0, 0.016), answer)
            return
        for i, byte in enumerate(answer):  # an on-chip UART: byte by byte
            self._deliver(begin + (i + 1) * CHARACTER_S, bytes((byte,)))

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
        exchange, deliveries = self._exchange, self._line.deliveries
        asking = exchange.asked is not None
        while True:
            due = exchange.next_at()
            arrives = deliveries[0][0] if deliveries else end
            if min(arrives, end if due is None else due) >= end:
                self._now = max(self._now, end)
                return None
            outcome = None
            if due is not None and due < arrives:
                self._now = max(self._now, due)
                if exchange.waiting:
                    self._line.ask(exchange.transmit(self._now), self._now)
                else:
                    outcome = exchange.silence(self._now)
            else:
                self._now = max(self._now, arrives)
                outcome = exchange.received(heapq.heappop(deliveries)[2], self._now)
            if asking and outcome is not None:
                return outcome


class Careless(RtuExchange):
    """The twin: what came before a request is transmitted stays in the buffer."""

    def __init__(self, baud: int, late_s: float) -> None:
        super().__init__(baud, late_s)
        self._receiver.begin = lambda question: None  # type: ignore[method-assign]

    def _discard(self) -> None:
        pass


def run(exchange: RtuExchange, transactions: int, seed: int) -> Counter[str]:
    return Owner(exchange, random.Random(seed)).run(transactions)


def test_10000_mixed_timings_give_no_wrong_value():
    exchange = RtuExchange(BAUD, LATE_S)
    seen = run(exchange, 10_000, seed=1)
    assert seen["wrong"] == 0
    assert seen["right"] + seen["expired"] + seen["failed"] == 10_000
    # the mixture was what it says
    assert seen["right"] > 3000
    assert exchange.late > 2000
    assert min(seen["late"], seen["twice"], seen["never"]) > 300


@pytest.mark.parametrize(
    "exchange",
    [Careless(BAUD, late_s=0.0), RtuExchange(BAUD, late_s=0.0)],
    ids=["no quarantine and no flush", "no quarantine"],
)
def test_without_the_protection_the_same_timings_give_wrong_values(exchange):
    assert run(exchange, 2_000, seed=1)["wrong"] > 0


@contextmanager
def slow_units(random_: random.Random, delays: list[float]):
    """A pseudo-terminal with units that answer each after its own time; yields the port."""
    loop = asyncio.get_running_loop()
    master, slave = os.openpty()
    tty.setraw(slave)

    def readable() -> None:
        data = os.read(master, 512)
        for i in range(0, len(data) - 7, 8):
            delay = random_.choice(delays)
            answer = answer_to(data[i : i + 8])
            cut = random_.randrange(len(answer))
            loop.call_later(delay, os.write, master, answer[:cut])
            loop.call_later(delay + random_.choice((0, 0.002)), os.write, master, answer[cut:])

    loop.add_reader(master, readable)
    try:
        yield os.ttyname(slave)
    finally:
        loop.remove_reader(master)
        os.close(slave)
        # answers that are still to be written find a descriptor that nobody reads
        loop.call_later(0.2, os.close, master)


async def values_read(late_s: float, timings: int) -> Counter[str]:
    """Read through a real port with a short deadline, up to the first wrong value; what came of it."""
    random_ = random.Random(3)
    timeout_s = 0.02
    seen = Counter[str]()
    with slow_units(random_, [0.0, 0.002, 0.01, 0.03, 0.05, 0.07]) as path:
        url = f"serial://{path}?baud=115200"
        async with await Session.open(url, timeout_s=timeout_s, late_s=late_s) as session:
            for _ in range(timings):
                request = random_request(random_, list(UNITS))
                try:
                    data = await session.read(request)
                except NoAnswer:
                    seen["expired"] += 1
                    continue
                except DeviceError:
                    seen["failed"] += 1
                    continue
                right = data == data_of(request.unit, request.address, request.count)
                seen["right" if right else "wrong"] += 1
                if not right:
                    break
            seen["late"] = session.late
        await asyncio.sleep(0.3)  # the pseudo-terminal is closed by now
    return seen


def test_200_timings_on_a_real_port_give_no_wrong_value():
    seen = asyncio.run(values_read(late_s=0.4, timings=200))
    assert seen["wrong"] == 0
    assert seen["right"] > 30
    assert seen["late"] > 20


def test_without_the_quarantine_a_real_port_gives_wrong_values():
    assert asyncio.run(values_read(late_s=0.0, timings=300))["wrong"] > 0
