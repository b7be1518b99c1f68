import asyncio
import socket
import struct
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from drivers.modbus.tcp_pool import TcpPool
from drivers.simulators.faults import Fault
from drivers.simulators.server_tcp import TcpPort
from drivers.simulators.unit import Identity, Unit, registers

WORDS = list(range(1000, 1100))
PATIENCE_S = 10.0  # for what must come; how long a quiet line is watched for what must not come: QUIET_S
QUIET_S = 0.15


def unit(name="u"):
    return Unit(name, registers(0, bytearray(struct.pack(">100H", *WORDS))), Identity("Acme", "M1"))


def request(transaction, address, count, unit_id=1, function=3):
    return struct.pack(">HHHBBHH", transaction, 0, 6, unit_id, function, address, count)


def answer(transaction, address, count, unit_id=1, function=3):
    words = struct.pack(f">{count}H", *WORDS[address : address + count])
    return struct.pack(">HHHBBB", transaction, 0, 3 + len(words), unit_id, function, len(words)) + words


@asynccontextmanager
async def served(units):
    pool = TcpPool()
    port = TcpPort(units, pool)
    number = port.open()
    try:
        yield port, number
    finally:
        port.close()
        assert not len(pool)
        pool.close()


@asynccontextmanager
async def connected(units):
    async with served(units) as (port, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        try:
            yield port, reader, writer
        finally:
            writer.close()


async def gets(reader, expected):
    assert await asyncio.wait_for(reader.readexactly(len(expected)), PATIENCE_S) == expected


async def stays_quiet(reader):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), QUIET_S)


def test_pymodbus_reads_what_the_unit_holds():
    async def scenario():
        async with served({7: unit(), 8: unit()}) as (_, number):
            client = AsyncModbusTcpClient("127.0.0.1", port=number, timeout=PATIENCE_S)
            assert await client.connect()
            assert (await client.read_holding_registers(3, count=90, device_id=7)).registers == WORDS[3:93]
            assert (await client.read_input_registers(99, count=1, device_id=8)).registers == [1099]
            assert (await client.read_holding_registers(99, count=2, device_id=8)).exception_code == 2
            assert (await client.read_holding_registers(0, count=1, device_id=9)).exception_code == 11
            assert (await client.write_register(0, 1, device_id=7)).exception_code == 1
            client.close()

    asyncio.run(scenario())


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 10)), min_size=1, max_size=20), st.integers(1, 40))
@settings(max_examples=10, deadline=None)
def test_requests_in_any_pieces_are_answered_in_order(reads, piece):
    stream = b"".join(request(n, address, count) for n, (address, count) in enumerate(reads))

    async def scenario():
        async with connected({1: unit()}) as (_, reader, writer):
            for at in range(0, len(stream), piece):
                writer.write(stream[at : at + piece])
                await writer.drain()
                await asyncio.sleep(0)
            await gets(reader, b"".join(answer(n, address, count) for n, (address, count) in enumerate(reads)))

    asyncio.run(scenario())


def test_more_requests_than_the_buffer_holds_are_all_answered():
    async def scenario():
        async with connected({1: unit()}) as (_, reader, writer):
            writer.write(b"".join(request(n, 0, 1) for n in range(3000)))
            await gets(reader, b"".join(answer(n, 0, 1) for n in range(3000)))

    asyncio.run(scenario())


def test_a_single_unit_is_also_the_device_itself():
    async def scenario():
        async with connected({5: unit()}) as (_, reader, writer):
            for unit_id in (5, 0, 255):
                writer.write(request(1, 0, 2, unit_id))
                await gets(reader, answer(1, 0, 2, unit_id))
            writer.write(request(1, 0, 2, 6))
            await gets(reader, bytes((0, 1, 0, 0, 0, 3, 6, 0x83, 11)))

    asyncio.run(scenario())


@given(st.binary(min_size=8, max_size=64))
@settings(max_examples=40, deadline=None)
def test_a_stream_that_is_no_modbus_ends_and_the_next_connection_works(noise):
    async def scenario():
        async with connected({1: unit()}) as (port, reader, writer):
            writer.write(noise)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), PATIENCE_S)
            again_reader, again = await asyncio.open_connection(*writer.get_extra_info("peername"))
            again.write(request(9, 1, 1))
            await gets(again_reader, answer(9, 1, 1))
            again.close()
            assert port.units[1].fault is None

    asyncio.run(scenario())


