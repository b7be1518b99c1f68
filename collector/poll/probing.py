"""How units that are down are asked whether they are back, and what that may cost the others on their line."""

from collections.abc import Sequence

from collector.poll.unit import Standing, Unit

#: A probe may block the line for this share of the shortest interval on it; every 4th one may take the unit's full
#: timeout, so that a unit that got slow can come back too.
PROBE_SHARE = 0.5
FULL_PROBE_EVERY = 4
#: The others also wait no longer than this many usual round trips, and never less than a busy network may take.
PROBE_ROUND_TRIPS = 3
PROBE_LEAST_S = 0.1
#: Where others answer, the probes of all units that are down together get this share of the line: the more are down,
#: the longer the pauses grow. A unit that is back is noticed within PROBE_LONGEST_S all the same.
PROBE_BUDGET = 0.01
PROBE_LONGEST_S = 300.0
#: Units that fell silent within this time of each other may have lost the same fuse: when one is back, all are asked.
SAME_CAUSE_S = 30.0


def probe_timeout_s(unit: Unit, units: Sequence[Unit], shortest_s: float) -> float:
    """How long to wait for the answer to a probe of `unit`, on the line of `units` read every `shortest_s`."""
    if unit.probes % FULL_PROBE_EVERY == 0:
        return unit.timeout_s
    usual_s = unit.rtt_s or max(other.rtt_s for other in units)
    wait_s = PROBE_SHARE * shortest_s
    if usual_s:
        wait_s = min(wait_s, max(PROBE_LEAST_S, PROBE_ROUND_TRIPS * usual_s))
    return min(unit.timeout_s, wait_s)


def longest_pause_s(units: Sequence[Unit], took_s: float) -> float:
    """How far the pauses of a unit must grow if each probe on the line of `units` takes as long as the last one."""
    down = sum(unit.standing is Standing.DOWN for unit in units)
    if down == len(units):
        return 0.0  # nobody is harmed
    return min(PROBE_LONGEST_S, down * took_s / PROBE_BUDGET)


def fell_together(unit: Unit, units: Sequence[Unit]) -> list[Unit]:
    """The units that are down since about the time that `unit` fell silent."""
    return [
        other
        for other in units
        if other.standing is Standing.DOWN and abs(other.failed_since - unit.failed_since) <= SAME_CAUSE_S
    ]
