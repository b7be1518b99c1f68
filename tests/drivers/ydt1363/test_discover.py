"""Finding out what answers: a simulated device of every kind of profile on a pseudo-terminal, and others."""

import asyncio
import os
import re
import tty

import pytest

from drivers.address import parse_bus
from drivers.simulators.control import switch
from drivers.simulators.site import Place, Site
from drivers.text import discovery
from drivers.ydt1363 import discover
from drivers.ydt1363.frame import READS, Frame, seal, unseal
from tests.drivers.ydt1363 import vectors


@pytest.fixture(autouse=True)
def _no_time_to_wait(monkeypatch):
    monkeypatch.setattr(discover, "GAP_S", 0.0)
    monkeypatch.setattr(discovery, "LATE_S", 0.0)


def found_on(folder, profile, unit, *, timeout_s, fault="ok", trace=None):
    """What is discovered where a device of `profile` has the address `unit`. A silent kind costs `timeout_s`."""

    async def scenario():
        site = Site(seed=7)
        url = site.open_pty([Place("device", "bus", unit, profile)], folder / "ttySIM", None)
        switch(site.units, "device", fault)
        try:
            fast = parse_bus(url.replace("baud=9600", "baud=115200"))
            return await discover.discover(fast, unit, timeout_s=timeout_s, trace=trace)
        finally:
            site.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("profile", "unit", "kind", "version"),
    [
        ("vertiv/liebert_gxe", 1, "UPS", 0x21),
        ("seplos/bms_v2", 0, "battery", 0x20),
    ],
)
def test_the_kind_the_version_and_the_profile_are_found(profile, unit, kind, version, tmp_path, monkeypatch):
    monkeypatch.setattr(discover, "KINDS", {0x2A: "UPS"} if kind == "UPS" else {0x46: "battery"})  # none is silent
    found = found_on(tmp_path, profile, unit, timeout_s=5.0)
    assert (found.kind, found.version) == (kind, version)
    assert found.profiles == [profile]
    assert found.advice == []


def test_kinds_that_nobody_answers_to_are_passed_over(tmp_path):
    found = found_on(tmp_path, "generic/ydn23_ac_panel", 1, timeout_s=0.5)
    assert (found.cid1, found.kind) == (0x40, "AC panel of a power plant")


def test_every_command_that_reads_is_asked_and_no_other(tmp_path):
    asked = set()

    def watch(way, data):
        if way == "tx":
            asked.add(unseal(data).code)

    found_on(tmp_path, "vertiv/liebert_gxe", 1, timeout_s=5.0, trace=watch)
    assert asked == READS


def test_what_a_device_says_of_itself_is_one_line():
    found = discover.YdtDiscovery(parse_bus("serial:///dev/ttyS9"), 2)
    assert discover.maker(found) == ""
    found.answers[0x51] = unseal(vectors.PYLON_MAKER + b"\r")
    assert discover.maker(found) == "US2KBPL Pylon"
    found.answers[0x51] = unseal(vectors.RICHPOWER_MAKER + b"\r")
    assert discover.maker(found) == "BMS07-LD43 JS-Richpower Co.,Ltd"
    found.answers[0x51] = Frame(0x20, 2, 0x46, 0, b"zz")
    assert discover.maker(found) == ""


def test_silence_tells_what_to_try(tmp_path):
    found = found_on(tmp_path, "generic/ydn23_ac_panel", 1, fault="silent", timeout_s=0.05)
    assert found.cid1 is None
    assert "swap A and B" in " ".join(found.advice)
    assert "under address 1" in found.advice[0]


def test_noise_is_told_as_such(tmp_path):
    found = found_on(tmp_path, "generic/ydn23_ac_panel", 1, fault="garbage:20", timeout_s=0.05)
    assert re.match(r"bytes came that are no answer \(\d+\): another speed than 115200 8N1, or noise", found.advice[0])


def test_somebody_who_answers_under_another_address_is_named():
    async def scenario():
        master, slave = os.openpty()
        tty.setraw(slave)
        loop = asyncio.get_running_loop()
        said = seal(Frame(0x20, 3, 0x2A, 0))
        loop.add_reader(master, lambda: os.write(master, said * os.read(master, 512).count(b"\r")))
        try:
            return await discover.discover(parse_bus(f"serial://{os.ttyname(slave)}?baud=115200"), 1, timeout_s=0.02)
        finally:
            loop.remove_reader(master)
            os.close(slave)
            os.close(master)

    assert asyncio.run(scenario()).advice == ["somebody answers as 3: --unit 3"]
