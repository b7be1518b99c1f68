"""The Modbus TCP link on real sockets. Each fault is followed by a perfect answer, which must succeed."""

import asyncio
import os
import resource
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.address import parse_bus
from drivers.base import Request
from drivers.errors import BadFrame, DeviceException, LinkLost, LinkUnavailable
from drivers.links import Links
from drivers.modbus.link_tcp import BUFFER_BYTES, TcpLink
from drivers.modbus.tcp_pool import TcpPool
from tests.drivers.modbus.conversation import OTHER, link_to, opened, succeeds
from tests.drivers.modbus.line import Recorder, answer_perfectly, data_of, mbap, perfect_pdu, question, tcp_device
from tests.waiting import until

ASK = Request(1, 3, 1000, 20)


@pytest.mark.parametrize(
    "request_",
    [Request(1, 1, 0, 2000), Request(2, 2, 65535, 1), Request(247, 3, 0, 125), Request(255, 4, 65534, 2)],
    ids=str,
)
async def test_a_read_gives_the_data_bytes_of_the_answer(request_):
    async with tcp_device(answer_perfectly) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink, request_)
            assert link.late == 0
            assert link.ready_at(request_.unit) == 0.0


async def test_answers_in_pieces_are_put_together():
    async def slowly(reader, writer):
        while True:
            transaction, unit, pdu = await question(reader)
            for byte in mbap(transaction, unit, perfect_pdu(pdu, unit)):
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)

    async with tcp_device(slowly) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink)
            await succeeds(link, sink, ASK)


def wrong_unit(transaction, unit, pdu):
    return mbap(transaction, unit + 1, perfect_pdu(pdu, unit))


def wrong_function(transaction, unit, pdu):
    return mbap(transaction, unit, b"\x04" + perfect_pdu(pdu, unit)[1:])


def wrong_byte_count(transaction, unit, pdu):
    return mbap(transaction, unit, bytes((3, 7)) + perfect_pdu(pdu, unit)[2:])


def too_short(transaction, unit, pdu):
    return mbap(transaction, unit, perfect_pdu(pdu, unit)[:-2])


def too_long(transaction, unit, pdu):
    return mbap(transaction, unit, perfect_pdu(pdu, unit) + b"\0\0")


def unknown_function(transaction, unit, pdu):
    return mbap(transaction, unit, b"\x65\x01\x02")


def echo(transaction, unit, pdu):
    return mbap(transaction, unit, pdu)


@pytest.mark.parametrize(
    "fault", [wrong_unit, wrong_function, wrong_byte_count, too_short, too_long, unknown_function, echo]
)
async def test_an_answer_that_is_none_is_a_bad_frame_and_the_next_succeeds(fault):
    async def device(reader, writer):
        transaction, unit, pdu = await question(reader)
        writer.write(fault(transaction, unit, pdu))
        await answer_perfectly(reader, writer)

    async with tcp_device(device) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            assert isinstance(await sink.next(), BadFrame)
            await succeeds(link, sink)


async def test_every_exception_code_is_reported_and_the_connection_stays():
    codes = [*range(1, 12), 0, 255]

    async def device(reader, writer):
        for code in codes:
            transaction, unit, _ = await question(reader)
            writer.write(mbap(transaction, unit, bytes((0x83, code))))
        await answer_perfectly(reader, writer)

    async with tcp_device(device) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            for code in codes:
                link.send(ASK)
                error = await sink.next()
                assert isinstance(error, DeviceException)
                assert error.code == code
            await succeeds(link, sink)


async def test_a_late_answer_is_thrown_away_and_counted():
    """Both in one segment: the answer to the expired request, then the right one."""

    async def device(reader, writer):
        first, unit, pdu = await question(reader)
        second, _, pdu2 = await question(reader)
        writer.write(mbap(first, unit, perfect_pdu(pdu, unit)) + mbap(second, unit, perfect_pdu(pdu2, unit)))
        await answer_perfectly(reader, writer)

    async with tcp_device(device) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            link.expire()
            await succeeds(link, sink, OTHER)
            assert link.late == 1
            await succeeds(link, sink, ASK)


async def test_an_answer_that_comes_twice_is_used_once():
    async def device(reader, writer):
        transaction, unit, pdu = await question(reader)
        writer.write(mbap(transaction, unit, perfect_pdu(pdu, unit)) * 2)
        await answer_perfectly(reader, writer)

    async with tcp_device(device) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink, ASK)
            await succeeds(link, sink, OTHER)
            assert link.late == 1


