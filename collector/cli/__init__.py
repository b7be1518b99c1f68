"""The command line. Each command lives in its own file and is imported only when it is called.

Exit codes, the same everywhere: 0 done, 1 a device or its data is at fault, 2 usage or configuration,
3 a port, broker or database cannot be opened.
"""

import importlib
import sys
from typing import Any

import click

from collector import __version__
from collector.errors import CollectorError, ConfigError

OK, DEVICE_FAULT, USAGE, CANNOT_OPEN = 0, 1, 2, 3

#: command → one line of help; the module of the same name holds the click command `command`
COMMANDS = {
    "demo": "Run a simulated hall end to end on this machine and count what arrived.",
    "run": "Collect: poll devices and publish their readings.",
    "check": "Check a configuration and show the plan: buses, reads, predicted load.",
    "probe": "Ask one device: is it there, what answers, how fast.",
    "status": "Tell whether all is well: devices, lines, uplinks, spool; or a bridge.",
    "bridge": "At the centre: MQTT to the database, and the confirmation back.",
    "profile": "List, show and check device profiles.",
    "simulate": "Serve virtual devices that speak the real protocol.",
}


class LazyGroup(click.Group):
    """A click group whose commands are imported when called, so that --help is quick and loads no kernels."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(f"collector.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="collector")
def group() -> None:
    """Collect telemetry of a data-centre facility: poll, keep safe, publish, write.

    Example:  collector demo --seconds 30
    """


def main() -> None:
    """Run the command line; errors of ours become one message on stderr and a stable exit code."""
    try:
        group(standalone_mode=True)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(USAGE)
    except CollectorError as error:
        click.echo(f"collector: {error}", err=True)
        sys.exit(CANNOT_OPEN)
