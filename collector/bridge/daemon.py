"""The bridge as a process: connections one after the other, signals, the status file and systemd's watchdog."""

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
from pathlib import Path
from typing import Any

from collector import __version__, notify
from collector.bridge.check import Limits
from collector.bridge.dead_letter import DeadLetters
from collector.bridge.deliver import Delivery
from collector.bridge.pace import Pace
from collector.bridge.plan import plan
from collector.bridge.settings import Settings, load_settings
from collector.bridge.store import open_store
from collector.bridge.subscribe import Inbox
from collector.clock import Clock, SystemClock
from collector.errors import CollectorError, ConfigError, Finding, UplinkError
from collector.mqtt import MqttOptions, MqttSession, options_from
from collector.wording import counted

log = logging.getLogger(__name__)

KIB, MIB = 1 << 10, 1 << 20
#: Longest pause between two attempts to connect.
LONGEST_PAUSE_S = 30.0
#: A connection that lasted this long was a good one; one that ends sooner makes the next pause longer, so that two
#: bridges with the same client id do not throw each other out several times a second.
STEADY_S = 10.0
#: What a stop may cost: the batch in the database's hands is waited for, then left to redelivery.
STOP_GRACE_S = 3.0
#: A call of the worker thread that takes longer than this hangs; systemd is not told that we are well any more.
STUCK_S = 180.0


class Bridge:
    """One centre's bridge. Raises StoreRefused or ConfigError from the constructor when it cannot work at all."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._started = self._clock.mono()
        self._options: MqttOptions = options_from(
            settings.broker,
            settings.client_id,
            clean_start=False,
            session_expiry_s=settings.subscribe.session_expiry_s,
            receive_maximum=settings.subscribe.window,
            manual_ack=True,
        )
        limits = settings.limits
        letters = Path(settings.dead_letter.path)
        try:
            letters.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError([Finding("bridge.toml", "dead_letter.path", repr(str(letters)), str(error))]) from error
        self._delivery = Delivery(
            open_store(settings, self._clock),
            DeadLetters(letters, settings.dead_letter.max_mb * MIB, self._clock),
            self._clock,
            centre=settings.centre.name,
            limits=Limits(limits.payload_kb * KIB, limits.lines),
            series_per_gateway=limits.series_per_gateway,
            batch_bytes=settings.batch.max_kb * KIB,
        )
        self._pace = Pace(self._options.url, LONGEST_PAUSE_S, self._clock, random.Random())
        self._inbox = self._new_inbox()
        self._received_before = 0  #: messages of earlier connections
        self._connected = False
        self._status_fault = ""  #: why the status file was not written the last time

    async def run(self, stop: asyncio.Event) -> bool:
        """Work until `stop` is set. False when the database hangs and a thread with it."""
        reporter = asyncio.create_task(self._report())
        stopping = asyncio.create_task(stop.wait())
        notify.ready()
        try:
            while not stop.is_set():
                try:
                    await self._connection(stopping)
                except UplinkError as error:
                    await asyncio.wait({stopping}, timeout=self._pace.failed(error))
        finally:
            for task in (reporter, stopping):
                task.cancel()
            closed = await self._delivery.close()
            await self._write_status(stopped=True)
        return closed

    async def _connection(self, stopping: asyncio.Task[Any]) -> None:
        """One connection from beginning to end. Raises UplinkError when it was lost or never made."""
        inbox = self._inbox = self._new_inbox()
        session = MqttSession(self._options, inbox.put)
        inbox.attach(session)
        connected_at = self._clock.mono()
        try:
            async with session:
                for topic in self._settings.topics:
                    await session.subscribe(topic)
                self._connected = True
                self._pace.succeeded(steady=False)
                log.info("%s: connected, session %s", self._options.url, "kept" if session.session_present else "new")
                await self._serve(session, inbox, stopping)
        finally:
            self._connected = False
            if self._clock.mono() - connected_at > STEADY_S:
                self._pace.succeeded()
            self._received_before += inbox.received
            self._delivery.books.released += inbox.held
            self._inbox = self._new_inbox()

    async def _serve(self, session: MqttSession, inbox: Inbox, stopping: asyncio.Task[Any]) -> None:
        delivery = asyncio.create_task(self._delivery.run(inbox, session))
        closed = asyncio.create_task(session.closed())
        try:
            await asyncio.wait({delivery, closed, stopping}, return_when=asyncio.FIRST_COMPLETED)
            inbox.close()
            if stopping.done():
                await asyncio.wait({delivery}, timeout=STOP_GRACE_S)
            for task in (delivery, closed):
                if task.done():
                    task.result()
        finally:
            for task in (delivery, closed):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, UplinkError):
                    await task

    def _new_inbox(self) -> Inbox:
        batch = self._settings.batch
        return Inbox(
            batch_bytes=batch.max_kb * KIB,
            linger_s=batch.linger_ms / 1000,
            memory_bytes=self._settings.limits.memory_mb * MIB,
        )

    # ---- what the bridge says of itself

    def snapshot(self) -> dict[str, Any]:
        """The status file's content."""
        delivery, inbox = self._delivery, self._inbox
        books = delivery.books.snapshot(received=self._received_before + inbox.received, held=inbox.held)
        return {
            "version": __version__,
            "centre": self._settings.centre.name,
            "ts_ns": self._clock.now_ns(),
            "uptime_s": round(self._clock.mono() - self._started, 3),
            "interval_s": self._settings.health.interval_s,
            "broker": {
                "url": self._options.url,
                "connected": self._connected,
                "down_s": round(self._pace.down_s, 3),
                "error": self._pace.last_error,
            },
            "store": {
                "name": delivery.pace.subject,
                "down_s": round(delivery.pace.down_s, 3),
                "error": delivery.pace.last_error,
            },
            "held_bytes": inbox.held_bytes,
            "pauses": inbox.pauses,
        } | books

    async def _report(self) -> None:
        interval = self._settings.health.interval_s
        period = notify.watchdog_period_s()
        beat = min(interval, period) if period else interval
        due = 0.0
        while True:
            since = self._delivery.busy_since
            if since is None or self._clock.mono() - since < STUCK_S:
                notify.watchdog()
            if self._clock.mono() >= due:
                due = self._clock.mono() + interval
                await self._write_status()
            await asyncio.sleep(beat)

    async def _write_status(self, *, stopped: bool = False) -> None:
        path = self._settings.health.status_file
        snapshot = self.snapshot() | {"stopped": stopped}
        points = snapshot["points"]
        notify.status(
            f"{counted(points['written'], 'point')} written, {points['dropped']} dropped, {snapshot['store']['error']}"
        )
        if not path:
            return
        fault = ""
        try:
            await asyncio.get_running_loop().run_in_executor(None, _replace, Path(path), snapshot)
        except OSError as error:  # status is a comfort, the data is the duty: say it once per reason and go on
            fault = error.strerror or str(error)
        if fault and fault != self._status_fault:
            log.warning("status file %s: %s; the bridge goes on", path, fault)
        elif self._status_fault and not fault:
            log.info("status file %s: written again", path)
        self._status_fault = fault


