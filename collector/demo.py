"""The whole chain on one machine with no hardware: simulated hall → daemon → real broker → bridge → database.

Every part is a process of its own and speaks the real protocol, exactly as at a site; only the devices are virtual.
"""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from collector.bridge import sqlite_store
from collector.bridge.lines import Value, parse_line
from collector.clock import SystemClock
from collector.errors import CollectorError
from collector.types import Row

CITY, SITE, GATEWAY, CENTRE = "city-a", "hall-1", "gw-1", "centre-1"
#: How long a part may take to come up; the daemon may have to compile its kernels first.
START_S = 60.0
STOP_S = 15.0

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class DemoFailed(CollectorError):
    """A part of the chain did not come up, or ended."""


def toml(table: Mapping[str, Any], name: str = "") -> str:
    """`table` as TOML; nested tables become sections, lists of tables arrays of tables."""
    lines, sections = [], []
    for key, value in table.items():
        shown = key if _BARE_KEY.fullmatch(key) else _literal(key)
        path = f"{name}.{shown}" if name else shown
        if isinstance(value, Mapping):
            sections.append(f"\n[{path}]\n{toml(value, path)}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            sections += [f"\n[[{path}]]\n{toml(item, path)}" for item in value]
        else:
            lines.append(f"{shown} = {_literal(value)}\n")
    return "".join(lines + sections)


def _literal(value: Any) -> str:
    # JSON is TOML for text, numbers and lists of them, but for one control character that only TOML forbids.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def free_port() -> int:
    """A TCP port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Demo:
    """Starts the parts in order; stops them in the order in which data flows, so that nothing is left behind."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.database = directory / "store.db"
        self.status_file = directory / "status.json"
        self.bridge_status = directory / "bridge-status.json"
        self.broker_name = ""
        self._seed = seed
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()

    def start(self) -> dict[str, Any]:
        """Bring everything up; returns the simulated site. Raises DemoFailed with the part's own words."""
        for left in (self.status_file, self.bridge_status):  # of an earlier demo: they tell when a part is up
            left.unlink(missing_ok=True)
        site = self._start_simulator()
        port, version = self._start_broker()
        broker = {"url": f"mqtt://127.0.0.1:{port}", "tls": "off", "version": version}
        self._start_bridge(broker)
        self._start_daemon(broker, site)
        return site

    def _start_simulator(self) -> dict[str, Any]:
        command = ["simulate", "hall", "--dir", str(self.directory), "--base-port", "0", "--json"]
        process = self._run("simulator", [*command, "--seed", str(self._seed)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise self._failure("simulator")
        site: dict[str, Any] = json.loads(line)
        return site

    def _start_broker(self) -> tuple[int, str]:
        port = free_port()
        mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if mosquitto:
            conf = self.directory / "mosquitto.conf"
            user = "user root\n" if os.geteuid() == 0 else ""
            conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{user}")
            self._spawn("broker", [mosquitto, "-c", str(conf)])
            self.broker_name, version = "mosquitto", "5"
        else:
            self._start_wheel_broker(port)
            self.broker_name, version = "iotcore", "3.1.1"
        self._until("broker", lambda: _accepts(port))
        return port, version

    def _start_wheel_broker(self, port: int) -> None:
        try:
            from iotcore import Broker
        except ImportError:
            hint = "install mosquitto, or the demo's broker: pip install 'dc-collector[demo]'"
            raise DemoFailed(f"no MQTT broker on this machine: {hint}") from None
        try:
            self._stack.enter_context(Broker(port=port, listen="127.0.0.1", max_payload_size=1 << 20))
        except (OSError, RuntimeError) as error:
            raise DemoFailed(f"the broker that comes as a wheel did not come up: {error}") from error

    def _start_bridge(self, broker: dict[str, Any]) -> None:
        settings = {
            "centre": {"name": CENTRE, "city": CITY},
            "broker": broker,
            "store": {"sqlite": {"path": str(self.database)}},
            "dead_letter": {"path": str(self.directory / "dead_letter.jsonl")},
            "health": {"interval_s": 1.0, "status_file": str(self.bridge_status)},
        }
        path = self.directory / "bridge.toml"
        path.write_text(toml(settings), encoding="utf-8")
        self._run("bridge", ["bridge", "--config", str(path)])
        self._until("bridge", self.bridge_status.exists)

    def _start_daemon(self, broker: dict[str, Any], site: dict[str, Any]) -> None:
        settings = {
            "gateway": {"city": CITY, "site": SITE, "name": GATEWAY},
            "aggregate": {"windows_s": [10]},
            "spool": {"path": str(self.directory / "spool.db")},
            "health": {"status_file": str(self.status_file)},
            "bus": site["bus"],
            "device": site["device"],
            "uplink": [{"centre": CENTRE, "broker": broker}],
        }
        path = self.directory / "collector.toml"
        path.write_text(toml(settings), encoding="utf-8")
        self._run("daemon", ["run", "--config", str(path)])
        self._until("daemon", self.status_file.exists)

    def alive(self) -> None:
        """Raises DemoFailed when a part has ended."""
        for name, process in self._parts.items():
            if process.poll() is not None:
                raise self._failure(name)

    def latest(self) -> dict[tuple[str, str], Value]:
        """The newest value in the database of every (device, field) of the readings."""
        newest = sqlite_store.latest(self.database)
        return {(one.tags["device"], one.field): one.value for one in newest if "_" not in one.measurement}

    def stop(self) -> dict[str, Any]:
        """Stop the chain in the order in which data flows and count what arrived."""
        self._end("daemon")
        status = json.loads(self.status_file.read_text(encoding="utf-8"))
        self._end("bridge")
        return self._account(status)

    def _account(self, status: dict[str, Any]) -> dict[str, Any]:
        from collector.spool import read_only_rows

        waiting = list(read_only_rows(self.directory / "spool.db"))
        accepted_rows, accepted = status["spool"]["accepted_rows"], status["spool"]["accepted_points"]
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            stored, distinct = db.execute(
                "SELECT count(*), count(DISTINCT series || ':' || ts_ns) FROM points"
            ).fetchone()
            under_way = sum(_unstored(db, row) for row in waiting)
        return {
            "readings": status["pipeline"]["readings"],
            "rows_accepted": accepted_rows,
            "rows_confirmed": accepted_rows - len(waiting),
            "points_accepted": accepted,
            "points_stored": stored,
            "points_under_way": under_way,
            "lost": accepted - stored - under_way,
            "duplicates_stored": stored - distinct,
            "devices_up": sum(d["state"] == "up" for d in status["devices"]),
            "devices": len(status["devices"]),
            "buses": len(status["buses"]),
            "broker": self.broker_name,
        }

    def close(self) -> None:
        """Stop whatever still runs."""
        for name in ("daemon", "bridge", "broker", "simulator"):
            self._end(name)
        self._stack.close()

    def _run(self, name: str, arguments: list[str], stdout: int | None = None) -> subprocess.Popen[bytes]:
        return self._spawn(name, [sys.executable, "-m", "collector", *arguments], stdout)

    def _spawn(self, name: str, command: list[str], stdout: int | None = None) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=stdout or log, stderr=log, stdin=subprocess.DEVNULL)
        self._parts[name] = process
        return process

    def _until(self, name: str, condition: Any) -> None:
        give_up = SystemClock.mono() + START_S
        while not condition():
            process = self._parts.get(name)
            if (process is not None and process.poll() is not None) or SystemClock.mono() > give_up:
                raise self._failure(name)
            time.sleep(0.05)

    def _failure(self, name: str) -> DemoFailed:
        log = self.directory / f"{name}.log"
        words = log.read_text(errors="replace")[-2000:] if log.exists() else ""
        return DemoFailed(f"the {name} did not come up or ended; its last words:\n{words}")

    def _end(self, name: str) -> None:
        process = self._parts.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _unstored(db: sqlite3.Connection, row: Row) -> int:
    """Points of a row that the database does not hold; none when only the confirmation came too late for the stop."""
    query = "SELECT count(*) FROM readings WHERE measurement = ? AND tags = ? AND field = ? AND ts_ns = ?"
    missing = 0
    for line in map(parse_line, row.payload.splitlines()[1:]):
        tags = json.dumps(dict(sorted(line.tags)), ensure_ascii=False)
        for field, _ in line.fields:
            (found,) = db.execute(query, (line.measurement, tags, field, line.ts_ns)).fetchone()
            missing += not found
    return missing


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
