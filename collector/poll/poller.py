"""Asks every device on every bus.

No task, future or timer exists per request: one sweep over two arrays finds the buses whose answer is overdue and
those with something to do. Among the reads of a bus that are due the one with the earliest deadline goes first.
"""

import asyncio
import random
from array import array
from collections.abc import Callable

import numpy as np

from collector.clock import Clock
from collector.poll.bus import Bus
from collector.poll.express import Express
from collector.poll.intake import Intake
from collector.poll.plan import LinkFactory, Plan
from collector.poll.schedule import NEVER
from collector.poll.surroundings import Surroundings
from collector.poll.unit import Breaker

#: Two sweeps are at least this far apart: what comes due in between goes together. Answers are served when they
#: arrive, not here; a wake-up of an idle machine costs more than a whole sweep.
SWEEP_S = 0.01
#: A sweep is made at least this often, as a sign of life for the watchdog.
IDLE_SWEEP_S = 1.0


class Poller:
    """All buses of a gateway and the one sweep that serves them. `start` needs a running event loop."""

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
        self.swept_at = now
        self._next_sweep = array("d", [now])  # shared with the buses, which look at it for every request
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        deadlines = array("d", [NEVER]) * len(plan.buses)
        wakes = array("d", [now]) * len(plan.buses)
        self._deadlines = np.frombuffer(deadlines, np.float64)
        self._wakes = np.frombuffer(wakes, np.float64)
        self._express = Express(self._deadlines, self._wakes, intake, clock, links.pool, self.sweep_at)
        around = Surroundings(
            plan.blocks,
            plan.split,
            links,
            intake,
            clock,
            breaker,
            jitter,
            deadlines,
            wakes,
            self._next_sweep,
            self.sweep_at,
            self._express,
        )
        self._buses = [Bus(bus, i, around) for i, bus in enumerate(plan.buses)]

    @property
    def buses(self) -> list[Bus]:
        """All lines, the counters of their units up to date."""
        self._express.refresh()
        return self._buses

    def sweep(self) -> None:
        """Serve every bus whose deadline or due time has passed."""
        now = self._clock.mono()
        self.swept_at = now
        self._next_sweep[0] = -NEVER  # nobody need wake us while we are at it
        for i in np.flatnonzero(self._deadlines <= now).tolist():
            self._buses[i].expired(now)
        if (self._wakes <= now).any():
            self._express.launch()
        for i in np.flatnonzero(self._wakes <= now).tolist():
            self._buses[i].wake(now)
        self._next_sweep[0] = NEVER
        self.sweep_at(float(min(self._deadlines.min(initial=NEVER), self._wakes.min(initial=NEVER))))

    def sweep_at(self, at: float) -> None:
        """Bring the next sweep forward to `at`; not closer to the last one than two may follow each other."""
        at = min(max(at, self.swept_at + SWEEP_S), self.swept_at + IDLE_SWEEP_S)
        if at >= self._next_sweep[0]:
            return
        self._next_sweep[0] = at
        if self._loop is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(at - self._clock.mono(), self.sweep)

    def start(self) -> None:
        """Begin to poll, from the event loop's timer."""
        self._loop = asyncio.get_running_loop()
        self.sweep()

    def close(self) -> None:
        """Stop polling and close every line; answers in flight are given up."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
        self._express.close()
        for bus in self._buses:
            bus.link.close()
