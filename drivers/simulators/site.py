"""A whole simulated hall on this machine: Modbus TCP devices, a gateway with two units, an RTU line with four.

All devices show one `HallModel`, so that their readings fit together: the IT meter shows what the UPS passes on,
and mains divided by IT is a plausible PUE.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.address import parse_bus, speaking
from drivers.modbus.tcp_pool import TcpPool
from drivers.profile import Profile, load_profile
from drivers.simulators.device import VirtualDevice
from drivers.simulators.hall import HallModel
from drivers.simulators.server_serial import PtyLine, StreamPort, Units
from drivers.simulators.server_tcp import TcpPort
from drivers.simulators.server_udp import UdpPort
from drivers.simulators.showing import seat_for
from drivers.simulators.text_device import TextDevice, TextUnit
from drivers.simulators.unit import Unit
from drivers.text.profile import TextProfile

#: The model's step; values on all devices change this often.
TICK_S = 1.0
RTU_BAUD, RTU_TURNAROUND_S = 9600, 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """One device of a hall: its bus, unit, profile, and what of the hall it sees."""

    name: str
    bus: str
    unit: int
    profile: str
    feed: str = "it"
    share: float | None = None  #: None: what fits the device
    interval_s: float = 1.0
    tags: tuple[tuple[str, str], ...] = ()


def _tags(row: str, feed: str = "A") -> tuple[tuple[str, str], ...]:
    return (("feed", feed), ("room", "hall-1"), ("row", row))


#: Bus names: tcp-* get ports of their own in this order, rtu-* a pseudo-terminal.
HALL = (
    Place("meter-mains", "tcp-mains", 1, "schneider/pm5xxx", "mains", 1.0, tags=_tags("entry")),
    Place("meter-it", "tcp-it", 1, "schneider/pm5xxx", "it", 1.0, tags=_tags("ups-room")),
    Place("ups-1", "tcp-ups", 1, "apc/smart_ups", "it", 0.02, tags=_tags("ups-room")),
    Place("crac-1", "tcp-crac-1", 1, "vertiv/liebert_crv", "cooling", 0.5, tags=_tags("r1")),
    Place("crac-2", "tcp-crac-2", 1, "vertiv/liebert_crv", "cooling", 0.5, tags=_tags("r2", "B")),
    Place("row-1", "tcp-gateway", 1, "eastron/sdm630", "it", 0.54, 2.0, _tags("r1")),
    Place("row-2", "tcp-gateway", 2, "eastron/sdm630", "it", 0.46, 2.0, _tags("r2", "B")),
    Place("meter-cooling", "rtu-1", 1, "eastron/sdm630", "cooling", 1.0, 5.0, _tags("plant")),
    Place("ups-2", "rtu-1", 2, "huawei/ups2000", "it", 0.01, 5.0, _tags("ups-room", "B")),
    Place("th-1", "rtu-1", 3, "generic/xy_md02", "it", None, 5.0, _tags("r1")),
    Place("th-2", "rtu-1", 4, "generic/xy_md02", "it", None, 5.0, _tags("r2")),
)

Line = TcpPort | UdpPort | StreamPort | PtyLine


class Site:
    """Virtual devices and the lines they hang on, all showing one hall that moves with real time."""

    def __init__(
        self,
        *,
        seed: int = 1,
        it_kw: float = 180.0,
        mono: Callable[[], float] = time.monotonic,
        profiles: tuple[Path, ...] = (),
    ) -> None:
        self.hall = HallModel(seed, it_kw)
        self.devices: dict[str, VirtualDevice | TextDevice] = {}
        self.buses: list[dict[str, Any]] = []
        self._places: list[Place] = []
        self._lines: list[Line] = []
        self._pool = TcpPool()
        self._profiles = profiles
        self._mono = mono
        self._offset_s = self.hall.time_s - mono()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def units(self) -> dict[str, Unit | TextUnit]:
        """The devices' side of their lines by name, for faults and counters."""
        return {name: device.unit for name, device in self.devices.items()}

    @property
    def description(self) -> dict[str, Any]:
        """What is served, in the form of the `bus` and `device` tables of collector.toml."""
        return {
            "bus": self.buses,
            "device": [
                {
                    "name": place.name,
                    "bus": place.bus,
                    "unit": place.unit,
                    "profile": place.profile,
                    "interval_s": place.interval_s,
                    "tags": dict(place.tags),
                }
                for place in self._places
            ],
        }

    def furnish(self, places: list[Place]) -> Units:
        """Make the devices of one bus; returns its units by id. Raises ProfileError."""
        registers: dict[int, Unit] = {}
        texts: dict[int, TextUnit] = {}
        for place in places:
            profile = load_profile(place.profile, self._profiles)
            seat = seat_for(profile, place.name, place.feed, place.share, self.hall)
            if isinstance(profile, TextProfile):
                device = TextDevice(profile, seat, self.hall, place.unit)
                texts[place.unit] = device.unit
                self.devices[place.name] = device
            elif isinstance(profile, Profile):
                virtual = VirtualDevice(profile, seat, self.hall)
                registers[place.unit] = virtual.unit
                self.devices[place.name] = virtual
            self._places.append(place)
        return texts or registers

    async def open_tcp(self, places: list[Place], host: str, port: int, *, framing: str = "tcp") -> str:
        """Serve devices behind host:port: Modbus TCP, UDP, or a serial line (`rtu+tcp`, `ascii+tcp`, `raw+tcp`).

        Returns the URL. Raises ProfileError for devices that cannot be reached so.
        """
        profiles = [load_profile(place.profile, self._profiles) for place in places]
        speaking(parse_bus(f"{framing}://localhost:{port or 1}"), profiles)
        units = self.furnish(places)
        modbus = {number: unit for number, unit in units.items() if isinstance(unit, Unit)}
        line: Line
        if framing == "tcp":
            line = TcpPort(modbus, self._pool)
            number = line.open(host, port)
        elif framing == "udp":
            line = UdpPort(modbus)
            number = await line.open(host, port)
        else:
            line = StreamPort(units, turnaround_s=RTU_TURNAROUND_S, is_ascii=framing == "ascii+tcp")
            number = await line.open(host, port)
        shown = f"[{host}]" if ":" in host else host
        return self._opened(line, places[0].bus, f"{framing}://{shown}:{number}")

    def open_pty(self, places: list[Place], path: Path, baud: int | None, *, is_ascii: bool = False) -> str:
        """Serve devices on a pseudo-terminal behind the link `path`, in Modbus ASCII if wanted. Returns the URL.

        Raises ProfileError for devices that cannot be reached so.
        """
        # a pseudo-terminal carries whole bytes and has no parity; some C libraries refuse to be asked for it
        scheme, framing = ("ascii+serial", "&data=8") if is_ascii else ("serial", "")
        url = f"{scheme}://{path.absolute()}?baud={baud or RTU_BAUD}&parity=N{framing}"
        speaking(parse_bus(url), [load_profile(place.profile, self._profiles) for place in places])
        line = PtyLine(path, self.furnish(places), baud=baud, turnaround_s=RTU_TURNAROUND_S, is_ascii=is_ascii)
        line.open()
        return self._opened(line, places[0].bus, url)

    def start(self) -> None:
        """Let the hall live: from now on it follows the clock."""
        self.hall.advance(max(self.hall.time_s, self._mono() + self._offset_s))
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self.start)

    def close(self) -> None:
        """Stop the hall and take every line away."""
        if self._timer is not None:
            self._timer.cancel()
        for line in self._lines:
            line.close()
        self._pool.close()

    def _opened(self, line: Line, bus: str, url: str) -> str:
        self._lines.append(line)
        self.buses.append({"name": bus, "url": url})
        return url


async def open_hall(site: Site, directory: Path, base_port: int, host: str = "127.0.0.1") -> None:
    """Open every bus of `HALL`: TCP ports from `base_port` on, pseudo-terminals in `directory`. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    buses = list(dict.fromkeys(place.bus for place in HALL))
    port = base_port
    for bus in buses:
        places = [place for place in HALL if place.bus == bus]
        if bus.startswith("rtu"):
            site.open_pty(places, directory / f"tty-{bus}", RTU_BAUD)
        else:
            await site.open_tcp(places, host, port)
            port += 1 if base_port else 0