class _WithoutIds(TcpLink):
    """The twin: a link that takes any transaction id for the right one."""

    def _serve(self, transaction, frame):
        super()._serve(self._transaction, frame)


async def test_without_the_transaction_id_the_late_answer_would_be_the_next_value():
    async def device(reader, writer):
        first, unit, pdu = await question(reader)
        await question(reader)
        writer.write(mbap(first, unit, perfect_pdu(pdu, unit)))
        await answer_perfectly(reader, writer)

    async with tcp_device(device) as url:
        pool, sink = TcpPool(), Recorder()
        link = _WithoutIds(pool, parse_bus(url), sink, user_timeout_s=2)
        await opened(link, sink)
        link.send(ASK)
        link.expire()
        link.send(OTHER)
        assert await sink.next() == data_of(ASK)  # wrong: OTHER was asked
        link.close()
        pool.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        mbap(1, 3, b"\x03\0", protocol=1),
        mbap(1, 3, b"", length=1),
        bytes(600),
        b"\xff" * 7,
    ],
    ids=["http", "protocol id", "length", "zeros", "ones"],
)
async def test_a_stream_that_cannot_be_followed_is_lost_and_a_new_one_succeeds(garbage):
    async def device(reader, writer):
        await question(reader)
        writer.write(garbage)
        await reader.read()

    async with tcp_device(device, answer_perfectly) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            error = await sink.next()
            assert isinstance(error, LinkLost)
            assert isinstance(error.__cause__, BadFrame)
            await opened(link, sink)
            await succeeds(link, sink)


async def test_a_babbling_device_fills_no_memory_and_the_deadline_is_kept():
    """Endless frames with a right form and a wrong transaction id."""

    async def device(reader, writer):
        transaction, unit, pdu = await question(reader)
        frame = mbap(transaction ^ 0x8000, unit, perfect_pdu(pdu, unit))
        with_room = asyncio.create_task(reader.read())
        while not with_room.done():
            writer.write(frame * 50)
            await writer.drain()
            await asyncio.sleep(0)

    async with tcp_device(device, answer_perfectly) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            await until(lambda: link.late > 2000)
            link.expire()
            assert sink.events == []
            assert len(link._buffer) == BUFFER_BYTES
            link.close()
            await opened(link, sink)
            await succeeds(link, sink)


def reset(writer):
    """Close with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


@pytest.mark.parametrize("end", [reset, lambda writer: writer.close()], ids=["reset", "close"])
@pytest.mark.parametrize("sent", [0, 1, 6, 20], ids=lambda n: f"after {n} bytes")
async def test_a_connection_that_ends_is_lost_and_a_new_one_succeeds(end, sent):
    async def device(reader, writer):
        transaction, unit, pdu = await question(reader)
        writer.write(mbap(transaction, unit, perfect_pdu(pdu, unit))[:sent])
        await writer.drain()
        end(writer)

    async with tcp_device(device, answer_perfectly) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            assert isinstance(await sink.next(), LinkLost)
            await opened(link, sink)
            await succeeds(link, sink)


async def test_a_request_into_a_connection_that_was_reset_is_lost_once():
    async def device(reader, writer):
        reset(writer)

    async with tcp_device(device, answer_perfectly) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            if not sink.events:
                link.send(ASK)
            assert isinstance(await sink.next(), LinkLost)
            await asyncio.sleep(0.02)
            assert sink.events == []
            await opened(link, sink)
            await succeeds(link, sink)


async def test_a_silent_device_leaves_the_link_usable():
    async def device(reader, writer):
        await question(reader)
        await answer_perfectly(reader, writer)

    async with tcp_device(device) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            link.expire()
            await succeeds(link, sink)
            assert link.late == 0


async def test_many_silent_or_resetting_connections_leak_no_descriptor():
    async def device(reader, writer):
        await question(reader)
        reset(writer)

    async with tcp_device(device) as url:
        with link_to(url) as (link, sink):
            before = None
            for cycle in range(300):
                await opened(link, sink)
                link.send(ASK)
                if cycle % 3 == 0:
                    link.close()
                else:
                    assert isinstance(await sink.next(), LinkLost)
                if cycle == 20:
                    before = len(os.listdir("/proc/self/fd"))
            await asyncio.sleep(0.05)
            assert len(os.listdir("/proc/self/fd")) <= before + 2  # the server may still hold its ends


async def test_a_sink_may_send_from_every_report():
    class Greedy(Recorder):
        def opened(self):
            super().opened()
            link.send(ASK)

        def answered(self, data):
            super().answered(data)
            if len(self.events) < 5:
                link.send(OTHER)

        def failed(self, error):
            super().failed(error)
            link.send(ASK)

    async def device(reader, writer):
        transaction, unit, pdu = await question(reader)
        writer.write(mbap(transaction, unit, perfect_pdu(pdu, unit)))
        transaction, unit, _ = await question(reader)
        writer.write(mbap(transaction, unit, b"\x83\x06"))
        await answer_perfectly(reader, writer)

    async with tcp_device(device) as url:
        with link_to(url, Greedy()) as (link, sink):
            link.open()
            await until(lambda: len(sink.events) == 5)
            assert sink.events[0] == "opened"
            assert sink.events[1] == sink.events[3] == data_of(ASK)
            assert isinstance(sink.events[2], DeviceException)
            assert sink.events[4] == data_of(OTHER)


async def test_a_sink_may_close_and_open_again_from_a_report():
    """The rest of the old connection's bytes must not reach the new one."""

    class Fickle(Recorder):
        again = True

        def answered(self, data):
            super().answered(data)
            if self.again:
                self.again = False
                link.close()
                link.open()

    async def device(reader, writer):
        transaction, unit, pdu = await question(reader)
        writer.write(mbap(transaction, unit, perfect_pdu(pdu, unit)) + b"\xff" * 20)
        await reader.read()

    async with tcp_device(device, answer_perfectly) as url:
        with link_to(url, Fickle()) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            assert [await sink.next(), await sink.next()] == [data_of(ASK), "opened"]
            await succeeds(link, sink)
            assert sink.events == []


