"""An independent master, Debian's mbpoll (libmodbus), reads from the simulators what they show."""

import asyncio
import re
import shutil

import pytest

from drivers.address import parse_bus
from firmware_tests.bench import UNIT, bench, over
from firmware_tests.contract import planned

pytestmark = pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed (apt install mbpoll)")

TABLE = {1: "0", 2: "1", 3: "4:hex", 4: "3:hex"}
#: mbpoll 1.0 asks for at most this many at once.
MOST = 125


async def mbpoll(url, *options):
    """Values by address as mbpoll prints them."""
    address = parse_bus(url)
    if address.kind == "tcp":
        line, target = ("-m", "tcp", "-p", str(address.port)), address.host
    else:
        line, target = ("-m", "rtu", "-b", str(address.baud), "-P", "none"), address.path
    process = await asyncio.create_subprocess_exec(
        *("mbpoll", *line, "-a", str(UNIT), "-0", "-1", "-o", "5", *options, target),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output.decode()
    return {int(at): value for at, value in re.findall(r"^\[(\d+)\]:\s+(\S+)", output.decode(), re.MULTILINE)}


@pytest.mark.parametrize(("name", "line"), over(("pty", "tcp")))
def test_mbpoll_reads_every_planned_block_as_the_device_holds_it(name, line, tmp_path):
    async def scenario():
        async with bench(line, name, tmp_path) as on:
            on.session.close()
            for block in planned(on.session, on.profile):
                count = min(block.count, MOST)
                got = await mbpoll(on.url, "-t", TABLE[block.function], "-r", str(block.address), "-c", str(count))
                bank = on.device.unit.banks[block.function]
                begin = (block.address - bank.first) * bank.width
                held = bytes(bank.data[begin : begin + count * bank.width])
                words = [held[k : k + bank.width] for k in range(0, len(held), bank.width)]
                assert {at: int(value, 16) for at, value in got.items()} == {
                    block.address + k: int.from_bytes(word, "big") for k, word in enumerate(words)
                }
            assert on.device.unit.writes_refused == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("line", ["tcp", "pty"])
def test_mbpoll_shows_a_float_as_the_collector_decodes_it(line, tmp_path):
    async def scenario():
        async with bench(line, "eastron/sdm630", tmp_path) as on:
            on.session.close()
            profile = on.profile
            floats = [point for point in profile.point if point.type == "f32"][:6]
            assert floats
            for point in floats:
                at = profile.wire_address(point)
                table = "3:float" if point.table == "input" else "4:float"
                got = await mbpoll(on.url, "-t", table, "-B", "-r", str(at), "-c", "1")
                assert float(got[at]) == pytest.approx(on.device.reading(point.name).value, rel=1e-4)

    asyncio.run(scenario())
