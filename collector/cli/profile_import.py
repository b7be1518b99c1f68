"""`collector profile import`: a register list that somebody has already written, as a profile to go on from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.wording import counted

if TYPE_CHECKING:
    from drivers.importers.draft import Draft, Imported

FORMATS = ("telegraf", "modpoll", "sunspec")


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--from", "form", type=click.Choice(FORMATS), required=True, help="What wrote FILE.")
@click.option("--vendor", default="unknown", show_default=True, help="Maker of the device.")
@click.option("--model", default="imported", show_default=True, help="Its model.")
@click.option("--category", default="power", show_default=True, help="Measurement of its points in the database.")
@click.option("--unit", type=click.IntRange(0, 255), help="telegraf: the unit (slave_id), where FILE has several.")
@click.option("--order", type=click.Choice(["ABCD", "CDAB", "BADC", "DCBA"]), help="modpoll: order of long numbers.")
@click.option("--at", type=click.IntRange(0, 65535), help="sunspec: wire address of the model's ID register.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write there; else to stdout.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    file: Path, form: str, vendor: str, model: str, category: str, output: Path | None, force: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Make a profile from FILE: Telegraf's [[inputs.modbus]], a table for modpoll or mbpoll, or a SunSpec model.

    The profile is sound and marked doubtful; what FILE does not say, ranges above all, is in it as a TODO. Every line
    that could not be taken over is listed with the reason, on stderr. Nothing is guessed, least of all a word order.

    \b
    Example:  collector profile import telegraf.conf --from telegraf --unit 3 --vendor Acme --model M7 -o m7.toml
    """
    from drivers.errors import ProfileError
    from drivers.profile import read_profile

    if output is not None and output.exists() and not force:
        raise click.UsageError(f"{output} exists; --force overwrites it")
    try:
        draft = _read(form, read_profile(file), file.name, options)
        imported = draft.finish(vendor, model, category)
    except ProfileError as error:
        if as_json:
            found = [{"key": key, "reason": reason, "hint": hint} for key, reason, hint in error.findings]
            click.echo(json.dumps({"file": str(file), "mistakes": found}, ensure_ascii=False))
        else:
            click.echo(str(error), err=True)
        raise SystemExit(2) from None
    if output is not None:
        try:
            output.write_text(imported.text, encoding="utf-8")
        except OSError as error:
            click.echo(f"cannot write {output}: {error.strerror}", err=True)
            raise SystemExit(2) from None
    _tell(imported, output, as_json)


def _read(form: str, text: str, subject: str, options: dict[str, Any]) -> "Draft":
    """The points of the file; refuses an option that the format has no use for."""
    from drivers.importers import register_list, sunspec, telegraf

    of = {"telegraf": "unit", "modpoll": "order", "sunspec": "at"}
    for key, value in options.items():
        if value is not None and key != of[form]:
            raise click.UsageError(f"--{key} means nothing for {form}")
    if form == "telegraf":
        return telegraf.read(text, subject, options["unit"])
    if form == "modpoll":
        return register_list.read(text, subject, options["order"])
    return sunspec.read(text, subject, options["at"])


def _tell(imported: "Imported", output: Path | None, as_json: bool) -> None:
    if as_json:
        told = {
            "output": None if output is None else str(output),
            "points": [point.name for point in imported.profile.point],
            "left_out": [{"where": where, "reason": reason} for where, reason in imported.left_out],
            "todo": [caveat for caveat in imported.profile.device.caveats if caveat.startswith("TODO")],
        }
        click.echo(json.dumps(told if output else {**told, "profile": imported.text}, ensure_ascii=False))
        return
    if output is None:
        click.echo(imported.text, nl=False)
    for where, reason in imported.left_out:
        click.echo(f"left out: {where}: {reason}", err=True)
    taken, left = counted(len(imported.profile.point), "point"), counted(len(imported.left_out), "line")
    click.echo(f"{taken} taken over, {left} left out", err=True)
    if output is not None:
        click.echo(f"{output}: next, see to its TODOs, then: collector profile check {output}", err=True)
