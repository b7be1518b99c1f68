"""`collector bridge`: MQTT to the database, at the centre."""

import faulthandler
import json
import logging
import os
from pathlib import Path

import click


@click.command(name="bridge", short_help="At the centre: MQTT to the database, and the confirmation back.")
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/collector/bridge.toml"),
    show_default=True,
    help="The bridge's configuration.",
)
@click.option("--check", "check_only", is_flag=True, help="Only check the configuration and show what would be done.")
@click.option("--json", "as_json", is_flag=True, help="With --check: print JSON.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def command(config: Path, check_only: bool, as_json: bool, log_level: str) -> None:
    """Take readings from the broker, write them to the database, and confirm them to their gateways.

    Nothing is acknowledged before the database has it. Runs until SIGTERM.

    Example:  collector bridge --config config/bridge.toml --check
    """
    if check_only:
        from collector.bridge.plan import plan
        from collector.bridge.settings import load_settings

        found = plan(load_settings(config))
        click.echo(json.dumps(found) if as_json else "\n".join(map(_line, found, found.values())))
        return
    from collector.bridge.daemon import run

    faulthandler.enable()  # the watchdog's SIGABRT leaves a traceback of every thread in the journal
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "  # the journal adds the time itself
    logging.basicConfig(format=f"{stamp}%(levelname)s %(name)s: %(message)s", level=log_level.upper())
    run(config)


def _line(key: str, value: object) -> str:
    return f"{key:12} {', '.join(map(str, value)) if isinstance(value, list) else value}"
