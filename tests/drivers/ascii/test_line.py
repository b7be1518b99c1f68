"""A device that is asked and that also sends by itself, on a real pseudo-terminal."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from drivers.ascii.profile import AsciiProfile
from drivers.codec import decode_point
from drivers.errors import BadFrame, NoAnswer
from drivers.profile import load_profile, parse_profile
from drivers.session import Session
from drivers.simulators.faults import Fault
from drivers.simulators.site import Place, Site
from drivers.text.exchange import TextExchange
from tests.drivers.ascii.test_profile import TEXT

#: The silence before a question is short, so that much can be said between two of them.
QUICK = TEXT.replace("[send]", "[limits]\ngap_s = 0.002\n\n[send]")


#: The same device, whose own lines look like answers.
ALIKE = QUICK.replace('receive = { start = "*", end = "\\n" }', "").replace("*3;OPEN\\n", "!3;OPENC1\\r")


@asynccontextmanager
async def line(directory, *units):
    """A session on a line with the all-in-one device under each of `units`."""
    (directory / "made").mkdir()
    (directory / "made" / "up.toml").write_text(QUICK, encoding="utf-8")
    site = Site(seed=1, profiles=(directory,))
    places = [Place(f"u{unit}", "b", unit, "made/up") for unit in units]
    url = site.open_pty(places, directory / "tty", None)
    profile = load_profile("made/up", (directory,))
    try:
        async with await Session.open(url, timeout_s=1.0, late_s=0.3, profile=profile) as session:
            yield session, profile, site.devices
    finally:
        site.close()


async def values(session, profile, command, unit):
    [block] = [block for block in profile.blocks(1.0) if block.command == command]
    image = await session.read(block.question(unit))
    places = zip(block.points, block.offsets, strict=True)
    return {name: decode_point(profile, profile.named(name), image, at) for name, at in places}


def shown(device, command):
    points = [p.name for p in device.profile.points_of(command)]
    return {name: device.reading(name) for name in points}


@pytest.mark.parametrize("text", [QUICK, ALIKE], ids=["of another form", "of the same form"])
async def test_it_answers_rightly_however_much_it_says_by_itself(tmp_path, monkeypatch, text):
    monkeypatch.setattr("tests.drivers.ascii.test_line.QUICK", text)
    monkeypatch.setattr("drivers.simulators.bus_text._STREAM_S", 0.01)
    async with line(tmp_path, 1, 10) as (session, profile, devices):
        for device in devices.values():
            device.unit.fault = Fault.parse("slow:0.015")  # so that something is said between question and answer
        for turn in range(20):
            unit = (1, 10)[turn % 2]
            command = ("values", "identity")[turn // 2 % 2]
            assert await values(session, profile, command, unit) == shown(devices[f"u{unit}"], command)
        assert await values(session, profile, "alarm", 1) == shown(devices["u1"], "alarm")
        assert session.statistics.bad_frames == session.statistics.timeouts == 0
        assert session.late == 0


def silence_after_an_alarm():
    """What comes of a question after which an alarm of the same form came, and then nothing for a while."""
    profile = parse_profile(ALIKE, "alike")
    exchange = TextExchange(gap_s=0.0, timeout_s=1.0, late_s=1.0, character_s=0.001)
    exchange.start(profile.ask("values", 10))
    exchange.transmit(1.0)
    assert exchange.received(b"!3;OPENC1\r", 1.1) is None
    return exchange, exchange.silence(1.7)


def test_an_alarm_before_the_answer_does_not_end_the_wait_for_it():
    exchange, outcome = silence_after_an_alarm()
    assert outcome is None
    assert isinstance(exchange.received(b"!0A+0023.4+0005.638\r", 1.8), memoryview)


def test_without_knowing_the_alarm_it_would_have_been_a_damaged_answer(monkeypatch):
    monkeypatch.setattr(AsciiProfile, "_says", lambda *_: False)
    _, outcome = silence_after_an_alarm()
    assert isinstance(outcome, BadFrame)


async def outcome_of(reading):
    try:
        return await reading
    except Exception as error:
        return error


async def test_a_device_that_refuses_is_known_and_its_neighbour_is_read(tmp_path):
    async with line(tmp_path, 1, 10) as (session, profile, devices):
        devices["u10"].unit.fault = Fault.parse("exception:1*1")
        refused = await outcome_of(values(session, profile, "values", 10))
        assert "the device refuses: ?0A" in str(refused)
        assert await values(session, profile, "values", 1) == shown(devices["u1"], "values")


async def test_a_late_answer_of_one_unit_is_not_taken_for_that_of_another(tmp_path):
    async with line(tmp_path, 1, 10) as (session, profile, devices):
        session._timeout_s = 0.1
        devices["u10"].unit.fault = Fault.parse("late:0.25*1")
        with pytest.raises(NoAnswer):
            await values(session, profile, "values", 10)
        session._timeout_s = 1.0
        for _ in range(10):
            assert await values(session, profile, "values", 1) == shown(devices["u1"], "values")
            await asyncio.sleep(0.03)
        assert session.late == 1
