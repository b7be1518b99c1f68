"""A line with a text protocol through the collector's own stages: polled, decoded like registers, a dead unit on it."""

import asyncio

import numpy as np
import pytest

from collector.clock import SystemClock
from collector.decode import Decode
from collector.inventory import Inventory
from collector.poll import Poller
from collector.poll.intake import Intake
from collector.poll.unit import Breaker, Standing
from collector.settings import Settings
from collector.types import Quality
from drivers.codec import Status
from drivers.links import Links
from drivers.simulators.control import switch
from drivers.simulators.site import Place, Site

#: Device → unit, profile. The dead one is in the middle, and asked like the others.
DEVICES = {
    "panel": (1, "generic/ydn23_ac_panel"),
    "dead": (2, "generic/ydn23_ac_panel"),
    "battery": (3, "pylontech/us2000"),
    "seplos": (0, "seplos/bms_v2"),
}
#: Generous: what it takes on a busy machine until all have answered and the dead one is known to be dead.
PATIENCE_S = 20.0


async def run(folder, line):
    """What each point showed last, by device and name, and the site and buses it came from."""
    site = Site(seed=7)
    places = [Place(name, "bus", unit, profile) for name, (unit, profile) in DEVICES.items()]
    url = (
        site.open_pty(places, folder / "ttySIM", None)
        if line == "pty"
        else await site.open_tcp(places, "127.0.0.1", 0, framing="raw+tcp")
    )
    switch(site.units, "dead", "silent")
    settings = Settings.model_validate(
        {
            "bus": ({"name": "bus", "url": url, "timeout_s": 1.0, "late_s": 0.25},),
            "device": tuple(
                {"name": place.name, "bus": "bus", "unit": place.unit, "profile": place.profile, "interval_s": 1.0}
                for place in places
            ),
        }
    )
    inventory, links, intake = Inventory(settings), Links(), Intake(1 << 20)
    breaker = Breaker(down_after_failures=2, down_after_s=0.5)
    poller = Poller(inventory, links, intake, SystemClock(), breaker, lambda: 0.5)
    decode = Decode(inventory.points)
    decode.set_blocks(inventory.blocks)
    poller.start()
    (bus,) = poller.buses
    async with asyncio.timeout(PATIENCE_S):
        while not (all(unit.answered > 3 or unit.standing is Standing.DOWN for unit in bus.units)):
            await asyncio.sleep(0.05)
    samples = decode(intake.take())
    poller.close()
    links.close()
    shown = {name: device.readings() for name, device in site.devices.items()}
    site.close()
    return inventory, samples, shown, bus


LINES = ("pty", "raw+tcp")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    async def both():
        return await asyncio.gather(*(run(tmp_path_factory.mktemp("bus"), line) for line in LINES))

    return dict(zip(LINES, asyncio.run(both()), strict=True))


@pytest.fixture(params=LINES)
def outcome(request, outcomes):
    return outcomes[request.param]


def test_every_point_of_the_living_devices_is_what_they_show(outcome):
    inventory, samples, shown, _ = outcome
    found = {}
    for p, value, quality in zip(samples.point, samples.value, samples.quality, strict=True):
        found[inventory.points[p].device, inventory.points[p].name] = (value, quality)
    found |= {(inventory.points[p].device, inventory.points[p].name): text for p, _, text in samples.texts}
    for device in ("panel", "battery", "seplos"):
        for name, reading in shown[device].items():
            if isinstance(reading.value, str):
                assert found[device, name] == reading.value
            else:
                assert reading.status is Status.GOOD
                assert found[device, name] == (float(reading.value), Quality.GOOD), (device, name)


def test_the_dead_unit_is_down_and_has_no_values(outcome):
    inventory, samples, _, bus = outcome
    standing = {unit.device: unit.standing for unit in bus.units}
    assert standing.pop("dead") is Standing.DOWN
    assert set(standing.values()) == {Standing.UP}
    dead = [p for p, point in enumerate(inventory.points) if point.device == "dead"]
    of_dead = samples.quality[np.isin(samples.point, dead)]
    assert len(of_dead)
    assert set(of_dead.tolist()) == {Quality.COMM_ERROR}


def test_the_predicted_load_counts_the_characters_both_ways(outcome):
    inventory, _, _, _ = outcome
    (bus,) = inventory.buses
    commands = [inventory.blocks[b].command for unit in bus.units for b in unit.blocks]
    characters = sum(command.line_bytes for command in commands if "maker" not in str(command))
    assert 9600 * bus.load > 10 * characters  # and gaps and turnarounds besides
