"""The fast lane of poll on real sockets, the clock in the test's hand. Each fault is followed by perfect answers."""

import asyncio
import errno
import random
import select
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from collector.clock import FakeClock
from collector.kernels import express as kernels
from collector.poll import Poller
from collector.poll.intake import RECORD_BYTES, Intake
from collector.poll.unit import Breaker
from collector.types import BlockSpec, Outcome
from drivers.address import parse_bus
from drivers.base import Request
from drivers.links import Links
from drivers.modbus import tcp_pool
from drivers.modbus.tcp_pool import TcpPool
from tests.collector.poll.plans import BusPlan, UnitPlan
from tests.drivers.modbus.line import answer_perfectly, data_of, mbap, perfect_pdu, question, tcp_device
from tests.waiting import until

UNIT, COUNT = 3, 20
ADDRESSES = (1000, 2000)


@dataclass
class Hall:
    """One bus per URL with a unit of two reads a second. Nothing happens unless the test turns the clock."""

    urls: list[str]
    intake_bytes: int = 1 << 20
    interval_s: float = 1.0
    addresses: tuple = ADDRESSES
    blocks: list = field(default_factory=list)
    wrong: list = field(default_factory=list)

    def __post_init__(self):
        self.clock = FakeClock()
        self.links = Links(mono=self.clock.mono)
        self.intake = Intake(self.intake_bytes)
        self.buses = []
        for bus, url in enumerate(self.urls):
            first = len(self.blocks)
            self.blocks += [BlockSpec(f"d{bus}", UNIT, 3, a, COUNT, self.interval_s, (), ()) for a in self.addresses]
            unit = UnitPlan(f"d{bus}", UNIT, tuple(range(first, len(self.blocks))))
            self.buses.append(BusPlan(f"b{bus}", [unit], parse_bus(url)))
        self.poller = Poller(self, self.links, self.intake, self.clock, Breaker(), random.Random(1).random)

    def split(self, number):
        return []

    @property
    def express(self):
        return self.poller._express

    @property
    def lent(self):
        return len(self.express._lent)

    @property
    def units(self):
        return [bus.units[0] for bus in self.poller.buses]

    @property
    def in_flight(self):
        return self.express._told[kernels.FLYING] + sum(bus._in_flight is not None for bus in self.poller.buses)

    async def second(self, steps=5):
        """One second passes; what is asked is answered or times out."""
        for _ in range(steps):
            self.clock.advance(1 / steps)
            self.poller.sweep()
            await asyncio.sleep(0.004)

    async def well(self):
        """Until every line is served by the express and is quiet."""
        for _ in range(200):
            quiet = not self.in_flight and self.express._wakes.min() > self.clock.mono()
            if quiet and self.lent == len(self.urls):
                return
            await self.second()
        pytest.fail(f"{self.lent} of {len(self.urls)} lines are on the express")

    def records(self):
        """(block, outcome) of what came since the last call; good answers must carry the bytes of their own block."""
        batch = self.intake.take()
        ends = [*batch.start[1:].tolist(), len(batch.image)][: len(batch)]
        for number, start, end, outcome in zip(batch.block, batch.start, ends, batch.outcome, strict=True):
            spec = self.blocks[number]
            perfect = data_of(Request(spec.unit, spec.function, spec.address, spec.count))
            if outcome == Outcome.OK and bytes(batch.image[start:end]) != perfect:
                self.wrong.append(int(number))
        return [(int(b), Outcome(int(o))) for b, o in zip(batch.block, batch.outcome, strict=True)]

    def balance(self):
        for bus in self.poller.buses:
            unit = bus.units[0]
            over = unit.answered + unit.timeouts + unit.exceptions + unit.bad_frames + unit.lost
            flying = bus._in_flight is not None or (
                bus._lent and self.express._lanes[bus.index, kernels.IN_FLIGHT] >= 0
            )
            assert unit.asked == over + flying
        assert not self.wrong


@asynccontextmanager
async def hall(*devices, **settings):
    """A hall of these devices, each a `serve` of tests.drivers.modbus.line; all answer perfectly at first."""
    urls, stack = [], []
    for serve in devices:
        context = tcp_device(serve)
        urls.append(await context.__aenter__())
        stack.append(context)
    made = Hall(urls, **settings)
    try:
        made.poller.sweep()
        yield made
    finally:
        made.poller.close()
        made.links.close()
        for context in stack:
            await context.__aexit__(None, None, None)


