"""What an uplink is fed, with and without the hand-over of rows just committed, against the same model.

Commits, what is told of them, fetches and their answers, reconnects, freed and dropped rows come in any order.
"""

import asyncio
from collections import deque
from concurrent.futures import Future

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from collector.errors import SpoolError
from collector.publish import feed as module
from collector.publish.feed import Feed
from collector.types import Row

SIZES = st.lists(st.sampled_from([1, 40, 200]), min_size=1, max_size=6)
#: Bytes handed over at most: nothing, less than a commit, more than a run commits.
HANDED = st.sampled_from([0, 300, 1 << 20])


class OpenSpool:
    """A spool whose fetches are read and answered when the test says so, or at once."""

    def __init__(self, at_once):
        self.rows = {}
        self.next_seq = 1
        self.asked = deque()  #: fetches that the thread has not come to
        self.read = deque()  #: fetches whose answer is on its way
        self._at_once = at_once

    def commit(self, sizes):
        added = [Row(self.next_seq + i, "power", 1, 1, 0, bytes(size)) for i, size in enumerate(sizes)]
        self.rows |= {row.seq: row for row in added}
        self.next_seq += len(added)
        return added

    def fetch(self, uplink, *, after_seq, limit_bytes, before_seq=None):
        future = Future()
        self.asked.append((future, after_seq, before_seq or self.next_seq + 10**6, limit_bytes))
        if self._at_once:
            self.read_one()
            self.answer_one()
        return future

    def read_one(self):
        future, after, before, limit = self.asked.popleft()
        found = []
        for row in (self.rows[seq] for seq in sorted(self.rows) if after < seq < before):
            if found and sum(len(r.payload) for r in found) + len(row.payload) > limit:
                break
            found.append(row)
        self.read.append((future, found))

    def answer_one(self):
        future, found = self.read.popleft()
        if future.set_running_or_notify_cancel():
            future.set_result(found)

    def fail_one(self):
        future, _ = self.read.popleft()
        if future.set_running_or_notify_cancel():
            future.set_exception(SpoolError("disk on fire"))


class FeedAgainstModel(RuleBasedStateMachine):
    @initialize(handed=HANDED, sizes=SIZES)
    def begin(self, handed, sizes):
        self.saved = module.FETCH_BYTES, module.HANDED_BYTES
        module.FETCH_BYTES, module.HANDED_BYTES = 250, handed
        self.loop = asyncio.new_event_loop()
        self.spool = OpenSpool(at_once=False)
        self.spool.commit(sizes)
        self.told = deque()  #: commits that the loop has not heard of
        self.taking = None
        self.feed = Feed(self.spool, "east", 0.5)
        self.connect()

    def teardown(self):
        if not hasattr(self, "loop"):
            return
        try:
            self.everything_goes_out()
        finally:
            self.disconnect()
            self.loop.close()
            module.FETCH_BYTES, module.HANDED_BYTES = self.saved

    def connect(self):
        self.first_live = self.spool.next_seq
        self.sent = []
        self.feed.begin()

    def disconnect(self):
        if self.taking is not None:
            self.taking.cancel()
            self.turn()
        self.taking = None
        self.feed.end()

    def turn(self):
        """Let the loop do what it can."""
        for _ in range(8):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        if self.taking is not None and self.taking.done():
            taking, self.taking = self.taking, None
            if not taking.cancelled() and taking.exception() is None and taking.result() is not None:
                self.took(taking.result())

    def took(self, row):
        assert row.seq < self.spool.next_seq
        lane = [seq for seq in self.sent if (seq < self.first_live) == (row.seq < self.first_live)]
        last = lane[-1] if lane else (0 if row.seq < self.first_live else self.first_live - 1)
        assert row.seq > last, "each lane keeps its order, and nothing goes twice"
        assert not any(last < seq < row.seq for seq in self.spool.rows), "nothing is passed over"
        self.sent.append(row.seq)

    def everything_goes_out(self):
        while self.told:
            self.hear()
        idle = 0
        while idle < 2:  # a take that was under way may have missed what came later
            before = len(self.sent)
            if self.taking is None:
                self.take()
            while self.taking is not None:
                if self.spool.asked:
                    self.spool.read_one()
                self.spool.answer_one()
                self.turn()
            idle = 0 if len(self.sent) > before else idle + 1
        assert set(self.spool.rows) <= set(self.sent), "nothing is missing"
        assert len(self.sent) == len(set(self.sent)), "nothing goes twice"

    @rule(sizes=SIZES)
    def commit(self, sizes):
        self.told.append(self.spool.commit(sizes))

    @precondition(lambda self: self.told)
    @rule()
    def hear(self):
        self.feed.committed(self.told.popleft())

    @precondition(lambda self: self.taking is None)
    @rule()
    def take(self):
        self.taking = self.loop.create_task(self.feed.take(lambda _: False))
        self.turn()

    @precondition(lambda self: self.spool.asked)
    @rule()
    def read(self):
        self.spool.read_one()

    @precondition(lambda self: self.spool.read)
    @rule()
    def answer(self):
        self.spool.answer_one()
        self.turn()

    @precondition(lambda self: self.spool.read)
    @rule()
    def fail(self):
        self.spool.fail_one()
        self.turn()

    @rule(data=st.data())
    def free(self, data):
        for seq in data.draw(st.sets(st.sampled_from(self.sent))) if self.sent else ():
            self.spool.rows.pop(seq, None)

    @rule(count=st.integers(1, 5))
    def drop(self, count):
        for seq in sorted(self.spool.rows)[:count]:
            del self.spool.rows[seq]

    @rule()
    def reconnect(self):
        self.disconnect()
        self.connect()

    @rule(sizes=SIZES)
    def be_without_a_connection(self, sizes):
        self.disconnect()
        self.commit(sizes)
        while self.told:
            self.hear()
        assert not self.feed._live.rows
        assert not self.feed._backlog.rows
        self.connect()

    @rule()
    def send_everything(self):
        self.everything_goes_out()

    @invariant()
    def memory_is_bounded(self):
        for lane in (self.feed._live, self.feed._backlog):
            assert lane.size == sum(len(row.payload) for row in lane.rows)
            assert lane.size <= module.FETCH_BYTES + module.HANDED_BYTES


FeedAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_whatever_comes_between_every_row_goes_out_once_and_in_order = FeedAgainstModel.TestCase


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.just("commit"), SIZES) | st.tuples(st.just("take"), st.integers(1, 9)) | st.just(("reconnect", 0)),
        max_size=30,
    )
)
def test_with_and_without_the_hand_over_the_same_rows_go_out_in_the_same_order(steps):
    assert sequence(steps, handed=0) == sequence(steps, handed=300) == sequence(steps, handed=1 << 20)


def sequence(steps, handed):
    saved = module.FETCH_BYTES, module.HANDED_BYTES
    module.FETCH_BYTES, module.HANDED_BYTES = 250, handed
    try:
        return asyncio.run(sent(steps))
    finally:
        module.FETCH_BYTES, module.HANDED_BYTES = saved


async def sent(steps):
    spool = OpenSpool(at_once=True)
    feed = Feed(spool, "east", 0.5)
    feed.begin()
    taken = []
    for step, value in [*steps, ("take", 1000)]:
        if step == "commit":
            feed.committed(spool.commit(value))
        elif step == "reconnect":
            feed.end()
            feed.begin()
        else:
            rows = [await feed.take(lambda _: False) for _ in range(value)]
            taken += [row and row.seq for row in rows]
    return taken
