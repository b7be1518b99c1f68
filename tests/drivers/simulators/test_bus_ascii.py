import asyncio
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.modbus.ascii import seal
from drivers.simulators.bus_ascii import AsciiBus
from drivers.simulators.faults import Fault
from tests.drivers.simulators.serial_bus import WORDS, Line, answer_pdu, unit


def request(address, count, unit_id=1, function=3):
    return seal(unit_id, struct.pack(">BHH", function, address, count))


def answer(address, count, unit_id=1, function=3):
    return seal(unit_id, answer_pdu(address, count, function))


@given(st.lists(st.integers(1, 16), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_a_request_in_any_pieces_is_answered(cuts):
    async def scenario():
        line, frame = Line(AsciiBus, {1: unit()}), request(3, 4)
        for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(frame)], strict=True):
            line.bus.feed(frame[begin:end])
        await line.settled(answer(3, 4))

    asyncio.run(scenario())


async def test_only_the_unit_that_was_asked_answers():
    line = Line(AsciiBus, {1: unit(), 2: unit()})
    for unit_id, expected in ((1, answer(0, 1)), (2, answer(0, 1, 2)), (3, b""), (0, b"")):
        line.bus.feed(request(0, 1, unit_id))
        await line.settled(expected)


@given(st.binary(min_size=1, max_size=1000))
@settings(max_examples=25, deadline=None)
def test_a_colon_begins_a_question_anew_after_any_noise(noise):
    async def scenario():
        line = Line(AsciiBus, {1: unit()})
        line.bus.feed(noise)
        line.sent.clear()
        line.bus.feed(request(0, 2))
        await line.settled(answer(0, 2))
        line.bus.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("spoilt", [request(0, 1)[:-4] + b"00\r\n", request(0, 1).replace(b"0", b"x")])
async def test_a_damaged_question_is_counted_and_not_answered(spoilt):
    line = Line(AsciiBus, {1: unit()})
    line.bus.feed(spoilt)
    assert (bytes(line.sent), line.bus.bad_frames) == (b"", 1)
    line.bus.feed(request(0, 1))
    await line.settled(answer(0, 1))


async def test_writes_are_refused_and_identification_is_answered():
    line = Line(AsciiBus, {1: unit()})
    line.bus.feed(seal(1, b"\x06\x00\x01\x00\x02"))
    await line.settled(seal(1, b"\x86\x01"))
    line.bus.feed(seal(1, b"\x11"))
    assert line.sent.startswith(b":0111")


async def test_faults_spoil_the_answer_inside_a_sound_frame():
    right = answer(0, 2)
    spoilt = {
        "exception:6": seal(1, b"\x83\x06"),
        "wrong-unit": seal(2, struct.pack(">BBHH", 3, 4, *WORDS[:2])),
        "short": seal(1, struct.pack(">BBH", 3, 2, WORDS[0])),
        "cut:3": right[:-3],
        "echo": request(0, 2) + right,
        "twice": right + right,
    }
    line = Line(AsciiBus, {1: unit()})
    for fault, expected in spoilt.items():
        line.bus.units[1].fault = Fault.parse(f"{fault}*1")
        line.bus.feed(request(0, 2))
        await line.settled(expected)
    line.bus.units[1].fault = Fault.parse("reset*1")
    line.bus.feed(request(0, 2))
    assert line.resets == 1
