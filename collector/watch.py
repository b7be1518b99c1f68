"""What the daemon tells while it collects: systemd's watchdog, the status file, health lines among the data."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from collector import notify
from collector.clock import Clock
from collector.health import Health, write_status
from collector.pipeline import Pipeline
from collector.settings import Settings
from collector.splits import Splits

log = logging.getLogger(__name__)

#: The status file is written anew this often: each second, less often where there are very many devices to tell of.
STATUS_S = 1.0
STATUS_PER_DEVICE_S = 0.01
#: The watchdog is fed only while the sweep and the ticks are younger than this.
SWEEP_STALL_S = 5.0
TICK_STALL_S = 30.0


class Watch:
    """Over one configuration at work. `run` until cancelled."""

    def __init__(self, settings: Settings, pipeline: Pipeline, health: Health, clock: Clock) -> None:
        self._pipeline = pipeline
        self._health = health
        self._clock = clock
        self._status_file = settings.health.status_file
        self._status_s = max(STATUS_S, STATUS_PER_DEVICE_S * len(settings.device))
        self._lines_s = settings.health.interval_s

    async def run(self) -> None:
        ping_s = notify.watchdog_period_s()
        lines_due = status_due = self._clock.mono()
        splits = self._pipeline.inventory.splits
        while True:
            now = self._clock.mono()
            if not self._stalled(now):
                notify.watchdog()
            if now >= status_due:
                status_due = now + self._status_s
                await self.write_status(self._health.snapshot())
                if splits is not None and splits.changed:
                    await _save(splits)
            if now >= lines_due:
                lines_due = now + self._lines_s
                for category, body, points in self._health.lines():
                    self._pipeline.note(category, body, points)
            await asyncio.sleep(min(STATUS_S, ping_s or STATUS_S))

    async def write_status(self, snapshot: dict[str, Any]) -> None:
        """Replace the status file, if there is to be one."""
        if not self._status_file:
            return
        try:
            await asyncio.to_thread(write_status, Path(self._status_file), {**snapshot, "interval_s": self._status_s})
        except OSError as error:
            # Status is a comfort, the data is the duty: say it once per reason and go on.
            _warn_once(f"status file {self._status_file}: {error.strerror or error}")

    def _stalled(self, now: float) -> bool:
        return now - self._pipeline.poller.swept_at > SWEEP_STALL_S or now - self._pipeline.ticked_at > TICK_STALL_S


async def _save(splits: Splits) -> None:
    try:
        await asyncio.to_thread(splits.save)
    except OSError as error:  # the next start asks once more for what is not there, that is all
        _warn_once(f"refused reads are not remembered over a restart: {error.strerror or error}")


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        log.warning("%s", message)
