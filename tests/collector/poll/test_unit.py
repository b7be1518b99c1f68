"""One unit's standing: when it goes down, how rarely it is probed then, and that one answer brings it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.poll.unit import Breaker, Standing, Unit
from tests.maps import untimed

START = 1000.0

breakers = st.builds(
    lambda failures, after_s, least, factor: Breaker(failures, after_s, least, least * factor),
    st.integers(1, 10),
    st.floats(0, 60),
    st.floats(0.1, 10),
    st.floats(1, 100),
)
events = st.lists(st.tuples(st.floats(0.01, 30), st.sampled_from(["miss"] * 6 + ["hear"])), max_size=80)


def a_unit(breaker=None):
    return Unit("d", 1, 1.0, breaker or Breaker(), START)


def no_jitter():
    return 0.5


@untimed
@given(breakers, events, st.floats(0, 1))
def test_standing_follows_from_failures_and_time_and_from_nothing_else(breaker, events, jitter):
    unit, now = a_unit(breaker), START
    failures, since, down, probes = 0, START, False, 0
    for wait, event in events:
        now += wait
        if event == "hear":
            assert unit.heard(now) == down, "a recovery is told once"
            failures, down = 0, False
            assert (unit.standing, unit.failures, unit.pause_s) == (Standing.UP, 0, breaker.probe_min_s)
            continue
        since = now if failures == 0 else since
        failures += 1
        enough = failures >= breaker.down_after_failures and now - since >= breaker.down_after_s
        went_down = unit.missed(now, lambda: jitter)
        assert went_down == (enough and not down), "the fall is told once"
        probes = 0 if went_down else probes + 1
        down = down or enough
        assert unit.standing is (Standing.DOWN if down else Standing.SUSPECT)
        if down:
            assert unit.pause_s == pytest.approx(min(breaker.probe_min_s * 2**probes, breaker.probe_max_s))
            assert 0.75 * unit.pause_s - 1e-6 <= unit.probe_at - now <= 1.25 * unit.pause_s + 1e-6


def test_a_unit_begins_unknown_and_has_never_answered():
    unit = a_unit()
    assert unit.standing is Standing.UNKNOWN
    assert unit.last_ok_ts_ns == 0


def test_neither_a_burst_of_failures_nor_one_slow_minute_takes_a_unit_down():
    burst, slow = a_unit(), a_unit()
    for i in range(100):
        assert not burst.missed(START + 0.02 * i, no_jitter)
    for i in range(2):
        assert not slow.missed(START + 60 * i, no_jitter)
    assert burst.standing is slow.standing is Standing.SUSPECT
    assert burst.missed(START + 3.0, no_jitter)
    assert slow.missed(START + 120, no_jitter)


def test_one_answer_in_between_begins_the_count_and_the_time_anew():
    unit = a_unit()
    unit.missed(START, no_jitter)
    unit.missed(START + 2, no_jitter)
    unit.heard(START + 3)
    for i in range(3):
        assert not unit.missed(START + 4 + i, no_jitter)
    assert unit.missed(START + 7, no_jitter)


def test_units_that_fell_together_are_not_probed_together():
    units = [a_unit(Breaker(down_after_failures=1, down_after_s=0)) for _ in range(8)]
    for i, unit in enumerate(units):
        unit.missed(START, lambda i=i: i / 8)
    assert len({unit.probe_at for unit in units}) == 8


def test_a_lost_line_says_nothing_of_the_unit_which_starts_afresh():
    unit = a_unit()
    for i in range(20):
        unit.missed(START + i, no_jitter)
    assert unit.pause_s > unit.breaker.probe_min_s
    unit.unreachable("connection reset")
    assert (unit.standing, unit.last_error) == (Standing.DOWN, "connection reset")
    unit.reachable()
    assert (unit.standing, unit.failures, unit.pause_s) == (Standing.SUSPECT, 0, unit.breaker.probe_min_s)
    assert not unit.missed(START + 100, no_jitter), "its failures of before do not count"
    unit.heard(START + 101)
    assert unit.standing is Standing.UP