class Sick:
    """Answers perfectly but for the requests that `spoil` says; `spoil(transaction, unit, pdu)` gives their bytes."""

    def __init__(self):
        self.spoil = None
        self.spoilt = 0

    async def __call__(self, reader, writer):
        while True:
            transaction, unit, pdu = await question(reader)
            if self.spoil is None:
                writer.write(mbap(transaction, unit, perfect_pdu(pdu, unit)))
                continue
            self.spoilt += 1
            data = self.spoil(transaction, unit, pdu)
            if data is None:
                return
            for piece in data if isinstance(data, list) else [data]:
                writer.write(piece)
                if piece is not data:
                    await asyncio.sleep(0.02)  # so that they arrive one by one


async def test_lines_on_which_all_is_well_are_served_by_the_express_alone(monkeypatch):
    async with hall(*[answer_perfectly] * 5) as it:
        await it.well()
        it.records()
        monkeypatch.delattr("collector.poll.bus.Bus.answered")  # who still needs it fails
        before = [unit.answered for unit in it.units]
        for _ in range(4):
            await it.second()
        await until(lambda: not it.in_flight)
        assert [unit.answered - was for unit, was in zip(it.units, before, strict=True)] == [8] * 5
        assert sorted(it.records()) == sorted((b, Outcome.OK) for b in range(10) for _ in range(4))
        it.balance()


async def test_without_compiled_kernels_the_bus_owners_do_it_alone(monkeypatch):
    monkeypatch.setattr("collector.poll.express.is_compiled", lambda: False)
    async with hall(answer_perfectly) as it:
        for _ in range(4):
            await it.second()
        await until(lambda: not it.in_flight)
        assert it.lent == 0
        assert len(it.records()) == 2 * 5
        it.balance()


def flipped(place):
    def spoil(transaction, unit, pdu):
        frame = bytearray(mbap(transaction, unit, perfect_pdu(pdu, unit)))
        frame[place] ^= 1
        return bytes(frame)

    return spoil


@pytest.mark.parametrize("place", range(kernels.HEAD_BYTES))
async def test_no_byte_of_an_answers_head_may_be_wrong(place):
    """Transaction id, protocol id, length, unit, function, byte count: MBAP 3.1.3 and PDU 6.3."""
    device = Sick()
    async with hall(device) as it:
        await it.well()
        it.records()
        answered = it.units[0].answered
        device.spoil = flipped(place)
        it.clock.advance(1.0)
        it.poller.sweep()
        await until(lambda: it.lent == 0 or it.units[0].answered > answered)
        assert it.units[0].answered == answered
        assert (0, Outcome.OK) not in it.records()
        device.spoil = None
        await it.second()
        await it.well()
        it.records()
        it.balance()


