"""pace: patient with a database that is down, and quiet about it."""

import logging
import random

import pytest

from collector.bridge.pace import REFUSED_PAUSE_S, Pace
from collector.clock import FakeClock
from collector.errors import StoreBusy, StoreRefused, UplinkLost


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def pace(clock):
    return Pace("db", 60.0, clock, random.Random(1))


def test_pauses_grow_to_the_longest_with_jitter_and_start_small_after_a_success(pace):
    pauses = [pace.failed(StoreBusy("no")) for _ in range(12)]
    for n, pause in enumerate(pauses):
        longest = min(0.5 * 2**n, 60.0)
        assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == 12
    pace.succeeded()
    assert pace.failed(StoreBusy("no")) <= 0.5


def test_never_earlier_than_the_database_asked(pace):
    assert pace.failed(StoreBusy("no", retry_after_s=17.0)) == 17.0
    assert all(pace.failed(StoreBusy("no", 0.0)) > 0 for _ in range(3))


def test_a_refusal_is_asked_about_at_most_once_a_minute(pace):
    assert all(pace.failed(StoreRefused("401")) >= REFUSED_PAUSE_S for _ in range(5))


def test_a_success_that_may_not_last_keeps_the_pauses_growing(pace):
    for _ in range(6):
        pace.failed(UplinkLost("kicked"))
        pace.succeeded(steady=False)
    assert pace.failed(UplinkLost("kicked")) >= 16.0
    assert pace.last_error == "kicked"


def test_one_warning_per_outage_one_alarm_per_refusal_and_one_line_at_the_end(pace, clock, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(50):
        pace.failed(StoreBusy("down"))
        clock.advance(2.0)
    for _ in range(50):
        pace.failed(StoreRefused("401"))
        clock.advance(2.0)
    assert pace.down_s == 200.0
    pace.succeeded()
    pace.succeeded()
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]
    assert "200.0 s and 100 failures" in caplog.records[-1].getMessage()
    assert (pace.down_s, pace.last_error) == (0.0, "")
