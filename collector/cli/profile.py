"""`collector profile`: what devices are known, what is in a profile, is a new one right?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.cli import profile_facts as facts
from collector.cli import profile_import
from collector.cli import profile_tables as tables
from collector.wording import counted

if TYPE_CHECKING:
    from drivers.mutants import Tally

SITE_PROFILES = Path("/etc/collector/profiles")
#: Mutants that `check` names; --json has all.
SHOWN_SURVIVORS = 10

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
@click.argument("words", nargs=-1)
@_search
@click.option("--category", help="Only profiles with points of this category: power, energy, ups, cooling ...")
@_as_json
@click.option("--markdown", is_flag=True, help="Print the table of docs/profiles.md.")
def list_(
    words: tuple[str, ...], search: tuple[Path, ...], category: str | None, as_json: bool, markdown: bool
) -> None:
    """List profiles, ours and the site's: all, or those whose name, vendor, model or protocol has all WORDS in it.

    \b
    Example:  collector profile list schneider --category energy
    """
    from drivers.errors import ProfileError
    from drivers.profile import load_profile, profile_names

    rows: list[dict[str, Any]] = []
    for name in profile_names(search):
        try:
            rows.append(facts.summary(name, load_profile(name, search)))
        except ProfileError as error:
            rows.append({"name": name, "mistakes": facts.mistakes(error)})
    rows = [row for row in rows if _wanted(row, words, category)]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
    elif markdown:
        click.echo(tables.markdown([row for row in rows if "mistakes" not in row]))
    elif rows:
        tables.print_table(tables.list_table(rows))
    else:
        click.echo("no profile has that; see: collector profile list", err=True)
    if not rows:
        raise SystemExit(1)


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
            click.echo(json.dumps({"name": name, "mistakes": facts.mistakes(error)}, ensure_ascii=False))
        else:
            click.echo(str(error), err=True)
        raise SystemExit(2) from None
    points = [facts.point(profile, point) for point in profile.published]
    if as_json:
        about = {"caveats": list(profile.device.caveats), "reads": facts.reads(profile), "point": points}
        click.echo(json.dumps({**facts.summary(name, profile), **about}, ensure_ascii=False))
        return
    tables.print_table(tables.point_table(name, profile, points))
    for point in points:
        if point["symbols"]:
            click.echo(f"{point['name']}: " + ", ".join(f"{value} {text}" for value, text in point["symbols"].items()))
        if "derive" in point:
            click.echo(f"{point['name']} = {point['derive']}")
    for line in facts.questions(profile):
        click.echo(line)
    for caveat in profile.device.caveats:
        click.echo(f"! {caveat}")
    click.echo(f"{facts.evidence(profile)}\n{facts.load(profile)}")


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--mutants", is_flag=True, help="Change each fact of the map once; tell which mistakes nobody notices.")
@_as_json
def check(files: tuple[Path, ...], mutants: bool, as_json: bool) -> None:
    """Check profile FILES: form, map and golden frames. Lists every mistake; exit code 2 when there is one.

    \b
    Example:  collector profile check --mutants /etc/collector/profiles/acme/m7.toml
    """
    from drivers.errors import ProfileError
    from drivers.mutants import judge
    from drivers.profile import parse_profile, read_profile

    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            profile = parse_profile(read_profile(file), str(file))
            rows.append({"file": str(file), **facts.summary("", profile), "reads": facts.reads(profile)})
            size = counted(len(profile.published), "point")
            said = f"{file}: good: {size}, {facts.evidence(profile)}\n  {facts.load(profile)}"
            if mutants:
                tally = judge(profile)
                rows[-1]["mutants"] = facts.mutants(tally)
                said += f"\n  {_noticed(tally)}"
        except ProfileError as error:
            rows.append({"file": str(file), "mistakes": facts.mistakes(error)})
            said = str(error)
        if not as_json:
            click.echo(said, err="mistakes" in rows[-1])
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
    if any("mistakes" in row for row in rows):
        raise SystemExit(2)


def _wanted(row: dict[str, Any], words: tuple[str, ...], category: str | None) -> bool:
    """Whether the row of a profile is asked for; one with mistakes has a name only."""
    text = " ".join(row.get(key, "") for key in ("name", "vendor", "model", "protocol")).lower()
    return all(word.lower() in text for word in words) and category in (None, *row.get("categories", ()))


def _noticed(tally: "Tally") -> str:
    by = ", ".join(f"{count} by the {who}" for who, count in tally.noticed.most_common())
    lines = [f"mutants: {100 * tally.share:.1f} % of {tally.total} mistakes would be noticed: {by}"]
    lines += [f"  not: {mutant.key}: {mutant.change}" for mutant in tally.survivors[:SHOWN_SURVIVORS]]
    more = len(tally.survivors) - SHOWN_SURVIVORS
    return "\n  ".join([*lines, f"  and {more} more; --json has all"] if more > 0 else lines)