def test_silent_gives_nothing_and_ok_brings_the_answer_back():
    async def scenario():
        async with connected({1: unit(), 2: unit()}) as (port, reader, writer):
            port.units[1].fault = Fault.parse("silent")
            writer.write(request(1, 0, 1))
            await stays_quiet(reader)
            writer.write(request(2, 0, 1, 2))  # the neighbour is not harmed
            await gets(reader, answer(2, 0, 1, 2))
            port.units[1].fault = None
            writer.write(request(3, 0, 1))
            await gets(reader, answer(3, 0, 1))

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["slow", "late"])
def test_a_delayed_answer_comes_after_the_next_units_and_keeps_its_transaction(kind):
    async def scenario():
        async with connected({1: unit(), 2: unit()}) as (port, reader, writer):
            port.units[1].fault = Fault.parse(f"{kind}:0.2*1")
            writer.write(request(1, 0, 1) + request(2, 5, 1, 2))
            await gets(reader, answer(2, 5, 1, 2) + answer(1, 0, 1))
            writer.write(request(3, 0, 1))
            await gets(reader, answer(3, 0, 1))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("exception:6", bytes((0, 1, 0, 0, 0, 3, 1, 0x83, 6))),
        ("wrong-unit", answer(1, 0, 2, 2)),
        ("short", answer(1, 0, 1)),
        ("cut:3", answer(1, 0, 2)[:-3]),
        ("noise:0.5", answer(1, 0, 2)),  # serial only
    ],
)
def test_a_spoilt_answer_is_followed_by_perfect_ones(fault, expected):
    async def scenario():
        async with connected({1: unit()}) as (port, reader, writer):
            port.units[1].fault = Fault.parse(f"{fault}*1")
            writer.write(request(1, 0, 2))
            await gets(reader, expected)
            writer.write(request(2, 0, 2))
            await gets(reader, answer(2, 0, 2))

    asyncio.run(scenario())


def test_babble_goes_on_until_it_is_cleared():
    async def scenario():
        async with connected({1: unit()}) as (port, reader, writer):
            port.units[1].fault = Fault.parse("babble")
            writer.write(request(1, 0, 1) + request(2, 0, 1))
            await asyncio.wait_for(reader.readexactly(2000), PATIENCE_S)
            port.units[1].fault = None
            while True:
                try:
                    await asyncio.wait_for(reader.read(4096), QUIET_S)
                except TimeoutError:
                    break
            writer.write(request(3, 0, 1))
            await gets(reader, answer(3, 0, 1))

    asyncio.run(scenario())


def test_reset_resets_the_connection_and_the_next_one_works():
    async def scenario():
        async with connected({1: unit()}) as (port, reader, writer):
            port.units[1].fault = Fault.parse("reset*1")
            writer.write(request(1, 0, 1))
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(1), PATIENCE_S)
            again_reader, again = await asyncio.open_connection(*writer.get_extra_info("peername"))
            again.write(request(2, 0, 1))
            await gets(again_reader, answer(2, 0, 1))
            again.close()

    asyncio.run(scenario())


def test_a_client_that_asks_on_and_never_reads_is_dropped_and_its_neighbour_is_served():
    flood = b"".join(request(n, 0, 100) for n in range(1000))

    async def scenario():
        async with connected({1: unit()}) as (port, _, writer):
            writer.transport.pause_reading()
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(PATIENCE_S):
                    await ask_for_ever(writer)
            reader, neighbour = await asyncio.open_connection(*writer.get_extra_info("peername"))
            neighbour.write(request(2, 0, 1))
            await gets(reader, answer(2, 0, 1))
            assert len(port.connections) == 1
            neighbour.close()

    async def ask_for_ever(writer):
        while True:
            writer.write(flood)
            await writer.drain()

    asyncio.run(scenario())


def test_answers_that_wait_for_a_slow_reader_arrive_whole_and_in_order():
    async def scenario():
        async with served({1: unit()}) as (port, number):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", number))
            sock.send(request(0, 0, 100))
            async with asyncio.timeout(PATIENCE_S):
                while not port.connections:
                    await asyncio.sleep(0.01)
                (connection,) = port.connections
                connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                sock.send(b"".join(request(n, 0, 100) for n in range(1, 200)))
                while not connection._unread:
                    await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(sock=sock)
            await gets(reader, b"".join(answer(n, 0, 100) for n in range(200)))
            assert not connection._unread
            writer.close()

    asyncio.run(scenario())


def test_closing_the_port_drops_its_connections():
    async def scenario():
        async with connected({1: unit()}) as (port, reader, writer):
            writer.write(request(1, 0, 1))
            await gets(reader, answer(1, 0, 1))
            port.close()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), PATIENCE_S)
            assert not port.connections

    asyncio.run(scenario())
