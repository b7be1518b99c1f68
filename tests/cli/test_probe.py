"""`collector probe` against real servers, in its own process or through its click command."""

import asyncio
import json
import os
import re
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from collector.cli.probe import command
from drivers.codec import encode_point
from drivers.modbus.rtu import seal
from drivers.profile import load_profile
from tests.drivers.modbus.line import mbap, pty_device, tcp_device, udp_device


@contextmanager
def in_background(device):
    """Serve an asynchronous device context from a thread with a loop of its own; yields what it yields."""
    started, ended = threading.Event(), None
    box = {}

    async def main():
        nonlocal ended
        ended = asyncio.Event()
        async with device() as url:
            box["url"], box["loop"] = url, asyncio.get_running_loop()
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert started.wait(10)
    try:
        yield box["url"]
    finally:
        box["loop"].call_soon_threadsafe(ended.set)
        thread.join(10)


def tcp(answer):
    """A TCP device: `answer(unit, pdu)` gives the answer's PDU, or None for silence."""

    async def serve(reader, writer):
        while True:
            header = await reader.readexactly(7)
            pdu = await reader.readexactly(header[5] - 1)
            reply = answer(header[6], pdu)
            if reply is not None:
                writer.write(mbap(header[0] << 8 | header[1], header[6], reply))

    return in_background(lambda: tcp_device(serve))


