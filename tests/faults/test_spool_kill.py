"""S1 of the fault matrix: SIGKILL of the owner at random moments."""

import random
import signal
import time

import pytest

from collector.errors import SpoolLocked
from tests.faults.spool_children import keep_writing, numbers
from tests.spool_rows import a_row, a_spool, assert_balanced, pending

KILLS = 30


def test_sigkill_at_any_moment_loses_no_committed_row_and_repeats_no_number(tmp_path):
    path = tmp_path / "spool.db"
    chance = random.Random(20)
    given, acked = 0, set()
    for _ in range(KILLS):
        child = keep_writing(path, acks=True)
        child.wait_for_word()
        time.sleep(chance.uniform(0.0, 0.12))
        told = child.end()
        acked.update(numbers(told, "acking"))

        spool = a_spool(path)
        assert spool.was_unclean
        assert spool.next_seq > max(numbers(told, "committed"), default=given)
        rows = {row.seq: row for row in pending(spool)}
        assert all(row == a_row(seq) for seq, row in rows.items())
        assert set(range(1, max(numbers(told, "committed"), default=given) + 1)) - acked <= rows.keys()
        assert_balanced(spool.stats())
        assert spool.stats().dropped_rows == {}
        given = spool.next_seq - 1
        spool.close()
    assert given > KILLS


def test_twin_rows_reported_before_their_commit_are_lost_to_sigkill(tmp_path):
    path = tmp_path / "spool.db"
    chance = random.Random(21)
    lost = 0
    for _ in range(KILLS):
        child = keep_writing(path, hasty=True)
        child.wait_for_word()
        time.sleep(chance.uniform(0.0, 0.05))
        told = child.end()
        spool = a_spool(path)
        lost += max(0, max(numbers(told, "committed"), default=0) - spool.next_seq + 1)
        spool.close()
    assert lost > 0


def test_a_stopped_owner_is_still_the_owner(tmp_path):
    path = tmp_path / "spool.db"
    child = keep_writing(path)
    child.wait_for_word()
    child.signal(signal.SIGSTOP)
    with pytest.raises(SpoolLocked):
        a_spool(path)
    child.end()
    a_spool(path).close()
