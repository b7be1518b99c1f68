import logging
import os
import sqlite3
import threading
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import replace

import pytest

from collector.clock import FakeClock
from collector.encode import ROW_BYTES
from collector.errors import SpoolError, SpoolFull, SpoolLocked, SpoolUnusable
from collector.spool import Spool, read_only_rows, thread
from collector.spool.format import PAGE_BYTES
from tests.spool_rows import MIB, T0_NS, a_row, a_spool, assert_balanced, crash_image, pending, put, rows_from, seqs


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path):
    spool = a_spool(path)
    yield spool
    spool.close()


def hold_the_thread(spool):
    """Stop the spool's thread inside a listener, until the event that is returned is set."""
    arrived, go = threading.Event(), threading.Event()

    def wait(_seq):
        arrived.set()
        go.wait(20)

    spool.add_listener(wait)
    spool.append(rows_from(spool.next_seq, 1))
    assert arrived.wait(20)
    return go


def test_rows_come_back_as_they_were_appended(spool):
    rows = put(spool, 5)
    assert pending(spool) == rows


def test_sequence_numbers_begin_at_one_and_follow_the_commits(spool):
    assert spool.next_seq == 1
    put(spool, 3)
    assert spool.next_seq == 4


def test_an_acknowledged_row_is_gone_and_the_others_stay(spool):
    put(spool, 5)
    assert spool.ack("east", [2, 4]).result(20) == 2
    assert seqs(pending(spool)) == [1, 3, 5]
    assert_balanced(spool.stats())


def test_fetch_stays_between_the_two_numbers(spool):
    put(spool, 9)
    assert seqs(spool.fetch("east", after_seq=3, limit_bytes=1 << 30, before_seq=7).result(20)) == [4, 5, 6]


def test_fetch_stops_before_its_limit_but_gives_one_row_at_least(spool):
    size = len(put(spool, 5)[0].payload)
    assert seqs(spool.fetch("east", after_seq=0, limit_bytes=2 * size + 1).result(20)) == [1, 2]
    assert seqs(spool.fetch("east", after_seq=0, limit_bytes=1).result(20)) == [1]


def test_fetch_takes_any_numbers_without_harm(spool):
    put(spool, 2)
    assert seqs(spool.fetch("east", after_seq=-(10**30), limit_bytes=1 << 30, before_seq=10**30).result(20)) == [1, 2]
    assert spool.fetch("east", after_seq=10**30, limit_bytes=1 << 30).result(20) == []


def test_acks_of_rows_that_are_not_held_are_ignored_and_counted(spool):
    put(spool, 3)
    assert spool.ack("east", [2]).result(20) == 1
    assert spool.ack("east", [2, 0, -1, 4, 10**30]).result(20) == 0
    assert spool.stats().unknown_acks == 5
    assert seqs(pending(spool)) == [1, 3]


def test_an_unknown_uplink_is_refused(spool):
    with pytest.raises(ValueError, match="no uplink 'west'; there are east"):
        spool.ack("west", [1])
    with pytest.raises(ValueError, match="no uplink 'west'"):
        spool.fetch("west", after_seq=0, limit_bytes=1)


def test_rows_that_leave_a_gap_are_refused_and_change_nothing(spool):
    put(spool, 2)
    with pytest.raises(ValueError, match="row 3 comes next"):
        spool.append(rows_from(4, 2)).result(20)
    with pytest.raises(ValueError, match="row 4 comes next"):
        spool.append([a_row(3), a_row(5)]).result(20)
    assert spool.next_seq == 3
    put(spool, 1)
    assert_balanced(spool.stats())


def test_a_wrong_append_fails_nobody_else_in_its_commit(spool):
    go = hold_the_thread(spool)
    wrong, right, ack = spool.append([a_row(99)]), spool.append([a_row(2)]), spool.ack("east", [1])
    go.set()
    assert (right.result(20), ack.result(20)) == (1, 1)
    with pytest.raises(ValueError):
        wrong.result(20)


def test_an_append_may_be_repeated_with_more_rows_behind(spool):
    rows = put(spool, 3)
    assert spool.append(rows + rows_from(4, 2)).result(20) == 5
    assert seqs(pending(spool)) == [1, 2, 3, 4, 5]
    assert spool.stats().accepted_rows == 5


