"""What is to be read on a line, and what becomes of a read that the device did not answer as it should.

A read that fails harms neither the other reads of its unit nor the other units of its line.
"""

import logging
from collections.abc import Callable, Sequence

from collector.clock import Clock
from collector.poll.intake import Intake
from collector.poll.probing import fell_together, longest_pause_s
from collector.poll.schedule import NEVER, Read, Schedule
from collector.poll.unit import Standing, Unit
from collector.types import BlockSpec, Outcome
from collector.wording import counted
from drivers.base import LinkCost
from drivers.errors import DeviceException

log = logging.getLogger(__name__)

#: A failed read of a unit that is not down is tried again this soon, or at its next interval if that is sooner.
RETRY_S = 2.0
#: A read that the device refuses for good (exception 1, 2, 3) is asked again this rarely: firmware gets updated.
REFUSED_RETRY_S = 600.0


class Agenda:
    """The units of one line and their reads. `split` takes a refused block apart: the numbers of its parts, or none."""

    def __init__(
        self,
        blocks: Sequence[BlockSpec],
        split: Callable[[int], list[int]],
        cost: LinkCost,
        intake: Intake,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self.units: list[Unit] = []
        self.reads: dict[int, Read] = {}
        self.schedule = Schedule()
        self._blocks = blocks
        self._split = split
        self._cost = cost
        self._intake = intake
        self._now_ns = clock.now_ns
        self._jitter = jitter

    @property
    def live_reads(self) -> list[Read]:
        """What is read on this line, without what was replaced by the parts of a split."""
        return [read for read in self.reads.values() if not read.retired]

    def add(self, number: int, unit: Unit) -> Read:
        """Take block `number` of `unit` in; it is asked only when `ask_at` says so."""
        read = Read(number, self._blocks[number], unit, self._cost)
        self.reads[number] = read
        unit.blocks.append(number)
        return read

    def ask_at(self, read: Read, at: float) -> None:
        """Begin anew with `read`."""
        if not read.retired:
            read.begin(at)
            self.schedule.put(read, at)

    def report(self, unit: Unit, outcome: Outcome, but: int = -1) -> None:
        """Every block of `unit` (but one) brings nothing from now on."""
        ts_ns = self._now_ns()
        for number in unit.blocks:
            if number != but and not self.reads[number].retired:
                self._intake.fail(number, ts_ns, outcome)

    def heard(self, read: Read, now: float) -> None:
        """The unit of `read` is there."""
        unit = read.unit
        silent_s = now - unit.failed_since
        if unit.heard(now):
            log.info("%s: answers again after %.0f s", unit.device, silent_s)
            read.begin(now)
            for number in unit.blocks:
                if number != read.number:
                    self.ask_at(self.reads[number], now)
            for other in fell_together(unit, self.units):
                if other.probe_at > now:
                    other.probe_at = now
                    self._probe(other)

    def missed(self, read: Read, outcome: Outcome, reason: str, took_s: float, now: float) -> None:
        """Nothing useful came back from the unit of `read` in `took_s`."""
        unit = read.unit
        unit.last_error = reason
        read.strikes += 1
        self._intake.fail(read.number, self._now_ns(), outcome)
        if unit.missed(now, self._jitter, longest_pause_s(self.units, took_s)):
            failures = counted(unit.failures, "failure")
            log.warning("%s: down after %s (%s); probing", unit.device, failures, reason)
            self.report(unit, Outcome.SUSPENDED, but=read.number)
        if unit.standing is Standing.DOWN:
            self._probe(unit)
            return
        read.advance(now)
        retry = now + RETRY_S if read.strikes <= unit.retries else NEVER
        self.schedule.put(read, min(read.due, retry))

    def refused(self, read: Read, error: DeviceException, took_s: float, now: float) -> None:
        """The unit of `read`, or the gateway before it, answered no."""
        unit = read.unit
        if error.gateway:  # the gateway speaks, the unit does not
            self.missed(read, Outcome.EXCEPTION, str(error), took_s, now)
            return
        if unit.failures or unit.standing is not Standing.UP:
            self.heard(read, now)
        unit.last_error = str(error)
        parts = self._split(read.number) if error.hole else []
        if parts:
            log.info("%s: refuses %s; reading it in %d parts", unit.device, read.request, len(parts))
            read.retired = True
            for number in parts:
                self.ask_at(self.add(number, unit), now)
            return
        self._intake.fail(read.number, self._now_ns(), Outcome.EXCEPTION)
        if not error.retryable:
            if not read.refused:
                log.warning("%s: refuses %s: %s; asking rarely", unit.device, read.request, error)
            read.refused = True
            read.due = now + REFUSED_RETRY_S
            self.schedule.put(read, read.due)
            return
        read.strikes += 1
        read.advance(now)
        soon = read.strikes <= unit.retries and not error.pending
        self.schedule.put(read, min(read.due, now + RETRY_S if soon else NEVER))

    def _probe(self, unit: Unit) -> None:
        """Let another block be the next probe: one that is always silent must not be the only one."""
        live = [self.reads[n] for n in unit.blocks if not self.reads[n].retired]
        unit.probes += 1
        self.schedule.put(live[unit.probes % len(live)], unit.probe_at)
