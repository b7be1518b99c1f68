"""`collector demo`: a simulated hall, end to end, with a count at the end."""

import json
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT
from collector.clock import SystemClock

#: What a device shows in the table: the first point of each of these units, in this order.
HEADLINE_UNITS = ("kW", "W", "°C", "%RH", "%", "V", "A", "Hz", "kWh")
HEADLINES = 3  # what fits beside the rest in 80 columns
#: A device is looked at for its sums and means, or else for one phase; never for the quality of its power.
ONE_PHASE = re.compile(r"_(a|b|c|n|ab|bc|ca|l[123])$")
POWER_QUALITY = re.compile(r"unbalance|thd|efficiency")
REFRESH_S = 1.0


@click.command(name="demo", short_help="Run a simulated hall end to end on this machine and count what arrived.")
@click.option("--seconds", type=click.FloatRange(5, 86_400), default=30.0, show_default=True, help="How long.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same hall.")
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep configurations, logs and data here."
)
@click.option("--json", "as_json", is_flag=True, help="Print only the final JSON object.")
def command(seconds: float, seed: int, keep: Path | None, as_json: bool) -> None:
    """Poll a simulated hall over real Modbus TCP and RTU, publish through a real broker, write, confirm and count.

    The last line printed is one JSON object; `lost` and `duplicates_stored` must be 0. Exit code 0 when they are.

    Example:  collector demo --seconds 30 --keep demo-data
    """
    from collector.demo import Demo

    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # through `finally`: no part is left behind
    directory = keep or Path(tempfile.mkdtemp(prefix="collector-demo-"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        click.echo(f"collector: --keep {directory}: {error.strerror}", err=True)
        raise SystemExit(CANNOT_OPEN) from None
    demo = Demo(directory.absolute(), seed)
    try:
        if not as_json:
            click.echo("starting a simulated hall, a broker, the bridge and the daemon ...")
        site = demo.start()
        _watch(demo, site, seconds, as_json)
        result = demo.stop()
    finally:
        demo.close()
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    click.echo(json.dumps(result))
    raise SystemExit(DEVICE_FAULT if result["lost"] or result["duplicates_stored"] else 0)


def _watch(demo: Any, site: dict[str, Any], seconds: float, as_json: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    units = headline_points(site)
    console = Console()
    end = SystemClock.mono() + seconds
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not as_json else None
    if live is not None:
        live.start()
    try:
        while (left := end - SystemClock.mono()) > 0:
            time.sleep(min(REFRESH_S, left))
            demo.alive()
            if live is not None:
                live.update(hall_table(site, units, demo.latest()), refresh=True)
    finally:
        if live is not None:
            live.stop()
    if live is None and not as_json:
        console.print(hall_table(site, units, demo.latest()))


def headline_points(site: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """For each device its headline points: (field, unit)."""
    from drivers.profile import load_profile

    found = {}
    for device in site["device"]:
        points = [(p.name, p.unit) for p in load_profile(device["profile"]).point if not POWER_QUALITY.search(p.name)]
        points.sort(key=lambda point: ONE_PHASE.search(point[0]) is not None)
        firsts = (next(((n, u) for n, u in points if u == unit), None) for unit in HEADLINE_UNITS)
        found[device["name"]] = [f for f in firsts if f is not None][:HEADLINES]
    return found


def hall_table(
    site: dict[str, Any], units: dict[str, list[tuple[str, str]]], latest: dict[tuple[str, str], float]
) -> Any:
    """The newest readings of every device, as a rich table."""
    from rich import box
    from rich.table import Table

    bus_of = {bus["name"]: bus["url"] for bus in site["bus"]}
    table = Table(box=box.SIMPLE_HEAD, title="the hall, as the database at the centre knows it", caption=_pue(latest))
    for heading in ("device", "line", "profile"):
        table.add_column(heading, no_wrap=True)
    table.add_column("readings")
    for device in site["device"]:
        name = device["name"]
        shown = [f"{round(latest[name, f], 2):g} {u}" for f, u in units[name] if (name, f) in latest]
        table.add_row(name, bus_of[device["bus"]].partition("://")[0], device["profile"], "  ".join(shown) or "-")
    return table


def _pue(latest: dict[tuple[str, str], float]) -> str:
    mains = latest.get(("meter-mains", "power"))
    it = latest.get(("meter-it", "power"))
    return f"PUE {mains / it:.3f} (power, momentary)" if mains and it else "PUE -"
