"""`collector status`: what the running daemon or bridge says of itself, and by the exit code whether all is well."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT
from collector.wording import counted

DAEMON_FILE = Path("/run/collector/status.json")
BRIDGE_FILE = Path("/run/collector-bridge/status.json")
#: A status that is older than this and than so many of its own intervals: the program does not run, or hangs.
STALE_S = 15.0
STALE_INTERVALS = 3.0
#: Lines whose load is shown.
BUSIEST = 5


@click.command(name="status", short_help="Tell whether all is well: devices, lines, uplinks, spool; or a bridge.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"health.status_file of a daemon or a bridge.  [default: {DAEMON_FILE}]",
)
@click.option("--bridge", is_flag=True, help=f"The bridge of this machine: {BRIDGE_FILE}")
@click.option("--json", "as_json", is_flag=True, help="Print the status as it was written, with its age.")
def command(path: Path | None, bridge: bool, as_json: bool) -> None:
    """Show devices, lines, uplinks and spool of the running daemon, or the broker and the database of a bridge.

    Which of the two a file tells of is seen from its content. Exit code 0: all is well. 1: a device is not up, an
    uplink is not connected, the spool's disk is full, a bridge is without its broker or database, or the program has
    stopped or hangs; the text says which. 3: there is no status to be read.

    Example:  collector status --file demo-data/status.json
    """
    from collector.clock import SystemClock

    if path is None:
        path = BRIDGE_FILE if bridge else DAEMON_FILE
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        age_s = (SystemClock.now_ns() - status["ts_ns"]) / 1e9
        stale, well, report = _judged(status, age_s)
    except OSError as error:
        click.echo(f"{path}: {error.strerror}: {_hint(path)}", err=True)
        raise SystemExit(CANNOT_OPEN) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        click.echo(f"{path}: not a status file of this version ({type(error).__name__}: {error})", err=True)
        raise SystemExit(CANNOT_OPEN) from None
    if as_json:
        click.echo(json.dumps({"age_s": round(age_s, 3), "stale": stale, **status}, ensure_ascii=False))
    else:
        _show(report)
    raise SystemExit(0 if well else DEVICE_FAULT)


def _hint(path: Path) -> str:
    if path == DAEMON_FILE and BRIDGE_FILE.exists():
        return "is the daemon running? Here is a bridge: collector status --bridge"
    return "does it run, with this health.status_file?"


def _judged(status: dict[str, Any], age_s: float) -> tuple[bool, bool, list[Any]]:
    """Whether the status is stale, whether all is well, and the whole text. Raises what a strange file makes it."""
    from collector.cli import bridge_status

    of_bridge = "store" in status and "devices" not in status
    stale = age_s > max(STALE_S, STALE_INTERVALS * status.get("interval_s", 0.0))
    running = not stale and not status.get("stopped")
    warning = ""
    if status.get("stopped"):
        warning = f"  [red]STOPPED {age_s:.0f} s ago, in good order[/]"
    elif stale:
        warning = f"  [red]STALE: {age_s:.0f} s old; the {'bridge' if of_bridge else 'daemon'} does not run or hangs[/]"
    if of_bridge:
        return stale, running and bridge_status.is_well(status), list(bridge_status.report(status, warning))
    return stale, running and _is_well(status), list(_report(status, warning))


def _is_well(status: dict[str, Any]) -> bool:
    return (
        all(device["state"] == "up" for device in status["devices"])
        and all(uplink["state"] == "connected" for uplink in status["uplinks"])
        and not status["spool"].get("disk_full")
    )


def _show(report: list[Any]) -> None:
    from collector.cli.terminal import console

    shown = console(highlight=False)  # the colours are for what is not well
    for part in report:
        shown.print(part)


def _report(status: dict[str, Any], warning: str) -> Iterator[Any]:
    from rich.markup import escape

    where = f"{status['city']}/{status['site']}/{status['gateway']}"
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
    spool, pipeline = status["spool"], status["pipeline"]
    for uplink in status["uplinks"]:
        centre = escape(str(uplink["centre"]))
        if uplink["state"] == "connected":
            yield f"centre {centre}: {escape(_connected(uplink))}"
        else:
            waiting = spool.get("pending", {}).get(uplink["centre"], spool["rows"])
            yield f"[red]centre {centre}: {escape(_unconnected(uplink, waiting, status['ts_ns']))}[/]"
    dropped = spool["dropped_points"] or "nothing"
    yield f"spool: {counted(spool['rows'], 'row')}, {spool['bytes'] / 1e6:.1f} MB waiting; dropped {dropped}"
    if spool.get("disk_full"):
        yield "[red]spool: the disk is full: the oldest rows make room for new ones[/]"
    yield (
        f"readings {pipeline['readings']}, without value {pipeline['bad']}, published {pipeline['kept']}, "
        f"rows committed {pipeline['rows']}, held {pipeline['held_rows']}, last tick {1000 * pipeline['tick_s']:.1f} ms"
    )


def _slow(unit: dict[str, Any]) -> str:
    told = f"{unit['device']} takes {unit['rtt_ms']:g} ms per read where {unit['predicted_ms']:g} ms were predicted"
    if unit["turnaround_ms"] is None:
        return f"{told}: if a serial line is behind its address, write ?baud= there"
    return f"{told}: its turnaround_s seems to be {unit['turnaround_ms'] / 1000:g}: write that at the device"


def _connected(uplink: dict[str, Any]) -> str:
    return f"connected for {uplink.get('since_s', 0):.0f} s; {_counters(uplink)}"


def _unconnected(uplink: dict[str, Any], waiting: int, ts_ns: int) -> str:
    """Which state since when, why, and what waits for it."""
    for_s = uplink.get("since_s", 0)
    since = datetime.fromtimestamp(ts_ns / 1e9 - for_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    never = "" if uplink.get("connects") else ", never connected since the start"
    why = uplink["last_error"] or f"{uplink.get('broker', 'the broker')}: no answer yet"
    told = f"{uplink['state']} since {since} ({for_s:.0f} s{never}): {why}; {counted(waiting, 'row')} waiting"
    return f"{told}; {_counters(uplink)}"


def _counters(uplink: dict[str, Any]) -> str:
    """What is not zero."""
    hidden = {"centre", "state", "since_s", "last_error"}
    return ", ".join(
        f"{key} {value}" for key, value in uplink.items() if key not in hidden and value not in ("", None, 0)
    )


def _devices(devices: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)  # all of it on a terminal of 80 columns
    for heading in ("device", "bus", "unit", "state"):
        table.add_column(heading, overflow="fold")
    for heading in ("age s", "rtt ms", "asked", "silent", "exc.", "bad", "skip"):
        table.add_column(heading, justify="right", overflow="fold")
    for d in devices:
        never = d["age_s"] is None
        times = ("never", "-") if never else (f"{d['age_s']:.1f}", f"{d['rtt_ms']:.1f}")
        counts = [str(d[key]) for key in ("asked", "timeouts", "exceptions", "bad_frames", "skipped")]
        table.add_row(d["name"], d["bus"], str(d["unit"]), _state(d), *times, *counts)
    return table


def _state(device: dict[str, Any]) -> str:
    colour = {"up": "green", "suspect": "yellow", "unknown": "yellow"}.get(device["state"], "red")
    return f"[{colour}]{device['state']}[/]"
