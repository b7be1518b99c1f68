"""The link on a wire that tests hold in their hands; on real ones it is tested by firmware_tests."""

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from drivers.address import TextLine, parse_bus
from drivers.errors import BadFrame, LinkLost, LinkUnavailable
from drivers.text.framing import QUIET_S
from drivers.text.link import TextLink
from tests.drivers.modbus.line import Recorder
from tests.drivers.text.dialect import ask, number

TIMEOUT_S, LATE_S = 0.2, 0.3


class Wire:
    """Keeps what is written; `waiting` is what the port holds unread."""

    def __init__(self, *, remote=False):
        self.subject, self.remote = "the wire", remote
        self.written, self.waiting, self.is_open = [], b"", False
        self.modes = []

    def attach(self, owner):
        self.owner = owner

    def open(self):
        self.is_open = True
        asyncio.get_running_loop().call_soon(self.owner.wire_opened)

    def write(self, frame):
        self.written.append(frame)

    def rest(self):
        self.modes.append("rest")

    def listen(self):
        self.modes.append("listen")

    def waiting_bytes(self):
        held, self.waiting = self.waiting, b""
        return held

    def close(self):
        self.is_open = False


@contextmanager
def a_link(*, remote=False, trace=None, **line):
    wire, sink = Wire(remote=remote), Recorder()
    address = replace(parse_bus("serial:///dev/ttyS9?baud=115200"), text=TextLine("tiny", **line))
    link = TextLink(wire, sink, address, timeout_s=TIMEOUT_S, late_s=LATE_S, mono=time.monotonic, trace=trace)
    try:
        yield link, wire, sink
    finally:
        link.close()


async def opened(link, sink):
    link.open()
    assert await sink.next() == "opened"


async def transmitted(wire, times=1):
    async with asyncio.timeout(5):
        while len(wire.written) < times:
            await asyncio.sleep(0.001)


def test_a_question_is_written_and_its_answer_reported_with_what_was_on_the_wire():
    async def scenario():
        seen = []
        with a_link(trace=lambda way, data: seen.append((way, data))) as (link, wire, sink):
            await opened(link, sink)
            link.send(ask())
            await transmitted(wire)
            wire.owner.wire_received(b"1=17;")
            assert number(await sink.next()) == 17
            assert seen == [("tx", b"1V?;"), ("rx", b"1=17;")]

    asyncio.run(scenario())


def test_the_owner_hears_that_the_port_is_open_once_it_has_settled():
    async def scenario():
        with a_link(settle_s=0.05) as (link, wire, sink):
            link.open()
            await asyncio.sleep(0.01)
            assert wire.is_open
            with pytest.raises(RuntimeError, match="send while closed"):
                link.send(ask())
            assert await sink.next() == "opened"

    asyncio.run(scenario())


def test_a_link_that_is_closed_while_its_port_settles_opens_nothing():
    async def scenario():
        with a_link(settle_s=0.02) as (link, wire, sink):
            link.open()
            await asyncio.sleep(0.01)
            link.close()
            await asyncio.sleep(0.05)
            assert not wire.is_open
            assert sink.events == []

    asyncio.run(scenario())


@pytest.mark.parametrize(("remote", "modes"), [(False, ["rest", "listen"]), (True, [])])
def test_a_port_that_brought_bytes_rests_a_little_and_is_listened_to_again(remote, modes):
    """Each byte would wake the process; behind a serial server they come in segments anyway."""

    async def scenario():
        with a_link(remote=remote) as (link, wire, sink):
            await opened(link, sink)
            link.send(ask())
            await transmitted(wire)
            for byte in b"1=17":
                wire.owner.wire_received(bytes((byte,)))
            assert wire.modes == modes[:1]
            await asyncio.sleep(0.05)
            assert wire.modes == modes
            wire.owner.wire_received(b";")
            assert number(await sink.next()) == 17

    asyncio.run(scenario())


def test_what_the_port_still_holds_is_thrown_away_before_the_question():
    async def scenario():
        with a_link() as (link, wire, sink):
            await opened(link, sink)
            wire.waiting = b"1=99;"
            link.send(ask())
            await transmitted(wire)
            assert link.strays == 5
            wire.owner.wire_received(b"1=5;")
            assert number(await sink.next()) == 5

    asyncio.run(scenario())


