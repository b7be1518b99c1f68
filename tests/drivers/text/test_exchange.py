"""One line with a text protocol, in virtual time."""

import pytest

from drivers.errors import AskAgain, BadFrame, Refused
from drivers.text.exchange import TextExchange
from drivers.text.framing import QUIET_S
from tests.drivers.text.dialect import ask, number
from tests.fuzzing import hostile

TIMEOUT_S = 1.0
LATE_S = 2.0
GAP_S = 0.1


def line(**keys):
    return TextExchange(**{"gap_s": GAP_S, "timeout_s": TIMEOUT_S, "late_s": LATE_S, "character_s": 0.001, **keys})


def asked(exchange, command, now=0.0):
    """Ask as soon as the gap allows; the time it was."""
    exchange.start(command)
    at = max(now, exchange.next_at())
    assert exchange.transmit(at)
    return at


def test_an_answer_is_its_image_and_the_line_is_free_again():
    exchange = line()
    asked(exchange, ask())
    assert exchange.received(b"1=1", 0.1) is None
    assert number(exchange.received(b"7;", 0.2)) == 17
    assert exchange.asked is None
    assert exchange.ready_at(1) == 0.0
    assert (exchange.late, exchange.strays) == (0, 0)


def test_a_question_waits_for_the_gap_after_whatever_was_on_the_line():
    exchange = line()
    at = asked(exchange, ask())
    exchange.received(b"1=1;", at + 0.3)
    exchange.start(ask())
    assert exchange.waiting
    assert exchange.next_at() == pytest.approx(at + 0.3 + GAP_S)
    exchange.received(b"\0", at + 0.35)  # noise starts the gap anew
    assert exchange.next_at() == pytest.approx(at + 0.35 + GAP_S)


def test_the_gap_counts_from_the_end_of_a_question_that_nobody_answered():
    exchange = line(character_s=0.01)
    at = asked(exchange, ask(2))
    exchange.expire(at + 0.02)
    exchange.start(ask(1))
    assert exchange.next_at() == pytest.approx(at + 4 * 0.01 + GAP_S)


@pytest.mark.parametrize("noise", [b"\0\0", b"xx;", b"1=;", b"\xff=\xff;"])
def test_noise_before_the_answer_does_not_hide_it(noise):
    exchange = line()
    asked(exchange, ask())
    assert number(exchange.received(noise + b";1=5;", 0.1)) == 5


def test_damage_is_told_once_the_line_is_silent_and_its_unit_is_left_alone_after_it():
    exchange = line()
    asked(exchange, ask())
    assert exchange.received(b"1=x;", 0.1) is None
    assert exchange.next_at() == pytest.approx(0.1 + QUIET_S)
    outcome = exchange.silence(0.1 + QUIET_S)
    assert isinstance(outcome, BadFrame)
    assert exchange.ready_at(1) == pytest.approx(TIMEOUT_S + LATE_S)  # the damage may have been noise
    assert exchange.ready_at(2) == 0.0


def test_a_part_of_an_answer_is_waited_for_until_the_deadline():
    exchange = line()
    asked(exchange, ask())
    exchange.received(b"1=", 0.1)
    assert exchange.silence(0.1 + QUIET_S) is None
    assert number(exchange.received(b"8;", 0.9)) == 8


def test_a_refusal_is_an_answer():
    exchange = line()
    asked(exchange, ask())
    assert isinstance(exchange.received(b"1!;", 0.1), Refused)
    assert exchange.ready_at(1) == 0.0


def test_a_late_answer_is_counted_and_ends_the_quarantine():
    exchange = line()
    asked(exchange, ask())
    assert exchange.expire(1.0)
    assert exchange.ready_at(1) == pytest.approx(1.0 + LATE_S)
    assert exchange.received(b"1=3;", 1.5) is None
    assert exchange.late == 1
    assert exchange.ready_at(1) == 0.0


def test_a_late_answer_of_another_unit_is_not_the_answer():
    exchange = line()
    asked(exchange, ask(2))
    exchange.expire(1.0)
    asked(exchange, ask(1), 1.1)
    assert exchange.received(b"2=9;", 1.2) is None
    assert exchange.ready_at(2) == 0.0
    assert number(exchange.received(b"1=4;", 1.3)) == 4
    assert exchange.late == 1


def test_where_answers_name_no_unit_the_whole_line_is_in_quarantine():
    exchange = line()
    asked(exchange, ask(2, names_unit=False))
    exchange.expire(1.0)
    assert exchange.ready_at(1) == exchange.ready_at(2) == pytest.approx(1.0 + LATE_S)
    exchange.received(b"2=9;", 1.5)
    assert exchange.ready_at(1) == exchange.ready_at(2) == 0.0