def run(*arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    assert not isinstance(result.exception, Exception), result.exception
    return result


def refuse(code):
    return lambda unit, pdu: bytes((pdu[0] | 0x80, code))


def memory(words):
    """A device with these input and holding registers, {address: word}; exception 2 where there is none."""

    def answer(unit, pdu):
        if pdu[0] not in (3, 4):
            return bytes((pdu[0] | 0x80, 1))
        address, count = struct.unpack(">HH", pdu[1:5])
        if any(address + i not in words for i in range(count)):
            return bytes((pdu[0] | 0x80, 2))
        return bytes((pdu[0], 2 * count)) + struct.pack(f">{count}H", *(words[address + i] for i in range(count)))

    return answer


def test_the_settings_come_first_and_the_answer_with_its_speed_after():
    with tcp(memory({0: 7})) as url:
        result = run(url, "--unit", 3, "--count", 4)
    lines = result.stdout.splitlines()
    assert lines[0] == f"Link       {url}"
    assert lines[1] == "Unit       3   timeout 1 s"
    assert "Present    yes" in lines
    assert "Asked      4 times: ok 4, exceptions 0, timeouts 0, bad frames 0, lost 0, late 0" in lines
    assert any(line.startswith("Speed      min") for line in lines)
    assert result.exit_code == 0


def test_registers_are_shown_in_every_form_and_the_plausible_float_is_marked():
    high, low = struct.unpack(">HH", struct.pack(">f", 231.5))
    with tcp(memory({10: low, 11: high, 12: 0xFFF4})) as url:
        table = run(url, "--read", "holding:10+3", "--count", 1).stdout.splitlines()
        facts = json.loads(run(url, "--read", "holding:10+3", "--count", 1, "--json").stdout)
    first = next(line for line in table if line.split()[:1] == ["10"])
    assert first.split().count("231.5*") == 1
    assert "-12" in next(line for line in table if line.split()[:1] == ["12"])
    row = facts["registers"]["holding:10+3"][0]
    assert row["f32_CDAB"] == 231.5
    assert row["u32_CDAB"] == struct.unpack(">I", struct.pack(">f", 231.5))[0]
    assert facts["registers"]["holding:10+3"][2] == {"address": 12, "hex": "FFF4", "u16": 65524, "s16": -12}


def test_bits_are_shown_one_by_one():
    with tcp(lambda unit, pdu: b"\x01\x02\x05\x01" if pdu[0] == 1 else bytes((pdu[0] | 0x80, 1))) as url:
        result = run(url, "--read", "coil:100+9", "--count", 1)
    assert "100:1 101:0 102:1 103:0 104:0 105:0 106:0 107:0 108:1" in result.stdout


def test_a_profile_gives_the_decoded_values_and_names_what_the_device_refuses():
    """Every register of the profile but one exists: one point is refused, the others have their values."""
    profile = load_profile("eastron/sdm630")
    missing, *others = profile.point[3:6]
    words = {}
    for point in profile.point:
        if point.name != missing.name:
            start = point.address - profile.limits.address_base
            words.update(enumerate(encode_point(profile, point, 1.5), start))
    with tcp(memory(words)) as url:
        facts = json.loads(run(url, "--profile", "eastron/sdm630", "--count", 1, "--json").stdout)
        text = run(url, "--profile", "eastron/sdm630", "--count", 1)
    values = {row["point"]: row for row in facts["values"]}
    assert set(values) == {point.name for point in profile.point}
    assert "exception 2" in values[missing.name]["status"]
    assert all(values[point.name]["status"] == "good" for point in others)
    assert values[others[0].name]["value"] is not None
    assert missing.name in text.stdout
    assert text.exit_code == 0


def test_what_a_profile_derives_is_told_with_its_inputs(tmp_path):
    from tests.cli.test_profile import FORMS

    (tmp_path / "pdu.toml").write_text(FORMS)
    words = {1: 0x3000, 20: 0xFFFF, **dict.fromkeys((*range(2, 20),), 0), 10: 25, 12: 17}
    with tcp(memory(words)) as url:
        facts = json.loads(run(url, "--profile", tmp_path / "pdu.toml", "--count", 1, "--json").stdout)
    values = {row["point"]: row["value"] for row in facts["values"]}
    assert values == {"slot": 3, "outlet_1_current": 2.5, "outlet_2_current": 1.7, "total": 4.2}


def test_an_exception_is_an_answer():
    with tcp(refuse(2)) as url:
        result = run(url, "--count", 2)
        explicit = run(url, "--read", "holding:5", "--count", 1)
    assert "yes: it answers with exceptions" in result.stdout
    assert "exception 2 (illegal data address)" in result.stdout
    assert (result.exit_code, explicit.exit_code) == (0, 1)


def test_a_gateway_that_speaks_for_a_silent_unit_does_not_make_it_present():
    with tcp(refuse(11)) as url:
        result = run(url, "--unit", 9)
    assert "Present    no answer" in result.stdout
    assert "a gateway is there and says that unit 9 is not" in result.stdout
    assert result.exit_code == 1


def test_a_silent_tcp_unit_is_given_up_early_with_advice():
    with tcp(lambda unit, pdu: None) as url:
        result = run(url, "--unit", 9, "--timeout", 0.1, "--count", 50)
    assert "timeouts 3," in result.stdout
    assert "unit 9 is silent: try --unit 1 or --unit 255 or --unit 0" in result.stdout
    assert result.exit_code == 1


@pytest.mark.parametrize(("profile", "protocol"), [("megatec/q1", "megatec"), ("generic/ydn23_ac_panel", "ydt1363")])
def test_a_silent_device_with_a_text_protocol_may_be_asked_everything(profile, protocol):
    with in_background(lambda: _Pty(lambda device, frame: None)) as url:
        result = run(url, "--profile", profile, "--timeout", 0.05)
    assert f"--protocol {protocol} instead of --profile" in result.stdout


def test_the_number_that_was_tried_is_not_advised():
    with tcp(lambda unit, pdu: None) as url:
        result = run(url, "--unit", 255, "--timeout", 0.05)
    assert "unit 255 is silent: try --unit 1 or --unit 0\n" in result.stdout


def test_of_a_silent_device_the_advice_is_the_last_that_is_seen():
    with tcp(lambda unit, pdu: None) as url:
        result = run(url, "--profile", "schneider/pm5xxx", "--timeout", 0.05)
    *_, last = result.stdout.splitlines()
    assert last.startswith("Try ")
    assert "current_a" not in result.stdout
    assert f"{url}: no answer" not in result.stdout
    assert ": no answer of unit 1 within 0.05 s" in result.stdout


def test_a_device_that_refuses_the_whole_profile_is_suspected_of_being_another_model():
    with tcp(refuse(2)) as url:
        result = run(url, "--profile", "eastron/sdm630", "--count", 1)
        facts = json.loads(run(url, "--profile", "eastron/sdm630", "--count", 1, "--json").stdout)
    assert "Failed     input:0+2, input:2+2, input:4+2 and 36 more: exception 2" in result.stdout
    assert result.stdout.count("Failed ") == 1
    assert "refuses all that the profile reads: is it another model" in result.stdout
    assert len(facts["errors"]) == len(facts["values"]) == 39
    assert result.exit_code == 1


def test_who_asked_without_a_profile_is_told_how_to_go_on():
    with tcp(refuse(2)) as url:
        bare = run(url, "--count", 1)
        decoded = run(url, "--count", 1, "--profile", "eastron/sdm630")
    assert "Next       add --profile" in bare.stdout
    assert "Next " not in decoded.stdout


def test_a_refused_connection_is_exit_code_3_with_a_hint():
    result = run("tcp://127.0.0.1:1")
    assert "ECONNREFUSED" in result.stderr
    assert result.exit_code == 3
    facts = run("tcp://127.0.0.1:1", "--json")
    assert json.loads(facts.stdout)["present"] is False
    assert facts.exit_code == 3


def test_a_refusal_over_udp_is_exit_code_3_with_a_hint():
    result = run("udp://127.0.0.1:1")
    assert "ECONNREFUSED" in result.stderr
    assert result.exit_code == 3


def test_a_missing_port_is_exit_code_3_with_the_ports_there_are():
    result = run("serial:///dev/no-such-port")
    assert "no such port" in result.stderr
    assert result.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tpc://10.0.0.1"], "did you mean tcp://?"),
        (["tcp://10.0.0.1", "--read", "holdin:1"], "there is no table 'holdin'"),
        (["tcp://10.0.0.1", "--read", "holding"], "is not TABLE:ADDRESS+COUNT"),
        (["tcp://10.0.0.1", "--read", "77"], "names no table"),
        (["tcp://10.0.0.1", "--read", "40000"], "names no table"),
        (["tcp://10.0.0.1", "--read", "holding:0+126"], "count 126"),
        (["tcp://10.0.0.1", "--read", "holding:65535+2"], "outside 0..65535"),
        (["tcp://10.0.0.1", "--unit", "256"], "--unit"),
        (["tcp://10.0.0.1", "--profile", "eastron/sdm63"], "did you mean eastron/sdm630?"),
    ],
)
def test_a_mistake_is_exit_code_2_with_a_hint(arguments, told):
    result = run(*arguments)
    assert told in result.stderr
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [("40011+2", "holding:10+2"), ("300001", "input:0+1"), ("00005", "coil:4+1"), ("discrete:3+4", "discrete:3+4")],
)
def test_old_numbers_are_shown_as_the_address_on_the_wire(text, shown):
    with tcp(refuse(2)) as url:
        result = run(url, "--read", text, "--count", 1)
    assert f"Read       {shown}   (address on the wire" in result.stdout


