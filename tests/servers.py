"""Real servers as child processes on free ports, one class and its fixtures each; conftest.py imports the fixtures."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import ClassVar

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_open(port: int, process: subprocess.Popen, log: Path, seconds: float = 10.0) -> None:
    """Until `port` accepts; fails with the server's own log when it died or took too long."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    pytest.fail(f"{process.args[0]} did not open port {port}:\n{log.read_text(errors='replace')[-2000:]}")


class _Server:
    """A server of our own on a free port, with a directory for its log and whatever it keeps."""

    PATIENCE_S: ClassVar[float] = 5  # from SIGTERM to SIGKILL

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        self.log = directory / f"{type(self).__name__.lower()}.log"
        self._process: subprocess.Popen | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self):
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_until_open(self.port, self._process, self.log)
        return self

    def kill(self) -> None:
        """SIGKILL: what is only in its memory is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(self.PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


class Mosquitto(_Server):
    """A mosquitto of our own. `lines` are its configuration; change them and `restart` for others."""

    def __init__(self, directory: Path, *lines: str, anonymous: bool = True) -> None:
        super().__init__(directory)
        self.lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {str(anonymous).lower()}", *lines]

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        if os.geteuid() == 0 and not any(line.startswith("user ") for line in self.lines):
            self.lines.append("user root")  # else it changes to a user that cannot read pytest's directories
        conf = self.directory / "mosquitto.conf"
        conf.write_text("\n".join(self.lines) + "\n")
        return [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-v", "-c", str(conf)]

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts and acknowledges TCP, nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def reload(self) -> None:
        """SIGHUP: passwords, access lists and certificates are read again."""
        self._process.send_signal(signal.SIGHUP)


@pytest.fixture
def mosquitto(tmp_path):
    """A running mosquitto that lets anybody in."""
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    server = Mosquitto(directory).start()
    yield server
    server.stop()


@pytest.fixture
def new_mosquitto(tmp_path):
    """Makes a mosquitto with more configuration lines: `new_mosquitto("persistence false")`. Not started yet."""
    made = []

    def make(*lines: str, anonymous: bool = True) -> Mosquitto:
        directory = tmp_path / f"mosquitto{len(made)}"
        directory.mkdir()
        made.append(Mosquitto(directory, *lines, anonymous=anonymous))
        return made[-1]

    yield make
    for server in made:
        server.stop()


class _Database(_Server):
    """A database of our own: the data stay over `kill`, `stop` and `start`."""

    PATIENCE_S = 10

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **query: str) -> bytes:
        """The body of a GET; fails on any status but 2xx."""
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return answer.read()


class Influxd(_Database):
    """InfluxDB 1.x with one empty database `dc`."""

    def command(self) -> list[str]:
        (self.directory / "influxdb.conf").write_text(
            f'reporting-enabled = false\nbind-address = "127.0.0.1:{free_port()}"\n'
            f'[meta]\ndir = "{self.directory}/meta"\n'
            f'[data]\ndir = "{self.directory}/data"\nwal-dir = "{self.directory}/wal"\n'
            "[monitor]\nstore-enabled = false\n"
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\n'
        )
        return ["influxd", "run", "-config", str(self.directory / "influxdb.conf")]

    def start(self) -> "Influxd":
        super().start()
        self.post_query("CREATE DATABASE dc")
        return self

    def post_query(self, text: str) -> None:
        body = urllib.parse.urlencode({"q": text}).encode()
        urllib.request.urlopen(f"{self.url}/query", data=body, timeout=10).close()

    def points(self, measurement: str) -> list[dict]:
        """Every stored row of a measurement: tags, fields and `time` in nanoseconds."""
        query = f'SELECT * FROM "{measurement}"'
        [result] = json.loads(self.get("/query", db="dc", q=query, epoch="ns"))["results"]
        [series] = result.get("series") or [{"columns": [], "values": []}]
        return [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]


class VictoriaMetrics(_Database):
    """VictoriaMetrics single node. Its clock ticks in milliseconds."""

    def command(self) -> list[str]:
        address = f"-httpListenAddr=127.0.0.1:{self.port}"
        return ["victoria-metrics", address, f"-storageDataPath={self.directory}/data", "-loggerLevel=WARN"]

    def samples(self, name: str) -> list[tuple[dict, int, float]]:
        """Every stored sample of a metric (`{measurement}_{field}`): labels, milliseconds, value."""
        self.get("/internal/force_flush")
        series = map(json.loads, self.get("/api/v1/export", **{"match[]": name}).splitlines())
        return [
            (one["metric"], ts_ms, value)
            for one in series
            for ts_ms, value in zip(one["timestamps"], one["values"], strict=True)
        ]


@pytest.fixture
def influxd(tmp_path):
    """A running InfluxDB 1.x with the empty database `dc`."""
    directory = tmp_path / "influxd"
    directory.mkdir()
    server = Influxd(directory).start()
    yield server
    server.stop()


@pytest.fixture
def victoria_metrics(tmp_path):
    """A running, empty VictoriaMetrics."""
    directory = tmp_path / "victoria_metrics"
    directory.mkdir()
    server = VictoriaMetrics(directory).start()
    yield server
    server.stop()
