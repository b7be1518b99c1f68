"""Several units over one connection at the same time. Each fault is followed by a perfect answer that must succeed."""

import asyncio
import random
from contextlib import contextmanager

import pytest

from drivers.address import parse_bus
from drivers.base import Request
from drivers.errors import BadFrame, DeviceException, LinkLost, LinkUnavailable
from drivers.links import Links
from drivers.modbus.link_channel import ChannelConnection, ChannelLink
from tests.drivers.modbus.line import Recorder, answer_perfectly, data_of, mbap, perfect_pdu, question, tcp_device
from tests.fuzzing import INPUTS, hostile
from tests.waiting import until


def ask_of(unit, address=100):
    return Request(unit, 3, address, 10)


@contextmanager
def channels(url, count=2):
    """So many links over one connection, and their recorders."""
    links = Links()
    sinks = [Recorder() for _ in range(count)]
    made = [links.create(parse_bus(f"{url}?pipeline={count}"), sink, timeout_s=1.0) for sink in sinks]
    assert all(isinstance(link, ChannelLink) for link in made)
    try:
        yield made, sinks
    finally:
        for link in made:
            link.close()
        links.close()


async def opened(links, sinks):
    for link in links:
        link.open()
    for sink in sinks:
        assert await sink.next() == "opened"


async def succeeds(links, sinks):
    """Each channel gets what a perfect device says to its own question."""
    for unit, link in enumerate(links, 1):
        link.send(ask_of(unit, 7))
    for unit, sink in enumerate(sinks, 1):
        assert await sink.next() == data_of(ask_of(unit, 7))


def device(*answers):
    """Serves connections: waits for a question per item, then writes what the item makes of all of them; then well."""

    async def serve(reader, writer):
        for expected, answer in answers:
            asked = [await question(reader) for _ in range(expected)]
            data = answer(asked)
            if data is None:
                return
            writer.write(data)
        await answer_perfectly(reader, writer)

    return serve


def good(asked):
    transaction, unit, pdu = asked
    return mbap(transaction, unit, perfect_pdu(pdu, unit))


async def test_all_questions_are_on_their_way_before_the_first_answer_and_answers_may_come_in_any_order():
    async with tcp_device(device((3, lambda asked: b"".join(map(good, reversed(asked)))))) as url:
        with channels(url, 3) as (links, sinks):
            await opened(links, sinks)
            for unit, link in enumerate(links, 1):
                link.send(ask_of(unit))
            for unit, sink in enumerate(sinks, 1):
                assert await sink.next() == data_of(ask_of(unit))
            await succeeds(links, sinks)


async def test_one_connection_serves_all_and_is_closed_with_the_last():
    connections = []

    async def serve(reader, writer):
        connections.append(writer)
        await answer_perfectly(reader, writer)

    async with tcp_device(serve) as url:
        with channels(url, 4) as (links, sinks):
            await opened(links, sinks)
            await succeeds(links, sinks)
            for link in links[1:]:
                link.close()
            await succeeds(links[:1], sinks[:1])
            links[0].close()
            await until(lambda: connections[0].transport.is_closing())
            await opened(links, sinks)
            await succeeds(links, sinks)
    assert len(connections) == 2


async def test_a_channel_that_joins_later_finds_the_connection_open():
    async with tcp_device(answer_perfectly) as url:
        with channels(url) as ((first, second), (ear, other)):
            await opened([first], [ear])
            second.open()
            assert other.events == [], "never from inside open"
            assert await other.next() == "opened"
            await succeeds([first, second], [ear, other])


async def test_a_late_answer_is_thrown_away_and_counted_and_the_neighbour_gets_its_own():
    async def serve(reader, writer):
        slow, quick = await question(reader), await question(reader)
        writer.write(good(quick))
        again = await question(reader)
        writer.write(good(slow) + good(again))
        await answer_perfectly(reader, writer)

    async with tcp_device(serve) as url:
        with channels(url) as ((first, second), (ear, other)):
            await opened([first, second], [ear, other])
            first.send(ask_of(1))
            second.send(ask_of(2))
            assert await other.next() == data_of(ask_of(2))
            first.expire()
            first.send(ask_of(1, 500))
            assert await ear.next() == data_of(ask_of(1, 500))
            assert (first.late, second.late) == (1, 0)
            await succeeds([first, second], [ear, other])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda t, u, pdu: mbap(t, u + 1, perfect_pdu(pdu, u)), BadFrame),
        (lambda t, u, pdu: mbap(t, u, perfect_pdu(pdu, u)[:-2]), BadFrame),
        (lambda t, u, pdu: mbap(t, u, bytes((pdu[0] | 0x80, 11))), DeviceException),
    ],
    ids=["wrong unit", "short", "gateway exception"],
)
async def test_what_is_wrong_with_one_answer_is_no_matter_of_the_others(answer, error):
    async with tcp_device(device((2, lambda asked: answer(*asked[0]) + good(asked[1])))) as url:
        with channels(url) as (links, sinks):
            await opened(links, sinks)
            for unit, link in enumerate(links, 1):
                link.send(ask_of(unit))
            assert isinstance(await sinks[0].next(), error)
            assert await sinks[1].next() == data_of(ask_of(2))
            await succeeds(links, sinks)


@pytest.mark.parametrize("end", [lambda asked: None, lambda asked: b"\xff" * 30], ids=["end", "garbage"])
async def test_the_end_of_the_connection_is_told_to_every_channel_and_all_open_it_again_together(end):
    async with tcp_device(device((2, end)), answer_perfectly) as url:
        with channels(url) as (links, sinks):
            await opened(links, sinks)
            for unit, link in enumerate(links, 1):
                link.send(ask_of(unit))
            for sink in sinks:
                assert isinstance(await sink.next(), LinkLost)
            await opened(links, sinks)
            await succeeds(links, sinks)


