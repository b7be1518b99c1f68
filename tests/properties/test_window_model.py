"""Windows against sums made in plain Python, over random clocks."""

import math
from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.aggregate import Aggregate
from collector.types import PointSpec, Quality, Samples

S = 1_000_000_000
START = 1_800_000_000 * S
WIDTHS = (10, 60)
POINTS = [PointSpec(device=f"d{k}", name="p", category="c", tags=(), type="f64", interval_s=1.0 + k) for k in range(3)]
GLITCHES = [
    (math.nan, Quality.NOT_AVAILABLE),
    (math.inf, Quality.NOT_AVAILABLE),
    (3.4e38, Quality.OUT_OF_RANGE),
    (-32768.0, Quality.COMM_ERROR),
]

scales = st.sampled_from([1.0, 1e-6, 1e9, 1e15])
values = st.builds(lambda base, scale: base * scale, st.floats(-1000, 1000), scales)
readings = st.one_of(
    st.tuples(values, st.sampled_from([Quality.GOOD, Quality.CLOCK_UNSURE])), st.sampled_from(GLITCHES)
)
#: One tick: seconds since the one before, and its readings as (point, share of the tick, reading).
steps = st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1), readings), max_size=8)
forward = st.one_of(st.floats(0.05, 3.0), st.sampled_from([15.0, 70.0, 3600.0, 3 * 86400.0]))
backward = st.sampled_from([-0.5, -30.0, -3600.0, -7200.0])


def run(ticks):
    """Feed the ticks and end with a long pause. Returns closed rows, good readings per window, late."""
    aggregate = Aggregate(POINTS, WIDTHS)
    good = defaultdict(list)
    closed = {}
    now = START
    for dt, rows in [*ticks, (2 * 86400.0, []), (100.0, [])]:
        began, now = now, now + round(dt * S)
        rows = sorted(rows, key=lambda row: row[1])
        stamps = [began + round(share * max(now - began, 0)) if dt > 0 else now for _, share, _ in rows]
        stamps = [min(stamp, now) for stamp in stamps]
        samples = Samples(
            point=np.array([p for p, _, _ in rows], np.int32),
            ts_ns=np.array(stamps, np.int64),
            value=np.array([value for _, _, (value, _) in rows], np.float64),
            quality=np.array([quality for _, _, (_, quality) in rows], np.uint8),
        )
        for (p, _, (value, quality)), stamp in zip(rows, stamps, strict=True):
            if quality in (Quality.GOOD, Quality.CLOCK_UNSURE):
                for width in WIDTHS:
                    good[width, p, stamp // (width * S) * width * S].append(value)
        for window in aggregate(samples, now):
            for k in range(len(window)):
                key = (window.window_s, int(window.point[k]), int(window.ts_ns[k]))
                assert key not in closed, "a window closed twice"
                assert key[2] % (key[0] * S) == 0
                names = ("mean", "low", "high", "last", "count", "expected")
                closed[key] = {name: getattr(window, name)[k].item() for name in names}
    return closed, good, aggregate.late


def assert_statistics(row, expected):
    assert row["count"] == len(expected)
    assert (row["low"], row["high"], row["last"]) == (min(expected), max(expected), expected[-1])
    # The error of a mean is measured against the largest value: differences may cancel to anything.
    assert abs(row["mean"] - math.fsum(expected) / len(expected)) <= 1e-9 * max(map(abs, expected), default=0.0)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(forward, steps), max_size=25))
def test_every_good_reading_is_in_its_window_once_whatever_the_clock_skips(ticks):
    closed, good, late = run(ticks)
    assert late == 0
    for key, expected in good.items():
        assert_statistics(closed[key], expected)
    for key, row in closed.items():
        assert row["count"] == len(good.get(key, []))
        assert row["expected"] >= 0


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.one_of(forward, backward), steps), max_size=25))
def test_a_clock_set_back_costs_readings_but_never_makes_a_wrong_window(ticks):
    closed, good, late = run(ticks)
    counted = sum(row["count"] for row in closed.values())
    assert counted + late == sum(len(values) for values in good.values())
    for key, row in closed.items():
        if row["count"]:
            inside = good[key]
            assert row["count"] <= len(inside)
            assert min(inside) <= row["low"] <= row["mean"] <= row["high"] <= max(inside)
            assert row["last"] in inside


