"""Pages of docs/ that are written from the code itself: every command's help, every configuration key."""

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

import click
from pydantic import BaseModel

from collector import cli
from collector.bridge.settings import Settings as BridgeSettings
from collector.config_file import Broker, Secret, Tls
from collector.settings import Settings

#: Columns of help texts: what a page shows without a scroll bar.
WIDTH = 100
NOTE = "<!-- Written by scripts/generate. Do not edit: change the code beside which the text stands. -->\n\n"

#: Models that several tables use; each has one section, and the tables point to it.
SHARED = {Broker: "broker", Tls: "tls", Secret: "secret"}
#: A key of a model with the `#:` comment behind it or on the lines above it.
_MEANING = re.compile(r"^(?P<above>(?:    #: .+\n)+)?    (?P<key>\w+): [^\n]*?(?:  #: (?P<behind>.+))?$", re.MULTILINE)


# --- docs/cli.md


def cli_page() -> str:
    """Every command's `--help`."""
    codes = inspect.cleandoc(cli.__doc__ or "").split("\n\n", 1)[1]
    text = NOTE + f"# Commands\n\n{codes}\n"
    for name, command in commands(cli.group, "collector"):
        title = "The command line" if command is cli.group else f"`{name}`"
        text += f"\n## {title}\n\n```\n{help_of(command, name)}\n```\n"
    return text


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """`command` and all below it, each with its full name."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name, help_option_names=["-h", "--help"])
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from commands(found, f"{name} {child}")


def help_of(command: click.Command, name: str) -> str:
    context = click.Context(
        command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=["-h", "--help"]
    )
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


# --- docs/configuration.md


def configuration_page() -> str:
    """Every key of both files, and what it means."""
    return (
        NOTE + "# Configuration\n\n"
        "Two files, both TOML: `collector.toml` on a gateway, `bridge.toml` at a centre. Unknown keys are errors, and\n"
        "all mistakes are listed at once: `collector check FILE`, `collector bridge --check --config FILE`.\n"
        "The commented defaults are in `config/`, for editors there are JSON Schemas in `config/schema/`.\n"
        "A key without default that is not \"required\" may be left out.\n"
        "\n## collector.toml\n" + "".join(_sections(Settings, ""))
        + "\n## bridge.toml\n" + "".join(_sections(BridgeSettings, ""))
        + "\n## In both files\n" + "".join(_shared())
    )  # fmt: skip


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """The table of `model` itself, then of every table inside it."""
    schema = model.model_json_schema()
    rows = [
        row
        for key, field in model.model_fields.items()
        if (row := _row(model, key, field, schema)) and not _own_section(field.annotation)
    ]
    if rows:
        yield f"\n### {_heading(path)}\n\n{_about(model, path)}" + _table(rows)
    for key, field in model.model_fields.items():
        inner = _own_section(field.annotation)
        if inner is not None:
            many = "tuple" in str(field.annotation)
            below = f"{path}.{key}".lstrip(".")
            yield from _sections(inner, f"[{below}]" if many else below)


def _shared() -> Iterator[str]:
    for model, name in SHARED.items():
        schema = model.model_json_schema()
        rows = [_row(model, key, field, schema) for key, field in model.model_fields.items()]
        yield f"\n### {name}\n\n{_about(model, name)}" + _table(rows)


def _heading(path: str) -> str:
    return f"`[{path}]`" if path else "at the top"


def _about(model: type[BaseModel], path: str) -> str:
    text = inspect.cleandoc(model.__doc__ or "")
    return f"{text}\n\n" if path else ""


def _table(rows: list[str]) -> str:
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _own_section(annotation: Any) -> type[BaseModel] | None:
    """The model of a table that gets a section below its parent's."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if annotation in SHARED else annotation
    found = (_own_section(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _row(model: type[BaseModel], key: str, field: Any, schema: dict[str, Any]) -> str:
    described = schema["properties"][key]
    default = "required" if field.is_required() else _literal(described.get("default"))
    meaning = meanings(model).get(key, "").replace("None:", "left out:")
    cells = (f"`{key}`", _kind(described, schema), default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """For each key its `#:` comment in the source."""
    found = _MEANING.finditer(inspect.getsource(model))
    return {match["key"]: text for match in found if (text := match["behind"] or _joined(match["above"]))}


def _joined(comment: str | None) -> str:
    return " ".join(line.removeprefix("    #: ") for line in (comment or "").splitlines())


def _literal(value: Any) -> str:
    """`value` as it is written in TOML."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, list):
        return "`[" + ", ".join(_literal(item).strip("`") for item in value) + "]`"
    return "" if isinstance(value, dict) else f"`{value}`"


def _kind(described: dict[str, Any], schema: dict[str, Any]) -> str:
    """What may be written, in words."""
    if "anyOf" in described:
        kinds = (_kind(one, schema) for one in described["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if "$ref" in described:
        name = described["$ref"].rpartition("/")[2].lower()
        return f"[{name}](#{name})"
    if "enum" in described or "const" in described:
        return " or ".join(f'`"{value}"`' for value in described.get("enum", [described.get("const")]))
    kind = described.get("type")
    if kind == "array":
        most = f", at most {described['maxItems']}" if "maxItems" in described else ""
        return f"list of {_kind(described['items'], schema).replace('number', 'numbers')}{most}"
    if kind == "object":
        return "table of text"
    if kind == "string":
        return "name" if "pattern" in described else "text"
    if kind == "boolean":
        return "`true` or `false`"
    return ("whole number" if kind == "integer" else "number") + _limits(described)


def _limits(described: dict[str, Any]) -> str:
    low, high = described.get("minimum"), described.get("maximum")
    above = described.get("exclusiveMinimum")
    if above is not None:
        return f", above {above:g} up to {_plain(high)}"
    return f", {_plain(low)} to {_plain(high)}"


def _plain(number: float) -> str:
    return f"{number:,}".replace(",", " ") if isinstance(number, int) else f"{number:g}"
