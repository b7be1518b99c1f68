import asyncio
import os
import struct
from contextlib import asynccontextmanager

import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException
from pymodbus.framer import FramerRTU, FramerType

from drivers.simulators.bus_rtu import RtuBus
from drivers.simulators.faults import Fault
from drivers.simulators.server_serial import PtyLine, StreamPort
from tests.drivers.simulators.serial_bus import PATIENCE_S, WORDS, Line, answer_pdu, unit

QUIET_S = 0.15


def sealed(body):
    """With the checksum as pymodbus computes it."""
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


def request(address, count, unit_id=1, function=3):
    return sealed(struct.pack(">BBHH", unit_id, function, address, count))


def answer(address, count, unit_id=1, function=3):
    return sealed(bytes((unit_id,)) + answer_pdu(address, count, function))


@asynccontextmanager
async def pty(tmp_path, units, **options):
    line = PtyLine(tmp_path / "ttySIM", units, **options)
    line.open()
    try:
        yield line
    finally:
        line.close()


@given(st.lists(st.integers(1, 7), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_a_request_in_any_pieces_is_answered(cuts):
    async def scenario():
        line, frame = Line(RtuBus, {1: unit()}), request(3, 4)
        for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 8], strict=True):
            line.bus.feed(frame[begin:end])
        await line.settled(answer(3, 4))

    asyncio.run(scenario())


def test_only_the_unit_that_was_asked_answers():
    async def scenario():
        line = Line(RtuBus, {1: unit(), 2: unit()})
        for unit_id, expected in ((1, answer(0, 1)), (2, answer(0, 1, 2)), (3, b""), (0, b"")):
            line.bus.feed(request(0, 1, unit_id))
            await line.settled(expected)

    asyncio.run(scenario())


@given(st.binary(min_size=1, max_size=700))
@settings(max_examples=25, deadline=None)
def test_after_any_noise_and_a_pause_the_next_request_is_answered(noise):
    async def scenario():
        line = Line(RtuBus, {1: unit()})
        line.bus.feed(noise)
        async with asyncio.timeout(PATIENCE_S):
            while line.bus._held:
                await asyncio.sleep(0.005)
        line.sent.clear()
        line.bus.feed(request(0, 2))
        await line.settled(answer(0, 2))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "pdu", [b"\x06\x00\x01\x00\x02", b"\x10\x00\x00\x00\x01\x02\xab\xcd", b"\x0f\x00\x00\x00\x01\x01\x01", b"\x42\x01"]
)
def test_writes_and_unknown_functions_get_exception_1_and_are_counted(pdu):
    async def scenario():
        line = Line(RtuBus, {1: unit()})
        line.bus.feed(sealed(b"\x01" + pdu))
        await line.settled(sealed(bytes((1, pdu[0] | 0x80, 1))))
        assert line.bus.units[1].writes_refused == 1

    asyncio.run(scenario())


def test_a_late_answer_comes_in_the_middle_of_the_next_request_and_a_slow_one_does_not():
    async def scenario(kind):
        line = Line(RtuBus, {1: unit(), 2: unit()}, turnaround_s=0.5)
        line.bus.units[1].fault = Fault.parse(f"{kind}:0.1*1")
        line.bus.feed(request(0, 1))
        await asyncio.sleep(0)
        line.bus.feed(request(5, 1, 2))
        expected = answer(5, 1, 2) + (answer(0, 1) if kind == "late" else b"")
        await line.settled(expected)
        await asyncio.sleep(QUIET_S)
        assert not line.sent

    asyncio.run(scenario("late"))
    asyncio.run(scenario("slow"))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("silent", b""),
        ("exception:6", sealed(b"\x01\x83\x06")),
        ("wrong-unit", answer(0, 2, 2)),
        ("short", answer(0, 1)),
        ("cut:3", answer(0, 2)[:-3]),
        ("echo", request(0, 2) + answer(0, 2)),
    ],
)
def test_a_spoilt_answer_is_followed_by_a_perfect_one(fault, expected):
    async def scenario():
        line = Line(RtuBus, {1: unit()})
        line.bus.units[1].fault = Fault.parse(f"{fault}*1")
        line.bus.feed(request(0, 2))
        await line.settled(expected)
        line.bus.feed(request(0, 2))
        await line.settled(answer(0, 2))

    asyncio.run(scenario())


def test_noise_keeps_the_length_and_breaks_the_checksum():
    async def scenario():
        line = Line(RtuBus, {1: unit()})
        line.bus.units[1].fault = Fault.parse("noise:0.05")
        line.bus.feed(request(0, 50))
        assert len(line.sent) == len(answer(0, 50))
        assert bytes(line.sent) != answer(0, 50)

    asyncio.run(scenario())


def test_a_paced_line_delivers_the_answer_byte_by_byte_and_whole():
    async def scenario():
        pieces = []
        bus = RtuBus({1: unit()}, pieces.append, lambda: None, baud=9600)
        bus.feed(request(0, 20))
        assert not pieces  # the request itself takes 9 ms
        async with asyncio.timeout(PATIENCE_S):
            while sum(map(len, pieces)) < 45:
                await asyncio.sleep(0.01)
        assert b"".join(pieces) == answer(0, 20)
        assert len(pieces) > 3

    asyncio.run(scenario())


