"""Promises of docs/guarantees.md that concern no single module: open ports, restarts, what databases do."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest

from collector.aggregate import GRACE_NS, Aggregate
from collector.types import PointSpec, Quality, Samples
from tests.servers import VictoriaMetrics, free_port

COLLECTOR = [sys.executable, "-m", "collector"]
S = 1_000_000_000
#: A full minute of UTC.
MINUTE_NS = 1_800_000_000 * S


# --- no listening port -----------------------------------------------------------------------------------------------


def listening(process: subprocess.Popen) -> list[int]:
    """The TCP ports that a process listens on."""
    found = psutil.Process(process.pid).net_connections(kind="tcp")
    return [connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN]


@pytest.fixture
def spawn(tmp_path):
    """Starts `collector ARGUMENTS`; ended after the test."""
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([*COLLECTOR, *arguments], stdout=subprocess.PIPE, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_file(path: Path, process: subprocess.Popen, log: Path) -> None:
    give_up = time.monotonic() + 60
    while not path.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            pytest.fail(f"{path.name} was never written:\n{log.read_text()}")
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_running_daemon_listens_on_no_port(tmp_path, spawn):
    status = tmp_path / "status.json"
    (tmp_path / "collector.toml").write_text(f"""
        spool = {{ path = "{tmp_path}/spool.db", max_mb = 8 }}
        health = {{ status_file = "{status}" }}
        [[bus]]
        name = "a"
        url = "tcp://127.0.0.1:{free_port()}"
        [[device]]
        name = "a"
        bus = "a"
        profile = "eastron/sdm630"
        [[uplink]]
        centre = "east"
        broker = {{ url = "mqtt://127.0.0.1:{free_port()}", tls = "off" }}
    """)
    daemon = spawn("run", "--config", str(tmp_path / "collector.toml"))
    wait_for_file(status, daemon, tmp_path / "log")
    assert listening(daemon) == []


def test_a_running_bridge_listens_on_no_port(tmp_path, spawn):
    status = tmp_path / "status.json"
    (tmp_path / "bridge.toml").write_text(f"""
        broker = {{ url = "mqtt://127.0.0.1:{free_port()}", tls = "off" }}
        store = {{ sqlite = {{ path = "{tmp_path}/store.db" }} }}
        dead_letter = {{ path = "{tmp_path}/dead.jsonl" }}
        health = {{ status_file = "{status}" }}
    """)
    bridge = spawn("bridge", "--config", str(tmp_path / "bridge.toml"))
    wait_for_file(status, bridge, tmp_path / "log")
    assert listening(bridge) == []


def test_a_listening_port_would_be_seen(spawn):
    port = free_port()
    simulator = spawn("simulate", "device", "generic/xy_md02", "--listen", f"tcp://127.0.0.1:{port}")
    assert json.loads(simulator.stdout.readline())
    assert listening(simulator) == [port]


# --- windows over a restart ------------------------------------------------------------------------------------------


def each_second(first: int, last: int) -> Samples:
    """One good reading of point 0 in every second from `first` to before `last` of the minute."""
    seconds = np.arange(first, last)
    count = len(seconds)
    return Samples(
        point=np.zeros(count, np.int32),
        ts_ns=MINUTE_NS + seconds * S,
        value=seconds.astype(np.float64),
        quality=np.full(count, Quality.GOOD, np.uint8),
    )


def a_run(samples: Samples, until_s: float) -> list[tuple[int, int, int, float]]:
    """(second of the window, count, expected, min) of what one run of the daemon writes until it stops."""
    aggregate = Aggregate([PointSpec("d", "p", "c", (), "f32", interval_s=1.0)], [60])
    closed = aggregate(samples, MINUTE_NS + round(until_s * S))
    return [(int(w.ts_ns[0] - MINUTE_NS) // S, int(w.count[0]), int(w.expected[0]), float(w.low[0])) for w in closed]


def test_the_window_open_at_a_stop_is_written_by_the_next_run_with_what_that_run_has_seen():
    assert a_run(each_second(0, 30), until_s=30) == []
    assert a_run(each_second(40, 62), until_s=62) == [(0, 20, 60, 40.0)]


def test_a_window_that_ended_just_before_a_stop_is_never_written():
    grace_s = GRACE_NS / S
    assert a_run(each_second(0, 60), until_s=60 + grace_s - 0.1) == []
    assert a_run(each_second(0, 60), until_s=60 + grace_s) == [(0, 60, 60, 0.0)]
    assert [row[0] for row in a_run(each_second(65, 122), until_s=122)] == [60]


# --- what VictoriaMetrics does --------------------------------------------------------------------------------------


class Deduplicating(VictoriaMetrics):
    def command(self) -> list[str]:
        return [*super().command(), "-dedup.minScrapeInterval=1ms"]


@pytest.mark.servers
@pytest.mark.parametrize(("server", "copies"), [(VictoriaMetrics, 3), (Deduplicating, 1)])
def test_victoria_metrics_keeps_every_copy_of_a_point_unless_it_is_told_to_deduplicate(tmp_path, server, copies):
    victoria = server(tmp_path).start()
    ts_ns = time.time_ns() // S * S
    try:
        for _ in range(3):
            body = f"power,device=a u=1.5 {ts_ns}\n".encode()
            urllib.request.urlopen(f"{victoria.url}/write?db=dc&precision=ns", data=body, timeout=10).close()
            victoria.get("/internal/force_flush")
        found = [(ts_ms, value) for _, ts_ms, value in victoria.samples("power_u")]
        assert found == [(ts_ns // 1_000_000, 1.5)] * copies
    finally:
        victoria.stop()


@pytest.mark.servers
def test_victoria_metrics_says_yes_to_a_point_older_than_its_retention_and_drops_it(victoria_metrics):
    now_ns = time.time_ns() // S * S
    body = "".join(f"power,device=a u=1.5 {now_ns - days * 86_400 * S}\n" for days in (60, 1)).encode()
    url = f"{victoria_metrics.url}/write?db=dc&precision=ns"
    with urllib.request.urlopen(url, data=body, timeout=10) as answer:
        assert answer.status == 204
    assert [ts_ms for _, ts_ms, _ in victoria_metrics.samples("power_u")] == [(now_ns - 86_400 * S) // 1_000_000]
