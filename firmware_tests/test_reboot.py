"""A device starts anew while it is polled: the fall of its counters is told as a reset and never as consumption."""

import asyncio

import numpy as np
import pytest

from collector.aggregate import GRACE_NS, Aggregate
from collector.types import PointSpec, Quality, Samples
from drivers.simulators.faults import Fault
from firmware_tests.bench import bench
from firmware_tests.contract import planned, read_round

COUNTER = "energy_import"
S = 1_000_000_000
MINUTE = 1_800_000_000  # a full minute of UTC


@pytest.mark.parametrize("line", ["tcp", "pty"])
def test_the_counters_of_a_device_that_restarts_begin_anew_and_count_nothing_backwards(line, tmp_path):
    async def scenario():
        async with bench(line, "eastron/sdm630", tmp_path, timeout_s=0.3, late_s=0.0) as on:
            blocks = planned(on.session, on.profile)
            hall, seen = on.device._hall, []

            async def read():
                hall.advance(hall.time_s + 3600)
                seen.append((await read_round(on.session, on.profile, 3, blocks)).readings.get(COUNTER))

            await read()
            await read()
            on.device.unit.fault = Fault.parse(f"reboot*{len(blocks)}")
            await read()
            await read()
            await read()
            return [reading and reading.value for reading in seen]

    before, later, silent, anew, on = asyncio.run(scenario())
    assert silent is None
    assert anew < before < later
    assert on > anew

    aggregate = Aggregate([PointSpec("d", COUNTER, "energy", (), "f32", counter=True)], (60,))
    seconds = range(MINUTE, MINUTE + 4)
    samples = Samples(
        point=np.zeros(4, np.int32),
        ts_ns=np.array(seconds) * S,
        value=np.array([before, later, anew, on]),
        quality=np.full(4, Quality.GOOD, np.uint8),
    )
    (window,) = aggregate(samples, (MINUTE + 60) * S + GRACE_NS)
    assert window.counted.delta[0] == pytest.approx(later - before + on - anew)
    assert window.counted.resets[0] == 1
