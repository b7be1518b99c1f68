"""`collector probe --protocol megatec`: which questions of the UPS family are answered, and which profile fits."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT, OK, USAGE

if TYPE_CHECKING:
    from drivers.megatec.discover import Discovery
    from drivers.wires.base import Trace


def ask_everything(url: str, timeout_s: float, trace: "Trace | None", frames: list[str], *, as_json: bool) -> int:
    """Ask the UPS at `url`, print what came of it, and return the exit code. `frames` is what `trace` has kept."""
    from collector.cli.profile import SITE_PROFILES
    from drivers.address import parse_bus
    from drivers.errors import LinkUnavailable, ProfileError
    from drivers.megatec.discover import discover, fitting

    try:
        address = parse_bus(url)
    except ProfileError as error:
        click.echo(str(error), err=True)
        return USAGE
    if address.kind not in ("rtu", "raw+tcp"):
        raise click.UsageError(f"{url}: a UPS is asked at serial:///dev/... or raw+tcp://HOST:PORT")
    settings = {"link": str(address), "protocol": "megatec", "timeout_s": timeout_s}
    if not as_json:
        click.echo(f"Link       {settings['link']}")
        click.echo(f"Asking     every question of the Megatec/Q1 family, timeout {timeout_s:g} s")
    try:
        found = asyncio.run(discover(address, timeout_s=timeout_s, trace=trace))
    except LinkUnavailable as error:
        if as_json:
            click.echo(json.dumps({"settings": settings, "present": False, "error": str(error)}, ensure_ascii=False))
        else:
            click.echo(f"Present    cannot tell: {error}", err=True)
        return CANNOT_OPEN
    facts = _facts(found, fitting(found, [SITE_PROFILES]) if found.answers else [])
    if as_json:
        click.echo(json.dumps({"settings": settings, **facts, "frames": frames}, ensure_ascii=False))
    else:
        _show(facts)
    return OK if found.answers else DEVICE_FAULT


def _facts(found: "Discovery", profiles: list[str]) -> dict[str, Any]:
    silent = [query.value for query in found.errors if query not in found.refused]
    return {
        "present": found.heard,
        "link": str(found.address),
        "crc": found.crc,
        "answers": {query.value: line.decode("ascii", "replace").rstrip("\r") for query, line in found.answers.items()},
        "refused": [query.value for query in found.refused],
        "silent": silent,
        "profiles": profiles,
        "error": found.lost or None,
        "advice": found.advice,
    }


def _show(facts: dict[str, Any]) -> None:
    how = " with Voltronic's checksum" if facts["crc"] else ""
    click.echo(f"Present    {f'yes{how}' if facts['present'] else 'no answer'}")
    for query, line in facts["answers"].items():
        click.echo(f"Answers    {query:<5} {line}")
    for key in ("refused", "silent"):
        if facts["present"] and facts[key]:
            click.echo(f"{key.capitalize():<10} {', '.join(facts[key])}")
    if facts["error"]:
        click.echo(f"Failed     {facts['error']}")
    for line in facts["advice"]:
        click.echo(f"Try        {line}")
    if facts["profiles"]:
        click.echo(f"Fits       {', '.join(facts['profiles'])}")
        click.echo(f'Next       collector probe "{facts["link"]}" --profile {facts["profiles"][0]}')
    elif facts["answers"]:
        click.echo("Fits       no profile: docs/profiles.md tells how to write one")
