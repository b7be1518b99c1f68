"""The daemon: start, SIGTERM within its deadline, SIGHUP reload, watchdog. One configuration at work at a time.

A reload reads and checks the new configuration first; if anything is wrong with it, the running one goes on untouched.
"""

import asyncio
import gc
import logging
import os
import secrets
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from collector import notify
from collector.clock import Clock, SystemClock
from collector.errors import ConfigError, Finding, SpoolError
from collector.health import Health
from collector.inventory import Inventory, check_load
from collector.kernels import warm
from collector.memory import building, page_out
from collector.mqtt import options_from
from collector.pipeline import Pipeline
from collector.publish import Uplink, UplinkOptions
from collector.settings import Settings, load_settings
from collector.settings import Uplink as UplinkSettings
from collector.splits import Splits
from collector.spool import Spool
from collector.types import Row
from collector.watch import Watch
from collector.wording import counted
from drivers.links import Links

log = logging.getLogger(__name__)

#: Shares of systemd's TimeoutStopSec=10: the commit of the last tick, what the centres still confirm, the farewell.
COMMIT_DEADLINE_S = 5.0
DRAIN_DEADLINE_S = 1.5
DRAIN_STEP_S = 0.05
FAREWELL_DEADLINE_S = 2.0
MB = 1 << 20
#: Beside the spool's file: which merged reads were refused.
SPLITS_SUFFIX = ".splits"


