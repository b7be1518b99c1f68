import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerAscii
from pymodbus.pdu import DecodePDU

from drivers.address import parse_bus
from drivers.base import Request
from drivers.errors import BadFrame, DeviceError, DeviceException, OtherUnit
from drivers.modbus.ascii import (
    GAP_CHARACTERS,
    MAX_FRAME,
    QUESTION_CHARACTERS,
    ascii_cost,
    command,
    lrc,
    read_answer,
    seal,
    unseal,
)
from drivers.plan import link_cost
from drivers.text.exchange import TextExchange
from tests.drivers.modbus.line import data_of, perfect_pdu
from tests.fuzzing import hostile

ASK = Request(1, 3, 100, 10)
NEIGHBOUR = Request(2, 3, 100, 10)
TIMEOUT_S, LATE_S = 1.0, 2.0


def answer_to(request):
    return seal(request.unit, perfect_pdu(unseal(command(request).question)[1:], request.unit))


@pytest.mark.parametrize(
    ("frame", "body"),
    [
        (b":1103006B00037E\r\n", "11 03 00 6B 00 03"),  # the worked example of many manuals: 40108 to 40110 of unit 17
        (b":010300000001FB\r\n", "01 03 00 00 00 01"),
        (b":0183027A\r\n", "01 83 02"),
    ],
)
def test_published_frames_are_made_and_read(frame, body):
    body = bytes.fromhex(body)
    assert seal(body[0], body[1:]) == frame
    assert unseal(frame) == body


def test_the_checksum_is_the_twos_complement_of_the_sum_of_the_bytes():
    """Serial line V1.02, 2.5.2.2 and 6.2.1."""
    assert lrc(bytes.fromhex("02 07")) == 0xF7
    assert lrc(bytes.fromhex("02 07 F7")) == 0


def test_the_longest_frame_has_513_characters():
    """Serial line V1.02, 2.5.2.1: 1 + 2 + 2 + 2 * 252 + 2 + 2."""
    assert len(seal(1, bytes(253))) == MAX_FRAME == 513
    assert unseal(seal(1, bytes(253))) == bytes((1,)) + bytes(253)
    with pytest.raises(BadFrame, match="not a Modbus ASCII frame"):
        unseal(seal(1, bytes(254)))


@given(st.integers(1, 247), st.binary(min_size=2, max_size=253))
def test_frames_are_those_of_pymodbus_both_ways(unit, pdu):
    theirs = FramerAscii(DecodePDU(False))
    assert seal(unit, pdu) == theirs.encode(pdu, unit, 0)
    _, number, _, data = theirs.decode(seal(unit, pdu))
    assert (number, data) == (unit, pdu)


def test_lower_case_digits_mean_the_same():
    assert unseal(b":110306ae415652434049" + b"%02x" % lrc(bytes.fromhex("110306ae415652434049")) + b"\r\n")[0] == 17


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b":\r\n",
        b":01\r\n",
        b":FF01\r\n",
        b"010300000001FB\r\n",  # no colon
        b":010300000001FB\n",
        b":010300000001FC\r\n",  # LRC
        b":010300000001F\r\n",  # half a byte
        b":01 0300000001FB\r\n",
        b":0103000000G1FB\r\n",
        b":\xb01030000000\xb1FB\r\n",
        b":zz0300000001FB\r\n",  # on which pymodbus' framer raises ValueError
    ],
)
def test_what_is_no_frame_is_a_bad_frame(frame):
    with pytest.raises(BadFrame):
        unseal(frame)


@given(st.binary(max_size=40), st.integers(0, 80), st.integers(0, 255))
def test_no_single_wrong_character_is_overlooked(pdu, at, character):
    frame = bytearray(seal(1, b"\x03" + pdu))
    at %= len(frame)
    same = bytes((frame[at],)).upper() == bytes((character,)).upper()
    frame[at] = character
    if not same:
        with pytest.raises(BadFrame):
            unseal(bytes(frame))


@pytest.mark.parametrize(
    "request_", [ASK, Request(2, 1, 0, 2000), Request(247, 4, 7, 125), Request(9, 2, 1, 1)], ids=str
)
def test_the_answer_to_a_read_is_its_data_bytes(request_):
    assert read_answer(request_, answer_to(request_)) == data_of(request_)


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (seal(2, b"\x03\x02\x00\x01"), OtherUnit),
        (seal(1, b"\x04\x02\x00\x01"), BadFrame),
        (seal(1, b"\x03\x04\x00\x01\x00\x02"), BadFrame),
        (seal(1, b"\x03\x02\x00"), BadFrame),
        (seal(1, b"\x83\x02\x00"), BadFrame),
        (seal(1, b"\x03"), BadFrame),
        (seal(1, b"\x83\x06"), DeviceException),
    ],
    ids=["unit", "function", "length", "short", "long exception", "nothing", "exception"],
)
def test_any_other_answer_is_a_typed_error(frame, error):
    with pytest.raises(error) as caught:
        read_answer(Request(1, 3, 0, 1), frame)
    assert getattr(caught.value, "code", 6) == 6


