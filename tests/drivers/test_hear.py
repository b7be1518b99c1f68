import asyncio

import pytest

from drivers.address import parse_bus
from drivers.errors import LinkUnavailable
from drivers.hear import LUMP_BYTES, LUMP_S, Lumps, hear
from drivers.simulators.faults import Fault
from drivers.simulators.site import Place, Site


def test_bytes_that_come_together_are_shown_together_with_the_time_of_the_first():
    shown = []
    lumps = Lumps(lambda at, data: shown.append((at, data)))
    for n, byte in enumerate(b"+023.4\n"):
        lumps.add(bytes([byte]), 1 + n / 100)
    lumps.add(b"-001.0\n", 2.0)
    lumps.tick(2.001 + LUMP_S)
    assert shown == [(1.0, b"+023.4\n"), (2.0, b"-001.0\n")]


def test_what_never_pauses_is_shown_in_parts_and_not_held():
    shown = []
    lumps = Lumps(lambda at, data: shown.append(data))
    for n in range(100):
        lumps.add(bytes(10), n / 1000)
    assert sum(map(len, shown)) >= 1000 - LUMP_BYTES


async def heard_at(url, seconds):
    heard = []
    await hear(parse_bus(url), seconds, lambda at, data: heard.append(data))
    return heard


async def test_what_a_device_sends_by_itself_is_heard_byte_for_byte_and_nothing_is_sent(tmp_path):
    site = Site(seed=1)
    url = site.open_pty([Place("panel", "b", 1, "gst/gst9000_printer")], tmp_path / "tty", None)
    try:
        heard = await heard_at(url, 0.6)
        unit = site.devices["panel"].unit
        assert heard
        assert {bytes(data) for data in heard} == {unit.say(unit.unasked[0], b"", None)}
        assert unit.requests == unit.writes_refused == 0
        unit.fault = Fault.parse("garbage:30")
        assert any(len(data) == 30 for data in await heard_at(url, 0.6))
    finally:
        site.close()


async def test_a_port_that_is_not_there_is_told(tmp_path):
    with pytest.raises(LinkUnavailable):
        await heard_at(f"serial://{tmp_path}/none", 0.1)


def test_a_modbus_gateway_is_no_line(tmp_path):
    with pytest.raises(ValueError, match="no line"):
        asyncio.run(heard_at("tcp://127.0.0.1:1", 0.1))
