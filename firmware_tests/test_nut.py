"""An independent reader, Network UPS Tools' own driver, makes of a simulated UPS what the collector makes of it."""

import asyncio

import pytest

from drivers.errors import DriverError
from drivers.simulators.faults import Fault
from firmware_tests.bench import UNIT, bench
from firmware_tests.contract import planned, read_block, read_round
from firmware_tests.nut import NUTDRV_QX, nut_reads

pytestmark = pytest.mark.skipif(NUTDRV_QX is None, reason="nutdrv_qx is not installed (apt install nut-server)")

RATINGS = {
    "input.voltage.nominal": "rated_voltage",
    "input.current.nominal": "rated_current",
    "battery.voltage.nominal": "rated_battery_voltage",
    "input.frequency.nominal": "rated_frequency",
}
Q1 = {
    "input.voltage": "input_voltage",
    "input.voltage.fault": "input_fault_voltage",
    "output.voltage": "output_voltage",
    "ups.load": "load",
    "input.frequency": "input_frequency",
    "battery.voltage": "battery_voltage",
    "ups.temperature": "internal_temperature",
    **RATINGS,
}
QGS = {
    **{
        name: Q1[name] for name in ("input.voltage", "input.frequency", "output.voltage", "ups.load", "ups.temperature")
    },
    "output.frequency": "output_frequency",
    "output.current": "output_current",
    "battery.voltage": "battery_voltage",
    "battery.charge": "battery_charge",
    "battery.packs": "battery_packs",
    "output.voltage.nominal": "rated_voltage",
    "output.current.nominal": "rated_current",
    "battery.voltage.nominal": "rated_battery_voltage",
    "output.frequency.nominal": "rated_frequency",
    "ups.power.nominal": "rated_apparent_power",
    "output.powerfactor": "rated_power_factor",
}
#: NUT says VA, we kVA.
IN_THOUSANDS = ("ups.power.nominal",)
NAMES = {"device.mfr": "vendor", "device.model": "model", "ups.firmware": "firmware", "device.serial": "serial"}
#: NUT's protocol, the profile for the same UPS, and which of its points each of NUT's variables is.
SAME = [
    ("megatec", "megatec/q1", Q1),
    ("megatec", "megatec/online_q1", {**Q1, "battery.voltage": "battery_cell_voltage"}),
    ("q1", "megatec/q1", {name: point for name, point in Q1.items() if name not in RATINGS}),
    (
        "voltronic-qs",
        "voltronic/qs",
        {
            **{name: point for name, point in Q1.items() if name not in ("input.frequency", *RATINGS)},
            "output.frequency": "output_frequency",
            **{name.replace("input", "output"): point for name, point in RATINGS.items()},
        },
    ),
    ("voltronic", "voltronic/qgs", QGS),
]
REGULATION = {0: None, 1: "TRIM", 2: "BYPASS", 3: "BOOST"}


def differences(theirs, ours, points):
    """NUT's variables that say something else than our points, by name; numbers to the digits that NUT prints."""
    found = {}
    for name, point in points.items():
        shown, value = theirs.get(name), ours[point].value
        value = value if value is None or name not in IN_THOUSANDS else 1000 * value
        digits = len(shown.partition(".")[2]) if shown else 0
        if shown is None or value is None or abs(float(shown) - value) > 0.5001 * 10**-digits:
            found[name] = (shown, value)
    beeps = ours["beeper_on"].value if "beeper_on" in ours else not ours["beeper_off"].value
    said = {"ups.status": words(ours), "ups.beeper.status": "enabled" if beeps else "disabled"}
    shown = {"ups.status": set(theirs["ups.status"].split()), "ups.beeper.status": theirs["ups.beeper.status"]}
    found |= {name: (shown[name], said[name]) for name in said if shown[name] != said[name]}
    for name, point in NAMES.items():
        if point in ours and name in theirs and theirs[name] != ours[point].value:
            found[name] = (theirs[name], ours[point].value)
    return found


