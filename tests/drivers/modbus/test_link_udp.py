"""Modbus over UDP on real sockets. After each fault a perfect answer succeeds."""

import asyncio
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.address import parse_bus
from drivers.base import Request
from drivers.errors import BadFrame, DeviceError, DeviceException, LinkLost, LinkUnavailable
from drivers.links import Links
from drivers.modbus import link_udp
from drivers.modbus import mbap as framing
from drivers.modbus.link_udp import UdpLink
from tests.drivers.modbus.conversation import OTHER, link_to, opened, succeeds
from tests.drivers.modbus.line import data_of, mbap, perfect_datagram, perfect_pdu, udp_device
from tests.fuzzing import INPUTS, hostile
from tests.servers import free_port
from tests.waiting import until

ASK = Request(1, 3, 1000, 20)
UNREACHABLE = Path(__file__).with_name("unreachable.py")


def perfect(datagram, reply):
    reply(perfect_datagram(datagram))


def first(*spoil):
    """A device whose first answer is what `spoil` makes of the question and the perfect answer; others are perfect."""
    asked = []

    def serve(datagram, reply):
        asked.append(datagram)
        answer = perfect_datagram(datagram)
        if len(asked) > 1:
            reply(answer)
            return
        for each in spoil:
            reply(each(datagram, answer))

    return serve


@pytest.mark.parametrize(
    "request_", [Request(1, 1, 0, 2000), Request(2, 2, 65535, 1), Request(255, 3, 0, 125), Request(0, 4, 7, 1)], ids=str
)
async def test_a_read_gives_the_data_bytes_of_the_answer(request_):
    async with udp_device(perfect) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink, request_)
            assert link.ready_at(request_.unit) == 0.0


@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_a_name_and_an_ipv6_address_are_asked(host):
    where = "127.0.0.1" if host == "localhost" else host
    async with udp_device(perfect, where) as url:
        with link_to(url.replace("127.0.0.1", host)) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink)


def pdu(code):
    return lambda question, answer: mbap(int.from_bytes(question[:2], "big"), question[6], code)


BAD = {
    "another unit": lambda question, answer: answer[:6] + b"\x09" + answer[7:],
    "another function": pdu(b"\x04\x02\x00\x01"),
    "another length": pdu(b"\x03\x02\x00\x01"),
    "cut": lambda question, answer: answer[:-1],
    "more than a frame": lambda question, answer: answer + b"\0",
    "two frames in one datagram": lambda question, answer: answer + answer,
    "no Modbus": lambda question, answer: answer[:2] + b"\x00\x07" + answer[4:],
    "a long exception": pdu(b"\x83\x02\x00"),
    "an empty datagram": lambda question, answer: b"",
    "the longest there is": lambda question, answer: bytes(60_000),
    "the question": lambda question, answer: question,
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
async def test_an_answer_that_is_none_is_a_bad_frame_and_the_next_succeeds(spoil):
    async with udp_device(first(spoil)) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            assert isinstance(await sink.next(), BadFrame)
            await succeeds(link, sink)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 10, 11, 99])
async def test_every_exception_code_is_reported_and_the_next_succeeds(code):
    async with udp_device(first(pdu(bytes((0x83, code))))) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            error = await sink.next()
            assert isinstance(error, DeviceException)
            assert error.code == code
            await succeeds(link, sink)


async def test_a_lost_datagram_is_silence_and_the_next_succeeds():
    async with udp_device(first()) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            await asyncio.sleep(0.05)
            assert sink.events == []
            link.expire()
            await succeeds(link, sink)
            assert link.late == 0


async def test_a_datagram_that_comes_twice_is_used_once():
    async with udp_device(first(*[lambda question, answer: answer] * 2)) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink, ASK)
            await until(lambda: link.late == 1)
            await succeeds(link, sink)
            assert sink.events == []


async def test_a_late_answer_is_thrown_away_and_counted_also_when_it_comes_before_the_right_one():
    held = []

    def reordered(datagram, reply):
        held.append(perfect_datagram(datagram))
        if len(held) == 2:  # the network overtakes: old, new
            for answer in held:
                reply(answer)

    async with udp_device(reordered) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            link.expire()
            await succeeds(link, sink)
            assert link.late == 1


async def test_what_comes_from_another_address_or_port_is_never_an_answer():
    """A stranger who knows port and transaction id even: the kernel hands on only what comes from whom was asked."""
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def robbed(datagram, reply):
        ours = link._sock.getsockname()
        lie = mbap(int.from_bytes(datagram[:2], "big"), 1, b"\x03\x28" + b"\xee" * 40)
        stranger.sendto(lie, ours)
        if len(frames) > 2:
            reply(perfect_datagram(datagram))

    frames = []
    async with udp_device(robbed) as url:
        with link_to(url, trace=lambda way, data: frames.append(way)) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            await asyncio.sleep(0.1)
            assert (sink.events, link.late, frames) == ([], 0, ["tx"])
            link.expire()
            frames.append("")
            await succeeds(link, sink)
    stranger.close()


