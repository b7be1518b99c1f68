"""`collector status`: one look, one exit code."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.cli import status
from collector.cli.status import command

COLLECTOR = Path(sys.executable).with_name("collector")

DEVICE = {
    "name": "meter-1", "bus": "mains", "unit": 1, "state": "up", "age_s": 0.4, "rtt_ms": 3.1, "last_error": "",
    "asked": 10, "answered": 10, "timeouts": 0, "exceptions": 0, "bad_frames": 0, "lost": 0, "skipped": 0,
}  # fmt: skip
BUS = {"name": "mains", "line": "tcp://192.0.2.10:502", "open": True, "error": "", "losses": 0, "late_answers": 0,
       "load": 0.012, "predicted_load": 0.014}  # fmt: skip
UPLINK = {"centre": "east", "broker": "mqtts://mq", "state": "connected", "since_s": 90.0, "in_flight": 2,
          "connects": 1, "confirmed": 40, "last_error": ""}  # fmt: skip


def written(tmp_path, *devices, bus=BUS, age_s=0.0, interval_s=1.0, uplinks=(UPLINK,), spool=None):
    status = {
        "version": "0", "gateway": "gw-a", "city": "sz", "site": "ft1", "boot": "0" * 8, "pid": 1,
        "ts_ns": time.time_ns() - round(age_s * 1e9), "uptime_s": 3600.0, "interval_s": interval_s,
        "pipeline": {"readings": 1000, "bad": 2, "kept": 300, "rows": 40, "held_rows": 0, "tick_s": 0.004},
        "spool": {"rows": 3, "bytes": 65536, "dropped_points": {}, **(spool or {})},
        "uplinks": list(uplinks), "buses": [bus], "devices": list(devices) or [DEVICE],
    }  # fmt: skip
    path = tmp_path / "status.json"
    path.write_text(json.dumps(status))
    return path


def ask(path, *options, columns=200):
    done = subprocess.run(
        [COLLECTOR, "status", "--file", str(path), *options],
        capture_output=True, text=True, timeout=20, check=False, env={"COLUMNS": str(columns)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def test_all_up_is_exit_code_0_and_shows_devices_uplinks_and_spool(tmp_path):
    done = ask(written(tmp_path))
    assert done.returncode == 0, done.stderr
    for words in (
        "sz/ft1/gw-a",
        "meter-1",
        "up",
        "centre east: connected for",
        "spool: 3 rows",
        "mains 1.2% (1.4%)",
        "readings 1000",
    ):
        assert words in done.stdout
    assert "mains 1.2% (1.4%)" in done.stdout
    assert "STALE" not in done.stdout


@pytest.mark.parametrize("state", ["down", "suspect", "unknown"])
def test_a_device_that_is_not_up_is_exit_code_1_with_its_last_error(tmp_path, state):
    sick = {**DEVICE, "name": "ups-2", "state": state, "age_s": None, "last_error": "no answer in 1.0 s [rtu]"}
    done = ask(written(tmp_path, DEVICE, sick))
    assert done.returncode == 1
    row, reason = [line for line in done.stdout.splitlines() if "ups-2" in line]
    assert state in row
    assert "never" in row
    assert reason == f"ups-2 is {state}: no answer in 1.0 s [rtu]", "brackets are text, not markup"


def test_a_table_of_usual_names_fits_on_80_columns(tmp_path):
    device = {**DEVICE, "name": "meter-cooling", "bus": "tcp-gateway", "unit": 247, "state": "suspect", "asked": 10**6}
    done = ask(written(tmp_path, device), columns=80)
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("meter-cooling tcp")]
    assert row.split() == [
        "meter-cooling", "tcp-gateway", "247", "suspect", "0.4", "3.1", "1000000", "0", "0", "0", "0",
    ]  # fmt: skip


def test_a_unit_slower_than_planned_is_named_with_what_to_change(tmp_path):
    path = written(tmp_path)
    slow = {"device": "ups-2", "rtt_ms": 130.0, "predicted_ms": 48.2, "turnaround_ms": 102}
    behind = {"device": "m-[9]", "rtt_ms": 210.0, "predicted_ms": 5.1, "turnaround_ms": None}
    path.write_text(json.dumps({**json.loads(path.read_text()), "slow": [slow, behind]}))
    done = ask(path)
    assert done.returncode == 0, "slow is not down"
    assert "ups-2 takes 130 ms per read where 48.2 ms were predicted: its turnaround_s seems to be 0.102" in done.stdout
    assert "m-[9] takes 210 ms" in done.stdout
    assert "write ?baud= there" in done.stdout


def test_a_device_that_was_never_reached_has_no_round_trip_time(tmp_path):
    done = ask(written(tmp_path, {**DEVICE, "state": "down", "age_s": None, "rtt_ms": 0.0}))
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("meter-1 mains")]
    assert row.split()[4:6] == ["never", "-"]


def test_an_uplink_that_is_lost_is_exit_code_1_with_since_when_why_and_what_waits(tmp_path):
    lost = {**UPLINK, "centre": "west", "state": "connecting", "since_s": 61.2, "last_error": "mqtts://mq: [timeout]"}
    done = ask(written(tmp_path, uplinks=(UPLINK, lost), spool={"rows": 900, "pending": {"east": 0, "west": 877}}))
    assert done.returncode == 1
    east, west = [line for line in done.stdout.splitlines() if line.startswith("centre")]
    assert east.startswith("centre east: connected for 90 s")
    assert re.match(r"centre west: connecting since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(61 s\): ", west)
    assert "mqtts://mq: [timeout]; 877 rows waiting" in west


@pytest.mark.parametrize("state", ["connecting", "refused"])
def test_an_uplink_that_never_connected_is_exit_code_1_and_says_never(tmp_path, state):
    never = {**UPLINK, "state": state, "connects": 0, "last_error": ""}
    done = ask(written(tmp_path, uplinks=(never,), spool={"rows": 1, "pending": {"east": 1}}))
    assert done.returncode == 1
    assert f"centre east: {state} since" in done.stdout
    assert "never connected since the start): mqtts://mq: no answer yet; 1 row waiting" in done.stdout


def test_a_full_disk_is_exit_code_1_although_every_device_answers(tmp_path):
    done = ask(written(tmp_path, spool={"disk_full": True}))
    assert done.returncode == 1
    assert "the disk is full" in done.stdout


def test_a_pipe_gets_every_line_whole_however_long(tmp_path):
    device = {**DEVICE, "name": "m" * 300, "state": "down", "last_error": "why " * 200 + "the end"}
    done = subprocess.run(
        [COLLECTOR, "status", "--file", str(written(tmp_path, device))],
        capture_output=True, text=True, timeout=20, check=False, env={},
    )  # fmt: skip
    rows = [line for line in done.stdout.splitlines() if line.startswith("m" * 300)]
    assert len(rows) == 2
    assert rows[1].endswith("the end")


def test_a_status_that_is_written_less_often_may_be_older(tmp_path):
    assert ask(written(tmp_path, interval_s=10.0, age_s=20)).returncode == 0
    assert ask(written(tmp_path, interval_s=10.0, age_s=40)).returncode == 1
    assert ask(written(tmp_path, interval_s=1.0, age_s=20)).returncode == 1


def test_a_closed_line_says_why(tmp_path):
    closed = {**BUS, "open": False, "error": "connection refused"}
    done = ask(written(tmp_path, {**DEVICE, "state": "down"}, bus=closed))
    assert done.returncode == 1
    assert "bus mains: connection refused" in done.stdout


def test_a_stale_status_is_exit_code_1_and_says_its_age(tmp_path):
    done = ask(written(tmp_path, age_s=120))
    assert done.returncode == 1
    assert "STALE" in done.stdout
    assert "the daemon does not run or hangs" in done.stdout


@pytest.mark.parametrize("bridge_is_here", [False, True])
def test_no_daemon_where_a_bridge_is_names_the_option_that_shows_it(tmp_path, monkeypatch, bridge_is_here):
    monkeypatch.setattr(status, "DAEMON_FILE", tmp_path / "status.json")
    monkeypatch.setattr(status, "BRIDGE_FILE", tmp_path if bridge_is_here else tmp_path / "none.json")
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 3
    assert ("collector status --bridge" in result.stderr) == bridge_is_here


def test_no_status_is_exit_code_3_and_says_what_to_look_at(tmp_path):
    done = ask(tmp_path / "none.json")
    assert (done.returncode, done.stdout) == (3, "")
    assert "does it run, with this health.status_file?" in done.stderr


@pytest.mark.parametrize(
    "contents",
    [
        b"", b"{", b"[]", b"{}", b"null", b"7", b"\xff\xfe", b'{"ts_ns": "soon"}', b'{"ts_ns": 1}',
        b'{"ts_ns": 1, "devices": [7]}', b'{"ts_ns": 1, "devices": [], "centre": "the status file of a bridge"}',
    ],
)  # fmt: skip
def test_what_is_no_status_is_exit_code_3(tmp_path, contents):
    path = tmp_path / "status.json"
    path.write_bytes(contents)
    done = CliRunner().invoke(command, ["--file", str(path)])
    assert done.exit_code == 3
    assert "not a status file" in done.output


def test_json_is_the_status_as_written_with_its_age(tmp_path):
    path = written(tmp_path, age_s=120)
    done = ask(path, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told.pop("age_s") >= 120
    assert told.pop("stale") is True
    assert told == json.loads(path.read_text())


def test_a_daemon_that_stopped_in_good_order_does_not_look_up(tmp_path):
    path = written(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "stopped": True}))
    done = ask(path)
    assert done.returncode == 1
    assert "STOPPED" in done.stdout