def words(ours):
    """The status in NUT's words."""
    said = {"OB" if ours["utility_fail"].value else "OL", REGULATION[ours["regulation"].value]}
    more = {"LB": "battery_low", "CAL": "test_running", "FSD": "shutdown_active"}
    return (said | {word for word, point in more.items() if ours[point].value}) - {None}


def show(device, **raw):
    """From now on `device` shows these raw values."""
    hall = type(device).values
    device.values = lambda command: {point: raw.get(point, value) for point, value in hall(device, command).items()}


async def both(on, protocol, folder, **changed):
    """What NUT reads and then, with these raw values `changed`, what we read from the same port."""
    on.session.close()
    theirs = await nut_reads(folder / "ttySIM", protocol, folder)
    show(on.device, **changed)
    await on.session.reopen()
    round_ = await read_round(on.session, on.profile, UNIT, planned(on.session, on.profile))
    assert not round_.refused
    return theirs, round_.readings


@pytest.mark.parametrize(("protocol", "profile", "points"), SAME, ids=[f"{each[0]}-{each[1]}" for each in SAME])
def test_nut_reads_what_the_collector_reads(protocol, profile, points, tmp_path):
    async def scenario():
        async with bench("pty", profile, tmp_path) as on:
            theirs, ours = await both(on, protocol, tmp_path)
            assert differences(theirs, ours, points) == {}
            assert ours == on.device.readings()
            if "runtime_left" in ours:
                assert float(theirs["battery.runtime"]) == ours["runtime_left"].value

    asyncio.run(scenario())


STATES = [
    {"utility_fail": 1, "battery_low": 1},
    {"bypass_active": 1, "input_voltage": 243.0, "output_voltage": 220.0},
    {"bypass_active": 1, "input_voltage": 220.0, "output_voltage": 219.0},
    {"bypass_active": 1, "input_voltage": 198.0, "output_voltage": 218.0},
    {"test_running": 1, "beeper_on": 1},
    {"utility_fail": 1, "battery_low": 1, "shutdown_active": 1},
]


@pytest.mark.parametrize("state", STATES, ids=[" ".join(state) for state in STATES])
def test_nut_sees_the_same_state(state, tmp_path):
    """But for a failed UPS, which NUT's driver does not show in its first rounds."""

    async def scenario():
        async with bench("pty", "megatec/q1", tmp_path) as on:
            shown = {"beeper_on": 0.0, **{name: float(value) for name, value in state.items()}}
            show(on.device, **shown)
            theirs, ours = await both(on, "megatec", tmp_path, **shown)
            assert differences(theirs, ours, Q1) == {}
            assert all(ours[name].value == value for name, value in state.items())

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"output_voltage": 211.1}, "output.voltage"),
        ({"battery_voltage": 88.8}, "battery.voltage"),
        ({"utility_fail": 1.0}, "ups.status"),
        ({"firmware": "2.0"}, "ups.firmware"),
    ],
)
def test_twin_a_ups_that_tells_nut_something_else_is_found(wrong, found, tmp_path):
    async def scenario():
        async with bench("pty", "megatec/q1", tmp_path) as on:
            theirs, ours = await both(on, "megatec", tmp_path, **wrong)
            assert [*differences(theirs, ours, Q1)] == [found]

    asyncio.run(scenario())


def test_after_an_answer_that_was_cut_short_both_read_the_same_again(tmp_path):
    async def scenario():
        async with bench("pty", "megatec/q1", tmp_path, timeout_s=0.3) as on:
            block = planned(on.session, on.profile)[0]
            on.device.unit.fault = Fault.parse("cut:3*1")
            with pytest.raises(DriverError):
                await read_block(on.session, on.profile, UNIT, block)
            on.device.unit.fault = Fault.parse("cut:3*1")  # NUT asks again after a second
            theirs, ours = await both(on, "megatec", tmp_path)
            assert differences(theirs, ours, Q1) == {}

    asyncio.run(scenario())
