"""`collector status`: what the running daemon says of itself and each device."""

import json
from pathlib import Path
from typing import Any

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT

#: A daemon writes its status at least this often; older means that it does not run, or hangs.
STALE_S = 15.0


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

    Exit code 0 when every device is up, 1 when one is not or the status is stale, 3 when there is none.

    Example:  collector status --file demo-data/status.json
    """
    from collector.clock import SystemClock

    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        age_s = (SystemClock.now_ns() - status["ts_ns"]) / 1e9
    except OSError as error:
        click.echo(f"{path}: {error.strerror}: is the daemon running, with this health.status_file?", err=True)
        raise SystemExit(CANNOT_OPEN) from None
    except (ValueError, KeyError, TypeError) as error:
        click.echo(f"{path}: not a status file ({error})", err=True)
        raise SystemExit(CANNOT_OPEN) from None
    stale = age_s > STALE_S
    if as_json:
        click.echo(json.dumps({"age_s": round(age_s, 3), "stale": stale, **status}, ensure_ascii=False))
    else:
        _show(status, age_s, stale)
    down = [d for d in status["devices"] if d["state"] != "up"]
    raise SystemExit(DEVICE_FAULT if down or stale else 0)


def _show(status: dict[str, Any], age_s: float, stale: bool) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    where = f"{status['city']}/{status['site']}/{status['gateway']}"
    head = f"[bold]{where}[/] up {status['uptime_s']:.0f} s, version {status['version']}"
    warning = f"  [red]STALE: {age_s:.0f} s old; the daemon does not run or hangs[/]" if stale else ""
    console.print(head + warning)
    console.print(_devices(status["devices"]))
    for bus in status["buses"]:
        if bus["error"]:
            console.print(f"[red]bus {escape(bus['name'])}: {escape(bus['error'])}[/]")
    for uplink in status["uplinks"]:
        told = ", ".join(
            f"{key} {value}" for key, value in uplink.items() if key != "centre" and value not in ("", None)
        )
        console.print(f"centre {escape(str(uplink['centre']))}: {escape(told)}")
    spool, pipeline = status["spool"], status["pipeline"]
    dropped = spool["dropped_points"] or "nothing"
    console.print(f"spool: {spool['rows']} rows, {spool['bytes'] / 1e6:.1f} MB waiting; dropped {dropped}")
    console.print(
        f"readings {pipeline['readings']}, without value {pipeline['bad']}, published {pipeline['kept']}, "
        f"rows committed {pipeline['rows']}, held {pipeline['held_rows']}, last tick {1000 * pipeline['tick_s']:.1f} ms"
    )


def _devices(devices: list[dict[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for heading in ("device", "bus", "unit", "state"):
        table.add_column(heading)
    for heading in ("age s", "rtt ms", "asked", "answered", "timeouts", "exceptions", "bad", "skipped"):
        table.add_column(heading, justify="right")
    table.add_column("last error")
    colours = {"up": "green", "suspect": "yellow", "unknown": "yellow"}
    for d in devices:
        state = f"[{colours.get(d['state'], 'red')}]{d['state']}"
        age = "never" if d["age_s"] is None else f"{d['age_s']:.1f}"
        counts = [str(d[key]) for key in ("asked", "answered", "timeouts", "exceptions", "bad_frames", "skipped")]
        table.add_row(
            d["name"], d["bus"], str(d["unit"]), state, age, f"{d['rtt_ms']:.1f}", *counts, escape(d["last_error"])
        )
    return table
