"""Frames of YD/T 1363.3 against published vectors, positive and negative, and against hostile bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadFrame
from drivers.text.framing import Delimited
from drivers.ydt1363.frame import (
    MAX_FRAME,
    MAX_INFO,
    READS,
    VENDOR,
    WRITES,
    Frame,
    WrongLength,
    WrongSum,
    ask,
    checksum,
    length_field,
    seal,
    unseal,
)
from tests.drivers.ydt1363 import vectors
from tests.fuzzing import hostile
from tests.maps import untimed

FRAMING = Delimited(end=b"\r", start=b"~", longest=MAX_FRAME)
FRAMES = [frame + b"\r" for frame in (*vectors.QUESTIONS, *vectors.ANSWERS)]


@pytest.mark.parametrize(
    ("lenid", "field"),
    [
        (0, b"0000"), (2, b"E002"), (4, b"C004"), (0x10, b"F010"), (0x12, b"D012"), (0x14, b"B014"), (0x26, b"8026"),
        (0x32, b"B032"), (0x3C, b"103C"), (0x3E, b"F03E"), (0x40, b"C040"), (0x60, b"A060"), (0x6E, b"C06E"),
        (0x96, b"1096"), (0x142, b"9142"), (0x88, b"0088"),
    ],
)  # fmt: skip
def test_length_carries_the_checksum_of_its_digits(lenid, field):
    assert length_field(lenid) == field


@pytest.mark.parametrize("lenid", [-1, MAX_INFO + 1])
def test_a_length_that_has_no_field_is_refused(lenid):
    with pytest.raises(ValueError, match="INFO of"):
        length_field(lenid)


@pytest.mark.parametrize(
    ("characters", "sum_"),
    [
        (b"20014043E00200", 0xFD3B),  # the example of the standard
        (b"1203400456ABCDFE", 0xFC72),
        (b"1203400456ABCEFE", 0xFC71),  # the same as several papers misprint it
        (b"", 0),
    ],
)
def test_the_checksum_is_the_complement_of_the_sum_of_the_characters(characters, sum_):
    assert checksum(characters) == sum_


def test_the_standards_example_is_what_is_sent():
    assert ask(0x20, 1, 0x40, 0x43, b"00") == b"~20014043E00200FD3B\r"


@pytest.mark.parametrize("frame", FRAMES)
def test_a_published_frame_is_read_and_written_as_it_was(frame):
    assert seal(unseal(frame)) == frame
    assert unseal(frame).octets is not None


def test_a_published_frame_says_what_its_description_says():
    assert unseal(vectors.UPS_SAYS_ADDRESS + b"\r") == Frame(0x21, 1, 0x2A, 0)
    maker = unseal(vectors.PYLON_MAKER + b"\r").octets
    assert maker[:7] == b"US2KBPL"
    assert maker[10:12] == b"\x02\x03"
    panel = unseal(vectors.PANEL_BLANKS + b"\r")
    assert panel.info.count(b"  ") == 12
    assert panel.octets.count(b"\x20\x20\x20\x20") == 3


def test_lower_case_is_read_and_never_written():
    frame = b"~20014043e00200"
    assert unseal(frame + b"%04x\r" % checksum(frame[1:])).code == 0x43
    assert all(frame[1:-1] == frame[1:-1].upper() for frame in (seal(unseal(each)) for each in FRAMES))


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"~2101604200000FDB2\r", WrongLength),  # LENGTH of five characters, as a public library sends it
        (vectors.PANEL_BLANKS.replace(b" ", b"20") + b"\r", WrongLength),  # blanks written out: LENGTH is another
        (b"~20014041E00200FD3E\r", WrongSum),
        (b"~20014041F00200FD3C\r", WrongLength),  # the digits of LENGTH have another checksum
        (b"~20014041E00200FD3D", BadFrame),  # no EOI
        (b"20014041E00200FD3D\r", BadFrame),  # no SOI
        (b"?20014041E00200FD3D\r", BadFrame),  # SOI arrived damaged: nothing is guessed
        (b">20014041E00200FD3D\r", BadFrame),
        (b"~\r", BadFrame),
        (b"", BadFrame),
        (b"~2001404GE00200FD37\r", BadFrame),
        (b"~ 0014041E00200FD4F\r", BadFrame),  # a blank is no value only in INFO
    ],
)  # fmt: skip
def test_what_is_no_sound_frame_is_a_bad_frame(frame, error):
    with pytest.raises(error):
        unseal(frame)


def test_a_length_field_of_five_characters_is_refused_and_the_right_one_read():
    with pytest.raises(WrongLength):
        unseal(b"~21016042" + b"00000" + b"FDB2\r")
    assert unseal(b"~210160420000FDB0\r").info == b""


def test_info_of_an_odd_number_of_characters_is_refused():
    body = b"20014041" + length_field(3) + b"000"
    with pytest.raises(WrongLength, match="no row of bytes"):
        unseal(b"~" + body + b"%04X\r" % checksum(body))


@pytest.mark.parametrize("info", [b"2 ", b" 2", b"0G", b"\r0"])
def test_info_holds_pairs_of_digits_or_of_blanks(info):
    with pytest.raises(BadFrame, match="INFO has"):
        _ = Frame(0x20, 1, 0x40, 0, info).octets


def test_blanks_are_the_byte_20_and_the_checksum_is_that_of_the_blanks():
    blanks, digits = (unseal(seal(Frame(0x20, 1, 0x40, 0, info))) for info in (b"00  01", b"002001"))
    assert blanks.octets == digits.octets == b"\x00\x20\x01"
    assert seal(blanks) != seal(digits)


def test_another_first_character_is_the_profiles_business():
    frame = seal(Frame(0x20, 1, 0x4A, 0x42, b"00"), 0x3E)
    assert frame.startswith(b">")
    assert unseal(frame, 0x3E).code == 0x42
    with pytest.raises(BadFrame):
        unseal(frame)


@pytest.mark.parametrize("cid2", sorted({*range(256)} - READS - {*VENDOR} | WRITES))
def test_no_command_that_writes_or_is_unknown_can_be_asked(cid2):
    with pytest.raises(ValueError, match="only reads"):
        ask(0x20, 1, 0x40, cid2)


@pytest.mark.parametrize("number", [-1, 256])
def test_what_is_no_byte_cannot_be_written(number):
    with pytest.raises(ValueError, match="no byte"):
        seal(Frame(0x20, number, 0x40, 0))


def test_the_longest_info_is_written_and_read_and_one_more_is_not():
    info = b"00" * (MAX_INFO // 2)
    assert len(unseal(seal(Frame(0x20, 1, 0x46, 0, info))).info) == MAX_INFO - 1
    with pytest.raises(ValueError, match="INFO of"):
        seal(Frame(0x20, 1, 0x46, 0, b"0" * (MAX_INFO + 1)))


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    ("before", "behind"),
    [(b"", b""), (b"\0\xff?", b"~"), (b"\r\r", b"\r"), (b"~2001", b""), (b"~~~", b"~2"), (b"20014000F0FD\r", b"")],
)
def test_a_frame_is_found_among_noise(frame, before, behind):
    begin, end = FRAMING.find(before + frame + behind, silent=False)
    assert (before + frame + behind)[begin:end] == frame


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_is_found_byte_by_byte_and_not_before_it_is_whole(frame):
    assert [FRAMING.find(frame[:size], silent=True) for size in range(len(frame))] == [None] * len(frame)
    assert FRAMING.find(frame, silent=False) == (0, len(frame))


@untimed
@given(st.data())
def test_one_changed_character_never_gives_another_frame(data):
    """Two's complement of a sum: what one character adds, no other of the same frame can take back unseen."""
    frame = data.draw(st.sampled_from(FRAMES))
    at = data.draw(st.integers(0, len(frame) - 1))
    changed = bytearray(frame)
    changed[at] = data.draw(st.integers(0, 255).filter(lambda octet: octet != frame[at]))
    try:
        read = unseal(bytes(changed))
    except BadFrame:
        return
    assert seal(read) == bytes(changed).upper() == frame  # the same digits in lower case


@untimed
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=200))
def test_whatever_is_written_is_read_as_it_was(version, address, cid1, code, octets):
    frame = Frame(version, address, cid1, code, octets.hex().upper().encode())
    read = unseal(seal(frame))
    assert read == frame
    assert read.octets == octets


def test_hostile_frames_are_read_or_refused_with_one_class_of_errors():
    for data in hostile(FRAMES, seed=1, longest=2 * MAX_FRAME):
        try:
            _ = unseal(data).octets
        except BadFrame:
            continue


def test_hostile_bytes_never_hide_the_next_sound_frame():
    for data in hostile(FRAMES, seed=2, longest=300):
        stream, found = data + b"\r" + FRAMES[0], []
        while (place := FRAMING.find(stream, silent=False)) is not None:
            found.append(stream[place[0] : place[1]])
            stream = stream[place[1] :]
        assert found[-1] == FRAMES[0]
