"""The tables of `collector profile`, for a terminal and for the documentation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from collector.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from drivers.meaning import AnyProfile


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table of docs/profiles.md; `rows` are summaries."""
    lines = ["| profile | device | categories | points | golden frames | evidence |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = (
            f"`{row['name']}`",
            _device(row),
            ", ".join(row["categories"]),
            row["points"],
            row["golden"],
            row["evidence"],
        )
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def list_table(rows: Sequence[dict[str, Any]]) -> "Table":
    """One row for each profile; `rows` are summaries, or names with mistakes."""
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
            broken = f"{counted(len(row['mistakes']), 'mistake')}; see: collector profile show {row['name']}"
            table.add_row(escape(row["name"]), f"[red]{escape(broken)}", "", "")
        else:
            mark = f"[yellow]{row['evidence']}" if row["evidence"] == "doubtful" else row["evidence"]
            table.add_row(escape(row["name"]), escape(_beside_name(row)), str(row["points"]), mark)
    return table


def _device(row: dict[str, Any]) -> str:
    return row["model"] if row["vendor"] == "generic" else f"{row['vendor']} {row['model']}"


def _beside_name(row: dict[str, Any]) -> str:
    """The device without a vendor that the name of the profile already tells: 80 columns are few."""
    folder = row["name"].partition("/")[0].replace("_", "")
    told = row["vendor"].lower().replace(" ", "").startswith(folder)
    return str(row["model"]) if told else _device(row)


def point_table(name: str, profile: "AnyProfile", points: Sequence[dict[str, Any]]) -> "Table":
    """One row for each point; `points` are their facts."""
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


def print_table(table: "Table") -> None:
    """As wide as the terminal; whole in a pipe."""
    from collector.cli.terminal import console

    console().print(table)
