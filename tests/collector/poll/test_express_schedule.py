"""Nothing that is due and no overdue answer is slept over: lines in a small model of time, with both forms of poll."""

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from collector.clock import FakeClock
from collector.kernels import express as kernels
from collector.poll import Poller
from collector.poll.intake import Intake
from collector.poll.poller import SWEEP_S
from collector.poll.unit import Breaker, Standing
from collector.types import BlockSpec
from drivers.address import parse_bus
from drivers.links import Links
from tests.collector.poll.plans import BusPlan, UnitPlan
from tests.drivers.modbus.line import asked, mbap, perfect_pdu
from tests.scripted_link import COST

INTERVALS_S = (0.05, 0.1, 0.25, 1.0, 3.0, 10.0)
DELAYS_S = (0.0, 0.0, 0.02, 0.09)
STEP_S = 0.005
#: What is due waits for a sweep, and on a line that changes its form for one more.
SLACK_S = 2 * SWEEP_S + STEP_S + 1e-6
TIMEOUT_S = 0.3
COUNT = 20


class Device(asyncio.Protocol):
    """Answers when the model's time has come; now and then it does not."""

    def __init__(self, model, delay_s):
        self.model, self.delay_s = model, delay_s
        self.owed = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        model = self.model
        for begin in range(0, len(data), 12):
            frame = data[begin : begin + 12]
            transaction, unit, pdu = int.from_bytes(frame[:2], "big"), frame[6], frame[7:]
            model.asks.setdefault((unit, asked(pdu, unit).address), []).append(model.clock.mono())
            model.received += 1
            if model.rng.random() >= model.silence:
                answer = mbap(transaction, unit, perfect_pdu(pdu, unit))
                self.owed.append((model.clock.mono() + self.delay_s, answer))

    def release(self):
        while self.owed and self.owed[0][0] <= self.model.clock.mono():
            self.transport.write(self.owed.pop(0)[1])
            self.model.answered += 1


@dataclass
class Model:
    """Lines with blocks of very different intervals. `asks` are the times at which a block was asked."""

    seed: int
    silence: float
    blocks: dict = field(default_factory=dict)
    buses: list = field(default_factory=list)
    asks: dict = field(default_factory=dict)
    received: int = 0
    answered: int = 0
    busy_at: dict = field(default_factory=lambda: defaultdict(float))

    async def begin(self):
        """The lines and their devices; nothing is asked yet."""
        rng = random.Random(self.seed)
        self.rng = random.Random(self.seed)
        self.clock = FakeClock()
        self.links, self.intake = Links(mono=self.clock.mono), Intake(1 << 24)
        self.servers, self.devices = [], []
        loop = asyncio.get_running_loop()
        numbers = iter(sorted(rng.sample(range(9000), 100)))
        for bus in range(4):
            delay_s = rng.choice(DELAYS_S)

            def made(delay_s=delay_s):
                self.devices.append(Device(self, delay_s))
                return self.devices[-1]

            server = await loop.create_server(made, "127.0.0.1", 0)
            self.servers.append(server)
            units = []
            for unit in range(1, rng.randint(2, 5)):
                mine = tuple(next(numbers) for _ in range(rng.randint(1, 3)))
                for number in mine:
                    interval_s = rng.choice(INTERVALS_S)
                    self.blocks[number] = BlockSpec("d", 10 * bus + unit, 3, number, COUNT, interval_s, (), ())
                units.append(UnitPlan(f"d{bus}.{unit}", 10 * bus + unit, mine, TIMEOUT_S))
            url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.buses.append(BusPlan(f"b{bus}", units, parse_bus(url), TIMEOUT_S))
        self.poller = Poller(self, self.links, self.intake, self.clock, Breaker(), rng.random)

    def split(self, number):
        return []

    def counted(self, what, bus):
        return sum(getattr(unit, what) for unit in self.poller.buses[bus].units)

    def units(self):
        return [unit for bus in self.poller.buses for unit in bus.units]

    async def settle(self):
        """Until every question is where it belongs, and every answer."""
        for _ in range(2000):
            units = self.units()
            late = sum(bus.link.late for bus in self.poller.buses)
            taken = sum(u.answered for u in units) + late
            if sum(u.asked for u in units) == self.received and taken == self.answered:
                return
            await asyncio.sleep(0)
        pytest.fail("a question or an answer is under way for ever")

    async def run(self, seconds):
        """Sweeps happen when the poller wants them, at no other time."""
        for _ in range(round(seconds / STEP_S)):
            self.clock.advance(STEP_S)
            if self.poller._next_sweep[0] <= self.clock.mono():
                self.poller.sweep()
            for device in self.devices:
                device.release()
            await self.settle()
            for bus in self.poller.buses:
                self.look(bus)

    def look(self, bus):
        """Nothing due waits on an idle line, and no answer is waited for longer than its timeout."""
        now, express = self.clock.mono(), self.poller._express
        if not bus.is_open:
            return
        if bus._lent:
            busy = express._lanes[bus.index, kernels.IN_FLIGHT] >= 0
            sent_at = express._lane_times[bus.index, kernels.SENT_AT]
            waiting = [express._read_times[read.number, kernels.DUE] for read in bus.agenda.live_reads]
        else:
            busy = bus._in_flight is not None
            sent_at = bus._sent_at
            waiting = [read.at for read in bus.agenda.live_reads]
        if busy:
            self.busy_at[bus.index] = now
            assert now - sent_at <= TIMEOUT_S + COST.fixed_s + COST.register_s * COUNT + SLACK_S
        elif all(unit.standing is not Standing.DOWN for unit in bus.units):
            assert max(min(waiting), self.busy_at[bus.index]) >= now - SLACK_S

    def end(self):
        self.poller.close()
        self.links.close()
        for device in self.devices:
            device.transport.abort()
        for server in self.servers:
            server.close()


async def played(seed, silence, seconds=25.0):
    model = Model(seed, silence)
    await model.begin()
    try:
        model.poller.sweep()
        while not all(bus.is_open for bus in model.poller.buses):
            await asyncio.sleep(0)
        await model.run(seconds)
        model.lent = len(model.poller._express._lent)
    finally:
        model.end()
    await asyncio.sleep(0.01)
    return model


@pytest.mark.parametrize("seed", range(4))
async def test_both_forms_ask_the_same_and_skip_the_same(seed, monkeypatch):
    fast = await played(seed, 0.0)
    monkeypatch.setattr("collector.poll.express.is_compiled", lambda: False)
    plain = await played(seed, 0.0)
    assert (fast.lent, plain.lent) == (4, 0)
    assert fast.asks.keys() == plain.asks.keys()
    for bus in range(4):  # among reads with the same deadline on an overloaded line, chance decides
        asked, other = fast.counted("asked", bus), plain.counted("asked", bus)
        assert abs(asked - other) <= 2 + other // 50
        assert abs(asked + fast.counted("skipped", bus) - other - plain.counted("skipped", bus)) <= 4


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_slept_over_when_devices_are_silent_now_and_then(seed):
    model = await played(seed, 0.01)
    assert sum(model.counted("timeouts", bus) for bus in range(4))
