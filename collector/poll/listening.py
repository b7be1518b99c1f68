"""What the devices of a line say by themselves: stamped when it is heard, and for how long it holds.

Nothing is asked and nothing is in flight, so it goes on beside the questions of the same line. One comparison per wake
of the bus finds what was not heard again in time: its points then have no value (COMM_ERROR), and no old one is ever
given a new time.
"""

import logging
from collections.abc import Callable
from typing import Protocol, cast

from collector.clock import Clock
from collector.poll.intake import Intake
from collector.poll.schedule import NEVER
from collector.poll.unit import Standing, Unit
from collector.types import Outcome, Question
from drivers.base import Link
from drivers.text.command import Command

log = logging.getLogger(__name__)


class _ListeningLink(Link, Protocol):
    def listen(self, commands: list[Command], heard: Callable[[Command, memoryview], None]) -> None: ...


class _Ear:
    """One block that is listened for."""

    __slots__ = ("number", "patience_s", "silent", "since", "unit")

    def __init__(self, number: int, unit: Unit, patience_s: float, now: float) -> None:
        self.number = number
        self.unit = unit
        self.patience_s = patience_s
        self.since = now  #: heard, or waited for, since then
        self.silent = False  #: not heard in time, which was told


class Listening:
    """The listened blocks of one bus. `spoke` is called for each frame, `jitter` gives 0 to 1."""

    def __init__(self, intake: Intake, clock: Clock, jitter: Callable[[], float], spoke: Callable[[], None]) -> None:
        self._intake = intake
        self._clock = clock
        self._jitter = jitter
        self._spoke = spoke
        self._ears: dict[Command, _Ear] = {}

    def add(self, number: int, question: Question | None, unit: Unit) -> bool:
        """Listen for block `number` if its question has nothing to send; False: it must be asked."""
        if not isinstance(question, Command) or not question.unasked:
            return False
        self._ears[question] = _Ear(number, unit, question.patience_s, self._clock.mono())
        return True

    def begin(self, link: Link) -> None:
        """Hear what `link` hears."""
        if self._ears:
            cast(_ListeningLink, link).listen(list(self._ears), self.heard)

    def opened(self, now: float) -> None:
        """The line is there: from now on it can be heard."""
        for ear in self._ears.values():
            ear.since = now

    def heard(self, command: Command, data: memoryview) -> None:
        ts_ns, now = self._clock.now_ns(), self._clock.mono()
        ear = self._ears[command]
        self._intake.answer(ear.number, ts_ns, data)
        unit = ear.unit
        unit.asked += 1  # so that what was asked is what was answered and what was not
        unit.answered += 1
        unit.last_ok_ts_ns = ts_ns
        if ear.silent:
            log.info("%s: %s is heard again after %.0f s", unit.device, command, now - ear.since)
        ear.since, ear.silent = now, False
        if unit.failures or unit.standing is not Standing.UP:
            unit.heard(now)
        self._spoke()

    def next_at(self) -> float:
        """When to look for what was not heard in time."""
        return min((ear.since + ear.patience_s for ear in self._ears.values() if not ear.silent), default=NEVER)

    def check(self, now: float) -> None:
        """Tell of what was not heard in time."""
        for command, ear in self._ears.items():
            if ear.silent or now < ear.since + ear.patience_s:
                continue
            ear.silent = True
            unit = ear.unit
            unit.asked += 1
            unit.timeouts += 1
            unit.last_error = f"nothing heard of {command} for {ear.patience_s:.0f} s"
            log.warning("%s: nothing heard of %s for %.0f s", unit.device, command, ear.patience_s)
            self._intake.fail(ear.number, self._clock.now_ns(), Outcome.TIMEOUT)
            if not unit.blocks:  # else the answers to its questions tell how it is
                unit.missed(now, self._jitter)

    def lost(self) -> None:
        """The line is gone, and with it whatever was heard."""
        ts_ns = self._clock.now_ns()
        for ear in self._ears.values():
            ear.silent = False  # it is waited for again when the line is back
            self._intake.fail(ear.number, ts_ns, Outcome.LINK_DOWN)
