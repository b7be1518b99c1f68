"""Wires the stages in order: poll → decode → filter → aggregate → encode → spool. Publish takes over from the spool.

The event loop polls. Once per tick everything that arrived goes through all stages in one worker thread: one kernel
call per stage, then a spool transaction, and one more for each portion of windows that closed. When the tick returns,
all of it is on disk, or held because the disk refuses.
"""

import asyncio
import logging
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from collector.aggregate import Aggregate
from collector.clock import Clock, is_sane
from collector.decode import Decode
from collector.encode import Encode
from collector.errors import SpoolError
from collector.filter import Filter
from collector.inventory import Inventory
from collector.kernels.express import RECORD_BYTES
from collector.poll import LinkFactory, Poller
from collector.poll.intake import Intake
from collector.poll.unit import Breaker
from collector.settings import Settings
from collector.spool import Spool
from collector.types import Quality, RawBatch, Row
from collector.wording import counted

log = logging.getLogger(__name__)

#: Answers kept in memory while a tick is delayed by the disk: this many seconds of the plan, within these bytes.
INTAKE_S = 30.0
INTAKE_MIN_BYTES = 1 << 20
INTAKE_MAX_BYTES = 64 << 20
#: Encoded rows kept in memory while the spool refuses them, or what one tick's readings or one portion of windows made,
#: whatever its size; what comes then is dropped.
UNSPOOLED_MAX_BYTES = 32 << 20
#: The first tick comes this soon: after a restart somebody waits for the first readings.
FIRST_TICK_S = 0.1
#: Reads come due at whole multiples of their interval, and those that do so together are asked together. This much
#: later their answers are in, and go through the stages, onto the disk and to the centres as one.
TICK_PHASE_S = 0.25
#: Ticks without anything to do are left out, but one in this time: windows have to be closed.
IDLE_TICK_S = 1.0
#: The commit of one slice; beyond it the disk is as good as dead, and the rows wait in memory.
COMMIT_TIMEOUT_S = 20.0
COMMIT_BYTES = 4 << 20


@dataclass(slots=True)
class Counts:
    """What went through, in readings unless said otherwise. in = out + dropped + held at every stage."""

    records: int = 0  #: reads, good and failed
    readings: int = 0  #: decoded values with good quality
    bad: int = 0  #: decoded without a usable value
    kept: int = 0  #: passed the filter
    rows: int = 0  #: spool rows committed
    points: int = 0  #: fields in these rows
    bytes: int = 0
    dropped_points: int = 0  #: encoded, but neither spooled nor held: the disk refused for too long
    ticks: int = 0  #: those without anything to do among them
    slow_ticks: int = 0  #: took longer than the tick interval


