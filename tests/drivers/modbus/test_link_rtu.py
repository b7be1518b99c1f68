"""Modbus RTU on real pseudo-terminals and through a real TCP connection. After each fault a perfect answer succeeds."""

import asyncio
import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

import pytest

from drivers.address import parse_bus
from drivers.base import Request
from drivers.errors import BadFrame, DeviceException, LinkLost, LinkUnavailable
from drivers.modbus.rtu import encode, seal
from drivers.wires.serial_port import SerialWire
from tests.drivers.modbus import conversation
from tests.drivers.modbus.conversation import OTHER, opened, send, succeeds
from tests.drivers.modbus.line import perfect_frame, pty_device, tcp_device
from tests.waiting import until

ASK = Request(1, 3, 1000, 20)
NEIGHBOUR = Request(2, 4, 5, 3)
LATE_S = 0.3
TIOCVHANGUP = 0x5437  # not in termios


def perfect(device, frame):
    device.write(perfect_frame(frame))


link_to = partial(conversation.link_to, timeout_s=0.5, late_s=LATE_S)
first = partial(conversation.first, perfect)


@pytest.mark.parametrize(
    "request_", [Request(1, 1, 0, 2000), Request(2, 2, 65535, 1), Request(247, 3, 0, 125), Request(9, 4, 7, 1)], ids=str
)
async def test_a_read_gives_the_data_bytes_of_the_answer(request_):
    with pty_device(perfect) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await succeeds(link, sink, request_)
        assert device.questions == [encode(request_)]


async def test_requests_may_be_sent_at_once_and_each_keeps_the_gap():
    """Many in a row, from inside the sink: the simulated line would be broken by a missing gap or a lost wake-up."""
    with pty_device(perfect) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        for i in range(50):
            await succeeds(link, sink, Request(1 + i % 3, 3, i, 2))
        assert link.late == 0
        assert link.strays == 0


async def test_an_answer_in_single_bytes_is_put_together():
    answer = perfect_frame(encode(ASK))
    pieces = [answer[i : i + 1] for i in range(len(answer))]
    with pty_device(first(*pieces)) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await succeeds(link, sink, ASK)


@pytest.mark.parametrize(
    "noise",
    [b"\0", encode(ASK), seal(9, b"\x03\x02\x00\x01"), bytes.fromhex("01 65 01 02 03"), bytes(200)],
    ids=["a stray byte", "echo", "another unit", "unknown function", "200 zeros"],
)
async def test_an_answer_behind_noise_is_found(noise):
    with pty_device(first(noise, perfect_frame(encode(ASK)))) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await succeeds(link, sink, ASK)
        await succeeds(link, sink, OTHER)


async def test_a_two_wire_adapter_may_echo_every_request():
    def echoing(device, frame):
        device.write(frame + perfect_frame(frame))

    coils = Request(1, 1, 0x0310, 20)  # whose answer has the form of its echo
    with pty_device(echoing) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        for request in (ASK, coils, NEIGHBOUR):
            await succeeds(link, sink, request)


@pytest.mark.parametrize(
    "bad",
    [
        bytes([*perfect_frame(encode(ASK))[:9], 0x55, *perfect_frame(encode(ASK))[10:]]),
        seal(1, b"\x65\x01\x02"),
        seal(1, b"\x03\x02\x00\x01"),
        bytes(1000),
    ],
    ids=["wrong checksum", "unknown function", "wrong length", "babble"],
)
async def test_a_bad_answer_is_a_bad_frame_and_the_next_succeeds(bad):
    with pty_device(first(bad)) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await send(link, ASK)
        assert isinstance(await sink.next(), BadFrame)
        await succeeds(link, sink, NEIGHBOUR)
        await succeeds(link, sink, OTHER)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 11])
async def test_an_exception_is_reported_and_the_next_succeeds(code):
    with pty_device(first(seal(1, bytes((0x83, code))))) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await send(link, ASK)
        error = await sink.next()
        assert isinstance(error, DeviceException)
        assert error.code == code
        await succeeds(link, sink)


