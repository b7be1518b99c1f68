import pytest

from drivers.errors import BadFrame
from drivers.text.command import Command
from drivers.text.framing import Delimited
from drivers.text.listener import Listener
from tests.fuzzing import hostile


def command(name, begin, framing, *, marked=False):
    """A command that reads frames which begin with `begin`."""

    def read(frame):
        if not frame.startswith(begin):
            raise BadFrame("another")
        return frame[len(begin) :]

    return Command(1, name, b"", 0, framing, read, patience_s=10.0, marked=marked)


LINE = Delimited(end=b"\n", longest=40, quiet_s=0.5)
STAR = Delimited(end=b"\r", start=b"*", longest=40, quiet_s=0.1)
VALUES = command("values", b"T", LINE)
ALARM = command("alarm", b"A", LINE)
PUSHED = command("pushed", b"*", STAR, marked=True)


def listening(*commands, at=0.0):
    """A listener on a line that was opened at this time and silent for a while."""
    listener = Listener(commands)
    listener.join(at)
    assert listener.silence(at + 1.0) == []
    return listener


def test_each_frame_is_of_the_first_command_that_can_read_it():
    listener = listening(VALUES, ALARM)
    assert listener.received(b"T21\nA7\nX\nT22\n", 2.0) == [(VALUES, b"21\n"), (ALARM, b"7\n"), (VALUES, b"22\n")]
    assert listener.unread == len(b"X\n")


def test_a_frame_may_come_byte_by_byte():
    listener = listening(VALUES)
    heard = [h for k, byte in enumerate(b"T21\n") for h in listener.received(bytes([byte]), 2.0 + k / 100)]
    assert heard == [(VALUES, b"21\n")]


def test_the_tail_of_a_line_that_was_under_way_when_the_port_was_opened_is_no_reading():
    listener = Listener([VALUES])
    listener.join(0.0)
    assert listener.received(b"T1\n", 0.1) == []  # it may be the end of ...-T1
    assert listener.received(b"T21\n", 0.2) == [(VALUES, b"21\n")]


def test_without_having_joined_it_would_have_been_one():
    assert listening(VALUES).received(b"T1\n", 2.0) == [(VALUES, b"1\n")]


def test_a_line_that_begins_after_a_silence_is_whole():
    listener = Listener([VALUES])
    listener.join(0.0)
    assert listener.next_at() == 0.5
    assert listener.silence(0.5) == []
    assert listener.next_at() is None
    assert listener.received(b"T21\n", 0.6) == [(VALUES, b"21\n")]


def test_a_frame_whose_begin_is_marked_counts_at_once():
    listener = Listener([PUSHED])
    listener.join(0.0)
    assert listener.received(b"..*5\r", 0.01) == [(PUSHED, b"5\r")]


def test_what_a_silence_leaves_incomplete_does_not_grow_together_with_what_comes_later():
    listener = listening(VALUES)
    assert listener.received(b"T2", 2.0) == []
    assert listener.next_at() == 2.5
    assert listener.silence(2.5) == []
    assert listener.received(b"T1\n", 3.0) == [(VALUES, b"1\n")]
    assert listener.unread == 2


def test_without_the_silence_it_would_have():
    listener = listening(VALUES)
    assert listener.received(b"T2" + b"1\n", 2.0) == [(VALUES, b"21\n")]


def test_frames_of_different_forms_are_heard_beside_each_other_each_with_its_own_silence():
    listener = listening(VALUES, PUSHED)
    heard = listener.received(b"T21\n*5\rT2", 2.0)
    assert sorted(image for _, image in heard) == [b"21\n", b"5\r"]
    assert listener.next_at() == 2.1
    assert listener.silence(2.1) == []
    assert listener.next_at() == 2.5
    assert listener.received(b"2\n", 2.3) == [(VALUES, b"22\n")]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_hostile_bytes_grow_nothing_and_the_next_frame_after_a_silence_is_heard(one_by_one):
    now = 10.0
    listener = listening(VALUES, ALARM, PUSHED)
    for data in hostile([b"T21\n", b"*5\r", b"A7\n"], seed=5, longest=200):
        for piece in [data[k : k + 1] for k in range(len(data))] if one_by_one else [data]:
            listener.received(piece, now)
        assert all(len(ear.buffer) <= 2 * ear.framing.longest for ear in listener._ears)
        now += 1.0
        listener.silence(now)
        assert listener.received(b"T99\n", now) == [(VALUES, b"99\n")]
