"""A sensor that sends by itself on a real pseudo-terminal: heard, silent, damaged, unplugged."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest

from collector.clock import SystemClock
from collector.decode import Decode
from collector.inventory import Inventory
from collector.poll import Poller
from collector.poll.intake import Intake
from collector.poll.unit import Breaker
from collector.settings import Settings
from collector.types import Quality
from drivers.links import Links
from drivers.simulators.faults import Fault
from drivers.simulators.site import Place, Site
from tests.waiting import until

PATIENCE_S = 1.0
PROFILE = """\
schema = 1
protocol = "ascii"
[device]
vendor = "Test"
model = "Sensor"
category = "environment"
source = "made up for this test"
evidence = "doubtful"
[receive]
end = "\\r\\n"
idle_s = 0.05
max_bytes = 32
[[command]]
name = "line"
max_age_s = 1.0
layout = "split"
separator = ","
length = 2
[[point]]
name = "temperature"
command = "line"
field = 0
width = 6
range = [-40, 85]
unit = "°C"
[[point]]
name = "humidity"
command = "line"
field = 1
width = 5
range = [0, 100]
unit = "%RH"
[[golden]]
request = ""
response = "+023.4,045.6\\r\\n"
origin = "computed"
expect = { temperature = 23.4, humidity = 45.6 }
"""


class Field:
    """The sensor on its port, and the poller that listens to it."""

    def __init__(self, directory):
        profiles = directory / "profiles"
        (profiles / "test").mkdir(parents=True)
        (profiles / "test" / "sensor.toml").write_text(PROFILE, encoding="utf-8")
        self.site = Site(seed=3, profiles=(profiles,))
        url = self.site.open_pty([Place("sensor", "b", 1, "test/sensor")], directory / "ttySIM", None)
        self.sensor = self.site.devices["sensor"]
        settings = Settings.model_validate(
            {
                "profile_dirs": (str(profiles),),
                "bus": ({"name": "b", "url": url},),
                "device": ({"name": "sensor", "bus": "b", "unit": 1, "profile": "test/sensor", "interval_s": 1.0},),
            }
        )
        self.inventory = Inventory(settings)
        self.decode = Decode(self.inventory.points)
        self.decode.set_blocks(self.inventory.blocks)
        self.links, self.intake = Links(), Intake(1 << 20)
        self.poller = Poller(self.inventory, self.links, self.intake, SystemClock(), Breaker(3, 0.3, 0.2, 1))
        self.seen = []

    def samples(self):
        """(point, value, quality) of everything heard since the last call."""
        samples = self.decode(self.intake.take())
        names = [self.inventory.points[p].name for p in samples.point]
        rows = zip(names, samples.value, samples.quality, strict=True)
        self.seen += [(name, float(value), Quality(int(quality))) for name, value, quality in rows]
        fresh, self.seen = self.seen, []
        return fresh

    def qualities(self):
        return {quality for _, _, quality in self.samples()}

    def close(self):
        self.poller.close()
        self.links.close()
        self.site.close()


@asynccontextmanager
async def field(directory):
    made = Field(directory)
    made.poller.start()
    try:
        yield made
    finally:
        made.close()


async def heard(on):
    """The samples of the next moment in which something is heard."""
    fresh = []
    await until(lambda: bool(fresh.extend(on.samples()) or fresh))
    return fresh


def right(on):
    return {name: on.sensor.reading(name).value for name in ("temperature", "humidity")}


async def test_every_line_it_sends_becomes_its_values_without_a_question(tmp_path):
    async with field(tmp_path) as on:
        fresh = await heard(on)
        assert {name: value for name, value, _ in fresh} == pytest.approx(right(on))
        assert {quality for _, _, quality in fresh} == {Quality.GOOD}
        assert on.sensor.unit.requests == on.sensor.unit.writes_refused == 0


async def test_a_sensor_that_falls_silent_has_no_value_and_one_that_speaks_again_has(tmp_path):
    async with field(tmp_path) as on:
        await heard(on)
        on.sensor.unit.fault = Fault.parse("silent")
        on.samples()
        await until(lambda: Quality.COMM_ERROR in on.qualities())
        on.sensor.unit.fault = None
        await until(lambda: Quality.GOOD in on.qualities())


@pytest.mark.parametrize("fault", ["cut:3", "garbage:9"])
async def test_what_is_damaged_is_no_value_and_the_next_line_is_heard(tmp_path, fault):
    async with field(tmp_path) as on:
        await heard(on)
        on.sensor.unit.fault = Fault.parse(f"{fault}*2")
        await until(lambda: on.sensor.unit.fault is None)
        assert all(value == pytest.approx(right(on)[name]) for name, value, _ in on.samples())
        fresh = await heard(on)
        assert {name: value for name, value, _ in fresh} == pytest.approx(right(on))


async def test_an_unplugged_port_takes_the_values_with_it_and_brings_them_back(tmp_path):
    async with field(tmp_path) as on:
        await heard(on)
        on.sensor.unit.fault = Fault.parse("reset*1")
        await until(lambda: Quality.COMM_ERROR in on.qualities())
        await until(lambda: Quality.GOOD in on.qualities())


async def test_values_are_never_older_than_the_profile_says(tmp_path):
    async with field(tmp_path) as on:
        await heard(on)
        on.sensor.unit.fault = Fault.parse("silent")
        await asyncio.sleep(0.3)
        batch = on.intake.take()
        last = int(batch.ts_ns.max()) if len(batch) else 0
        await asyncio.sleep(PATIENCE_S + 0.5)
        samples = on.decode(on.intake.take())
        assert np.all(samples.quality == Quality.COMM_ERROR)
        assert np.all(samples.ts_ns > last)
