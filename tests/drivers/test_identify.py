import asyncio
import logging

import pytest
from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.address import parse_bus
from drivers.errors import LinkUnavailable
from drivers.identify import identify
from tests.drivers.modbus.line import mbap, pty_pair, tcp_device

IDENTITY = ModbusDeviceIdentification(
    info_name={"VendorName": "Example Power", "ProductCode": "PM1", "MajorMinorRevision": "2.7", "ModelName": "PM1-E"}
)
DEVICE = SimDevice(1, simdata=[SimData(0, values=[1], datatype=DataType.REGISTERS)])


def check(found):
    assert found["vendor"] == "Example Power"
    assert found["product_code"] == "PM1"
    assert found["revision"] == "2.7"
    assert found["model"] == "PM1-E"


@pytest.mark.parametrize(
    ("kind", "framer"), [("tcp", FramerType.SOCKET), ("rtu+tcp", FramerType.RTU), ("ascii+tcp", FramerType.ASCII)]
)
async def test_a_device_names_itself_over_tcp(kind, framer):
    server = ModbusTcpServer([DEVICE], address=("127.0.0.1", 0), framer=framer, identity=IDENTITY)
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    check(await identify(parse_bus(f"{kind}://127.0.0.1:{port}"), 1))
    await server.shutdown()
    await asyncio.sleep(0.05)  # pymodbus closes its sockets in the next rounds of the loop


async def test_a_device_names_itself_over_udp():
    server = ModbusUdpServer([DEVICE], address=("127.0.0.1", 0), identity=IDENTITY)
    await server.serve_forever(background=True)
    port = server.transport.get_extra_info("sockname")[1]
    check(await identify(parse_bus(f"udp://127.0.0.1:{port}"), 1))
    await server.shutdown()


@pytest.mark.parametrize(("kind", "framer"), [("serial", FramerType.RTU), ("ascii+serial", FramerType.ASCII)])
async def test_a_device_names_itself_on_a_serial_port(kind, framer):
    with pty_pair() as (ours, theirs):
        server = ModbusSerialServer([DEVICE], port=theirs, baudrate=115200, identity=IDENTITY, framer=framer)
        await server.serve_forever(background=True)
        check(await identify(parse_bus(f"{kind}://{ours}?baud=115200"), 1))
        await server.shutdown()


async def test_a_device_that_knows_neither_function_is_quietly_nobody(caplog):
    async def refuses(reader, writer):
        while True:
            header = await reader.readexactly(7)
            pdu = await reader.readexactly(header[5] - 1)
            writer.write(mbap(header[0] << 8 | header[1], header[6], bytes((pdu[0] | 0x80, 1))))

    async with tcp_device(refuses) as url:
        assert await identify(parse_bus(url), 1, timeout_s=1) == {}
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_a_device_that_stays_silent_is_quietly_nobody(caplog):
    async def silent(reader, writer):
        await reader.read()

    async with tcp_device(silent) as url:
        assert await identify(parse_bus(url), 1, timeout_s=0.1) == {}
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_a_device_that_always_promises_more_objects_is_cut():
    pages = 0

    async def endless(reader, writer):
        nonlocal pages
        while True:
            header = await reader.readexactly(7)
            pdu = await reader.readexactly(header[5] - 1)
            transaction = header[0] << 8 | header[1]
            if pdu[0] != 0x2B:
                writer.write(mbap(transaction, 1, bytes((pdu[0] | 0x80, 1))))
                continue
            pages += 1
            body = bytes((0x2B, 0x0E, pdu[2], 3, 0xFF, min(255, pdu[3] + 1), 1, pdu[3], 2)) + b"AB"
            writer.write(mbap(transaction, 1, body))

    async with tcp_device(endless) as url:
        found = await identify(parse_bus(url), 1)
    assert found["vendor"] == "AB"
    assert pages <= 48


async def test_nothing_listening_is_unavailable():
    with pytest.raises(LinkUnavailable):
        await identify(parse_bus("tcp://127.0.0.1:1"), 1, timeout_s=0.5)
