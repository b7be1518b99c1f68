import asyncio
import contextlib
import json
import logging
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import confirmation
from collector.clock import FakeClock
from collector.mqtt import MqttOptions
from collector.publish import Uplink, UplinkOptions
from collector.publish.flight import Flight
from tests.fake_broker import FakeBroker
from tests.memory_spool import MemorySpool
from tests.waiting import until

PREFIX = "dc/v1/city/site/gw"
ACKS = f"{PREFIX}/ack/north"


class NoJitter(random.Random):
    """Waits as short as may be, so that the clock need not be turned for a lost link."""

    def uniform(self, a, b):
        return a


@pytest.fixture
def spool():
    made = MemorySpool()
    yield made
    made.close()


@contextlib.asynccontextmanager
async def running(port, spool, clock=None, *, mqtt=None, **options):
    clock = clock or FakeClock()
    uplink = Uplink(
        UplinkOptions("north", **options),
        MqttOptions("127.0.0.1", port, "gw", **(mqtt or {})),
        spool,
        topic_prefix=PREFIX,
        status=lambda: {"version": "1", "boot": "b1"},
        clock=clock,
        rng=NoJitter(),
    )
    task = asyncio.ensure_future(uplink.run())
    try:
        yield uplink
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await uplink.stop(2.0)


def data(broker):
    return [p for p in broker.published if "/data/" in p.topic]


def seqs(broker):
    return [int(p.payload.split()[1]) for p in data(broker)]


def confirm(broker, numbers, spool_id=MemorySpool.spool_id, **more):
    for payload in confirmation.encode(spool_id, numbers):
        broker.deliver(ACKS, payload, **more)


# ---- what frees a row


async def test_confirm_broker_frees_a_row_on_its_puback(spool):
    numbers = spool.add(20, category="cooling")
    async with FakeBroker() as broker, running(broker.port, spool, confirm="broker"):
        await until(lambda: not spool.rows)
        assert seqs(broker) == numbers
        assert {(p.topic, p.qos, p.retain) for p in data(broker)} == {(f"{PREFIX}/data/cooling", 1, False)}
        assert broker.subscriptions == []


async def test_payloads_travel_untouched(spool):
    spool.add(3, size=5000)
    payloads = [row.payload for row in spool.rows.values()]
    async with FakeBroker() as broker, running(broker.port, spool, confirm="broker"):
        await until(lambda: not spool.rows)
        assert [p.payload for p in data(broker)] == payloads


async def test_confirm_bridge_frees_a_row_on_the_bridges_word_and_not_on_puback(spool):
    spool.add(4)
    async with FakeBroker() as broker, running(broker.port, spool) as uplink:
        await until(lambda: uplink.snapshot()["puback_ok"] == 4)
        assert broker.subscriptions == [ACKS]
        assert len(spool.rows) == 4
        confirm(broker, [1, 2, 4])
        await until(lambda: list(spool.rows) == [3])
        assert uplink.snapshot()["confirmed"] == 3
        assert uplink.snapshot()["in_flight"] == 1


async def test_a_negative_puback_frees_nothing_and_the_row_comes_again(spool):
    spool.add(3)
    clock = FakeClock()
    refusing = [True]

    def puback(message):
        return 0x87 if refusing[0] and message.payload.startswith(b"row 2 ") else 0

    async with FakeBroker(puback=puback) as broker, running(broker.port, spool, clock, confirm="broker") as uplink:
        await until(lambda: list(spool.rows) == [2])
        assert uplink.snapshot()["denied"] == 1
        assert "Not authorized" in uplink.snapshot()["last_error"]
        refusing[0] = False
        clock.advance(61)
        await until(lambda: not spool.rows)


async def test_a_broker_that_refuses_everything_is_left_alone_for_half_a_minute(spool):
    spool.add(100)
    clock = FakeClock()
    async with FakeBroker(puback=lambda _: 0x87) as broker, running(broker.port, spool, clock) as uplink:
        await until(lambda: uplink.snapshot()["state"] == "refused")
        sent = len(data(broker))
        assert sent < 40
        clock.advance(29)
        await asyncio.sleep(0.6)
        assert len(data(broker)) == sent
        broker.puback = lambda _: 0
        clock.advance(2)
        await until(lambda: uplink.snapshot()["state"] == "connected")
        assert len(spool.rows) == 100
        broker_of = {"confirmed": 0}
        while spool.rows:
            confirm(broker, list(spool.rows))
            await asyncio.sleep(0.02)
            broker_of = uplink.snapshot()
        assert broker_of["confirmed"] == 100


