import asyncio
import socket
import struct
from contextlib import asynccontextmanager

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusUdpClient

from drivers.simulators.faults import Fault
from drivers.simulators.server_serial import RESET_S
from drivers.simulators.server_udp import UdpPort
from drivers.simulators.unit import Identity, Unit, registers
from tests.drivers.simulators.test_server_tcp import WORDS, answer, request
from tests.fuzzing import hostile
from tests.waiting import until

PATIENCE_S = 10.0
QUIET_S = 0.15


def unit(name="u"):
    return Unit(name, registers(0, bytearray(struct.pack(">100H", *WORDS))), Identity("Acme", "M1"))


class Client:
    """A socket that asks `port`; datagrams in the order they came."""

    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", port))

    def ask(self, datagram):
        self.socket.send(datagram)

    async def gets(self, expected):
        assert await asyncio.wait_for(self._next(), PATIENCE_S) == expected

    async def _next(self):
        return await asyncio.get_running_loop().sock_recv(self.socket, 2048)

    async def stays_quiet(self):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self._next(), QUIET_S)


@asynccontextmanager
async def served(units):
    port = UdpPort(units)
    client = Client(await port.open())
    try:
        yield port, client
    finally:
        client.socket.close()
        port.close()
        await asyncio.sleep(0)


async def test_pymodbus_reads_what_the_unit_holds():
    port = UdpPort({7: unit(), 8: unit()})
    number = await port.open()
    client = AsyncModbusUdpClient("127.0.0.1", port=number, framer=FramerType.SOCKET, timeout=PATIENCE_S)
    assert await client.connect()
    assert (await client.read_holding_registers(3, count=90, device_id=7)).registers == WORDS[3:93]
    assert (await client.read_holding_registers(99, count=2, device_id=8)).exception_code == 2
    assert (await client.read_holding_registers(0, count=1, device_id=9)).exception_code == 11
    assert (await client.write_register(0, 1, device_id=7)).exception_code == 1
    client.close()
    port.close()


async def test_each_client_gets_its_own_answers():
    async with served({5: unit()}) as (_, one):
        two = Client(one.socket.getpeername()[1])
        one.ask(request(1, 0, 1, 5))
        two.ask(request(2, 3, 1, 0))
        await two.gets(answer(2, 3, 1, 0))
        await one.gets(answer(1, 0, 1, 5))
        two.socket.close()


async def test_what_is_no_question_gets_no_answer_and_the_next_one_does():
    async with served({1: unit()}) as (_, client):
        good = request(1, 0, 2)
        for n, datagram in enumerate(hostile([good], 5, 300, inputs=200)):
            if datagram != good and (len(datagram) < 8 or datagram[2:6] != good[2:6] or len(datagram) != 12):
                client.ask(datagram)
            if n % 20 == 0:
                client.ask(request(7, 3, 1))
                while (got := await asyncio.wait_for(client._next(), PATIENCE_S)) != answer(7, 3, 1):
                    assert got[7] & 0x80, "a question of another length than a read: refused"


@pytest.mark.parametrize("fault", ["silent", "reboot*1"])
async def test_a_mute_unit_says_nothing_and_then_answers(fault):
    async with served({1: unit()}) as (port, client):
        port.units[1].fault = Fault.parse(f"{fault}*1" if "*" not in fault else fault)
        client.ask(request(1, 0, 1))
        await client.stays_quiet()
        client.ask(request(2, 0, 1))
        await client.gets(answer(2, 0, 1))


async def test_an_answer_may_come_twice_late_cut_or_from_another_unit():
    async with served({1: unit()}) as (port, client):
        right = answer(1, 0, 2)
        spoilt = {
            "twice": [right, right],
            "late:0.05": [right],
            "cut:3": [right[:-3]],
            "wrong-unit": [right[:6] + b"\x02" + right[7:]],
            "exception:6": [struct.pack(">HHHBBB", 1, 0, 3, 1, 0x83, 6)],
            "noise:0.5": [right],
        }
        for fault, datagrams in spoilt.items():
            port.units[1].fault = Fault.parse(f"{fault}*1")
            client.ask(request(1, 0, 2))
            for datagram in datagrams:
                await client.gets(datagram)
            client.ask(request(2, 0, 1))
            await client.gets(answer(2, 0, 1))


async def test_late_answers_change_their_order():
    async with served({1: unit()}) as (port, client):
        port.units[1].fault = Fault.parse("late:0.05*1")
        client.ask(request(1, 0, 1))
        client.ask(request(2, 0, 1))
        await client.gets(answer(2, 0, 1))
        await client.gets(answer(1, 0, 1))


async def test_a_babbling_unit_sends_until_it_is_cleared():
    async with served({1: unit()}) as (port, client):
        port.units[1].fault = Fault.parse("babble")
        client.ask(request(1, 0, 1))
        for _ in range(3):
            assert len(await asyncio.wait_for(client._next(), PATIENCE_S)) == 128
        port.units[1].fault = None
        client.ask(request(2, 0, 1))
        while await asyncio.wait_for(client._next(), PATIENCE_S) != answer(2, 0, 1):
            pass


async def test_while_a_port_is_reset_nothing_listens_there_and_then_it_answers():
    async with served({1: unit()}) as (port, client):
        port.units[1].fault = Fault.parse("reset*1")
        client.ask(request(1, 0, 1))
        await until(lambda: port._transport is None)
        client.ask(request(2, 0, 1))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.wait_for(client._next(), PATIENCE_S)
        await asyncio.sleep(RESET_S)
        await until(lambda: port._transport is not None)
        client.ask(request(3, 0, 1))
        await client.gets(answer(3, 0, 1))


async def test_a_port_in_use_is_an_os_error():
    async with served({1: unit()}) as (_, client):
        with pytest.raises(OSError, match="in use"):
            await UdpPort({1: unit()}).open("127.0.0.1", client.socket.getpeername()[1])
