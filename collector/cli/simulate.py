"""`collector simulate`: virtual devices that speak the real protocol, for trying things out, demos and benchmarks."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import click

from collector.cli import CANNOT_OPEN, USAGE
from drivers.errors import ProfileError
from drivers.simulators.control import LineControl, switch
from drivers.simulators.faults import Faulty

Opened = tuple[dict[str, Any], Mapping[str, Faulty], Callable[[], None]]


class _Group(click.Group):
    """Takes `simulate PROFILE ...` for `simulate device PROFILE ...`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            args = ["device", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_Group)
def command() -> None:
    """Serve virtual devices over real Modbus TCP, RTU and the serial text protocols.

    Example:  collector simulate eastron/sdm630 --listen tcp://127.0.0.1:1502

    The first line printed is one JSON object that lists what is served. While it runs, lines on standard input such
    as `ups-1 silent`, `ups-1 ok` or `stats` switch faults and count requests.
    """


seconds_option = click.option("--seconds", type=float, help="Stop after this long instead of at SIGTERM or Ctrl-C.")
fault_option = click.option(
    "--fault", "faults", multiple=True, metavar="DEVICE=FAULT", help="Begin with a fault, e.g. ups-1=silent."
)


seed_option = click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same values.")


@command.command()
@click.argument("profile")
@click.option(
    "--listen",
    metavar="URL",
    help="tcp://HOST:PORT or udp://; rtu+tcp://, ascii+tcp:// or raw+tcp:// for a serial server.",
)
@click.option("--pty", type=click.Path(path_type=Path), help="Path of the link to the simulated serial port.")
@click.option("--ascii", "is_ascii", is_flag=True, help="Modbus ASCII instead of RTU on the simulated serial port.")
@click.option(
    "--baud",
    type=click.IntRange(300, 921600),
    help="Speed of the serial port: it is paced so, and with another one garbled.",
)
@click.option("--unit", type=click.IntRange(0, 254), default=1, show_default=True)
@click.option("--name", help="Name of the device; the profile's own unless given.")
@click.option("--profiles", multiple=True, type=click.Path(path_type=Path), help="More directories with profiles.")
@seed_option
@fault_option
@seconds_option
def device(
    profile: str,
    listen: str | None,
    pty: Path | None,
    is_ascii: bool,
    baud: int | None,
    unit: int,
    name: str | None,
    profiles: tuple[Path, ...],
    seed: int,
    faults: tuple[str, ...],
    seconds: float | None,
) -> None:
    """Serve one device of a profile.

    Example:  collector simulate eastron/sdm630 --listen tcp://127.0.0.1:1502

    Example:  collector simulate eastron/sdm630 --pty /tmp/ttySIM --fault sdm630=late:0.4

    Example:  collector simulate eastron/sdm630 --pty /tmp/ttySIM --ascii
    """
    if (listen is None) == (pty is None):
        raise click.UsageError("give either --listen tcp://127.0.0.1:1502 or --pty /tmp/ttySIM")
    if is_ascii and pty is None:
        raise click.UsageError("--ascii belongs to --pty; for a serial server write --listen ascii+tcp://HOST:PORT")
    from drivers.address import parse_bus
    from drivers.simulators.site import Place, Site

    place = Place(name or profile.rsplit("/", 1)[-1], "bus", unit, profile)

    async def opened() -> Opened:
        site = Site(seed=seed, profiles=profiles)
        if pty is not None:
            site.open_pty([place], pty, baud, is_ascii=is_ascii)
        else:
            address = parse_bus(str(listen))
            if address.is_port:
                raise click.UsageError(f"--listen {listen}: a serial port is simulated with --pty PATH")
            if address.kind == "tls+tcp":
                raise click.UsageError(f"--listen {listen}: no device with TLS is simulated")
            await site.open_tcp([place], address.host, address.port, framing=address.kind)
        site.start()
        return site.description, site.units, site.close

    _serve(opened, faults, seconds)


@command.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("/tmp/collector-hall"),
    show_default=True,
    help="For the pseudo-terminals.",
)
@click.option("--base-port", type=click.IntRange(0, 65000), default=15020, show_default=True, help="0: any free ports.")
@click.option("--it-kw", type=click.FloatRange(1, 100_000), default=180.0, show_default=True, help="Nominal IT load.")
@click.option("--json", "as_json", is_flag=True, help="Only the JSON object, no table.")
@seed_option
@fault_option
@seconds_option
def hall(
    directory: Path,
    base_port: int,
    it_kw: float,
    as_json: bool,
    seed: int,
    faults: tuple[str, ...],
    seconds: float | None,
) -> None:
    """Serve a whole hall: meters, UPSs, air conditioners and sensors on TCP, behind a gateway and on an RTU line.

    Example:  collector simulate hall --fault ups-1=silent
    """
    from drivers.simulators.site import Site, open_hall

    async def opened() -> Opened:
        site = Site(seed=seed, it_kw=it_kw)
        await open_hall(site, directory, base_port)
        site.start()
        return site.description, site.units, site.close

    _serve(opened, faults, seconds, table=not as_json)


@command.command()
@click.option("--devices", type=click.IntRange(1, 4000), default=1000, show_default=True)
@click.option("--registers", type=click.IntRange(2, 2000), default=200, show_default=True, help="Per device, even.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=21000, show_default=True, help="Of the first device; the others follow.")
@click.option("--unit", type=click.IntRange(1, 247), default=1, show_default=True)
@fault_option
@seconds_option
def fleet(
    devices: int, registers: int, host: str, port: int, unit: int, faults: tuple[str, ...], seconds: float | None
) -> None:
    """Serve very many plain Modbus TCP devices of u32 points that change each second.

    Example:  collector simulate fleet --devices 1000 --registers 200 --port 21000
    """
    from drivers.simulators.fleet import Fleet

    async def opened() -> Opened:
        try:
            made = Fleet(devices, registers, unit=unit)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        made.open(host, port)
        shown: dict[str, Any] = {
            "devices": devices,
            "registers": registers,
            "host": host,
            "first_port": port,
            "unit": unit,
        }
        return shown, {u.name: u for u in made.units}, made.close

    _serve(opened, faults, seconds)


def _serve(
    opened: Callable[[], Awaitable[Opened]], faults: tuple[str, ...], seconds: float | None, *, table: bool = False
) -> None:
    """Open, print what is served, stay until told to stop. Exits with 3 when a port cannot be opened."""
    try:
        asyncio.run(_until_stopped(opened, faults, seconds, table))
    except ProfileError as error:
        click.echo(f"simulate: {error}", err=True)
        sys.exit(USAGE)
    except OSError as error:
        click.echo(f"simulate: cannot open: {error}", err=True)
        sys.exit(CANNOT_OPEN)


async def _until_stopped(
    opened: Callable[[], Awaitable[Opened]], faults: tuple[str, ...], seconds: float | None, table: bool
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    shown, units, close = await opened()
    control = LineControl(units, click.echo)
    try:
        for text in faults:
            name, _, fault = text.partition("=")
            try:
                switch(units, name, fault)
            except ValueError as error:
                raise click.UsageError(f"--fault {text}: {error}") from error
        click.echo(json.dumps(shown))
        if table:
            urls = {bus["name"]: bus["url"] for bus in shown["bus"]}
            for row in shown["device"]:
                click.echo(f"{row['name']:<14} {row['profile']:<22} unit {row['unit']:<3} {urls[row['bus']]}")
        control.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
    finally:
        control.stop()
        close()
