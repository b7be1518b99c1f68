import asyncio

import pytest

from collector.config_file import parse
from collector.settings import Settings
from drivers.codec import Status
from drivers.errors import ProfileError
from drivers.simulators.site import HALL, Place, Site, open_hall


class Hand:
    def __init__(self):
        self.now = 500.0

    def __call__(self):
        return self.now


def opened(scenario, tmp_path, **options):
    async def run():
        site = Site(**options)
        try:
            await open_hall(site, tmp_path, 0)
            return await scenario(site)
        finally:
            site.close()

    return asyncio.run(run())


def test_the_description_is_a_configuration_the_collector_accepts(tmp_path):
    async def scenario(site):
        return site.description

    described = opened(scenario, tmp_path)
    tables = {"bus": tuple(described["bus"]), "device": tuple(described["device"])}
    settings = parse(tables, Settings, "hall")
    assert [device.name for device in settings.device] == [place.name for place in HALL]
    kinds = [bus.url.split(":")[0] for bus in settings.bus]
    assert kinds.count("serial") == 1
    assert kinds.count("tcp") == 6
    behind = [device.bus for device in settings.device]
    assert behind.count("tcp-gateway") == 2
    assert behind.count("rtu-1") == 4


def test_the_meters_of_one_hall_fit_together(tmp_path):
    async def scenario(site):
        shown = {
            name: device.reading("power").value
            for name, device in site.devices.items()
            if "power" in [p.name for p in device.profile.point]
        }
        assert 1.2 < shown["meter-mains"] / shown["meter-it"] < 1.5
        assert shown["row-1"] + shown["row-2"] == pytest.approx(shown["meter-it"], rel=1e-4)
        assert 0.1 < shown["meter-cooling"] / shown["meter-it"] < 0.4
        for device in site.devices.values():
            assert all(reading.status is Status.GOOD for reading in device.readings().values())
        assert site.devices["th-1"].readings() != site.devices["th-2"].readings()

    opened(scenario, tmp_path)


def test_the_hall_follows_the_clock_once_started(tmp_path):
    hand = Hand()

    async def scenario(site):
        begin = site.hall.time_s
        energy = site.devices["meter-it"].reading("energy_import").value
        hand.now += 60
        site.start()
        assert site.hall.time_s == begin + 60
        assert site.devices["meter-it"].reading("energy_import").value > energy

    opened(scenario, tmp_path, mono=hand)


def test_a_profile_that_does_not_exist_is_a_profile_error_and_leaves_no_port(tmp_path):
    async def scenario():
        site = Site()
        with pytest.raises(ProfileError, match="no such profile"):
            site.open_pty([Place("x", "bus", 1, "acme/nothing")], tmp_path / "ttyX", None)
        site.close()
        assert not (tmp_path / "ttyX").exists()

    asyncio.run(scenario())
