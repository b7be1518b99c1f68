"""The whole chain on one machine with no hardware: simulated hall → daemon → real broker → bridge → database.

Every part is a process of its own and speaks the real protocol, exactly as at a site; only the devices are virtual.
"""

import json
import os
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

from collector.clock import SystemClock
from collector.errors import CollectorError

CITY, SITE, GATEWAY, CENTRE = "city-a", "hall-1", "gw-1", "centre-1"
#: How long a part may take to come up; the daemon may have to compile its kernels first.
START_S = 60.0
STOP_S = 15.0


class DemoFailed(CollectorError):
    """A part of the chain did not come up, or ended."""


def toml(table: Mapping[str, Any], name: str = "") -> str:
    """`table` as TOML; nested tables become sections, lists of tables arrays of tables."""
    lines, sections = [], []
    for key, value in table.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, Mapping) and name.count(".") < 2 and key not in ("tags", "tls"):
            sections.append(f"\n[{path}]\n{toml(value, path)}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            sections += [f"\n[[{path}]]\n{toml(item, path)}" for item in value]
        elif isinstance(value, Mapping):
            inline = ", ".join(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
            lines.append(f"{key} = {{ {inline} }}\n")
        else:
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}\n")
    return "".join(lines + sections)


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
        self.broker_name = ""
        self._seed = seed
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()

    def start(self) -> dict[str, Any]:
        """Bring everything up; returns the simulated site. Raises DemoFailed with the part's own words."""
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
        self._stack.enter_context(Broker(port=port, listen="127.0.0.1", max_payload_size=1 << 20))

    def _start_bridge(self, broker: dict[str, Any]) -> None:
        status = self.directory / "bridge-status.json"
        settings = {
            "centre": {"name": CENTRE, "city": CITY},
            "broker": broker,
            "store": {"sqlite": {"path": str(self.database)}},
            "dead_letter": {"path": str(self.directory / "dead_letter.jsonl")},
            "health": {"interval_s": 1.0, "status_file": str(status)},
        }
        path = self.directory / "bridge.toml"
        path.write_text(toml(settings), encoding="utf-8")
        self._run("bridge", ["bridge", "--config", str(path)])
        self._until("bridge", status.exists)

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

    def latest(self) -> dict[tuple[str, str], float]:
        """The newest value in the database of every (device, field) of the readings."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT tags, field, value, max(ts_ns) FROM readings "
                "WHERE measurement NOT LIKE '%\\_%' ESCAPE '\\' GROUP BY measurement, tags, field"
            ).fetchall()
        return {(json.loads(tags)["device"], field): value for tags, field, value, _ in rows}

    def stop(self) -> dict[str, Any]:
        """Stop the chain in the order in which data flows and count what arrived."""
        self._end("daemon")
        status = json.loads(self.status_file.read_text(encoding="utf-8"))
        self._end("bridge")
        return self._account(status)

    def _account(self, status: dict[str, Any]) -> dict[str, Any]:
        from collector.spool import read_only_rows

        waiting = list(read_only_rows(self.directory / "spool.db"))
        spool = status["spool"]
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            stored, distinct = db.execute(
                "SELECT count(*), count(DISTINCT series || ':' || ts_ns) FROM points"
            ).fetchone()
        accepted = spool["accepted_points"]
        return {
            "readings": status["pipeline"]["readings"],
            "rows_accepted": spool["accepted_rows"],
            "rows_confirmed": spool["accepted_rows"] - len(waiting),
            "points_accepted": accepted,
            "points_stored": stored,
            "lost": accepted - sum(row.points for row in waiting) - stored,
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


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
