"""The poller on links that answer as scripted, with the clock in the test's hand."""

import random

import numpy as np
import pytest

from collector.clock import FakeClock
from collector.poll import Poller
from collector.poll.intake import RECORD_BYTES, Intake
from collector.poll.probing import PROBE_LEAST_S
from collector.poll.unit import Breaker, Standing
from collector.types import BlockSpec, Outcome
from drivers.address import parse_bus
from drivers.errors import BadFrame, DeviceException
from drivers.modbus.tcp_pool import TcpPool
from tests.collector.poll.plans import BusPlan, UnitPlan
from tests.scripted_link import ScriptedLink


class Hall:
    """One bus with `units`, each with `blocks` reads of 10 registers every `interval_s`."""

    def __init__(self, units=1, blocks=1, interval_s=1.0, split=None, url="serial:///dev/ttyX"):
        self.clock = FakeClock()
        self.blocks = []
        plans = []
        for u in range(units):
            numbers = []
            for b in range(blocks):
                numbers.append(len(self.blocks))
                self.blocks.append(BlockSpec(f"d{u}", u + 1, 3, 100 * b, 10, interval_s, (), ()))
            plans.append(UnitPlan(f"d{u}", u + 1, tuple(numbers)))
        self.buses = [BusPlan("bus", plans, parse_bus(url))]
        self.split = split or (lambda number: [])
        self.intake = Intake(1 << 16)
        self.poller = Poller(self, self, self.intake, self.clock, Breaker(), random.Random(1).random)
        self.bus = self.poller.buses[0]

    pool = TcpPool()

    def create(self, address, sink, *, timeout_s, late_s=None):
        self.link = ScriptedLink(sink, self.clock)
        return self.link

    def go(self, seconds, reply=None, step=0.02):
        """Let time pass; `reply(link)` is called for each request about to be answered, after 20 ms on the line."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            if self.link.in_flight is not None and reply is not None:
                reply(self.link)
            self.poller.sweep()

    def records(self):
        batch = self.intake.take()
        return [(int(b), Outcome(int(o))) for b, o in zip(batch.block, batch.outcome, strict=True)]

    def balance(self):
        for unit in self.bus.units:
            over = unit.answered + unit.timeouts + unit.exceptions + unit.bad_frames + unit.lost
            in_flight = self.link.in_flight is not None and self.link.in_flight.unit == unit.unit
            assert unit.asked == over + in_flight


def answer(link):
    link.answer()


def test_every_block_is_asked_once_per_interval_on_a_grid_that_does_not_drift():
    hall = Hall(units=2, blocks=2)
    hall.go(10.01, answer)
    for number, _ in enumerate(hall.blocks):
        spec = hall.blocks[number]
        times = [t for t, r in hall.link.sent if (r.unit, r.address) == (spec.unit, spec.address)]
        assert len(times) in (10, 11)
        assert times[-1] - times[0] == pytest.approx(len(times) - 1, abs=0.1)
    assert all(unit.skipped == 0 for unit in hall.bus.units)
    hall.balance()


def test_an_answer_is_stamped_when_it_arrives_and_its_bytes_are_kept():
    hall = Hall()
    hall.go(0.04)
    arrived = hall.clock.now_ns()
    hall.link.answer(bytes(range(20)))
    batch = hall.intake.take()
    assert batch.ts_ns.tolist() == [arrived]
    assert bytes(batch.image[batch.start[0] : batch.start[0] + 20]) == bytes(range(20))


def test_the_read_with_the_earliest_deadline_goes_first():
    hall = Hall(units=1, blocks=2, interval_s=10.0)
    quick = BlockSpec("d0", 1, 3, 500, 10, 0.5, (), ())
    hall.blocks.append(quick)
    unit = hall.bus.units[0]
    hall.bus.agenda.ask_at(hall.bus.agenda.add(2, unit), hall.clock.mono())
    hall.poller.sweep()
    assert hall.link.sent[0][1].address == 500


def test_one_dead_unit_of_four_leaves_the_others_on_time():
    hall = Hall(units=4)
    for unit in hall.bus.units:
        unit.timeout_s = 1.0

    def reply(link):
        if link.in_flight.unit != 1:
            link.answer()

    hall.go(30, reply)
    before = [(u.asked, u.skipped) for u in hall.bus.units[1:]]
    hall.go(300, reply)
    for unit, (asked, skipped) in zip(hall.bus.units[1:], before, strict=True):
        on_time = unit.asked - asked
        assert (unit.skipped - skipped) / on_time < 0.01
        assert on_time >= 0.99 * 300
    assert hall.bus.units[0].standing is Standing.DOWN
    dead = [t for t, r in hall.link.sent if r.unit == 1 and t > hall.clock.mono() - 240]
    assert len(dead) <= 6, "a unit that is down is probed rarely"
    hall.balance()


def test_without_the_breaker_the_dead_unit_starves_the_others(monkeypatch):
    monkeypatch.setattr("collector.poll.schedule.SILENT_BLOCK_STRIKES", 10**9)
    hall = Hall(units=4)
    hall.poller = Poller(hall, hall, hall.intake, hall.clock, Breaker(down_after_failures=10**9), lambda: 0.5)
    hall.bus = hall.poller.buses[0]
    for unit in hall.bus.units:
        unit.retries = 10**9
        unit.timeout_s = 1.0

    def reply(link):
        if link.in_flight.unit != 1:
            link.answer()

    hall.go(30, reply)
    before = hall.bus.units[1].answered
    hall.go(300, reply)
    assert hall.bus.units[1].answered - before < 0.99 * 300


def test_a_unit_goes_down_only_after_enough_failures_and_enough_time():
    hall = Hall(interval_s=0.1)
    hall.go(2.5)
    unit = hall.bus.units[0]
    assert unit.failures >= 3
    assert unit.standing is Standing.SUSPECT
    hall.go(2.5)
    assert unit.standing is Standing.DOWN


@pytest.mark.parametrize(("retries", "asked_at"), [(0, [0]), (1, [0, 2]), (2, [0, 2, 4])])
def test_a_read_that_brought_nothing_is_tried_again_as_often_as_its_unit_may_be(retries, asked_at):
    hall = Hall(blocks=2, interval_s=10.0)
    hall.bus.units[0].retries = retries
    hall.go(10.1, lambda link: link.answer() if link.in_flight.address else link.fail(BadFrame("noise")))
    begin = hall.link.sent[0][0]
    times = [at - begin for at, request in hall.link.sent if request.address == 0 and at < begin + 9]
    assert times == pytest.approx(asked_at, abs=0.2)


def asked(hall, unit, since=0.0):
    return [at for at, request in hall.link.sent if request.unit == unit and at >= since]


def answers_except(*silent):
    return lambda link: link.answer() if link.in_flight.unit not in silent else None


def test_where_others_answer_the_pauses_of_dead_units_grow_until_all_their_probes_cost_a_hundredth_of_the_line():
    hall = Hall(units=8)
    hall.go(2, answer)
    hall.go(600, answers_except(1, 2, 3))
    since = hall.clock.mono()
    hall.go(3000, answers_except(1, 2, 3))
    for unit in (1, 2, 3):  # half a second of timeout and a tenth for each probe but every fourth
        assert 3000 / 300 - 1 <= len(asked(hall, unit, since)) < 3000 / 60
    probes = sum(len(asked(hall, unit, since)) for unit in (1, 2, 3))
    assert probes * (3 * PROBE_LEAST_S + 0.5) / 4 < 0.015 * 3000
    hall.balance()


def test_where_all_are_dead_nobody_is_harmed_and_the_pauses_stay_short():
    hall = Hall(units=2)
    hall.go(2, answer)
    hall.go(600)
    since = hall.clock.mono()
    hall.go(600)
    assert all(len(asked(hall, unit, since)) >= 600 / (1.25 * 60) - 1 for unit in (1, 2))


def test_a_probe_waits_three_usual_round_trips_and_every_fourth_the_whole_timeout():
    hall = Hall(units=2)
    hall.go(2, answer)
    hall.go(120, answers_except(1))
    waits = []
    for _ in range(30_000):
        hall.go(0.02, answers_except(1))
        if hall.link.in_flight is not None and hall.link.in_flight.unit == 1:
            begin = hall.clock.mono()
            while hall.link.in_flight is not None and hall.link.in_flight.unit == 1:
                hall.go(0.02)
            waits.append(hall.clock.mono() - begin)
    assert len(waits) >= 8
    assert sorted(waits)[len(waits) // 2] == pytest.approx(PROBE_LEAST_S, abs=0.05)
    assert max(waits) == pytest.approx(0.5, abs=0.05)


def test_when_one_of_the_units_that_fell_silent_together_is_back_the_others_are_asked_at_once():
    hall = Hall(units=4)
    hall.go(2, answer)
    hall.go(300, answers_except(3))
    hall.go(900, answers_except(1, 2, 3))
    while hall.bus.units[0].standing is Standing.DOWN:
        hall.go(0.1, answers_except(2, 3))
    back = hall.clock.mono()
    hall.go(2, answers_except(3))
    assert hall.bus.units[1].standing is Standing.UP
    assert asked(hall, 3, back) == [], "the third died of something else"


def test_probes_of_a_dead_unit_back_off_to_the_bound_and_the_unit_comes_back_with_its_first_answer():
    hall = Hall()
    hall.go(400)
    times = [t for t, _ in hall.link.sent]
    gaps = np.diff(times[5:])
    assert gaps.max() <= 60 * 1.25 + 1
    assert gaps[-1] > 30
    hall.go(90, answer)
    assert hall.bus.units[0].standing is Standing.UP
    asked = hall.bus.units[0].asked
    hall.go(10, answer)
    assert hall.bus.units[0].asked - asked in (10, 11)


def test_a_unit_that_goes_down_says_so_once_for_each_of_its_blocks():
    hall = Hall(blocks=3)
    hall.go(120)
    records = hall.records()
    suspended = [b for b, o in records if o is Outcome.SUSPENDED]
    assert len(suspended) == len(set(suspended)) == 2, "the failing block itself has its timeout"


def test_a_failed_block_never_discards_the_good_blocks_of_its_device():
    hall = Hall(blocks=3)

    def reply(link):
        if link.in_flight.address != 100:
            link.answer()

    hall.go(60, reply)
    assert hall.bus.units[0].standing is Standing.UP
    good = [b for b, o in hall.records() if o is Outcome.OK]
    assert good.count(0) >= 58
    assert good.count(2) >= 58
    silent = [t for t, r in hall.link.sent if r.address == 100]
    assert len(silent) < 20, "a silent block is slowed down"


def test_exception_2_on_a_merged_block_splits_it_once_and_is_remembered():
    hall = Hall(blocks=1)
    calls = []

    def split(number):
        calls.append(number)
        if number != 0:
            return []
        hall.blocks.append(BlockSpec("d0", 1, 3, 0, 4, 1.0, (), ()))
        hall.blocks.append(BlockSpec("d0", 1, 3, 6, 4, 1.0, (), ()))
        return [1, 2]

    hall.bus.agenda._split = split

    def reply(link):
        if link.in_flight.count == 10 or link.in_flight.address == 6:
            link.fail(DeviceException(2))
        else:
            link.answer()

    hall.go(60, reply)
    assert [r.count for _, r in hall.link.sent].count(10) == 1
    assert calls == [0, 2]
    assert len([1 for _, r in hall.link.sent if r.address == 6]) == 1, "a refused register is asked rarely"
    assert len([1 for _, r in hall.link.sent if (r.address, r.count) == (0, 4)]) >= 58
    assert hall.bus.units[0].standing is Standing.UP
    hall.balance()


@pytest.mark.parametrize("code", [10, 11])
def test_a_gateway_exception_takes_the_unit_down_and_not_the_line(code):
    hall = Hall(units=2)

    def reply(link):
        if link.in_flight.unit == 1:
            link.fail(DeviceException(code))
        else:
            link.answer()

    hall.go(30, reply)
    assert hall.bus.units[0].standing is Standing.DOWN
    assert hall.bus.units[1].standing is Standing.UP
    assert hall.bus.is_open
    assert hall.link.opens == 1


def test_a_busy_device_is_asked_again_and_stays_up():
    hall = Hall(interval_s=60.0)
    hall.go(0.1, lambda link: link.fail(DeviceException(6)))
    assert hall.bus.units[0].standing is Standing.UP
    hall.go(5, answer)
    assert hall.bus.units[0].answered == 1, "retried long before the next interval"
    hall.go(60, answer)
    assert hall.bus.units[0].answered == 2, "and the grid stays where it was"


def test_a_bad_frame_costs_one_read_and_the_next_perfect_answer_counts():
    hall = Hall()
    hall.go(0.1, lambda link: link.fail(BadFrame("crc")))
    hall.go(3, answer)
    assert hall.bus.units[0].standing is Standing.UP
    assert hall.bus.units[0].bad_frames == 1


@pytest.mark.parametrize(
    ("url", "opens", "back_s"), [("rtu+tcp://192.0.2.7:4001", 12, 80), ("serial:///dev/ttyX", 100, 5.1)]
)
def test_a_lost_line_is_opened_again_with_growing_pauses_and_said_once(url, opens, back_s):
    """A port of this machine soon, whatever the time: nobody else is bothered, and a replugged adapter is missed."""
    hall = Hall(units=2, blocks=2, url=url)
    hall.go(2, answer)
    hall.intake.take()
    hall.link.refuse_open = True
    hall.go(1)
    hall.link.lose()
    hall.go(300)
    assert hall.link.opens < opens
    down = [b for b, o in hall.records() if o is Outcome.LINK_DOWN]
    assert sorted(down) == [0, 1, 2, 3]
    assert {u.standing for u in hall.bus.units} == {Standing.DOWN}
    hall.link.refuse_open = False
    hall.go(back_s, answer)
    assert {u.standing for u in hall.bus.units} == {Standing.UP}
    hall.balance()


def test_a_unit_under_quarantine_waits_while_its_neighbour_is_asked():
    hall = Hall(units=2)
    hall.link.quarantine_s = 5.0
    hall.go(1.0, lambda link: link.in_flight.unit == 2 and link.answer())
    asked = hall.bus.units[0].asked
    hall.go(4, answer)
    assert hall.bus.units[0].asked == asked
    assert hall.bus.units[1].answered >= 4
    hall.go(4, answer)
    assert hall.bus.units[0].answered >= 2


def test_an_overloaded_bus_skips_and_counts_instead_of_falling_behind():
    hall = Hall(units=10, interval_s=0.1)
    hall.go(10, answer)
    assert sum(u.skipped for u in hall.bus.units) > 0
    for unit in hall.bus.units:
        assert unit.answered > 20, "earliest deadline first is fair"


def test_a_full_intake_drops_and_counts():
    intake = Intake(10 + RECORD_BYTES)
    intake.answer(0, 1, memoryview(bytes(10)))
    intake.answer(1, 2, memoryview(bytes(10)))
    assert (intake.accepted, intake.dropped) == (1, 1)
    assert len(intake.take()) == 1
    intake.answer(1, 2, memoryview(bytes(10)))
    assert len(intake.take()) == 1
