"""The bridge as a process, between a real mosquitto and real databases: nothing lost, nothing twice."""

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from collector.bridge.daemon import Bridge
from collector.bridge.settings import load_settings
from collector.bridge.sqlite_store import counts, latest
from tests.bridge.payloads import line, topic
from tests.bridge.processes import ROOT, Bridges, Gateway, until

pytestmark = pytest.mark.servers

#: Of today: VictoriaMetrics drops what is older than a month.
NOW_NS = time.time_ns() // 10**9 * 10**9
MS = 10**6


@pytest.fixture
def broker(new_mosquitto):
    """As config/broker/mosquitto.conf: no silent drop of what waits for a bridge that is away."""
    return new_mosquitto("max_inflight_messages 64", "max_queued_messages 0").start()


@pytest.fixture
def new_bridges(tmp_path, broker):
    made = []

    def make(store: str, more: str = "") -> Bridges:
        made.append(Bridges(tmp_path, broker.port, store, more))
        return made[-1]

    yield make
    for bridges in made:
        bridges.close()


def v1(server) -> str:
    return f'[store.influx_v1]\nurl = "{server.url}"\ndatabase = "dc"\ntimeout_s = 5.0'


def v2(server) -> str:
    return f'[store.influx_v2]\nurl = "{server.url}"\nbucket = "dc"\ntimeout_s = 5.0'


def body(seq: int, lines: int = 5) -> bytes:
    """Lines whose value tells their place, a millisecond apart."""
    first = seq * lines
    return b"".join(line(f"u={n}.125", ts_ns=NOW_NS + n * MS) for n in range(first, first + lines))


def conserved(status: dict) -> bool:
    messages, lines, points = status["messages"], status["lines"], status["points"]
    return (
        messages["received"]
        == messages["stored"] + sum(messages["rejected"].values()) + messages["released"] + messages["held"]
        and lines["checked"] == lines["written"] + sum(lines["dropped"].values())
        and points["claimed"] == points["written"] + points["dropped"]
    )


def expected(rows: int) -> dict[int, float]:
    return {NOW_NS + n * MS: n + 0.125 for n in range(5, (rows + 1) * 5)}


async def test_influxdb_1_holds_every_point_once_with_its_value_and_timestamp(broker, influxd, new_bridges):
    bridges = new_bridges(v1(influxd))
    bridges.start()
    await bridges.connected()
    async with Gateway(broker.port) as gateway:
        for _ in range(40):
            await gateway.send(body(gateway.seq + 1))
        await gateway.all_confirmed()
    stored = influxd.points("power")
    assert {row["time"]: row["u"] for row in stored} == expected(40)
    assert len(stored) == 200
    await until(lambda: bridges.status()["points"]["written"] == 200, "count")
    assert conserved(bridges.status())


async def test_victoria_metrics_holds_every_point_once_with_its_value_and_timestamp(
    broker, victoria_metrics, new_bridges
):
    bridges = new_bridges(v2(victoria_metrics))
    bridges.start()
    await bridges.connected()
    async with Gateway(broker.port) as gateway:
        for _ in range(40):
            await gateway.send(body(gateway.seq + 1))
        await gateway.all_confirmed()
    stored = victoria_metrics.samples("power_u")
    assert {ts * MS: value for _, ts, value in stored} == expected(40)
    assert len(stored) == 200


async def under_sigkill(
    kind: str, kills: int, broker, influxd, bridges: Bridges, patience_s: float
) -> tuple[int, dict[int, float]]:
    """Rows sent and points stored after `kills` kills while a gateway kept sending."""
    rng = random.Random(3)
    bridges.start(kind)
    await bridges.connected()
    async with Gateway(broker.port) as gateway:

        async def keep_sending() -> None:
            while True:
                await gateway.send(body(gateway.seq + 1))
                await asyncio.sleep(0.003)

        sending = asyncio.create_task(keep_sending())
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(0.05, 0.35))
            bridges.kill()
            bridges.start(kind)
        sending.cancel()
        await asyncio.wait({sending})
        last, quiet_since = -1, time.monotonic()
        stored: list[dict] = []
        while len(stored) < 5 * gateway.seq and time.monotonic() - quiet_since < patience_s:
            await asyncio.sleep(0.1)
            stored = influxd.points("power")
            if len(stored) != last:
                last, quiet_since = len(stored), time.monotonic()
        times = [row["time"] for row in stored]
        assert len(times) == len(set(times))
        return gateway.seq, {row["time"]: row["u"] for row in stored}