async def test_nothing_listening_is_told_to_every_channel():
    async with tcp_device(answer_perfectly) as url:
        pass
    with channels(url) as (links, sinks):
        for link in links:
            link.open()
        for sink in sinks:
            assert isinstance(await sink.next(), LinkUnavailable)


async def test_a_peer_that_takes_no_bytes_is_lost_for_all():
    async def deaf(reader, writer):
        await asyncio.sleep(3600)

    async with tcp_device(deaf, answer_perfectly) as url:
        with channels(url) as (links, sinks):
            await opened(links, sinks)
            links[0]._connection._unsent = b"left over"
            links[1].send(ask_of(2))
            links[1].expire()
            for sink in sinks:
                assert "takes no more bytes" in str(await sink.next())
            await opened(links, sinks)
            await succeeds(links, sinks)


async def test_misuse_is_a_programming_error():
    async with tcp_device(answer_perfectly) as url:
        with channels(url) as (links, sinks):
            with pytest.raises(RuntimeError, match="closed"):
                links[0].send(ask_of(1))
            await opened(links, sinks)
            with pytest.raises(RuntimeError, match="open"):
                links[0].open()
            links[0].send(ask_of(1))
            with pytest.raises(RuntimeError, match="busy"):
                links[0].send(ask_of(1))
            assert await sinks[0].next() == data_of(ask_of(1))


class Ear:
    """The owner of one channel: asks, gives up at random, and compares every answer with its question."""

    def __init__(self, unit, rng):
        self.unit, self.rng = unit, rng
        self.link = self.question = None
        self.right = self.wrong = self.failures = 0

    def ask(self):
        self.question = Request(self.unit, 3, self.rng.randrange(60_000), self.rng.choice((1, 10, 10, 10)))
        self.link.send(self.question)

    def give_up(self):
        if self.question is not None:
            self.question = None
            self.link.expire()
            self.ask()

    def opened(self):
        self.ask()

    def answered(self, data):
        same = self.question is not None and bytes(data) == data_of(self.question)
        self.right += same
        self.wrong += not same
        self.ask()

    def failed(self, error):
        self.failures += 1
        self.ask()

    def lost(self, error):
        raise AssertionError(error)


async def any_order(reader, writer, rng):
    """A gateway that answers late, in any order, twice, or not at all; it repeats every transaction id truly."""
    owed = []

    async def hear():
        while True:
            owed.append(await question(reader))

    hearing = asyncio.create_task(hear())
    try:
        while not hearing.done():
            await asyncio.sleep(0)
            rng.shuffle(owed)
            for _ in range(rng.randrange(len(owed) + 1)):
                asked = owed.pop()
                fate = rng.random()
                if fate < 0.1:
                    owed.append(asked)  # again, later
                if fate > 0.05:
                    writer.write(good(asked))
    finally:
        hearing.cancel()


async def mixed(answers, seed=3, units=6):
    """(right, wrong) answers of a run in which every owner gives up now and then."""
    rng = random.Random(seed)
    async with tcp_device(lambda reader, writer: any_order(reader, writer, rng)) as url:
        links = Links()
        ears = [Ear(unit, rng) for unit in range(1, units + 1)]
        for ear in ears:
            ear.link = links.create(parse_bus(f"{url}?pipeline=16"), ear, timeout_s=1.0)
            ear.link.open()
        while sum(ear.right + ear.wrong for ear in ears) < answers:
            await asyncio.sleep(0)
            if rng.random() < 0.2:
                rng.choice(ears).give_up()
        late = ears[0].link.late
        links.close()
        return sum(ear.right for ear in ears), sum(ear.wrong for ear in ears), late


async def test_whatever_order_delay_and_repetition_no_answer_is_taken_for_anothers():
    right, wrong, late = await mixed(INPUTS)
    assert wrong == 0
    assert right >= INPUTS
    assert late > INPUTS / 100, "late and repeated answers did come"


async def test_twin_that_takes_answers_in_the_order_of_the_questions_takes_wrong_ones(monkeypatch):
    serve = ChannelConnection._serve

    def by_order(self, transaction, frame):
        same_unit = [t for t, channel in self._asked.items() if channel.request and channel.request.unit == frame[6]]
        serve(self, same_unit[0] if same_unit else transaction, frame)

    monkeypatch.setattr(ChannelConnection, "_serve", by_order)
    _, wrong, _ = await mixed(500)
    assert wrong > 0


async def test_hostile_streams_end_the_connection_or_are_thrown_away():
    frame = mbap(1, 1, perfect_pdu(bytes.fromhex("030064000a"), 1))
    for stream in hostile([frame], 9, 600, inputs=INPUTS // 30):

        async def serve(reader, writer, stream=stream):
            await question(reader)
            writer.write(stream)
            writer.write_eof()

        async with tcp_device(serve, answer_perfectly) as url:
            with channels(url) as (links, sinks):
                await opened(links, sinks)
                links[0].send(ask_of(1))
                while not isinstance(event := await sinks[0].next(), LinkLost):
                    assert isinstance(event, BadFrame | DeviceException) or len(event) == ask_of(1).answer_bytes
                assert isinstance(await sinks[1].next(), LinkLost)
                await opened(links, sinks)
                await succeeds(links, sinks)
