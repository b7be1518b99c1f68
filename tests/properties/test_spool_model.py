"""The spool against a list: random appends, fetches, acks by several uplinks, crashes, and a cap."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collector.spool import read_only_rows, thread
from tests.spool_rows import MIB, a_spool, assert_balanced, crash_image, put, seqs

NAMES = ("east", "west", "remote")


class Model:
    """What a spool is: rows in order, each with the uplinks that still need it."""

    def __init__(self, uplinks):
        self.uplinks = uplinks
        self.needed = {}  #: seq → names
        self.next_seq = 1

    def append(self, count):
        for _ in range(count):
            self.needed[self.next_seq] = set(self.uplinks)
            self.next_seq += 1

    def ack(self, uplink, numbers):
        known = 0
        for seq in numbers:
            if uplink in self.needed.get(seq, ()):
                known += 1
                self.needed[seq].remove(uplink)
                if not self.needed[seq]:
                    del self.needed[seq]
        return known

    def drop(self, count):
        for seq in sorted(self.needed)[:count]:
            del self.needed[seq]

    def change(self, uplinks):
        self.needed = {
            seq: left
            for seq, names in self.needed.items()
            if (left := {n for n in uplinks if n in names or n not in self.uplinks})
        }
        self.uplinks = uplinks


class SpoolAgainstModel(RuleBasedStateMachine):
    @initialize(uplinks=st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    def begin(self, uplinks):
        self.hold, thread.ACK_HOLD_S = thread.ACK_HOLD_S, 0.0005
        self.directory = Path(tempfile.mkdtemp())
        self.path = self.directory / "spool.db"
        self.model = Model(uplinks)
        self.crashes = 0
        self.spool = a_spool(self.path, uplinks, max_bytes=MIB)

    def teardown(self):
        self.spool.close()
        thread.ACK_HOLD_S = self.hold
        shutil.rmtree(self.directory)

    def dropped(self):
        return sum(self.spool.stats().dropped_rows.values())

    @rule(count=st.integers(0, 12), size=st.sampled_from([0, 10, 500, 5_000, 60_000]))
    def append(self, count, size):
        before = self.dropped()
        put(self.spool, count, size)
        self.model.append(count)
        self.model.drop(self.dropped() - before)

    @rule(
        data=st.data(), after=st.integers(-1, 60), width=st.none() | st.integers(0, 30), limit=st.integers(1, 200_000)
    )
    def fetch(self, data, after, width, limit):
        uplink = data.draw(st.sampled_from(self.model.uplinks))
        before = None if width is None else after + width
        rows = self.spool.fetch(uplink, after_seq=after, limit_bytes=limit, before_seq=before).result(20)
        wanted = [
            seq
            for seq, names in sorted(self.model.needed.items())
            if uplink in names and after < seq and (before is None or seq < before)
        ]
        assert seqs(rows) == wanted[: len(rows)]
        assert rows or not wanted
        assert len(rows) < 2 or sum(len(row.payload) for row in rows) <= limit

    @rule(data=st.data())
    def ack(self, data):
        uplink = data.draw(st.sampled_from(self.model.uplinks))
        numbers = data.draw(st.lists(st.integers(-1, self.model.next_seq + 1), max_size=30))
        before = self.dropped()
        known = self.spool.ack(uplink, numbers).result(20)
        assert self.dropped() == before
        assert known == self.model.ack(uplink, numbers)

    @rule()
    def crash(self):
        self.crashes += 1
        image = crash_image(self.path, self.directory / str(self.crashes))
        self.spool.close()
        self.path = image
        self.spool = a_spool(self.path, self.model.uplinks, max_bytes=MIB)
        assert self.spool.was_unclean

    @rule(uplinks=st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    def restart(self, uplinks):
        self.spool.close()
        self.spool = a_spool(self.path, uplinks, max_bytes=MIB)
        assert not self.spool.was_unclean
        self.model.change(uplinks)

    @invariant()
    def the_books_balance_and_agree(self):
        stats = self.spool.stats()
        assert_balanced(stats)
        assert self.spool.next_seq == self.model.next_seq
        assert stats.rows == len(self.model.needed)
        assert stats.pending == {
            name: sum(name in names for names in self.model.needed.values()) for name in self.model.uplinks
        }
        assert stats.bytes <= stats.max_bytes
        assert seqs(read_only_rows(self.path)) == sorted(self.model.needed)


SpoolAgainstModel.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_a_spool_behaves_like_a_list = SpoolAgainstModel.TestCase
