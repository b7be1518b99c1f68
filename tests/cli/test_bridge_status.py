"""What `collector status` makes of a bridge's status file."""

import json
import time

import pytest
from click.testing import CliRunner

from collector.bridge.daemon import Bridge
from collector.bridge.settings import load_settings
from collector.cli import status
from collector.cli.status import command
from collector.clock import FakeClock

WELL = {"url": "mqtt://mq", "connected": True, "down_s": 0.0, "error": ""}


@pytest.fixture
def snapshot(tmp_path):
    """What a bridge that has just started says of itself."""
    config = tmp_path / "bridge.toml"
    config.write_text(
        f'[centre]\nname = "east"\n[broker]\nurl = "mqtt://mq"\ntls = "off"\n'
        f'[dead_letter]\npath = "{tmp_path}/dead.jsonl"\n[store.sqlite]\npath = "{tmp_path}/store.db"\n'
    )
    return Bridge(load_settings(config), FakeClock()).snapshot() | {"ts_ns": time.time_ns(), "stopped": False}


def ask(tmp_path, snapshot, *options):
    path = tmp_path / "status.json"
    path.write_text(json.dumps(snapshot))
    return CliRunner().invoke(command, ["--file", str(path), *options], env={"COLUMNS": "300"})


def test_a_bridge_with_its_broker_and_database_is_exit_code_0(tmp_path, snapshot):
    result = ask(tmp_path, snapshot | {"broker": WELL})
    assert result.exit_code == 0, result.output
    assert "bridge east up" in result.stdout
    assert "broker mqtt://mq: connected" in result.stdout
    assert "points written 0, dropped 0" in result.stdout
    assert "dead letter" not in result.stdout


def test_a_bridge_that_has_not_reached_its_broker_is_exit_code_1(tmp_path, snapshot):
    result = ask(tmp_path, snapshot)
    assert result.exit_code == 1
    assert "broker mqtt://mq" in result.stdout
    assert "not connected for 0 s: no answer yet" in result.stdout


def test_a_bridge_without_its_database_is_exit_code_1_and_says_for_how_long_and_why(tmp_path, snapshot):
    store = {"name": "http://db", "down_s": 75.0, "error": "http://db: [refused]"}
    result = ask(tmp_path, snapshot | {"broker": WELL, "store": store})
    assert result.exit_code == 1
    assert "store http://db: down for 75 s: http://db: [refused]" in result.stdout, "brackets are text, not markup"


def test_dead_letters_and_what_was_dropped_are_told_by_reason(tmp_path, snapshot):
    lines = {"checked": 9, "written": 6, "dropped": {"bad time": 3}}
    result = ask(tmp_path, snapshot | {"broker": WELL, "lines": lines, "dead_letters": 1, "dead_letters_lost": 2})
    assert result.exit_code == 0, "they are an end, not a state"
    assert "lines written 6, dropped 3 bad time" in result.stdout
    assert "1 dead letter: look into dead_letter.path; 2 more could not even be kept" in result.stdout


def test_a_bridge_is_stale_after_three_of_its_own_intervals(tmp_path, snapshot):
    calm = snapshot | {"broker": WELL, "interval_s": 60.0}
    assert ask(tmp_path, calm | {"ts_ns": time.time_ns() - 120 * 10**9}).exit_code == 0
    result = ask(tmp_path, calm | {"ts_ns": time.time_ns() - 200 * 10**9})
    assert result.exit_code == 1
    assert "the bridge does not run or hangs" in result.stdout


def test_a_bridge_that_stopped_in_good_order_is_exit_code_1(tmp_path, snapshot):
    result = ask(tmp_path, snapshot | {"broker": WELL, "stopped": True})
    assert result.exit_code == 1
    assert "STOPPED" in result.stdout


def test_json_is_the_status_as_written_with_its_age(tmp_path, snapshot):
    result = ask(tmp_path, snapshot, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told.pop("age_s") >= 0
    assert told.pop("stale") is False
    assert told == snapshot


def test_the_option_bridge_reads_where_the_bridge_of_this_machine_writes(tmp_path, snapshot, monkeypatch):
    path = tmp_path / "status.json"
    path.write_text(json.dumps(snapshot | {"broker": WELL}))
    monkeypatch.setattr(status, "BRIDGE_FILE", path)
    assert "bridge east" in CliRunner().invoke(command, ["--bridge"]).stdout


def test_half_a_status_of_a_bridge_is_exit_code_3(tmp_path):
    result = ask(tmp_path, {"version": "0.1.0", "centre": "east", "ts_ns": 1, "store": {"name": "sqlite"}})
    assert result.exit_code == 3
    assert "not a status file" in result.output
