"""Earliest deadline first among what is due: against a model that searches, and through simulated time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.poll.schedule import NEVER, SILENT_BLOCK_MAX_S, SILENT_BLOCK_STRIKES, Read, Schedule
from collector.poll.unit import Breaker, Unit
from collector.types import BlockSpec
from drivers.base import LinkCost
from tests.maps import untimed

INTERVALS = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 60.0]
START = 1000.0


def a_read(number, interval_s=1.0):
    unit = Unit(f"d{number}", number + 1, 1.0, Breaker(), START)
    return Read(number, BlockSpec(unit.device, unit.unit, 3, 0, 10, interval_s, (), ()), unit, LinkCost(0.01, 0.001))


def drain(schedule, now):
    found = []
    while (read := schedule.next_due(now)) is not None:
        found.append(read)
    return found


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 60.0, NEVER])),
        st.tuples(st.just("ask"), st.sampled_from([0.0, 0.1, 0.4, 1.0, 10.0]), st.just(0)),
        st.tuples(st.just("drain"), st.sampled_from([0.0, 0.1, 0.4, 1.0, 10.0]), st.just(0)),
        st.tuples(st.just("retire"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("clear"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class Model:
    """When each read is to be asked, and nothing else: every question is answered by looking at all of them."""

    def __init__(self):
        self.at = {}

    def take_due(self, now):
        due = [(at + read.interval, read.number, read) for read, at in self.at.items() if at <= now]
        if not due:
            return None
        read = min(due)[2]
        del self.at[read]
        return read


@untimed
@given(st.lists(st.sampled_from(INTERVALS), min_size=6, max_size=6), steps)
def test_the_schedule_does_what_a_search_through_all_reads_would(intervals, steps):
    reads = [a_read(n, interval) for n, interval in enumerate(intervals)]
    schedule, model, now = Schedule(), Model(), START
    for action, which, delay in steps:
        if action == "put":
            schedule.put(reads[which], now + delay)
            if not reads[which].retired:
                model.at[reads[which]] = now + delay
        elif action == "retire":
            reads[which].retired = True
            model.at.pop(reads[which], None)
        elif action == "clear":
            schedule.clear()
            model.at.clear()
        else:
            now += which
            asked = [schedule.next_due(now)] if action == "ask" else [*drain(schedule, now), None]
            for read in asked:
                assert read is model.take_due(now)
            if asked[-1] is None:
                assert schedule.wake_at() <= min(model.at.values(), default=NEVER), "never too late"
    assert set(drain(schedule, now + 1e6)) == {read for read, at in model.at.items() if at < NEVER}


def test_a_read_put_elsewhere_fires_once_and_at_its_new_time():
    schedule, read = Schedule(), a_read(0)
    schedule.put(read, START + 1)
    schedule.put(read, START + 5)
    assert drain(schedule, START + 4.9) == []
    schedule.put(read, START + 5)
    assert drain(schedule, START + 100) == [read]
    assert drain(schedule, START + 100) == []


def test_a_read_put_later_while_it_was_due_already_does_not_fire_now():
    """It had surfaced behind another one that was more urgent."""
    schedule, urgent, read = Schedule(), a_read(0, 0.1), a_read(1, 1.0)
    schedule.put(urgent, START)
    schedule.put(read, START)
    assert schedule.next_due(START) is urgent
    schedule.put(read, START + 10)
    assert drain(schedule, START) == []
    assert drain(schedule, START + 10) == [read]


def test_after_clear_nothing_fires_until_it_is_put_again():
    schedule, read = Schedule(), a_read(0)
    schedule.put(read, START)
    schedule.clear()
    assert drain(schedule, START + 10) == []
    assert schedule.wake_at() == NEVER
    schedule.put(read, START)
    assert drain(schedule, START + 10) == [read]


# --- one read's grid -------------------------------------------------------------------------------------------------


@untimed
@given(
    st.sampled_from(INTERVALS),
    st.floats(0, 1000),
    st.lists(st.floats(0.001, 500), min_size=1, max_size=40),
)
def test_every_place_of_the_grid_is_asked_once_or_counted_as_skipped(interval, begin, waits):
    """A read is asked at its place or later; places that passed meanwhile are skipped, none is forgotten."""
    read = a_read(0, interval)
    read.begin(begin)
    first, now = read.due, begin
    assert begin - interval <= first <= begin  # a place, as exactly as floats name it
    for asked, wait in enumerate(waits, 1):
        now = max(now + wait, read.due)
        read.advance(now)
        assert read.due > now - 1e-6, "the next place is ahead"
        assert read.due <= now + interval + 1e-6, "and none is left out"
        places = (read.due - first) / interval
        assert places == pytest.approx(round(places), abs=1e-6), "still on the grid"
        assert round(places) == asked + read.unit.skipped


def test_a_retry_before_the_place_leaves_the_place_where_it_is():
    read = a_read(0, 60.0)
    read.begin(START)
    read.advance(START)
    place = read.due
    read.advance(START + 2)
    assert (read.due, read.unit.skipped) == (place, 0)


def test_grids_of_one_interval_share_their_places_whenever_they_began():
    reads = [a_read(n, 5.0) for n in range(20)]
    for n, read in enumerate(reads):
        read.begin(START + 0.61 * n)
        read.advance(START + 100)
    assert len({read.due for read in reads}) == 1


@untimed
@given(st.sampled_from([*INTERVALS, 600.0]), st.integers(SILENT_BLOCK_STRIKES + 1, 10**6), st.floats(0, 1e6))
def test_a_silent_block_is_asked_more_and_more_rarely_within_a_bound(interval, strikes, now):
    read = a_read(0, interval)
    read.strikes = strikes
    read.begin(now)
    read.advance(now)
    wait = read.due - now
    assert interval - 1e-6 <= wait <= max(interval, SILENT_BLOCK_MAX_S) + 1e-6
    if interval < SILENT_BLOCK_MAX_S:
        assert wait >= min(2 * interval, SILENT_BLOCK_MAX_S) - 1e-6


def test_a_block_is_slowed_down_after_its_strikes_and_not_before():
    read = a_read(0, 1.0)
    for strikes in range(SILENT_BLOCK_STRIKES + 1):
        read.strikes = strikes
        read.begin(START)
        read.advance(START)
        assert read.due == START + 1.0


# --- a line in simulated time ----------------------------------------------------------------------------------------


@untimed
@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=1, max_size=6), st.floats(0.3, 0.99))
def test_a_line_that_is_not_overloaded_keeps_every_deadline(intervals, load):
    """Earliest deadline first keeps all deadlines up to full load, less one read that cannot be interrupted."""
    reads = [a_read(n, interval) for n, interval in enumerate(intervals)]
    shortest = min(intervals)
    rate = sum(1 / interval for interval in intervals)
    cost = min(load / rate, shortest / 4)
    cost *= 1 - cost / shortest  # room for the one under way
    schedule, now = Schedule(), START
    for read in reads:
        read.begin(START)
        schedule.put(read, read.due)
    asked = 0
    while now < START + 60:
        read = schedule.next_due(now)
        if read is None:
            assert schedule.wake_at() > now, "nothing due was passed over"
            now = schedule.wake_at()
            continue
        assert read.due <= now, "never before it is due"
        asked += 1
        now += cost
        read.advance(now)
        schedule.put(read, read.due)
    assert sum(read.unit.skipped for read in reads) == 0
    assert asked >= math.floor(60 * rate) - len(reads)
