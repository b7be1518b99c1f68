"""The daemon's own poller and RTU link on a line in virtual time: an hour of a bus in seconds, to the microsecond.

Everything above the wire is what runs in the daemon; the wire, its units and the clock are made here.
"""

import random
import struct
from collections import Counter, deque
from pathlib import Path

from collector.clock import FakeClock
from collector.inventory import Inventory
from collector.poll import Poller
from collector.poll.intake import Intake
from collector.poll.unit import Breaker, Unit
from collector.settings import Settings
from drivers.address import BusAddress
from drivers.base import Link, Request, Sink
from drivers.links import LATE_FACTOR, MIN_LATE_S
from drivers.modbus.link_rtu import RtuLink
from drivers.modbus.rtu import QUESTION_BYTES, seal
from drivers.modbus.rtu_exchange import CHARACTER_BITS, gap_s
from drivers.modbus.tcp_pool import TcpPool
from drivers.wires.alarm import NEVER, Alarms
from drivers.wires.base import WireOwner

#: From the end of a question to the begin of the answer: the unit's own, within these.
TURNAROUND_S = (0.01, 0.04)
#: How much later than its own usual turnaround a unit may answer.
JITTER_S = 0.003
#: The intake is emptied this often, as a tick of the pipeline does.
TAKE_EVERY_S = 1.0


