"""`collector check`: is the configuration right, and can the buses keep it?"""

import json
from pathlib import Path
from typing import Any

import click

from collector.wording import counted

#: Above this share of a line there is little left for retries and probes.
COMFORTABLE_LOAD = 0.7


@click.command(name="check", short_help="Check a configuration and show the plan.")
@click.argument(
    "config", type=click.Path(path_type=Path, dir_okay=False), default=Path("/etc/collector/collector.toml")
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing when all is well.")
def command(config: Path, as_json: bool, quiet: bool) -> None:
    """Check CONFIG and show what would be read: buses, units, reads per cycle and the predicted load of each line.

    Every mistake is listed at once, with its key and what to do. A bus that would need more than all of its line's
    time is refused. Certificates of secure lines that cannot be used are told, and stop nothing: the other lines go on.
    Nothing is opened and no device is asked.

    Example:  collector check config/examples/rtu-bus.toml
    """
    from collector.errors import ConfigError
    from collector.inventory import Inventory, check_load
    from collector.settings import load_settings

    try:
        inventory = Inventory(load_settings(config))
        check_load(inventory, str(config))
    except ConfigError as error:
        if not as_json:
            raise
        findings = [
            {"file": f.file, "key": f.key, "value": f.value, "reason": f.reason, "hint": f.hint} for f in error.findings
        ]
        click.echo(json.dumps({"ok": False, "mistakes": findings}, ensure_ascii=False))
        raise SystemExit(2) from None
    plan = _plan(inventory)
    if as_json:
        click.echo(json.dumps({"ok": True, **plan}, ensure_ascii=False))
    elif not quiet:
        _show(plan, str(config))


def _plan(inventory: Any) -> dict[str, Any]:
    buses = []
    for bus in inventory.buses:
        units = [
            {
                "device": unit.device,
                "unit": unit.unit,
                "profile": unit.profile,
                "points": sum(len(inventory.blocks[b].points) for b in unit.blocks),
                "blocks": [_block(inventory.blocks[b]) for b in unit.blocks],
                "load": round(unit.load, 4),
                "read_ms": round(1000 * unit.read_s, 2),
            }
            for unit in bus.units
        ]
        buses.append(
            {
                "name": bus.name,
                "line": str(bus.address),
                "units": units,
                "reads_per_s": round(bus.reads_per_s, 3),
                "load": round(bus.load, 4),
                "cycle_s": bus.cycle_s,
                "reads_per_cycle": round(bus.reads_per_s * bus.cycle_s, 3),
                "ms_per_cycle": round(1000 * bus.load * bus.cycle_s, 2),
                "round_reads": sum(len(unit.blocks) for unit in bus.units),
                "round_ms": round(1000 * bus.round_s, 2),
            }
        )
    return {
        "warnings": _warnings(inventory),
        "buses": buses,
        "devices": sum(len(b["units"]) for b in buses),
        "points": len(inventory.points),
        "reads_per_s": round(sum(b["reads_per_s"] for b in buses), 3),
    }


def _warnings(inventory: Any) -> list[str]:
    """What will not or may not work as things are, and is no reason to stand still."""
    from drivers.errors import LinkUnavailable
    from drivers.modbus.tls import client_context

    found = []
    for bus in inventory.buses:
        try:
            if bus.address.tls is not None:
                client_context(bus.address.tls)
        except LinkUnavailable as error:
            found.append(f"bus {bus.name}: {error}")
    shares: dict[Any, list[Any]] = {}
    for bus in inventory.buses:
        shares.setdefault(bus.address, []).append(bus)
    for address, buses in shares.items():
        load = sum(bus.load for bus in buses)
        if address.baud and load > 1:
            found.append(
                f"bus {buses[0].name}: all its units on one line would need {load:.0%} of it; are there several?"
            )
    return found


def _block(block: Any) -> dict[str, Any]:
    asked = {"function": block.function, "address": block.address, "count": block.count}
    return {
        **({"command": str(block.command)} if block.command is not None else asked),
        "interval_s": block.interval_s,
        "points": len(block.points) + len(block.derived),
    }


def _show(plan: dict[str, Any], title: str) -> None:
    from rich.markup import escape

    from collector.cli import terminal

    console = terminal.console()
    console.print(f"{escape(title)}: good", highlight=False)
    for warning in plan["warnings"]:
        console.print(f"[yellow]{escape(warning)}[/]", highlight=False, soft_wrap=True)
    for bus in plan["buses"]:
        console.print()
        console.print(f"[bold]{escape(bus['name'])}[/]  {escape(bus['line'])}", highlight=False, soft_wrap=True)
        if bus["units"]:
            console.print(_cycle(bus), highlight=False, soft_wrap=True)
            console.print(_units(bus["units"]))
    sizes = (len(plan["buses"]), "bus", "buses"), (plan["devices"], "device"), (plan["points"], "point")
    totals = ", ".join(counted(*size) for size in sizes)
    console.print(
        f"{totals}, {plan['reads_per_s']:g} reads/s. `collector status` shows the measured load.", highlight=False
    )


def _cycle(bus: dict[str, Any]) -> str:
    """What the shortest interval of a bus holds in the mean, and what it would have to hold at the worst."""
    load, cycle_s = bus["load"], bus["cycle_s"]
    colour = "green" if load <= COMFORTABLE_LOAD else "yellow"
    text = (
        f"predicted load [{colour}]{load:.1%}[/]: {bus['reads_per_cycle']:.3g} reads, {bus['ms_per_cycle']:.1f} ms "
        f"of each {cycle_s:g} s"
    )
    if bus["round_reads"] > bus["reads_per_cycle"]:
        late = " [yellow]longer than that, so some wait[/]" if bus["round_ms"] > 1000 * cycle_s else ""
        text += f"\nwhen everything is due at once: {bus['round_reads']} reads, {bus['round_ms']:.1f} ms{late}"
    return text


def _units(units: list[dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("device", "profile"):
        table.add_column(heading, overflow="fold")
    for heading in ("unit", "points", "reads", "ms/read", "load"):
        table.add_column(heading, justify="right")
    for unit in units:
        counts = (unit["unit"], unit["points"], len(unit["blocks"]), f"{unit['read_ms']:.1f}", f"{unit['load']:.1%}")
        table.add_row(unit["device"], unit["profile"], *map(str, counts))
    return table
