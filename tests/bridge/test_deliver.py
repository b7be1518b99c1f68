"""deliver: nothing is acknowledged before it is stored, whatever the database does; each fault, then a good answer."""

import asyncio
import json
import random

import pytest

from collector.bridge.check import Limits
from collector.bridge.dead_letter import DeadLetters
from collector.bridge.deliver import Delivery
from collector.bridge.influx import InfluxV1Store
from collector.bridge.settings import InfluxV1
from collector.bridge.subscribe import Inbox
from collector.clock import FakeClock
from collector.errors import UplinkLost, UplinkRefused
from collector.mqtt import Message
from tests.bridge.payloads import line, payload, topic


class Session:
    """The MQTT session's side: what was acknowledged and published."""

    def __init__(self):
        self.acked, self.published, self.answer = [], [], 0

    def ack(self, message):
        self.acked.append(message.mid)

    def pause(self):
        pass

    resume = pause

    def publish(self, topic, payload, *, qos=1, retain=False):
        self.published.append((topic, json.loads(payload)))
        future = asyncio.get_running_loop().create_future()
        future.set_exception(self.answer) if isinstance(self.answer, Exception) else future.set_result(self.answer)
        return future


class Bench:
    """A delivery between a stub database and a session that remembers; `pauses` are what it would have slept."""

    def __init__(self, stub, tmp_path, **more):
        self.clock, self.session, self.pauses = FakeClock(), Session(), []
        self.on_pause = lambda: None
        self.dead = tmp_path / "dead.jsonl"
        self.inbox = Inbox(batch_bytes=1 << 20, linger_s=0.0, memory_bytes=1 << 24)
        self.inbox.attach(self.session)
        more = {"series_per_gateway": 1000, "batch_bytes": 1 << 20} | more
        self.delivery = Delivery(
            InfluxV1Store(InfluxV1(url=stub.url, database="dc", timeout_s=5.0), self.clock),
            DeadLetters(self.dead, 1 << 20, self.clock),
            self.clock,
            centre="east",
            limits=Limits(1 << 20, 10_000),
            rng=random.Random(1),
            sleep=self._sleep,
            **more,
        )

    async def _sleep(self, seconds):
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        self.on_pause()
        await asyncio.sleep(0)

    async def run(self, *messages: tuple[str, bytes]):
        """Deliver the messages, all in one batch, to the end."""
        for mid, (on, data) in enumerate(messages, start=self.inbox.received + 1):
            self.inbox.put(Message(on, data, mid))
        task = asyncio.create_task(self.delivery.run(self.inbox, self.session))
        while self.inbox.held and not task.done():
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    def letters(self):
        return [json.loads(text) for text in self.dead.read_text().splitlines()] if self.dead.exists() else []

    def books(self):
        books = self.delivery.books.snapshot(received=self.inbox.received, held=self.inbox.held)
        messages, lines, points = books["messages"], books["lines"], books["points"]
        rejected = sum(messages["rejected"].values())
        assert messages["received"] == messages["stored"] + rejected + messages["released"] + messages["held"]
        assert lines["checked"] == lines["written"] + sum(lines["dropped"].values())
        assert points["claimed"] == points["written"] + points["dropped"]
        return books


@pytest.fixture
def bench(stub, tmp_path):
    return Bench(stub, tmp_path)


def good(seq=1, device="m1", gateway="gw1"):
    return topic(gateway), payload(line(device=device, gateway=gateway), seq=seq, gateway=gateway)


