"""All stages at work on a real spool, with lines in memory: nothing comes or goes between two stages uncounted."""

import asyncio
import logging
import random
import struct
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager

from collector import pipeline as pipeline_module
from collector.clock import FakeClock, SystemClock
from collector.errors import SpoolFull
from collector.inventory import Inventory
from collector.pipeline import Pipeline
from collector.settings import Settings
from collector.spool import read_only_rows
from collector.types import Quality
from drivers.errors import BadFrame, DeviceException
from tests.properties.line_protocol import parse_payload
from tests.scripted_link import ScriptedLink
from tests.spool_rows import a_spool, assert_balanced, pending

BOOT = "0badcafe"
PROFILE = """\
schema = 1
[device]
vendor = "Test"
model = "Meter"
category = "power"
source = "made up for this test"
evidence = "doubtful"
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


async def test_every_good_reading_is_on_disk_with_its_exact_value_and_its_own_time(tmp_path):
    sent = {}
    noise = random.Random(1)

    async with hall(tmp_path) as site:

        def reply(link):
            unit, voltage, counter = link.in_flight.unit, noise.randrange(5000), noise.randrange(2**32)
            now_ns = site.clock.now_ns()
            link.answer(registers(voltage, counter, mode=unit))
            sent[f"m{unit}", "voltage", now_ns] = voltage / 10
            sent[f"m{unit}", "counter", now_ns] = float(counter)
            sent[f"m{unit}", "mode", now_ns] = unit

        await site.go(10, reply)
        published = site.published()
        assert len(sent) > 100
        assert {key: value for key, value in published.items() if key[1] in ("voltage", "counter", "mode")} == sent
        assert {value for key, value in published.items() if key[1] == "serial"} == {"SN42"}
        assert site.pipeline.counts.readings == len(sent)


async def test_the_books_balance_whatever_the_line_brings(tmp_path):
    noise = random.Random(2)

    def reply(link):
        kind = noise.randrange(12)
        if kind < 6:
            link.answer(registers(noise.choice([2301, 0xFFFF, 9999]), noise.randrange(2**32)))
        elif kind == 6:
            link.fail(DeviceException(noise.choice([4, 6, 11])))
        elif kind == 7:
            link.fail(BadFrame("crc"))
        elif kind == 8 and noise.random() < 0.1:
            link.lose()
        # else: silence, until the deadline passes

    async with hall(tmp_path, units=4, windows_s=(5,)) as site:
        await site.go(120, reply)
        counts = site.pipeline.counts
        assert min(counts.readings, counts.bad, counts.kept, counts.points) > 100
        before = counts.readings
        await site.go(90)
        assert counts.readings > before + 100, "then perfect answers succeed"
        assert {unit.standing.value for unit in site.units} == {"up"}
        assert sum(site.encoded) == len(site.published())


async def test_what_arrives_beyond_the_bound_of_one_tick_is_dropped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "INTAKE_MIN_BYTES", 1000)
    monkeypatch.setattr(pipeline_module, "INTAKE_MAX_BYTES", 1000)
    async with hall(tmp_path) as site:
        await site.go(20, tick_s=10)
        assert site.pipeline.intake.dropped > 10
        await site.go(5)
        assert len(site.published()) == sum(site.encoded) > 100


async def test_what_says_nothing_is_told_as_quality_and_never_as_a_value(tmp_path):
    async with hall(tmp_path, units=1) as site:
        await site.go(1.0, lambda link: link.answer(registers(voltage=0xFFFF)))
        await site.go(1.0, lambda link: link.answer(registers(voltage=9999)))
        await site.go(1.0, lambda link: link.fail(DeviceException(4)))
        qualities = [
            v for (_, field, _), v in sorted(site.published().items(), key=lambda i: i[0][2]) if field == "voltage_q"
        ]
        assert qualities == [Quality.NOT_AVAILABLE, Quality.OUT_OF_RANGE, Quality.COMM_ERROR]
        assert not [key for key in site.published() if key[1] == "voltage"]


async def test_a_clock_that_was_never_set_is_told_with_the_readings(tmp_path):
    async with hall(tmp_path, units=1, clock=FakeClock(now_ns=10**15)) as site:
        await site.go(1.0)
        published = site.published()
        assert site.pipeline.counts.readings > 0
        assert {v for (_, field, _), v in published.items() if field == "voltage"} == {230.1}
        assert {v for (_, field, _), v in published.items() if field == "voltage_q"} == {Quality.CLOCK_UNSURE}


async def test_a_block_that_is_split_at_work_goes_on_with_the_right_values(tmp_path):
    def reply(link):
        request = link.in_flight
        if request.count == 12:
            link.fail(DeviceException(2))
        else:
            link.answer(registers()[2 * request.address : 2 * (request.address + request.count)])

    async with hall(tmp_path, units=1) as site:
        await site.go(5, reply)
        assert len(site.inventory.blocks) > 1
        latest = {field: value for (_, field, _), value in site.published().items() if not field.endswith("_q")}
        assert latest == {"voltage": 230.1, "counter": 70_000.0, "mode": 7, "serial": "SN42"}


async def test_notes_travel_with_the_next_tick(tmp_path):
    async with hall(tmp_path, units=1) as site:
        site.pipeline.note("gateway_health", b"gateway_health,device=gw-a rows=3i 1\n", 1)
        await site.go(0.5)
        (row,) = [row for row in site.rows() if row.category == "gateway_health"]
        assert (row.points, row.payload.partition(b"\n")[2]) == (1, b"gateway_health,device=gw-a rows=3i 1\n")


async def test_with_changes_only_a_value_that_stands_still_is_published_once(tmp_path):
    async with hall(tmp_path, units=1, publish="changes") as site:
        await site.go(20)
        assert site.pipeline.counts.readings > 100
        assert len([key for key in site.published() if not key[1].endswith("_q")]) == NUMBERS + 1


# --- the disk --------------------------------------------------------------------------------------------------------


async def test_while_the_spool_refuses_rows_wait_in_memory_and_are_committed_in_order_when_it_accepts(tmp_path, caplog):
    caplog.set_level(logging.INFO, "collector.pipeline")
    async with hall(tmp_path) as site:
        await site.go(2)
        site.spool.refuses = True
        await site.go(10)
        assert site.pipeline.held_rows > 10
        site.spool.refuses = False
        await site.go(2)
        assert site.pipeline.held_rows == 0
        assert site.pipeline.counts.dropped_points == 0
        assert sum(site.encoded) == len(site.published()), "nothing is missing"
    told = [record.getMessage() for record in caplog.records if record.name == "collector.pipeline"]
    assert len(told) == 2, "the refusal once, the recovery once"
    assert "disk full" in told[0]


async def test_beyond_the_bound_new_rows_are_dropped_counted_and_leave_no_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "UNSPOOLED_MAX_BYTES", 6000)
    async with hall(tmp_path) as site:
        await site.go(2)
        site.spool.refuses = True
        await site.go(30)
        assert sum(len(row.payload) for row in site.pipeline._unspooled) <= 6000
        assert site.pipeline.counts.dropped_points > 0
        site.spool.refuses = False
        await site.go(5)
        assert site.pipeline.held_rows == 0
        assert sum(site.encoded) == len(site.published()) + site.pipeline.counts.dropped_points


async def test_twin_without_room_in_memory_a_short_refusal_loses_readings(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "UNSPOOLED_MAX_BYTES", 0)
    async with hall(tmp_path) as site:
        site.spool.refuses = True
        await site.go(2)
        site.spool.refuses = False
        await site.go(2)
        assert site.pipeline.counts.dropped_points > 0


async def test_a_tick_larger_than_the_bound_is_no_reason_to_drop_it_while_the_disk_is_well(tmp_path, monkeypatch):
    """After a commit that took long, the next tick brings all that has arrived meanwhile."""
    monkeypatch.setattr(pipeline_module, "UNSPOOLED_MAX_BYTES", 6000)
    async with hall(tmp_path) as site:
        await site.go(30, tick_s=30)
        assert site.pipeline.counts.dropped_points == 0
        assert sum(site.encoded) == len(site.published()) > 300


async def test_a_commit_whose_answer_does_not_come_is_repeated_and_nothing_is_stored_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "COMMIT_TIMEOUT_S", 0.02)
    async with hall(tmp_path) as site:
        site.spool.stalls = True
        for _ in range(3):
            await site.go(0.45, tick_s=10)
            await site.pipeline.tick()
        assert site.pipeline.held_rows > 0
        site.spool.stalls = False
        monkeypatch.setattr(pipeline_module, "COMMIT_TIMEOUT_S", 20)
        await site.go(1)
        assert site.pipeline.held_rows == 0
        assert sum(site.encoded) == len(site.published())


async def test_what_waited_is_committed_in_slices_that_a_nearly_full_disk_still_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "COMMIT_BYTES", 3000)
    async with hall(tmp_path) as site:
        site.spool.refuses = True
        await site.go(10)
        held = [row.seq for row in site.pipeline._unspooled]
        site.spool.refuses = False
        site.spool.appends.clear()
        await site.pipeline.tick()
        assert len(site.spool.appends) > 3
        assert [seq for append in site.spool.appends for seq in append][: len(held)] == held
        site.assert_balanced()


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_finish_commits_what_has_arrived_and_stops_polling(tmp_path):
    site = Hall(tmp_path)
    await site.go(1, tick_s=100)
    assert site.rows() == []
    await site.pipeline.finish()
    site.assert_balanced()
    assert len(pending(site.spool.spool)) == len(site.rows()) > 0
    assert not [t for t in threading.enumerate() if t.name.startswith("stages")]
    site.spool.close()


async def test_run_polls_and_ticks_on_real_time_until_it_is_cancelled(tmp_path):
    site = Hall(tmp_path, clock=SystemClock())
    send = site.link.send

    def answer_at_once(request):
        send(request)
        asyncio.get_running_loop().call_soon(site.link.answer, registers())

    site.link.send = answer_at_once
    running = asyncio.create_task(site.pipeline.run())
    while site.pipeline.counts.rows == 0:
        assert not running.done()
        await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await site.pipeline.finish()
    site.assert_balanced()
    assert len(site.published()) == sum(site.encoded)
    site.spool.close()
