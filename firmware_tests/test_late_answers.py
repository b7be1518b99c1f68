"""A late RTU answer is never another register's value.

A few slow units share a line. They answer in time, late, never, twice, in pieces, merged with the next answer, spoilt:
while nobody is asked, while another unit is, or (if they could) while they are asked something else themselves.
"""

import asyncio
from collections import Counter

import pytest

from drivers.base import Request
from drivers.modbus.rtu_exchange import RtuExchange
from firmware_tests.slow_port import values_read
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


def answers(data: bytes) -> list[bytes]:
    return [answer_to(data[i : i + 8]) for i in range(0, len(data) - 7, 8)]


def values_read_by(late_s: float, timings: int) -> Counter[str]:
    def is_right(asked: Request, data: bytes) -> bool:
        return data == data_of(asked.unit, asked.address, asked.count)

    return asyncio.run(
        values_read(answers, lambda random_: random_request(random_, list(UNITS)), is_right, timings, late_s)
    )


def test_200_timings_on_a_real_port_give_no_wrong_value():
    seen = values_read_by(late_s=0.4, timings=200)
    assert seen["wrong"] == 0
    assert seen["right"] > 30
    assert seen["late"] > 20


def test_without_the_quarantine_a_real_port_gives_wrong_values():
    assert values_read_by(late_s=0.0, timings=300)["wrong"] > 0
