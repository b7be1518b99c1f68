"""Our links against servers of another make (pymodbus): the values must be theirs."""

import asyncio
import random
import struct
from contextlib import asynccontextmanager

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import Request
from drivers.errors import DeviceException
from drivers.session import Session
from tests.drivers.modbus.line import pty_pair

UNITS = (1, 17)
SIZE = 2500
REGISTERS = {unit: [random.Random(unit).randrange(0x10000) for _ in range(SIZE)] for unit in UNITS}
BITS = {unit: [random.Random(-unit).random() < 0.5 for _ in range(SIZE)] for unit in UNITS}


FRAMERS = {
    "tcp": FramerType.SOCKET,
    "udp": FramerType.SOCKET,
    "rtu+tcp": FramerType.RTU,
    "ascii+tcp": FramerType.ASCII,
    "serial": FramerType.RTU,
    "ascii+serial": FramerType.ASCII,
}


def devices():
    return [
        SimDevice(
            unit,
            simdata=(
                [SimData(0, values=BITS[unit], datatype=DataType.BITS)],
                [SimData(0, values=BITS[unit][::-1], datatype=DataType.BITS)],
                [SimData(0, values=REGISTERS[unit], datatype=DataType.REGISTERS)],
                [SimData(0, values=REGISTERS[unit][::-1], datatype=DataType.REGISTERS)],
            ),
        )
        for unit in UNITS
    ]


@asynccontextmanager
async def served(kind):
    """A URL under which pymodbus serves the devices."""
    framer = FRAMERS[kind]
    if kind.endswith("serial"):
        with pty_pair() as (ours, theirs):
            server = ModbusSerialServer(devices(), port=theirs, baudrate=115200, framer=framer)
            await server.serve_forever(background=True)
            yield f"{kind}://{ours}?baud=115200"
            await server.shutdown()
        return
    server = (ModbusUdpServer if kind == "udp" else ModbusTcpServer)(devices(), address=("127.0.0.1", 0), framer=framer)
    await server.serve_forever(background=True)
    if kind == "udp":
        port = server.transport.get_extra_info("sockname")[1]
    else:
        port = server.transport.sockets[0].getsockname()[1]
    yield f"{kind}://127.0.0.1:{port}"
    await server.shutdown()
    await asyncio.sleep(0.05)


def expected(request):
    """The bytes the application protocol gives for the device's values."""
    table = (BITS if request.function <= 2 else REGISTERS)[request.unit]
    if request.function in (2, 4):
        table = table[::-1]
    values = table[request.address : request.address + request.count]
    if request.function >= 3:
        return struct.pack(f">{len(values)}H", *values)
    number = sum(bit << i for i, bit in enumerate(values))
    return number.to_bytes(request.answer_bytes, "little")


@pytest.mark.parametrize("kind", FRAMERS)
async def test_values_equal_those_of_pymodbus(kind):
    random_ = random.Random(5)
    requests = [Request(1, 3, 0, 125), Request(17, 4, SIZE - 1, 1), Request(1, 1, 0, 2000), Request(17, 2, 3, 1)]
    for _ in range(40):
        function = random_.choice((1, 2, 3, 4))
        count = random_.randrange(1, 126 if function >= 3 else 300)
        requests.append(Request(random_.choice(UNITS), function, random_.randrange(SIZE - count), count))
    async with served(kind) as url, await Session.open(url, timeout_s=5) as session:
        for request in requests:
            assert await session.read(request) == expected(request), request
        with pytest.raises(DeviceException, match="exception 2"):
            await session.read(Request(1, 3, 60000, 1))
        assert await session.read(requests[0]) == expected(requests[0])
        assert (session.statistics.ok, session.statistics.exceptions) == (len(requests) + 1, 1)
        assert (session.late, session.strays) == (0, 0)
