"""What the collector says of itself: one truth for the status file, the retained message and the database."""

import json
import os

import pytest

from collector.bridge.check import Checked, Limits, check
from collector.health import DEVICE_CATEGORY, DEVICES_PER_ROW, GATEWAY_CATEGORY, Health, write_status
from tests.properties.line_protocol import parse_line, parse_payload
from tests.scripted_hall import BOOT, Hall, hall, registers

ORIGIN = (("city", "sz"), ("site", "ft1"), ("gateway", "gw-a"))
UPLINK = {"centre": "east", "state": "connected", "in_flight": 1}


def health_of(site):
    return Health(site.inventory.settings.gateway, BOOT, site.pipeline, site.spool, lambda: [UPLINK], site.clock)


def parsed(health):
    """category → lines, each row's count of fields checked."""
    found = {}
    for category, body, points in health.lines():
        lines = [parse_line(text) for text in body.decode().splitlines()]
        assert {line.measurement for line in lines} == {category}
        assert sum(len(line.fields) for line in lines) == points
        found.setdefault(category, []).extend(lines)
    return found


def only_the_first(link):
    """Unit 1 answers, the others are silent."""
    if link.in_flight.unit == 1:
        link.answer(registers())


def late(site, after_s):
    """Each answer comes so long after its question."""

    def reply(link):
        if site.clock.mono() - link.sent[-1][0] >= after_s - 1e-6:
            link.answer(registers())

    return reply


async def test_each_device_has_a_line_with_its_counters(tmp_path):
    async with hall(tmp_path) as site:
        await site.go(30, only_the_first)
        up, down = parsed(health_of(site))[DEVICE_CATEGORY]
        assert up.tags == (*ORIGIN, ("device", "m1"), ("bus", "line"))
        assert dict(down.tags)["device"] == "m2"
        assert up.ts_ns == down.ts_ns == site.clock.now_ns()
        assert (up.fields["up"], down.fields["up"]) == (1, 0)
        for line, unit in zip((up, down), site.units, strict=True):
            counted = {name: value for name, value in line.fields.items() if name not in ("up", "rtt_ms")}
            assert counted == {name: getattr(unit, name) for name in counted}
            assert len(counted) == 7
        assert up.fields["rtt_ms"] == pytest.approx(50, abs=1), "a step of the simulated line"
        assert up.fields["answered"] > 10
        assert down.fields["timeouts"] > 2


async def test_the_gateway_has_a_line_with_what_went_through_and_what_was_dropped(tmp_path):
    async with hall(tmp_path) as site:
        await site.go(10)
        (line,) = parsed(health_of(site))[GATEWAY_CATEGORY]
        assert line.tags == (*ORIGIN, ("device", "gw-a"))
        counts, stats = site.pipeline.counts, site.spool.stats()
        assert line.fields == {
            "readings": counts.readings,
            "rows": counts.rows,
            "dropped_points": 0,
            "intake_dropped": 0,
            "slow_ticks": counts.slow_ticks,
            "spool_rows": stats.rows,
            "spool_bytes": stats.bytes,
        }
        assert counts.readings > 50


async def test_the_lines_travel_with_the_data_and_the_bridge_takes_them(tmp_path):
    async with hall(tmp_path) as site:
        await site.go(2)
        for note in health_of(site).lines():
            site.pipeline.note(*note)
        await site.go(0.5)
        rows = [row for row in site.rows() if row.category in (DEVICE_CATEGORY, GATEWAY_CATEGORY)]
        assert {row.category for row in rows} == {DEVICE_CATEGORY, GATEWAY_CATEGORY}
        for row in rows:
            parse_payload(row.payload)
            verdict = check(f"dc/v1/sz/ft1/gw-a/data/{row.category}", row.payload, Limits(1 << 20, 20_000))
            assert isinstance(verdict, Checked)
            assert (verdict.points, verdict.bad) == (row.points, ())


def test_a_hall_of_very_many_devices_is_told_in_rows_of_a_bounded_size(tmp_path):
    site = Hall(tmp_path, units=247)
    rows = [(body, points) for category, body, points in health_of(site).lines() if category == DEVICE_CATEGORY]
    assert [body.count(b"\n") for body, _ in rows] == [DEVICES_PER_ROW, 247 - DEVICES_PER_ROW]
    assert all(len(body) < 64 << 10 for body, _ in rows)
    assert len(parsed(health_of(site))[DEVICE_CATEGORY]) == 247
    site.spool.close()