@pytest.mark.parametrize("code", [0x99, 0x95])
async def test_a_row_no_broker_will_ever_take_is_given_up_counted_and_blocks_nothing(spool, code, caplog):
    caplog.set_level(logging.WARNING)
    spool.add(5)
    async with (
        FakeBroker(puback=lambda m: code if m.payload.startswith((b"row 2", b"row 4")) else 0) as broker,
        running(broker.port, spool, confirm="broker") as uplink,
    ):
        await until(lambda: not spool.rows)
        assert uplink.snapshot()["refused"] == 2
        assert seqs(broker) == [1, 2, 3, 4, 5]
    said = [r.message for r in caplog.records if "given up" in r.message]
    assert len(said) == 1
    assert "row 2 of 100 bytes" in said[0]


async def test_a_row_above_the_servers_packet_size_is_given_up_and_never_sent(spool):
    spool.add(1, size=100)
    spool.add(1, size=5000)
    spool.add(1, size=100)
    async with (
        FakeBroker(maximum_packet=2000) as broker,
        running(broker.port, spool, confirm="broker") as uplink,
    ):
        await until(lambda: not spool.rows)
        assert seqs(broker) == [1, 3]
        assert uplink.snapshot()["refused"] == 1


async def test_a_broker_that_hangs_up_on_too_large_a_packet_loses_only_that_row(spool):
    spool.add(20)
    spool.add(1, size=5000)
    spool.add(20)

    async with FakeBroker() as broker, running(broker.port, spool, confirm="broker") as uplink:

        def puback(message):
            if len(message.payload) > 2000:
                broker.disconnect(0x95)
                return None
            return 0

        broker.puback = puback
        await until(lambda: not spool.rows)
        assert uplink.snapshot()["refused"] == 1
        assert sorted(set(seqs(broker))) == list(range(1, 42))


async def test_a_row_that_silently_ends_every_connection_is_passed_over_but_kept(spool):
    spool.add(10)
    spool.add(1, size=5000)
    spool.add(10)

    async with FakeBroker() as broker, running(broker.port, spool, confirm="broker") as uplink:

        def puback(message):
            if len(message.payload) > 2000:
                broker.abort()
                return None
            return 0

        broker.puback = puback
        await until(lambda: list(spool.rows) == [11])
        numbers = spool.add(5)
        uplink.committed(spool.listed(numbers))
        await until(lambda: set(numbers) <= set(seqs(broker)) and list(spool.rows) == [11])


# ---- confirmations that do not come, or should not


async def test_a_lost_confirmation_makes_the_row_go_again(spool):
    spool.add(3)
    clock = FakeClock()
    async with FakeBroker() as broker, running(broker.port, spool, clock) as uplink:
        await until(lambda: uplink.snapshot()["puback_ok"] == 3)
        clock.advance(1)
        confirm(broker, [1, 3])
        await until(lambda: list(spool.rows) == [2])
        clock.advance(30)
        await until(lambda: seqs(broker) == [1, 2, 3, 2])
        assert uplink.snapshot()["resent"] == 1
        confirm(broker, [2])
        await until(lambda: not spool.rows)


async def test_a_dead_bridge_cannot_fill_the_broker(spool):
    spool.add(500)
    clock = FakeClock()
    async with FakeBroker() as broker, running(broker.port, spool, clock, window_rows=10) as uplink:
        await until(lambda: uplink.snapshot()["puback_ok"] == 10)
        for _ in range(6):
            clock.advance(200)
            await asyncio.sleep(0.3)
        assert uplink.snapshot()["in_flight"] == 10
        assert len(data(broker)) <= 10 + 6  # the window once, and a few probes in 20 minutes
        while spool.rows:
            confirm(broker, list(spool.rows))
            await asyncio.sleep(0.01)


async def test_a_row_swallowed_on_the_way_is_left_for_later_and_blocks_nothing(spool):
    """MQTT 3.1.1 has no negative PUBACK: a broker that drops one row looks like a bridge that forgets it."""
    clock = FakeClock()
    swallowed = spool.add(1)[0]
    async with FakeBroker() as broker, running(broker.port, spool, clock, window_rows=2) as uplink:
        await until(lambda: data(broker))
        while uplink.snapshot()["left"] == 0:
            (number,) = spool.add(1)
            uplink.committed(spool.listed([number]))
            await until(lambda n=number: n in seqs(broker))
            confirm(broker, [number])
            await until(lambda n=number: n not in spool.rows)
            clock.advance(16)
            await asyncio.sleep(0.3)
        assert seqs(broker).count(swallowed) == 4
        assert list(spool.rows) == [swallowed]
        clock.advance(61)
        await until(lambda: seqs(broker).count(swallowed) == 5)
        confirm(broker, [swallowed])
        await until(lambda: not spool.rows)


