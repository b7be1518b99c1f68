"""The whole chain with real processes: simulated hall → daemon → mosquitto → bridge → database.

What was accepted is known exactly: a second uplink leads to a centre that never answers, so the spool keeps every row
it ever accepted, and the database is compared with it point by point.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from collector.demo import toml
from collector.spool import read_only_rows
from tests.servers import free_port

CITY, SITE, GATEWAY, CENTRE, ARCHIVE = "sz", "ft1", "gw1", "east", "archive"

COLLECTOR = [sys.executable, "-m", "collector"]

Value = float | str
Point = tuple[str, tuple[tuple[str, str], ...], str, int]  # measurement, tags, field, ts_ns


FIELD = re.compile(r'([^=,]+)=("(?:[^"\\]|\\.)*"|[^,]*),?')


def parse_line(line: str) -> list[tuple[Point, Value]]:
    """One line of our own line protocol; the tests use names that need no escape."""
    head, rest = line.split(" ", 1)
    fields, ts = rest.rsplit(" ", 1)
    measurement, *tags = head.split(",")
    named = tuple(sorted((k, v) for k, v in (tag.split("=", 1) for tag in tags)))
    return [((measurement, named, key, int(ts)), _value(text)) for key, text in FIELD.findall(fields)]


def _value(text: str) -> Value:
    return text[1:-1] if text.startswith('"') else float(text.rstrip("i"))


class Chain:
    """Parts are processes: `start_*`, `kill`, `stop`. `store` is the bridge's store table."""

    def __init__(self, directory: Path, mosquitto, store: dict, *, confirm: str = "bridge", daemon=None, bridge=None):
        self.directory = directory
        self.mosquitto = mosquitto
        self.store = store
        self.confirm = confirm
        self.spool = directory / "spool.db"
        self.status_file = directory / "status.json"
        self.parts: dict[str, subprocess.Popen] = {}
        self._daemon = daemon or COLLECTOR
        self._bridge = bridge or COLLECTOR
        self.environment = {**os.environ, "NUMBA_CACHE_DIR": str(directory.parent / "numba")}

    def start_simulator(self) -> dict:
        process = self._spawn(
            "simulator",
            [*COLLECTOR, "simulate", "hall", "--dir", str(self.directory), "--base-port", "0", "--json"],
            stdout=subprocess.PIPE,
        )
        site = json.loads(process.stdout.readline())
        self._configure(site)
        return site

    def _configure(self, site: dict) -> None:
        broker = {"url": self.mosquitto.url, "tls": "off"}
        nowhere = {"url": f"mqtt://127.0.0.1:{free_port()}", "tls": "off"}
        for device in site["device"]:
            device["interval_s"] = min(device["interval_s"], 2.0)
        gateway = {
            "gateway": {"city": CITY, "site": SITE, "name": GATEWAY},
            "poll": {"tick_s": 0.2},
            "filter": {"publish": "all"},
            "aggregate": {"windows_s": [2]},
            "spool": {"path": str(self.spool)},
            "health": {"interval_s": 1.0, "status_file": str(self.status_file)},
            "bus": site["bus"],
            "device": site["device"],
            "uplink": [
                {"centre": CENTRE, "broker": broker, "confirm": self.confirm, "confirm_timeout_s": 2.0},
                {"centre": ARCHIVE, "broker": nowhere},
            ],
        }
        (self.directory / "collector.toml").write_text(toml(gateway))
        bridge = {
            "centre": {"name": CENTRE, "city": CITY},
            "broker": broker,
            "store": self.store,
            "dead_letter": {"path": str(self.directory / "dead.jsonl")},
            "health": {"interval_s": 1.0, "status_file": str(self.directory / "bridge.json")},
        }
        (self.directory / "bridge.toml").write_text(toml(bridge))

    def start_daemon(self) -> None:
        self._spawn("daemon", [*self._daemon, "run", "--config", str(self.directory / "collector.toml")])

    def start_bridge(self) -> None:
        self._spawn("bridge", [*self._bridge, "bridge", "--config", str(self.directory / "bridge.toml")])

    def start(self) -> None:
        self.start_simulator()
        self.start_bridge()
        self.start_daemon()
        self.wait_for(lambda: self.status()["spool"]["accepted_rows"] > 0, 60)

    def _spawn(self, name: str, command: list[str], stdout=None) -> subprocess.Popen:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log, env=self.environment
            )
        self.parts[name] = process
        return process

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.parts.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str, seconds: float = 20) -> int:
        """SIGTERM; returns the exit code."""
        process = self.parts.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"{name} did not stop within {seconds} s:\n{self.log(name)}")

    def close(self) -> None:
        for process in self.parts.values():
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-4000:]

    def status(self) -> dict:
        try:
            return json.loads(self.status_file.read_text())
        except FileNotFoundError:
            return {"spool": {"accepted_rows": 0, "pending": {}}}

    def wait_for(self, condition, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while not condition():
            for name, process in self.parts.items():
                if process.poll() is not None:
                    pytest.fail(f"{name} ended with {process.returncode}:\n{self.log(name)}")
            if time.monotonic() > give_up:
                pytest.fail(
                    f"did not happen in {seconds} s; daemon:\n{self.log('daemon')}\nbridge:\n{self.log('bridge')}"
                )
            time.sleep(0.1)

    def accepted(self, upto_seq: int | None = None) -> dict[Point, Value]:
        """Every point of every row the spool ever accepted, up to a sequence number."""
        points: dict[Point, Value] = {}
        for row in read_only_rows(self.spool):
            if upto_seq is None or row.seq <= upto_seq:
                for line in row.payload.decode().splitlines():
                    if not line.startswith("#"):
                        points.update(parse_line(line))
        return points

    def last_seq(self) -> int:
        return max((row.seq for row in read_only_rows(self.spool)), default=0)


def stored_in_influxd(influxd, accepted: Mapping[Point, Value]) -> list[tuple[Point, Value]]:
    """What InfluxDB 1.x holds of the measurements that occur in `accepted`; timestamps exact to the nanosecond."""
    tag_keys = {key for _, tags, _, _ in accepted for key, _ in tags}
    found = []
    for measurement in sorted({point[0] for point in accepted}):
        for row in influxd.points(measurement):
            ts_ns = row.pop("time")
            tags = tuple(sorted((k, v) for k, v in row.items() if k in tag_keys and v is not None))
            fields = ((k, v) for k, v in row.items() if k not in tag_keys and v is not None)
            found += [((measurement, tags, k, ts_ns), v if isinstance(v, str) else float(v)) for k, v in fields]
    return found


def stored_in_victoria_metrics(victoria, accepted: Mapping[Point, Value]) -> list[tuple[Point, Value]]:
    """What VictoriaMetrics holds; its clock ticks in milliseconds."""
    found = []
    for measurement, field in sorted({(point[0], point[2]) for point in accepted}):
        for labels, ts_ms, value in victoria.samples(f"{measurement}_{field}"):
            tags = tuple(sorted((k, v) for k, v in labels.items() if k not in ("__name__", "db")))
            found.append(((measurement, tags, field, ts_ms), value))
    return found


def in_milliseconds(points: Mapping[Point, Value]) -> dict[Point, Value]:
    """As a database keeps them that knows numbers only, and milliseconds."""
    points = {point: value for point, value in points.items() if not isinstance(value, str)}
    return {(m, tags, field, ts_ns // 1_000_000): value for (m, tags, field, ts_ns), value in points.items()}
