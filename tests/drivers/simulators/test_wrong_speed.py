"""Bytes sampled at another speed than they were sent at are garbage, as on a real line."""

import os
import termios
import tty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulators.wrong_speed import SPEEDS, heard, speed_of
from tests.maps import untimed

bauds = st.sampled_from([1200, 2400, 4800, 9600, 19200, 115200])


@untimed
@given(st.binary(max_size=64), bauds)
def test_the_same_speed_hears_every_byte(data, baud):
    assert heard(data, baud, baud) == data


@untimed
@given(st.binary(min_size=8, max_size=64), st.floats(-0.03, 0.03))
def test_a_clock_that_is_three_percent_off_still_hears_every_byte_that_stands_alone(data, off):
    assert b"".join(heard(bytes((byte,)), 100_000, round(100_000 * (1 + off))) for byte in data) == data


@untimed
@given(st.binary(max_size=64), bauds, bauds)
def test_no_more_characters_are_heard_than_the_receivers_speed_allows(data, sent, own):
    assert len(heard(data, sent, own)) <= len(data) * own / sent + 1


def test_a_slower_sender_is_heard_as_more_characters_and_a_faster_one_as_fewer():
    question = b"\x01\x03\x00\x00\x00\x0a\xc5\xcd"
    assert len(heard(question, 2400, 9600)) > len(question)
    assert 0 < len(heard(question, 9600, 2400)) < len(question)


def test_a_character_without_its_stop_bit_is_read_as_zero():
    assert heard(b"\0", 1200, 9600)[:1] == b"\0", "the line is low for longer than a character"


@pytest.mark.parametrize("name", ["B1200", "B9600", "B115200"])
def test_the_speed_that_a_client_has_set_is_seen_from_the_other_end(name):
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        state = termios.tcgetattr(slave)
        state[4] = state[5] = getattr(termios, name)
        termios.tcsetattr(slave, termios.TCSANOW, state)
        assert speed_of(master) == int(name[1:]) == SPEEDS[getattr(termios, name)]
    finally:
        os.close(master)
        os.close(slave)