def test_a_number_that_is_taken_is_refused_for_other_contents(spool):
    put(spool, 3)
    with pytest.raises(ValueError, match="row 2 is there already"):
        spool.append([replace(a_row(2), points=1000)]).result(20)


def test_waiting_commands_share_one_commit(spool):
    go = hold_the_thread(spool)
    before = spool.stats().commits
    futures = [spool.append([a_row(seq)]) for seq in range(2, 30)] + [spool.ack("east", [1])]
    go.set()
    assert all(future.result(20) == 1 for future in futures)
    assert spool.stats().commits == before + 1


def test_acks_alone_wait_for_the_commit_of_the_next_append(path, monkeypatch):
    monkeypatch.setattr(thread, "ACK_HOLD_S", 60)
    spool = a_spool(path)
    put(spool, 5)
    acks = [spool.ack("east", [seq]) for seq in (1, 2, 3)]
    before = spool.stats().commits
    put(spool, 1)
    assert [ack.result(20) for ack in acks] == [1, 1, 1]
    assert spool.stats().commits == before + 1
    spool.close()


def test_a_fetch_does_not_return_what_was_acknowledged_before_it(path, monkeypatch):
    monkeypatch.setattr(thread, "ACK_HOLD_S", 60)
    spool = a_spool(path)
    put(spool, 3)
    spool.ack("east", [1, 2])
    assert seqs(pending(spool)) == [3]
    spool.close()


def test_a_lazy_ack_waits_for_whatever_comes_next(path, monkeypatch):
    monkeypatch.setattr(thread, "LAZY_ACK_HOLD_S", 60)
    spool = a_spool(path)
    put(spool, 5)
    before = spool.stats().commits
    lazy = spool.ack("east", [1], lazily=True)
    assert spool.ack("east", [2]).result(20) == lazy.result(20) == 1, "one that is not lazy waits shortly only"
    assert spool.stats().commits == before + 1
    lazy = spool.ack("east", [3], lazily=True)
    put(spool, 1)
    assert lazy.result(20) == 1
    assert spool.stats().commits == before + 2
    lazy = spool.ack("east", [4], lazily=True)
    spool.close()
    assert lazy.result(20) == 1


def test_a_lazy_ack_that_nothing_follows_is_committed_all_the_same(path, monkeypatch):
    monkeypatch.setattr(thread, "LAZY_ACK_HOLD_S", 0.2)
    spool = a_spool(path)
    put(spool, 1)
    assert spool.ack("east", [1], lazily=True).result(20) == 1
    spool.close()


def test_an_ack_without_company_is_committed_all_the_same(spool):
    put(spool, 1)
    assert spool.ack("east", [1]).result(20) == 1
    assert spool.stats().rows == 0


def test_a_listener_hears_the_rows_of_each_commit_that_has_some(spool):
    heard = []
    spool.add_listener(heard.append)
    committed = [put(spool, 3), put(spool, 2)]
    spool.ack("east", [1]).result(20)
    with pytest.raises(ValueError, match="row 6 comes next"):
        spool.append([a_row(9)]).result(20)
    pending(spool)  # the listener is called after the append resolves
    assert heard == committed


def test_what_a_listener_hears_is_durable_already(path, tmp_path):
    images = []

    def crash(rows):
        image = crash_image(path, tmp_path / f"crash{len(images)}")
        images.append((rows, spool.next_seq, list(read_only_rows(image))))

    spool = a_spool(path)
    spool.add_listener(crash)
    put(spool, 3)
    put(spool, 2)
    spool.close()
    assert [(seqs(rows), following, seqs(found)) for rows, following, found in images] == [
        ([1, 2, 3], 4, [1, 2, 3]),
        ([4, 5], 6, [1, 2, 3, 4, 5]),
    ]


def test_rows_that_the_disk_refused_are_told_to_no_listener(path):
    spool = a_spool(path, max_bytes=MIB)
    heard = []
    spool.add_listener(heard.append)
    with pytest.raises(SpoolFull):
        spool.append([a_row(1, 2 * MIB)]).result(20)
    rows = put(spool, 1)
    spool.close()
    assert heard == [rows]


