"""All stages at work on a real spool, with lines in memory: nothing comes or goes between two stages uncounted."""

import asyncio
import itertools
import logging
import random
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector import aggregate as aggregate_module
from collector import pipeline as pipeline_module
from collector.clock import FakeClock, SystemClock
from collector.pipeline import Pipeline, next_tick
from collector.types import Quality
from drivers.errors import BadFrame, DeviceException
from tests.scripted_hall import NUMBERS, Hall, hall, registers
from tests.spool_rows import pending


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


async def test_a_rebooted_meter_is_flagged_and_what_it_counted_is_never_negative(tmp_path):
    """A counter that runs over, then falls silent and begins anew, as after a power cut of the device."""
    shown = [2**32 - 100]

    def count(link):
        shown[0] = (shown[0] + 7) % 2**32
        link.answer(registers(counter=shown[0]))

    async with hall(tmp_path, units=1, windows_s=(5,)) as site:
        await site.go(30, count)
        before = shown[0]
        assert before < 1000, "it ran over"
        await site.go(8, lambda link: None)
        shown[0] = 0
        await site.go(30, count)
        ended = shown[0]
        await site.go(10, lambda link: None)
        published = site.published()
    told = {key[1:]: value for key, value in published.items() if key[1] in ("counter_delta", "counter_resets")}
    deltas = [value for (field, _), value in told.items() if field == "counter_delta"]
    assert min(deltas) >= 0
    assert sum(deltas) == (before + 2**32 - (2**32 - 100 + 7)) + (ended - 7)
    assert [value for (field, _), value in told.items() if field == "counter_resets"] == [1]


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


async def test_windows_that_close_together_are_committed_portion_by_portion(tmp_path, monkeypatch):
    monkeypatch.setattr(aggregate_module, "MAX_ROWS", 1)
    async with hall(tmp_path, windows_s=(10,)) as site:
        await site.go(20)
        assert len(site.spool.appends) >= 2 * NUMBERS * len(site.units)
        assert site.pipeline.held_rows == 0
        assert sum(site.encoded) == len(site.published())


async def appends_of_a_tick_in_which_windows_close(directory, monkeypatch):
    """How often a tick with six portions turns to a disk that does not answer."""
    monkeypatch.setattr(aggregate_module, "MAX_ROWS", 1)
    async with hall(directory, windows_s=(10,)) as site:
        await site.go(2)
        monkeypatch.setattr(pipeline_module, "COMMIT_TIMEOUT_S", 0.02)
        site.spool.stalls = True
        site.spool.appends.clear()
        await site.go(20, tick_s=100)
        await site.pipeline.tick()
        tried = len(site.spool.appends)
        site.spool.stalls = False
        monkeypatch.setattr(pipeline_module, "COMMIT_TIMEOUT_S", 20)
        await site.go(1)
        assert site.pipeline.held_rows == 0
        assert sum(site.encoded) == len(site.published())
    return tried


async def test_a_disk_that_does_not_answer_is_waited_for_once_per_tick(tmp_path, monkeypatch):
    assert await appends_of_a_tick_in_which_windows_close(tmp_path, monkeypatch) == 1


async def test_twin_a_wait_for_each_portion_would_hold_up_the_tick(tmp_path, monkeypatch):
    commit = Pipeline._commit_held
    monkeypatch.setattr(Pipeline, "_commit_held", lambda self: commit(self) or True)
    assert await appends_of_a_tick_in_which_windows_close(tmp_path, monkeypatch) > 6


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


async def test_a_tick_without_anything_to_do_is_left_out_but_windows_close_all_the_same(tmp_path, monkeypatch):
    async with hall(tmp_path, windows_s=(10,)) as site:
        await site.go(2)
        site.pipeline.poller.close()
        worked = []
        stages = site.pipeline._stages
        monkeypatch.setattr(site.pipeline, "_stages", lambda *given: (worked.append(site.clock.mono()), stages(*given)))
        await site.pipeline.tick()
        worked.clear()
        site.pipeline.tick_s_last = 0.123
        site.clock.advance(0.25)
        await site.pipeline.tick()
        assert (worked, site.pipeline.tick_s_last) == ([], 0.123), "what the last one took is still told"
        before = sum(site.encoded)
        for _ in range(80):
            site.clock.advance(0.25)
            await site.pipeline.tick()
            assert site.pipeline.ticked_at == site.clock.mono(), "the watchdog is told of each"
        assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(worked))
        assert len(worked) >= 19
        assert sum(site.encoded) > before, "windows closed"
        site.pipeline.note("gateway_health", b"gateway_health,x=y n=1i 1\n", 1)
        site.clock.advance(0.25)
        await site.pipeline.tick()
        assert worked[-1] == site.clock.mono(), "a note is something to do"
        site.spool.refuses = True
        site.pipeline.note("gateway_health", b"gateway_health,x=y n=1i 2\n", 1)
        await site.pipeline.tick()
        site.spool.refuses = False
        site.clock.advance(0.25)
        await site.pipeline.tick()
        assert site.pipeline.held_rows == 0, "so are rows that wait"


@settings(max_examples=300)
@example(0.35, 0.1)
@given(st.floats(0, 1e7), st.sampled_from([0.1, 0.5, 1.0, 2.0, 10.0]))
def test_the_next_tick_lies_a_quarter_of_a_second_or_half_a_tick_behind_a_multiple_of_the_tick(now, tick_s):
    following = next_tick(now, tick_s)
    assert now < following <= now + tick_s * 1.001
    behind = min(0.25, tick_s / 2)
    assert following / tick_s == pytest.approx(round((following - behind) / tick_s) + behind / tick_s)


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