@dataclass(slots=True)
class _Wish:
    """What a signal asked for."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    stop: bool = False
    reload: bool = False


class Daemon:
    """`run` returns the exit code."""

    def __init__(self, config: Path, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._wish = _Wish()
        self._boot_id = secrets.token_hex(4)
        self._proven: Settings | None = None  #: the last configuration that came to READY

    async def run(self) -> int:
        """Collect until SIGTERM or SIGINT. Raises ConfigError, SpoolError before READY; later a bug ends it."""
        inventory: Inventory | None = await asyncio.to_thread(self._load)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        notify.extend_timeout(120)  # compiling without a cache on a small machine
        for fault in await asyncio.to_thread(warm):
            log.warning("kernel cache: %s; compiled anew", fault)
        page_out("llvmlite")  # the compiler has done its work
        while inventory is not None:
            at_work = inventory.settings
            try:
                inventory = await self._work(inventory)
            except (ConfigError, SpoolError, OSError, ValueError) as error:
                if self._proven is None or self._proven is at_work:
                    raise
                log.error("reload undone, the former configuration goes on; %s", error)
                inventory = self._inventory(self._proven)
            if inventory is not None:
                gc.collect()  # what the former configuration leaves behind
        return 0

    def _load(self) -> Inventory:
        """The configuration, with everything checked that it names: lines, certificates, secrets."""
        with building():
            settings = load_settings(self._config)
            inventory = self._inventory(settings)
        check_load(inventory, str(self._config))
        for uplink in settings.uplink:
            options_from(uplink.broker, client_id="")
        return inventory

    def _inventory(self, settings: Settings) -> Inventory:
        return Inventory(settings, Splits(Path(settings.spool.path + SPLITS_SUFFIX), self._clock))

    def _asked_to_stop(self) -> None:
        if self._wish.stop:
            log.warning("asked to stop twice: leaving at once; what was not committed is lost")
            os._exit(1)
        self._wish.stop = True
        self._wish.changed.set()

    def _asked_to_reload(self) -> None:
        self._wish.reload = True
        self._wish.changed.set()

    async def _work(self, inventory: Inventory) -> Inventory | None:
        """Run one configuration; returns the next one, or None to end."""
        settings = inventory.settings
        async with AsyncExitStack() as leaving:
            links = Links()
            leaving.callback(links.close)
            spool = await asyncio.to_thread(_open_spool, settings, self._clock)
            leaving.push_async_callback(asyncio.to_thread, spool.close)
            with building():
                pipeline = Pipeline(settings, inventory, spool, links, self._clock, self._boot_id)
            uplinks: list[Uplink] = []
            health = Health(
                settings.gateway, self._boot_id, pipeline, spool, lambda: [u.snapshot() for u in uplinks], self._clock
            )
            uplinks += [await self._uplink(uplink, settings, spool, health) for uplink in settings.uplink]
            watch = Watch(settings, pipeline, health, self._clock)
            following = await self._collect(settings, pipeline, spool, uplinks, watch)
        await watch.write_status({**health.snapshot(), "stopped": following is None})
        return following

    async def _collect(
        self, settings: Settings, pipeline: Pipeline, spool: Spool, uplinks: list[Uplink], watch: Watch
    ) -> Inventory | None:
        loop = asyncio.get_running_loop()
        spool.add_listener(lambda rows: loop.call_soon_threadsafe(_hand_over, uplinks, rows))
        collecting = [
            asyncio.create_task(pipeline.run(), name="pipeline"),
            asyncio.create_task(watch.run(), name="health"),
        ]
        publishing = [asyncio.create_task(uplink.run(), name="uplink") for uplink in uplinks]
        log.info(
            "collecting: %s, %s, %s",
            counted(len(settings.bus), "bus", "buses"),
            counted(len(settings.device), "device"),
            counted(pipeline.points, "point"),
        )
        self._proven = settings
        # All this is here to stay until the next reload: a full collection over it would cost a tick now and then.
        gc.freeze()
        notify.ready()
        try:
            return await self._wait([*collecting, *publishing], settings, pipeline, spool)
        finally:
            gc.unfreeze()
            if self._wish.stop:
                notify.stopping()
            # The field first, then the disk, then the centres: what is on its way may arrive, what is not waits.
            await _end(collecting)
            try:
                async with asyncio.timeout(COMMIT_DEADLINE_S):
                    await pipeline.finish()
            except TimeoutError:
                log.error("the disk took no commit in %.0f s: the last tick is lost", COMMIT_DEADLINE_S)
            await self._drain(spool, uplinks)
            await _end(publishing)
            farewells = (uplink.stop(FAREWELL_DEADLINE_S) for uplink in uplinks)
            await asyncio.gather(*farewells, return_exceptions=True)
            if self._wish.stop:
                log.info("stopped: %s waiting in the spool", counted(spool.stats().rows, "row"))

    async def _uplink(self, uplink: UplinkSettings, settings: Settings, spool: Spool, health: Health) -> Uplink:
        gateway = settings.gateway
        prefix = f"dc/v1/{gateway.city}/{gateway.site}/{gateway.name}"
        client_id = f"dc-{gateway.city}-{gateway.site}-{gateway.name}"
        mqtt = await asyncio.to_thread(options_from, uplink.broker, client_id=client_id)
        options = UplinkOptions(
            centre=uplink.centre,
            confirm=uplink.confirm,
            confirm_timeout_s=uplink.confirm_timeout_s,
            window_rows=uplink.window_rows,
        )
        return Uplink(options, mqtt, spool, topic_prefix=prefix, status=health.summary, clock=self._clock)

    async def _wait(
        self, tasks: list[asyncio.Task[None]], settings: Settings, pipeline: Pipeline, spool: Spool
    ) -> Inventory | None:
        """Until a signal asks for something or a task ends, which none of them may."""
        while True:
            signalled = asyncio.create_task(self._wish.changed.wait())
            done, _ = await asyncio.wait([*tasks, signalled], return_when=asyncio.FIRST_COMPLETED)
            signalled.cancel()
            self._wish.changed.clear()
            for task in done - {signalled}:
                task.result()  # a bug: let it end the daemon, systemd starts a whole one
                raise RuntimeError(f"task {task.get_name()} ended by itself")
            if self._wish.stop:
                return None
            if self._wish.reload:
                self._wish.reload = False
                notify.reloading(int(self._clock.mono() * 1e6))
                try:
                    inventory = await asyncio.to_thread(self._load)
                    _refuse_stranding(settings, inventory.settings, pipeline.held_rows, spool.stats().rows)
                    return inventory
                except Exception as error:  # whatever a file can hold: it must not end what runs
                    log.error("reload refused, the running configuration goes on; %s", error)
                    notify.ready()

    async def _drain(self, spool: Spool, uplinks: list[Uplink]) -> None:
        """Wait until the centres that can be reached have confirmed everything, for a moment at most."""
        give_up = self._clock.mono() + DRAIN_DEADLINE_S
        while self._clock.mono() < give_up:
            pending = spool.stats().pending
            states = (uplink.snapshot() for uplink in uplinks)
            if not any(state["state"] == "connected" and pending.get(state["centre"]) for state in states):
                return
            await asyncio.sleep(DRAIN_STEP_S)


async def _end(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _hand_over(uplinks: list[Uplink], rows: Sequence[Row]) -> None:
    for uplink in uplinks:
        uplink.committed(rows)


def _refuse_stranding(old: Settings, new: Settings, held_rows: int, spooled_rows: int) -> None:
    """Raises ConfigError when a reload would leave accepted rows where nobody delivers them any more."""
    findings = []
    waiting = f"{counted(spooled_rows, 'row')} still waiting in {old.spool.path}"
    hint = "let them be delivered first, or stop the daemon and move the spool away"
    if spooled_rows and new.gateway != old.gateway:
        findings.append(Finding("reload", "gateway", "", f"the name changes while {waiting} under the old one", hint))
    if spooled_rows and new.spool.path != old.spool.path:
        findings.append(Finding("reload", "spool.path", repr(new.spool.path), waiting, hint))
    if held_rows:
        findings.append(
            Finding("reload", "spool", "", f"the disk takes no rows, {held_rows} wait in memory", "see the log")
        )
    if findings:
        raise ConfigError(findings)


def _open_spool(settings: Settings, clock: Clock) -> Spool:
    options = settings.spool
    spool = Spool(
        Path(options.path),
        uplinks=[u.centre for u in settings.uplink],
        max_bytes=options.max_mb * MB,
        reserve_bytes=options.reserve_mb * MB,
        clock=clock,
    )
    spool.open()
    return spool