async def test_one_link_may_close_and_replace_another_while_both_have_answers_waiting():
    """The new socket must not be served with events that were fetched for the old one."""

    class Jealous(Recorder):
        def __init__(self, number):
            super().__init__()
            self.number = number

        def answered(self, data):
            super().answered(data)
            other = made[1 - self.number]
            if other.ready and not replaced:
                replaced.append(1 - self.number)
                other.close()
                other.open()

    async def together(reader, writer):
        transaction, unit, pdu = await question(reader)
        waiting.append((writer, mbap(transaction, unit, perfect_pdu(pdu, unit))))
        if len(waiting) == 2:
            for peer, frame in waiting:
                peer.write(frame)
        await answer_perfectly(reader, writer)

    waiting, replaced, links = [], [], Links()
    async with tcp_device(together, together, answer_perfectly) as url:
        sinks = [Jealous(0), Jealous(1)]
        made = [links.create(parse_bus(url), sink, timeout_s=1) for sink in sinks]
        for link, sink in zip(made, sinks, strict=True):
            await opened(link, sink)
        for link in made:
            link.send(ASK)
        await until(lambda: replaced)
        (gone,) = replaced
        assert await sinks[1 - gone].next() == data_of(ASK)
        assert await sinks[gone].next() == "opened"
        await succeeds(made[gone], sinks[gone])
        await succeeds(made[1 - gone], sinks[1 - gone])
        for link in made:
            link.close()
        links.close()


async def test_a_peer_that_takes_no_bytes_is_lost_and_one_that_takes_them_late_is_not():
    patience = asyncio.Event()

    async def deaf(reader, writer):
        await patience.wait()
        await answer_perfectly(reader, writer)

    async with tcp_device(deaf) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            link._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            fill(link)
            link.expire()
            assert "takes no more bytes" in str(await sink.next())

            await opened(link, sink)
            link._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            count = fill(link)
            patience.set()
            assert await sink.next() == data_of(ASK)
            await succeeds(link, sink)
            assert link.late >= count - 1


def fill(link):
    """Send and give up until the peer's window is full and a request is stuck halfway; how many were sent."""
    for count in range(1, 2_000_000):
        link.send(ASK)
        if link.stuck:
            return count
        link.expire()
    raise AssertionError("the socket took everything")


async def test_nothing_listening_is_unavailable_with_a_hint_and_later_succeeds():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with link_to(f"tcp://127.0.0.1:{port}") as (link, sink):
            link.open()
            assert sink.events == []  # never from inside open()
            error = await sink.next()
            assert isinstance(error, LinkUnavailable)
            assert "ECONNREFUSED" in str(error)
            assert "switched on" in str(error)
            free.listen()
            await opened(link, sink)


async def test_a_host_that_does_not_answer_the_connection_is_unavailable_at_the_deadline():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        pool, sink = TcpPool(), Recorder()
        url = f"tcp://127.0.0.1:{address[1]}"
        link = TcpLink(pool, parse_bus(url), sink, user_timeout_s=1, connect_s=0.3)
        link.open()
        error = await sink.next()
        assert isinstance(error, LinkUnavailable)
        assert "within 0.3 s" in str(error)
        assert len(pool) == 0
        for filler in fillers:
            filler.close()
        link.close()
        pool.close()


