"""`collector probe --listen SECONDS`: what a device sends by itself, in hex and as text."""

import asyncio
import json

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT, OK, USAGE
from collector.wording import counted

#: Lumps kept for --json.
_MAX_LUMPS = 1000
_BYTES_PER_LINE = 16


def listen(url: str, seconds: float, *, as_json: bool) -> int:
    """Show whatever comes at `url`, and return the exit code: 1 when nothing does."""
    from drivers.address import parse_bus
    from drivers.errors import LinkLost, LinkUnavailable, ProfileError
    from drivers.hear import hear

    lumps: list[tuple[float, bytes]] = []

    def heard(at_s: float, data: bytes) -> None:
        if len(lumps) < _MAX_LUMPS:
            lumps.append((at_s, data))
        if not as_json:
            _show(at_s, data)

    error = ""
    try:
        address = parse_bus(url)
        if not as_json:
            click.echo(f"Link       {address}   listening for {seconds:g} s; nothing is sent")
        asyncio.run(hear(address, seconds, heard))
    except (ProfileError, ValueError) as mistake:
        hint = "" if isinstance(mistake, ProfileError) else ": write serial:///dev/... or raw+tcp://HOST:PORT"
        click.echo(f"{mistake}{hint}", err=True)
        return USAGE
    except LinkUnavailable as closed:
        click.echo(
            json.dumps({"link": str(address), "error": str(closed)}) if as_json else str(closed), err=not as_json
        )
        return CANNOT_OPEN
    except LinkLost as lost:
        error = str(lost)
    if as_json:
        rows = [{"at_s": round(at_s, 3), "hex": data.hex(" ").upper(), "text": _text(data)} for at_s, data in lumps]
        click.echo(json.dumps({"link": str(address), "heard": rows, "error": error or None}, ensure_ascii=False))
    else:
        _conclude(lumps, address.line, error)
    return OK if lumps else DEVICE_FAULT


def _text(data: bytes) -> str:
    """As ASCII where it is, else as the encoding of Chinese panels; what cannot be shown as escapes."""
    from drivers.ascii.octets import show

    return show(data, "ascii" if data.isascii() else "gb18030")


def _show(at_s: float, data: bytes) -> None:
    click.echo(f"{at_s:9.3f}  {_text(data)}")
    for k in range(0, len(data), _BYTES_PER_LINE):
        click.echo(f"{'':11}{data[k : k + _BYTES_PER_LINE].hex(' ').upper()}")


def _conclude(lumps: list[tuple[float, bytes]], line: str, error: str) -> None:
    if error:
        click.echo(f"Failed     {error}")
    if not lumps:
        click.echo("Heard      nothing")
        click.echo(
            "Try        longer: a printer speaks only when something happens; a sensor must be set to send by itself"
        )
        click.echo(f"Try        is the cable right (receive on transmit), and {line} the device's speed?")
        return
    everything = b"".join(data for _, data in lumps)
    click.echo(f"Heard      {counted(len(everything), 'byte')} in {counted(len(lumps), 'lump')}")
    odd = sum(byte < 9 or 13 < byte < 27 or byte == 127 for byte in everything)
    if 10 * odd > len(everything):
        click.echo(f"Try        another speed or parity than {line}, if this is meant to be text: it is not")
