"""32 units on one 9600 baud line, and then 4 of them die: what the other 28 lose, in virtual time.

The poller, the link and their timing are the daemon's own. One dead unit in real time: test_dead_unit.py.
"""

import statistics

import pytest

from collector.poll import agenda
from collector.poll.probing import PROBE_LONGEST_S
from collector.poll.schedule import Read
from collector.poll.unit import Breaker, Standing
from firmware_tests.virtual_bus import VirtualBus, full_line

UNITS, BAUD, INTERVAL_S = 32, 9600, 4.0
DEAD = {3, 11, 19, 27}
SETTLE_S, COUNT_S = 60.0, 600.0


class Tireless(Read):
    """A read that is never slowed down, however often it stays silent."""

    strikes = property(lambda self: 0, lambda self, value: None)


def line(directory, breaker):
    bus = VirtualBus(full_line(directory, UNITS, BAUD, INTERVAL_S), breaker)
    bus.go(SETTLE_S)
    return bus


def dies(bus):
    """The neighbours' periods and the share of the line that the dead hold, from a minute later on."""
    bus.wire.dead |= DEAD
    bus.go(SETTLE_S)
    held_s = sum(bus.link.held_s[unit] for unit in DEAD)
    periods = bus.periods_s(COUNT_S)
    return periods, (sum(bus.link.held_s[unit] for unit in DEAD) - held_s) / COUNT_S


def test_after_a_minute_four_dead_units_cost_less_than_2_percent_of_the_line_and_their_neighbours_nothing(tmp_path):
    bus = line(tmp_path, Breaker())
    before = bus.periods_s(COUNT_S)
    assert len(before) == UNITS
    assert max(before.values()) == pytest.approx(INTERVAL_S, rel=0.01)
    after, share = dies(bus)
    assert set(after) == set(before) - DEAD
    assert max(after.values()) == pytest.approx(INTERVAL_S, rel=0.01)
    assert 0 < share < 0.02, "they are still asked now and then"
    assert bus.wire.early_gaps == 0


def test_twin_without_breaker_and_slow_down_the_neighbours_lose_a_third_of_their_polls(tmp_path, monkeypatch):
    monkeypatch.setattr(agenda, "Read", Tireless)
    after, share = dies(line(tmp_path, Breaker(down_after_failures=10**9)))
    assert share > 0.3
    assert statistics.mean(after.values()) > 1.3 * INTERVAL_S


def test_dead_units_that_come_back_are_all_noticed_soon_after_the_first(tmp_path):
    bus = line(tmp_path, Breaker())
    bus.wire.dead |= DEAD
    bus.go(1800)
    bus.wire.dead.clear()
    while not any(unit.standing is Standing.UP for unit in bus.units if unit.unit in DEAD):
        bus.go(1.0)
        assert bus.clock.mono() < 1000 + SETTLE_S + 1800 + 1.25 * PROBE_LONGEST_S
    bus.go(10)
    assert all(unit.standing is Standing.UP for unit in bus.units)