def test_raw_frames_are_shown_in_hex():
    with tcp(memory({0: 7})) as url:
        result = run(url, "--raw", "--count", 1, "--read", "holding:0")
        facts = json.loads(run(url, "--raw", "--count", 1, "--read", "holding:0", "--json").stdout)
    assert "tx  00 01 00 00 00 06 01 03 00 00 00 01" in result.stdout
    assert "rx  00 01 00 00 00 05 01 03 02 00 07" in result.stdout
    assert len(facts["frames"]) == 2


def test_a_device_that_does_not_repeat_the_transaction_id_is_suspected():
    async def serve(reader, writer):
        while True:
            await reader.readexactly(12)
            writer.write(mbap(0xBEEF, 1, b"\x03\x02\x00\x07"))

    with in_background(lambda: tcp_device(serve)) as url:
        result = run(url, "--timeout", 0.1)
    assert "does not repeat the id" in result.stdout
    assert result.exit_code == 1


def test_a_device_that_answers_too_late_is_not_called_silent():
    def serve(datagram, reply):
        before = (datagram[0] << 8 | datagram[1]) - 1 & 0xFFFF
        reply(mbap(before, 1, b"\x03\x02\x00\x07"))

    with in_background(lambda: udp_device(serve)) as url:
        result = run(url, "--timeout", 0.1)
    assert "answers carried another transaction id" in result.stdout
    assert "or the network doubles datagrams" in result.stdout
    assert "nothing came back" not in result.stdout
    assert result.exit_code == 1


class _Pty:
    """`pty_device` for `in_background`."""

    def __init__(self, serve):
        self._serve = serve

    async def __aenter__(self):
        self._device = pty_device(self._serve)
        return self._device.__enter__().url

    async def __aexit__(self, *error):
        self._device.__exit__(*error)


def test_a_serial_unit_is_probed_and_a_silent_one_gets_advice_about_the_wiring():
    def serve(device, frame):
        if frame[0] == 1:
            reply = bytes((3, 2, 0, 7)) if frame[1] == 3 else bytes((frame[1] | 0x80, 1))
            device.write(seal(1, reply))

    with in_background(lambda: _Pty(serve)) as url:
        there = run(url, "--count", 2, "--timeout", 0.5)
        silent = run(url, "--unit", 2, "--timeout", 0.05)
    assert "ok 2" in there.stdout
    assert there.exit_code == 0
    assert "nobody answers at 115200 8N1" in silent.stdout
    assert "swap A and B" in silent.stdout
    assert "--protocol megatec" in silent.stdout
    assert silent.exit_code == 1


def test_bytes_that_are_no_frame_point_to_the_line_settings():
    with in_background(lambda: _Pty(lambda device, frame: device.write(b"\x80\x00\xfe\x9c"))) as url:
        result = run(url, "--timeout", 0.05)
    assert re.search(r"bytes came that are no frame \(\d+\): wrong baud or parity", result.stdout)
    assert result.exit_code == 1


def test_the_real_command_in_its_own_process():
    with tcp(memory({0: 7})) as url:
        arguments = [sys.executable, "-c", "from collector.cli import main; main()", "probe", url, "--json"]
        environment = {**os.environ, "PYTHONPATH": "."}
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=25, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] == 5
