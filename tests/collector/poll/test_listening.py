"""What devices say by themselves, on a scripted link, with the clock in the test's hand."""

import random

import pytest

from collector.clock import FakeClock
from collector.poll import Poller
from collector.poll.intake import Intake
from collector.poll.listening import Listening
from collector.poll.unit import Breaker, Standing
from collector.types import BlockSpec, Outcome
from drivers.modbus.tcp_pool import TcpPool
from drivers.text.command import Command
from drivers.text.framing import Delimited
from tests.collector.poll.plans import BusPlan, UnitPlan
from tests.scripted_link import ScriptedLink

LINE = Delimited(end=b"\n")


def said(name, patience_s=10.0):
    return Command(1, name, b"", 0, LINE, bytes, patience_s=patience_s)


class Line:
    """One device that says `commands` by itself and, with `polled`, is asked one thing every second as well."""

    def __init__(self, *commands, polled=False):
        self.clock = FakeClock()
        blocks = [BlockSpec("d", 1, 0, 0, 4, 1.0, (), (), command=command) for command in commands]
        if polled:
            blocks.append(BlockSpec("d", 1, 3, 0, 10, 1.0, (), ()))
        self.blocks, self.buses = blocks, [BusPlan("bus", [UnitPlan("d", 1, tuple(range(len(blocks))))])]
        self.intake = Intake(1 << 16)
        self.poller = Poller(self, self, self.intake, self.clock, Breaker(), random.Random(1).random)
        self.unit = self.poller.buses[0].units[0]

    pool = TcpPool()

    def split(self, number):
        return []

    def create(self, address, sink, *, timeout_s, late_s=None):
        self.link = ScriptedLink(sink, self.clock)
        return self.link

    def go(self, seconds, step=0.1):
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            if self.link.in_flight is not None:
                self.link.answer()
            self.poller.sweep()

    def say(self, command, data=bytes(8)):
        self.link.heard(command, memoryview(data))

    def records(self):
        batch = self.intake.take()
        return [
            (int(b), Outcome(int(o)), int(t)) for b, o, t in zip(batch.block, batch.outcome, batch.ts_ns, strict=True)
        ]


def balanced(unit):
    return unit.asked == unit.answered + unit.timeouts + unit.exceptions + unit.bad_frames + unit.lost


def test_each_frame_is_a_record_with_the_time_it_was_heard():
    values = said("values")
    line = Line(values)
    line.go(1)
    line.say(values)
    first = line.clock.now_ns()
    line.go(1)
    line.say(values)
    assert line.records() == [(0, Outcome.OK, first), (0, Outcome.OK, line.clock.now_ns())]
    assert line.unit.standing is Standing.UP
    assert line.link.sent == []
    assert balanced(line.unit)


def test_what_is_not_heard_again_in_time_fails_once_and_no_old_value_gets_a_new_time():
    values = said("values", patience_s=10)
    line = Line(values)
    line.go(1)
    line.say(values)
    line.go(9.5)
    assert [outcome for _, outcome, _ in line.records()] == [Outcome.OK]
    line.go(60)
    assert [outcome for _, outcome, _ in line.records()] == [Outcome.TIMEOUT]
    assert "nothing heard of values for 10 s" in line.unit.last_error
    assert line.unit.standing is Standing.SUSPECT
    line.say(values)
    assert [outcome for _, outcome, _ in line.records()] == [Outcome.OK]
    assert line.unit.standing is Standing.UP
    assert balanced(line.unit)


def test_without_the_look_at_its_age_an_old_value_would_have_stood_for_ever(monkeypatch):
    monkeypatch.setattr(Listening, "check", lambda self, now: None)
    values = said("values", patience_s=10)
    line = Line(values)
    line.go(1)
    line.say(values)
    line.go(100)
    assert [outcome for _, outcome, _ in line.records()] == [Outcome.OK]


def test_a_device_that_never_said_anything_fails_too():
    line = Line(said("values", patience_s=10))
    line.go(11)
    assert [outcome for _, outcome, _ in line.records()] == [Outcome.TIMEOUT]


def test_each_thing_it_says_has_a_patience_of_its_own():
    fast, slow = said("fast", 2), said("slow", 20)
    line = Line(fast, slow)
    line.go(0.5)
    line.say(fast)
    line.say(slow)
    line.records()
    line.go(3)
    assert [(b, o) for b, o, _ in line.records()] == [(0, Outcome.TIMEOUT)]
    line.go(20)
    assert [(b, o) for b, o, _ in line.records()] == [(1, Outcome.TIMEOUT)]


def test_it_is_heard_beside_questions_also_while_one_is_in_flight():
    alarm = said("alarm", 3600)
    line = Line(alarm, polled=True)
    line.go(0.1)
    assert line.link.in_flight is not None
    line.say(alarm)
    line.go(2)
    records = line.records()
    assert records[0][:2] == (0, Outcome.OK)
    assert [b for b, _, _ in records[1:]] == [1, 1, 1]
    assert balanced(line.unit) or line.link.in_flight is not None


def test_the_silence_of_what_it_says_by_itself_does_not_take_down_a_unit_that_answers():
    line = Line(said("alarm", 2), polled=True)
    line.go(30)
    assert line.unit.standing is Standing.UP
    assert line.unit.timeouts == 1


def test_a_lost_line_fails_what_was_heard_on_it_and_the_patience_begins_anew():
    values = said("values", 10)
    line = Line(values)
    line.go(1)
    line.say(values)
    line.go(8)
    line.records()
    line.link.lose()
    assert [(b, o) for b, o, _ in line.records()] == [(0, Outcome.LINK_DOWN)]
    line.go(8)
    assert line.link.opens == 2
    assert line.records() == []
    line.say(values)
    assert [(b, o) for b, o, _ in line.records()] == [(0, Outcome.OK)]


@pytest.mark.parametrize("frames", [1000])
def test_many_frames_leave_nothing_behind_that_grows(frames):
    values = said("values", 3600)
    line = Line(values)
    line.go(0.5)
    bus = line.poller.buses[0]
    for _ in range(frames):
        line.say(values)
    assert len(bus._schedule._waiting) + len(bus._schedule._due) == 0
    assert len(line.records()) == frames