async def test_a_silent_unit_is_not_asked_before_its_late_answer_came_and_its_neighbour_is():
    def serve(device, frame):
        if len(device.questions) > 1:
            perfect(device, frame)

    with pty_device(serve) as device, link_to(device.url, late_s=30.0) as (link, sink):
        await opened(link, sink)
        await send(link, ASK)
        await until(lambda: device.questions)
        link.expire()
        assert link.ready_at(ASK.unit) > time.monotonic() + 20
        with pytest.raises(RuntimeError, match="quarantine"):
            link.send(OTHER)
        await succeeds(link, sink, NEIGHBOUR)
        device.write(perfect_frame(encode(ASK)))
        await until(lambda: link.late == 1)
        assert link.ready_at(ASK.unit) == 0.0
        await succeeds(link, sink, OTHER)


async def test_a_line_that_is_never_silent_is_lost_at_the_deadline_and_succeeds_when_it_is_again():
    babbling = True

    def serve(device, frame):
        perfect(device, frame)

    with pty_device(serve) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)

        async def babble():
            while babbling:
                device.write(b"\x55")
                await asyncio.sleep(0)

        babbler = asyncio.create_task(babble())
        await asyncio.sleep(0.05)
        link.send(ASK)
        await asyncio.sleep(0.1)
        assert device.questions == []
        link.expire()
        error = await sink.next()
        assert isinstance(error, LinkLost)
        assert "never silent" in str(error)
        babbling = False
        await babbler
        await opened(link, sink)
        await succeeds(link, sink)


@contextmanager
def counted_reads():
    """How often the event loop asked the port for bytes."""
    reads = []
    with pytest.MonkeyPatch.context() as patch:
        real = SerialWire._readable
        patch.setattr(SerialWire, "_readable", lambda wire: (reads.append(1), real(wire)))
        yield reads


async def test_an_unplugged_port_is_lost_once_without_spinning_and_comes_back_by_its_path(tmp_path):
    path = tmp_path / "bus"
    with pty_device(perfect) as device, pty_device(perfect) as replugged, counted_reads() as reads:
        path.symlink_to(parse_bus(device.url).path)
        with link_to(f"serial://{path}?baud=115200") as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink)
            device.unplug()
            assert isinstance(await sink.next(), LinkLost)
            count = len(reads)
            await asyncio.sleep(0.1)
            assert (len(reads), sink.events) == (count, [])
            path.unlink()
            link.open()
            error = await sink.next()
            assert isinstance(error, LinkUnavailable)
            assert "no such port" in str(error)
            path.symlink_to(parse_bus(replugged.url).path)
            await opened(link, sink)
            await succeeds(link, sink)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may hang a terminal up")
async def test_a_port_that_was_hung_up_reads_as_empty_and_is_lost_without_spinning():
    with pty_device(perfect) as device, link_to(device.url) as (link, sink), counted_reads() as reads:
        await opened(link, sink)
        await succeeds(link, sink)
        with open(parse_bus(device.url).path, "rb", buffering=0) as port:
            fcntl.ioctl(port, TIOCVHANGUP)
        assert isinstance(await sink.next(), LinkLost)
        count = len(reads)
        await asyncio.sleep(0.1)
        assert (len(reads), sink.events) == (count, [])
        await opened(link, sink)
        await succeeds(link, sink)


async def test_a_port_unplugged_with_a_request_in_flight_is_lost():
    with pty_device(lambda device, frame: device.unplug()) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        link.send(ASK)
        assert isinstance(await sink.next(), LinkLost)


async def test_a_port_in_use_is_unavailable_and_free_after_close():
    with pty_device(perfect) as device, link_to(device.url) as (link, sink), link_to(device.url) as (second, ear):
        await opened(link, sink)
        second.open()
        error = await ear.next()
        assert isinstance(error, LinkUnavailable)
        assert "two masters" in str(error)
        link.close()
        await opened(second, ear)
        await succeeds(second, ear)


async def test_a_file_that_is_no_serial_port_is_unavailable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with link_to(f"serial://{tmp_path}/file") as (link, sink):
        link.open()
        error = await sink.next()
        assert isinstance(error, LinkUnavailable)
        assert "is it a serial port" in str(error)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to drop the privileges of root")