SPOILS = {
    "wrong unit": lambda t, u, p: mbap(t, u + 1, perfect_pdu(p, u)),
    "one register less": lambda t, u, p: mbap(t, u, bytes((3, 2 * COUNT - 2)) + perfect_pdu(p, u)[2:-2]),
    "one byte more": lambda t, u, p: mbap(t, u, perfect_pdu(p, u)) + b"\0",
    "the answer to another request": lambda t, u, p: mbap(t ^ 0x55, u, perfect_pdu(p, u)),
    "exception 6": lambda t, u, p: mbap(t, u, b"\x83\x06"),
    "in two pieces": lambda t, u, p: [(f := mbap(t, u, perfect_pdu(p, u)))[:11], f[11:]],
    "twice": lambda t, u, p: mbap(t, u, perfect_pdu(p, u)) * 2,
    "an older one before it": lambda t, u, p: mbap(t - 1, u, perfect_pdu(p, u)) + mbap(t, u, perfect_pdu(p, u)),
    "silence": lambda t, u, p: b"",
    "noise": lambda t, u, p: random.Random(t).randbytes(40),
    "hung up": lambda t, u, p: None,
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_what_is_no_good_answer_goes_to_the_bus_owner_and_the_line_comes_back(spoil):
    device = Sick()
    async with hall(device, answer_perfectly) as it:
        await it.well()
        it.records()
        device.spoil = spoil
        await it.second()
        await until(lambda: device.spoilt)
        assert it.lent >= 1, "the neighbour stays"
        device.spoil = None
        await it.second()
        await it.well()
        it.records()
        await it.second()
        await until(lambda: not it.in_flight)
        assert sorted(it.records()) == [(b, Outcome.OK) for b in range(4)]
        it.balance()


async def test_an_unasked_answer_on_a_quiet_line_is_late_and_harms_nothing():
    writers = []

    async def device(reader, writer):
        writers.append(writer)
        await answer_perfectly(reader, writer)

    async with hall(device) as it:
        await it.well()
        it.records()
        writers[-1].write(mbap(9, UNIT, bytes((3, 2 * COUNT)) + bytes(2 * COUNT)))
        await until(lambda: it.poller.buses[0].link.late == 1)
        await it.well()
        await it.second()
        await until(lambda: not it.in_flight)
        assert all(outcome is Outcome.OK for _, outcome in it.records())
        it.balance()


def behind_a_crowd(transaction, unit, pdu):
    """The answer behind so many older ones that the kernel takes none of it."""
    crowd = mbap(transaction - 1, unit, b"\x83\x06") * (kernels.SPILL_BYTES // 9 + 1)
    return crowd + mbap(transaction, unit, perfect_pdu(pdu, unit))


async def test_what_the_kernel_leaves_in_a_socket_is_shown_to_the_owner():
    device = Sick()
    async with hall(device) as it:
        await it.well()
        it.records()
        device.spoil = behind_a_crowd
        it.clock.advance(1.0)
        it.poller.sweep()
        await until(lambda: device.spoilt == 2 and not it.in_flight)
        assert sorted(it.records()) == [(0, Outcome.OK), (1, Outcome.OK)]
        it.balance()


async def test_twin_of_a_socket_that_is_shown_once_for_ever_the_owner_hears_nothing(monkeypatch):
    device = Sick()
    async with hall(device) as it:
        await it.well()
        it.records()
        device.spoil = behind_a_crowd
        monkeypatch.setattr(TcpPool, "show_once", lambda *_: None)
        it.clock.advance(1.0)
        it.poller.sweep()
        await until(lambda: it.lent == 0)
        await asyncio.sleep(0.05)
        assert it.in_flight
        assert it.records() == []


async def hung_up_with_its_last_answer(wait):
    """A device that closes right after the second answer of a cycle; `wait` is called then, with no time passing."""
    leaving, answers = [], []

    async def device(reader, writer):
        while True:
            transaction, unit, pdu = await question(reader)
            writer.write(mbap(transaction, unit, perfect_pdu(pdu, unit)))
            answers.extend(leaving)
            if len(answers) == 2:
                return

    async with hall(device) as it:
        await it.well()
        it.records()
        leaving.append(True)
        it.clock.advance(1.0)
        it.poller.sweep()
        await wait(it)
        good = [block for block, outcome in it.records() if outcome is Outcome.OK]
        assert sorted(good) == [0, 1], "the answer that came with the end is not lost"
        assert it.units[0].lost == it.units[0].timeouts == 0


async def test_an_end_that_comes_with_the_last_answer_is_noticed_without_asking():
    await hung_up_with_its_last_answer(lambda it: until(lambda: it.poller.buses[0].losses == 1))


async def test_twin_that_is_not_told_of_the_end_notices_nothing(monkeypatch):
    monkeypatch.setattr(tcp_pool, "_READ_ONCE", select.EPOLLIN | select.EPOLLET)

    async def wait(it):
        await until(lambda: not it.in_flight)
        await asyncio.sleep(0.05)
        assert it.poller.buses[0].losses == 0

    await hung_up_with_its_last_answer(wait)


@pytest.mark.parametrize("outcome", [5, 0, -errno.EAGAIN, -errno.ECONNRESET])
async def test_a_request_that_does_not_leave_whole_is_finished_or_fails_as_any_other(monkeypatch, outcome):
    async with hall(answer_perfectly) as it:
        await it.well()
        it.records()
        launch = kernels.launch
        calls = []

        def short(
            now, begin, lanes, times, reads, read_times, frames, units, rtts, deadlines, wakes, told, odd, number
        ):
            # What the kernel does when the socket takes but a part.
            number[0] = 0
            if not calls and wakes[0] <= now:
                calls.append(1)
                lanes[0, kernels.IN_FLIGHT], lanes[0, kernels.TRANSACTION] = 0, 77
                units[reads[0, kernels.UNIT], kernels.ASKED] += 1
                told[kernels.FLYING] += 1
                deadlines[0], wakes[0] = now + 0.5, float("inf")
                frame = struct.pack(">HHHBBHH", 77, 0, 6, UNIT, 3, ADDRESSES[0], COUNT)
                if outcome > 0:
                    it.poller.buses[0].link._sock.send(frame[:outcome])
                odd[0], number[0] = (0, kernels.SENT, outcome), 1
                return len(lanes)
            return launch(
                now, begin, lanes, times, reads, read_times, frames, units, rtts, deadlines, wakes, told, odd, number
            )

        monkeypatch.setattr(kernels, "launch", short)
        await it.second()
        assert calls
        await it.well()
        records = it.records()
        if outcome == -errno.ECONNRESET:
            assert (0, Outcome.LINK_DOWN) in records
        else:
            assert (0, Outcome.OK) in records
        it.balance()


async def test_a_full_intake_drops_and_counts_and_the_next_tick_is_whole_again():
    size = 2 * COUNT + RECORD_BYTES
    async with hall(answer_perfectly, intake_bytes=3 * size) as it:
        await it.well()
        it.records()
        accepted, dropped = it.intake.accepted, it.intake.dropped
        for _ in range(3):
            await it.second()
        await until(lambda: not it.in_flight)
        assert (it.intake.accepted - accepted, it.intake.dropped - dropped) == (3, 3)
        assert len(it.records()) == 3
        await it.second()
        await until(lambda: not it.in_flight)
        assert len(it.records()) == 2
        it.balance()


async def test_the_next_sweep_comes_no_later_than_what_a_lane_has_due():
    async with hall(answer_perfectly, interval_s=0.2) as it:
        await it.well()
        it.clock.advance(0.2)
        it.poller.sweep()
        await until(lambda: not it.in_flight)
        soonest = it.express._wakes.min()
        assert soonest < it.clock.mono() + 0.21
        assert it.poller._next_sweep[0] <= max(soonest, it.poller.swept_at + 0.011)


async def test_polls_that_came_due_while_one_was_waiting_are_skipped_and_counted():
    device = Sick()
    async with hall(device, interval_s=0.1) as it:
        for bus in it.poller.buses:
            bus.units[0].timeout_s = 60.0
        await it.well()
        it.records()
        device.spoil = lambda t, u, p: [b"", mbap(t, u, perfect_pdu(p, u))]
        it.clock.advance(0.1)
        it.poller.sweep()
        it.clock.advance(1.0)
        await until(lambda: not it.in_flight)
        assert it.units[0].skipped >= 9
        it.balance()


async def test_an_answer_is_stamped_when_it_is_taken_and_counters_are_up_to_date_when_asked_for():
    async with hall(answer_perfectly) as it:
        await it.well()
        it.records()
        await it.second()
        await until(lambda: not it.in_flight)
        now = it.clock.now_ns()
        unit = it.units[0]
        assert now - 1_000_000_000 <= unit.last_ok_ts_ns <= now
        assert unit.asked == unit.answered > 2
        batch = it.intake.take()
        assert batch.ts_ns.max() == unit.last_ok_ts_ns


async def test_a_hall_of_mixed_faults_never_brings_a_wrong_value_and_recovers():
    devices = [Sick() for _ in range(8)]
    rng = random.Random(5)
    spoils = list(SPOILS.values())

    def sometimes(device):
        def spoil(t, u, p):
            return rng.choice(spoils)(t, u, p) if rng.random() < 0.3 else mbap(t, u, perfect_pdu(p, u))

        device.spoil = spoil

    async with hall(*devices) as it:
        await it.well()
        for device in devices:
            sometimes(device)
        for _ in range(25):
            await it.second(4)
            it.records()
        for device in devices:
            device.spoil = None
        await it.well()
        it.records()
        await it.second()
        await until(lambda: not it.in_flight)
        assert sorted(it.records()) == [(b, Outcome.OK) for b in range(16)]
        it.balance()


async def test_closing_the_poller_gives_every_line_back_with_its_counters():
    async with hall(answer_perfectly, answer_perfectly) as it:
        await it.well()
        it.poller.close()
        assert it.lent == 0
        assert all(unit.answered >= 2 for unit in it.units)


async def asked_by_its_owner(it):
    """The next read is sent by the owner of the first line; once in flight, the line may be lent with its answer."""
    bus = it.poller.buses[0]
    await until(lambda: bus.units[0].answered and not it.in_flight)
    bus.recall()
    bus._enrol_at = float("inf")
    asked = bus.units[0].asked
    while bus.units[0].asked == asked:
        it.clock.advance(0.2)
        it.poller.sweep()
    bus._enrol_at = 0.0
    return bus


async def test_a_line_lent_with_an_answer_is_not_recalled_when_the_deadline_of_that_answer_passes():
    async with hall(answer_perfectly, interval_s=10.0, addresses=ADDRESSES[:1]) as it:
        bus = await asked_by_its_owner(it)
        await until(lambda: it.lent == 1)
        for _ in range(3):
            await it.second()
        assert it.lent == 1
        assert it.poller._deadlines[bus.index] == float("inf")
        it.balance()


async def test_a_line_with_the_begin_of_a_late_answer_left_over_is_not_lent():
    """The rest would be taken for the begin of an answer: the stream would be lost."""
    writers, halves = [], []

    async def device(reader, writer):
        writers.append(writer)
        while True:
            transaction, unit, pdu = await question(reader)
            writer.write(mbap(transaction, unit, perfect_pdu(pdu, unit)) + b"".join(halves))
            halves.clear()

    async with hall(device, addresses=ADDRESSES[:1]) as it:
        late = mbap(0x7777, UNIT, bytes((3, 2 * COUNT)) + bytes(2 * COUNT))
        await until(lambda: it.units[0].answered)
        halves.append(late[:11])
        bus = await asked_by_its_owner(it)
        await until(lambda: bus.units[0].answered == 2)
        writers[0].write(late[11:])
        await until(lambda: bus.link.late == 1 or bus.losses)
        assert bus.losses == 0
        await it.well()
        it.balance()


async def test_a_unit_that_only_refused_so_far_gets_its_first_round_trip_whole():
    """As from its owner: with a tenth of it, its probes would be too short."""
    async with hall(answer_perfectly, answer_perfectly) as it:
        await it.well()
        unit, bus = it.units[0], it.poller.buses[0]
        bus.recall()
        unit.asked = unit.answered = 0
        unit.rtt_s = 0.0
        it.express.enrol(bus)
        bus._lent = True
        tables = it.express._tables()
        lane_times = tables[1]
        it.clock.advance(1.0)
        it.poller.sweep()
        lane_times[0, kernels.SENT_AT] -= 0.25
        await until(lambda: it.units[0].answered)
        assert it.units[0].rtt_s >= 0.2


async def test_a_line_that_the_express_serves_is_opened_again_soon_when_it_is_lost():
    async with hall(answer_perfectly) as it:
        bus = it.poller.buses[0]
        await until(lambda: it.units[0].answered == 2)
        bus._pause_s = 60.0  # before it was open there were many attempts, and only a refusal since
        it.clock.advance(1.0)
        bus._enrol_at = 0.0
        bus._next(it.clock.mono())
        assert it.lent == 1
        assert bus._pause_s == 1.0


async def test_a_read_that_is_taken_apart_goes_back_to_the_express_in_parts():
    """Their numbers lie far behind the tables."""
    parts, refused = (5000, 70_000), []

    def refuse(t, u, p):
        start, count = struct.unpack(">HH", p[1:])
        if (start, count) != (ADDRESSES[0], COUNT):
            return mbap(t, u, perfect_pdu(p, u))
        refused.append(t)
        return mbap(t, u, b"\x83\x02")

    device = Sick()
    async with hall(device, answer_perfectly) as it:
        await it.well()
        it.blocks = dict(enumerate(it.blocks))
        for part, address in zip(parts, (ADDRESSES[0], ADDRESSES[0] + COUNT // 2), strict=True):
            it.blocks[part] = BlockSpec("d0", UNIT, 3, address, COUNT // 2, 1.0, (), ())
        bus = it.poller.buses[0]
        bus.agenda._blocks, bus.agenda._split = it.blocks, lambda number: list(parts)
        device.spoil = refuse
        await it.second()
        await until(lambda: refused)
        await it.well()
        it.records()
        await it.second()
        await until(lambda: not it.in_flight)
        assert it.lent == 2
        assert sorted(it.records()) == [(b, Outcome.OK) for b in (1, 2, 3, *parts)]
        assert len(refused) == 1
        it.balance()
