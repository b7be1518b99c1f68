"""The load of a line as `collector check` predicts it, and as the daemon then measures it.

Simulated units behind pseudo-terminals that let bytes pass at the pace of their baud rate, in characters of 11 bits,
polled by the real poller. The units think for as long as their profiles say.
"""

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

from collector.clock import SystemClock
from collector.inventory import Inventory
from collector.poll import Poller
from collector.poll.intake import Intake
from collector.poll.unit import Breaker
from collector.settings import Settings
from drivers.links import Links
from drivers.profile import load_profile
from drivers.simulators import site as site_module
from drivers.simulators.site import Place, Site

#: (baud, profile, units, interval): from a line that sleeps to one that is nearly full.
LINES = (
    (9600, "generic/xy_md02", 4, 1.0),
    (9600, "eastron/sdm630", 3, 1.0),
    (19200, "eastron/sdm630", 4, 1.0),
    (115200, "eastron/sdm630", 6, 0.5),
)


class Line:
    """One line at work."""

    def __init__(self, directory, number, baud, profile, units, interval_s):
        self.what = f"{baud} baud, {units} x {profile} every {interval_s:g} s"
        self.site, self.links = Site(seed=1), Links()
        places = [Place(f"u{unit}", "line", unit, profile) for unit in range(1, units + 1)]
        turnaround_s = load_profile(profile).limits.turnaround_s
        with mock.patch.object(site_module, "RTU_TURNAROUND_S", turnaround_s):
            url = self.site.open_pty(places, directory / f"line{number}", baud).replace("parity=N", "parity=E")
        devices = tuple(
            {"name": p.name, "bus": "line", "unit": p.unit, "profile": profile, "interval_s": interval_s}
            for p in places
        )
        inventory = Inventory(Settings.model_validate({"bus": ({"name": "line", "url": url},), "device": devices}))
        self.predicted = inventory.buses[0].load
        self.poller = Poller(inventory, self.links, Intake(1 << 20), SystemClock(), Breaker())

    @property
    def busy_s(self):
        return self.poller.buses[0].busy_s

    def close(self):
        self.poller.close()
        self.links.close()
        self.site.close()


async def measure(directory, seconds):
    found = []
    with ExitStack() as leaving:
        lines = []
        for number, line in enumerate(LINES):
            lines.append(Line(directory, number, *line))
            leaving.callback(lines[-1].close)
        for line in lines:
            line.poller.start()
        await asyncio.sleep(2.0)
        began = SystemClock.mono()
        before = [line.busy_s for line in lines]
        await asyncio.sleep(seconds)
        elapsed = SystemClock.mono() - began
        for line, busy_s in zip(lines, before, strict=True):
            measured = (line.busy_s - busy_s) / elapsed
            found.append({"line": line.what, "predicted": round(line.predicted, 4), "measured": round(measured, 4)})
    return found


def run(quick):
    with tempfile.TemporaryDirectory() as directory:
        rows = asyncio.run(measure(Path(directory), 10.0 if quick else 60.0))
    print(f"{'line':<48}{'predicted':>11}{'measured':>11}")
    for row in rows:
        print(f"{row['line']:<48}{row['predicted']:>11.1%}{row['measured']:>11.1%}")
    return {"line_load": rows}
