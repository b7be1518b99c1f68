"""The read-only part of the driver contract against a real device, and a conformance report.

pytest firmware_tests --hardware serial:///dev/ttyUSB0?baud=9600 --profile eastron/sdm630 --unit 1
"""

import asyncio
import statistics

import pytest

from drivers.codec import Status
from drivers.profile import load_profile
from drivers.session import Session
from firmware_tests.contract import planned, read_apart, read_round

ROUNDS = 5


@pytest.fixture(scope="module")
def device(pytestconfig):
    """Everything was read ROUNDS times, what the device refuses split first, and the report is written."""
    url, name, unit = (pytestconfig.getoption(f"--{option}") for option in ("hardware", "profile", "unit"))
    profile = load_profile(name)

    async def scenario():
        async with await Session.open(url, timeout_s=profile.limits.timeout_s, profile=profile) as session:
            blocks = planned(session, profile)
            first = await read_apart(session, profile, unit, blocks)
            rounds = [await read_round(session, profile, unit, blocks) for _ in range(ROUNDS)]
            return blocks, first, rounds, session

    blocks, first, rounds, session = asyncio.run(scenario())
    pytestconfig.conformance += report(url, name, unit, profile, blocks, first, session)
    return profile, blocks, first, rounds, session


def report(url, name, unit, profile, blocks, first, session):
    counts = session.statistics
    lines = [
        f"device   {url} unit {unit}, profile {name} ({profile.device.vendor} {profile.device.model})",
        f"reads    {counts.reads}: {counts.ok} answered, {counts.exceptions} refused, {counts.timeouts} timed out, "
        f"{counts.bad_frames} damaged, {counts.lost} lost with the link; {session.late} late answers thrown away",
        f"blocks   {len(blocks)} planned, {len(first.refused)} cannot be read even when split",
    ]
    if counts.rtt_s:
        median, worst = statistics.median(counts.rtt_s), max(counts.rtt_s)
        lines.append(f"answers  after {1000 * median:.1f} ms (median), {1000 * worst:.1f} ms (worst)")
    for point in profile.point:
        reading = first.readings.get(point.name)
        shown = "not read" if reading is None else f"{reading.value} {point.unit}".rstrip()
        status = "" if reading is None or reading.status is Status.GOOD else reading.status.name.lower()
        lines.append(f"point    {point.name:<32} {shown:<24} {status}".rstrip())
    return lines + [f"refused  {what}: {reason}" for what, reason in refusals(first, unit).items()]


def refusals(round_, unit):
    """What could not be read, as text, and why."""
    return {str(block.question(unit)): str(error) for block, error in round_.refused.items()}


def test_every_point_of_the_profile_is_there(device, pytestconfig):
    _, _, first, _, _ = device
    assert not refusals(first, pytestconfig.getoption("--unit"))


def test_the_planned_blocks_are_answered_without_being_split(device, pytestconfig):
    _, _, _, rounds, _ = device
    refused = [refusals(round_, pytestconfig.getoption("--unit")) for round_ in rounds]
    assert not any(refused), "put these holes into the profile: forbidden, or read_holes = false"


def test_every_value_is_plausible(device):
    _, _, first, _, _ = device
    odd = [name for name, reading in first.readings.items() if reading.status is Status.OUT_OF_RANGE]
    assert not odd, "wrong word order, scale or address?"


def test_something_is_available(device):
    _, _, first, _, _ = device
    assert any(reading.status is Status.GOOD for reading in first.readings.values())


def test_no_answer_was_late_lost_or_damaged(device):
    session = device[-1]
    counts = session.statistics
    assert (counts.timeouts, counts.bad_frames, counts.lost, session.late) == (0, 0, 0, 0)
