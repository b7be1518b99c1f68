import zlib

import numpy as np
import pytest

from collector.encode import MAX_SAMPLES, Encode, envelope, escape_tag
from collector.kernels.checksum import crc32_joined
from collector.types import Counted, PointSpec, Quality, Samples, WindowRows
from tests.properties.line_protocol import parse_payload

TS = 1_800_000_000_123_456_789
GOOD, GONE, COMM, UNSURE = Quality.GOOD, Quality.NOT_AVAILABLE, Quality.COMM_ERROR, Quality.CLOCK_UNSURE


def point(name, device="meter1", category="power", **kwargs):
    kwargs = {"type": "f32", "tags": (), "decimals": 1, **kwargs}
    return PointSpec(device=device, name=name, category=category, **kwargs)


def samples(*rows, texts=()):
    """Rows of (point, ts_ns, value, quality)."""
    return Samples(
        point=np.array([r[0] for r in rows], np.int32),
        ts_ns=np.array([r[1] for r in rows], np.int64),
        value=np.array([r[2] for r in rows], np.float64),
        quality=np.array([r[3] for r in rows], np.uint8),
        texts=texts,
    )


def encoder(points, **kwargs):
    names = {"city": "c", "site": "s", "gateway": "g", "spool_id": "sp", "boot_id": "bt"}
    return Encode(points, **{**names, **kwargs})


def encode(encoder_, batch, windows=(), seq=1):
    rows = encoder_(batch, np.ones(len(batch), np.bool_), seq)
    for window in windows:
        rows += encoder_.windows(window, seq + len(rows))
    return rows


def body(row):
    """The row's lines as text, its first line checked."""
    assert row.crc32 == zlib.crc32(row.payload)
    head, lines = parse_payload(row.payload)
    assert head == {
        "gateway": "g",
        "boot": "bt",
        "spool": "sp",
        "seq": str(row.seq),
        "points": str(row.points),
        "crc": head["crc"],
    }
    assert row.ts_ns == min(line.ts_ns for line in lines)
    assert {line.measurement for line in lines} == {row.category}
    return row.payload.partition(b"\n")[2].decode()


def settled(points, **kwargs):
    """An encoder that has told the quality of every point."""
    e = encoder(points, **kwargs)
    encode(e, samples(*[(k, TS, 0.0, GOOD) for k in range(len(points))]))
    return e


def test_one_record_is_one_line_in_exactly_this_form():
    points = [
        point("active_power", tags=(("rack", "r1"), ("room", "a b"))),
        point("mode", state=True, type="u16", tags=(("rack", "r1"), ("room", "a b")), decimals=0),
    ]
    (row,) = encode(settled(points), samples((0, TS, 230.4, GOOD), (1, TS, 3.0, GOOD)), seq=17)
    assert body(row) == (
        f"power,city=c,site=s,gateway=g,device=meter1,rack=r1,room=a\\ b active_power=230.4,mode=3i {TS}\n"
    )
    assert (row.seq, row.category, row.ts_ns, row.points) == (17, "power", TS, 2)


def test_the_first_line_names_the_row_and_carries_the_crc_of_the_lines():
    (row,) = encode(settled([point("x")]), samples((0, TS, 1.0, GOOD)), seq=5)
    lines = f"power,city=c,site=s,gateway=g,device=meter1 x=1.0 {TS}\n".encode()
    first = f"#dc1 gateway=g boot=bt spool=sp seq=5 points=1 crc={zlib.crc32(lines):08x}\n".encode()
    assert row.payload == first + lines
    assert envelope(lines, gateway="g", boot_id="bt", spool_id="sp", seq=5, points=1) == row.payload


