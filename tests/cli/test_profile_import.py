import json

import pytest
from click.testing import CliRunner

from collector.cli.profile import command
from drivers.profile import parse_profile
from tests.drivers.importers.samples import REGISTER_LIST, SUNSPEC_JSON, TELEGRAF_METRIC, TELEGRAF_REQUEST


def run(*arguments):
    return CliRunner().invoke(command, ["import", *(str(a) for a in arguments)], catch_exceptions=False)


@pytest.fixture
def source(tmp_path):
    """Writes a text to a file and gives its path."""

    def write(text, name="source.txt"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_profile_goes_to_stdout_and_what_was_left_out_to_stderr(source):
    result = run(source(TELEGRAF_REQUEST), "--from", "telegraf", "--vendor", "Acme", "--model", "M7")
    assert result.exit_code == 0
    profile = parse_profile(result.stdout)
    assert (profile.device.vendor, profile.device.model, len(profile.point)) == ("Acme", "M7", 7)
    assert "left out: inputs.modbus[0].request[0].fields[5] (odd): a profile has no signed number" in result.stderr
    assert "7 points taken over, 1 line left out" in result.stderr


def test_a_profile_goes_to_a_file_which_is_not_overwritten_unless_asked(source, tmp_path):
    path = source(REGISTER_LIST)
    out = tmp_path / "m7.toml"
    result = run(path, "--from", "modpoll", "-o", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert parse_profile(out.read_text(encoding="utf-8")).point
    out.write_text("mine")
    assert run(path, "--from", "modpoll", "-o", out).exit_code == 2
    assert out.read_text() == "mine"
    assert run(path, "--from", "modpoll", "-o", out, "--force").exit_code == 0
    assert parse_profile(out.read_text(encoding="utf-8")).point


def test_json_tells_points_todo_and_what_was_left_out(source):
    told = json.loads(run(source(SUNSPEC_JSON), "--from", "sunspec", "--at", 40069, "--json").stdout)
    assert "current" in told["points"]
    assert {"where": "test_meter.Pad", "reason": "is filler"} in told["left_out"]
    assert told["todo"]
    assert parse_profile(told["profile"]).point


def test_what_cannot_be_imported_ends_with_2_and_says_what_is_missing(source):
    several = run(source(TELEGRAF_METRIC), "--from", "telegraf")
    assert several.exit_code == 2
    assert "--unit" in several.stderr
    assert run(source(TELEGRAF_METRIC), "--from", "telegraf", "--unit", 2).exit_code == 0
    placeless = run(source(SUNSPEC_JSON), "--from", "sunspec", "--json")
    assert placeless.exit_code == 2
    assert "--at" in json.loads(placeless.stdout)["mistakes"][0]["hint"]


@pytest.mark.parametrize("option", [("--at", "1"), ("--order", "CDAB")])
def test_an_option_that_means_nothing_for_the_format_is_a_usage_error(source, option):
    result = run(source(TELEGRAF_REQUEST), "--from", "telegraf", *option)
    assert result.exit_code == 2
    assert "means nothing for telegraf" in result.stderr


def test_an_output_that_cannot_be_written_is_told(source, tmp_path):
    result = run(source(TELEGRAF_REQUEST), "--from", "telegraf", "-o", tmp_path / "no" / "such" / "m7.toml")
    assert result.exit_code == 2
    assert "No such file" in result.stderr
