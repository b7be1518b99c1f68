import asyncio
import struct

import pytest
from pymodbus.client import AsyncModbusTcpClient

from drivers.simulators.fleet import Fleet, value
from tests.ports import free_ports_in_a_row


class Hand:
    def __init__(self):
        self.now = 500.0

    def __call__(self):
        return self.now


def points(unit, function=3, count=10):
    return list(struct.unpack(f">{count // 2}I", unit.answer(struct.pack(">BHH", function, 0, count))[2:]))


def test_every_value_tells_device_point_and_second():
    hand = Hand()
    fleet = Fleet(3, 10, mono=hand)
    for second in (0, 1, 2, 1001):
        hand.now = 500.0 + second
        fleet.advance()
        for device, unit in enumerate(fleet.units):
            assert points(unit) == points(unit, 4) == [value(device, point, second) for point in range(5)]


def test_values_of_different_places_and_neighbouring_seconds_differ():
    seen = {value(d, p, s) for d in (0, 1, 3999) for p in (0, 1, 999) for s in (0, 1, 999)}
    assert len(seen) == 27
    assert max(seen) < 2**32


def test_pymodbus_reads_the_last_device_of_a_served_fleet():
    async def scenario():
        hand = Hand()
        fleet = Fleet(5, 200, unit=3, mono=hand)
        first = free_ports_in_a_row(5)
        fleet.open("127.0.0.1", first)
        try:
            port = first + 4
            client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=10)
            assert await client.connect()
            answer = await client.read_holding_registers(100, count=100, device_id=3)
            assert client.convert_from_registers(answer.registers, client.DATATYPE.UINT32)[0] == value(4, 50, 0)
            client.close()
        finally:
            fleet.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("devices", "count"), [(0, 2), (4001, 2), (1, 3), (1, 0), (1, 2002)])
def test_a_fleet_that_cannot_be_numbered_is_refused(devices, count):
    with pytest.raises(ValueError, match="fleet"):
        Fleet(devices, count)