async def test_confirmations_of_another_spool_or_of_no_row_under_way_free_nothing(spool):
    spool.add(2)
    async with FakeBroker() as broker, running(broker.port, spool) as uplink:
        await until(lambda: uplink.snapshot()["puback_ok"] == 2)
        confirm(broker, [1, 2], spool_id="deadbeef")
        confirm(broker, [3, 10**12])
        confirm(broker, [1, 2], retain=True)
        broker.deliver(f"{PREFIX}/ack/south", confirmation.encode(spool.spool_id, [1, 2])[0])
        await until(lambda: uplink.snapshot()["foreign_confirmations"] == 2)
        await until(lambda: uplink.snapshot()["bad_confirmations"] == 2)
        assert len(spool.rows) == 2
        confirm(broker, [1, 2])
        await until(lambda: not spool.rows)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_hostile_confirmations_free_nothing_and_a_good_one_still_does(payloads):
    async def scenario():
        spool = MemorySpool()
        spool.add(1)
        async with FakeBroker() as broker, running(broker.port, spool) as uplink:
            await until(lambda: uplink.snapshot()["puback_ok"] == 1)
            for payload in payloads:
                broker.deliver(ACKS, payload)
            await until(lambda: uplink.snapshot()["bad_confirmations"] == len(payloads))
            assert len(spool.rows) == 1
            confirm(broker, [1])
            await until(lambda: not spool.rows)
        spool.close()

    asyncio.run(scenario())


async def test_a_row_the_spool_cannot_free_stays_under_way_until_it_can(spool):
    spool.add(3)
    async with FakeBroker() as broker, running(broker.port, spool) as uplink:
        await until(lambda: uplink.snapshot()["puback_ok"] == 3)
        spool.broken = True
        confirm(broker, [1, 2, 3])
        await until(lambda: "disk on fire" in uplink.snapshot()["last_error"])
        assert uplink.snapshot()["in_flight"] == 3
        spool.broken = False
        await until(lambda: not spool.rows and uplink.snapshot()["in_flight"] == 0)


async def rows_sent_while_a_lazy_ack_waits(spool):
    """One row is freed while there is room; then the window of 8 fills up, and two more are confirmed."""
    spool.patient = True
    spool.add(3)
    async with FakeBroker() as broker, running(broker.port, spool, window_rows=8) as uplink:
        await until(lambda: uplink.snapshot()["puback_ok"] == 3)
        confirm(broker, [1])
        await until(lambda: spool.lazy)
        assert 1 in spool.rows, "nobody is in need of room"
        uplink.committed(spool.listed(spool.add(7)))
        await until(lambda: uplink.snapshot()["puback_ok"] == 8)
        confirm(broker, [2, 3])
        await until(lambda: not spool.rows.keys() & {1, 2, 3}, 2.0)
        await until(lambda: len(seqs(broker)) == 10)
        assert uplink.snapshot()["confirmed"] == 3


async def test_what_may_be_freed_is_told_lazily_and_at_once_when_room_gets_short(spool):
    await rows_sent_while_a_lazy_ack_waits(spool)


async def test_twin_told_lazily_with_a_full_window_nothing_moves(spool, monkeypatch):
    monkeypatch.setattr(Flight, "is_roomy", True)
    with pytest.raises(pytest.fail.Exception):
        await rows_sent_while_a_lazy_ack_waits(spool)


# ---- the link


async def test_everything_unconfirmed_goes_again_after_a_reconnect(spool):
    spool.add(5)
    async with FakeBroker() as broker, running(broker.port, spool) as uplink:
        await until(lambda: uplink.snapshot()["puback_ok"] == 5)
        confirm(broker, [1, 4])
        await until(lambda: len(spool.rows) == 3)
        broker.abort()
        await until(lambda: seqs(broker) == [1, 2, 3, 4, 5, 2, 3, 5])
        confirm(broker, [1, 2, 3, 4, 5])
        await until(lambda: not spool.rows)
        assert uplink.snapshot()["connects"] == 2


async def test_pubacks_that_never_come_end_the_connection(spool):
    spool.add(5)
    clock = FakeClock()
    answer = [None]
    async with (
        FakeBroker(puback=lambda m: answer[0] if "/data/" in m.topic else 0) as broker,
        running(broker.port, spool, clock, confirm="broker") as uplink,
    ):
        await until(lambda: data(broker))
        answer[0] = 0
        clock.advance(61)
        await until(lambda: "no PUBACK for 60 s" in uplink.snapshot()["last_error"])
        await until(lambda: not spool.rows)


