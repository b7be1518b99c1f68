"""`collector run` as systemd runs it: a real process, a real notify socket, real signals, a simulated device."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.spool import read_only_rows
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[1]
COLLECTOR = [sys.executable, "-m", "collector"]

#: TimeoutStopSec= of the unit; after it systemd kills.
STOP_S = 10.0
#: Generous: the first start compiles every kernel, on a machine that may be busy with something else.
PATIENCE_S = 60.0
#: Longer than a test needs to stop the daemon within one: what is in the spool then was committed by the stop.
ONE_TICK_S = 10.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

PROFILE = """\
schema = 1
[device]
vendor = "Test"
model = "Meter"
category = "power"
source = "made up for this test"
evidence = "single-source"
[[point]]
name = "active_power"
table = "holding"
address = 0
type = "u32"
scale = 0.1
unit = "kW"
"""


def eventually(condition: Callable[[], object], what: str, process: "Process | None" = None) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        ended = process is not None and process.popen.poll() is not None
        if ended or time.monotonic() > give_up:
            pytest.fail(f"never: {what}" + (f"\n{process.said}" if process else ""))
        time.sleep(0.05)


class Process:
    """A child whose stderr is kept in a file."""

    def __init__(self, log: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as stderr:
            self.popen = subprocess.Popen(
                [*COLLECTOR, *arguments], cwd=ROOT, env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        self.popen.kill()
        self.popen.communicate()


class Service(Process):
    """`collector run` with systemd's side of the notify socket."""

    def __init__(self, directory: Path, cache: Path, config: Path) -> None:
        self.config = config
        self._messages: list[str] = []
        address = directory / "notify"
        address.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.setblocking(False)
        env = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "4000000", "NUMBA_CACHE_DIR": str(cache)}
        self._status = directory / "status.json"
        self._status.unlink(missing_ok=True)
        super().__init__(directory / "run.log", "run", "--config", str(config), env=env)

    @property
    def messages(self) -> list[str]:
        """Everything it told systemd so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._messages.append(self._socket.recv(4096).decode())
        return self._messages

    def count(self, message: str) -> int:
        return sum(m.split("\n")[0] == message for m in self.messages)

    def wait_for(self, message: str, count: int = 1) -> None:
        eventually(lambda: self.count(message) >= count, f"{message} ({count} times)", self)

    @property
    def status(self) -> dict:
        _ = self.messages  # the kernel keeps ten of them, then drops
        return json.loads(self._status.read_text()) if self._status.exists() else {}

    def device(self, name: str) -> dict:
        return next((d for d in self.status.get("devices", []) if d["name"] == name), {"answered": 0, "timeouts": 0})

    def wait_for_answers(self, device: str, more_than: int = 2) -> None:
        eventually(lambda: self.device(device)["answered"] > more_than, f"answers of {device}", self)

    def stop(self) -> int:
        """SIGTERM; the exit code. systemd's patience is the limit."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(STOP_S)

    def end(self) -> None:
        super().end()
        self._socket.close()


class Bench:
    """A directory with a profile and a configuration, two simulated devices, and services on them."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self.directory = directory
        self.cache = cache
        self.config = directory / "collector.toml"
        self.spool = directory / "spool.db"
        self.ports: dict[str, int] = {}
        self._children: list[Process] = []
        profile = directory / "profiles/test/meter.toml"
        profile.parent.mkdir(parents=True)
        profile.write_text(PROFILE)

    def simulate(self, name: str, *, fault: str = "") -> None:
        self.ports[name] = free_port()
        arguments = ["simulate", "device", "test/meter", "--name", name, "--profiles", str(self.directory / "profiles")]
        arguments += ["--listen", f"tcp://127.0.0.1:{self.ports[name]}"]
        arguments += ["--fault", f"{name}={fault}"] if fault else []
        child = Process(self.directory / f"{name}.log", *arguments)
        self._children.append(child)
        assert child.popen.stdout is not None
        assert child.popen.stdout.readline().startswith("{"), child.said

    def configure(
        self, *devices: str, broker: str = "mqtt://127.0.0.1:1", tick_s: float = ONE_TICK_S, more: str = ""
    ) -> None:
        text = f"""
            profile_dirs = ["{self.directory}/profiles"]
            [poll]
            tick_s = {tick_s}
            [filter]
            publish = "all"
            [spool]
            path = "{self.spool}"
            max_mb = 32
            reserve_mb = 12
            [health]
            status_file = "{self.directory}/status.json"
            [[uplink]]
            centre = "east"
            broker = {{ url = "{broker}", tls = "off" }}
        """
        for name in devices:
            text += f"""
            [[bus]]
            name = "{name}"
            url = "tcp://127.0.0.1:{self.ports[name]}"
            [[device]]
            name = "{name}"
            bus = "{name}"
            profile = "test/meter"
            interval_s = 0.2
            """
        self.config.write_text(text + more)

    def start(self) -> Service:
        service = Service(self.directory, self.cache, self.config)
        self._children.append(service)
        return service

    def running(self) -> Service:
        service = self.start()
        service.wait_for("READY=1")
        return service

    def spooled(self, device: str) -> int:
        """Readings of the device on disk, whether or not a daemon runs."""
        lines = b"".join(row.payload for row in read_only_rows(self.spool)).split(b"\n")
        return sum(line.startswith(b"power,") and f"device={device} ".encode() in line for line in lines)

    def with_an_open_tick(self, service: Service) -> int:
        """Waits until answers have come that no tick has committed; returns how many have been."""
        eventually(lambda: service.device("meter")["answered"] > self.spooled("meter") + 2, "an open tick", service)
        return self.spooled("meter")

    def close(self) -> None:
        for child in reversed(self._children):
            child.end()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled kernels, shared by the tests of this file; empty for the first one."""
    return tmp_path_factory.mktemp("numba")