def test_what_came_before_the_question_is_never_its_answer():
    exchange = line()
    exchange.received(b"1=9;", 0.0)
    exchange.start(ask())
    exchange.transmit(exchange.next_at())
    assert exchange.received(b"", 0.2) is None
    assert exchange.strays == 4
    assert number(exchange.received(b"1=5;", 0.3)) == 5


def test_the_echo_of_a_two_wire_line_is_dropped_whole_and_in_pieces():
    exchange = line()
    asked(exchange, ask())
    assert number(exchange.received(b"1V?;1=5;", 0.1)) == 5
    at = asked(exchange, ask(), 1.0)
    assert exchange.received(b"1V", at + 0.1) is None
    assert exchange.received(b"?;", at + 0.2) is None
    assert number(exchange.received(b"1=6;", at + 0.3)) == 6


def test_an_echo_alone_is_silence_unless_the_device_refuses_so():
    exchange = line()
    asked(exchange, ask())
    assert exchange.received(b"1V?;", 0.1) is None
    assert exchange.silence(0.1 + QUIET_S) is None
    exchange.expire(1.0)
    exchange.received(b"1=1;", 1.1)
    asked(exchange, ask(echo_is_answer=True), 2.0)
    assert isinstance(exchange.received(b"1V?;", 2.3), Refused)


def test_a_babbling_line_ends_the_exchange_and_holds_little():
    exchange = line()
    at = asked(exchange, ask())
    outcomes = [exchange.received(b"x" * 10, at + 0.01 * i) for i in range(10)]
    assert any(isinstance(outcome, BadFrame) for outcome in outcomes)
    for i in range(1000):
        exchange.received(b"y" * 100, at + 1 + i)
    assert len(exchange._buffer) <= 4096


def test_a_device_that_asks_for_another_question_gets_it_now_and_from_now_on():
    exchange = line()
    at = asked(exchange, ask())
    assert exchange.received(b"2^;", at + 0.1) is None
    assert exchange.waiting
    again = exchange.next_at()
    assert exchange.transmit(again) == b"2??;"
    assert number(exchange.received(b"1=5;", again + 0.1)) == 5
    exchange.start(ask())
    assert exchange.transmit(exchange.next_at()) == b"2??;"


def test_a_device_that_asks_again_and_again_is_obeyed_once():
    exchange = line()
    at = asked(exchange, ask())
    assert exchange.received(b"^;", at + 0.1) is None
    again = exchange.next_at()
    assert exchange.transmit(again) == b"1V?;"
    assert isinstance(exchange.received(b"^;", again + 0.1), AskAgain)
    assert exchange.asked is None


def test_a_deadline_while_the_question_waits_to_be_repeated_is_no_babbling():
    exchange = line()
    at = asked(exchange, ask())
    exchange.received(b"^;", at + 0.1)
    assert exchange.expire(at + 0.11)


def test_a_question_that_never_found_silence_tells_so():
    exchange = line()
    exchange.received(b"x", 0.0)
    exchange.start(ask())
    assert not exchange.expire(1.0)
    assert exchange.ready_at(1) == 0.0  # it was never asked


def test_a_line_that_was_closed_leaves_its_unit_in_quarantine():
    exchange = line()
    asked(exchange, ask())
    exchange.reset(0.5)
    assert exchange.asked is None
    assert exchange.ready_at(1) == pytest.approx(TIMEOUT_S + LATE_S)


def test_only_its_own_answer_ends_the_quarantine_of_a_unit_while_its_neighbour_is_asked():
    """Not whatever bears its number: a neighbour may answer under it, and the true answer is still to come."""
    exchange = line()
    at = asked(exchange, ask(1)) + TIMEOUT_S
    exchange.expire(at)
    at = asked(exchange, ask(2), at)
    assert exchange.received(b"1=x;", at + 0.1) is None
    assert exchange.ready_at(1) > at
    assert exchange.received(b"1=17;", at + 0.2) is None
    assert (exchange.ready_at(1), exchange.late) == (0.0, 2)
    assert number(exchange.received(b"2=3;", at + 0.3)) == 3


def test_one_question_at_a_time():
    exchange = line()
    exchange.start(ask(1))
    with pytest.raises(RuntimeError, match="unit 2 asked while unit 1 is"):
        exchange.start(ask(2))


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_hostile_bytes_end_in_an_outcome_or_nothing_and_a_perfect_answer_succeeds_after_them(step):
    exchange, now = line(), 0.0
    for data in hostile([b"1=17;", b"2=3;", b"1V?;", b"1!;", b"^;"], seed=step, longest=200):
        now = asked(exchange, ask(), max(now + 10, exchange.ready_at(1)))
        for k in range(0, len(data), step):
            if exchange.asked is None or exchange.waiting:
                break
            exchange.received(data[k : k + step], now)
        if exchange.asked is not None:
            exchange.expire(now + 1)
        now = asked(exchange, ask(), max(now + 10, exchange.ready_at(1)))
        assert number(exchange.received(b"1=17;", now + 0.1)) == 17
