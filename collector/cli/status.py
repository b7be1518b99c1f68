"""`collector status`: what the running daemon says of itself and each device."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT

#: A daemon writes its status at least this often; older means that it does not run, or hangs.
STALE_S = 15.0
#: Lines whose load is shown.
BUSIEST = 5


class _BridgeStatus(Exception):
    """The file is sound, but a bridge's: it has a store and no devices."""


@click.command(name="status", short_help="Show what the running daemon says of itself and each device.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/run/collector/status.json"),
    show_default=True,
    help="health.status_file of the daemon.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the status as the daemon wrote it, with its age.")
def command(path: Path, as_json: bool) -> None:
    """Show buses, devices, spool and uplinks of the running daemon.

    Exit code 0 when every device is up, 1 when one is not, the daemon has stopped or the status is stale, 3 when there
    is none.

    Example:  collector status --file demo-data/status.json
    """
    from collector.clock import SystemClock

    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        if "store" in status and "devices" not in status:
            raise _BridgeStatus
        age_s = (SystemClock.now_ns() - status["ts_ns"]) / 1e9
        stale = age_s > STALE_S
        well = not stale and not status.get("stopped") and all(device["state"] == "up" for device in status["devices"])
        report = [] if as_json else list(_report(status, age_s, stale))  # all of it or nothing
    except OSError as error:
        click.echo(f"{path}: {error.strerror}: is the daemon running, with this health.status_file?", err=True)
        raise SystemExit(CANNOT_OPEN) from None
    except _BridgeStatus:
        click.echo(f"{path}: written by a bridge, not by a gateway's daemon: read it as it is, it is JSON", err=True)
        raise SystemExit(CANNOT_OPEN) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        click.echo(f"{path}: not a status file of this version ({type(error).__name__}: {error})", err=True)
        raise SystemExit(CANNOT_OPEN) from None
    if as_json:
        click.echo(json.dumps({"age_s": round(age_s, 3), "stale": stale, **status}, ensure_ascii=False))
    else:
        _show(report)
    raise SystemExit(0 if well else DEVICE_FAULT)


def _show(report: list[Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)  # the colours are for what is not well
    for part in report:
        console.print(part)


def _report(status: dict[str, Any], age_s: float, stale: bool) -> Iterator[Any]:
    from rich.markup import escape

    where = f"{status['city']}/{status['site']}/{status['gateway']}"
    warning = f"  [red]STALE: {age_s:.0f} s old; the daemon does not run or hangs[/]" if stale else ""
    if status.get("stopped"):
        warning = f"  [red]STOPPED {age_s:.0f} s ago, in good order[/]"
    yield f"[bold]{where}[/] up {status['uptime_s']:.0f} s, version {status['version']}{warning}"
    yield _devices(status["devices"])
    busiest = sorted(status["buses"], key=lambda b: b["load"], reverse=True)[:BUSIEST]
    loads = (f"{b['name']} {b['load']:.1%} ({b['predicted_load']:.1%})" for b in busiest)
    yield escape("busiest lines, measured in the last minute (predicted): " + ", ".join(loads))
    for unit in status.get("slow", ()):
        yield f"[yellow]{escape(_slow(unit))}[/]"
    for device in status["devices"]:
        if device["state"] != "up":
            yield f"{escape(device['name'])} is {_state(device)}: {escape(device['last_error'] or 'not asked yet')}"
    for bus in status["buses"]:
        if bus["error"]:
            yield f"[red]bus {escape(bus['name'])}: {escape(bus['error'])}[/]"
    for uplink in status["uplinks"]:
        yield f"centre {escape(str(uplink['centre']))}: {escape(_uplink(uplink))}"
    spool, pipeline = status["spool"], status["pipeline"]
    dropped = spool["dropped_points"] or "nothing"
    yield f"spool: {spool['rows']} rows, {spool['bytes'] / 1e6:.1f} MB waiting; dropped {dropped}"
    yield (
        f"readings {pipeline['readings']}, without value {pipeline['bad']}, published {pipeline['kept']}, "
        f"rows committed {pipeline['rows']}, held {pipeline['held_rows']}, last tick {1000 * pipeline['tick_s']:.1f} ms"
    )


def _slow(unit: dict[str, Any]) -> str:
    told = f"{unit['device']} takes {unit['rtt_ms']:g} ms per read where {unit['predicted_ms']:g} ms were predicted"
    if unit["turnaround_ms"] is None:
        return f"{told}: if a serial line is behind its address, write ?baud= there"
    return f"{told}: its turnaround_s seems to be {unit['turnaround_ms'] / 1000:g}: write that at the device"


def _uplink(uplink: dict[str, Any]) -> str:
    """State first, then what is not zero; why it was lost only while it is."""
    state = uplink["state"]
    hidden = {"centre", "state", "since_s", "last_error" if state == "connected" else "centre"}
    told = [f"{key} {value}" for key, value in uplink.items() if key not in hidden and value not in ("", None, 0)]
    return f"{state} for {uplink.get('since_s', 0):.0f} s; {', '.join(told)}"


def _devices(devices: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)  # all of it on a terminal of 80 columns
    for heading in ("device", "bus", "unit", "state"):
        table.add_column(heading, overflow="fold")
    for heading in ("age s", "rtt ms", "asked", "silent", "exc.", "bad", "skip"):
        table.add_column(heading, justify="right", overflow="fold")
    for d in devices:
        age = "never" if d["age_s"] is None else f"{d['age_s']:.1f}"
        counts = [str(d[key]) for key in ("asked", "timeouts", "exceptions", "bad_frames", "skipped")]
        table.add_row(d["name"], d["bus"], str(d["unit"]), _state(d), age, f"{d['rtt_ms']:.1f}", *counts)
    return table


def _state(device: dict[str, Any]) -> str:
    colour = {"up": "green", "suspect": "yellow", "unknown": "yellow"}.get(device["state"], "red")
    return f"[{colour}]{device['state']}[/]"