def test_random_readings_with_glitches_equal_the_oracle_to_nine_digits():
    rng = np.random.default_rng(7)
    n = 20_000
    value = rng.normal(1e9, 5.0, n)
    quality = rng.choice([Quality.GOOD, Quality.NOT_AVAILABLE], n, p=[0.9, 0.1]).astype(np.uint8)
    bad = quality != Quality.GOOD
    value[bad] = rng.choice([np.nan, np.inf, -np.inf, 3.4e38], int(bad.sum()))
    ts_ns = START + np.sort(rng.integers(0, 600 * S, n))
    point = rng.integers(0, 3, n).astype(np.int32)
    aggregate = Aggregate(POINTS, [60])
    aggregate(Samples(point[:0], ts_ns[:0], value[:0], quality[:0]), START)
    windows = []
    for part in np.array_split(np.arange(n), 600):
        windows += aggregate(Samples(point[part], ts_ns[part], value[part], quality[part]), int(ts_ns[part[-1]]))
    windows += aggregate(Samples(point[:0], ts_ns[:0], value[:0], quality[:0]), START + 700 * S)
    assert len(windows) == 10
    for window in windows:
        for k in range(3):
            inside = (point == k) & ~bad & (ts_ns // (60 * S) == window.ts_ns[k] // (60 * S))
            assert window.count[k] == inside.sum()
            assert abs(window.mean[k] / np.mean(value[inside]) - 1) <= 1e-9
            assert (window.low[k], window.high[k]) == (value[inside].min(), value[inside].max())
            assert window.last[k] == value[inside][-1]


class CounterModel:
    """What a counter counted, one reading after the other, in whole numbers."""

    def __init__(self, rollover):
        self.rollover = rollover
        self.before = None
        self.windows = {}

    def __call__(self, start, value):
        if self.before is not None:
            delta, steps, resets = self.windows.get(start, (0, 0, 0))
            step = value - self.before
            if step < 0 and self.rollover and 0 <= 32 * (step + self.rollover) <= self.rollover:
                step += self.rollover
            self.windows[start] = (delta + max(step, 0), steps + 1, resets + (step < 0))
        self.before = value


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([0, 256, 65536]),
    st.lists(
        st.tuples(
            st.sampled_from([1, 3, 25, 70]),
            st.one_of(st.integers(0, 7), st.integers(0, 255), st.sampled_from(["reset", "bad", 65535, 250, 0])),
        ),
        max_size=40,
    ),
)
def test_what_counters_count_equals_the_oracle_and_is_never_negative(rollover, steps):
    point = PointSpec("d", "p", "c", (), type="u32", counter=True, rollover=float(rollover))
    aggregate = Aggregate([point], WIDTHS)
    models = {width: CounterModel(rollover) for width in WIDTHS}
    now, value, found = START, 0, {}
    empty = Samples(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint8))
    aggregate(empty, now)
    for pause, step in [*steps, (200, "bad"), (200, "bad")]:
        now += pause * S
        good = step != "bad"
        if good:
            value = 0 if step == "reset" else value + step
            value %= rollover or 2**40
            for width, model in models.items():
                model(now // (width * S) * width * S, value)
        batch = Samples(
            point=np.zeros(1, np.int32),
            ts_ns=np.array([now], np.int64),
            value=np.array([value if good else math.nan], np.float64),
            quality=np.array([Quality.GOOD if good else Quality.COMM_ERROR], np.uint8),
        )
        for window in aggregate(batch, now):
            delta, resets = (column[0].item() for column in window.counted)
            found[window.window_s, int(window.ts_ns[0])] = (delta, resets)
            assert not delta < 0
    for width, model in models.items():
        mine = {start: told for (window_s, start), told in found.items() if window_s == width}
        for start, (delta, resets) in mine.items():
            expected, count, falls = model.windows.get(start, (0, 0, 0))
            assert (delta == expected) if count else math.isnan(delta)
            assert (resets == falls) if falls else math.isnan(resets)
        assert set(model.windows) <= set(mine)
