"""A saturated line in virtual time: what the link adds to the time of the line, and how often it wakes the process.

What the machine adds is measured by benchmarks/field_rtu.py.
"""

import random

import pytest

from collector.clock import FakeClock
from drivers.address import parse_bus
from drivers.base import Request
from drivers.modbus import rtu_exchange
from drivers.modbus.link_rtu import RtuLink
from firmware_tests.virtual_bus import VirtualAlarms, VirtualWire

SECONDS = 20.0


class Saturated:
    """Asks three units in turn, each time at once; counts answers and alarms that rang."""

    def __init__(self, baud, registers):
        self.clock = FakeClock()
        self.answers = self.alarms_rung = 0
        address = parse_bus(f"serial:///dev/ttyX?baud={baud}&parity=E")
        self.wire = VirtualWire(address, self.clock, random.Random(1))
        self._alarms = VirtualAlarms(self.clock)
        self._requests = [Request(unit, 3, 0, registers) for unit in (1, 2, 3)]
        self._link = RtuLink(
            self.wire,
            self,
            baud=baud,
            character_s=address.character_s,
            pause_s=0.0,
            timeout_s=1.0,
            late_s=1.0,
            mono=self.clock.mono,
            alarms=self._alarms,
        )

    def opened(self):
        self._link.send(self._requests[0])

    def answered(self, data):
        self.answers += 1
        self._link.send(self._requests[self.answers % 3])

    def run(self, seconds):
        self._link.open()
        end = self.clock.mono() + seconds
        while (at := min(self._alarms.next_at, self.wire.next_at)) < end:
            self.clock.advance(max(0.0, at - self.clock.mono()))
            if self.wire.next_at <= self.clock.mono():
                self.wire.report()
            if self._alarms.next_at <= self.clock.mono():
                self.alarms_rung += 1
                self._alarms.ring()


@pytest.mark.parametrize("baud", [1200, 9600, 19_200, 115_200])
@pytest.mark.parametrize("registers", [1, 10, 125])
def test_the_link_keeps_t35_always_and_adds_less_than_half_a_percent_to_the_time_of_the_line(baud, registers):
    line = Saturated(baud, registers)
    line.run(SECONDS)
    assert line.answers > 5
    assert line.wire.early_gaps == 0
    assert line.wire.idle_s < 0.005 * SECONDS


def test_the_echo_of_a_two_wire_adapter_costs_no_time_of_the_line():
    silent, echoing = Saturated(9600, 10), Saturated(9600, 10)
    echoing.wire.echoes = True
    for line in (silent, echoing):
        line.run(SECONDS)
    assert echoing.answers == silent.answers


def test_a_read_wakes_the_process_a_handful_of_times_however_long_its_answer():
    line = Saturated(9600, 125)
    line.run(SECONDS)
    assert (line.wire.reports + line.alarms_rung) / line.answers < 7


def test_twin_that_always_listens_is_woken_by_every_byte(monkeypatch):
    monkeypatch.setattr(rtu_exchange, "SHORTEST_SLEEP_CHARACTERS", 10**6)
    line = Saturated(9600, 125)
    line.run(SECONDS)
    assert (line.wire.reports + line.alarms_rung) / line.answers > 250


def test_twin_that_counts_no_gap_breaks_t35_with_every_question(monkeypatch):
    monkeypatch.setattr(rtu_exchange, "gap_s", lambda baud: 0.0)
    line = Saturated(9600, 10)
    line.run(SECONDS)
    assert line.wire.early_gaps >= line.answers - 1