def test_answers_owed_are_bounded():
    async def scenario():
        line = Line(RtuBus, {1: unit()})
        line.bus.units[1].fault = Fault.parse("late:100")
        for _ in range(1000):
            line.bus.feed(request(0, 1))
        assert len(line.bus._owed) <= 64
        line.bus.close()

    asyncio.run(scenario())


def test_pymodbus_reads_two_units_through_the_pty(tmp_path):
    async def scenario():
        async with pty(tmp_path, {1: unit(), 9: unit()}, turnaround_s=0.005) as line:
            client = AsyncModbusSerialClient(str(line.path), baudrate=9600, timeout=PATIENCE_S)
            assert await client.connect()
            assert (await client.read_holding_registers(3, count=90, device_id=9)).registers == WORDS[3:93]
            assert (await client.read_input_registers(99, count=2, device_id=1)).exception_code == 2
            told = await client.read_device_information(read_code=1, object_id=0, device_id=1)
            assert told.information[0] == b"Acme"
            client.close()

    asyncio.run(scenario())


async def asked_at(line, baud, wait_s):
    """What the unit says to a client of this speed: its registers, None for silence."""
    client = AsyncModbusSerialClient(str(line.path), baudrate=baud, timeout=wait_s, retries=0)
    assert await client.connect()
    try:
        return (await client.read_holding_registers(3, count=4, device_id=1)).registers
    except ModbusIOException:
        return None
    finally:
        client.close()


@pytest.mark.parametrize("wrong", [2400, 4800, 19200, 115200])
def test_a_client_of_another_speed_than_the_ports_gets_no_answer_and_then_one_at_the_right_speed(tmp_path, wrong):
    async def scenario():
        async with pty(tmp_path, {1: unit()}, baud=9600) as line:
            assert await asked_at(line, wrong, QUIET_S) is None
            assert await asked_at(line, 9600, PATIENCE_S) == WORDS[3:7]

    asyncio.run(scenario())


def test_a_port_without_a_speed_of_its_own_understands_every_client(tmp_path):
    async def scenario():
        async with pty(tmp_path, {1: unit()}) as line:
            for baud in (1200, 115200):
                assert await asked_at(line, baud, PATIENCE_S) == WORDS[3:7]

    asyncio.run(scenario())


def test_what_a_unit_says_is_garbage_at_another_speed(tmp_path):
    async def scenario():
        async with pty(tmp_path, {1: unit()}, baud=9600) as line:
            with serial.Serial(str(line.path), 2400, timeout=0) as port:
                line._write(b"123456789")
                await asyncio.sleep(0.01)
                found = port.read(100)
                assert 0 < len(found) < 9

    asyncio.run(scenario())


def test_pymodbus_reads_rtu_frames_over_tcp():
    async def scenario():
        port = StreamPort({4: unit()})
        number = await port.open()
        client = AsyncModbusTcpClient("127.0.0.1", port=number, framer=FramerType.RTU, timeout=PATIENCE_S)
        assert await client.connect()
        assert (await client.read_holding_registers(3, count=90, device_id=4)).registers == WORDS[3:93]
        client.close()
        port.close()

    asyncio.run(scenario())


def test_a_reset_port_disappears_and_comes_back_behind_the_same_path(tmp_path):
    async def scenario():
        async with pty(tmp_path, {1: unit()}) as line:
            line.bus.units[1].fault = Fault.parse("reset*1")
            before = os.readlink(line.path)
            with serial.Serial(str(line.path), timeout=0) as port:
                port.write(request(0, 1))
                async with asyncio.timeout(PATIENCE_S):
                    while line.path.is_symlink():
                        await asyncio.sleep(0.01)
                with pytest.raises((serial.SerialException, OSError)):
                    port.write(request(0, 1))
            async with asyncio.timeout(PATIENCE_S):
                while not line.path.is_symlink():
                    await asyncio.sleep(0.01)
            assert before.startswith("/dev/pts/")
            with serial.Serial(str(line.path), timeout=0) as port:
                port.write(request(0, 1))
                got = b""
                async with asyncio.timeout(PATIENCE_S):
                    while len(got) < 7:
                        got += port.read(100)
                        await asyncio.sleep(0.01)
                assert got == answer(0, 1)

    asyncio.run(scenario())


def test_bytes_that_nobody_reads_are_lost_and_counted(tmp_path):
    async def scenario():
        async with pty(tmp_path, {1: unit()}) as line:
            line.bus.units[1].fault = Fault.parse("babble")
            with serial.Serial(str(line.path), timeout=0) as port:
                port.write(request(0, 1))
                async with asyncio.timeout(PATIENCE_S):
                    while not line.overruns:
                        await asyncio.sleep(0.02)

    asyncio.run(scenario())


def test_a_path_that_is_no_simulated_port_is_not_overwritten(tmp_path):
    async def scenario():
        (tmp_path / "ttySIM").write_text("precious")
        with pytest.raises(FileExistsError):
            async with pty(tmp_path, {1: unit()}):
                pass
        assert (tmp_path / "ttySIM").read_text() == "precious"

    asyncio.run(scenario())


def test_closing_takes_the_link_away(tmp_path):
    async def scenario():
        async with pty(tmp_path, {1: unit()}) as line:
            assert line.path.is_symlink()
        assert not line.path.is_symlink()

    asyncio.run(scenario())