async def test_the_snapshot_is_plain_data_that_holds_the_same_numbers(tmp_path):
    async with hall(tmp_path) as site:
        health = health_of(site)
        await site.go(30, only_the_first)
        told = json.loads(json.dumps(health.snapshot()))
        assert (told["city"], told["site"], told["gateway"], told["boot"]) == ("sz", "ft1", "gw-a", BOOT)
        assert (told["pid"], told["ts_ns"], told["uptime_s"]) == (os.getpid(), site.clock.now_ns(), 30.0)
        assert told["uplinks"] == [UPLINK]
        (bus,) = told["buses"]
        assert (bus["name"], bus["open"], bus["error"], bus["losses"]) == ("line", True, "", 0)
        assert 0 < bus["load"] < 1
        assert 0 < bus["predicted_load"] < 1
        up, down = told["devices"]
        assert (up["state"], down["state"]) == ("up", "down")
        assert 0 <= up["age_s"] < 1
        assert down["age_s"] is None, "never"
        assert "no answer" in down["last_error"]
        assert told["pipeline"]["readings"] == site.pipeline.counts.readings
        assert told["spool"]["accepted_rows"] == site.pipeline.counts.rows
        lines = {dict(line.tags)["device"]: line.fields for line in parsed(health)[DEVICE_CATEGORY]}
        for device in (up, down):
            same = lines[device["name"]].keys() & device.keys()
            assert len(same) == 8
            assert {key: device[key] for key in same} == {key: lines[device["name"]][key] for key in same}


async def test_a_unit_that_takes_longer_than_its_profile_says_is_named_after_a_minute(tmp_path):
    async with hall(tmp_path) as site:
        health = health_of(site)
        predicted_ms = health.snapshot()["devices"][0]["predicted_ms"]
        assert predicted_ms == pytest.approx(1000 * site.inventory.buses[0].units[0].read_s, abs=1e-3)
        slow = []
        for _ in range(65):
            await site.go(1.0, late(site, 0.25))
            slow = health.snapshot()["slow"]
        assert [unit["device"] for unit in slow] == ["m1", "m2"]
        turnaround_s = site.inventory.buses[0].units[0].turnaround_s
        assert slow[0]["turnaround_ms"] == pytest.approx(1000 * turnaround_s + slow[0]["rtt_ms"] - predicted_ms, abs=1)


async def test_the_load_shown_is_that_of_the_last_minute(tmp_path):
    async with hall(tmp_path) as site:
        health = health_of(site)
        for _ in range(70):
            await site.go(1.0, late(site, 0.10))
            quiet = health.snapshot()["buses"][0]["load"]
        for _ in range(70):
            await site.go(1.0, late(site, 0.20))
            busy = health.snapshot()["buses"][0]["load"]
        assert busy == pytest.approx(2 * quiet, rel=0.05)


async def test_a_spool_that_refuses_shows_as_rows_held(tmp_path):
    async with hall(tmp_path) as site:
        site.spool.refuses = True
        await site.go(3)
        assert health_of(site).snapshot()["pipeline"]["held_rows"] == site.pipeline.held_rows > 0
        site.spool.refuses = False


async def test_the_summary_counts_the_devices_that_are_up(tmp_path):
    async with hall(tmp_path) as site:
        await site.go(30, only_the_first)
        summary = health_of(site).summary()
        assert (summary["devices"], summary["devices_up"]) == (2, 1)
        assert summary["spool_rows"] == site.spool.stats().rows
        json.dumps(summary)


def test_the_status_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "status.json"
    write_status(path, {"room": "机房", "n": 1})
    with path.open() as reader:  # one who has begun to read the old one
        write_status(path, {"room": "机房", "n": 2})
        assert json.load(reader)["n"] == 1
    assert json.loads(path.read_text(encoding="utf-8")) == {"room": "机房", "n": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_a_status_file_that_cannot_be_written_raises_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "status.json"
    write_status(path, {"n": 1})
    (tmp_path / "status.json.new").mkdir()
    with pytest.raises(OSError):
        write_status(path, {"n": 2})
    assert json.loads(path.read_text()) == {"n": 1}
