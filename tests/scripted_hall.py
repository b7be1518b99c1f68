"""A whole pipeline on a real spool, with its line in memory and the clock in the test's hand."""

import struct
from concurrent.futures import Future
from contextlib import asynccontextmanager

from collector.clock import FakeClock
from collector.errors import SpoolFull
from collector.inventory import Inventory
from collector.pipeline import Pipeline
from collector.settings import Settings
from collector.spool import read_only_rows
from drivers.modbus.tcp_pool import TcpPool
from tests.maps import HEAD
from tests.properties.line_protocol import parse_payload
from tests.scripted_link import ScriptedLink
from tests.spool_rows import a_spool, assert_balanced

BOOT = "0badcafe"
PROFILE = f"""{HEAD}\
[[point]]
name = "voltage"
table = "holding"
address = 0
type = "u16"
scale = 0.1
range = [0, 500]
invalid = [0xffff]
[[point]]
name = "counter"
table = "holding"
address = 2
type = "u32"
category = "energy"
kind = "counter"
rollover = 4294967296
[[point]]
name = "mode"
table = "holding"
address = 4
type = "u16"
kind = "state"
[[point]]
name = "serial"
table = "holding"
address = 10
type = "string"
registers = 2
"""
#: Points with a number or a state: what a record of the whole device brings, good or not.
NUMBERS = 3


def registers(voltage=2301, counter=70_000, mode=7, serial=b"SN42"):
    """The answer to a read of the whole device: registers 0 to 11."""
    return struct.pack(">HHIHxxxxxxxxxx4s", voltage, 0, counter, mode, serial)


class Refusing:
    """A spool whose disk refuses while told to, or takes its time; else the real one behind it."""

    def __init__(self, spool):
        self.spool = spool
        self.refuses = False
        self.stalls = False
        self.appends = []

    def __getattr__(self, name):
        return getattr(self.spool, name)

    def append(self, rows):
        self.appends.append([row.seq for row in rows])
        if self.refuses:
            future = Future()
            future.set_exception(SpoolFull("disk full"))
            return future
        future = self.spool.append(rows)
        return Future() if self.stalls else future  # done all the same, but the answer never comes


class Hall:
    """A pipeline on one line with `units` meters; `go` lets simulated time pass."""

    def __init__(self, directory, *, units=2, clock=None, publish="all", windows_s=()):
        (directory / "test").mkdir()
        (directory / "test" / "meter.toml").write_text(PROFILE)
        device = {"bus": "line", "profile": "test/meter", "interval_s": 0.5}
        settings = Settings.model_validate(
            {
                "gateway": {"city": "sz", "site": "ft1", "name": "gw-a"},
                "filter": {"publish": publish},
                "aggregate": {"windows_s": windows_s},
                "profile_dirs": (str(directory),),
                "bus": ({"name": "line", "url": "serial:///dev/ttyX"},),
                "device": tuple({**device, "name": f"m{u}", "unit": u} for u in range(1, units + 1)),
                "uplink": ({"centre": "east"},),
            }
        )
        self.clock = clock or FakeClock()
        self.path = directory / "spool.db"
        self.spool = Refusing(a_spool(self.path, clock=self.clock))
        self.inventory = Inventory(settings)
        self.pipeline = Pipeline(settings, self.inventory, self.spool, self, self.clock, BOOT)
        self.units = self.pipeline.poller.buses[0].units
        # Second witnesses: what the lines bring, and the points of each row that is encoded.
        self.brought, self.encoded = [], []
        for call in ("answer", "fail"):
            self._watch(self.pipeline.intake, call, lambda arguments, made: self.brought.append(arguments[0]))
        self._watch(self.pipeline._encode, "row", lambda arguments, made: self.encoded.append(made.points))

    pool = TcpPool()

    def create(self, address, sink, *, timeout_s, late_s=None):
        self.link = ScriptedLink(sink, self.clock)
        return self.link

    def _watch(self, part, call, saw):
        original = getattr(part, call)

        def watched(*arguments):
            made = original(*arguments)
            saw(arguments, made)
            return made

        setattr(part, call, watched)

    async def go(self, seconds, reply=lambda link: link.answer(registers()), *, tick_s=0.5, step_s=0.05):
        """`reply` is called for each request a step after it was sent; a tick comes every `tick_s`."""
        for step in range(1, round(seconds / step_s) + 1):
            self.clock.advance(step_s)
            if self.link.in_flight is not None:
                reply(self.link)
            self.pipeline.poller.sweep()
            if step % round(tick_s / step_s) == 0:
                await self.pipeline.tick()
                self.assert_balanced()

    def assert_balanced(self):
        """in = out + dropped + held, at every stage."""
        counts, intake, stats = self.pipeline.counts, self.pipeline.intake, self.spool.stats()
        assert len(self.brought) == intake.accepted + intake.dropped
        assert counts.records == intake.accepted, "none waits after a tick"
        if len(self.inventory.blocks) == len(self.units):  # nothing is split: a record is a whole device
            assert counts.readings + counts.bad == NUMBERS * counts.records
        assert counts.kept <= counts.readings + counts.bad
        held = sum(row.points for row in self.pipeline._unspooled)
        assert sum(self.encoded) == counts.points + counts.dropped_points + held
        assert (counts.rows, counts.points) == (stats.accepted_rows, stats.accepted_points)
        assert_balanced(stats)

    def rows(self):
        """Every row on disk, whose numbers follow one another from 1 on."""
        rows = list(read_only_rows(self.path))
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        return rows

    def published(self):
        """(device, field, ts_ns) → value of everything on disk; nothing twice."""
        found = {}
        for row in self.rows():
            head, lines = parse_payload(row.payload)
            assert (head["gateway"], head["boot"], head["spool"]) == ("gw-a", BOOT, self.spool.spool_id)
            assert int(head["seq"]) == row.seq
            for line in lines:
                for field, value in line.fields.items():
                    key = (dict(line.tags)["device"], field, line.ts_ns)
                    assert key not in found
                    found[key] = value
        return found


@asynccontextmanager
async def hall(directory, **options):
    made = Hall(directory, **options)
    try:
        yield made
    finally:
        await made.pipeline.finish()
        made.spool.close()