class Pipeline:
    """One configuration at work. `run` until cancelled, then `finish`."""

    def __init__(
        self, settings: Settings, inventory: Inventory, spool: Spool, links: LinkFactory, clock: Clock, boot_id: str
    ) -> None:
        self._clock = clock
        self._spool = spool
        self._tick_s = settings.poll.tick_s
        self.inventory = inventory
        points = inventory.points
        self.points = len(points)
        demand = sum((2 * b.count + RECORD_BYTES) / b.interval_s for b in inventory.blocks)
        capacity = int(min(max(demand * INTAKE_S, INTAKE_MIN_BYTES), INTAKE_MAX_BYTES))
        self.intake = Intake(capacity)
        poll = settings.poll
        breaker = Breaker(poll.down_after_failures, poll.down_after_s, poll.probe_min_s, poll.probe_max_s)
        self.poller = Poller(inventory, links, self.intake, clock, breaker)
        self._decode = Decode(points)
        self._known_blocks = 0
        self._filter = Filter(points, settings.filter.heartbeat_s, settings.filter.publish)
        self._aggregate = Aggregate(points, settings.aggregate.windows_s)
        gateway = settings.gateway
        self._encode = Encode(
            points,
            city=gateway.city,
            site=gateway.site,
            gateway=gateway.name,
            spool_id=spool.spool_id,
            boot_id=boot_id,
        )
        self._next_seq = spool.next_seq
        self._unspooled: deque[Row] = deque()
        self._unspooled_bytes = 0
        self._disk_error = ""
        self._notes: list[tuple[str, bytes, int]] = []
        self._worker = ThreadPoolExecutor(1, "stages")
        self.counts = Counts()
        self.ticked_at = clock.mono()
        self._worked_at = float("-inf")
        self.tick_s_last = 0.0

    @property
    def held_rows(self) -> int:
        """Rows encoded and not yet on disk."""
        return len(self._unspooled)

    def note(self, category: str, body: bytes, points: int) -> None:
        """Send ready-made lines (health, events) along with the next tick."""
        self._notes.append((category, body, points))

    async def run(self) -> None:
        """Poll and tick until cancelled."""
        self.poller.start()
        await asyncio.sleep(min(self._tick_s, FIRST_TICK_S))
        while True:
            began = self._clock.mono()
            await self.tick()
            await asyncio.sleep(max(0.0, next_tick(began, self._tick_s) - self._clock.mono()))

    async def tick(self) -> None:
        """Everything that arrived goes through the stages; returns when it is on disk or held."""
        began = self._clock.mono()
        raw = self.intake.take()
        notes, self._notes = self._notes, []
        if len(raw) or notes or self._unspooled or began - self._worked_at >= IDLE_TICK_S:
            self._worked_at = began
            await asyncio.get_running_loop().run_in_executor(self._worker, self._stages, raw, notes)
            self.tick_s_last = self._clock.mono() - began
            self.counts.slow_ticks += self.tick_s_last > self._tick_s
        self.ticked_at = self._clock.mono()
        self.counts.ticks += 1

    async def finish(self) -> None:
        """Stop polling, commit what has arrived, release the worker."""
        self.poller.close()
        self._worked_at = float("-inf")  # a tick that was cancelled may still be at work: wait for it and what it held
        await self.tick()
        self._worker.shutdown(wait=True)

    def _stages(self, raw: RawBatch, notes: list[tuple[str, bytes, int]]) -> None:
        now_ns = self._clock.now_ns()
        blocks = list(self.inventory.blocks)  # the loop may split one meanwhile
        if len(blocks) != self._known_blocks:
            self._decode.set_blocks(blocks)
            self._known_blocks = len(blocks)
        samples = self._decode(raw, clock_sane=is_sane(now_ns))
        keep = self._filter(samples)
        if samples.texts:
            samples = replace(samples, texts=self._filter.texts(samples))
        windows = self._aggregate(samples, now_ns)
        rows = self._encode(samples, keep, self._next_seq)
        for category, body, points in notes:
            rows.append(self._encode.row(self._next_seq + len(rows), category, now_ns, points, body))
        usable = int(
            np.count_nonzero(samples.quality == Quality.GOOD)
            + np.count_nonzero(samples.quality == Quality.CLOCK_UNSURE)
        )
        self.counts.records += len(raw)
        self.counts.readings += usable
        self.counts.bad += len(samples) - usable
        self.counts.kept += int(np.count_nonzero(keep))
        self._hold(rows)
        well = self._commit_held()
        for portion in windows:
            self._hold(self._encode.windows(portion, self._next_seq))
            well = well and self._commit_held()  # a dead disk is waited for once

    def _hold(self, rows: list[Row]) -> None:
        """Take the rows in behind those that an earlier tick could not commit."""
        size = sum(len(row.payload) for row in rows)
        if self._unspooled and self._unspooled_bytes + size > UNSPOOLED_MAX_BYTES:
            self.counts.dropped_points += sum(row.points for row in rows)
            rows, size = [], 0
        self._next_seq += len(rows)
        self._unspooled.extend(rows)
        self._unspooled_bytes += size

    def _commit_held(self) -> bool:
        """Commit what is held; False where the disk refuses."""
        if not self._unspooled:
            return True
        try:
            while self._unspooled:
                self._commit(self._slice())
        except (SpoolError, TimeoutError) as error:
            if not self._disk_error:
                reason = str(error) or f"no commit within {COMMIT_TIMEOUT_S:.0f} s"
                held = counted(len(self._unspooled), "row")
                log.warning("the spool refuses (%s); keeping %s in memory", reason, held)
                self._disk_error = reason
            return False
        if self._disk_error:
            log.info("the spool accepts again (was: %s)", self._disk_error)
            self._disk_error = ""
        return True

    def _slice(self) -> list[Row]:
        """The oldest rows, as many as one transaction should hold: a nearly full disk takes a small one still."""
        size = 0
        rows: list[Row] = []
        for row in self._unspooled:
            size += len(row.payload)
            if rows and size > COMMIT_BYTES:
                break
            rows.append(row)
        return rows

    def _commit(self, rows: list[Row]) -> None:
        self._spool.append(rows).result(COMMIT_TIMEOUT_S)
        for row in rows:
            self._unspooled.popleft()
            self._unspooled_bytes -= len(row.payload)
            self.counts.points += row.points
            self.counts.bytes += len(row.payload)
        self.counts.rows += len(rows)


def next_tick(now: float, tick_s: float) -> float:
    """The first time after `now` that lies `TICK_PHASE_S`, or half a tick, behind a multiple of `tick_s`."""
    phase = min(TICK_PHASE_S, tick_s / 2)
    return (math.floor((now - phase) / tick_s + 1e-6) + 1) * tick_s + phase  # a tick is never met twice by rounding
