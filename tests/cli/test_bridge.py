"""`collector bridge`: what an operator sees."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.cli import CANNOT_OPEN, USAGE, group, main
from collector.cli.bridge import command

SHIPPED = str(Path(__file__).parents[2] / "config" / "bridge.toml")


def test_check_shows_what_would_be_done():
    result = CliRunner().invoke(group, ["bridge", "--check", "--config", SHIPPED])
    assert result.exit_code == 0
    for words in ("mqtt://127.0.0.1:1883", "dc/v1/city/+/+/data/#", "sqlite /var/lib/collector-bridge/store.db"):
        assert words in result.output
    assert "[" not in result.output  # for people: no list of Python's


def test_check_prints_json_for_programs():
    result = CliRunner().invoke(command, ["--check", "--json", "--config", SHIPPED])
    plan = json.loads(result.output)
    assert (plan["centre"], plan["client_id"], plan["topics"]) == ("centre", "bridge-centre", ["dc/v1/city/+/+/data/#"])


def test_check_names_every_secret_that_cannot_be_had_and_prints_none(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NOWHERE", raising=False)
    path = tmp_path / "bridge.toml"
    readable = tmp_path / "token"
    readable.write_text("s3cret")
    readable.chmod(0o644)
    path.write_text(
        '[broker]\nusername = "u"\npassword = { env = "NOWHERE" }\nurl = "mqtt://x"\ntls = "off"\n'
        f'[store.influx_v2]\nurl = "http://x"\nbucket = "b"\ntoken = {{ file = "{readable}" }}\n'
    )
    monkeypatch.setattr("sys.argv", ["collector", "bridge", "--check", "--config", str(path)])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().err
    assert stop.value.code == USAGE
    assert "NOWHERE" in said
    assert "chmod 600" in said
    assert "s3cret" not in said


def test_a_store_that_cannot_be_opened_ends_it_with_its_own_exit_code(tmp_path):
    (tmp_path / "store.db").write_bytes(b"something else" * 100)
    path = tmp_path / "bridge.toml"
    path.write_text(
        f'[store.sqlite]\npath = "{tmp_path}/store.db"\n[dead_letter]\npath = "{tmp_path}/dead.jsonl"\n'
        '[health]\nstatus_file = ""\n'
    )
    ended = subprocess.run(
        [sys.executable, "-c", "from collector.cli import main; main()", "bridge", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode == CANNOT_OPEN
    assert "cannot be opened as a store" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_shows_an_example():
    result = CliRunner().invoke(group, ["bridge", "--help"])
    assert "collector bridge --config config/bridge.toml --check" in result.output
