"""The fast lane of poll: every Modbus TCP line on which all is well, served in one kernel call for all of them.

A bus that is idle, with all units up and no read failing, enrols: its reads, counters and connection move into the
tables of the kernels. At the first thing that is not a whole good answer it is recalled, and its owner (`Bus`) deals
with that, as if it had sent the request itself; at its next rest it enrols again.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from collector.clock import Clock
from collector.kernels import express as kernels
from collector.kernels._jit import is_compiled
from collector.poll.agenda import Agenda
from collector.poll.intake import Intake
from collector.poll.schedule import NEVER, Read
from collector.poll.unit import Unit
from drivers.base import Link, Request
from drivers.modbus.link_tcp import TcpLink
from drivers.modbus.mbap import template
from drivers.modbus.tcp_pool import TcpPool

#: With so many requests in flight their answers are let come in for a moment and then served together: a wake-up for
#: each would cost more than the answers. They are stamped up to this moment late.
CROWD = 32
CROWD_PAUSE_S = 0.002

#: One wake-up serves at most this many chunks, then the event loop's other work gets its turn.
MAX_ROUNDS = 16
#: The first size of a table; afterwards it doubles.
MIN_ROWS = 64

Floats = NDArray[np.float64]
Table = NDArray[Any]


class Bus(Protocol):
    """What the express needs of a bus."""

    index: int
    link: Link
    agenda: Agenda
    units: list[Unit]
    busy_s: float

    def recall(self) -> bytes:
        """Take the line back; the frame in flight."""
        ...


class Express:
    """Tables of the lanes. `deadlines` and `wakes` are the poller's, one place per bus; `sweep_at` is its as well."""

    def __init__(
        self,
        deadlines: Floats,
        wakes: Floats,
        intake: Intake,
        clock: Clock,
        pool: TcpPool,
        sweep_at: Callable[[float], None],
    ) -> None:
        buses = len(deadlines)
        self._clock = clock
        self._intake = intake
        self._pool = pool
        self._sweep_at = sweep_at
        self._lent: dict[int, Bus] = {}
        self._slots: dict[Unit, int] = {}
        self._wakes = wakes
        self._lanes = np.full((buses, kernels.LANE_COLUMNS), -1, np.int64)
        self._lane_times = np.zeros((buses, kernels.LANE_TIME_COLUMNS))
        self._reads = np.empty((0, kernels.READ_COLUMNS), np.int64)
        self._read_times = np.empty((0, kernels.READ_TIME_COLUMNS))
        self._frames = np.empty((0, kernels.FRAME_BYTES), np.uint8)
        self._units = np.empty((0, kernels.UNIT_COLUMNS), np.int64)
        self._rtts = np.empty(0)
        self._told = np.zeros(kernels.TOLD_PLACES)
        self._odd = np.empty((kernels.CHUNK, kernels.ODD_COLUMNS), np.int64)
        self._oddities = np.zeros(1, np.int64)
        self._lane_of = np.empty(0, np.int32)
        self._events = np.empty(kernels.CHUNK * kernels.EVENT_WORDS, np.uint32)
        self._spill = np.empty((kernels.CHUNK, kernels.SPILL_BYTES), np.uint8)
        self._deadlines = deadlines
        if is_compiled():
            pool.let(self.serve)

    def enrol(self, bus: Bus) -> bool:
        """Serve `bus` from now on, if its line can be. Its next wake-up is then up to us."""
        if not isinstance(bus.link, TcpLink) or not is_compiled() or (loan := bus.link.lend()) is None:
            return False
        fd, transaction = loan
        following = -1
        for read in reversed(bus.agenda.live_reads):
            self._write(read, following)
            following = read.number
        for unit in bus.units:
            slot = self._slot(unit)
            self._units[slot] = unit.asked, unit.answered, unit.last_ok_ts_ns, unit.skipped
            self._rtts[slot] = unit.rtt_s
        self._lanes[bus.index] = fd, -1, following, transaction
        self._lane_times[bus.index] = 0.0, bus.busy_s
        self._lane_of = _grown(self._lane_of, fd + 1, -1)
        self._lane_of[fd] = bus.index
        self._lent[bus.index] = bus
        return True

    def release(self, bus: Bus) -> tuple[int, float, int]:
        """Give `bus` back, its reads and counters up to date: (read in flight or -1, sent when, last transaction)."""
        del self._lent[bus.index]
        self._refresh(bus, self._units, self._rtts, self._lane_times)
        for read in bus.agenda.live_reads:
            read.due = float(self._read_times[read.number, kernels.DUE])
        fd, in_flight, _, transaction = self._lanes[bus.index].tolist()
        self._lanes[bus.index, kernels.FD] = self._lane_of[fd] = -1
        if in_flight >= 0:
            self._told[kernels.FLYING] -= 1
        return in_flight, float(self._lane_times[bus.index, kernels.SENT_AT]), transaction

    def refresh(self) -> None:
        """Bring the counters of all enrolled buses and their units up to date."""
        # One number out of an array costs as much as a dozen out of a list.
        tables = self._units.tolist(), self._rtts.tolist(), self._lane_times.tolist()
        for bus in self._lent.values():
            self._refresh(bus, *tables)

    def launch(self) -> None:
        """Ask on every lane that is due."""
        lane = 0
        while lane < len(self._lanes):
            lane = kernels.launch(self._clock.mono(), lane, *self._tables(), self._odd, self._oddities)
            for _ in self._attend():
                pass  # sends that fell short; there are no events here
        self._breathe()

    def serve(self, epoll: int) -> Iterator[tuple[int, int]]:
        """Serve what is ready on the pool's epoll object; (descriptor, events) of what others must look at."""
        for _ in range(MAX_ROUNDS):
            image = self._intake.image
            events = kernels.serve(
                epoll,
                self._clock.mono(),
                self._clock.now_ns(),
                *self._tables(),
                self._odd,
                self._oddities,
                self._lane_of,
                self._events,
                self._spill,
                image.bytes,
                image.block,
                image.start,
                image.ts_ns,
                image.outcome,
                self._intake.state,
            )
            yield from self._attend()
            if events < kernels.CHUNK:
                break
        self._breathe()

    def close(self) -> None:
        """Take no further part; the lines are about to be closed."""
        for bus in list(self._lent.values()):
            bus.recall()

    def _attend(self) -> Iterator[tuple[int, int]]:
        """Hand what the kernel left to whom it concerns."""
        for row, (who, what, number) in enumerate(self._odd[: self._oddities[0]].tolist()):
            lane = who if what != kernels.EVENT else int(self._lane_of[who]) if who < len(self._lane_of) else -1
            bus = self._lent.get(lane)
            frame = b"" if bus is None else bus.recall()
            if what == kernels.EVENT:
                yield who, number
            elif bus is not None:
                outcome = OSError(-number, "") if number < 0 else number
                assert isinstance(bus.link, TcpLink)
                if what == kernels.SENT:
                    bus.link.transmitted(frame, outcome)
                else:
                    bus.link.received(outcome if isinstance(outcome, OSError) else self._spill[row, :outcome].tobytes())

    def _breathe(self) -> None:
        """Let a crowd of answers come in together, and see to it that nothing due is slept over."""
        flying, soonest = self._told.tolist()
        if flying >= CROWD:
            self._pool.pause(CROWD_PAUSE_S)
        self._told[kernels.SOONEST] = NEVER
        self._sweep_at(soonest)

    def _tables(self) -> tuple[Any, ...]:
        return (
            self._lanes,
            self._lane_times,
            self._reads,
            self._read_times,
            self._frames,
            self._units,
            self._rtts,
            self._deadlines,
            self._wakes,
            self._told,
        )

    def _write(self, read: Read, following: int) -> None:
        """The row of `read`; `following` is the next one of its lane."""
        number = read.number
        if number >= len(self._reads):
            self._reads = _grown(self._reads, number + 1)
            self._read_times = _grown(self._read_times, number + 1)
            self._frames = _grown(self._frames, number + 1)
        assert isinstance(read.request, Request)
        question, head, whole = template(read.request)
        self._reads[number] = following, self._slot(read.unit), whole
        self._read_times[number] = read.due, read.interval, read.unit.timeout_s + read.wire_s
        frame = b"\0\0" + question + b"\0\0" + head
        self._frames[number, : len(frame)] = np.frombuffer(frame, np.uint8)

    def _slot(self, unit: Unit) -> int:
        slot = self._slots.setdefault(unit, len(self._slots))
        if slot >= len(self._units):
            self._units = _grown(self._units, slot + 1)
            self._rtts = _grown(self._rtts, slot + 1)
        return slot

    def _refresh(self, bus: Bus, units: Any, rtts: Any, lane_times: Any) -> None:
        bus.busy_s = float(lane_times[bus.index][kernels.BUSY])
        for unit in bus.units:
            slot = self._slots[unit]
            unit.asked, unit.answered, unit.last_ok_ts_ns, unit.skipped = map(int, units[slot])
            unit.rtt_s = float(rtts[slot])


def _grown(table: Table, rows: int, fill: int = 0) -> Table:
    """`table` with room for `rows`, at least doubled when it has to grow."""
    if rows <= len(table):
        return table
    grown = np.full((max(rows, 2 * len(table), MIN_ROWS), *table.shape[1:]), fill, table.dtype)
    grown[: len(table)] = table
    return grown