def test_a_failing_listener_harms_nobody(spool, caplog):
    def fail(_seq):
        raise RuntimeError("the loop is closed")

    heard = []
    spool.add_listener(fail)
    spool.add_listener(heard.append)
    put(spool, 1)
    pending(spool)
    assert [seqs(rows) for rows in heard] == [[1]]
    assert "a listener failed" in caplog.text


def test_a_cancelled_append_is_not_carried_out(spool):
    go = hold_the_thread(spool)
    cancelled = spool.append([a_row(2)])
    assert cancelled.cancel()
    go.set()
    with pytest.raises(CancelledError):
        cancelled.result(20)
    assert seqs(pending(spool)) == [1]


def test_too_many_waiting_commands_are_refused_at_once(path, monkeypatch):
    monkeypatch.setattr(thread, "COMMANDS_MAX", 4)
    spool = a_spool(path)
    go = hold_the_thread(spool)
    futures = [spool.ack("east", [1]) for _ in range(6)]
    refused = [future for future in futures if future.done()]
    assert len(refused) == 2
    assert all(isinstance(future.exception(), SpoolFull) for future in refused)
    go.set()
    spool.close()


def test_close_commits_what_waits(path):
    spool = a_spool(path)
    futures = [spool.append([a_row(seq)]) for seq in range(1, 50)]
    spool.close()
    assert all(future.result(0) == 1 for future in futures)
    reopened = a_spool(path)
    assert len(pending(reopened)) == 49
    reopened.close()


def test_after_close_everything_is_refused(path):
    spool = a_spool(path)
    spool.close()
    spool.close()
    for future in (spool.append([a_row(1)]), spool.fetch("east", after_seq=0, limit_bytes=1), spool.ack("east", [1])):
        with pytest.raises(SpoolError, match="not open"):
            future.result(0)


def test_a_clean_stop_and_an_unclean_one_are_told_apart(path, tmp_path):
    spool = a_spool(path)
    assert not spool.was_unclean
    rows = put(spool, 2)
    crashed = crash_image(path, tmp_path / "crashed")
    spool.close()
    spool = a_spool(path)
    assert not spool.was_unclean
    spool.close()
    spool = a_spool(crashed)
    assert spool.was_unclean
    assert pending(spool) == rows
    spool.close()


def test_identity_sequence_and_books_survive_a_restart(path):
    spool = a_spool(path)
    put(spool, 6)
    assert spool.ack("east", range(1, 7)).result(20) == 6
    before = spool.stats()
    spool.close()
    spool = a_spool(path)
    assert (spool.spool_id, spool.next_seq) == (before.spool_id, 7)
    assert replace(spool.stats(), commits=0, commit_ms_max=0) == replace(before, commits=0, commit_ms_max=0)
    spool.close()


def test_two_spools_have_different_ids(tmp_path):
    one, two = a_spool(tmp_path / "one.db"), a_spool(tmp_path / "two.db")
    assert one.spool_id != two.spool_id
    assert len(one.spool_id) == 8
    one.close()
    two.close()


def test_a_second_owner_is_refused(path):
    spool = a_spool(path)
    with pytest.raises(SpoolLocked, match="another process owns it"):
        a_spool(path)
    spool.close()
    a_spool(path).close()


@pytest.mark.parametrize("uplinks", [[], ["east", "east"], [str(n) for n in range(65)]])
def test_uplinks_must_be_some_and_differ(path, uplinks):
    with pytest.raises(ValueError, match="uplinks"):
        Spool(path, uplinks=uplinks, max_bytes=MIB, reserve_bytes=0, clock=FakeClock())


def test_a_cap_below_the_least_is_refused(path):
    with pytest.raises(ValueError, match="a cap of 1000 bytes"):
        Spool(path, uplinks=["east"], max_bytes=1000, reserve_bytes=0, clock=FakeClock())


def test_a_directory_that_is_not_there_is_an_error_with_the_path(tmp_path):
    with pytest.raises(SpoolError, match="nowhere"):
        a_spool(tmp_path / "nowhere" / "spool.db")


def test_nobody_else_may_read_the_files(spool, path):
    put(spool, 1)
    assert [found.name for found in path.parent.iterdir() if found.stat().st_mode & 0o077] == []


