"""A late answer of a text protocol is never the answer to another question, not even to the same one asked again."""

import asyncio
import random
import struct
from dataclasses import replace

import pytest

from drivers.profile import load_profile
from drivers.text.exchange import TextExchange
from firmware_tests.slow_port import values_read
from firmware_tests.virtual_text_line import (
    CHARACTER_S,
    GAP_S,
    LATE_S,
    TIMEOUT_S,
    Anonymous,
    Careless,
    ModbusAscii,
    Ydt,
    run,
)
from firmware_tests.virtual_time import UNITS

SPEECHES = {"YD/T 1363.3": Ydt(), "Modbus ASCII": ModbusAscii(), "answers that name nobody": Anonymous()}
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


def values_read_by(late_s, timings):
    """The value tells which question was answered: right is only the newest."""
    echo, speech, questions = random.Random(4), Ydt(), []
    profile = load_profile("generic/ydn23_ac_panel")
    eager = profile.model_copy(update={"limits": profile.limits.model_copy(update={"gap_s": 0.001})})

    def answers(data):
        for question in data.split(b"\r")[:-1]:
            questions.append(question)
            heard_of_us = question + b"\r" if echo.random() < 0.2 else b""
            yield heard_of_us + speech.answer(int(question[3:5]), len(questions))

    def question(random_):
        return speech.command(random_.choice(UNITS), random_.choice(("00", "01")))

    def is_right(asked, data):
        return struct.unpack(">d", data)[0] == len(questions)

    return asyncio.run(values_read(answers, question, is_right, timings, late_s, profile=eager))


def test_60_timings_on_a_real_port_give_no_wrong_value():
    seen = values_read_by(late_s=0.3, timings=60)
    assert seen["wrong"] == 0
    assert seen["right"] > 10
    assert seen["late"] > 6


def test_without_the_quarantine_a_real_port_gives_wrong_values():
    assert values_read_by(late_s=0.0, timings=300)["wrong"] > 0
