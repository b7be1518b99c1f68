"""What the gateway's encoder writes is what the bridge takes, whole and without looking at single lines."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.bridge.check import Checked, Limits, check
from collector.bridge.lines import parse_line
from collector.encode import Encode
from collector.types import PointSpec, Quality, Samples, WindowRows

TS_NS = 1_800_000_000_123_456_789
LIMITS = Limits(1 << 20, 20_000)
#: The tags of a site, with everything that has to be escaped and a name in Chinese.
TAGS = (("rack", "A 01,b=c"), ("room", "三楼"))
POINTS = [
    PointSpec("meter-1", "u_l1n", "power", TAGS, "f32", decimals=2),
    PointSpec("meter-1", "mode", "power", TAGS, "u16", state=True),
    PointSpec("crac.2", "supply_temp", "cooling", (), "s16", decimals=1),
    PointSpec("crac.2", "firmware", "cooling", (), "string"),
]


def take(rows) -> list[Checked]:
    verdicts = [check(f"dc/v1/c/s/gw-1/data/{row.category}", row.payload, LIMITS) for row in rows]
    assert all(isinstance(v, Checked) and v.bad == () for v in verdicts), verdicts
    return verdicts


def new_encoder() -> Encode:
    return Encode(POINTS, city="c", site="s", gateway="gw-1", spool_id="0000beef", boot_id="12345678")


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 2), st.floats(-(2.0**40), 2.0**40)), min_size=1, max_size=40),
    qualities=st.lists(st.sampled_from(list(Quality)), min_size=40, max_size=40),
    text=st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=("C",)), max_size=20),
)
def test_every_row_of_samples_passes_whole_and_counts_its_points_rightly(values, qualities, text):
    count = len(values)
    quality = np.array(qualities[:count], np.uint8)
    batch = Samples(
        point=np.array([point for point, _ in values], np.int32),
        ts_ns=TS_NS + np.arange(count, dtype=np.int64),
        value=np.where(quality == Quality.GOOD, [float(int(v)) for _, v in values], np.nan),
        quality=quality,
        texts=((3, TS_NS, text),),
    )
    rows = new_encoder()(batch, np.ones(count, np.bool_), 1)
    for row, verdict in zip(rows, take(rows), strict=True):
        fields = [field for line in verdict.body.splitlines() for field in parse_line(line).fields]
        assert (row.seq, row.points) == (verdict.sender.seq, len(fields))


def test_rows_of_windows_pass_too():
    window = WindowRows(
        window_s=60,
        point=np.array([0, 2], np.int32),
        ts_ns=np.array([TS_NS, TS_NS], np.int64),
        mean=np.array([1.0, np.nan]),
        low=np.array([1.0, np.nan]),
        high=np.array([1.0, np.nan]),
        last=np.array([1.0, np.nan]),
        count=np.array([3, 0], np.int32),
        expected=np.array([3, 3], np.int32),
    )
    rows = new_encoder().windows(window, 1)
    assert rows != []
    take(rows)