class VirtualAlarms(Alarms):
    """Alarms that ring when the virtual time is told to be there."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock.mono)
        self._clock = clock

    def wait_until(self, at: float) -> None:
        self._clock.advance(max(0.0, at - self._clock.mono()))

    @property
    def next_at(self) -> float:
        return self._first()

    def ring(self) -> None:
        self._rang()

    def _program(self, at: float) -> None:
        self._programmed = at


class VirtualWire:
    """A line of `baud` with units that answer everything they are asked, except those in `dead`."""

    remote = False

    def __init__(self, address: BusAddress, clock: FakeClock, random_: random.Random) -> None:
        self.subject = str(address)
        self.dead: set[int] = set()
        self.echoes = False  #: as a two-wire adapter does that hears itself
        self.asked = Counter[int]()
        self.early_gaps = 0  #: questions that did not keep t3.5
        self.idle_s = 0.0  #: silence beyond t3.5 before questions, the first one not counted
        self.reports = 0  #: how often bytes woke the process
        self._gap_s = gap_s(address.baud)
        self._character_s = CHARACTER_BITS / address.baud
        self._clock = clock
        self._random = random_
        self._owner: WireOwner | None = None
        self._bytes: deque[tuple[float, int]] = deque()  # when each is complete
        self._opened_at = NEVER
        self._listening = True
        self._busy_until = 0.0
        self._turnaround_s: dict[int, float] = {}

    def attach(self, owner: WireOwner) -> None:
        self._owner = owner

    def open(self) -> None:
        self._opened_at = self._clock.mono()

    def close(self) -> None:
        self._opened_at = NEVER

    def rest(self) -> None:
        self._listening = False

    def listen(self) -> None:
        self._listening = True

    def waiting_bytes(self) -> bytes:
        held = bytearray()
        while self._bytes and self._bytes[0][0] <= self._clock.mono():
            held.append(self._bytes.popleft()[1])
        return bytes(held)

    def write(self, frame: bytes) -> None:
        now = self._clock.mono()
        self.early_gaps += now < self._busy_until + self._gap_s - 1e-9
        self.idle_s += now - (self._busy_until + self._gap_s) if self._busy_until else 0.0
        unit, function, _, count = struct.unpack(">BBHH", frame[:6])
        self.asked[unit] += 1
        self._busy_until = now + QUESTION_BYTES * self._character_s
        if self.echoes:
            self._bytes += [(now + (i + 1) * self._character_s, byte) for i, byte in enumerate(frame)]
        if unit in self.dead:
            return
        usual = self._turnaround_s.setdefault(unit, self._random.uniform(*TURNAROUND_S))
        begin = self._busy_until + max(self._gap_s, usual) + self._random.uniform(0, JITTER_S)
        answer = seal(unit, bytes((function, 2 * count)) + bytes(2 * count))
        self._bytes += [(begin + (i + 1) * self._character_s, byte) for i, byte in enumerate(answer)]
        self._busy_until = begin + len(answer) * self._character_s

    @property
    def next_at(self) -> float:
        """When the wire has something to report."""
        arrives = self._bytes[0][0] if self._listening and self._bytes else NEVER
        return min(arrives, self._opened_at)

    def report(self) -> None:
        assert self._owner is not None
        if self._opened_at <= self._clock.mono():
            self._opened_at = NEVER
            self._owner.wire_opened()
        elif self._listening and (held := self.waiting_bytes()):
            self.reports += 1
            self._owner.wire_received(held)


class TimedLink(RtuLink):
    """The real link, which also notes for how long each unit holds the line."""

    def __init__(self, wire: VirtualWire, sink: Sink, **settings) -> None:
        super().__init__(wire, sink, **settings)
        self.held_s = Counter[int]()
        self._in_use: tuple[int, float] | None = None

    def send(self, request: Request) -> None:
        self._in_use = request.unit, self._mono()
        super().send(request)

    def expire(self) -> None:
        self._settle()
        super().expire()

    def _report(self, outcome) -> None:
        if outcome is not None:
            self._settle()
        super()._report(outcome)

    def _settle(self) -> None:
        if self._in_use is not None:
            unit, begin = self._in_use
            self.held_s[unit] += self._mono() - begin
            self._in_use = None


#: One read of 20 registers.
METER = """\
schema = 1
[device]
vendor = "Test"
model = "Meter"
category = "power"
source = "made up for this test"
evidence = "doubtful"
[[point]]
name = "first"
table = "holding"
address = 0
type = "u32"
[[point]]
name = "last"
table = "holding"
address = 18
type = "u32"
"""


def full_line(directory: Path, units: int, baud: int, interval_s: float) -> Inventory:
    """`units` meters on one line, each read at once every `interval_s`."""
    (directory / "test").mkdir(exist_ok=True)
    (directory / "test" / "meter.toml").write_text(METER)
    device = {"bus": "line", "profile": "test/meter", "interval_s": interval_s}
    line = {"name": "line", "url": f"serial:///dev/ttyX?baud={baud}&parity=E"}
    devices = tuple({**device, "name": f"m{unit}", "unit": unit} for unit in range(1, units + 1))
    return Inventory(Settings.model_validate({"profile_dirs": (str(directory),), "bus": (line,), "device": devices}))


class VirtualBus:
    """One bus of `plan` under the daemon's poller. `go` lets time pass."""

    def __init__(self, plan: Inventory, breaker: Breaker, seed: int = 1) -> None:
        self.clock = FakeClock()
        self.pool = TcpPool()
        self._random = random.Random(seed)
        self._alarms = VirtualAlarms(self.clock)
        self._intake = Intake(1 << 20)
        self._take_at = self.clock.mono()
        self._poller = Poller(plan, self, self._intake, self.clock, breaker, self._random.random)
        (self._bus,) = self._poller.buses

    def create(self, address: BusAddress, sink: Sink, *, timeout_s: float, late_s: float | None = None) -> Link:
        """The link factory of the poller."""
        self.wire = VirtualWire(address, self.clock, self._random)
        self.link = TimedLink(
            self.wire,
            sink,
            baud=address.baud,
            character_s=self.wire._character_s,
            pause_s=address.pause_s,
            timeout_s=timeout_s,
            late_s=max(MIN_LATE_S, LATE_FACTOR * timeout_s) if late_s is None else late_s,
            mono=self.clock.mono,
            alarms=self._alarms,
        )
        return self.link

    @property
    def units(self) -> list[Unit]:
        return self._bus.units

    def periods_s(self, seconds: float) -> dict[int, float]:
        """Let `seconds` pass: the mean time between two answers of each unit; those without any are left out."""
        before = {unit.unit: unit.answered for unit in self.units}
        self.go(seconds)
        answers = {unit.unit: unit.answered - before[unit.unit] for unit in self.units}
        return {unit: seconds / count for unit, count in answers.items() if count}

    def go(self, seconds: float) -> None:
        end = self.clock.mono() + seconds
        while True:
            at = min(self._alarms.next_at, self.wire.next_at, self._poller._next_sweep[0], self._take_at)
            if at >= end:
                self.clock.advance(max(0.0, end - self.clock.mono()))
                return
            self.clock.advance(max(0.0, at - self.clock.mono()))
            now = self.clock.mono()
            if self.wire.next_at <= now:
                self.wire.report()
            if self._alarms.next_at <= now:
                self._alarms.ring()
            if self._poller._next_sweep[0] <= now:
                self._poller.sweep()
            if self._take_at <= now:
                self._take_at = now + TAKE_EVERY_S
                self._intake.take()
