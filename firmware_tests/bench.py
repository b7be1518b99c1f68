"""A simulated device on each kind of line, for the tests of this folder."""

from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.meaning import AnyProfile
from drivers.modbus.tcp_pool import TcpPool
from drivers.profile import Profile, load_profile, profile_names
from drivers.session import Session
from drivers.simulators.device import VirtualDevice
from drivers.simulators.server_tcp import TcpPort
from drivers.simulators.site import Place, Site
from drivers.text.profile import TextProfile

LINES = ("tcp", "udp", "pty", "rtu+tcp", "ascii", "ascii+tcp")
#: Profiles that are read over every line: a usual one, one with swapped words and short reads, one with holes. A line
#: does not care what the registers mean, so the others are read over one only.
EVERY_LINE = ("eastron/sdm630", "carlo_gavazzi/em24", "apc/smart_ups")
UNIT = 3
#: Generous: how long a simulator on a busy machine may take. Where a test has to wait it out, it is given less.
TIMEOUT_S = 5.0


#: The profiles that come with us, by what their devices speak.
MODBUS = [name for name in profile_names() if isinstance(load_profile(name), Profile)]
TEXT = [name for name in profile_names() if name not in MODBUS]


def over(lines: tuple[str, ...]) -> list[tuple[str, str]]:
    """(profile, line): every Modbus profile over the last of `lines`, those of EVERY_LINE over all."""
    return [(name, line) for name in MODBUS for line in lines if name in EVERY_LINE or line == lines[-1]]


@dataclass
class Bench:
    """`device` is served at `url` under `UNIT`, its hall standing still, and `session` is open on it."""

    url: str
    profile: Any
    device: Any
    session: Session


def without_settling(profile: AnyProfile) -> AnyProfile:
    """A simulated device takes no power from the port: nothing to wait for after opening."""
    if not isinstance(profile, TextProfile):
        return profile
    return profile.model_copy(update={"limits": profile.limits.model_copy(update={"settle_s": 0.0})})


@asynccontextmanager
async def bench(line: str, profile: str, folder: Path, *, timeout_s: float = TIMEOUT_S, late_s: float | None = None):
    """The site is not started, so that the values stand still and can be compared exactly."""
    site = Site(seed=7)
    place = Place("device", "bus", UNIT, profile)
    if line in ("pty", "ascii"):
        url = site.open_pty([place], folder / "ttySIM", None, is_ascii=line == "ascii")
    else:
        url = await site.open_tcp([place], "127.0.0.1", 0, framing=line)
    try:
        known = without_settling(load_profile(profile))
        async with await Session.open(url, timeout_s=timeout_s, late_s=late_s, profile=known) as session:
            yield Bench(url, known, site.devices["device"], session)
    finally:
        site.close()


@asynccontextmanager
async def tcp_port(device: VirtualDevice):
    """`device` alone behind a TCP port; gives the URL."""
    pool = TcpPool()
    port = TcpPort({UNIT: device.unit}, pool)
    try:
        yield f"tcp://127.0.0.1:{port.open()}"
    finally:
        port.close()
        pool.close()
