import asyncio

import pytest

from drivers.base import Request
from drivers.errors import BadFrame, DeviceException, LinkLost, LinkUnavailable, NoAnswer, ProfileError
from drivers.session import Session
from tests.drivers.modbus.line import (
    answer_perfectly,
    data_of,
    mbap,
    perfect_frame,
    perfect_pdu,
    pty_device,
    question,
    tcp_device,
)

ASK = Request(3, 3, 1000, 60)


async def test_a_session_reads_and_counts():
    async with tcp_device(answer_perfectly) as url, await Session.open(url) as session:
        for address in range(5):
            request = Request(1, 4, address, 2)
            assert await session.read(request) == data_of(request)
        assert session.statistics.ok == session.statistics.reads == len(session.statistics.rtt_s) == 5


async def test_each_way_to_fail_has_its_error_and_its_counter():
    async def device(reader, writer):
        transaction, unit, _ = await question(reader)
        writer.write(mbap(transaction, unit, b"\x83\x02"))
        transaction, unit, pdu = await question(reader)
        writer.write(mbap(transaction, unit + 1, perfect_pdu(pdu, unit)))
        await question(reader)
        await question(reader)
        writer.write(b"\xff" * 20)
        await reader.read()

    async with tcp_device(device, answer_perfectly) as url, await Session.open(url, timeout_s=0.1) as session:
        for error in (DeviceException, BadFrame, NoAnswer, LinkLost, LinkLost):
            with pytest.raises(error):
                await session.read(ASK)
        seen = session.statistics
        assert (seen.ok, seen.exceptions, seen.bad_frames, seen.timeouts, seen.lost) == (0, 1, 2, 1, 0)
        await session.reopen()
        assert await session.read(ASK) == data_of(ASK)


async def test_silence_names_address_unit_and_time():
    async def silent(reader, writer):
        await reader.read()

    async with tcp_device(silent) as url, await Session.open(url, timeout_s=0.05) as session:
        with pytest.raises(NoAnswer, match=f"{url}: no answer of unit 3 within 0.05 s"):
            await session.read(ASK)


async def test_a_port_that_cannot_be_opened_is_unavailable():
    with pytest.raises(LinkUnavailable):
        await Session.open("tcp://127.0.0.1:1")
    with pytest.raises(LinkUnavailable, match="no such port"):
        await Session.open("serial:///dev/no-such-port")
    with pytest.raises(ProfileError):
        await Session.open("nonsense")


async def test_a_read_that_was_cancelled_leaves_the_session_usable():
    async def device(reader, writer):
        await question(reader)
        await answer_perfectly(reader, writer)

    async with tcp_device(device) as url, await Session.open(url, timeout_s=30) as session:
        reading = asyncio.create_task(session.read(ASK))
        await asyncio.sleep(0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await session.read(ASK) == data_of(ASK)


async def test_a_unit_in_quarantine_is_asked_as_soon_as_its_late_answer_came():
    def serve(device, frame):
        device.write(perfect_frame(frame), after_s=0.15 if len(device.questions) == 1 else 0.0)

    with pty_device(serve) as device:
        async with await Session.open(device.url, timeout_s=0.05, late_s=60) as session:
            with pytest.raises(NoAnswer):
                await session.read(ASK)
            assert await session.read(Request(3, 3, 7, 60)) == data_of(Request(3, 3, 7, 60))
            assert session.late == 1


async def test_a_closed_session_says_so():
    async with tcp_device(answer_perfectly) as url:
        session = await Session.open(url)
        session.close()
        session.close()
        with pytest.raises(LinkLost, match="closed"):
            await session.read(ASK)