def test_a_row_stays_until_every_uplink_has_it(path):
    spool = a_spool(path, ["east", "west", "remote"])
    put(spool, 3)
    assert spool.ack("east", [1, 2, 3]).result(20) == 3
    assert spool.ack("west", [1, 3]).result(20) == 2
    assert spool.ack("remote", [1]).result(20) == 1
    assert spool.stats().rows == 2
    assert spool.stats().pending == {"east": 0, "west": 1, "remote": 2}
    assert [seqs(pending(spool, name)) for name in ("east", "west", "remote")] == [[], [2], [2, 3]]
    assert_balanced(spool.stats())
    spool.close()


def test_an_ack_repeated_by_one_uplink_does_not_stand_for_another(path):
    spool = a_spool(path, ["east", "west"])
    put(spool, 1)
    for _ in range(3):
        spool.ack("east", [1]).result(20)
    assert seqs(pending(spool, "west")) == [1]
    assert spool.stats().unknown_acks == 2
    spool.close()


def test_a_new_uplink_gets_the_rows_that_are_there(path):
    spool = a_spool(path, ["east"])
    put(spool, 3)
    assert spool.ack("east", [1]).result(20) == 1
    spool.close()
    spool = a_spool(path, ["east", "west"])
    assert seqs(pending(spool, "west")) == [2, 3]
    spool.close()


def test_a_removed_uplink_holds_nothing_back(path):
    spool = a_spool(path, ["east", "west"])
    put(spool, 3)
    assert spool.ack("east", [1, 2]).result(20) == 2
    spool.close()
    spool = a_spool(path, ["east"])
    assert seqs(pending(spool)) == [3]
    assert spool.stats().acked_rows == 2
    assert_balanced(spool.stats())
    spool.close()


def test_a_replaced_uplink_leaves_its_rows_to_its_successor(path):
    spool = a_spool(path, ["east", "west"])
    put(spool, 3)
    assert spool.ack("east", [1, 2]).result(20) == 2
    assert spool.ack("west", [3]).result(20) == 1
    spool.close()
    spool = a_spool(path, ["remote", "east"])
    assert seqs(pending(spool, "remote")) == [1, 2, 3]
    assert seqs(pending(spool, "east")) == [3]
    spool.close()


def test_at_the_cap_the_oldest_rows_go_and_are_counted(path, caplog):
    spool = a_spool(path, max_bytes=2 * MIB)
    for _ in range(20):
        put(spool, 5, 50_000)
    stats = spool.stats()
    held = seqs(pending(spool))
    assert held == list(range(101 - len(held), 101))
    assert stats.dropped_rows == {"cap": 100 - len(held)}
    assert stats.first_dropped_ts_ns == T0_NS + 1_000_000_000
    assert stats.last_dropped_ts_ns == T0_NS + (100 - len(held)) * 1_000_000_000
    assert stats.bytes <= stats.max_bytes
    assert len(held) * 50_000 > 0.75 * stats.max_bytes
    assert_balanced(stats)
    spool.close()
    assert path.stat().st_size <= 2 * MIB
    assert caplog.text.count("rows dropped so far") == 1


def test_tiny_rows_fill_the_cap_too(path):
    spool = a_spool(path, max_bytes=MIB)
    for _ in range(12):
        put(spool, 500, 300)
    stats = spool.stats()
    assert stats.rows * 330 > 0.7 * MIB
    assert stats.dropped_rows["cap"] > 0
    assert_balanced(stats)
    spool.close()


def test_acks_fit_under_the_cap_too(path):
    spool = a_spool(path, ["east", "west"], max_bytes=MIB)
    for _ in range(12):
        for row in put(spool, 500, 300)[::2]:
            spool.ack("east", [row.seq])
    stats = spool.stats()
    assert stats.bytes <= MIB
    assert stats.failed_commits == 0
    assert_balanced(stats)
    spool.close()


def test_one_append_larger_than_the_cap_keeps_its_newest_rows(path):
    spool = a_spool(path, max_bytes=MIB)
    put(spool, 60, 50_000)
    held = seqs(pending(spool))
    assert held[-1] == 60
    assert spool.stats().accepted_rows == 60
    assert_balanced(spool.stats())
    spool.close()