async def test_live_rows_pass_a_long_backlog(spool):
    spool.add(400)
    async with FakeBroker(puback=lambda _: None) as broker, running(broker.port, spool, confirm="broker") as uplink:
        await until(lambda: data(broker))
        live = spool.add(40)
        uplink.committed(spool.listed(live))
        broker.puback = lambda _: 0
        for message in list(data(broker)):
            broker.send_puback(message.mid)
        await until(lambda: not spool.rows)
        sent = seqs(broker)
        assert [s for s in sent if s in live] == live
        assert [s for s in sent if s not in live] == list(range(1, 401))
        before = sent[: sent.index(live[-1])]
        assert sum(s not in live for s in before) <= 40 + 64


async def test_rows_committed_while_connected_go_out_without_a_reconnect(spool):
    async with FakeBroker() as broker, running(broker.port, spool, confirm="broker") as uplink:
        await until(lambda: uplink.snapshot()["state"] == "connected")
        for _ in range(30):
            uplink.committed(spool.listed(spool.add(2)))
            await asyncio.sleep(0.002)
        await until(lambda: not spool.rows)
        assert seqs(broker) == list(range(1, 61))
        assert len(broker.connects) == 1


async def test_the_servers_receive_maximum_bounds_what_is_under_way(spool):
    spool.add(50)
    async with FakeBroker(receive_maximum=4, puback=lambda _: None) as broker, running(broker.port, spool):
        answered = 0
        while len(data(broker)) < 50:
            await until(lambda n=answered: len(broker.published) > n)
            assert len(broker.published) <= answered + 4
            for message in broker.published[answered:]:
                broker.send_puback(message.mid)
                answered += 1


async def test_a_refused_connection_is_tried_again_after_half_a_minute_not_before(spool, caplog):
    caplog.set_level(logging.WARNING)
    clock = FakeClock()
    async with FakeBroker(connack=0x86) as broker, running(broker.port, spool, clock) as uplink:
        for attempt in range(1, 5):
            await until(lambda n=attempt: len(broker.connects) == n)
            await until(lambda: uplink.snapshot()["state"] == "refused")
            clock.advance(29)
            await asyncio.sleep(0.4)
            assert len(broker.connects) == attempt
            clock.advance(2)
        assert "check username and password" in uplink.snapshot()["last_error"]
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


# ---- status


async def test_status_is_retained_at_connect_and_every_minute(spool):
    spool.add(7)
    clock = FakeClock()
    async with FakeBroker() as broker, running(broker.port, spool, clock):

        def said():
            return [(json.loads(p.payload), p.retain) for p in broker.published if p.topic == f"{PREFIX}/status"]

        await until(lambda: len(said()) == 1)
        expected = {"version": "1", "boot": "b1", "state": "online", "spool": spool.spool_id, "seq": 7}
        assert said() == [(expected, True)]
        clock.advance(61)
        await until(lambda: len(said()) == 2)
        will = broker.connects[0]
        assert f"{PREFIX}/status".encode() in will
        assert b'"state": "offline"' in will
        assert b'"clean": false' in will


async def test_stopping_publishes_a_clean_offline_status_and_says_goodbye(spool):
    async with FakeBroker() as broker:
        async with running(broker.port, spool) as uplink:
            await until(lambda: uplink.snapshot()["state"] == "connected")
        last = json.loads(broker.published[-1].payload)
        assert (last["state"], last["clean"], broker.published[-1].retain) == ("offline", True, True)
        await until(lambda: broker.said_goodbye == 1)


async def test_stopping_keeps_its_deadline_when_the_broker_says_nothing(spool):
    async with FakeBroker(puback=lambda _: None) as broker, asyncio.timeout(20):
        async with running(broker.port, spool) as uplink:
            await until(lambda: uplink.snapshot()["state"] == "connected")
        await until(lambda: not broker._writers)


async def test_a_cancellation_at_the_very_moment_of_news_is_not_lost(spool):
    async with FakeBroker() as broker:
        for _ in range(20):
            async with running(broker.port, spool) as uplink:
                await until(lambda u=uplink: u.snapshot()["state"] == "connected")
                await asyncio.sleep(0.01)
                uplink.committed([])  # wakes the task that leaving this block cancels


async def test_stopping_without_a_connection_is_no_error(spool):
    async with running(1, spool) as uplink:
        await until(lambda: "refused" in uplink.snapshot()["last_error"])
        assert uplink.snapshot()["state"] == "connecting"
