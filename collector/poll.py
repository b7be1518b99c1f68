"""Asks every device on every bus.

No task, future or timer exists per request: one sweep over two arrays finds the buses whose answer is overdue and
those with something to do. Among the reads of a bus that are due the one with the earliest deadline goes first.
"""

import asyncio
import random
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from collector.bus import Bus, BusPlan, LinkFactory, Surroundings
from collector.clock import Clock
from collector.intake import Intake
from collector.schedule import NEVER
from collector.types import BlockSpec
from collector.unit import Breaker

#: Resolution of due times and deadlines. Finer costs CPU for nothing: answers are served when they arrive, not here.
SWEEP_S = 0.02


class Plan(Protocol):
    """Numbered blocks, the buses they belong to, and how a refused one is taken apart."""

    @property
    def blocks(self) -> Sequence[BlockSpec]: ...
    @property
    def buses(self) -> Sequence[BusPlan]: ...
    def split(self, number: int) -> list[int]: ...


class _Alarm:
    """One bus's places in the sweep's two arrays."""

    __slots__ = ("_deadlines", "_index", "_wakes")

    def __init__(self, index: int, deadlines: "array[float]", wakes: "array[float]") -> None:
        self._index = index
        self._deadlines = deadlines
        self._wakes = wakes

    def deadline(self, at: float) -> None:
        self._deadlines[self._index] = at

    def wake(self, at: float) -> None:
        self._wakes[self._index] = at


class Poller:
    """All buses of a gateway and the one sweep that serves them."""

    def __init__(
        self,
        plan: Plan,
        links: LinkFactory,
        intake: Intake,
        clock: Clock,
        breaker: Breaker,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        now = clock.mono()
        deadlines = array("d", [NEVER]) * len(plan.buses)
        wakes = array("d", [now]) * len(plan.buses)
        around = Surroundings(plan.blocks, plan.split, links, intake, clock, breaker, jitter)
        self.buses = [Bus(bus, around, _Alarm(i, deadlines, wakes)) for i, bus in enumerate(plan.buses)]
        self._deadlines = np.frombuffer(deadlines, np.float64)
        self._wakes = np.frombuffer(wakes, np.float64)
        self.swept_at = now

    def sweep(self) -> None:
        """Serve every bus whose deadline or due time has passed."""
        now = self._clock.mono()
        self.swept_at = now
        for i in np.flatnonzero(self._deadlines <= now).tolist():
            self.buses[i].expired(now)
        for i in np.flatnonzero(self._wakes <= now).tolist():
            self.buses[i].wake(now)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            self.sweep()
            await asyncio.sleep(SWEEP_S)

    def close(self) -> None:
        """Close every line; answers in flight are given up."""
        for bus in self.buses:
            bus.link.close()
