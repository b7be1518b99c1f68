import math

import numpy as np
import pytest

from collector import aggregate as aggregate_module
from collector.aggregate import GRACE_NS, Aggregate
from collector.types import PointSpec, Quality, Samples

S = 1_000_000_000
DAY = 86_400
MINUTE = 1_800_000_000  # a full minute and a full hour of UTC
GOOD = Quality.GOOD


def points(count=1, **kwargs):
    return [
        PointSpec(
            device=f"d{k}",
            name="p",
            category="c",
            tags=(),
            type=kwargs.get("type", "f32"),
            **{key: value for key, value in kwargs.items() if key != "type"},
        )
        for k in range(count)
    ]


def samples(*rows):
    """Rows of (point, second, value) or (point, second, value, quality)."""
    qualities = [r[3] if len(r) > 3 else GOOD for r in rows]
    return Samples(
        point=np.array([r[0] for r in rows], np.int32),
        ts_ns=np.array([round(r[1] * S) for r in rows], np.int64),
        value=np.array([r[2] for r in rows], np.float64),
        quality=np.array(qualities, np.uint8),
    )


def feed(aggregate, *rows, now):
    """Closed windows as {(width, point, start second): row}."""
    closed = aggregate(samples(*rows), round(now * S))
    found = {}
    for window in closed:
        for k in range(len(window)):
            key = (window.window_s, int(window.point[k]), int(window.ts_ns[k]) / S)
            assert key not in found
            found[key] = {
                name: getattr(window, name)[k].item() for name in ("mean", "low", "high", "last", "count", "expected")
            }
    return found


def every_second(first, last, value=lambda t: float(t % 7), point=0):
    return [(point, t, value(t)) for t in range(first, last)]


def test_a_full_minute_has_its_statistics_and_its_start_as_timestamp():
    a = Aggregate(points(), [60])
    assert feed(a, *every_second(MINUTE, MINUTE + 60), now=MINUTE + 60) == {}
    closed = feed(a, now=MINUTE + 62)
    values = [t % 7 for t in range(MINUTE, MINUTE + 60)]
    assert closed == {
        (60, 0, MINUTE): {
            "mean": pytest.approx(sum(values) / 60, rel=1e-12),
            "low": 0.0,
            "high": 6.0,
            "last": values[-1],
            "count": 60,
            "expected": 60,
        }
    }


def test_a_window_closes_once_and_only_after_its_grace():
    a = Aggregate(points(), [60])
    feed(a, *every_second(MINUTE, MINUTE + 60), now=MINUTE + 60)
    assert feed(a, now=MINUTE + 60 + GRACE_NS / S - 0.001) == {}
    assert len(feed(a, now=MINUTE + 60 + GRACE_NS / S)) == 1
    assert feed(a, now=MINUTE + 63) == {}


def test_a_reading_of_the_next_window_waits_for_its_own():
    a = Aggregate(points(), [60])
    rows = every_second(MINUTE, MINUTE + 62)
    closed = feed(a, *rows, now=MINUTE + 62)
    assert [row["count"] for row in closed.values()] == [60]
    closed = feed(a, *every_second(MINUTE + 62, MINUTE + 120), now=MINUTE + 122)
    assert [(key[2] - MINUTE, row["count"]) for key, row in closed.items()] == [(60, 60)]


def test_windows_of_several_lengths_run_side_by_side():
    a = Aggregate(points(), [10, 60])
    closed = {}
    for t in range(MINUTE, MINUTE + 130):
        closed |= feed(a, (0, t, 1.0), now=t + 0.5)
    assert {key: row["count"] for key, row in closed.items()} == {
        **{(10, 0, MINUTE + 10 * k): 10 for k in range(12)},
        **{(60, 0, MINUTE + 60 * k): 60 for k in range(2)},
    }


def test_a_window_that_was_seen_only_in_part_does_not_look_complete():
    a = Aggregate(points(), [60])
    closed = feed(a, *[(0, MINUTE + 15.3 + k, 1.0) for k in range(44)], now=MINUTE + 62)
    assert [(row["count"], row["expected"]) for row in closed.values()] == [(44, 60)]


def test_a_slow_point_is_expected_when_it_is_due():
    a = Aggregate(points(interval_s=25.0), [60])
    closed = {}
    for t in range(MINUTE, MINUTE + 300, 5):
        rows = [(0, t, 1.0)] if (t - MINUTE) % 25 == 0 else []
        closed |= feed(a, *rows, now=t)
    closed |= feed(a, now=MINUTE + 302)
    due = [sum(1 for t in range(MINUTE + 60 * k, MINUTE + 60 * (k + 1)) if t % 25 == 0) for k in range(5)]
    assert [row["expected"] for row in closed.values()] == due
    assert [row["count"] for row in closed.values()] == [3, 2, 3, 2, 2]


