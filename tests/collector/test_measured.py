"""What the last minute showed, beside what was predicted."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.measured import SLOW_AFTER_S, WINDOW_S, Measured
from drivers.address import BusAddress, parse_bus


@dataclass
class UnitPlan:
    device: str
    turnaround_s: float = 0.02
    read_s: float = 0.05


@dataclass
class BusPlan:
    address: BusAddress
    units: tuple[UnitPlan, ...]


SERIAL = parse_bus("serial:///dev/ttyUSB0")


def measured(address=SERIAL, began=0.0):
    return Measured([BusPlan(address, (UnitPlan("m1"), UnitPlan("m2")))], began)


def told(subject, until, rtt_s, begin=0.0, step=1.0):
    """Looks until `until`, at each of which `rtt_s(now)` gives the round trips; what the last one tells."""
    now, found = begin, []
    while now <= until:
        found = subject.slow(now, rtt_s(now))
        now += step
    return found


@given(st.lists(st.tuples(st.floats(0.5, 30.0), st.floats(0.0, 1.0)), min_size=1, max_size=80))
@example([(1.4001011386774742, 0.0), (30.0, 0.0), (30.0, 1.0)])  # a minute, but for the rounding
def test_the_load_is_what_the_line_was_in_use_since_the_look_a_minute_ago(steps):
    subject = measured()
    looks = [(0.0, 0.0)]
    for wait, share in steps:
        then, busy = looks[-1]
        looks.append((then + wait, busy + wait * share))
        now, busy = looks[-1]
        load = subject.loads(now, {"line": busy})["line"]
        kept = looks[:-1][-64:]
        reference = max((look for look in kept if now - look[0] >= WINDOW_S), default=kept[0])
        assert load == pytest.approx((busy - reference[1]) / (now - reference[0]))


def test_what_was_long_ago_does_not_hide_what_is_now():
    subject = measured()
    for now in range(1, 3600):
        subject.loads(float(now), {"line": 0.1 * now})
    for now in range(3600, 3600 + 61):
        load = subject.loads(float(now), {"line": 360.0 + 0.9 * (now - 3600)})["line"]
    assert load == pytest.approx(0.9)
    since_the_start = (360 + 0.9 * 60) / 3660
    assert since_the_start < 0.12, "the twin: a mean since the start shows nothing yet"


def test_the_first_look_of_all_divides_by_nothing():
    assert measured(began=5.0).loads(5.0, {"line": 0.0}) == {"line": 0.0}


def test_a_unit_that_is_slow_for_a_minute_is_named_with_the_turnaround_that_explains_it():
    subject = measured()
    assert told(subject, SLOW_AFTER_S - 1, lambda now: {"m1": 0.130, "m2": 0.05}) == []
    (slow,) = told(subject, SLOW_AFTER_S + 1, lambda now: {"m1": 0.130, "m2": 0.05}, begin=SLOW_AFTER_S)
    assert slow == {"device": "m1", "rtt_ms": 130.0, "predicted_ms": 50.0, "turnaround_ms": 100}


def test_the_journal_is_told_once_and_when_it_is_over(caplog):
    caplog.set_level("INFO")
    subject = measured()
    told(subject, 600, lambda now: {"m1": 0.130})
    told(subject, 700, lambda now: {"m1": 0.05}, begin=601)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "m1: takes 130 ms per read where 50 ms were predicted"),
        ("INFO", "m1: as quick as predicted again, 50 ms per read"),
    ]


def test_one_quick_look_in_the_minute_is_enough_to_say_nothing():
    """A burst of the longest reads drives the mean up for a while."""
    assert told(measured(), 600, lambda now: {"m1": 0.05 if now % 50 == 0 else 0.3}) == []


def test_a_unit_that_fell_silent_begins_anew_when_it_answers():
    assert told(measured(), 90, lambda now: {} if now == 45 else {"m1": 0.3}) == []
    assert told(measured(), 110, lambda now: {} if now == 45 else {"m1": 0.3}) != []


def test_what_is_twice_as_slow_but_only_by_milliseconds_is_no_news():
    subject = Measured([BusPlan(SERIAL, (UnitPlan("m1", read_s=0.004),))], 0.0)
    assert told(subject, 600, lambda now: {"m1": 0.0139}) == []
    assert told(subject, 600, lambda now: {"m1": 0.0141}) != []


def test_where_the_plan_knows_of_no_line_no_turnaround_is_made_up():
    (slow,) = told(measured(parse_bus("tcp://h")), 61, lambda now: {"m1": 0.2})
    assert slow["turnaround_ms"] is None
    (slow,) = told(measured(parse_bus("tcp://h?baud=9600")), 61, lambda now: {"m1": 0.2})
    assert slow["turnaround_ms"] == 170
