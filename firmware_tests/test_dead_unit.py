"""One dead unit of four on an RS-485 line must not cost its neighbours their polls.

Three lines run side by side in real time, each with four simulated units behind a pseudo-terminal at the pace of 9600
baud: one where all answer, one with a dead unit, and the same without the protection. What the machine itself may
lose, it loses on all three.
"""

import asyncio

import pytest

from collector.clock import SystemClock
from collector.inventory import Inventory
from collector.poll import Poller, agenda
from collector.poll.intake import Intake
from collector.poll.schedule import Read
from collector.poll.unit import Breaker, Standing
from collector.settings import Settings
from drivers.links import Links
from drivers.simulators.control import switch
from drivers.simulators.site import Place, Site

BAUD = 9600
UNITS = range(1, 5)
DEAD = "unit-2"
#: From the start until the dead unit must be out of the way, and what is counted after that.
SETTLE_S = 30.0
COUNT_S = 40.0
#: As in the profiles of slow units: longer than the neighbours' interval, so that each wait in vain costs a poll.
TIMEOUT_S = 2.0
LATE_S = 1.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Tireless(Read):
    """A read that is never slowed down, however often it stays silent."""

    strikes = property(lambda self: 0, lambda self, value: None)


class Line:
    """Four units, one pseudo-terminal, one poller; `on_time` is the share of the neighbours' polls that were kept."""

    def __init__(self, directory, name, breaker, *, dead):
        site = Site(seed=1)
        places = [Place(f"unit-{u}", name, u, "generic/xy_md02") for u in UNITS]
        url = site.open_pty(places, directory / name, BAUD)
        if dead:
            switch(site.units, DEAD, "silent")
        settings = Settings.model_validate(
            {
                "bus": ({"name": name, "url": url, "timeout_s": TIMEOUT_S, "late_s": LATE_S},),
                "device": tuple(
                    {"name": p.name, "bus": name, "unit": p.unit, "profile": p.profile, "interval_s": 1.0}
                    for p in places
                ),
            }
        )
        self._site, self._links = site, Links()
        self._poller = Poller(Inventory(settings), self._links, Intake(1 << 20), SystemClock(), breaker, lambda: 0.5)
        (bus,) = self._poller.buses
        self._neighbours = [unit for unit in bus.units if unit.device != DEAD]
        (self.dead,) = [unit for unit in bus.units if unit.device == DEAD]

    def start(self):
        self._poller.start()

    def counts(self):
        return sum(u.answered for u in self._neighbours), sum(u.skipped for u in self._neighbours)

    def count_from(self, before):
        answered, skipped = (now - then for now, then in zip(self.counts(), before, strict=True))
        self.answered = answered
        self.on_time = answered / (answered + skipped)

    def close(self):
        self._poller.close()
        self._links.close()
        self._site.close()


async def run(directory):
    healthy = Line(directory, "healthy", Breaker(), dead=False)
    guarded = Line(directory, "guarded", Breaker(), dead=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agenda, "Read", Tireless)
        twin = Line(directory, "twin", Breaker(down_after_failures=10**9), dead=True)
    lines = healthy, guarded, twin
    for line in lines:
        line.start()
    await asyncio.sleep(SETTLE_S)
    before = [line.counts() for line in lines]
    await asyncio.sleep(COUNT_S)
    for line, then in zip(lines, before, strict=True):
        line.count_from(then)
        line.close()
    return lines


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return asyncio.run(run(tmp_path_factory.mktemp("lines")))


def test_the_neighbours_of_a_dead_unit_keep_99_of_100_polls_on_time(lines):
    healthy, guarded, _ = lines
    assert healthy.answered > 0.5 * 3 * COUNT_S, "there was something to lose"
    assert guarded.dead.standing is Standing.DOWN
    assert guarded.dead.answered == 0
    assert guarded.on_time >= 0.99 * healthy.on_time
    assert guarded.answered >= 0.99 * healthy.answered - len(UNITS)  # a poll at either end of the count


def test_twin_without_breaker_and_slow_down_a_dead_unit_costs_its_neighbours_polls(lines):
    healthy, _, twin = lines
    assert twin.dead.standing is Standing.SUSPECT
    assert twin.on_time < 0.99 * healthy.on_time
    assert twin.answered < 0.99 * healthy.answered