async def test_messages_are_written_together_then_confirmed_per_gateway_then_acknowledged(bench, stub):
    await bench.run(good(1), good(2, "m2"), good(4, "m3"), good(9, gateway="gw2"))
    assert stub.bodies == [line() + line(device="m2") + line(device="m3") + line(gateway="gw2")]
    assert bench.session.published == [
        ("dc/v1/c/s1/gw1/ack/east", {"spool": "0000beef", "seqs": [[1, 2], [4, 4]]}),
        ("dc/v1/c/s1/gw2/ack/east", {"spool": "0000beef", "seqs": [[9, 9]]}),
    ]
    assert bench.session.acked == [1, 2, 3, 4]
    books = bench.books()
    assert (books["confirmed"], books["points"]["written"], books["lines"]["written"]) == (4, 4, 4)


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, b""),
        (503, {}, b""),
        (408, {}, b""),
        (401, {}, b""),
        (403, {}, b""),
        (404, {}, b""),
        "reset",
        "garbage",
    ],
)
async def test_until_the_database_has_it_nothing_is_acknowledged_or_confirmed_and_then_everything_is(
    bench, stub, fault
):
    stub.script = [fault] * 3
    told = []
    bench.on_pause = lambda: told.append((list(bench.session.acked), list(bench.session.published)))
    await bench.run(good())
    assert told == [([], [])] * 3
    assert bench.session.acked == [1]
    assert stub.lines == [line()[:-1]]
    assert bench.books()["retries"] == 3
    assert bench.letters() == []


async def test_the_twin_that_acknowledges_first_has_acknowledged_what_the_database_never_took(bench, stub):
    stub.script = [(503, {}, b"")]
    put = bench.inbox.put
    bench.inbox.put = lambda message: (put(message), bench.session.ack(message))
    told = []
    bench.on_pause = lambda: told.append((list(bench.session.acked), list(stub.lines)))
    await bench.run(good())
    assert told == [([1], [])]


async def test_a_refusing_database_is_asked_at_most_once_a_minute_and_keeps_everything(bench, stub):
    stub.script = [(401, {}, b'{"error":"authorization failed"}')] * 5
    await bench.run(good())
    assert all(pause >= 60.0 for pause in bench.pauses)
    assert len(bench.pauses) == 5
    assert stub.lines == [line()[:-1]]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7.0, 7.0), ("1000000000", 300.0, 300.0), ("soon", 0.0, 0.5), ("-1", 0.0, 0.5), ("1", 1.0, 1.0)],
)
async def test_retry_after_is_kept_to_but_not_beyond_five_minutes(bench, stub, header, least, most):
    stub.script = [(429, {"Retry-After": header}, b"")]
    await bench.run(good())
    [pause] = bench.pauses
    assert least <= pause <= most
    assert bench.session.acked == [1]


async def test_a_body_that_is_too_large_is_halved_and_the_size_remembered(bench, stub):
    stub.max_bytes = 100_000
    big = b"".join(line(f"u={n}", ts_ns=n) for n in range(5000))
    await bench.run((topic(), payload(big)))
    assert len(set(stub.lines)) == 5000
    requests = len(stub.requests)
    stub.requests.clear()
    await bench.run((topic(), payload(big, seq=2)))
    assert len(stub.requests) < requests
    assert all(len(body) <= 100_000 for *_, body in stub.requests)
    assert bench.session.acked == [1, 2]


async def test_a_named_bad_line_is_cut_out_and_the_rest_sent_again(bench, stub):
    bad = line("u=1", device="bad")
    stub.script = [(400, {}, json.dumps({"message": f"unable to parse '{bad[:-1].decode()}': why"}).encode())]
    await bench.run((topic(), payload(line() + bad + line(device="m2"))), good(2, "m3"))
    assert stub.bodies == [line() + line(device="m2") + line(device="m3")]
    assert [letter["text"] for letter in bench.letters()] == [bad[:-1].decode()]
    assert bench.session.acked == [1, 2]
    books = bench.books()
    assert books["lines"] == {"checked": 4, "written": 3, "dropped": {"rejected by the database": 1}}
    assert books["points"] == {"claimed": 4, "written": 3, "dropped": 1}


async def test_a_partial_write_that_names_nobody_is_searched_and_confirmed(bench, stub):
    stub.script = [(422, {}, b'{"message":"partial write: field type conflict dropped=1"}')] * 2
    await bench.run((topic(), payload(line() + line(device="m2"))))
    assert [letter["text"] for letter in bench.letters()] == [line()[:-1].decode()]
    assert stub.bodies == [line(device="m2")]
    assert len(bench.session.published) == 1


