"""A day of an operator: check, run, look at the status, a device falls silent and comes back, stop."""

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from collector.demo import toml

COLLECTOR = [sys.executable, "-m", "collector"]
#: The first start compiles every kernel, on a machine that may be busy with something else.
PATIENCE_S = 80.0


@contextmanager
def running(log, *arguments):
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*COLLECTOR, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()
        process.communicate()


def collector(*arguments):
    done = subprocess.run([*COLLECTOR, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in done.stderr
    return done


class Site:
    """The configuration of a simulated hall, impatient so that a test need not wait long."""

    def __init__(self, directory, hall, broker_port):
        self.config = directory / "collector.toml"
        self.status_file = directory / "status.json"
        settings = {
            "poll": {"down_after_failures": 2, "down_after_s": 0.5, "probe_max_s": 1.0},
            "spool": {"path": str(directory / "spool.db")},
            "health": {"status_file": str(self.status_file)},
            "bus": [{**bus, "timeout_s": 0.5} if bus["name"].startswith("tcp") else bus for bus in hall["bus"]],
            "device": hall["device"],
            "uplink": [{"centre": "away", "broker": {"url": f"mqtt://127.0.0.1:{broker_port}", "tls": "off"}}],
        }
        self.config.write_text(toml(settings), encoding="utf-8")

    def status(self, *options):
        return collector("status", "--file", self.status_file, *options)

    def wait_for_status(self, code, log):
        give_up = time.monotonic() + PATIENCE_S
        while (done := self.status()).returncode != code:
            assert time.monotonic() < give_up, done.stdout + done.stderr + log.read_text()
            time.sleep(0.2)
        return done.stdout

    def not_up(self):
        return [d["name"] for d in json.loads(self.status("--json").stdout)["devices"] if d["state"] != "up"]


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(240)
def test_status_tells_by_its_exit_code_whether_every_device_answers_and_the_broker_is_there(tmp_path, new_mosquitto):
    broker = new_mosquitto().start()
    log = tmp_path / "run.log"
    with running(tmp_path / "hall.log", "simulate", "hall", "--dir", tmp_path, "--base-port", 0, "--json") as hall:
        site = Site(tmp_path, json.loads(hall.stdout.readline()), broker.port)

        def switch(command):
            hall.stdin.write(command + "\n")
            hall.stdin.flush()
            assert "error" not in json.loads(hall.stdout.readline())

        assert collector("check", site.config).returncode == 0
        assert site.status().returncode == 3, "nothing runs yet"
        with running(log, "run", "--config", site.config):
            site.wait_for_status(0, log)
            switch("ups-1 silent")
            shown = site.wait_for_status(1, log)
            assert "ups-1 is " in shown
            assert "no answer in " in shown
            assert site.not_up() == ["ups-1"], "its neighbours are not touched"
            switch("ups-1 ok")
            site.wait_for_status(0, log)
            switch("th-2 silent")  # on a line that it shares with three others
            site.wait_for_status(1, log)
            assert site.not_up() == ["th-2"]
            switch("th-2 ok")
            site.wait_for_status(0, log)
            broker.kill()
            shown = site.wait_for_status(1, log)
            assert "centre away: connecting since " in shown
            assert site.not_up() == [], "the devices are well"
            broker.start()
            site.wait_for_status(0, log)
    assert "ups-1: answers again" in log.read_text()
