"""`collector profile`: what devices are known, what is in a profile, is a new one right?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.cli import profile_import

if TYPE_CHECKING:
    from rich.table import Table

    from drivers.errors import ProfileError
    from drivers.meaning import AnyProfile, Meaning

SITE_PROFILES = Path("/etc/collector/profiles")
#: The line that the estimate of `show` and `check` is made for: the usual one, and a slow one.
USUAL_BAUD, USUAL_RTT_S = 9600, 0.005
#: Columns when nobody's terminal sets a limit: no table of ours is wider.
PIPE_WIDTH = 160

_search = click.option(
    "--profiles",
    "search",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    default=[SITE_PROFILES],
    show_default=True,
    help="Directory of the site's own profiles, searched first; may be repeated.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(name="profile", short_help="List, show, check and import device profiles.")
def command() -> None:
    """List, show, check and import device profiles: what a model of device says at which register.

    \b
    Example:  collector profile show eastron/sdm630
    """


command.add_command(profile_import.command)


@command.command(name="list")
@_search
@_as_json
@click.option("--markdown", is_flag=True, help="Print the table of docs/profiles.md.")
def list_(search: tuple[Path, ...], as_json: bool, markdown: bool) -> None:
    """List all profiles, ours and the site's.

    \b
    Example:  collector profile list --json
    """
    from drivers.errors import ProfileError
    from drivers.profile import load_profile, profile_names

    rows: list[dict[str, Any]] = []
    for name in profile_names(search):
        try:
            rows.append(_summary(name, load_profile(name, search)))
        except ProfileError as error:
            rows.append({"name": name, "mistakes": _mistakes(error)})
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
    elif markdown:
        click.echo(_markdown([row for row in rows if "mistakes" not in row]))
    else:
        _print(_list_table(rows))


@command.command()
@click.argument("name")
@_search
@_as_json
def show(name: str, search: tuple[Path, ...], as_json: bool) -> None:
    """Show every point of the profile NAME (vendor/model, or a file that ends in .toml).

    addr is the vendor's number, wire the function code and the 0-based address as sent; of a text protocol command and
    place tell what is asked and where in the answer the point stands.

    \b
    Example:  collector profile show schneider/pm5xxx
    """
    from drivers.errors import ProfileError
    from drivers.profile import load_profile

    try:
        profile = load_profile(name, search)
    except ProfileError as error:
        if as_json:
            click.echo(json.dumps({"name": name, "mistakes": _mistakes(error)}, ensure_ascii=False))
        else:
            click.echo(str(error), err=True)
        raise SystemExit(2) from None
    points = [_point(profile, point) for point in profile.published]
    if as_json:
        summary = {**_summary(name, profile), "caveats": list(profile.device.caveats), "reads": _reads(profile)}
        click.echo(json.dumps({**summary, "point": points}, ensure_ascii=False))
        return
    _print(_point_table(name, profile, points))
    for point in points:
        if point["symbols"]:
            click.echo(f"{point['name']}: " + ", ".join(f"{value} {text}" for value, text in point["symbols"].items()))
        if "derive" in point:
            click.echo(f"{point['name']} = {point['derive']}")
    for caveat in profile.device.caveats:
        click.echo(f"! {caveat}")
    click.echo(f"{_evidence(profile)}\n{_load(profile)}")


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_as_json
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Check profile FILES: form, map and golden frames. Lists every mistake; exit code 2 when there is one.

    \b
    Example:  collector profile check /etc/collector/profiles/acme/m7.toml
    """
    from drivers.errors import ProfileError
    from drivers.profile import parse_profile, read_profile

    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            profile = parse_profile(read_profile(file), str(file))
            rows.append({"file": str(file), **_summary("", profile), "reads": _reads(profile)})
            said = f"{file}: good: {len(profile.published)} points, {_evidence(profile)}\n  {_load(profile)}"
        except ProfileError as error:
            rows.append({"file": str(file), "mistakes": _mistakes(error)})
            said = str(error)
        if not as_json:
            click.echo(said, err="mistakes" in rows[-1])
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
    if any("mistakes" in row for row in rows):
        raise SystemExit(2)


def _summary(name: str, profile: "AnyProfile") -> dict[str, Any]:
    return {
        "name": name,
        "vendor": profile.device.vendor,
        "model": profile.device.model,
        "categories": sorted({profile.category(point) for point in profile.published}),
        "points": len(profile.published),
        "golden": len(profile.golden),
        "evidence": profile.device.evidence,
        "source": profile.device.source,
    }


def _mistakes(error: "ProfileError") -> list[dict[str, str]]:
    return [{"key": key, "reason": reason, "hint": hint} for key, reason, hint in error.findings]


def _point(profile: "AnyProfile", point: "Meaning") -> dict[str, Any]:
    scaling = point.scaling
    return {
        "name": point.name,
        "publish_as": point.publish_as or point.name,
        "category": profile.category(point),
        "tags": point.tags,
        **_place(profile, point),
        "mul": scaling.mul,
        "add": scaling.add,
        "div": scaling.div,
        "decimals": scaling.decimals,
        "unit": point.unit,
        "kind": point.kind,
        "symbols": point.symbols,
        "range": point.range,
        "deadband": point.deadband,
        "every": point.every,
        "note": point.note,
    }