def test_a_point_that_is_due_less_than_once_per_window_gives_a_row_only_when_due():
    a = Aggregate(points(interval_s=300.0), [60])
    closed = feed(a, (0, MINUTE, 1.0), now=MINUTE)
    for t in range(MINUTE, MINUTE + 600, 30):
        closed |= feed(a, now=t + 3)
    assert {key[2] - MINUTE: row["count"] for key, row in closed.items()} == {0: 1, 300: 0}


def test_a_point_without_a_good_reading_still_gives_its_row():
    a = Aggregate(points(2), [60])
    failures = [(1, t, math.nan, Quality.COMM_ERROR) for t in range(MINUTE, MINUTE + 60)]
    closed = feed(a, *every_second(MINUTE, MINUTE + 60), *failures, now=MINUTE + 62)
    row = closed[60, 1, MINUTE]
    assert (row["count"], row["expected"]) == (0, 60)
    assert all(math.isnan(row[name]) for name in ("mean", "low", "high", "last"))


@pytest.mark.parametrize("quality", [q for q in Quality if q not in (GOOD, Quality.CLOCK_UNSURE)])
def test_only_good_readings_enter_and_the_window_after_a_glitch_is_exact(quality):
    a = Aggregate(points(), [60])
    glitch = [(0, MINUTE + 30.5, v, quality) for v in (math.nan, math.inf, -math.inf, 3.4e38)]
    closed = feed(a, *every_second(MINUTE, MINUTE + 60, lambda t: 20.5), *glitch, now=MINUTE + 60)
    closed |= feed(a, *every_second(MINUTE + 60, MINUTE + 120, lambda t: 20.5), now=MINUTE + 122)
    assert [(row["mean"], row["high"], row["count"]) for row in closed.values()] == [(20.5, 20.5, 60)] * 2


def test_a_glitch_that_got_through_harms_its_own_window_only():
    """The twin: were 3.4e38 taken for good, one window would be wrong, and no sum would carry it on."""
    a = Aggregate(points(), [60])
    closed = feed(a, (0, MINUTE + 1, 3.4e38), *every_second(MINUTE + 2, MINUTE + 60, lambda t: 20.5), now=MINUTE + 60)
    closed |= feed(a, *every_second(MINUTE + 60, MINUTE + 120, lambda t: 20.5), now=MINUTE + 122)
    assert [row["mean"] == 20.5 for row in closed.values()] == [False, True]


def test_the_mean_of_a_large_counter_keeps_its_digits():
    a = Aggregate(points(), [60])
    values = [9e15 / 2 + k * 0.5 for k in range(60)]
    closed = feed(a, *[(0, MINUTE + k, v) for k, v in enumerate(values)], now=MINUTE + 62)
    assert closed[60, 0, MINUTE]["mean"] == math.fsum(values) / 60


def test_a_mean_never_leaves_the_span_of_its_values():
    a = Aggregate(points(), [60])
    closed = feed(a, *[(0, MINUTE + k, 0.1 + 0.2) for k in range(60)], now=MINUTE + 62)
    row = closed[60, 0, MINUTE]
    assert row["low"] == row["mean"] == row["high"] == 0.1 + 0.2


@pytest.mark.parametrize("spec", [{"state": True, "type": "u16"}, {"type": "bool"}])
def test_a_state_is_counted_but_never_averaged(spec):
    a = Aggregate(points(**spec), [60])
    row = feed(a, *every_second(MINUTE, MINUTE + 60), now=MINUTE + 62)[60, 0, MINUTE]
    assert (row["count"], row["last"]) == (60, (MINUTE + 59) % 7)
    assert all(math.isnan(row[name]) for name in ("mean", "low", "high"))


def test_strings_have_no_windows():
    assert feed(Aggregate(points(type="string"), [60]), now=MINUTE) == {}
    a = Aggregate(points(type="string"), [60])
    feed(a, now=MINUTE)
    assert feed(a, now=MINUTE + 62) == {}


def test_rows_are_ordered_by_device():
    specs = [PointSpec(device=d, name=f"p{k}", category="c", tags=(), type="f32") for k, d in enumerate("baba")]
    a = Aggregate(specs, [60])
    a(samples(*[(k, MINUTE, 1.0) for k in range(4)]), MINUTE * S)
    (window,) = a(samples(), (MINUTE + 62) * S)
    assert window.point.tolist() == [1, 3, 0, 2]