@pytest.mark.parametrize(
    ("decimals", "value", "text"),
    [
        (0, 5.0, "5"),
        (0, -5.0, "-5"),
        (1, 230.4, "230.4"),
        (1, 0.0, "0.0"),
        (1, -0.04, "0.0"),
        (1, -0.0, "0.0"),
        (0, -0.4, "0"),
        (2, -0.05, "-0.05"),
        (3, 1234567.891, "1234567.891"),
        (6, 0.000001, "0.000001"),
        (6, 12.5, "12.500000"),
        (1, 99999.95, "99999.9"),
        (1, 99999.96, "100000.0"),
        (0, 9999999.0, "9999999"),
        (0, 10000000.0, "10000000"),
        (1, 12345678.9, "12345678.9"),
        (0, 2.0**53 - 1, "9007199254740991"),
        (3, 4503599627370.495, "4503599627370.495"),
        (7, 1.2345678, "1.2345678"),
        (8, 1.23456789, "1.23456789"),
        (9, 0.000000001, "0.000000001"),
        (0, 9999999999999998.0, "9999999999999998"),
        (0, 10.0**16, "10000000000000000"),
        (0, -(2.0**62), "-4611686018427387904"),
    ],
)
def test_numbers_have_fixed_exact_decimals(decimals, value, text):
    (row,) = encode(settled([point("x", decimals=decimals)]), samples((0, TS, value, GOOD)))
    assert body(row).split(" ")[1] == f"x={text}"


@pytest.mark.parametrize("length", [7, 8, 9, 31, 32, 33, 64, 65, 200])
def test_a_name_of_any_length_is_written_whole(length):
    names = ["n" * length, "m" * length]
    (row,) = encode(settled([point(name) for name in names]), samples((0, TS, 1.0, GOOD), (1, TS, 2.0, GOOD)))
    assert body(row).split(" ")[1] == f"{names[0]}=1.0,{names[1]}=2.0"


@pytest.mark.parametrize("size", [0, 1, 7, 255, 256, 61440, 2**20 + 1])
def test_the_crc_of_joined_texts_follows_from_those_of_both(size):
    first, second = b"#dc1 gateway=g\n", bytes(k * k % 251 for k in range(size))
    assert crc32_joined(zlib.crc32(first), zlib.crc32(second), size) == zlib.crc32(first + second)


def test_bools_and_states_are_integers():
    points = [point("on", type="bool", decimals=0), point("mode", type="s16", state=True, decimals=0)]
    (row,) = encode(settled(points), samples((0, TS, 1.0, GOOD), (1, TS, -2.0, GOOD)))
    assert body(row).split(" ")[1] == "on=1i,mode=-2i"


def test_quality_is_told_when_it_changes_and_when_it_is_good_again():
    e = encoder([point("x")])
    told = []
    for quality in (GOOD, GOOD, COMM, GOOD, GOOD, UNSURE):
        (row,) = encode(e, samples((0, TS, 1.5 if quality in (GOOD, UNSURE) else np.nan, quality)))
        told.append(body(row).split(" ")[1])
    assert told == ["x=1.5,x_q=0i", "x=1.5", "x_q=4i", "x=1.5,x_q=0i", "x=1.5", "x=1.5,x_q=6i"]


def test_a_change_and_back_within_one_tick_is_told_both_times():
    e = settled([point("x")])
    (row,) = encode(e, samples((0, TS, 1.0, GOOD), (0, TS + 1, np.nan, GONE), (0, TS + 2, 2.0, GOOD)))
    fields = [line.split(" ")[1] for line in body(row).splitlines()]
    assert fields == ["x=1.0", "x_q=2i", "x=2.0,x_q=0i"]


def test_what_is_not_kept_is_not_written():
    e = settled([point("x"), point("y")])
    batch = samples((0, TS, 1.0, GOOD), (1, TS, 2.0, GOOD), (0, TS + 1, 3.0, GOOD))
    (row,) = e(batch, np.array([False, True, False]), 1)
    assert body(row).split(" ")[1] == "y=2.0"
    assert e(batch, np.zeros(3, np.bool_), 1) == []


def test_each_measurement_has_its_own_rows_and_they_are_numbered_on():
    points = [point("p"), point("t", category="cooling"), point("q", device="meter2")]
    batch = samples((0, TS, 1.0, GOOD), (1, TS, 2.0, GOOD), (2, TS + 1, 3.0, GOOD), (0, TS + 2, 4.0, GOOD))
    rows = encode(settled(points), batch, seq=100)
    assert [(row.seq, row.category, row.points) for row in rows] == [(100, "power", 3), (101, "cooling", 1)]
    assert [line.split(" ")[0].split("device=")[1] for line in body(rows[0]).splitlines()] == [
        "meter1",
        "meter2",
        "meter1",
    ]


