"""`collector simulate`: virtual devices that speak the real protocol, for trying things out, demos and benchmarks."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping

import click

from collector.cli import CANNOT_OPEN
from drivers.simulators.control import LineControl, switch
from drivers.simulators.unit import Unit

Opened = tuple[dict[str, object], Mapping[str, Unit], Callable[[], None]]


@click.group()
def command() -> None:
    r"""Serve virtual devices over real Modbus TCP and RTU.

    \b
    While it runs, type `ups-1 silent`, `ups-1 ok` or `stats` to switch faults and count requests.
    The first line printed is one JSON object that lists what is served.
    """


seconds_option = click.option("--seconds", type=float, help="Stop after this long instead of at SIGTERM or Ctrl-C.")
fault_option = click.option(
    "--fault", "faults", multiple=True, metavar="DEVICE=FAULT", help="Begin with a fault, e.g. ups-1=silent."
)


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
    r"""Serve very many plain Modbus TCP devices of u32 points that change each second.

    \b
    Example:  collector simulate fleet --devices 1000 --registers 200 --port 21000
    """
    from drivers.simulators.fleet import Fleet

    async def opened() -> Opened:
        try:
            made = Fleet(devices, registers, unit=unit)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        await made.open(host, port)
        shown: dict[str, object] = {
            "devices": devices,
            "registers": registers,
            "host": host,
            "first_port": port,
            "unit": unit,
        }
        return shown, {u.name: u for u in made.units}, made.close

    _serve(opened, faults, seconds)


def _serve(opened: Callable[[], Awaitable[Opened]], faults: tuple[str, ...], seconds: float | None) -> None:
    """Open, print what is served, stay until told to stop. Exits with 3 when a port cannot be opened."""
    try:
        asyncio.run(_until_stopped(opened, faults, seconds))
    except OSError as error:
        click.echo(f"simulate: cannot open: {error}", err=True)
        sys.exit(CANNOT_OPEN)


async def _until_stopped(
    opened: Callable[[], Awaitable[Opened]], faults: tuple[str, ...], seconds: float | None
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
        control.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
    finally:
        control.stop()
        close()