def test_a_row_that_can_never_fit_is_refused_and_costs_nothing(path):
    spool = a_spool(path, max_bytes=MIB)
    put(spool, 3)
    with pytest.raises(SpoolFull, match="nothing left to drop") as refused:
        spool.append([a_row(4, 2 * MIB)]).result(20)
    assert refused.value.retryable
    assert seqs(pending(spool)) == [1, 2, 3]
    assert_balanced(spool.stats())
    spool.close()


def test_acks_do_not_fail_with_the_append_they_travel_with(path):
    spool = a_spool(path, max_bytes=MIB)
    go = hold_the_thread(spool)
    ack, append = spool.ack("east", [1]), spool.append([a_row(2, 2 * MIB)])
    go.set()
    assert ack.result(20) == 1
    with pytest.raises(SpoolFull):
        append.result(20)
    spool.close()


def test_a_lowered_cap_holds_from_the_start(path):
    spool = a_spool(path, max_bytes=8 * MIB)
    put(spool, 100, 50_000)
    spool.close()
    spool = a_spool(path, max_bytes=2 * MIB)
    assert spool.stats().bytes <= 2 * MIB
    assert spool.stats().rows > 20
    put(spool, 10, 50_000)
    assert spool.stats().bytes <= 2 * MIB
    assert_balanced(spool.stats())
    spool.close()


def test_acknowledged_space_is_used_again(path):
    spool = a_spool(path)
    for _ in range(60):
        rows = put(spool, 10, 50_000)
        spool.ack("east", seqs(rows))
    assert spool.ack("east", []).result(20) == 0
    spool.close()
    assert path.stat().st_size < 3 * MIB


def test_a_row_of_the_size_that_is_aimed_at_takes_eight_pages(path):
    spool = a_spool(path)
    empty = spool.stats().bytes
    put(spool, 50, ROW_BYTES - len(a_row(1, 0).payload))
    assert spool.stats().bytes - empty <= (8 * 50 + 2) * PAGE_BYTES
    spool.close()


def test_the_log_file_stays_small(path):
    spool = a_spool(path)
    for _ in range(100):
        spool.ack("east", seqs(put(spool, 10, 50_000)))
    assert os.path.getsize(f"{path}-wal") < 10 * MIB
    spool.close()


def test_two_uplinks_cost_no_room_when_both_have_everything(path):
    spool = a_spool(path, ["east", "west"])
    for _ in range(20):
        numbers = seqs(put(spool, 20))
        spool.ack("east", numbers).result(20)
        spool.ack("west", numbers).result(20)
    spool.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM acked").fetchone() == (0,)


def test_a_reader_sees_every_row_while_the_owner_works(spool, path):
    rows = put(spool, 200)
    reader = read_only_rows(path)
    first = next(reader)
    put(spool, 10)
    assert [first, *reader] == rows + rows_from(201, 10)
    assert spool.ack("east", [1]).result(20) == 1


def test_a_reader_changes_nothing(path):
    spool = a_spool(path)
    put(spool, 3)
    spool.close()
    before = path.read_bytes()
    assert len(list(read_only_rows(path))) == 3
    assert path.read_bytes() == before


@pytest.mark.parametrize("contents", [b"", b"some text", b"SQLite format 3\0" + bytes(84)])
def test_a_reader_refuses_what_is_not_a_spool(path, contents):
    path.write_bytes(contents)
    with pytest.raises(SpoolUnusable, match="not a spool"):
        list(read_only_rows(path))


def test_a_reader_says_when_there_is_no_file(path):
    with pytest.raises(SpoolUnusable, match="No such file"):
        list(read_only_rows(path))
    assert not path.exists()


def test_a_start_in_good_order_names_the_sqlite_version_and_warns_of_nothing(path, caplog):
    caplog.set_level(logging.INFO)
    a_spool(path).close()
    assert f"SQLite {sqlite3.sqlite_version}; look inside with mode=ro only" in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_file_is_kept_as_promised(spool, path):
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    (level,) = spool._owner.file._db.execute("PRAGMA synchronous").fetchone()
    assert level == 2