def test_windows_go_to_measurements_of_their_own():
    points = [point("x"), point("mode", state=True, decimals=0), point("t", category="cooling", decimals=2)]
    nan = np.nan
    window = WindowRows(
        window_s=60,
        point=np.array([0, 1, 2], np.int32),
        ts_ns=np.full(3, 1_800_000_000_000_000_000, np.int64),
        mean=np.array([230.44567, nan, nan]),
        low=np.array([229.9, nan, nan]),
        high=np.array([231.0, nan, nan]),
        last=np.array([230.0, 3.0, nan]),
        count=np.array([59, 60, 0], np.int32),
        expected=np.array([60, 60, 60], np.int32),
    )
    power, cooling = encode(encoder(points), samples(), [window], seq=9)
    assert body(power) == (
        "power_60s,city=c,site=s,gateway=g,device=meter1 "
        "x_mean=230.4457,x_min=229.9,x_max=231.0,x_last=230.0,x_count=59i,x_expected=60i,"
        "mode_last=3,mode_count=60i,mode_expected=60i 1800000000000000000\n"
    )
    assert body(cooling).split(" ")[1] == "t_count=0i,t_expected=60i"
    assert [(row.seq, row.category, row.points) for row in (power, cooling)] == [
        (9, "power_60s", 9),
        (10, "cooling_60s", 2),
    ]


def test_counters_tell_what_they_counted_and_only_where_it_happened_that_they_were_reset():
    nan = np.nan
    window = WindowRows(
        60,
        np.array([0, 1, 2], np.int32),
        np.array([0, 0, 0], np.int64),
        *[np.array([2.0, 2.0, 2.0])] * 4,
        *[np.array([1, 1, 1], np.int32)] * 2,
        Counted(np.array([12.34, 0.0, nan]), np.array([nan, 2.0, nan])),
    )
    points = [point("e", decimals=2), point("n", decimals=0), point("power")]
    (row,) = encode(encoder(points), samples(), [window])
    fields = dict(field.split("=") for field in body(row).split(" ")[1].split(","))
    assert (fields["e_delta"], fields["n_delta"], fields["n_resets"]) == ("12.34", "0", "2i")
    assert not {"e_resets", "power_delta", "power_resets"} & fields.keys()


def test_a_mean_gives_up_decimals_that_a_double_does_not_have():
    window = WindowRows(
        60,
        np.array([0], np.int32),
        np.array([0], np.int64),
        *[np.array([2.0**42 + 0.5])] * 4,
        np.array([2], np.int32),
        np.array([2], np.int32),
    )
    (row,) = encode(encoder([point("x", decimals=3)]), samples(), [window])
    assert "x_mean=4398046511104.500," in body(row)


def test_texts_are_quoted():
    e = encoder([point("serial", type="string"), point("model", type="string", category="asset")])
    rows = encode(e, samples(texts=((0, TS, 'a "b" \\ c, d=e'), (1, TS + 1, "x\ny"))), seq=3)
    assert body(rows[0]) == f'power,city=c,site=s,gateway=g,device=meter1 serial="a \\"b\\" \\\\ c, d=e" {TS}\n'
    assert parse_payload(rows[0].payload)[1][0].fields == {"serial": 'a "b" \\ c, d=e'}
    assert [(row.seq, row.category, row.points) for row in rows] == [(3, "power", 1), (4, "asset", 1)]
    assert parse_payload(rows[1].payload)[1][0].fields == {"model": "x y"}


def test_many_texts_are_spread_over_rows_of_the_target_size():
    e = encoder([point("serial", type="string")], target_bytes=1024)
    rows = encode(e, samples(texts=tuple((0, TS + k, "x" * 200) for k in range(20))))
    assert all(len(row.payload) <= 1024 for row in rows)
    assert sum(row.points for row in rows) == 20


