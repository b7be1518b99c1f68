"""A late answer of a text protocol is never the answer to another question, not even to the same one asked again."""

import asyncio
import os
import random
import struct
import tty
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest

from drivers.errors import NoAnswer
from drivers.profile import load_profile
from drivers.session import Session
from drivers.text.exchange import TextExchange
from firmware_tests.virtual_text_line import (
    CHARACTER_S,
    GAP_S,
    LATE_S,
    TIMEOUT_S,
    Anonymous,
    Careless,
    Ydt,
    run,
)
from firmware_tests.virtual_time import UNITS

SPEECHES = {"YD/T 1363.3": Ydt(), "answers that name nobody": Anonymous()}
each_speech = pytest.mark.parametrize("speech", SPEECHES.values(), ids=SPEECHES)


def a_line(kind=TextExchange, *, late_s=LATE_S):
    return kind(gap_s=GAP_S, timeout_s=TIMEOUT_S, late_s=late_s, character_s=CHARACTER_S)


@each_speech
def test_5000_mixed_timings_give_no_wrong_value(speech):
    exchange = a_line()
    seen = run(exchange, speech, 5_000, seed=1)
    assert seen["wrong"] == 0
    assert seen["right"] + seen["expired"] + seen["failed"] == 5_000
    # the mixture was what it says
    assert seen["right"] > 1500
    assert exchange.late > 800
    assert min(seen["late"], seen["twice"], seen["never"]) > 150
    assert min(seen[kind] for kind in speech.faults) > 50


@each_speech
@pytest.mark.parametrize("kind", [TextExchange, Careless])
def test_without_the_quarantine_the_same_timings_give_wrong_values(speech, kind):
    assert run(a_line(kind, late_s=0.0), speech, 2_000, seed=1)["wrong"] > 0


def test_without_the_quarantine_of_the_whole_line_answers_that_name_nobody_give_wrong_values():
    class OnlyTheUnit(TextExchange):
        def ready_at(self, unit):
            return max((end for each, (end, _) in self._overdue.items() if each == unit), default=0.0)

    assert run(a_line(OnlyTheUnit), Anonymous(), 2_000, seed=1)["wrong"] > 0


class Trusting(Ydt):
    """The twin: the number is taken from where it should stand, whatever the checksums say."""

    def command(self, unit, name):
        def read(frame):
            said = frame[13:21]
            return struct.pack(">d", int(said, 16) if said and set(said) <= {*b"0123456789ABCDEF"} else -1)

        return replace(super().command(unit, name), read=read)


def test_without_the_checksums_noise_on_the_line_gives_wrong_values():
    assert run(a_line(), Trusting(), 2_000, seed=1)["wrong"] > 0


@contextmanager
def slow_units(speech, random_, delays):
    """A pseudo-terminal with units that answer each after its own time, in two pieces; yields port and questions."""
    loop = asyncio.get_running_loop()
    master, slave = os.openpty()
    tty.setraw(slave)
    questions = []

    def readable():
        for question in os.read(master, 512).split(b"\r")[:-1]:
            questions.append(question)
            delay, answer = random_.choice(delays), speech.answer(int(question[3:5]), len(questions))
            cut = random_.randrange(len(answer))
            echo = question + b"\r" if random_.random() < 0.2 else b""
            loop.call_later(delay, os.write, master, echo + answer[:cut])
            loop.call_later(delay + random_.choice((0, 0.002)), os.write, master, answer[cut:])

    loop.add_reader(master, readable)
    try:
        yield os.ttyname(slave), questions
    finally:
        loop.remove_reader(master)
        os.close(slave)
        # answers that are still to be written find a descriptor that nobody reads
        loop.call_later(0.2, os.close, master)


async def values_read(late_s, timings):
    """Read through a real port with a short deadline, up to the first wrong value; what came of it."""
    random_, speech, seen = random.Random(3), Ydt(), Counter()
    profile = load_profile("generic/ydn23_ac_panel")
    eager = profile.model_copy(update={"limits": profile.limits.model_copy(update={"gap_s": 0.001})})
    with slow_units(speech, random_, [0.0, 0.002, 0.01, 0.03, 0.05, 0.07]) as (path, questions):
        url = f"serial://{path}?baud=115200"
        async with await Session.open(url, timeout_s=0.02, late_s=late_s, profile=eager) as session:
            for _ in range(timings):
                try:
                    data = await session.read(speech.command(random_.choice(UNITS), random_.choice(("00", "01"))))
                except NoAnswer:
                    seen["expired"] += 1
                    continue
                right = struct.unpack(">d", data)[0] == len(questions)
                seen["right" if right else "wrong"] += 1
                if not right:
                    break
            seen["late"] = session.late
        await asyncio.sleep(0.3)  # the pseudo-terminal is closed by now
    return seen


def test_60_timings_on_a_real_port_give_no_wrong_value():
    seen = asyncio.run(values_read(late_s=0.3, timings=60))
    assert seen["wrong"] == 0
    assert seen["right"] > 10
    assert seen["late"] > 6


def test_without_the_quarantine_a_real_port_gives_wrong_values():
    assert asyncio.run(values_read(late_s=0.0, timings=300))["wrong"] > 0
