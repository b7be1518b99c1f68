"""A late RTU answer is never another register's value.

A few slow units share a line. They answer in time, late, never, twice, in pieces, merged with the next answer, spoilt:
while nobody is asked, while another unit is, or (if they could) while they are asked something else themselves.
"""

import asyncio
import os
import random
import tty
from collections import Counter
from contextlib import contextmanager

import pytest

from drivers.errors import DeviceError, NoAnswer
from drivers.modbus.rtu_exchange import RtuExchange
from drivers.session import Session
from firmware_tests.virtual_line import BAUD, LATE_S, Careless, answer_to, data_of, random_request, run
from firmware_tests.virtual_time import UNITS


def test_10000_mixed_timings_give_no_wrong_value():
    exchange = RtuExchange(BAUD, LATE_S)
    seen = run(exchange, 10_000, seed=1)
    assert seen["wrong"] == 0
    assert seen["right"] + seen["expired"] + seen["failed"] == 10_000
    # the mixture was what it says
    assert seen["right"] > 3000
    assert exchange.late > 2000
    assert min(seen["late"], seen["twice"], seen["never"]) > 300
    spoilt = ("echo", "noise", "flipped", "cut", "stranger", "function", "short", "exception")
    assert min(seen[kind] for kind in spoilt) > 100


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
