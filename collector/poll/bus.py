"""The one owner of one line: whatever units are behind it, one request at a time.

An answer is stamped when it arrives and handed to the intake; the next request leaves in the same call. What becomes
of a read that fails is the agenda's affair.
"""

import logging

from collector.kernels.express import RTT_WEIGHT
from collector.poll.agenda import Agenda
from collector.poll.listening import Listening
from collector.poll.plan import BusPlan
from collector.poll.probing import probe_timeout_s
from collector.poll.schedule import NEVER, Read
from collector.poll.surroundings import Surroundings
from collector.poll.unit import Standing, Unit
from collector.types import Outcome
from drivers.base import Request
from drivers.errors import BadFrame, DeviceError, DeviceException, LinkError
from drivers.modbus.link_tcp import TcpLink

log = logging.getLogger(__name__)

#: Pauses between attempts to open a line; they grow until a device has answered.
REOPEN_MIN_S = 1.0
REOPEN_MAX_S = 60.0
#: Likewise for a port of this machine, where an attempt costs nobody anything: a replugged adapter is back within 5 s.
REOPEN_PORT_MAX_S = 4.0
#: Whether a line may go to the express is looked at so often: it costs a look at each of its units and reads.
ENROL_EVERY_S = 1.0


class Bus:
    """Implements `drivers.base.Sink`; `wake` and `expired` are called by the poller's sweep."""

    __slots__ = (
        "_around",
        "_deadlines",
        "_enrol_at",
        "_express",
        "_in_flight",
        "_intake",
        "_lent",
        "_listening",
        "_mono",
        "_next_sweep",
        "_now_ns",
        "_opening",
        "_pause_max_s",
        "_pause_s",
        "_schedule",
        "_sent_at",
        "_shortest",
        "_wakes",
        "agenda",
        "busy_s",
        "error",
        "index",
        "is_open",
        "line",
        "link",
        "losses",
        "name",
        "predicted_load",
        "units",
    )

    def __init__(self, plan: BusPlan, index: int, around: Surroundings) -> None:
        self.name = plan.name
        self.line = str(plan.address)
        self.predicted_load = round(plan.load, 4)
        self.index = index
        self._around = around
        self._intake = around.intake
        self._mono = around.clock.mono
        self._now_ns = around.clock.now_ns
        self._deadlines = around.deadlines
        self._wakes = around.wakes
        self._express = around.express
        self._lent = False  # to the express
        self._enrol_at = 0.0
        self._next_sweep = around.next_sweep
        self.agenda = Agenda(around.blocks, around.split, plan.cost, around.intake, around.clock, around.jitter)
        self._schedule = self.agenda.schedule
        self._in_flight: Read | None = None
        self._sent_at = 0.0
        self._listening = Listening(around.intake, around.clock, around.jitter, self._spoke)
        now = self._mono()
        self.units = self.agenda.units
        for unit_plan in plan.units:
            unit = Unit(unit_plan.device, unit_plan.unit, unit_plan.timeout_s, around.breaker, now, unit_plan.retries)
            self.units.append(unit)
            for number in unit_plan.blocks:
                if not self._listening.add(number, around.blocks[number].command, unit):
                    self.agenda.add(number, unit)
        self._shortest = min((read.interval for read in self.agenda.reads.values()), default=1.0)
        self.link = around.links.create(plan.address, self, timeout_s=plan.timeout_s, late_s=plan.late_s)
        self._listening.begin(self.link)
        self.is_open = False
        self._opening = False
        self._pause_s = REOPEN_MIN_S
        self._pause_max_s = REOPEN_PORT_MAX_S if plan.address.path else REOPEN_MAX_S
        self.error = ""  #: why the line is closed
        self.losses = 0
        self.busy_s = 0.0  #: time the line was in use

    def wake(self, now: float) -> None:
        """Something is due: the line is to be opened, or a read to be sent."""
        if self.is_open:
            self._listening.check(now)
            self._next(now)
        elif not self._opening:
            self._opening = True
            self._wakes[self.index] = NEVER
            self.link.open()

    def expired(self, now: float) -> None:
        """The answer in flight did not come in time."""
        self.recall()
        read = self._settle(now)
        if read is None:
            return
        read.unit.timeouts += 1
        took_s = now - self._sent_at
        self.agenda.missed(read, Outcome.TIMEOUT, f"no answer in {took_s:.2f} s", took_s, now)
        self.link.expire()
        self._next(now)

    def recall(self) -> bytes:
        """Take the line back from the express, if it is there, with what is due and in flight; the frame in flight."""
        if not self._lent:
            return b""
        self._lent = False
        self._enrol_at = self._mono() + ENROL_EVERY_S
        number, self._sent_at, transaction = self._express.release(self)
        for waiting in self.agenda.live_reads:
            if waiting.number != number:
                self._schedule.put(waiting, waiting.due)
        self._in_flight = read = self.agenda.reads.get(number)
        assert isinstance(self.link, TcpLink)
        request = None if read is None else read.request
        assert request is None or isinstance(request, Request)
        return self.link.returned(request, transaction)

    def opened(self) -> None:
        now = self._mono()
        self._opening = False
        self.is_open = True
        if self.error:
            log.info("bus %s: open again (was: %s)", self.name, self.error)
            self.error = ""
        for unit in self.units:
            if unit.standing is Standing.DOWN:
                unit.reachable()
        self._listening.opened(now)
        for read in self.agenda.reads.values():
            self.agenda.ask_at(read, now)
        self._next(now)

    def answered(self, data: memoryview) -> None:
        # The hot path: everything that a good answer does not need is behind one comparison.
        ts_ns = self._now_ns()
        now = self._mono()
        read = self._in_flight
        if read is None:
            return
        self._in_flight = None
        self._intake.answer(read.number, ts_ns, data)
        rtt = now - self._sent_at
        self.busy_s += rtt
        unit = read.unit
        unit.answered += 1
        unit.last_ok_ts_ns = ts_ns
        unit.rtt_s += (rtt - unit.rtt_s) * (RTT_WEIGHT if unit.answered > 1 else 1.0)
        read.strikes = 0
        self._pause_s = REOPEN_MIN_S
        if unit.failures or unit.standing is not Standing.UP:
            self.agenda.heard(read, now)
        read.advance(now)
        self._schedule.put(read, read.due)
        self._next(now)

    def failed(self, error: DeviceError) -> None:
        now = self._mono()
        read = self._settle(now)
        if read is None:
            return
        unit, took_s = read.unit, now - self._sent_at
        if isinstance(error, DeviceException):
            unit.exceptions += 1
            self.agenda.refused(read, error, took_s, now)
        elif isinstance(error, BadFrame):
            unit.bad_frames += 1
            self.agenda.missed(read, Outcome.BAD_FRAME, str(error), took_s, now)
        else:
            unit.timeouts += 1
            self.agenda.missed(read, Outcome.TIMEOUT, str(error), took_s, now)
        self._next(now)

    def lost(self, error: LinkError) -> None:
        now = self._mono()
        read = self._settle(now)
        if read is not None:
            read.unit.lost += 1
        first = not self.error
        if first:
            self.losses += 1
            log.warning("bus %s: %s; opening again in %.0f s", self.name, error, self._pause_s)
        self.error = str(error)
        self.is_open = self._opening = False
        self._schedule.clear()
        for unit in self.units:
            unit.unreachable(self.error)
            if first:  # said once; silence since then is not news
                self.agenda.report(unit, Outcome.LINK_DOWN)
        if first:
            self._listening.lost()
        self._wake_at(now + self._pause_s * (0.75 + 0.5 * self._around.jitter()))
        self._pause_s = min(2 * self._pause_s, self._pause_max_s)

    def _spoke(self) -> None:
        """A device said something by itself: the line is sound."""
        self._pause_s = REOPEN_MIN_S

    def _settle(self, now: float) -> Read | None:
        """The request in flight is over, one way or the other."""
        read, self._in_flight = self._in_flight, None
        self._deadlines[self.index] = NEVER
        if read is not None:
            self.busy_s += now - self._sent_at
        return read

    def _next(self, now: float) -> None:
        """Send the most urgent read, or sleep until one is due."""
        if self._in_flight is not None or not self.is_open:
            return
        if now >= self._enrol_at and self._enrol(now):
            return
        while (read := self._schedule.next_due(now)) is not None:
            unit = read.unit
            if unit.standing is Standing.DOWN and now < unit.probe_at:
                continue  # asked again when the unit is heard
            free_at = self.link.ready_at(unit.unit)
            if free_at > now:
                self._schedule.put(read, free_at)
                continue
            self._send(read, now)
            return
        self._deadlines[self.index] = NEVER
        self._wake_at(min(self._schedule.wake_at(), self._listening.next_at()))

    def _enrol(self, now: float) -> bool:
        """Leave the line to the express if nothing but good answers is to be expected on it."""
        self._enrol_at = now + ENROL_EVERY_S
        reads = self.agenda.live_reads
        if any(unit.failures or unit.standing is not Standing.UP for unit in self.units):
            return False
        if any(read.strikes or read.at != read.due for read in reads) or not self._express.enrol(self):
            return False
        self._lent = True
        self._schedule.clear()
        self._pause_s = REOPEN_MIN_S  # all its units have spoken
        self._deadlines[self.index] = NEVER  # that of the last answer would recall the line
        self._wake_at(min(read.due for read in reads))
        return True

    def _wake_at(self, at: float) -> None:
        self._wakes[self.index] = at
        if at < self._next_sweep[0]:
            self._around.sweep_at(at)

    def _send(self, read: Read, now: float) -> None:
        unit = read.unit
        timeout = unit.timeout_s
        if unit.standing is Standing.DOWN:
            unit.probe_at = NEVER  # one probe at a time
            timeout = probe_timeout_s(unit, self.units, self._shortest)
        self._in_flight = read
        self._sent_at = now
        unit.asked += 1
        overdue = now + timeout + read.wire_s
        self._wakes[self.index] = NEVER
        self._deadlines[self.index] = overdue
        if overdue < self._next_sweep[0]:
            self._around.sweep_at(overdue)
        self.link.send(read.request)