@pytest.mark.parametrize("target", [1024, 4096, 49152])
def test_rows_come_close_to_the_target_and_never_exceed_it(target):
    points = [point(f"point_{k}", device=f"meter{k // 10}") for k in range(1000)]
    e = settled(points, target_bytes=target)
    batch = samples(*[(k, TS + second, k * 1.1, GOOD) for second in range(10) for k in range(1000)])
    rows = encode(e, batch, seq=50)
    assert [row.seq for row in rows] == list(range(50, 50 + len(rows)))
    assert all(len(row.payload) <= target for row in rows)
    assert sum(row.points for row in rows) == len(batch)
    line = max(len(text) for row in rows for text in body(row).splitlines())
    assert all(len(row.payload) > target - line - 100 for row in rows[:-1])


def test_a_line_beyond_the_target_is_split_into_lines_that_merge_again():
    points = [point(f"a_rather_long_name_of_a_point_{k}") for k in range(200)]
    batch = samples(*[(k, TS, k * 1.0, GOOD) for k in range(200)])
    rows = encode(settled(points, target_bytes=1024), batch)
    assert all(len(row.payload) <= 1024 for row in rows)
    lines = [line for row in rows for line in parse_payload(row.payload)[1]]
    assert {(line.measurement, line.tags, line.ts_ns) for line in lines} == {
        ("power", (("city", "c"), ("site", "s"), ("gateway", "g"), ("device", "meter1")), TS)
    }
    merged = {name: value for line in lines for name, value in line.fields.items()}
    assert merged == {f"a_rather_long_name_of_a_point_{k}": k * 1.0 for k in range(200)}


def test_a_single_field_longer_than_the_target_is_a_row_of_its_own():
    points = [point("x", tags=(("note", "n" * 3000),)), point("y", tags=(("note", "n" * 3000),))]
    rows = encode(settled(points, target_bytes=1024), samples((0, TS, 1.0, GOOD), (1, TS, 2.0, GOOD)))
    assert [row.points for row in rows] == [1, 1]
    assert [len(parse_payload(row.payload)[1]) for row in rows] == [1, 1]


def test_more_output_than_the_buffer_holds_arrives_whole():
    points = [point(f"p{k}", device=f"d{k % 97}", category=f"c{k % 5}") for k in range(1000)]
    e = settled(points)
    n = MAX_SAMPLES + 5000
    batch = samples(*[(k % 1000, TS + k // 1000, float(k), GOOD) for k in range(n)])
    rows = encode(e, batch, seq=1)
    found = {}
    for row in rows:
        for line in parse_payload(row.payload)[1]:
            for name, value in line.fields.items():
                found[name, line.ts_ns] = value
    assert found == {(f"p{k % 1000}", TS + k // 1000): float(k) for k in range(n)}
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))


def test_many_categories_in_one_tick_arrive_whole():
    points = [point("x", category=f"c{k}") for k in range(2500)]
    rows = encode(settled(points), samples(*[(k, TS, float(k), GOOD) for k in range(2500)]))
    assert sorted(row.category for row in rows) == sorted(p.category for p in points)


def test_escapes_in_tags():
    assert escape_tag("a,b c=d") == "a\\,b\\ c\\=d"
    assert escape_tag("机房 1") == "机房\\ 1"
    assert escape_tag("a\\b") == "a\\b"


@pytest.mark.parametrize("value", ["", "a\nb", "a\\", "\x00", "tab\t"])
def test_what_line_protocol_cannot_hold_is_refused(value):
    with pytest.raises(ValueError, match="cannot be a name or tag"):
        escape_tag(value)
    with pytest.raises(ValueError, match="cannot be a name or tag"):
        encoder([point("x", tags=(("room", value),))])


def test_a_prefix_has_the_fixed_tags_first_and_the_others_sorted():
    prefix = encoder([]).prefix("device health", "meter 1", [("rack", "r"), ("feed", "a")])
    assert prefix == "device\\ health,city=c,site=s,gateway=g,device=meter\\ 1,feed=a,rack=r"


def test_rows_too_small_for_anything_are_refused():
    with pytest.raises(ValueError, match="100 bytes are too small"):
        encoder([], target_bytes=100)


def test_without_points_nothing_is_written():
    assert encode(encoder([]), samples()) == []
