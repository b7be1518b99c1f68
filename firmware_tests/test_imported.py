"""A profile made from another tool's register list polls a device that is as the list says."""

import asyncio

import pytest

from drivers.importers import register_list, sunspec, telegraf
from drivers.profile import load_profile
from firmware_tests.bench import UNIT, bench
from firmware_tests.contract import not_good, planned, read_round
from tests.drivers.importers.samples import (
    REGISTER_LIST,
    SUNSPEC_JSON,
    SUNSPEC_SMDX,
    TELEGRAF_REGISTER,
    TELEGRAF_REQUEST,
)

DRAFTS = {
    "telegraf-register": lambda: telegraf.read(TELEGRAF_REGISTER, "x"),
    "telegraf-request": lambda: telegraf.read(TELEGRAF_REQUEST, "x"),
    "register-list": lambda: register_list.read(REGISTER_LIST, "x"),
    "sunspec-json": lambda: sunspec.read(SUNSPEC_JSON, "x", 40069),
    "sunspec-smdx": lambda: sunspec.read(SUNSPEC_SMDX, "x", 40069),
}


@pytest.mark.parametrize("name", DRAFTS)
def test_every_point_of_an_imported_profile_is_what_the_device_shows(name, tmp_path):
    imported = DRAFTS[name]().finish("Acme", "M7", "power")
    path = tmp_path / "m7.toml"
    path.write_text(imported.text, encoding="utf-8")
    assert load_profile(str(path)) == imported.profile

    async def scenario():
        async with bench("tcp", str(path), tmp_path) as on:
            round_ = await read_round(on.session, on.profile, UNIT, planned(on.session, on.profile))
            assert not round_.refused
            assert not not_good(round_)
            assert round_.readings == on.device.readings()
            assert set(round_.readings) == {point.name for point in imported.profile.point}

    asyncio.run(scenario())