async def test_without_the_connected_socket_the_stranger_would_be_believed(monkeypatch):
    """The twin: a socket that takes whatever comes."""
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def robbed(datagram, reply):
        lie = mbap(int.from_bytes(datagram[:2], "big"), 1, b"\x03\x28" + b"\xee" * 40)
        stranger.sendto(lie, link._sock.getsockname())

    async with udp_device(robbed) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            here = link._sock.getsockname()
            link.send(ASK)
            loose = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            loose.setblocking(False)
            link._sock.close()
            loose.bind(here)
            link._sock = loose
            link._pool._connections[loose.fileno()] = link
            link._pool._epoll.register(loose, 1)
            assert await sink.next() == b"\xee" * 40
    stranger.close()


async def test_nothing_listening_is_unavailable_with_a_hint_and_later_succeeds():
    port = free_port()
    with link_to(f"udp://127.0.0.1:{port}") as (link, sink):
        await opened(link, sink)  # which proves nothing
        link.send(ASK)
        for _ in range(3):
            error = await sink.next()
            assert isinstance(error, LinkUnavailable)
            assert "ECONNREFUSED" in str(error)
            assert "nothing listens there" in str(error)
            assert sink.events == []
            link.open()  # now it does
        assert isinstance(await sink.next(), LinkUnavailable)
        async with udp_device(perfect, port=port):
            await opened(link, sink)
            await succeeds(link, sink)
            assert link.late == 0


async def test_after_a_refusal_a_link_is_open_when_anything_comes_back_or_nothing_for_long(monkeypatch):
    port, asked = free_port(), []
    with link_to(f"udp://127.0.0.1:{port}") as (link, sink):
        await opened(link, sink)
        link.send(ASK)
        assert isinstance(await sink.next(), LinkUnavailable)
        async with udp_device(lambda datagram, reply: asked.append((datagram, reply)), port=port):
            link.open()
            await until(lambda: asked)
            assert sink.events == []
            with pytest.raises(RuntimeError, match="closed"):
                link.send(OTHER)
            asked[0][1](b"")
            assert await sink.next() == "opened"
            link.send(ASK)
            await until(lambda: len(asked) == 2)
            asked[1][1](perfect_datagram(asked[1][0]))
            assert await sink.next() == data_of(ASK)
        await asyncio.sleep(0)
        link.send(ASK)
        assert isinstance(await sink.next(), LinkLost)
        monkeypatch.setattr(link_udp, "KNOCK_S", 0.05)
        async with udp_device(lambda datagram, reply: None, port=port):
            await opened(link, sink)


async def test_a_link_that_is_closed_while_it_knocks_hears_nothing_more(monkeypatch):
    monkeypatch.setattr(link_udp, "KNOCK_S", 0.05)
    port = free_port()
    with link_to(f"udp://127.0.0.1:{port}") as (link, sink):
        await opened(link, sink)
        link.send(ASK)
        assert isinstance(await sink.next(), LinkUnavailable)
        asked = []
        async with udp_device(lambda datagram, reply: asked.append(datagram), port=port):
            link.open()
            await until(lambda: asked)
            link.close()
            await asyncio.sleep(0.1)
            assert sink.events == []


async def test_a_device_that_goes_away_is_lost_and_works_again_when_it_is_back():
    port = free_port()
    with link_to(f"udp://127.0.0.1:{port}") as (link, sink):
        async with udp_device(perfect, port=port):
            await opened(link, sink)
            await succeeds(link, sink)
        await asyncio.sleep(0.05)
        link.send(ASK)
        error = await sink.next()
        assert isinstance(error, LinkLost)
        assert "cannot be reached any more" in str(error)
        async with udp_device(perfect, port=port):
            await opened(link, sink)
            await succeeds(link, sink)


async def test_a_refusal_that_comes_while_nobody_asks_is_told_too():
    with link_to(f"udp://127.0.0.1:{free_port()}") as (link, sink):
        await opened(link, sink)
        link.send(ASK)
        link.expire()
        assert isinstance(await sink.next(), LinkUnavailable)


