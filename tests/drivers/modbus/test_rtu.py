import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Request
from drivers.errors import BadFrame, DeviceException
from drivers.modbus.rtu import MAX_BUFFER, RtuReceiver, answer_length, crc16, encode, read_answer, seal
from tests.drivers.modbus.line import data_of, perfect_frame


@pytest.mark.parametrize(
    "frame",
    [
        "01 03 04 1D 00 01 15 3C",  # ComAp manual: request of one register
        "01 03 02 00 F0 B8 00",  # its answer, 24.0 V
        "01 03 04 CC 00 01 45 05",
        "01 03 02 00 C8 B9 D2",
        "02 07 41 12",  # serial line V1.02, 6.2.2: the worked CRC
    ],
)
def test_the_checksum_of_published_frames_is_right(frame):
    assert crc16(bytes.fromhex(frame)) == 0
    assert seal(bytes.fromhex(frame)[0], bytes.fromhex(frame)[1:-2]) == bytes.fromhex(frame)


@given(st.binary(max_size=300))
def test_the_checksum_equals_the_bitwise_definition(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    assert crc16(data) == crc


def test_a_request_is_encoded_with_unit_and_checksum():
    assert encode(Request(1, 3, 0x041D, 1)) == bytes.fromhex("01 03 04 1D 00 01 15 3C")


REGISTERS = Request(1, 3, 100, 10)
COILS = Request(1, 1, 0x0310, 20)


def receiver_for(request, *outstanding):
    receiver = RtuReceiver({r.unit: r for r in (request, *outstanding)})
    receiver.begin(encode(request))
    return receiver


def answer_to(request):
    return perfect_frame(encode(request))


def frames_of(receiver, data, *, one_by_one=False):
    found = []
    for piece in [data[i : i + 1] for i in range(len(data))] if one_by_one else [data]:
        receiver.feed(piece)
        while (frame := receiver.find()) is not None:
            found.append(frame)
    return found


NOISE = {
    "nothing": b"",
    "a stray zero": b"\0",
    "a stray FF": b"\xff",
    "the echo of the request": encode(REGISTERS),
    "a stray zero and the echo": b"\0" + encode(REGISTERS),
    "a frame of another unit": seal(9, b"\x03\x02\x00\x01"),
    "an unknown function of this unit": bytes.fromhex("01 65 01 02 03"),
    "an unknown function with a right checksum": seal(1, b"\x65\x01\x02"),
    "the answer cut short": answer_to(REGISTERS)[:-3],
    "the answer with a flipped bit": bytes(
        [*answer_to(REGISTERS)[:7], answer_to(REGISTERS)[7] ^ 4, *answer_to(REGISTERS)[8:]]
    ),
    "an answer of another length": seal(1, b"\x03\x02\x00\x01"),
    "an exception of another function": seal(1, b"\x84\x02"),
    "the begin of an exception": b"\x01\x83",
    "600 bytes of babble": bytes(range(7, 256)) * 2 + bytes(102),
    "600 times our own unit": b"\x01" * 600,
}


@pytest.mark.parametrize("one_by_one", [False, True], ids=["in one piece", "byte by byte"])
@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_the_answer_is_found_behind(noise, one_by_one):
    receiver = receiver_for(REGISTERS)
    assert frames_of(receiver, noise + answer_to(REGISTERS), one_by_one=one_by_one) == [answer_to(REGISTERS)]
    assert len(receiver) == 0


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_an_exception_is_found_behind(noise):
    receiver = receiver_for(REGISTERS)
    refusal = seal(1, b"\x83\x02")
    found = frames_of(receiver, noise + refusal)
    if not found:  # the begin of something longer: known to be none only when the line is silent
        found = [receiver.find(final=True)]
    assert found == [refusal]
    with pytest.raises(DeviceException, match="exception 2"):
        read_answer(REGISTERS, refusal)


def test_a_late_frame_and_the_answer_in_one_piece_are_told_apart():
    late = Request(2, 3, 7, 4)
    receiver = receiver_for(REGISTERS, late)
    assert frames_of(receiver, answer_to(late) + answer_to(REGISTERS)) == [answer_to(late), answer_to(REGISTERS)]


def test_an_echo_that_looks_like_the_answer_is_never_taken_for_it():
    """A read of 20 coils at 0310H is answered with 8 bytes, and its echo has the right head and checksum."""
    assert answer_length(COILS) == len(encode(COILS))
    receiver = receiver_for(COILS)
    assert frames_of(receiver, encode(COILS)) == []
    assert frames_of(receiver, answer_to(COILS)) == [answer_to(COILS)]
    assert read_answer(COILS, answer_to(COILS)) == data_of(COILS)


def test_without_the_echo_check_the_echo_would_have_been_the_answer():
    careless = RtuReceiver({COILS.unit: COILS})
    assert frames_of(careless, encode(COILS)) == [encode(COILS)]


@pytest.mark.parametrize(
    "frame",
    ["", "01", "01 03 02 00 F0 B8 01", seal(2, b"\x03\x02\x00\x01").hex(), seal(1, b"\x03\x04\x00\x01\x00\x02").hex()],
)
def test_what_is_no_answer_is_a_bad_frame(frame):
    with pytest.raises(BadFrame):
        read_answer(Request(1, 3, 0, 1), bytes.fromhex(frame))


def test_a_foreign_frame_is_known_behind_a_few_stray_bytes():
    receiver = receiver_for(REGISTERS)
    foreign = seal(9, b"\x07\x00")
    receiver.feed(b"\0\0" + foreign)
    assert receiver.find(final=True) is None
    assert receiver.foreign() == foreign


def mixed_bytes(random_):
    """Noise, fragments of frames and whole frames, one after the other."""
    parts = [answer_to(REGISTERS), encode(REGISTERS), seal(9, b"\x03\x02\x00\x01"), seal(1, b"\x83\x0b")]
    stream = b""
    for _ in range(random_.randrange(6)):
        part = random_.choice([*parts, random_.randbytes(random_.randrange(40)), b"\x01\x03\x14"])
        stream += part[: random_.randrange(1, len(part) + 1)] if part and random_.random() < 0.5 else part
    return stream


def test_10000_streams_of_noise_give_only_right_answers_and_never_stop_the_next():
    """Whole or byte by byte: nothing is raised, nothing grows, what is found is the answer, and the next one is."""
    random_ = random.Random(7)
    for turn in range(10_000):
        receiver = receiver_for(REGISTERS)
        stream = mixed_bytes(random_)
        one_by_one = turn % 2 == 0
        for frame in frames_of(receiver, stream, one_by_one=one_by_one):
            assert frame in (answer_to(REGISTERS), seal(1, b"\x83\x0b"))
        assert len(receiver) <= MAX_BUFFER
        receiver.begin(encode(REGISTERS))
        assert frames_of(receiver, answer_to(REGISTERS), one_by_one=one_by_one) == [answer_to(REGISTERS)]