@pytest.fixture(scope="module")
def meter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a simulated meter that every test may poll."""
    hall = Bench(tmp_path_factory.mktemp("hall"), Path())
    hall.simulate("meter")
    yield hall.ports["meter"]
    hall.close()


@pytest.fixture
def bench(tmp_path: Path, cache: Path, meter: int) -> Iterator[Bench]:
    made = Bench(tmp_path, cache)
    made.ports["meter"] = meter
    made.configure("meter")
    yield made
    made.close()


def kernels_in(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*.nbc")}


# --- start -----------------------------------------------------------------------------------------------------------


def test_ready_is_said_when_every_kernel_is_compiled_and_not_before(bench: Bench) -> None:
    bench.configure("meter", tick_s=0.2)
    service = bench.start()
    service.wait_for("READY=1")
    assert service.messages[0].startswith("EXTEND_TIMEOUT_USEC="), "a cold start must be allowed to take its time"
    compiled = kernels_in(bench.cache)
    eventually(lambda: service.status.get("pipeline", {}).get("rows", 0) > 3, "committed rows", service)
    assert compiled, "the cache is where the unit says"
    assert kernels_in(bench.cache) == compiled, "nothing was left to compile on the polling path"


def test_a_mistaken_configuration_is_refused_with_every_mistake_and_never_ready(bench: Bench) -> None:
    bench.configure("meter", more="colour = 'red'\n[poll2]\n")
    service = bench.start()
    assert service.popen.wait(PATIENCE_S) == 2
    assert "colour" in service.said
    assert "poll2" in service.said
    assert "Traceback" not in service.said
    assert service.count("READY=1") == 0


def test_a_configuration_with_nobody_to_deliver_to_is_refused_by_name(bench: Bench) -> None:
    text = bench.config.read_text()
    bench.config.write_text(text[: text.index("[[uplink]]")] + text[text.index("[[bus]]") :])
    service = bench.start()
    assert service.popen.wait(PATIENCE_S) == 2
    assert "add at least one [[uplink]]" in service.said
    assert "Traceback" not in service.said


def test_a_second_daemon_on_the_same_spool_is_refused_and_the_first_goes_on(bench: Bench) -> None:
    first = bench.running()
    second = Process(bench.directory / "second.log", "run", "--config", str(bench.config))
    try:
        assert second.popen.wait(PATIENCE_S) == 3
        assert "Traceback" not in second.said
    finally:
        second.end()
    first.wait_for_answers("meter", first.device("meter")["answered"] + 2)


# --- watchdog --------------------------------------------------------------------------------------------------------


def test_the_watchdog_is_fed_while_there_is_progress_and_not_by_a_daemon_that_hangs(bench: Bench) -> None:
    service = bench.running()
    service.wait_for("WATCHDOG=1", 2)
    service.popen.send_signal(signal.SIGSTOP)
    before = service.count("WATCHDOG=1")
    time.sleep(2.5)  # a working one would have said it twice
    assert service.count("WATCHDOG=1") == before
    service.popen.send_signal(signal.SIGCONT)
    service.wait_for("WATCHDOG=1", before + 1)


# --- stop ------------------------------------------------------------------------------------------------------------


def test_sigterm_commits_what_has_arrived_since_the_last_tick(bench: Bench) -> None:
    service = bench.running()
    committed = bench.with_an_open_tick(service)
    assert service.stop() == 0
    assert service.count("STOPPING=1") == 1
    assert bench.spooled("meter") >= committed + 2


def test_sigkill_at_the_same_moment_loses_the_open_tick(bench: Bench) -> None:
    """The twin: without the orderly stop the same readings are gone, so it was the stop that kept them."""
    service = bench.running()
    committed = bench.with_an_open_tick(service)
    service.popen.kill()
    service.popen.wait()
    assert bench.spooled("meter") == committed


def test_sigterm_is_obeyed_with_a_frozen_broker_and_a_silent_device(bench: Bench) -> None:
    bench.simulate("mute", fault="silent")
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # connections are made, nothing is ever said
        bench.configure("meter", "mute", broker=f"mqtt://127.0.0.1:{frozen.getsockname()[1]}")
        service = bench.running()
        eventually(lambda: service.device("mute")["timeouts"] > 0, "a timeout of the silent device", service)
        committed = bench.with_an_open_tick(service)
        assert service.stop() == 0
    assert bench.spooled("meter") >= committed + 2


def test_sigterm_during_start_up_is_not_forgotten(bench: Bench) -> None:
    service = bench.start()
    eventually(lambda: service.messages, "a first word", service)  # kernels are being loaded now
    assert service.stop() == 0


# --- reload ----------------------------------------------------------------------------------------------------------


def reload(service: Service) -> None:
    """SIGHUP, and wait until systemd would know that it is over."""
    ready = service.count("READY=1")
    service.popen.send_signal(signal.SIGHUP)
    service.wait_for("RELOADING=1")
    service.wait_for("READY=1", ready + 1)


def test_sighup_applies_a_good_configuration_without_a_restart(bench: Bench) -> None:
    service = bench.running()
    bench.simulate("newcomer")
    committed = bench.with_an_open_tick(service)
    bench.configure("newcomer")
    reload(service)
    service.wait_for_answers("newcomer")
    assert bench.spooled("meter") >= committed + 2, "the tick that was open at the reload is committed"
    assert service.count("STOPPING=1") == 0, "systemd would take it for the end"
    assert service.stop() == 0


WEST = '[[uplink]]\ncentre = "west"\n[uplink.broker]\n'
NO_SECRET = 'url = "mqtt://127.0.0.1:1"\ntls = "off"\nusername = "x"\npassword = { file = "/nonexistent/secret" }\n'
NO_AUTHORITY = 'url = "mqtts://127.0.0.1:1"\ntls = { ca = "/nonexistent/ca" }\n'


BAD = {
    "colour = 'red'\n[poll2]\n": ["colour", "poll2"],
    "[[uplink\n": ["not valid TOML"],
    WEST + NO_SECRET: ["/nonexistent/secret"],
    WEST + NO_AUTHORITY: ["/nonexistent/ca"],
}


def test_sighup_with_a_bad_configuration_says_why_and_keeps_the_old_one_until_it_is_put_right(bench: Bench) -> None:
    service = bench.running()
    for more, named in BAD.items():
        bench.configure("meter", more=more)
        reload(service)
        assert all(name in service.said for name in named), service.said
    assert "Traceback" not in service.said
    service.wait_for_answers("meter", service.device("meter")["answered"] + 2)
    bench.simulate("newcomer")
    bench.configure("newcomer")
    reload(service)
    service.wait_for_answers("newcomer")
    assert service.stop() == 0


def test_sighup_with_a_spool_that_cannot_be_opened_goes_back_to_the_old_configuration(bench: Bench) -> None:
    service = bench.running()
    (bench.directory / "no spool").write_text("something else")
    bench.config.write_text(bench.config.read_text().replace("spool.db", "no spool"))
    reload(service)
    assert "reload undone" in service.said
    service.wait_for_answers("meter")
    assert service.stop() == 0
    assert bench.spooled("meter")
    assert (bench.directory / "no spool").read_text() == "something else"


# --- a reload must not end or strand anything ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        '[[device]]\nname = "x"\nbus = ["b"]\nprofile = "eastron/sdm630"\n',
        '[[device]]\nname = "x"\nbus = "b"\nprofile = "eastron/sdm630"\npoints = [["p"]]\n',
        "x = " + "[" * 5000,
        "x = " + "9" * 5000,
    ],
    ids=["bus-is-a-list", "point-is-a-list", "deep", "long-number"],
)
def test_whatever_a_file_holds_it_is_one_clear_error(tmp_path, line):
    from collector.errors import ConfigError
    from collector.settings import load_settings

    path = tmp_path / "collector.toml"
    path.write_text(line)
    with pytest.raises(ConfigError):
        load_settings(path)


def test_a_reload_that_would_strand_rows_is_refused_by_name():
    from collector.daemon import _refuse_stranding
    from collector.errors import ConfigError
    from collector.settings import Gateway, Settings, Spool

    old = Settings()
    renamed = old.model_copy(update={"gateway": Gateway(site="other")})
    moved = old.model_copy(update={"spool": Spool(path="/elsewhere/spool.db")})
    for new in (renamed, moved):
        _refuse_stranding(old, new, held_rows=0, spooled_rows=0)
        with pytest.raises(ConfigError, match="7 rows still wait"):
            _refuse_stranding(old, new, held_rows=0, spooled_rows=7)
    with pytest.raises(ConfigError, match="3 wait in memory"):
        _refuse_stranding(old, old, held_rows=3, spooled_rows=0)
