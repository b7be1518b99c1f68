"""What only devices with YD/T 1363.3 do, over a real pseudo-terminal."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.errors import NoAnswer, Refused
from drivers.profile import load_profile
from drivers.session import Session
from drivers.simulators.faults import Fault
from drivers.simulators.site import Place, Site
from drivers.ydt1363.profile import YdtProfile
from firmware_tests.bench import TIMEOUT_S, UNIT
from firmware_tests.contract import planned, read_block, read_round

PROFILES = Path(__file__).resolve().parents[1] / "drivers" / "profiles"
PROFILE = "generic/ydn23_ac_panel"


def differing(profile, **options):
    return profile.model_copy(update={"ydt1363": profile.ydt1363.model_copy(update=options)})


@asynccontextmanager
async def panel(folder, *, device="", **options):
    """A session with a panel; `device` are more lines of its options, `options` those with which it is asked."""
    text = (PROFILES / f"{PROFILE}.toml").read_text(encoding="utf-8").split("[[golden]]")[0]
    own = folder / "site" / "panel.toml"
    own.parent.mkdir()
    own.write_text(text.replace("[limits]", f"{device}\n\n[limits]", 1), encoding="utf-8")
    site = Site(seed=7, profiles=(folder,))
    url = site.open_pty([Place("panel", "bus", UNIT, "site/panel")], folder / "ttySIM", None)
    profile = load_profile(PROFILE)
    try:
        async with await Session.open(url, timeout_s=TIMEOUT_S, profile=profile) as session:
            yield session, differing(profile, **options), site.devices["panel"]
    finally:
        site.close()


def test_a_device_of_another_version_is_read_and_refuses_only_once(tmp_path):
    async def scenario():
        async with panel(tmp_path, version="21") as (session, asked_as, device):
            blocks = planned(session, asked_as)
            for _ in range(3):
                round_ = await read_round(session, asked_as, UNIT, blocks)
                assert round_.readings == device.readings()
            assert device.unit.requests == 3
            assert device.unit.writes_refused == 1  # the first question, in the wrong version

    asyncio.run(scenario())


@pytest.mark.parametrize("code", [2, 3])
def test_a_question_that_arrived_damaged_is_asked_again_at_once(code, tmp_path):
    async def scenario():
        async with panel(tmp_path) as (session, profile, device):
            (block,) = planned(session, profile)
            device.unit.fault = Fault.parse(f"exception:{code}*1")
            assert await read_block(session, profile, UNIT, block) == device.readings()
            assert device.unit.requests == 2
            device.unit.fault = Fault.parse(f"exception:{code}*2")
            with pytest.raises(Refused, match=f"RTN 0{code}H"):
                await read_block(session, profile, UNIT, block)
            assert await read_block(session, profile, UNIT, block) == device.readings()

    asyncio.run(scenario())


@pytest.mark.parametrize("code", [1, 4, 5, 6, 7, 0x80, 0xE0, 0xFF])
def test_every_return_code_arrives_as_itself_and_harms_nothing(code, tmp_path):
    async def scenario():
        async with panel(tmp_path) as (session, profile, device):
            (block,) = planned(session, profile)
            device.unit.fault = Fault.parse(f"exception:{code}*2")
            with pytest.raises(Refused) as caught:
                await read_block(session, profile, UNIT, block)
            device.unit.fault = None
            assert caught.value.code == code
            assert await read_block(session, profile, UNIT, block) == device.readings()

    asyncio.run(scenario())


@pytest.mark.parametrize("soi", [{"soi": "3E"}, {"soi": "3E", "soi_answer": "7E"}, {"soi_answer": "3E"}])
def test_a_device_with_another_first_character_is_read_when_the_profile_says_so_and_else_silent(soi, tmp_path):
    device = "\n".join(f'{key} = "{value}"' for key, value in soi.items())

    async def scenario():
        async with panel(tmp_path, device=device, **soi) as (session, asked_as, device_):
            (block,) = planned(session, asked_as)
            assert await read_block(session, asked_as, UNIT, block) == device_.readings()
            session._timeout_s = 0.3
            usual = load_profile(PROFILE)
            with pytest.raises(NoAnswer):
                await read_block(session, usual, UNIT, planned(session, usual)[0])

    asyncio.run(scenario())


def test_an_echo_is_seen_through(tmp_path):
    async def scenario():
        async with panel(tmp_path) as (session, profile, device):
            (block,) = planned(session, profile)
            device.unit.fault = Fault.parse("echo*1")
            assert await read_block(session, profile, UNIT, block) == device.readings()

    asyncio.run(scenario())


def test_twin_that_takes_the_echo_for_an_answer_is_refused_by_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(YdtProfile, "echo_is_answer", True)

    async def scenario():
        async with panel(tmp_path) as (session, profile, device):
            (block,) = planned(session, profile)
            device.unit.fault = Fault.parse("echo*1")
            with pytest.raises(Refused, match="RTN 41H"):  # CID2 of the question, where an answer has RTN
                await read_block(session, profile, UNIT, block)

    asyncio.run(scenario())