def run(config: Path) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP reads `config` again and keeps the old one if the new one is bad."""
    if not asyncio.run(_run(config)):
        # A thread hangs in the database, and Python would wait for it. Nothing it holds was acknowledged.
        logging.shutdown()
        os._exit(0)


async def _run(config: Path) -> bool:
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum, event in ((signal.SIGTERM, stop), (signal.SIGINT, stop), (signal.SIGHUP, reload)):
        loop.add_signal_handler(signum, event.set)
    settings: Settings | None = load_settings(config)
    proven: Settings | None = None
    while settings is not None:
        try:
            bridge = await loop.run_in_executor(None, Bridge, settings)
        except (CollectorError, OSError, ValueError) as error:
            if proven is None:
                raise
            log.error("configuration not reloaded, the old one goes on: %s", error)
            settings, proven = proven, None
            continue
        proven = settings
        ended = asyncio.Event()
        work = asyncio.create_task(bridge.run(ended))
        settings = await _until_told(config, work, stop, reload)
        ended.set()
        closed = await work
    notify.stopping()
    return closed


async def _until_told(
    config: Path, work: asyncio.Task[bool], stop: asyncio.Event, reload: asyncio.Event
) -> Settings | None:
    """Wait for a signal: the new settings after SIGHUP, None to stop. Also returns when `work` has failed."""
    while True:
        told = [asyncio.create_task(event.wait()) for event in (stop, reload)]
        await asyncio.wait({work, *told}, return_when=asyncio.FIRST_COMPLETED)
        for task in told:
            task.cancel()
        if stop.is_set() or work.done():
            return None
        reload.clear()
        try:
            settings = load_settings(config)
            await asyncio.get_running_loop().run_in_executor(None, plan, settings)
        except Exception as error:  # whatever a file can hold: it must not end what runs
            log.error("configuration not reloaded, the old one goes on: %s", error)
        else:
            log.info("configuration reloaded")
            return settings


def _replace(path: Path, snapshot: dict[str, Any]) -> None:
    """Readers see the old file or the new one, never half of one. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(snapshot, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, path)