@pytest.mark.skipif(subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0, reason="no namespaces")
@pytest.mark.parametrize("asking", [True, False], ids=["asked for", "twin"])
def test_a_host_that_is_not_on_its_network_is_unavailable_and_without_asking_for_it_only_silent(asking):
    """In a network of its own: nobody answers ARP, and Linux tells a datagram socket only if it wants to know."""
    command = ["unshare", "-rn", sys.executable, str(UNREACHABLE), str(int(asking))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert result.returncode == 0, result.stderr
    assert ("LinkUnavailable" in result.stdout) == asking, result.stdout
    assert ("no such host on that network" in result.stdout) == asking


async def test_a_network_without_a_way_there_is_unavailable(monkeypatch):
    monkeypatch.setattr(UdpLink, "make_socket", lambda self, family: Walled(family, socket.SOCK_DGRAM))
    with link_to("udp://192.0.2.1") as (link, sink):
        link.open()
        error = await sink.next()
        assert isinstance(error, LinkUnavailable)
        assert "no route" in str(error)


class Walled(socket.socket):
    def connect(self, target):
        raise OSError(101, "")


async def test_a_closed_link_reports_nothing_more():
    async with udp_device(perfect) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            link.close()
            await asyncio.sleep(0.05)
            assert sink.events == []
            await opened(link, sink)
            await succeeds(link, sink)


async def test_an_answer_to_the_time_before_the_link_was_closed_finds_nobody():
    held = []

    def slow(datagram, reply):
        held.append(lambda: reply(perfect_datagram(datagram)))
        if len(held) > 1:
            held[0]()
            held[1]()

    async with udp_device(slow) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            await until(lambda: held)
            link.close()
            await opened(link, sink)
            await succeeds(link, sink)
            assert link.late == 0


async def test_misuse_is_a_programming_error():
    async with udp_device(first()) as url:
        with link_to(url) as (link, sink):
            with pytest.raises(RuntimeError, match="closed"):
                link.send(ASK)
            await opened(link, sink)
            with pytest.raises(RuntimeError, match="open"):
                link.open()
            with pytest.raises(ValueError, match="not a read"):
                link.send(Request(1, 6, 0, 1))
            link.send(ASK)
            with pytest.raises(RuntimeError, match="busy"):
                link.send(ASK)


async def test_the_datagrams_can_be_traced():
    frames = []
    async with udp_device(perfect) as url:
        with link_to(url, trace=lambda way, data: frames.append((way, data))) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink, ASK)
    (sent, question), (received, answer) = frames
    assert (sent, received) == ("tx", "rx")
    assert answer == perfect_datagram(question)


class Ear:
    """Asks, gives up at random, and compares every answer with its question."""

    def __init__(self, rng):
        self.rng = rng
        self.link = self.question = None
        self.right = self.wrong = 0

    def ask(self):
        self.question = Request(1, 3, self.rng.randrange(60_000), self.rng.choice((1, 10, 10, 10)))
        self.link.send(self.question)

    def give_up(self):
        if self.question is not None:
            self.link.expire()
            self.ask()

    opened = ask

    def answered(self, data):
        same = bytes(data) == data_of(self.question)
        self.right += same
        self.wrong += not same
        self.ask()

    def failed(self, error):
        self.ask()

    def lost(self, error):
        raise AssertionError(error)


async def mixed(answers, seed=3):
    """(right, wrong, late) of a run over a network that loses, doubles, delays and reorders."""
    rng, owed = random.Random(seed), []

    def network(datagram, reply):
        owed.append((perfect_datagram(datagram), reply))
        rng.shuffle(owed)
        for _ in range(rng.randrange(len(owed) + 1)):
            answer, send = owed.pop()
            fate = rng.random()
            if fate < 0.1:
                owed.append((answer, send))  # again, later
            if fate > 0.05:
                send(answer)
        del owed[:-50]

    async with udp_device(network) as url:
        links, ear = Links(), Ear(rng)
        ear.link = links.create(parse_bus(url), ear, timeout_s=1.0)
        ear.link.open()
        idle = 0
        while ear.right + ear.wrong < answers:
            before = ear.right + ear.wrong
            await asyncio.sleep(0)
            idle = idle + 1 if ear.right + ear.wrong == before else 0
            if idle > 5 or rng.random() < 0.05:
                idle = 0
                ear.give_up()
        late = ear.link.late
        links.close()
        return ear.right, ear.wrong, late


async def test_whatever_is_lost_doubled_or_reordered_no_answer_is_taken_for_anothers():
    right, wrong, late = await mixed(INPUTS)
    assert wrong == 0
    assert right >= INPUTS
    assert late > INPUTS / 20, "late and repeated answers did come"


async def test_twin_that_does_not_look_at_the_transaction_id_takes_wrong_ones(monkeypatch):
    whole = framing.whole
    links = []
    make = UdpLink.__init__
    monkeypatch.setattr(UdpLink, "__init__", lambda self, *a, **k: (links.append(self), make(self, *a, **k))[1])
    monkeypatch.setattr(framing, "whole", lambda datagram: (links[0]._transaction, whole(datagram)[1]))
    _, wrong, _ = await mixed(300)
    assert wrong > 0


async def test_hostile_datagrams_are_an_error_or_thrown_away_and_the_next_succeeds():
    good = mbap(1, 1, perfect_pdu(bytes.fromhex("0303e80014"), 1))
    stream = hostile([good, mbap(1, 1, b"\x83\x02")], 9, 600, inputs=INPUTS // 3)
    asked = []

    def serve(datagram, reply):
        asked.append(datagram)
        if len(asked) % 2 == 0:
            reply(perfect_datagram(datagram))
            return
        bad = next(stream, b"")
        if bad[2:4] == b"\0\0":
            bad = datagram[:2] + bad[2:]
        reply(bad)

    async with udp_device(serve) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            for _ in range(INPUTS // 3):
                link.send(ASK)
                late = link.late
                async with asyncio.timeout(15):
                    while not sink.events and link.late == late:
                        await asyncio.sleep(0)
                if sink.events:
                    event = await sink.next()
                    assert isinstance(event, DeviceError) or len(event) == ASK.answer_bytes
                link.expire()
                await succeeds(link, sink)