async def test_a_name_is_resolved_and_connected():
    async with tcp_device(answer_perfectly) as url:
        with link_to(url.replace("127.0.0.1", "localhost")) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink)


async def test_an_ipv6_host_is_connected():
    async with tcp_device(answer_perfectly, host="::1") as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink)


async def test_a_numeric_host_asks_no_resolver(monkeypatch):
    async def no_dns(*_, **__):
        raise AssertionError("asked")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_dns)
    async with tcp_device(answer_perfectly) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)


async def test_a_resolver_that_fails_is_unavailable_and_then_the_last_address_serves(monkeypatch):
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def fails(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    async with tcp_device(answer_perfectly) as url:
        with link_to(url.replace("127.0.0.1", "localhost")) as (link, sink):
            monkeypatch.setattr(loop, "getaddrinfo", fails)
            link.open()
            error = await sink.next()
            assert isinstance(error, LinkUnavailable)
            assert "cannot resolve 'localhost'" in str(error)
            monkeypatch.setattr(loop, "getaddrinfo", real)
            await opened(link, sink)
            link.close()
            monkeypatch.setattr(loop, "getaddrinfo", fails)
            await opened(link, sink)
            await succeeds(link, sink)


async def test_a_resolver_that_hangs_is_asked_once_however_often_the_link_is_opened(monkeypatch):
    asked = []

    async def hangs(*_, **__):
        asked.append(1)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hangs)
    pool, sink = TcpPool(), Recorder()
    link = TcpLink(pool, parse_bus("tcp://meter.example:502"), sink, user_timeout_s=1, connect_s=0.05)
    for _ in range(3):
        link.open()
        error = await sink.next()
        assert isinstance(error, LinkUnavailable)
        assert "no answer from DNS" in str(error)
    assert len(asked) == 1
    link.close()
    pool.close()


async def test_a_process_without_descriptors_says_so_and_recovers():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with tcp_device(answer_perfectly) as url:
        with link_to(url) as (link, sink):
            await opened(link, sink)  # so that the epoll object exists
            link.close()
            taken = [os.dup(0)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
            try:
                while True:
                    try:
                        taken.append(os.dup(0))
                    except OSError:
                        break
                link.open()
                error = await sink.next()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for descriptor in taken:
                    os.close(descriptor)
            assert isinstance(error, LinkUnavailable)
            assert "LimitNOFILE" in str(error)
            await opened(link, sink)
            await succeeds(link, sink)


async def test_a_closed_link_reports_nothing_more():
    async with tcp_device(answer_perfectly) as url:
        with link_to(url) as (link, sink):
            link.open()
            link.close()
            await asyncio.sleep(0.05)
            assert sink.events == []
            await opened(link, sink)
            link.send(ASK)
            link.close()
            link.close()
            await asyncio.sleep(0.05)
            assert sink.events == []


async def test_misuse_is_a_programming_error():
    async with tcp_device(answer_perfectly) as url:
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
            assert await sink.next() == data_of(ASK)


async def test_the_frames_on_the_wire_can_be_traced():
    seen = []
    async with tcp_device(answer_perfectly) as url:
        with link_to(url, trace=lambda way, data: seen.append((way, data))) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink, Request(1, 3, 0, 1))
    assert seen == [("tx", mbap(1, 1, bytes.fromhex("0300000001"))), ("rx", mbap(1, 1, bytes.fromhex("03021003")))]


HALF_OPEN = Path(__file__).with_name("half_open.py")


@pytest.mark.skipif(subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0, reason="no namespaces")
@pytest.mark.parametrize(
    ("timeout_s", "found", "secure"),
    [(1.0, True, False), (1.0, True, True), (300.0, False, False)],
    ids=["plain", "TLS", "twin"],
)
def test_a_peer_that_vanished_is_found_within_two_timeouts_and_not_without(timeout_s, found, secure, authority):
    """In a network of its own, the loopback goes down in mid-poll: nothing is acknowledged and nothing refused."""
    files = [authority.ca, *authority.issue("both", "IP:127.0.0.1")] if secure else []
    command = ["unshare", "-rn", sys.executable, str(HALF_OPEN), str(timeout_s), *map(str, files)]
    root = Path(__file__).parents[3]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=25, check=False)
    assert result.returncode == 0, result.stderr
    assert ("LinkLost" in result.stdout) == found
    assert ("ETIMEDOUT" in result.stdout) == found
