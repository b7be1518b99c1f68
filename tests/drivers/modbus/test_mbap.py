from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Request
from drivers.errors import BadFrame
from drivers.modbus.mbap import MAX_FRAME, Frames, split, tell, template, whole
from tests.fuzzing import hostile


def test_a_request_and_the_begin_of_its_answer_are_known_but_for_the_transaction_id():
    question, answer, length = template(Request(0x11, 3, 0x006B, 3))
    assert question == bytes.fromhex("0000 0006 11 03 006B 0003")
    assert answer == bytes.fromhex("0000 0009 11 03 06")
    assert length == 15


def test_a_frame_is_complete_only_with_its_last_byte():
    frame = bytearray(bytes.fromhex("1501 0000 0006 FF 03 0004 0001"))
    assert [split(frame, 0, end) for end in range(12)] == [None] * 12
    assert split(frame, 0, 12) == (0x1501, 12)
    assert split(bytearray(b"xx") + frame, 2, 14) == (0x1501, 12)


@pytest.mark.parametrize(
    "header", ["0001 0001 0006", "0001 0000 0000", "0001 0000 0002", "0001 0000 00FF", "FFFF FFFF FFFF"]
)
def test_what_is_no_header_is_a_bad_frame(header):
    with pytest.raises(BadFrame, match="not a Modbus TCP header"):
        split(bytearray(bytes.fromhex(header)), 0, 6)


@given(st.binary(max_size=600))
def test_any_stream_is_frames_of_bounded_length_until_one_bad_frame(stream):
    buffer, start = bytearray(stream), 0
    try:
        while (frame := split(buffer, start, len(buffer))) is not None:
            assert 9 <= frame[1] <= MAX_FRAME
            start += frame[1]
    except BadFrame:
        return
    assert len(buffer) - start < MAX_FRAME


def cut(pieces):
    """(frames, whether the stream was lost) of what comes in these pieces; nothing is kept but an unfinished frame."""
    stream, found = Frames(), []
    for piece in pieces:
        try:
            for transaction, frame in stream.feed(piece):
                found.append((transaction, bytes(frame)))
        except BadFrame:
            return found, True
        assert len(stream._held) < MAX_FRAME
    return found, False


def test_a_stream_is_cut_into_its_frames_wherever_it_is_broken():
    frames = [(7, b"\x00\x07\x00\x00\x00\x03\x01\x83\x02"), (8, b"\x00\x08\x00\x00\x00\x05\x01\x03\x02\x00\x2a")]
    stream = b"".join(frame for _, frame in frames)
    for at in range(len(stream) + 1):
        assert cut([stream[:at], stream[at:]]) == (frames, False)


def test_hostile_streams_are_cut_alike_whole_and_byte_by_byte():
    good = [b"\x00\x07\x00\x00\x00\x03\x01\x83\x02", b"\x00\x08\x00\x00\x00\x05\x01\x03\x02\x00\x2a"]
    for stream in hostile(good, 4, 600):
        assert cut(bytes((byte,)) for byte in stream) == cut([stream])


def test_a_datagram_is_exactly_one_frame():
    frame = b"\x00\x08\x00\x00\x00\x05\x01\x03\x02\x00\x2a"
    transaction, view = whole(frame)
    assert (transaction, bytes(view)) == (8, frame)
    for wrong in (b"", frame[:5], frame[:-1], frame + b"\0", frame + frame):
        with pytest.raises(BadFrame, match="not one Modbus frame"):
            whole(wrong)


def test_an_empty_datagram_is_told_without_its_begin():
    with pytest.raises(BadFrame, match=r"not one Modbus frame: 0 bytes$"):
        whole(b"")


def test_hostile_datagrams_are_a_frame_with_its_own_length_or_a_bad_frame():
    good = [b"\x00\x07\x00\x00\x00\x03\x01\x83\x02", b"\x00\x08\x00\x00\x00\x05\x01\x03\x02\x00\x2a"]
    seen = 0
    for datagram in hostile(good, 6, 600):
        try:
            transaction, view = whole(datagram)
        except BadFrame:
            continue
        seen += 1
        assert bytes(view) == datagram
        assert transaction == int.from_bytes(datagram[:2], "big")
        assert len(datagram) == 6 + int.from_bytes(datagram[4:6], "big") <= MAX_FRAME
    assert seen


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("01 03 02 002a", "002a"), ("01 83 02", "exception 2"), ("02 03 02 002a", "answered unit 2")],
)
def test_a_frame_becomes_the_data_or_the_reason_why_there_is_none(answer, expected):
    told = []
    sink = SimpleNamespace(answered=lambda data: told.append(data.hex()), failed=lambda error: told.append(str(error)))
    pdu = bytes.fromhex(answer)
    tell(sink, Request(1, 3, 0, 1), memoryview(bytes((0, 7, 0, 0, 0, len(pdu))) + pdu))
    assert len(told) == 1
    assert expected in told[0]
