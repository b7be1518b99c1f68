"""subscribe: batches by size and time, memory bounded by not reading, acknowledged only when settled."""

import asyncio

from collector.bridge.subscribe import MESSAGE_OVERHEAD, Inbox
from collector.mqtt import Message


class Source:
    """An MQTT session that only remembers what it was asked."""

    def __init__(self):
        self.acked, self.calls = [], []

    def ack(self, message):
        self.acked.append(message.mid)

    def pause(self):
        self.calls.append("pause")

    def resume(self):
        self.calls.append("resume")


def new(batch_bytes=10_000, linger_s=0.0, memory_bytes=20_000):
    inbox, source = Inbox(batch_bytes=batch_bytes, linger_s=linger_s, memory_bytes=memory_bytes), Source()
    inbox.attach(source)
    return inbox, source


def message(mid: int, size: int = 100) -> Message:
    return Message("t", b"x" * size, mid)


async def test_a_batch_holds_what_came_in_order_up_to_its_size():
    inbox, source = new()
    for mid in range(5):
        inbox.put(message(mid, 4000 - MESSAGE_OVERHEAD))
    assert [m.mid for m in await inbox.batch()] == [0, 1]
    assert [m.mid for m in await inbox.batch()] == [2, 3]
    assert [m.mid for m in await inbox.batch()] == [4]
    assert source.acked == []


async def test_a_message_above_the_batch_size_goes_alone():
    inbox, _ = new()
    inbox.put(message(0, 50_000))
    inbox.put(message(1))
    assert [m.mid for m in await inbox.batch()] == [0]


async def test_a_batch_waits_for_company_until_it_is_full():
    inbox, _ = new(linger_s=30.0)
    inbox.put(message(0))
    waiting = asyncio.create_task(inbox.batch())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    inbox.put(message(1, 20_000))
    assert [m.mid for m in await waiting] == [0]


async def test_a_batch_goes_after_the_linger_time_without_company():
    inbox, _ = new(linger_s=0.01)
    inbox.put(message(0))
    assert len(await inbox.batch()) == 1


async def test_above_the_memory_limit_reading_stops_and_goes_on_at_half_of_it():
    inbox, source = new(memory_bytes=20_000)
    for mid in range(6):
        inbox.put(message(mid, 4000 - MESSAGE_OVERHEAD))
    assert source.calls == ["pause"]
    assert inbox.held_bytes == 24_000
    first, second = await inbox.batch(), await inbox.batch()
    inbox.settle(first)
    assert source.calls == ["pause"]
    inbox.settle(second)
    assert source.calls == ["pause", "resume"]
    assert source.acked == [0, 1, 2, 3]
    assert (inbox.received, inbox.held) == (6, 2)


async def test_empty_messages_count_too():
    inbox, source = new(memory_bytes=20_000)
    for mid in range(20_000 // MESSAGE_OVERHEAD + 1):
        inbox.put(message(mid, 0))
    assert source.calls == ["pause"]


async def test_closed_it_hands_out_nothing_more():
    inbox, _ = new(linger_s=30.0)
    waiting = asyncio.create_task(inbox.batch())
    await asyncio.sleep(0)
    inbox.close()
    assert await waiting == []
    inbox.put(message(0))
    assert await inbox.batch() == []
