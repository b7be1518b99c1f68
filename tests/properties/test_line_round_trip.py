"""What is encoded, read back by an independent parser, is exactly what was kept."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.encode import Encode
from collector.types import PointSpec, Quality, Samples, WindowRows
from tests.properties.line_protocol import parse_payload

TS = 1_800_000_000_000_000_000
tag_texts = st.text(st.sampled_from("ab ,=\\机.-"), min_size=1, max_size=6).filter(lambda s: not s.endswith("\\"))
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,30}", fullmatch=True).filter(lambda n: not n.endswith("_q"))


@st.composite
def plants(draw):
    """Points of a few devices, categories and tags; a name occurs once."""
    unique = draw(st.lists(names, min_size=1, max_size=12, unique=True))
    tags = draw(st.dictionaries(names.map(lambda n: "t_" + n), tag_texts, max_size=3))
    return [
        PointSpec(
            device=draw(st.sampled_from(["meter1", "ups 2", "a,b=c"])),
            name=name,
            category=draw(st.sampled_from(["power", "cooling"])),
            tags=tuple(sorted(tags.items())),
            type="s64",
            decimals=draw(st.integers(0, 6)),
            state=draw(st.booleans()),
        )
        for name in unique
    ]


def expected_tags(point):
    return (("city", "c 1"), ("site", "s"), ("gateway", "g"), ("device", point.device), *point.tags)


def collect(rows):
    """{(measurement, tags, field, ts): value} of all rows; a key must not come twice with different values."""
    found = {}
    for row in rows:
        _, lines = parse_payload(row.payload)
        for line in lines:
            for name, value in line.fields.items():
                key = (line.measurement, line.tags, name, line.ts_ns)
                assert found.setdefault(key, value) == value
                assert type(found[key]) is type(value)
    return found


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_kept_sample_comes_back_exactly_and_nothing_else(data):
    points = data.draw(plants())
    qualities = st.sampled_from([Quality.GOOD] * 3 + [Quality.CLOCK_UNSURE, Quality.COMM_ERROR, Quality.OUT_OF_RANGE])
    rows = data.draw(
        st.lists(
            st.tuples(
                st.integers(0, len(points) - 1),
                st.integers(0, 3),
                st.one_of(st.integers(-(10**9), 10**9), st.integers(-99, 99)),
                qualities,
                st.booleans(),
            ),
            max_size=80,
            unique_by=lambda row: row[:2],
        )
    )
    encode = Encode(
        points,
        city="c 1",
        site="s",
        gateway="g",
        spool_id="p",
        boot_id="b",
        target_bytes=data.draw(st.sampled_from([1024, 49152])),
    )
    good = [row[3] in (Quality.GOOD, Quality.CLOCK_UNSURE) for row in rows]
    value = [row[2] / (1.0 if points[row[0]].state else 10.0 ** points[row[0]].decimals) for row in rows]
    samples = Samples(
        point=np.array([row[0] for row in rows], np.int32),
        ts_ns=np.array([TS + row[1] for row in rows], np.int64),
        value=np.where(good, value, np.nan).astype(np.float64),
        quality=np.array([row[3] for row in rows], np.uint8),
    )
    keep = np.array([row[4] for row in rows], np.bool_)
    expected, told = {}, {}
    for (p, ts, raw, quality, kept), is_good, v in zip(rows, good, value, strict=True):
        if not kept:
            continue
        key = (points[p].category, expected_tags(points[p]))
        if is_good:
            expected[(*key, points[p].name, TS + ts)] = raw if points[p].state else v
        if quality != told.get(p) or not is_good:
            expected[(*key, points[p].name + "_q", TS + ts)] = int(quality)
        told[p] = quality
    encoded = encode(samples, keep, 1)
    found = collect(encoded)
    assert found == expected
    assert {key: type(v) for key, v in found.items()} == {key: type(v) for key, v in expected.items()}
    assert sum(row.points for row in encoded) == len(expected)


@settings(max_examples=50, deadline=None)
@given(plants(), st.integers(0, 2**31), st.sampled_from([1, 60, 900]))
def test_every_statistic_comes_back(points, seed, window_s):
    rng = np.random.default_rng(seed)
    n = len(points)
    count = rng.integers(0, 3, n).astype(np.int32)
    statistics = np.where(count > 0, rng.integers(-(10**6), 10**6, (4, n)) / 8.0, np.nan)
    rows = WindowRows(
        window_s,
        np.arange(n, dtype=np.int32),
        np.full(n, TS, np.int64),
        *statistics,
        count,
        np.full(n, window_s, np.int32),
    )
    encode = Encode(points, city="c 1", site="s", gateway="g", spool_id="p", boot_id="b")
    found = collect(encode.windows(rows, 1))
    expected = {}
    for k, point in enumerate(points):
        key = (f"{point.category}_{window_s}s", expected_tags(point))
        for suffix, column in zip(("mean", "min", "max", "last"), statistics, strict=True):
            decimals = min(point.decimals + 3, 9) if suffix == "mean" else point.decimals
            if count[k]:
                expected[(*key, f"{point.name}_{suffix}", TS)] = float(f"{column[k]:.{decimals}f}")
        expected[(*key, f"{point.name}_count", TS)] = int(count[k])
        expected[(*key, f"{point.name}_expected", TS)] = window_s
    assert found == expected
