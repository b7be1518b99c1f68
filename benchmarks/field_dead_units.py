"""32 units on one 9600 baud line, and 4 of them die: poll periods of the other 28 and what the dead cost.

Virtual time; the poller, the link and their timing are the daemon's own (firmware_tests/virtual_bus.py). The twin has
no breaker and does not slow down a silent read.
"""

import logging
import statistics
import tempfile
from pathlib import Path

from collector.poll import agenda
from collector.poll.schedule import Read
from collector.poll.unit import Breaker
from firmware_tests.virtual_bus import VirtualBus, full_line

UNITS, BAUD, INTERVAL_S = 32, 9600, 4.0
DEAD = {3, 11, 19, 27}
MINUTE_S, COUNT_S = 60.0, 3600.0


class Tireless(Read):
    """A read that is never slowed down, however often it stays silent."""

    strikes = property(lambda self: 0, lambda self, value: None)


def watch(plan, breaker, seconds):
    """Periods of the living before and after, and the share of the line that the dead hold: first minute, later."""
    bus = VirtualBus(plan, breaker)
    bus.go(MINUTE_S)
    before = bus.periods_s(seconds)
    bus.wire.dead |= DEAD

    def held(during_s):
        began = sum(bus.link.held_s[unit] for unit in DEAD)
        periods = bus.periods_s(during_s)
        return periods, (sum(bus.link.held_s[unit] for unit in DEAD) - began) / during_s

    _, first = held(MINUTE_S)
    after, later = held(seconds)
    living = set(before) - DEAD
    return [before[unit] for unit in living], [after[unit] for unit in living], first, later


def run(quick):
    # an hour of virtual time takes seconds: `quick` has nothing to save here
    logging.disable(logging.WARNING)
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        plan = full_line(Path(directory), UNITS, BAUD, INTERVAL_S)
        (bus,) = plan.buses
        print(
            f"{UNITS} units at {BAUD} baud, each read every {INTERVAL_S:g} s; predicted load {bus.load:.0%}; then 4 die"
        )
        print(f"{'':>8} {'period of the others':>34} {'the dead hold of the line':>32}")
        print(f"{'':>8} {'before':>11} {'after, mean':>11} {'longest':>10} {'first minute':>20} {'later':>11}")
        for name, breaker, read in (
            ("ours", Breaker(), Read),
            ("twin", Breaker(down_after_failures=10**9), Tireless),
        ):
            agenda.Read = read
            before, after, first, later = watch(plan, breaker, COUNT_S)
            mean = statistics.mean(after)
            print(
                f"{name:>8} {statistics.mean(before):>9.3f} s {mean:>9.3f} s {max(after):>8.3f} s "
                f"{first:>20.1%} {later:>11.2%}"
            )
            found[name] = {
                "period_before_s": round(statistics.mean(before), 3),
                "period_after_s": round(mean, 3),
                "longest_period_after_s": round(max(after), 3),
                "dead_share_first_minute": round(first, 4),
                "dead_share_later": round(later, 4),
            }
    agenda.Read = Read
    logging.disable(logging.NOTSET)
    return {"dead_units": found}