def test_only_reads_within_the_limits_can_be_asked():
    for request in (Request(1, 6, 0, 1), Request(1, 16, 0, 1), Request(1, 3, 0, 126), Request(1, 3, 65535, 2)):
        with pytest.raises(ValueError, match="is"):
            command(request)


@pytest.mark.parametrize("request_", [ASK, Request(1, 1, 0, 17), Request(1, 4, 0, 125), Request(1, 3, 0, 1)], ids=str)
def test_the_predicted_cost_is_the_time_of_all_its_characters_and_the_gap(request_):
    character_s = 10 / 9600  # 7E1
    characters = len(command(request_).question) + len(answer_to(request_)) + GAP_CHARACTERS
    assert len(command(request_).question) == QUESTION_CHARACTERS
    assert ascii_cost(character_s).of(request_) == pytest.approx(characters * character_s)
    address = parse_bus("ascii+serial:///dev/ttyS1?baud=9600")
    assert link_cost(address, 0.02).of(request_) == pytest.approx(characters * character_s + 0.02)


def line():
    return TextExchange(gap_s=0.004, timeout_s=TIMEOUT_S, late_s=LATE_S, character_s=10 / 9600)


def ask(exchange, request, now):
    exchange.start(command(request))
    now = max(now, exchange.next_at())
    assert exchange.transmit(now) == command(request).question
    return now


def succeeds(exchange, request, now):
    now = ask(exchange, request, max(now, exchange.ready_at(request.unit)))
    assert exchange.received(answer_to(request), now + 0.1) == data_of(request)
    return now + 0.1


NOISE = {
    "nothing": b"",
    "a stray byte": b"\0",
    "a stray colon": b":",
    "the echo": command(ASK).question,
    "half an answer": answer_to(ASK)[:-9],
    "an answer of another unit": seal(9, b"\x03\x02\x00\x01"),
    "an answer without its end": answer_to(ASK)[:-2],
    "a wrong checksum": b":010300FF\r\n",
    "an answer of another length": seal(1, b"\x03\x02\x00\x01"),
    "high bits": bytes(range(128, 256)),
}


@pytest.mark.parametrize("step", [1, 600], ids=["byte by byte", "in one piece"])
@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_the_answer_is_found_behind(noise, step):
    """2.5.2.1: a colon begins a frame anew, whatever came before it."""
    exchange = line()
    now = ask(exchange, ASK, 1000.0)
    stream = noise + answer_to(ASK)
    outcomes = [exchange.received(stream[k : k + step], now + 0.1) for k in range(0, len(stream), step)]
    assert [bytes(data) for data in outcomes if data is not None] == [data_of(ASK)]
    succeeds(exchange, NEIGHBOUR, now + 1)


def test_an_echo_that_looks_like_the_answer_is_never_taken_for_it():
    """A read of 20 coils at 0310H: its question is a well-formed answer to itself."""
    coils = Request(1, 1, 0x0310, 20)
    assert read_answer(coils, command(coils).question) == b"\x10\x00\x14"
    exchange = line()
    now = ask(exchange, coils, 1000.0)
    assert exchange.received(command(coils).question, now + 0.05) is None
    assert exchange.received(answer_to(coils), now + 0.1) == data_of(coils)


@pytest.mark.parametrize("step", [1, 7, 600])
def test_hostile_bytes_give_only_what_was_said_and_a_perfect_answer_succeeds_after_them(step):
    rng = random.Random(step)
    frames = [
        answer_to(ASK),
        answer_to(NEIGHBOUR),
        answer_to(Request(1, 3, 100, 9)),
        command(ASK).question,
        seal(1, b"\x83\x02"),
        seal(9, b"\x04\x02\x00\x01"),
    ]
    exchange, now = line(), 1000.0
    for data in hostile(frames, seed=step, longest=1500):
        outcome, now = None, ask(exchange, ASK, max(now, exchange.ready_at(1)))
        for at in range(0, len(data), step):
            now += 0.0001
            outcome = exchange.received(data[at : at + step], now)
            if outcome is not None:
                break
        if outcome is None and rng.random() < 0.5:
            now += 0.1
            outcome = exchange.silence(now)
        if isinstance(outcome, memoryview):
            assert seal(1, bytes((3, 20)) + outcome) in data.upper()
        else:
            assert outcome is None or isinstance(outcome, DeviceError)
        assert len(exchange._buffer) <= 4096
        if outcome is None:
            exchange.expire(now)
        now = succeeds(exchange, NEIGHBOUR, now + 0.1) + LATE_S
