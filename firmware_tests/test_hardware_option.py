"""The hardware suite itself, run as a technician runs it, with a simulator in the place of the device."""

import asyncio
import sys

import pytest

from drivers.simulators.faults import Fault
from firmware_tests.bench import UNIT, bench

PROFILE = "eastron/sdm630"


async def run_suite(*options):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "firmware_tests", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 25)
    return process.returncode, output.decode()


@pytest.mark.parametrize("profile", [PROFILE, "megatec/q1"])
def test_a_sound_device_conforms_and_the_report_lists_its_points(profile, tmp_path):
    async def scenario():
        async with bench("pty", profile, tmp_path) as on:
            on.session.close()
            code, output = await run_suite("--hardware", on.url, "--profile", profile, "--unit", str(UNIT))
            assert code == 0, output
            assert "5 passed" in output
            for name, reading in on.device.readings().items():
                assert f"point    {name:<32} {reading.value}" in output
            assert on.device.unit.writes_refused == 0

    asyncio.run(scenario())


def test_a_device_that_refuses_reads_does_not_conform(tmp_path):
    async def scenario():
        async with bench("tcp", PROFILE, tmp_path) as on:
            on.device.unit.fault = Fault.parse("exception:2")
            code, output = await run_suite("--hardware", on.url, "--profile", PROFILE, "--unit", str(UNIT))
            assert code == 1, output
            assert "exception 2 (illegal data address)" in output
            assert "not read" in output

    asyncio.run(scenario())


def test_hardware_without_a_profile_is_a_usage_error():
    code, output = asyncio.run(run_suite("--hardware", "tcp://127.0.0.1:1"))
    assert code == 4
    assert "--hardware needs --profile" in output
