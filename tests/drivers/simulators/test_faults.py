import contextlib
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulators.faults import KINDS, Fault, spend

ANSWER = bytes((3, 4, 1, 2, 3, 4))


def test_a_fault_is_written_as_kind_amount_and_times():
    assert Fault.parse("late:0.4*3") == Fault("late", 0.4, 3)
    assert Fault.parse("silent") == Fault("silent", 0.0, None)
    assert Fault.parse("ok") is None


def test_a_reboot_is_silence_for_a_while_and_then_a_restart():
    restarts = []
    unit = SimpleNamespace(fault=Fault.parse("reboot"), restart=lambda: restarts.append(1))
    for _ in range(3):
        assert not restarts
        assert unit.fault.mute
        spend(unit, unit.fault)
    assert (unit.fault, restarts) == (None, [1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_stands_alone(kind):
    assert Fault.parse(kind).kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sulky",
        "silent:3",
        "late:-1",
        "late:1e9",
        "exception:0",
        "exception:1.5",
        "noise:0.9",
        "silent*0",
        "late:1e",
    ],
)
def test_nonsense_is_refused_with_its_own_words(text):
    with pytest.raises(ValueError, match=r"fault|float"):
        Fault.parse(text)


@given(st.text(max_size=20))
def test_any_text_is_a_fault_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        Fault.parse(text)


def test_a_fault_with_times_wears_off():
    fault = Fault.parse("silent*2")
    assert fault.used() == Fault("silent", 0.0, 1)
    assert fault.used().used() is None
    assert Fault.parse("silent").used() == Fault.parse("silent")


def test_exception_wrong_unit_and_short_stay_well_formed():
    assert Fault.parse("exception:6").spoil_answer(1, ANSWER) == (1, b"\x83\x06")
    assert Fault.parse("wrong-unit").spoil_answer(247, ANSWER) == (1, ANSWER)
    assert Fault.parse("short").spoil_answer(1, ANSWER) == (1, bytes((3, 2, 1, 2)))


def test_noise_flips_about_the_asked_part_of_the_bits():
    frame, noise = bytes(1000), random.Random(1)
    spoilt = Fault.parse("noise:0.01").spoil_frame(frame, noise)
    assert len(spoilt) == len(frame)
    assert 40 <= sum(byte.bit_count() for byte in spoilt) <= 130  # 80 expected
    assert Fault.parse("silent").spoil_frame(frame, noise) == frame


def test_an_answer_that_comes_twice_is_the_same_both_times():
    assert Fault.parse("twice").spoil_frame(b"abc", random.Random(1)) == b"abcabc"


def test_cut_and_garbage_change_the_length():
    assert Fault.parse("cut:2").spoil_frame(ANSWER, random.Random(1)) == ANSWER[:-2]
    assert len(Fault.parse("garbage:40").spoil_frame(ANSWER, random.Random(1))) == 40