def _place(profile: "AnyProfile", point: "Meaning") -> dict[str, Any]:
    """Where a point stands on the wire, and how it looks there."""
    from drivers.meaning import Derived
    from drivers.point import Point
    from drivers.profile import Profile
    from drivers.text.profile import TextPoint

    if isinstance(point, Derived):
        return {"type": point.wire_type, "derive": point.derive}
    if isinstance(point, TextPoint):
        return {
            "command": point.command,
            "place": point.place,
            "type": point.wire_type,
            "invalid": list(point.invalid),
        }
    assert isinstance(profile, Profile)
    assert isinstance(point, Point)
    return {
        "function": point.function,
        "address": point.address,
        "wire_address": profile.wire_address(point),
        "length": point.length,
        "type": point.type,
        "order": profile.order(point),
        "bit": point.bit,
        "bits": point.bits,
        "scale_register": profile.scale_address(point),
        "encoding": point.encoding,
        "invalid": list(point.invalid),
    }


def _reads(profile: "AnyProfile") -> dict[str, Any]:
    """Reads and line time of one full cycle, in which even the slowest points are due."""
    from drivers.address import parse_bus, speaking
    from drivers.plan import link_cost, plan_any, rtu_cost, tcp_cost

    turnaround_s = profile.limits.turnaround_s
    lines = {"tcp": tcp_cost(USUAL_RTT_S), "rtu": rtu_cost(USUAL_BAUD, turnaround_s=turnaround_s)}
    if profile.protocol != "modbus":
        address = speaking(parse_bus(f"serial:///dev/ttyUSB0?baud={USUAL_BAUD}"), [profile])
        lines = {"serial": link_cost(address, turnaround_s)}
    found = {}
    for line, cost in lines.items():
        blocks = plan_any(profile, 1.0, cost)
        seconds = sum(cost.of(b.question(1)) / b.every for b in blocks)
        found[line] = {"blocks": len(blocks), "mean_s_per_interval": round(seconds, 4)}
    return found


def _load(profile: "AnyProfile") -> str:
    where = {"tcp": "over TCP", "rtu": f"at {USUAL_BAUD} baud", "serial": f"at {USUAL_BAUD} baud"}
    parts = [
        f"{read['blocks']} {where[line]} ({read['mean_s_per_interval'] * 1000:.0f} ms per interval)"
        for line, read in _reads(profile).items()
    ]
    return "reads: " + ", ".join(parts)


def _evidence(profile: "AnyProfile") -> str:
    return f"{len(profile.golden)} golden frames; evidence: {profile.device.evidence} ({profile.device.source})"


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| profile | device | categories | points | golden frames | evidence |", "|---|---|---|---|---|---|"]
    for row in rows:
        device = row["model"] if row["vendor"] == "generic" else f"{row['vendor']} {row['model']}"
        cells = (
            f"`{row['name']}`",
            device,
            ", ".join(row["categories"]),
            row["points"],
            row["golden"],
            row["evidence"],
        )
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _list_table(rows: Sequence[dict[str, Any]]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("profile", no_wrap=True)
    table.add_column("device")
    table.add_column("points", justify="right")
    table.add_column("evidence", no_wrap=True)
    for row in rows:
        if "mistakes" in row:
            broken = f"{len(row['mistakes'])} mistakes; see: collector profile show {row['name']}"
            table.add_row(escape(row["name"]), f"[red]{escape(broken)}", "", "")
        else:
            device = escape(f"{row['vendor']} {row['model']}")
            table.add_row(escape(row["name"]), device, str(row["points"]), row["evidence"])
    return table


def _point_table(name: str, profile: "AnyProfile", points: Sequence[dict[str, Any]]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    title = escape(f"{name}: {profile.device.vendor} {profile.device.model}")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    modbus = profile.protocol == "modbus"
    where = ("addr", "wire") if modbus else ("command", "place")
    for heading in ("point", *where, "type", "value", "range", "every"):
        right = heading in ("addr", "wire", "every")
        fold = heading in ("point", "range")  # the columns that may grow long give way on a narrow terminal
        table.add_column(heading, no_wrap=not fold, overflow="fold", justify="right" if right else "left")
    for point in points:
        every = point["every"] if point["every"] > 1 else ""
        cells = [point["name"], *_where(point), _formula(point), _range(point["range"]), every]
        table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def _where(point: dict[str, Any]) -> list[str]:
    """The three cells that tell where a point stands and how it looks there."""
    if "derive" in point:
        return ["", "", point["type"]]
    if "command" in point:
        return [point["command"], point["place"], point["type"]]
    kind = point["type"] + (f".{point['bit']}" if point["bit"] is not None else "")
    kind += "[{}:{}]".format(*point["bits"]) if point["bits"] else ""
    kind += f" {point['order']}" if point["order"] != "ABCD" else ""
    return [point["address"], f"{point['function']}:{point['wire_address']}", kind]


def _formula(point: dict[str, Any]) -> str:
    """What stands in the registers, as the published value."""
    if point["kind"] == "state" or point["type"] in ("bool", "string"):
        return ""
    raw = "formula" if "derive" in point else "raw"
    text = raw if point["mul"] == 1 else f"{raw}×{point['mul']:g}"
    text += "×10^sf" if point.get("scale_register") is not None else ""
    text += f"{point['add']:+g}" if point["add"] else ""
    if point["div"] != 1:
        text = f"({text})/{point['div']:g}" if point["add"] else f"{text}/{point['div']:g}"
    return f"{text} {point['unit']}"


def _range(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ""
    low, high = (f"{end:.10g}" for end in ends)
    return f"±{high}" if low == f"-{high}" else f"{low}…{high}"


def _print(table: "Table") -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)
