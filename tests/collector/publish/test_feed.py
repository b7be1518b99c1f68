import asyncio

import pytest

from collector.errors import SpoolError
from collector.publish import feed as module
from collector.publish.feed import FETCH_BYTES, FIRST_PASS_S, Feed
from tests.memory_spool import MemorySpool


@pytest.fixture
def spool():
    made = MemorySpool()
    yield made
    made.close()


def a_feed(spool, share=0.5):
    feed = Feed(spool, "c", share)
    feed.begin()
    return feed


async def drain(feed, unwanted=lambda _: False, limit=10_000):
    seqs = []
    while len(seqs) < limit and (row := await feed.take(unwanted)):
        seqs.append(row.seq)
    return seqs


async def test_the_backlog_comes_oldest_first(spool):
    old = spool.add(300, size=5000)
    assert await drain(a_feed(spool)) == old


async def test_live_rows_have_half_of_the_sends_and_each_lane_keeps_its_order(spool):
    old = spool.add(100)
    feed = a_feed(spool)
    live = spool.add(50)
    feed.committed(spool.listed(live))
    seqs = await drain(feed)
    assert sorted(seqs) == old + live
    assert [s for s in seqs if s in live] == live
    assert [s for s in seqs if s in old] == old
    for n in range(1, 51):
        assert sum(s in live for s in seqs[: 2 * n]) >= n  # at least half, from the first send on
    assert seqs[100:] == old[50:]


@pytest.mark.parametrize(("share", "backlog"), [(0.25, 25), (0.5, 50), (0.0, 0), (1.0, 100)])
async def test_the_share_of_the_backlog_is_what_was_asked_for(spool, share, backlog):
    spool.add(200)
    feed = a_feed(spool, share)
    live = set(spool.add(200))
    feed.committed(spool.listed(live))
    assert sum(seq not in live for seq in await drain(feed, limit=100)) == backlog


async def test_no_more_than_one_fetch_per_lane_is_kept_in_memory(spool):
    spool.add(400, size=10_000)
    feed = a_feed(spool)
    await feed.take(lambda _: False)
    assert sum(len(row.payload) for row in feed._backlog.rows) <= FETCH_BYTES


async def test_a_commit_during_the_fetch_that_finds_nothing_is_not_missed(spool):
    feed = a_feed(spool)
    taking = asyncio.ensure_future(feed.take(lambda _: False))
    await asyncio.sleep(0)
    feed.committed(spool.listed(spool.add(1)))
    first = await taking
    assert (first or await feed.take(lambda _: False)).seq == 1


async def test_rows_just_committed_are_not_read_back(spool):
    feed = a_feed(spool)
    assert await drain(feed) == []  # the live lane stands at the end of the spool
    rows = spool.listed(spool.add(3))
    feed.committed(rows)
    spool.broken = True
    assert [await feed.take(lambda _: False) for _ in rows] == rows


async def test_an_uplink_that_is_behind_keeps_a_bounded_part_and_reads_the_rest_in_order(spool, monkeypatch):
    monkeypatch.setattr(module, "HANDED_BYTES", 1000)
    feed = a_feed(spool)
    await drain(feed)
    live = spool.add(30)
    for seq in live:
        feed.committed(spool.listed([seq]))
    assert sum(len(row.payload) for row in feed._live.rows) == 1000
    assert await drain(feed) == live


async def test_without_a_connection_no_row_is_kept(spool):
    feed = Feed(spool, "c", 0.5)
    feed.committed(spool.listed(spool.add(3)))
    assert not feed._live.rows
    feed.begin()
    feed.committed(spool.listed(spool.add(3)))
    assert feed._live.rows
    feed.end()
    feed.committed(spool.listed(spool.add(3)))
    assert not feed._live.rows
    assert not feed._backlog.rows


async def test_rows_told_only_after_the_connection_began_are_backlog_and_go_once(spool):
    late = spool.add(3)
    feed = a_feed(spool)
    feed.committed(spool.listed(late))
    assert await drain(feed) == late


async def test_a_broken_spool_raises_and_is_asked_again(spool):
    spool.add(1)
    feed = a_feed(spool)
    spool.broken = True
    with pytest.raises(SpoolError):
        await feed.take(lambda _: False)
    spool.broken = False
    assert (await feed.take(lambda _: False)).seq == 1


async def test_rows_left_behind_are_found_by_the_next_pass(spool):
    spool.add(10)
    feed = a_feed(spool)
    feed.committed(spool.listed(spool.add(5)))
    await drain(feed)
    for seq in set(spool.rows) - {3, 12}:  # 3 of the backlog and 12 of the live rows were not freed
        del spool.rows[seq]
    feed.leave(100.0)
    assert not feed.next_pass(100.0 + FIRST_PASS_S - 1)
    assert feed.next_pass(100.0 + FIRST_PASS_S)
    assert await drain(feed) == [3, 12]
    assert not feed.next_pass(1e9)


async def test_unwanted_rows_are_passed_over(spool):
    spool.add(6)
    feed = a_feed(spool)
    assert await drain(feed, unwanted=lambda seq: seq % 2) == [2, 4, 6]


async def test_one_row_can_be_had_again_unless_it_is_gone(spool):
    spool.add(5)
    feed = a_feed(spool)
    assert (await feed.again(3)).seq == 3
    del spool.rows[3]
    assert await feed.again(3) is None
