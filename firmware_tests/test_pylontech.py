"""An independent master, the project python-pylontech, reads from a simulated battery what the battery shows."""

import asyncio
import importlib.util
import json
import sys

import pytest

from firmware_tests.bench import bench
from firmware_tests.contract import planned, read_round

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pylontech") is None, reason="python-pylontech is missing")

UNIT = 3
MASTER = """
import json, sys
from pylontech import Pylontech
path, unit = sys.argv[1], int(sys.argv[2])
said = Pylontech(path, baudrate=115200).get_values_single(unit)
print(json.dumps({
    "cells": list(said.CellVoltages),
    "temperatures": [said.AverageBMSTemperature, *said.GroupedCellsTemperatures],
    "current": said.Current,
    "voltage": said.Voltage,
    "left": said.RemainingCapacity,
    "full": said.TotalCapacity,
    "cycles": said.CycleNumber,
}))
"""


async def as_the_other_reads_it(path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MASTER, path, str(UNIT)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, complaint.decode()
    return json.loads(output)


@pytest.mark.parametrize("name", ["pylontech/us2000", "pylontech/us3000"])
def test_another_projects_master_and_ours_read_the_same_from_a_battery(name, tmp_path):
    async def scenario():
        async with bench("pty", name, tmp_path) as on:
            ours = (await read_round(on.session, on.profile, UNIT, planned(on.session, on.profile))).readings
            on.session.close()
            theirs = await as_the_other_reads_it(str(tmp_path / "ttySIM"))
        values = {name: reading.value for name, reading in ours.items()}
        groups = [values[f"cell_group_{k}_temperature"] for k in range(1, 5)]
        assert theirs["cells"] == [values[f"cell_{k}_voltage"] for k in range(1, 16)]
        assert theirs["temperatures"] == [values["temperature"], *groups]
        assert theirs["current"] == values["battery_current"]
        assert theirs["voltage"] == values["battery_voltage"]
        assert (theirs["left"], theirs["full"]) == (values["charge_left"], values["charge_full"])
        assert theirs["cycles"] == values["cycles"]

    asyncio.run(scenario())
