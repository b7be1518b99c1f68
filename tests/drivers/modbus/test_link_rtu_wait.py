"""The last moment before a question, in virtual time: what comes in it is never taken for the answer."""

import pytest

from collector.clock import FakeClock
from drivers.base import Request
from drivers.modbus.link_rtu import PREPARE_S, RtuLink
from drivers.modbus.rtu import seal
from drivers.modbus.rtu_exchange import gap_s
from firmware_tests.virtual_bus import VirtualAlarms

BAUD = 9600
STALE, FRESH, NEIGHBOUR = seal(1, b"\3\2\xde\xad"), seal(1, b"\3\2\0\7"), seal(2, b"\3\2\0\1")


class LateBytesAlarms(VirtualAlarms):
    """While a question's time is waited for, `meanwhile` comes in one burst, as from a USB adapter."""

    meanwhile = b""

    def wait_until(self, at):
        if at > self._clock.mono():
            self.wire.waiting, self.meanwhile = self.wire.waiting + self.meanwhile, b""
        super().wait_until(at)


class BurstWire:
    remote, subject = False, "line"

    def __init__(self, clock, looks):
        self.clock, self.looks = clock, looks
        self.waiting, self.written = b"", []

    def attach(self, owner):
        self.owner = owner

    def open(self):
        self.owner.wire_opened()

    def write(self, frame):
        self.written.append((self.clock.mono(), frame))

    def rest(self): ...

    def listen(self): ...

    def waiting_bytes(self):
        if not self.looks:
            return b""
        waiting, self.waiting = self.waiting, b""
        return waiting

    def deliver(self, data=b""):
        data, self.waiting = self.waiting + data, b""
        if data:
            self.owner.wire_received(data)


class Sink:
    def __init__(self):
        self.answers = []

    def opened(self): ...

    def answered(self, data):
        self.answers.append(bytes(data))

    def failed(self, error):
        self.answers.append(error)

    def lost(self, error):
        raise AssertionError(error)


def asked_while_a_late_answer_comes(looks):
    """(data answered to the last question, time from the late answer to that question)"""
    clock, sink = FakeClock(), Sink()
    alarms, wire = LateBytesAlarms(clock), BurstWire(clock, looks)
    alarms.wire = wire
    times = {"baud": BAUD, "character_s": 11 / BAUD, "pause_s": 0.0, "timeout_s": 0.5, "late_s": 1.0}
    link = RtuLink(wire, sink, **times, mono=clock.mono, alarms=alarms)
    link.open()
    link.send(Request(1, 3, 0, 1))
    clock.advance(0.5)
    link.expire()
    clock.advance(2.0)  # the quarantine of unit 1 is over; nobody would believe that its answer still comes
    link.send(Request(2, 3, 0, 1))
    clock.advance(0.1)
    wire.deliver(NEIGHBOUR)
    link.send(Request(1, 3, 0, 1))
    alarms.meanwhile = STALE
    questions, came = len(wire.written), 0.0
    while len(wire.written) == questions:
        clock.advance(max(0.0, alarms.next_at - clock.mono()))
        came = came or clock.mono()
        alarms.ring()
    asked = wire.written[-1][0]
    clock.advance(0.1)
    wire.deliver(FRESH)
    return sink.answers[-1] if len(sink.answers) == 2 else sink.answers[1:], asked - came


def test_an_answer_that_comes_just_before_a_question_is_not_taken_for_its_answer_and_starts_the_silence_anew():
    answer, silence_s = asked_while_a_late_answer_comes(looks=True)
    assert answer == b"\x00\x07"
    assert silence_s >= gap_s(BAUD)


def test_twin_without_a_look_after_the_wait_the_late_answer_is_taken():
    answer, silence_s = asked_while_a_late_answer_comes(looks=False)
    assert answer == b"\xde\xad"
    assert silence_s == pytest.approx(PREPARE_S)
