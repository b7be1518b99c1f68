"""What a simulated line with a text protocol takes for a question."""

import asyncio

import pytest

from drivers.profile import load_profile
from drivers.simulators.bus_text import TextBus
from drivers.simulators.hall import HallModel
from drivers.simulators.showing import seat_for
from drivers.simulators.text_device import TextDevice


def said(*heard):
    """What a UPS that knows Q1, F and I says when it hears these pieces, silence after each."""

    async def scenario():
        profile, hall = load_profile("megatec/q1"), HallModel(7)
        device = TextDevice(profile, seat_for(profile, "ups", "it", None, hall), hall)
        sent = []
        bus = TextBus({1: device.unit}, sent.append, lambda: None)
        for piece in heard:
            held = bytearray(piece)
            while bus.take(held, silent=False):
                pass
            while held and bus.take(held, silent=True):
                pass
        await asyncio.sleep(0.01)
        bus.close()
        return b"".join(sent)

    return asyncio.run(scenario())


@pytest.mark.parametrize("noise", [b"", b"\0\xff", b"\r", b"garbage\r", b"Q1"[:1] + b"\r"])
def test_a_question_is_answered_behind_any_noise(noise):
    assert said(noise + b"F\r").startswith(b"#")


@pytest.mark.parametrize("question", [b"QI\r", b"QMF\r", b"XQ1\r", b"S01F\r"])
def test_the_end_of_another_question_is_no_question(question):
    assert said(question) == b"(NAK\r"


def test_two_questions_in_one_piece_are_both_answered():
    answers = said(b"F\rI\r").split(b"\r")
    assert [answer[:1] for answer in answers] == [b"#", b"#", b""]
