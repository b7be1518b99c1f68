"""`collector probe --protocol ...`: which questions of a protocol are answered, and which profile fits."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT, OK, USAGE

if TYPE_CHECKING:
    from drivers.address import BusAddress
    from drivers.text.discovery import Discovery
    from drivers.wires.base import Trace


def ask_everything(
    url: str, protocol: str, unit: int, timeout_s: float, trace: "Trace | None", frames: list[str], *, as_json: bool
) -> int:
    """Ask the device at `url`, print what came of it, and return the exit code. `frames` is what `trace` has kept."""
    from drivers.address import parse_bus
    from drivers.errors import LinkUnavailable, ProfileError

    try:
        address = parse_bus(url)
    except ProfileError as error:
        click.echo(str(error), err=True)
        return USAGE
    whom = "a UPS" if protocol == "megatec" else "a device"
    if address.kind not in ("rtu", "raw+tcp"):
        raise click.UsageError(f"{url}: {whom} is asked at serial:///dev/... or raw+tcp://HOST:PORT")
    settings: dict[str, Any] = {"link": str(address), "protocol": protocol, "timeout_s": timeout_s}
    if protocol != "megatec":  # a UPS has no address
        settings["unit"] = unit
    if not as_json:
        click.echo(f"Link       {settings['link']}")
        click.echo(f"Asking     {_ASKING[protocol].format(unit=unit)}, timeout {timeout_s:g} s")
    try:
        facts = asyncio.run((_ask_ups if protocol == "megatec" else _ask_ydt)(address, unit, timeout_s, trace))
    except LinkUnavailable as error:
        if as_json:
            click.echo(json.dumps({"settings": settings, "present": False, "error": str(error)}, ensure_ascii=False))
        else:
            click.echo(f"Present    cannot tell: {error}", err=True)
        return CANNOT_OPEN
    if as_json:
        click.echo(json.dumps({"settings": settings, **facts, "frames": frames}, ensure_ascii=False))
    else:
        _show(facts, unit if protocol != "megatec" else None)
    return OK if facts["answers"] else DEVICE_FAULT


_ASKING = {
    "megatec": "every question of the Megatec/Q1 family",
    "ydt1363": "every kind of device of YD/T 1363.3 under address {unit}",
}


async def _ask_ups(address: "BusAddress", unit: int, timeout_s: float, trace: "Trace | None") -> dict[str, Any]:
    from collector.cli.profile import SITE_PROFILES
    from drivers.megatec.discover import discover

    found = await discover(address, timeout_s=timeout_s, search=[SITE_PROFILES], trace=trace)
    return {
        "present": found.heard,
        "link": str(found.address),
        "crc": found.crc,
        "answers": {query.value: line.decode("ascii", "replace").rstrip("\r") for query, line in found.answers.items()},
        "refused": [query.value for query in found.refused],
        "silent": [query.value for query in found.errors if query not in found.refused],
        **_fate(found),
    }


async def _ask_ydt(address: "BusAddress", unit: int, timeout_s: float, trace: "Trace | None") -> dict[str, Any]:
    from collector.cli.profile import SITE_PROFILES
    from drivers.ydt1363.discover import discover, maker

    found = await discover(address, unit, timeout_s=timeout_s, search=[SITE_PROFILES], trace=trace)
    return {
        "present": found.heard,
        "link": str(found.address),
        "cid1": None if found.cid1 is None else f"{found.cid1:02X}",
        "kind": found.kind,
        "version": f"{found.version:02X}" if found.heard else None,
        "identity": maker(found),
        "answers": {f"{cid2:02X}": frame.info.decode("ascii") for cid2, frame in found.answers.items()},
        "refused": {f"{cid2:02X}": said for cid2, said in found.refused.items()},
        "silent": [f"{cid2:02X}" for cid2 in found.silent],
        **_fate(found),
    }


def _fate(found: "Discovery") -> dict[str, Any]:
    return {"profiles": found.profiles, "error": found.lost or None, "advice": found.advice}


def _show(facts: dict[str, Any], unit: int | None) -> None:
    how = " with Voltronic's checksum" if facts.get("crc") else ""
    if facts.get("cid1"):
        how = f": {facts['kind']} (CID1 {facts['cid1']}H), version {facts['version']}H"
    click.echo(f"Present    {f'yes{how}' if facts['present'] else 'no answer'}")
    if facts.get("identity"):
        click.echo(f"Identity   {facts['identity']}")
    for query, line in facts["answers"].items():
        click.echo(f"Answers    {query:<5} {line}".rstrip())
    for key in ("refused", "silent"):
        if facts["present"] and facts[key]:
            click.echo(f"{key.capitalize():<10} {_listed(facts[key])}")
    if facts["error"]:
        click.echo(f"Failed     {facts['error']}")
    for line in facts["advice"]:
        click.echo(f"Try        {line}")
    if facts["profiles"]:
        click.echo(f"Fits       {', '.join(facts['profiles'])}")
        whom = "" if unit is None else f" --unit {unit}"
        click.echo(f'Next       collector probe "{facts["link"]}"{whom} --profile {facts["profiles"][0]}')
    elif facts["answers"]:
        click.echo("Fits       no profile: docs/profiles.md tells how to write one")


def _listed(said: list[str] | dict[str, str]) -> str:
    """Questions one behind the other, those with the same reason together."""
    if isinstance(said, list):
        return ", ".join(said)
    reasons = dict.fromkeys(said.values())
    return ", ".join(f"{', '.join(q for q in said if said[q] == why)} ({why})" for why in reasons)