def test_a_port_without_permission_names_the_group():
    script = """
import os
from drivers.address import parse_bus
from drivers.errors import LinkUnavailable
from drivers.wires.serial_port import open_port
master, slave = os.openpty()
path = os.ttyname(slave)
os.chmod(path, 0)
os.seteuid(65534)
try:
    open_port(parse_bus("serial://" + path))
except LinkUnavailable as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert os.strerror(errno.EACCES) in result.stdout
    assert "dialout" in result.stdout


async def test_a_port_closed_while_it_opens_is_given_back():
    with pty_device(perfect) as device, link_to(device.url) as (link, sink):
        link.open()
        link.close()
        await asyncio.sleep(0.1)
        assert sink.events == []
        await opened(link, sink)
        await succeeds(link, sink)


async def rtu_behind_tcp(reader, writer):
    while True:
        writer.write(perfect_frame(await reader.readexactly(8)))


async def rtu_silent(reader, writer):
    await reader.read()


async def test_rtu_through_a_serial_server_gives_the_data_bytes():
    async with tcp_device(rtu_behind_tcp) as url:
        with link_to("rtu+" + url) as (link, sink):
            await opened(link, sink)
            for request in (ASK, OTHER, NEIGHBOUR, Request(1, 1, 0x0310, 20)):
                await succeeds(link, sink, request)


async def test_a_serial_server_that_never_delivers_a_byte_is_reopened():
    async with tcp_device(rtu_silent, rtu_behind_tcp) as url:
        with link_to("rtu+" + url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            await asyncio.sleep(0.05)
            link.expire()
            error = await sink.next()
            assert isinstance(error, LinkLost)
            assert "nothing was ever received" in str(error)
            await opened(link, sink)
            await succeeds(link, sink, NEIGHBOUR)


async def test_a_serial_server_that_has_delivered_before_is_kept_and_the_late_answer_thrown_away():
    async def late(reader, writer):
        writer.write(perfect_frame(await reader.readexactly(8)))
        held = perfect_frame(await reader.readexactly(8))
        writer.write(held + perfect_frame(await reader.readexactly(8)))
        await rtu_behind_tcp(reader, writer)

    async with tcp_device(late) as url:
        with link_to("rtu+" + url) as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink, OTHER)
            link.send(ASK)
            await asyncio.sleep(0.05)
            link.expire()
            await succeeds(link, sink, NEIGHBOUR)
            assert link.late == 1
            await succeeds(link, sink, OTHER)


async def test_a_serial_server_that_ends_the_connection_is_lost_and_a_new_one_succeeds():
    async def ends(reader, writer):
        await reader.readexactly(8)

    async with tcp_device(ends, rtu_behind_tcp) as url:
        with link_to("rtu+" + url) as (link, sink):
            await opened(link, sink)
            link.send(ASK)
            assert isinstance(await sink.next(), LinkLost)
            await opened(link, sink)
            await succeeds(link, sink, NEIGHBOUR)


async def test_the_cost_of_a_read_is_its_time_on_the_line():
    """Domain: 9600 baud, 11-bit characters, 10 registers: 45.8 ms; 125 registers: 309 ms."""
    with link_to("serial:///dev/null?baud=9600&parity=E") as (link, _):
        assert link.cost.of(Request(1, 3, 0, 10)) == pytest.approx(0.0458, abs=1e-4)
        assert link.cost.of(Request(1, 3, 0, 125)) == pytest.approx(0.309, abs=1e-3)


async def test_the_frames_on_the_wire_can_be_traced():
    seen = []
    with pty_device(perfect) as device, link_to(device.url, trace=lambda *it: seen.append(it)) as (link, sink):
        await opened(link, sink)
        await succeeds(link, sink, ASK)
    assert seen[0] == ("tx", encode(ASK))
    assert b"".join(data for way, data in seen if way == "rx") == perfect_frame(encode(ASK))


async def test_a_serial_server_that_takes_no_bytes_is_lost():
    async def deaf(reader, writer):
        writer.transport.pause_reading()
        writer.write(b"\0")  # so that something was heard
        await asyncio.Event().wait()

    async with tcp_device(deaf) as url:
        with link_to("rtu+" + url, late_s=0.0) as (link, sink):
            await opened(link, sink)
            link._wire._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            await until(lambda: link._heard)
            while not link._wire.stuck:  # as if many requests had been sent: the real ones are 5 ms apart
                link._wire.transmit(bytes(8))
            assert sink.events == []
            link.send(ASK)
            error = await sink.next()
            assert isinstance(error, LinkLost)
            assert "takes no more bytes" in str(error)