def test_what_closes_together_comes_in_portions_of_bounded_size(monkeypatch):
    monkeypatch.setattr(aggregate_module, "MAX_ROWS", 3)
    a = Aggregate(points(7), [60])
    a(samples(*[(k, MINUTE, float(k)) for k in range(7)]), MINUTE * S)
    portions = a(samples(), (MINUTE + 62) * S)
    assert [portion.point.tolist() for portion in portions] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [portion.last.tolist() for portion in portions] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0]]


def test_a_late_reading_is_counted_and_never_added_to_another_window():
    a = Aggregate(points(), [60])
    feed(a, *every_second(MINUTE, MINUTE + 60), now=MINUTE + 62)
    feed(a, (0, MINUTE + 59.9, 1e6), now=MINUTE + 63)
    assert a.late == 1
    closed = feed(a, *every_second(MINUTE + 63, MINUTE + 120), now=MINUTE + 122)
    assert [(row["count"], row["high"]) for row in closed.values()] == [(57, 6.0)]


def test_a_stall_of_minutes_keeps_every_reading_in_its_own_window():
    a = Aggregate(points(), [60])
    feed(a, now=MINUTE)
    closed = feed(a, *every_second(MINUTE, MINUTE + 600), now=MINUTE + 602)
    assert {key[2] - MINUTE: row["count"] for key, row in closed.items()} == {60.0 * k: 60 for k in range(10)}
    assert a.late == 0


def test_a_clock_set_forward_by_days_closes_what_was_open_and_invents_nothing_between():
    a = Aggregate(points(), [60])
    closed = feed(a, *every_second(MINUTE, MINUTE + 30), now=MINUTE + 30)
    jump = MINUTE + 3 * DAY
    closed |= feed(a, *every_second(jump, jump + 60), now=jump + 62)
    assert {key[2]: (row["count"], row["expected"]) for key, row in closed.items()} == {
        MINUTE: (30, 60),
        jump: (60, 60),
    }


def hour_back(a):
    """Feed an hour with value 1, set the clock back by an hour in the middle of a minute, go on with value 2."""
    closed = {}

    def run(first, last, value):
        for t in range(first, last):
            new = feed(a, (0, t, value), now=t + 0.5)
            assert not closed.keys() & new.keys()
            closed.update(new)

    run(MINUTE, MINUTE + 3630, 1.0)
    run(MINUTE + 30, MINUTE + 3780, 2.0)
    return {key[2] - MINUTE: row for key, row in closed.items()}


def test_a_clock_set_back_by_hours_repeats_no_window_and_mixes_none():
    a = Aggregate(points(), [60])
    by_start = hour_back(a)
    assert sorted(by_start) == [60.0 * k for k in range(62)]
    assert [by_start[60.0 * k]["mean"] for k in range(60)] == [1.0] * 60
    assert (by_start[3600]["mean"], by_start[3600]["count"]) == (1.0, 30)  # closed at the step, as it was
    assert (by_start[3660]["mean"], by_start[3660]["count"]) == (2.0, 60)
    assert a.late == 3630  # one for each second that came twice


def test_a_window_left_open_when_the_clock_is_set_back_would_mix_two_hours():
    """The twin of the above."""

    class LeftOpen(Aggregate):
        def _close(self, w, closed, *, empty=True):
            if empty:
                super()._close(w, closed)

    mixed = hour_back(LeftOpen(points(), [60]))[3600]
    assert (mixed["count"], mixed["low"], mixed["high"]) == (90, 1.0, 2.0)


def test_a_clock_that_was_years_ahead_is_left_behind():
    a = Aggregate(points(), [60])
    feed(a, *every_second(MINUTE, MINUTE + 30), now=MINUTE + 30)
    glitch = MINUTE + 20 * 365 * DAY
    closed = feed(a, (0, glitch, 5.0), now=glitch)
    assert [row["count"] for row in closed.values()] == [30]
    closed = {}
    for t in range(MINUTE + 31, MINUTE + 190):
        closed |= feed(a, (0, t, 1.0), now=t + 0.5)
    assert {key[2] - MINUTE: row["count"] for key, row in closed.items()} == {glitch - MINUTE: 1, 60: 60, 120: 60}


def test_a_reading_from_a_clock_ahead_of_ours_is_left_out():
    a = Aggregate(points(), [60])
    feed(a, (0, MINUTE, 1.0), (0, MINUTE + 40 * DAY, 9.0), now=MINUTE + 1)
    assert a.late == 1
    assert [row["high"] for row in feed(a, now=MINUTE + 62).values()] == [1.0]


