"""`collector run`: the daemon."""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from pathlib import Path

import click


@click.command(name="run", short_help="Collect: poll devices and publish their readings.")
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/collector/collector.toml"),
    show_default=True,
    help="The gateway's configuration.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def command(config: Path, log_level: str) -> None:
    """Poll devices, keep their readings safe on disk and publish them to every centre.

    Runs until SIGTERM; SIGHUP reads the configuration again and keeps the old one if the new one is bad.

    Example:  collector run --config config/examples/one-meter.toml
    """
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # until the daemon listens: a reload that comes early is no reason to die
    from collector.daemon import Daemon

    faulthandler.enable()  # the watchdog's SIGABRT leaves a traceback of every thread in the journal
    set_up_logging(log_level)
    sys.exit(asyncio.run(Daemon(config).run()))


def set_up_logging(level: str) -> None:
    """Log to stderr; the journal adds the time itself."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(format=f"{stamp}%(levelname)s %(name)s: %(message)s", level=level.upper())
