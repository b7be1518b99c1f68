"""Every driver with every profile: what is planned is answered, what is answered decodes, nothing is ever written."""

import asyncio

import pytest

from drivers.errors import DeviceException, DriverError, NoAnswer
from drivers.profile import load_profile
from drivers.session import Session
from drivers.simulators.device import VirtualDevice
from drivers.simulators.faults import Fault
from drivers.simulators.hall import HallModel
from drivers.simulators.showing import seat_for
from firmware_tests.bench import LINES, MODBUS, TEXT, TIMEOUT_S, UNIT, bench, over, tcp_port
from firmware_tests.contract import not_good, planned, read_apart, read_block, read_round, reopened

#: A profile whose reads take several blocks, for the faults: they are the same for every profile.
SAMPLE = "eastron/sdm630"
#: Delays are beyond any deadline here: 0.25 s and what the read costs at 9600 baud.
#: Which error each fault causes; None: the driver sees through it.
CAUSES = {
    "silent": NoAnswer,
    "slow:0.8": NoAnswer,
    "late:0.8": NoAnswer,  # arrives while the next request is under way, unless the driver waits for it
    "exception:6": DeviceException,
    "wrong-unit": DriverError,
    "short": DriverError,
    "cut:3": DriverError,
    "garbage:40": DriverError,
    "noise:0.1": DriverError,
    "echo": None,
    "twice": None,
    "babble": DriverError,
    "reset": DriverError,
}
#: One profile of each text protocol, and where a fault ends otherwise.
TEXT_SAMPLES = {
    "icpdas/i7018": {"wrong-unit": None},  # an answer does not name its module
    "megatec/q1": {"wrong-unit": None},  # a UPS has no address, so it cannot take another's
    "pylontech/us2000": {},
}
#: A checksum of TCP or UDP keeps these from happening there.
SERIAL_ONLY_FAULTS = ("noise:0.1", "echo")


#: Every profile over a serial port, one of each protocol also through a serial server.
TEXT_LINES = [*((name, "pty") for name in TEXT), *((name, "raw+tcp") for name in TEXT_SAMPLES)]


@pytest.mark.parametrize(("name", "line"), [*over(("tcp", "udp", "rtu+tcp", "ascii+tcp", "ascii", "pty")), *TEXT_LINES])
def test_every_planned_block_is_answered_and_every_point_is_what_the_device_shows(name, line, tmp_path):
    async def scenario():
        async with bench(line, name, tmp_path) as on:
            blocks = planned(on.session, on.profile)
            round_ = await read_round(on.session, on.profile, UNIT, blocks)
            assert not round_.refused
            assert not not_good(round_)
            assert round_.readings == on.device.readings()
            assert on.device.unit.requests == sum(not listens(block) for block in blocks)
            assert on.device.unit.writes_refused == 0

    asyncio.run(scenario())


def listens(block):
    """Whether nothing is asked: the device says it by itself."""
    return bool(getattr(block.question(UNIT), "patience_s", 0))


@pytest.mark.parametrize("name", MODBUS)
def test_a_device_that_refuses_every_hole_still_gives_all_its_points(name):
    async def scenario():
        profile, hall = load_profile(name), HallModel(7)
        device = VirtualDevice(profile, seat_for(profile, "strict", "it", None, hall), hall, strict=True)
        async with tcp_port(device) as url, await Session.open(url, timeout_s=TIMEOUT_S) as session:
            round_ = await read_apart(session, profile, UNIT, planned(session, profile))
            assert not round_.refused
            assert round_.readings == device.readings()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "line"), [*((SAMPLE, line) for line in LINES), *((name, "pty") for name in TEXT_SAMPLES)]
)
def test_a_fault_gives_a_typed_error_or_the_right_value_and_the_next_perfect_answer_succeeds(name, line, tmp_path):
    faults = [fault for fault in CAUSES if line not in ("tcp", "udp") or fault not in SERIAL_ONLY_FAULTS]
    folders = [tmp_path / f"{n}" for n in range(len(faults))]

    async def scenario():  # each fault with a device and a line of its own
        trials = zip(faults, folders, strict=True)
        await asyncio.gather(*(fault_and_recovery(fault, name, line, folder) for fault, folder in trials))

    asyncio.run(scenario())


#: Answers that the rest of a babble may spoil.
BABBLE_LEFT = 5


async def fault_and_recovery(fault, name, line, folder):
    folder.mkdir()
    cause = TEXT_SAMPLES.get(name, {}).get(fault, CAUSES[fault])
    waits_it_out = cause not in (None, DeviceException)
    async with bench(line, name, folder, timeout_s=0.25 if waits_it_out else TIMEOUT_S, late_s=0.8) as on:
        blocks = planned(on.session, on.profile)
        right = on.device.readings()
        on.device.unit.fault = Fault.parse(fault if fault == "babble" else f"{fault}*1")
        outcome = await outcome_of(read_block(on.session, on.profile, UNIT, blocks[0]))
        on.device.unit.fault = None
        if cause is None:
            assert outcome == {name: right[name] for name in blocks[0].points}, (fault, outcome)
        else:
            assert isinstance(outcome, cause), (fault, outcome)
        on.session._timeout_s = TIMEOUT_S  # what is perfect again must not fail for a busy machine
        if fault == "babble":  # what it said last is still on the line; over UDP each datagram of it spoils an answer
            for _ in range(BABBLE_LEFT):
                if not (await read_round(on.session, on.profile, UNIT, blocks[:1])).refused:
                    break
        round_ = await read_round(on.session, on.profile, UNIT, blocks)
        assert not round_.refused, fault
        assert round_.readings == right, fault
        assert on.device.unit.writes_refused == 0, fault


async def outcome_of(reading):
    try:
        return await reading
    except DriverError as error:
        return error


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 99])
@pytest.mark.parametrize("line", LINES)
def test_every_exception_code_arrives_as_itself_and_harms_nothing(code, line, tmp_path):
    async def scenario():
        async with bench(line, SAMPLE, tmp_path) as on:
            block = planned(on.session, on.profile)[0]
            on.device.unit.fault = Fault.parse(f"exception:{code}*1")
            with pytest.raises(DeviceException) as caught:
                await read_block(on.session, on.profile, UNIT, block)
            assert caught.value.code == code
            assert caught.value.retryable == (code not in (1, 2, 3))
            assert await read_block(on.session, on.profile, UNIT, block)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", [SAMPLE, *TEXT_SAMPLES])
def test_an_unplugged_port_is_a_lost_link_and_works_again_when_it_is_back(name, tmp_path):
    async def scenario():
        async with bench("pty", name, tmp_path, timeout_s=1.0, late_s=0.1) as on:
            block = planned(on.session, on.profile)[0]
            before = await read_block(on.session, on.profile, UNIT, block)
            on.device.unit.fault = Fault.parse("reset*1")
            with pytest.raises(DriverError):
                await read_block(on.session, on.profile, UNIT, block)
            await reopened(on.session)
            assert await read_block(on.session, on.profile, UNIT, block) == before

    asyncio.run(scenario())