def test_without_windows_nothing_happens():
    a = Aggregate(points(), [])
    assert feed(a, (0, MINUTE, 1.0), now=MINUTE) == {}
    assert a.late == 0


def counted(a, *rows, now):
    """Closed windows as {start second: (delta, resets)} of the only point."""
    found = {}
    for window in a(samples(*rows), round(now * S)):
        for k in range(len(window)):
            found[int(window.ts_ns[k]) / S - MINUTE] = (window.counted.delta[k], window.counted.resets[k])
    return found


def counter(**kwargs):
    return Aggregate(points(counter=True, **kwargs), [60])


def test_what_a_counter_counts_between_two_windows_belongs_to_the_later_one_and_nothing_is_lost():
    a = counter()
    rows = [(0, MINUTE + t, 1000.0 + 0.5 * t) for t in range(0, 180, 7)]
    found = counted(a, *rows, now=MINUTE + 182)
    assert found == {0.0: (28.0, pytest.approx(math.nan, nan_ok=True))} | {
        start: (pytest.approx(delta), pytest.approx(math.nan, nan_ok=True))
        for start, delta in ((60.0, 31.5), (120.0, 28.0))
    }
    assert sum(delta for delta, _ in found.values()) == rows[-1][2] - rows[0][2]


def test_a_counter_that_was_reset_is_flagged_and_never_counts_backwards():
    a = counter()
    found = counted(
        a, (0, MINUTE, 500.0), (0, MINUTE + 1, 501.0), (0, MINUTE + 2, 0.0), (0, MINUTE + 3, 2.0), now=MINUTE + 62
    )
    assert found == {0.0: (3.0, 1.0)}


def test_a_counter_that_ran_over_goes_on_counting():
    a = counter(rollover=6553.6)
    found = counted(a, (0, MINUTE, 6553.0), (0, MINUTE + 1, 6553.5), (0, MINUTE + 2, 0.4), now=MINUTE + 62)
    assert found[0.0][0] == pytest.approx(1.0)
    assert math.isnan(found[0.0][1])


def test_without_its_rollover_the_same_readings_are_a_reset():
    """The twin."""
    found = counted(counter(), (0, MINUTE, 6553.5), (0, MINUTE + 2, 0.4), now=MINUTE + 62)
    assert found == {0.0: (0.0, 1.0)}


@pytest.mark.parametrize("before", [100.0, 3000.0, 6300.0])
def test_a_reset_far_from_the_rollover_is_a_reset(before):
    """Were every fall taken for a roll-over, a meter that lost its memory would have counted thousands."""
    found = counted(counter(rollover=6553.6), (0, MINUTE, before), (0, MINUTE + 2, 0.4), now=MINUTE + 62)
    assert found == {0.0: (0.0, 1.0)}


def test_what_was_counted_while_the_device_was_silent_comes_with_its_first_reading():
    a = counter()
    feed(a, (0, MINUTE, 10.0), (0, MINUTE + 1, math.nan, Quality.COMM_ERROR), now=MINUTE + 62)
    feed(a, (0, MINUTE + 70, math.nan, Quality.COMM_ERROR), now=MINUTE + 122)
    found = counted(a, (0, MINUTE + 130, 25.0), now=MINUTE + 182)
    assert found[120.0][0] == 15.0


def test_a_first_reading_tells_nothing_of_what_was_counted():
    assert math.isnan(counted(counter(), (0, MINUTE, 10.0), now=MINUTE + 62)[0.0][0])


def test_a_late_reading_takes_nothing_from_the_next():
    a = counter()
    feed(a, (0, MINUTE, 10.0), now=MINUTE + 62)
    feed(a, (0, MINUTE + 59, 20.0), now=MINUTE + 63)  # its window is closed
    assert counted(a, (0, MINUTE + 64, 21.0), now=MINUTE + 122)[60.0][0] == 11.0


def test_without_counters_nothing_is_said_of_them():
    a = Aggregate(points(), [60])
    (window,) = a(samples((0, MINUTE, 1.0)), MINUTE * S) or a(samples(), (MINUTE + 62) * S)
    assert window.counted is None


def test_each_point_has_its_own_count():
    specs = [p._replace(counter=k != 1) for k, p in enumerate(points(3))]
    a = Aggregate(specs, [60])
    a(samples(*[(p, MINUTE + t, float(t * (p + 1))) for t in range(5) for p in range(3)]), (MINUTE + 5) * S)
    (window,) = a(samples(), (MINUTE + 62) * S)
    assert window.counted.delta.tolist() == pytest.approx([4.0, math.nan, 12.0], nan_ok=True)