async def test_killed_twenty_times_it_loses_nothing_and_stores_nothing_twice(broker, influxd, new_bridges):
    rows, stored = await under_sigkill("bridge", 20, broker, influxd, new_bridges(v1(influxd)), 10.0)
    assert rows > 200
    # The row that was on its way to the broker when sending stopped may have come or not.
    assert {ts: stored.get(ts) for ts in expected(rows - 1)} == expected(rows - 1)
    assert set(stored) <= set(expected(rows + 1))


async def test_the_twin_that_acknowledges_first_loses_readings_when_killed(broker, influxd, new_bridges):
    rows, stored = await under_sigkill("ack-first", 5, broker, influxd, new_bridges(v1(influxd)), 1.0)
    assert set(expected(rows - 1)) - set(stored) != set()


async def test_while_the_database_is_down_memory_is_bounded_and_afterwards_everything_arrives(
    broker, victoria_metrics, new_bridges
):
    more = "[batch]\nmax_kb = 256\n[limits]\nmemory_mb = 4"
    bridges = new_bridges(v2(victoria_metrics), more)
    bridges.start()
    await bridges.connected()
    victoria_metrics.stop()
    filler = "x" * 90_000
    async with Gateway(broker.port) as gateway:
        for _ in range(250):  # 22 MB; without acknowledgements the broker would send 6 MB of it
            seq = gateway.seq + 1
            await gateway.send(body(seq) + line(f't="{filler}"', device="m2", ts_ns=NOW_NS + seq * MS))
        await until(lambda: bridges.status()["store"]["error"], "word of the outage")
        assert bridges.status()["held_bytes"] <= 4 * 2**20 + 2**20
        assert bridges.status()["pauses"] == 1
        assert gateway.confirmed == set()
        victoria_metrics.start()
        await gateway.all_confirmed()
    assert {ts * MS: value for _, ts, value in victoria_metrics.samples("power_u")} == expected(250)
    await until(lambda: not bridges.status()["store"]["error"], "recovery")
    assert bridges.status()["retries"] > 0
    assert conserved(bridges.status())


async def test_a_type_conflict_among_thousands_of_lines_is_found_and_the_others_stored(broker, influxd, new_bridges):
    bridges = new_bridges(v1(influxd))
    bridges.start()
    await bridges.connected()
    async with Gateway(broker.port) as gateway:
        await gateway.send(line("u=1.0", ts_ns=NOW_NS))
        await gateway.all_confirmed()
        bad = line("u=7i", ts_ns=NOW_NS + 3_000_000)
        lines = [line(f"u={n}.5", ts_ns=NOW_NS + n * 1000) for n in range(1, 3000)]
        await gateway.send(b"".join([*lines[:1234], bad, *lines[1234:]]))
        await gateway.all_confirmed()
    assert len(influxd.points("power")) == 3000
    [letter] = [json.loads(text) for text in bridges.dead_letters.read_text().splitlines()]
    assert letter["text"] == bad[:-1].decode()
    assert "type conflict" in letter["detail"]
    await until(lambda: bridges.status()["lines"]["written"] == 3000, "count")
    status = bridges.status()
    assert status["requests"] <= 30
    assert conserved(status)


