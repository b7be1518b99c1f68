"""Modbus ASCII on real pseudo-terminals and through a TCP connection. After each fault a perfect answer succeeds."""

import asyncio
import time
from functools import partial

import pytest

from drivers.address import parse_bus
from drivers.base import Request
from drivers.errors import BadFrame, DeviceException, LinkLost, LinkUnavailable
from drivers.modbus.ascii import command, seal, unseal
from tests.drivers.modbus import conversation
from tests.drivers.modbus.conversation import OTHER, opened, send, succeeds
from tests.drivers.modbus.line import perfect_pdu, pty_device, tcp_device
from tests.waiting import until

ASK = Request(1, 3, 1000, 20)
NEIGHBOUR = Request(2, 4, 5, 3)
LATE_S = 0.3
QUESTION = 17


def link_to(url, **settings):
    address = url.replace("serial://", "ascii+serial://")
    return conversation.link_to(address, timeout_s=0.5, **{"late_s": LATE_S, **settings})


def ascii_device(serve):
    return pty_device(serve, QUESTION)


def perfect_frame(frame):
    """The right answer to a question."""
    body = unseal(frame)
    return seal(body[0], perfect_pdu(body[1:], body[0]))


def perfect(device, frame):
    device.write(perfect_frame(frame))


first = partial(conversation.first, perfect, every_s=0.002)


@pytest.mark.parametrize(
    "request_", [Request(1, 1, 0, 2000), Request(2, 2, 65535, 1), Request(247, 3, 0, 125), Request(9, 4, 7, 1)], ids=str
)
async def test_a_read_gives_the_data_bytes_of_the_answer(request_):
    with ascii_device(perfect) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await succeeds(link, sink, request_)
        assert device.questions == [command(request_).question]


async def test_requests_may_be_sent_at_once_after_each_answer():
    with ascii_device(perfect) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        for i in range(50):
            await succeeds(link, sink, Request(1 + i % 3, 3, i, 2))
        assert (link.late, link.strays) == (0, 0)


async def test_an_answer_in_single_characters_is_put_together():
    answer = perfect_frame(command(ASK).question)
    pieces = [answer[i : i + 1] for i in range(len(answer))]
    with ascii_device(first(*pieces)) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await succeeds(link, sink, ASK)


@pytest.mark.parametrize(
    "noise",
    [b"\0", command(ASK).question, seal(9, b"\x03\x02\x00\x01"), b":0103", bytes(200)],
    ids=["a stray byte", "echo", "another unit", "a frame that was cut off", "200 zeros"],
)
async def test_an_answer_behind_noise_is_found(noise):
    with (
        ascii_device(first(noise, perfect_frame(command(ASK).question))) as device,
        link_to(device.url) as (link, sink),
    ):
        await opened(link, sink)
        await succeeds(link, sink, ASK)
        await succeeds(link, sink, OTHER)


@pytest.mark.parametrize(
    "bad",
    [
        perfect_frame(command(ASK).question)[:-4] + b"00\r\n",
        perfect_frame(command(ASK).question).replace(b"0", b"Z"),
        seal(1, b"\x65\x01\x02"),
        seal(1, b"\x03\x02\x00\x01"),
        bytes(3000),
    ],
    ids=["wrong LRC", "no digits", "unknown function", "wrong length", "babble"],
)
async def test_a_bad_answer_is_a_bad_frame_and_the_next_succeeds(bad):
    with ascii_device(first(bad)) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await send(link, ASK)
        assert isinstance(await sink.next(), BadFrame)
        await succeeds(link, sink, NEIGHBOUR)
        await succeeds(link, sink, OTHER)


async def test_an_answer_of_another_unit_is_not_taken_and_the_next_succeeds():
    with ascii_device(first(seal(2, b"\x03\x28" + bytes(40)))) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await send(link, ASK)
        await until(lambda: link.late == 1)
        assert sink.events == []
        link.expire()
        await succeeds(link, sink, OTHER)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 11, 99])
async def test_an_exception_is_reported_and_the_next_succeeds_at_once(code):
    with ascii_device(first(seal(1, bytes((0x83, code))))) as device, link_to(device.url) as (link, sink):
        await opened(link, sink)
        await send(link, ASK)
        error = await sink.next()
        assert isinstance(error, DeviceException)
        assert error.code == code
        assert link.ready_at(1) == 0.0
        await succeeds(link, sink)


async def test_a_silent_unit_is_not_asked_before_its_late_answer_came_and_its_neighbour_is():
    def serve(device, frame):
        if len(device.questions) > 1:
            perfect(device, frame)

    with ascii_device(serve) as device, link_to(device.url, late_s=30.0) as (link, sink):
        await opened(link, sink)
        await send(link, ASK)
        await until(lambda: device.questions)
        link.expire()
        assert link.ready_at(ASK.unit) > time.monotonic() + 20
        with pytest.raises(RuntimeError, match="quarantine"):
            link.send(OTHER)
        await succeeds(link, sink, NEIGHBOUR)
        device.write(perfect_frame(command(ASK).question))
        await until(lambda: link.late == 1)
        assert link.ready_at(ASK.unit) == 0.0
        await succeeds(link, sink, OTHER)


async def test_a_line_that_is_never_silent_is_lost_at_the_deadline_and_succeeds_when_it_is_again():
    babbling = True
    with ascii_device(perfect) as device, link_to(device.url.replace("115200", "1200")) as (link, sink):
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


async def test_an_unplugged_port_is_lost_and_comes_back_by_its_path(tmp_path):
    path = tmp_path / "bus"
    with ascii_device(perfect) as device, ascii_device(perfect) as replugged:
        path.symlink_to(parse_bus(device.url).path)
        with link_to(f"serial://{path}?baud=115200") as (link, sink):
            await opened(link, sink)
            await succeeds(link, sink)
            device.unplug()
            assert isinstance(await sink.next(), LinkLost)
            path.unlink()
            link.open()
            assert isinstance(await sink.next(), LinkUnavailable)
            path.symlink_to(parse_bus(replugged.url).path)
            await opened(link, sink)
            await succeeds(link, sink)


async def ascii_behind_tcp(reader, writer):
    while True:
        writer.write(perfect_frame(await reader.readexactly(QUESTION)))


async def silent(reader, writer):
    await reader.read()


async def test_ascii_through_a_serial_server_gives_the_data_bytes():
    async with tcp_device(ascii_behind_tcp) as url:
        with link_to("ascii+" + url) as (link, sink):
            await opened(link, sink)
            for request in (ASK, OTHER, NEIGHBOUR, Request(1, 1, 0x0310, 20)):
                await succeeds(link, sink, request)


async def test_a_serial_server_that_never_delivers_a_byte_is_reopened():
    async with tcp_device(silent, ascii_behind_tcp) as url:
        with link_to("ascii+" + url) as (link, sink):
            await opened(link, sink)
            await send(link, ASK)
            await asyncio.sleep(0.1)
            link.expire()
            assert isinstance(await sink.next(), LinkLost)
            await opened(link, sink)
            await succeeds(link, sink, NEIGHBOUR)
            await succeeds(link, sink)


async def test_misuse_is_a_programming_error():
    with ascii_device(first()) as device, link_to(device.url) as (link, sink):
        with pytest.raises(RuntimeError, match="closed"):
            link.send(ASK)
        await opened(link, sink)
        with pytest.raises(ValueError, match="not a read"):
            link.send(Request(1, 6, 0, 1))
        link.send(ASK)
        with pytest.raises(RuntimeError, match="while unit 1 is"):
            link.send(NEIGHBOUR)
