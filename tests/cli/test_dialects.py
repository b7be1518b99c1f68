"""`collector probe --protocol megatec` against a UPS on a pseudo-terminal, through its click command."""

import json
from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner

from collector.cli.probe import command
from drivers.megatec import discover
from drivers.simulators.site import Place, Site
from drivers.text import discovery
from drivers.ydt1363 import discover as ydt_discover
from tests.cli.test_probe import in_background
from tests.drivers.megatec.ups import CASTLE, LINE_INTERACTIVE, Ups, on_a_port


@pytest.fixture(autouse=True)
def _no_time_to_wake(monkeypatch):
    for module, name in (
        (discover, "SETTLE_S"),
        (discover, "GAP_S"),
        (ydt_discover, "GAP_S"),
        (discovery, "LATE_S"),
    ):
        monkeypatch.setattr(module, name, 0.0)


def run(ups, path, *options, timeout="0.05"):
    @asynccontextmanager
    async def served():
        with on_a_port(ups, path / "ups") as url:
            yield url

    with in_background(served) as url:
        return CliRunner().invoke(command, [url, "--protocol", "megatec", "--timeout", timeout, *options])


def test_the_answers_and_the_profile_that_fits_are_shown(tmp_path):
    result = run(Ups(LINE_INTERACTIVE), tmp_path, timeout="5")
    assert result.exit_code == 0
    assert "Present    yes\n" in result.output
    assert "Answers    Q1    (226.0 195.0 226.0 014 49.0 27.5 30.0 00001000\n" in result.output
    assert "Refused    QS, QI, M, Q6, WA, QGS, QMOD" in result.output
    assert "Fits       megatec/q1\n" in result.output
    assert result.output.splitlines()[-1].endswith('&dtr=1&rts=0" --profile megatec/q1')


def test_the_same_as_one_object(tmp_path):
    result = run(Ups(CASTLE, refusal=None), tmp_path, "--json", "--raw", timeout="0.2")
    found = json.loads(result.output)
    assert found["present"]
    assert set(found["answers"]) == {"Q1", "Q6", "WA"}
    assert "F" in found["silent"]
    assert found["profiles"] == ["santak/castle_c", "megatec/q6", "megatec/online_q1"]
    assert "tx 51 31 0d" in found["frames"]


def test_silence_tells_what_to_try_and_is_a_device_fault(tmp_path):
    result = run(Ups({}, refusal=None), tmp_path)
    assert result.exit_code == 1
    assert "Present    no answer" in result.output
    assert "Try        use the cable that came with the UPS" in result.output


def test_noise_is_told_as_such(tmp_path):
    result = run(Ups({}, refusal=b"\xfe\x80"), tmp_path)
    assert result.exit_code == 1
    assert "bytes came that are no answer (15): another speed than 115200 8N1, or noise" in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["serial:///dev/ttyNONE?baud=2400"], 3, "no such port"),
        (["tcp://127.0.0.1"], 2, "a UPS is asked at serial:///dev/... or raw+tcp://HOST:PORT"),
        (["serial:///dev/ttyS0?boud=2400"], 2, "did you mean baud?"),
        (["serial:///dev/ttyS0", "--profile", "megatec/q1"], 2, "leave --profile and --read out"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments, code, message):
    result = CliRunner().invoke(command, [*arguments, "--protocol", "megatec"])
    assert result.exit_code == code
    assert message in result.output


def run_ydt(profile, unit, path, *options):
    @asynccontextmanager
    async def served():
        site = Site(seed=7)
        try:
            yield site.open_pty([Place("device", "bus", unit, profile)], path / "ttySIM", None)
        finally:
            site.close()

    with in_background(served) as url:
        fast = url.replace("baud=9600", "baud=115200")
        arguments = [fast, "--protocol", "ydt1363", "--unit", str(unit), "--timeout", "5", *options]
        return CliRunner().invoke(command, arguments)


def test_a_device_of_yd_t_1363_is_named_with_the_profile_that_fits(tmp_path):
    result = run_ydt("vertiv/liebert_gxe", 1, tmp_path, "--raw")
    assert result.exit_code == 0
    assert "  tx  ~20012A4F0000FD90\\r\n  rx  ~21012A000000FDA9\\r\n" in result.output
    assert "Present    yes: UPS (CID1 2AH), version 21H\n" in result.output
    assert "Identity   Liebert GX" in result.output
    assert "Refused    41, 46, 47, 4D (RTN 04H: it does not know the command)\n" in result.output
    assert result.output.splitlines()[-1].endswith("--unit 1 --profile vertiv/liebert_gxe")


def test_the_same_of_yd_t_1363_as_one_object(tmp_path):
    found = json.loads(run_ydt("vertiv/liebert_gxe", 1, tmp_path, "--json").output)
    assert (found["present"], found["cid1"], found["profiles"]) == (True, "2A", ["vertiv/liebert_gxe"])
    assert set(found["answers"]) == {"42", "43", "44", "4F", "50", "51"}
