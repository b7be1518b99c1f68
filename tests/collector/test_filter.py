import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.filter import Filter
from collector.types import PointSpec, Quality, Samples

S = 1_000_000_000
START = 1_800_000_000 * S
GOOD, GONE, COMM, UNSURE = Quality.GOOD, Quality.NOT_AVAILABLE, Quality.COMM_ERROR, Quality.CLOCK_UNSURE


def points(*deadbands):
    return [
        PointSpec(device="d", name=f"p{k}", category="c", tags=(), type="u16", deadband=deadband)
        for k, deadband in enumerate(deadbands)
    ]


def samples(*rows):
    """Rows of (point, second, value, quality)."""
    return Samples(
        point=np.array([r[0] for r in rows], np.int32),
        ts_ns=np.array([START + round(r[1] * S) for r in rows], np.int64),
        value=np.array([r[2] if r[3] in (GOOD, UNSURE) else np.nan for r in rows], np.float64),
        quality=np.array([r[3] for r in rows], np.uint8),
    )


def keep(filter_, *rows):
    return filter_(samples(*rows)).tolist()


def test_the_first_reading_is_kept_and_its_repetition_is_not():
    f = Filter(points(0.0), 600, "changes")
    assert keep(f, (0, 0, 0.0, GOOD), (0, 1, 0.0, GOOD)) == [True, False]
    assert keep(f, (0, 2, 0.0, GOOD)) == [False]


def test_without_a_deadband_any_change_is_kept():
    f = Filter(points(0.0), 600, "changes")
    assert keep(f, (0, 0, 1.0, GOOD), (0, 1, np.nextafter(1.0, 2.0), GOOD)) == [True, True]


def test_the_deadband_is_measured_from_the_last_kept_value_so_a_slow_drift_is_seen():
    f = Filter(points(1.0), 600, "changes")
    drift = [(0, k, 0.25 * k, GOOD) for k in range(12)]
    assert keep(f, *drift) == [k in (0, 5, 10) for k in range(12)]


def test_exactly_the_deadband_is_not_yet_a_change():
    f = Filter(points(0.5), 600, "changes")
    assert keep(f, (0, 0, 10.0, GOOD), (0, 1, 10.5, GOOD), (0, 2, 9.5, GOOD), (0, 3, 9.4, GOOD)) == [
        True,
        False,
        False,
        True,
    ]


def test_the_heartbeat_repeats_a_steady_value_with_its_own_time():
    f = Filter(points(5.0), 10, "changes")
    steady = [(0, k, 1.0, GOOD) for k in range(25)]
    assert [k for k, kept in enumerate(keep(f, *steady)) if kept] == [0, 10, 20]


def test_a_kept_change_restarts_the_heartbeat():
    f = Filter(points(0.0), 10, "changes")
    rows = [(0, k, float(k >= 7), GOOD) for k in range(20)]
    assert [k for k, kept in enumerate(keep(f, *rows)) if kept] == [0, 7, 17]


def test_a_clock_that_was_set_back_does_not_silence_a_point():
    f = Filter(points(0.0), 600, "changes")
    assert keep(f, (0, 0, 1.0, GOOD), (0, -7200, 1.0, GOOD), (0, -7199, 1.0, GOOD)) == [True, True, False]


def test_a_failure_is_told_once_and_so_is_the_recovery():
    f = Filter(points(0.0), 5, "changes")
    rows = [(0, 0, 1.0, GOOD), *((0, k, 0, COMM) for k in range(1, 20)), (0, 20, 1.0, GOOD), (0, 21, 1.0, GOOD)]
    assert [k for k, kept in enumerate(keep(f, *rows)) if kept] == [0, 1, 20]


def test_a_point_that_never_answered_is_told_once():
    f = Filter(points(0.0), 5, "changes")
    assert keep(f, (0, 0, 0, COMM), (0, 1, 0, COMM), (0, 2, 0, GONE)) == [True, False, True]


def test_becoming_unsure_of_the_clock_is_a_change():
    f = Filter(points(0.0), 600, "changes")
    assert keep(f, (0, 0, 1.0, UNSURE), (0, 1, 1.0, UNSURE), (0, 2, 1.0, GOOD)) == [True, False, True]


def test_with_all_every_good_value_is_kept_but_a_failure_still_once():
    f = Filter(points(9.0), 600, "all")
    rows = [(0, 0, 1.0, GOOD), (0, 1, 1.0, GOOD), (0, 2, 0, COMM), (0, 3, 0, COMM), (0, 4, 1.0, UNSURE)]
    assert keep(f, *rows) == [True, True, True, False, True]


def test_points_do_not_disturb_each_other():
    f = Filter(points(0.0, 0.0), 600, "changes")
    assert keep(f, (0, 0, 1.0, GOOD), (1, 0, 2.0, GOOD), (0, 1, 1.0, GOOD), (1, 1, 3.0, GOOD)) == [
        True,
        True,
        False,
        True,
    ]


def test_texts_are_kept_when_they_change_or_their_heartbeat_is_due():
    f = Filter(points(0.0), 10, "changes")

    def texts(second, text):
        empty = samples()
        return len(
            f.texts(Samples(empty.point, empty.ts_ns, empty.value, empty.quality, ((0, START + second * S, text),)))
        )

    assert [texts(0, "a"), texts(1, "a"), texts(2, "b"), texts(3, "b"), texts(12, "b"), texts(-50, "b")] == [
        1,
        0,
        1,
        0,
        1,
        1,
    ]


def test_nothing_is_kept_of_nothing():
    assert keep(Filter(points(0.0), 600, "changes")) == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(-5, 30),
            st.sampled_from([0.0, 0.4, 0.5, 0.6, 1.0, -3.0]),
            st.sampled_from([GOOD, GOOD, GOOD, COMM, GONE, UNSURE]),
        ),
        max_size=60,
    ),
    st.sampled_from(["changes", "all"]),
    st.integers(1, 60),
)
def test_filtering_equals_the_plain_model_whatever_the_ticks(rows, publish, tick):
    deadbands = (0.0, 0.5, 2.0)
    last = {}
    expected = []
    for p, second, value, quality in rows:
        good = quality in (GOOD, UNSURE)
        known = last.setdefault(p, {"quality": None, "value": 0.0, "at": 0})
        wanted = quality != known["quality"]
        if good:
            wanted |= publish == "all" or abs(value - known["value"]) > deadbands[p]
            wanted |= not 0 <= second - known["at"] < 10
            if wanted:
                known.update(value=value, at=second)
        known["quality"] = quality
        expected.append(wanted)
    f = Filter(points(*deadbands), 10, publish)
    got = []
    for begin in range(0, len(rows), tick):
        got += keep(f, *rows[begin : begin + tick])
    assert got == expected