async def test_bad_lines_are_buried_and_their_good_neighbours_stored_and_confirmed(bench, stub):
    mixed = line() + line(gateway="gw2") + line("u=NaN") + line(device="m2")
    await bench.run((topic(), payload(mixed)))
    assert stub.bodies == [line() + line(device="m2")]
    assert [letter["reason"] for letter in bench.letters()] == ["line under another name", "not a valid line"]
    assert all(letter["topic"] == topic() for letter in bench.letters())
    assert len(bench.session.published) == 1
    assert bench.books()["lines"]["dropped"] == {"line under another name": 1, "not a valid line": 1}


async def test_a_gateway_that_writes_under_anothers_name_is_buried_and_never_confirmed(bench, stub):
    for _ in range(3):
        await bench.run((topic("gw2"), payload(line())))
    assert stub.bodies == []
    assert bench.session.published == []
    assert bench.session.acked == [1, 2, 3]
    assert bench.books()["messages"]["rejected"] == {"header names another gateway than the topic": 3}


async def test_a_damaged_row_is_confirmed_when_it_comes_again_the_same_and_stored_when_it_comes_whole(bench, stub):
    damaged = payload(line(), crc=1)
    await bench.run((topic(), damaged))
    assert bench.session.published == []
    await bench.run((topic(), payload(line())))
    assert stub.bodies == [line()]
    await bench.run((topic(), damaged))
    assert len(bench.session.published) == 2


async def test_too_many_series_of_one_gateway_go_to_the_dead_letters_and_its_neighbour_is_stored(stub, tmp_path):
    bench = Bench(stub, tmp_path, series_per_gateway=2)
    flood = b"".join(line(device=f"d{n}") for n in range(5))
    await bench.run((topic(), payload(flood)), good(gateway="gw2"))
    assert len(stub.lines) == 3
    assert bench.books()["lines"]["dropped"] == {"too many series of one gateway": 3}


async def test_dead_letters_that_cannot_be_written_are_counted_and_hold_nobody_up(bench, stub):
    bench.dead.mkdir()
    await bench.run((topic(), b"junk"), good())
    assert stub.bodies == [line()]
    assert bench.session.acked == [1, 2]
    assert bench.books()["dead_letters_lost"] == 1


@pytest.mark.parametrize(("answer", "failed"), [(UplinkRefused("ACL"), 1), (UplinkLost("gone"), 0), (16, 0)])
async def test_a_refused_confirmation_is_counted_and_a_lost_one_comes_again_by_itself(bench, answer, failed):
    bench.session.answer = answer
    await bench.run(good())
    await asyncio.sleep(0)
    assert bench.books()["confirmations_failed"] == failed
    assert bench.session.acked == [1]


async def test_cancelled_in_the_middle_nothing_is_acknowledged_and_the_next_connection_stores_it(bench, stub):
    stub.script = ["hang"]
    bench.inbox.put(Message(*good(), 1))
    task = asyncio.create_task(bench.delivery.run(bench.inbox, bench.session))
    while not stub.requests:
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait({task})
    assert bench.session.acked == []
    stub._released.set()
    bench.delivery.books.released += bench.inbox.held
    bench.inbox = Inbox(batch_bytes=1 << 20, linger_s=0.0, memory_bytes=1 << 24)
    bench.inbox.attach(bench.session)
    await bench.run(good())
    assert stub.lines == [line()[:-1]]
    assert bench.session.acked == [1]


async def test_a_hanging_database_does_not_keep_it_from_closing(bench, stub, monkeypatch):
    monkeypatch.setattr("collector.bridge.deliver.CLOSE_S", 0.05)
    stub.script = ["hang"]
    bench.inbox.put(Message(*good(), 1))
    task = asyncio.create_task(bench.delivery.run(bench.inbox, bench.session))
    while not stub.requests:
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait({task})
    assert await bench.delivery.close() is False