async def test_hostile_payloads_between_good_ones_harm_nobody(broker, new_bridges, tmp_path):
    bridges = new_bridges(f'[store.sqlite]\npath = "{tmp_path}/store.db"')
    bridges.start()
    await bridges.connected()
    rng = random.Random(5)
    async with Gateway(broker.port) as gateway, Gateway(broker.port, "evil") as evil:
        for n in range(100):
            await gateway.send(body(gateway.seq + 1))
            await evil.send_raw(topic("gw1") if n % 2 else topic("evil"), rng.randbytes(rng.choice((0, 10, 5000))))
            await evil.send(line(gateway="gw1"), points=1)  # another's name in a line of its own
            await evil.send_raw(topic("evil"), b"#dc1 " * 100_000)
        await gateway.all_confirmed()
        await evil.all_confirmed()
    assert counts(tmp_path / "store.db").points == 500
    assert {point.tags["gateway"] for point in latest(tmp_path / "store.db")} == {"gw1"}
    await until(lambda: bridges.status()["messages"]["held"] == 0, "end of work")
    status = bridges.status()
    assert conserved(status)
    assert status["lines"]["dropped"] == {"line under another name": 100}
    assert sum(status["messages"]["rejected"].values()) == 200


async def test_killed_brokers_leave_it_running_and_it_comes_back_by_itself(broker, new_bridges, tmp_path):
    bridges = new_bridges(f'[store.sqlite]\npath = "{tmp_path}/store.db"')
    bridges.start()
    await bridges.connected()
    for _ in range(2):
        broker.kill()
        await until(lambda: bridges.status()["broker"]["error"], "word of the loss")
        broker.start()
        await bridges.connected()
    async with Gateway(broker.port) as gateway:
        await gateway.send(body(1))
        await gateway.all_confirmed()
    assert counts(tmp_path / "store.db").points == 5
    await bridges.end()
    assert conserved(bridges.status())


async def test_sighup_takes_a_good_configuration_and_keeps_the_old_one_when_the_new_is_bad(
    broker, new_bridges, tmp_path
):
    bridges = new_bridges(f'[store.sqlite]\npath = "{tmp_path}/store.db"')
    bridges.start()
    await bridges.connected()
    good = bridges.config.read_text()
    bridges.config.write_text(good.replace('name = "east"', 'name = "two words"'))
    os.kill(bridges.pid, signal.SIGHUP)
    await until(lambda: "not reloaded" in (tmp_path / "bridge.log").read_text(), "complaint")
    assert bridges.status()["centre"] == "east"
    bridges.config.write_text(good.replace('name = "east"', 'name = "west"'))
    os.kill(bridges.pid, signal.SIGHUP)
    await until(lambda: bridges.status()["centre"] == "west" and bridges.status()["broker"]["connected"], "reload")
    await bridges.end()


def test_sigterm_ends_it_in_time_with_exit_0_even_when_the_database_hangs(broker, stub, tmp_path):
    stub.script = ["hang"]
    bridges = Bridges(tmp_path, broker.port, f'[store.influx_v1]\nurl = "{stub.url}"\ndatabase = "dc"')
    bridges.close()
    process = subprocess.Popen(
        [sys.executable, "-c", "from collector.cli import main; main()", "bridge", "--config", str(bridges.config)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )

    async def feed() -> None:
        await bridges.connected()
        async with Gateway(broker.port) as gateway:
            await gateway.send(body(1))
            await until(lambda: stub.requests, "request")

    try:
        asyncio.run(feed())
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0  # TimeoutStopSec of the unit
    finally:
        process.kill()
        process.wait()


async def test_a_status_file_that_cannot_be_written_is_told_once_and_its_return_as_well(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    directory = tmp_path / "away"
    config = tmp_path / "bridge.toml"
    config.write_text(
        f'[broker]\nurl = "mqtt://127.0.0.1:1"\ntls = "off"\n[store.sqlite]\npath = "{tmp_path}/store.db"\n'
        f'[dead_letter]\npath = "{tmp_path}/dead.jsonl"\n[health]\nstatus_file = "{directory}/status.json"\n'
    )
    bridge = Bridge(load_settings(config))
    for _ in range(3):
        await bridge._write_status()
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [f"status file {directory}/status.json: No such file or directory; the bridge goes on"]
    directory.mkdir()
    for _ in range(2):
        await bridge._write_status(stopped=True)
    assert caplog.text.count("written again") == 1
    assert json.loads((directory / "status.json").read_text())["stopped"] is True
