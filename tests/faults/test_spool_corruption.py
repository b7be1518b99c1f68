"""S6 of the fault matrix: flipped bits, missing and zeroed pages, strange files. Nothing wrong is ever delivered."""

import os
import random
import shutil
import sqlite3
import zlib
from contextlib import closing

import pytest

from collector.errors import SpoolUnusable
from collector.spool import file as spool_file
from collector.spool import read_only_rows, repair
from collector.spool.format import PAGE_BYTES, SCHEMA_VERSION
from collector.types import Row
from tests.spool_rows import a_row, a_spool, assert_balanced, crash_image, pending, put, rows_from, seqs

COUNT = 1000
FLIPS = 80
WRITTEN = {row.seq: row for row in rows_from(1, COUNT)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A closed spool of 0.7 MB."""
    path = tmp_path_factory.mktemp("sound") / "spool.db"
    spool = a_spool(path)
    spool.append(list(WRITTEN.values())).result(20)
    spool.close()
    return path


@pytest.fixture
def path(sound, tmp_path):
    """A copy of it, in a place where a spool was opened before."""
    for suffix in ("", ".lock"):
        shutil.copy(f"{sound}{suffix}", tmp_path)
    return tmp_path / sound.name


def flip(path, offset, bit):
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def damaged_copies(sound, directory, seed):
    """Copies with one flipped bit each, anywhere in the file."""
    chance = random.Random(seed)
    for number in range(FLIPS):
        copy = directory / f"{number}.db"
        shutil.copyfile(sound, copy)
        shutil.copyfile(f"{sound}.lock", f"{copy}.lock")
        flip(copy, chance.randrange(sound.stat().st_size), chance.randrange(8))
        yield copy


def delivered(path):
    """What an uplink gets from the spool at `path`, and the books after that."""
    spool = a_spool(path)
    rows = pending(spool)
    stats = spool.stats()
    spool.close()
    return rows, stats


def test_no_flipped_bit_reaches_an_uplink_and_every_missing_row_is_counted(sound, tmp_path):
    missing = refused = renewed = 0
    for copy in damaged_copies(sound, tmp_path, seed=1):
        try:
            rows, stats = delivered(copy)
        except SpoolUnusable:  # a flip made it look like another program's or a newer one's: kept for a human
            refused += 1
            continue
        assert all(row == WRITTEN[row.seq] for row in rows)
        assert_balanced(stats)
        if stats.accepted_rows:
            assert stats.dropped_rows.get("corrupt", 0) == COUNT - len(rows)
            assert stats.next_seq == COUNT + 1
        else:  # the ledger was hit: a new identity, the old file is kept
            renewed += 1
            assert list(copy.parent.glob(f"{copy.name}.corrupt-*"))
        missing += COUNT - len(rows)
    assert missing > FLIPS / 4
    assert refused + renewed < FLIPS / 10


def test_twin_without_the_check_flipped_bits_are_delivered(sound, tmp_path, monkeypatch):
    def believe(record):
        seq, category, ts_ns, points, crc32, payload = record
        return Row(seq, str(category), ts_ns, points, crc32, payload)

    monkeypatch.setattr(spool_file, "unseal", believe)
    wrong = 0
    for copy in damaged_copies(sound, tmp_path, seed=1):
        try:
            rows, _ = delivered(copy)
        except (SpoolUnusable, TypeError):
            continue
        wrong += sum(row.payload != WRITTEN[row.seq].payload for row in rows if row.seq in WRITTEN)
    assert wrong > FLIPS / 2


def test_a_damaged_row_is_quarantined_and_the_next_ones_flow(path):
    spool = a_spool(path)
    (offset,) = [path.read_bytes().find(WRITTEN[500].payload[:40])]
    spool.close()
    flip(path, offset + 30, 3)
    spool = a_spool(path)
    rows = pending(spool)
    assert seqs(rows) == [seq for seq in WRITTEN if seq != 500]
    stats = spool.stats()
    assert stats.dropped_rows == {"corrupt": 1}
    assert stats.dropped_points == {"corrupt": WRITTEN[500].points}
    assert_balanced(stats)
    assert seqs(pending(spool)) == seqs(rows)
    assert spool.stats() == stats
    spool.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT seq FROM quarantine").fetchall() == [(500,)]


def test_a_payload_that_was_damaged_before_it_came_is_not_delivered_either(tmp_path):
    spool = a_spool(tmp_path / "spool.db")
    put(spool, 1)
    spool.append([Row(2, "power", 1, 5, zlib.crc32(b"what was meant"), b"what arrived  ")]).result(20)
    put(spool, 1)
    assert seqs(pending(spool)) == [1, 3]
    assert spool.stats().dropped_points == {"corrupt": 5}
    spool.close()


def test_the_quarantine_is_bounded(tmp_path):
    path = tmp_path / "spool.db"
    spool = a_spool(path)
    count = 3 * spool_file.QUARANTINE_ROWS
    spool.append([Row(seq, "power", 1, 1, 0, b"damaged") for seq in range(1, count + 1)]).result(20)
    assert pending(spool) == []
    assert spool.stats().dropped_rows == {"corrupt": count}
    spool.close()
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT count(*), max(seq) FROM quarantine").fetchone()
    assert found == (spool_file.QUARANTINE_ROWS, count)


def test_a_flipped_bit_cannot_confirm_a_row_for_an_uplink(tmp_path):
    path = tmp_path / "spool.db"
    spool = a_spool(path, ["east", "west"])
    put(spool, 20)
    spool.ack("east", [7]).result(20)
    spool.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE acked SET seq = seq + 8")
        database.commit()
    spool = a_spool(path, ["east", "west"])
    assert seqs(pending(spool, "east")) == list(range(1, 21))
    spool.ack("west", range(1, 21)).result(20)
    assert spool.stats().rows == 20
    spool.close()


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_of_a_truncated_file_the_rest_is_saved(path, share):
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share) // PAGE_BYTES * PAGE_BYTES)
    rows, stats = delivered(path)
    assert_balanced(stats)
    assert stats.next_seq == COUNT + 1
    assert all(row == WRITTEN[row.seq] for row in rows)
    assert len(rows) > COUNT * (share - 0.08)
    assert stats.dropped_rows == {"corrupt": COUNT - len(rows)}
    assert stats.damaged_files == 1


@pytest.mark.parametrize("page", [0, 1, 2, 10, 40, 80])
def test_a_zeroed_page_costs_only_what_was_on_it(path, page):
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    rows, stats = delivered(path)
    assert_balanced(stats)
    assert stats.damaged_files == 1
    assert all(row == WRITTEN[row.seq] for row in rows)
    assert stats.accepted_rows in (0, COUNT)
    if page >= 10:
        assert len(rows) > COUNT - 60


def test_identity_goes_on_when_rows_are_lost_but_not_when_the_ledger_is(path):
    spool = a_spool(path)
    before = spool.spool_id
    spool.close()
    with path.open("r+b") as file:
        file.seek(40 * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    spool = a_spool(path)
    assert len(pending(spool)) < COUNT
    assert (spool.spool_id, spool.next_seq) == (before, COUNT + 1)
    put(spool, 1)
    spool.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE ledger SET body = replace(body, '\"next_seq\": 1002', '\"next_seq\": 1001')")
        assert database.total_changes == 1
        database.commit()
    spool = a_spool(path)
    assert spool.spool_id != before
    spool.close()


def test_damage_under_the_open_file_is_survived_without_a_restart(path):
    spool = a_spool(path)
    before = spool.spool_id
    with path.open("r+b") as file:
        file.seek(5 * PAGE_BYTES)
        file.write(b"\xff" * (path.stat().st_size - 20 * PAGE_BYTES))
    rows = pending(spool)
    put(spool, 5)
    assert spool.ack("east", [COUNT + 1]).result(20) == 1
    assert all(row == WRITTEN[row.seq] for row in rows)
    assert seqs(pending(spool))[-4:] == [COUNT + 2, COUNT + 3, COUNT + 4, COUNT + 5]
    assert spool.spool_id == before
    assert spool.stats().damaged_files == 1
    assert_balanced(spool.stats())
    spool.close()


def test_acks_survive_a_replacement(tmp_path):
    path = tmp_path / "spool.db"
    spool = a_spool(path, ["east", "west"])
    put(spool, 400)
    spool.ack("east", range(1, 301)).result(20)
    spool.close()
    pages = path.stat().st_size // PAGE_BYTES
    with path.open("r+b") as file:
        file.truncate((pages - 4) * PAGE_BYTES)
    spool = a_spool(path, ["east", "west"])
    assert spool.stats().damaged_files == 1
    assert seqs(pending(spool, "east"))[0] == 301
    assert seqs(pending(spool, "west"))[0] == 1
    assert_balanced(spool.stats())
    spool.close()


def test_the_damaged_file_is_kept_and_still_readable_by_hand(path):
    damaged = path.read_bytes()[: 40 * PAGE_BYTES]
    path.write_bytes(damaged)
    a_spool(path).close()
    (kept,) = path.parent.glob("spool.db.corrupt-*")
    assert kept.name == "spool.db.corrupt-20270115T080000Z"
    assert kept.read_bytes()[PAGE_BYTES:] == damaged[PAGE_BYTES:]


def test_damaged_files_are_kept_but_not_without_end(path):
    for _ in range(repair.DAMAGED_KEPT + 3):
        path.write_bytes(path.read_bytes()[: 2 * PAGE_BYTES])
        a_spool(path).close()
    assert len(list(path.parent.glob("spool.db.corrupt-*"))) == repair.DAMAGED_KEPT


@pytest.mark.parametrize("contents", [b"#!/bin/sh\necho hello\n", bytes(5000), random.Random(3).randbytes(20_000)])
def test_a_file_that_never_was_a_spool_is_refused_and_kept(tmp_path, contents):
    path = tmp_path / "spool.db"
    path.write_bytes(contents)
    for _ in range(2):
        with pytest.raises(SpoolUnusable, match="not a spool"):
            a_spool(path)
    assert path.read_bytes() == contents


def test_another_programs_database_is_refused_and_kept(tmp_path):
    path = tmp_path / "spool.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE row (seq)")
    before = path.read_bytes()
    with pytest.raises(SpoolUnusable, match="not a spool"):
        a_spool(path)
    assert path.read_bytes() == before


def test_a_schema_of_the_future_is_refused_and_kept(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(SpoolUnusable, match="schema 2 is newer than 1"):
        a_spool(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("contents", [b"", b"garbage" * 1000, bytes(8192)])
def test_garbage_where_a_spool_was_is_put_aside(path, contents):
    path.write_bytes(contents)
    rows, stats = delivered(path)
    assert rows == []
    assert (stats.next_seq, stats.damaged_files) == (1, 1)
    (kept,) = path.parent.glob("spool.db.corrupt-*")
    assert kept.read_bytes() == contents


def test_a_log_without_its_file_is_not_applied_to_a_new_one(tmp_path):
    path = tmp_path / "spool.db"
    spool = a_spool(path)
    put(spool, 5)
    image = crash_image(path, tmp_path / "crashed")
    spool.close()
    image.unlink()
    spool = a_spool(image)
    assert (spool.next_seq, spool.stats().rows) == (1, 0)
    spool.close()
    assert list(image.parent.glob("spool.db.corrupt-*-wal"))


@pytest.mark.parametrize("step", ["filled", "moved aside"])
def test_a_replacement_that_a_crash_interrupts_is_completed_by_the_next_start(path, monkeypatch, step):
    with path.open("r+b") as file:
        file.truncate(50 * PAGE_BYTES)

    class Crash(BaseException):
        pass

    def crash(*_arguments):
        if step == "moved aside":
            move_aside(*_arguments)
        raise Crash

    move_aside = repair._move_aside
    with monkeypatch.context() as patch:
        patch.setattr(repair, "_move_aside", crash)
        with pytest.raises(Crash):
            a_spool(path)
    rows, stats = delivered(path)
    assert len(rows) > 400
    assert stats.damaged_files == 1
    assert_balanced(stats)
    assert not list(path.parent.glob("*.new*"))


def test_a_reader_passes_over_damaged_rows_and_names_them(path):
    offset = path.read_bytes().find(WRITTEN[500].payload[:40])
    flip(path, offset + 30, 3)
    named = []
    assert len(list(read_only_rows(path, on_damaged=named.append))) == COUNT - 1
    assert named == [500]


def test_a_reader_of_a_broken_file_raises_its_own_error(path):
    with path.open("r+b") as file:
        file.seek(3 * PAGE_BYTES)
        file.write(b"\xff" * 50 * PAGE_BYTES)
    with pytest.raises(SpoolUnusable, match="cannot be read"):
        list(read_only_rows(path))


def test_a_row_number_far_out_of_order_is_no_row(tmp_path):
    path = tmp_path / "spool.db"
    spool = a_spool(path)
    put(spool, 20)
    crashed = crash_image(path, tmp_path / "crashed")
    spool.close()
    with closing(sqlite3.connect(crashed)) as database:
        database.execute("UPDATE row SET seq = seq + 1048576 WHERE seq = 9")
        database.commit()
    rows, stats = delivered(crashed)
    assert seqs(rows) == [seq for seq in range(1, 21) if seq != 9]
    assert stats.next_seq == 21
    assert stats.dropped_points == {"corrupt": a_row(9).points}
    assert_balanced(stats)
    assert seqs(read_only_rows(crashed)) == seqs(rows)


def test_rows_between_and_behind_two_damaged_pages_are_saved(path):
    with path.open("r+b") as file:
        for page in (30, 60):
            file.seek(page * PAGE_BYTES)
            file.write(bytes(PAGE_BYTES))
    rows, stats = delivered(path)
    assert len(rows) > COUNT - 40
    assert stats.dropped_rows == {"corrupt": COUNT - len(rows)}


def test_after_an_unclean_stop_damaged_pages_are_found_before_the_start(tmp_path):
    path = tmp_path / "spool.db"
    spool = a_spool(path)
    for _ in range(12):
        put(spool, 20, 50_000)
    crashed = crash_image(path, tmp_path / "crashed")
    spool.close()
    with crashed.open("r+b") as file:
        file.seek(20 * PAGE_BYTES)  # long out of the log, which would have healed it
        file.write(bytes(PAGE_BYTES))
    spool = a_spool(crashed)
    assert spool.stats().damaged_files == 1
    assert 220 < spool.stats().rows < 240
    assert_balanced(spool.stats())
    spool.close()


def test_identity_and_sequence_go_on_when_the_open_file_is_wiped(path):
    spool = a_spool(path)
    before = spool.spool_id
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\xff" * (path.stat().st_size - PAGE_BYTES))
    with open(f"{path}-wal", "r+b") as log:
        log.write(b"\xff" * os.path.getsize(log.name))
    assert pending(spool) == []
    assert (spool.spool_id, spool.next_seq) == (before, COUNT + 1)
    assert spool.stats().dropped_rows == {"corrupt": COUNT}
    rows = put(spool, 3)
    assert pending(spool) == rows
    spool.close()