def test_damage_is_reported_when_the_line_is_silent_and_a_perfect_answer_succeeds_after_it():
    async def scenario():
        with a_link() as (link, wire, sink):
            await opened(link, sink)
            link.send(ask(1))
            await transmitted(wire)
            wire.owner.wire_received(b"1=x;")
            assert isinstance(await sink.next(), BadFrame)
            with pytest.raises(RuntimeError, match="unit 1 is still in quarantine"):
                link.send(ask(1))
            link.send(ask(2))
            await transmitted(wire, 2)
            wire.owner.wire_received(b"2=6;")
            assert number(await sink.next()) == 6

    asyncio.run(scenario())


def test_a_line_that_is_never_silent_is_reopened():
    async def scenario():
        with a_link(gap_s=0.05) as (link, wire, sink):
            await opened(link, sink)
            wire.owner.wire_received(b"x")
            link.send(ask())
            link.expire()
            lost = await sink.next()
            assert isinstance(lost, LinkLost)
            assert "never silent" in str(lost)
            assert not wire.is_open
            await opened(link, sink)

    asyncio.run(scenario())


def test_a_serial_server_that_never_said_anything_is_connected_to_again():
    async def scenario():
        with a_link(remote=True) as (link, wire, sink):
            await opened(link, sink)
            link.send(ask())
            await transmitted(wire)
            link.expire()
            assert "nothing was ever received" in str(await sink.next())

    asyncio.run(scenario())


def test_a_port_where_a_silent_unit_was_asked_stays_open():
    async def scenario():
        with a_link() as (link, wire, sink):
            await opened(link, sink)
            link.send(ask(1))
            await transmitted(wire)
            link.expire()
            assert wire.is_open
            assert link.ready_at(1) > time.monotonic()
            assert link.ready_at(2) == 0.0

    asyncio.run(scenario())


def test_a_port_that_cannot_be_opened_or_goes_away_is_lost():
    async def scenario():
        with a_link() as (link, wire, sink):
            wire.owner.wire_lost(LinkUnavailable("no such port"))
            assert isinstance(await sink.next(), LinkUnavailable)
            await opened(link, sink)
            link.send(ask())
            wire.owner.wire_lost(LinkLost("unplugged"))
            assert isinstance(await sink.next(), LinkLost)
            await asyncio.sleep(0.01)
            assert not wire.is_open

    asyncio.run(scenario())


def test_the_time_of_a_command_is_that_of_its_characters_both_ways_and_the_gap():
    with a_link(gap_s=0.1) as (link, _, _):
        assert link.cost.of(ask()) == pytest.approx(0.1 + 10 * 10 / 115200)


def heard_by(link, *commands):
    """What `link` hears of `commands`, as it comes: (name, number)."""
    heard = []
    link.listen(commands, lambda command, data: heard.append((command.name, number(data))))
    return heard


def test_what_a_device_says_by_itself_is_told_also_while_it_is_asked_something():
    async def scenario():
        with a_link() as (link, wire, sink):
            heard = heard_by(link, ask(2, "A", listens=True))
            await opened(link, sink)
            await asyncio.sleep(2 * QUIET_S)  # so that the first line is known to be whole
            wire.owner.wire_received(b"2=1;")
            link.send(ask(1))
            await transmitted(wire)
            wire.owner.wire_received(b"2=2;1=17;2=3;")
            assert number(await sink.next()) == 17
            assert heard == [("A", 1), ("A", 2), ("A", 3)]

    asyncio.run(scenario())


def test_after_each_opening_the_first_half_of_a_line_is_no_reading():
    async def scenario():
        with a_link() as (link, wire, sink):
            heard = heard_by(link, ask(2, "A", listens=True))
            for _ in range(2):
                await opened(link, sink)
                wire.owner.wire_received(b"2=1;2=2;")  # the first may be the end of 12=1
                wire.owner.wire_lost(LinkLost("unplugged"))
                assert isinstance(await sink.next(), LinkLost)
            assert heard == [("A", 2), ("A", 2)]

    asyncio.run(scenario())


def test_a_line_that_falls_silent_in_the_middle_of_a_frame_begins_anew():
    async def scenario():
        with a_link() as (link, wire, sink):
            heard = heard_by(link, ask(2, "A", listens=True))
            await opened(link, sink)
            await asyncio.sleep(2 * QUIET_S)
            wire.owner.wire_received(b"2=1")
            await asyncio.sleep(3 * QUIET_S)
            wire.owner.wire_received(b"2=7;")
            assert heard == [("A", 7)]
            assert link.strays == 3

    asyncio.run(scenario())
