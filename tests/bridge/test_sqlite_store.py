"""sqlite_store: every point once, whatever comes twice; bounded; and somebody else's file is left alone."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.bridge.settings import Sqlite
from collector.bridge.sqlite_store import Counts, Latest, SqliteStore, counts, latest
from collector.errors import LinesRejected, StoreBusy, StoreRefused
from tests.bridge.payloads import TS_NS, line

OLDEST_CAP = 1000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "store.db"


@pytest.fixture
def store(path):
    store = SqliteStore.open(Sqlite(path=str(path), max_points=OLDEST_CAP))
    yield store
    store.close()


def test_values_come_back_exactly_with_their_type_and_timestamp(store, path):
    store.write(line('u=0.1,i=-3i,on=t,t="A, \\"B\\""', ts_ns=TS_NS + 1))
    tags = {"city": "c", "site": "s1", "gateway": "gw1", "device": "m1"}
    expected = {"i": -3, "on": 1, "t": 'A, "B"', "u": 0.1}
    assert latest(path) == [Latest("power", tags, field, TS_NS + 1, value) for field, value in expected.items()]


def test_a_redelivery_overwrites_and_is_counted(store, path):
    store.write(line("u=1") + line("v=1"))
    store.write(line("u=2"))
    assert counts(path) == Counts(points=2, overwritten=1, dropped=0)
    assert [point.value for point in latest(path)] == [2.0, 1.0]


def test_the_order_of_tags_does_not_make_another_series(store, path):
    swapped = b"power,site=s1,city=c,device=m1,gateway=gw1 u=5 %d\n" % TS_NS
    store.write(line("u=1") + swapped)
    assert counts(path).points == 1


def test_latest_is_by_timestamp_and_not_by_arrival(store, path):
    store.write(line("u=2", ts_ns=TS_NS + 5) + line("u=1", ts_ns=TS_NS))
    assert [(point.ts_ns, point.value) for point in latest(path)] == [(TS_NS + 5, 2.0)]


def test_bad_lines_are_named_and_the_good_ones_of_the_same_body_stored(store, path):
    bad = line("i=99999999999999999999i")
    with pytest.raises(LinesRejected) as error:
        store.write(line("u=1") + bad)
    assert (error.value.lines, error.value.others_written, error.value.dropped) == ((bad[:-1],), True, 1)
    assert counts(path).points == 1


def test_above_the_cap_the_oldest_go_and_are_counted(store, path):
    for n in range(12):
        store.write(b"".join(line(f"u={n}", ts_ns=TS_NS + n * 100 + i) for i in range(100)))
    assert counts(path) == Counts(points=OLDEST_CAP, overwritten=0, dropped=200)
    [(oldest,)] = sqlite3.connect(path).execute("SELECT min(ts_ns) FROM readings")
    assert oldest == TS_NS + 200


def test_what_is_written_survives_reopening(store, path):
    store.write(line("u=1"))
    store.close()
    again = SqliteStore.open(Sqlite(path=str(path), max_points=OLDEST_CAP))
    again.write(line("u=2", ts_ns=TS_NS + 1))
    again.close()
    assert counts(path) == Counts(points=2, overwritten=0, dropped=0)


def test_a_failed_write_leaves_nothing_half_done_and_the_next_one_succeeds(store, path):
    store.write(line("u=1"))
    store._db.execute(f"PRAGMA max_page_count = {store._db.execute('PRAGMA page_count').fetchone()[0]}")
    many = b"".join(line(f"u={n}", device=f"x{n}") for n in range(900))
    with pytest.raises(StoreBusy, match="full"):
        store.write(many)
    assert counts(path) == Counts(points=1, overwritten=0, dropped=0)
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.write(many)
    assert counts(path).points == 901
    assert len(latest(path)) == 901


def test_a_locked_file_is_busy_and_not_lost(store, path):
    store._db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="locked"):
        store.write(line())
    other.execute("ROLLBACK")
    other.close()
    store.write(line())
    assert counts(path).points == 1


@pytest.mark.parametrize("content", ["CREATE TABLE theirs(x)", "PRAGMA user_version = 2; CREATE TABLE points(x)"])
def test_a_file_of_somebody_else_or_of_a_newer_bridge_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "other.db"
    theirs = sqlite3.connect(path)
    theirs.executescript(content)
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match="not a store of this version"):
        SqliteStore.open(Sqlite(path=str(path)))
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreRefused, match="cannot be opened"):
        SqliteStore.open(Sqlite(path=str(path)))


def test_reading_a_file_that_is_not_there_is_busy(tmp_path):
    with pytest.raises(StoreBusy):
        latest(tmp_path / "none.db")


writes = st.lists(
    st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, 5), st.integers(-9, 9)), max_size=6), max_size=8
)


@settings(max_examples=40, deadline=None)
@given(writes=writes)
def test_the_file_holds_what_a_dict_would_hold(tmp_path_factory, writes):
    path = tmp_path_factory.mktemp("model") / "store.db"
    store = SqliteStore.open(Sqlite(path=str(path)))
    model, total = {}, 0
    for batch in writes:
        store.write(b"".join(line(f"{field}={value}", ts_ns=TS_NS + at) for field, at, value in batch))
        total += len(batch)
        model |= {(field, TS_NS + at): float(value) for field, at, value in batch}
    rows = store._db.execute("SELECT field, ts_ns, value FROM readings").fetchall()
    store.close()
    assert {(field, ts): value for field, ts, value in rows} == model
    assert counts(path) == Counts(points=len(model), overwritten=total - len(model), dropped=0)
