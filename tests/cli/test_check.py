"""`collector check`: what a technician sees before anything is asked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.plan import rtu_cost

ROOT = Path(__file__).resolve().parents[2]
COLLECTOR = Path(sys.executable).with_name("collector")
EXAMPLES = ROOT / "config" / "examples"

UPLINK = """
[[uplink]]
centre = "east"
broker = { url = "mqtt://127.0.0.1:1883", tls = "off" }
"""
SENSOR_LINE = """
[[bus]]
name = "line"
url = "serial:///dev/ttyUSB0?baud={baud}"
[[device]]
name = "th-1"
bus = "line"
unit = 1
profile = "generic/xy_md02"
interval_s = {interval_s}
[[device]]
name = "th-2"
bus = "line"
unit = 2
profile = "generic/xy_md02"
interval_s = {interval_s}
"""


def check(path, *options):
    command = [COLLECTOR, "check", str(path), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, env={"COLUMNS": "200"}, cwd=ROOT
    )
    assert "Traceback" not in done.stderr
    return done


def write(tmp_path, text):
    path = tmp_path / "collector.toml"
    path.write_text(text)
    return path


def test_the_plan_shows_buses_units_reads_and_predicted_load():
    done = check(EXAMPLES / "rtu-bus.toml")
    assert done.returncode == 0, done.stderr
    for words in ("rtu-1", "serial:///dev/serial/by-id/", "meter-cooling", "huawei/ups2000", "reads/s", "load", "%"):
        assert words in done.stdout
    assert "1 bus, 4 devices" in done.stdout


def test_the_path_of_a_serial_adapter_is_told_whole():
    """However narrow the terminal: what is cut off cannot be looked up under /dev."""
    command = [COLLECTOR, "check", EXAMPLES / "rtu-bus.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env={"COLUMNS": "80"})
    assert "/dev/serial/by-id/usb-FTDI_USB-RS485_Cable_FT4ABCDE-if00-port0" in done.stdout


def test_json_holds_the_same_plan_for_programs(tmp_path):
    done = check(write(tmp_path, SENSOR_LINE.format(baud=9600, interval_s=2.0) + UPLINK), "--json")
    assert done.returncode == 0
    plan = json.loads(done.stdout)
    assert (plan["ok"], plan["devices"], plan["points"], plan["reads_per_s"]) == (True, 2, 4, 1.0)
    (bus,) = plan["buses"]
    assert (bus["name"], bus["line"]) == ("line", "serial:///dev/ttyUSB0?baud=9600&parity=N&stop=1")
    cost = rtu_cost(9600, 10, turnaround_s=0.02)
    read_s = cost.fixed_s + 2 * cost.register_s
    assert bus["load"] == pytest.approx(2 * read_s / 2.0, abs=1e-4)
    assert (bus["cycle_s"], bus["reads_per_cycle"], bus["round_reads"]) == (2.0, 2.0, 2)
    assert bus["ms_per_cycle"] == bus["round_ms"] == pytest.approx(2000 * read_s, abs=0.01)
    block = {"function": 4, "address": 1, "count": 2, "interval_s": 2.0, "points": 2}
    assert [unit["unit"] for unit in bus["units"]] == [1, 2]
    assert bus["units"][0] == {
        "device": "th-1", "unit": 1, "profile": "generic/xy_md02", "points": 2, "blocks": [block],
        "load": round(read_s / 2.0, 4), "read_ms": round(1000 * read_s, 2),
    }  # fmt: skip


def test_a_cycle_is_told_in_reads_and_milliseconds_and_so_is_the_one_in_which_everything_is_due():
    done = check(EXAMPLES / "rtu-bus.toml")
    (bus,) = json.loads(check(EXAMPLES / "rtu-bus.toml", "--json").stdout)["buses"]
    assert (
        f"{bus['reads_per_cycle']:.3g} reads, {bus['ms_per_cycle']:.1f} ms of each {bus['cycle_s']:g} s" in done.stdout
    )
    assert f"due at once: {bus['round_reads']} reads, {bus['round_ms']:.1f} ms" in done.stdout
    assert bus["ms_per_cycle"] < bus["round_ms"]
    assert bus["ms_per_cycle"] == pytest.approx(1000 * bus["load"] * bus["cycle_s"], rel=0.01)
    assert bus["load"] == pytest.approx(sum(unit["load"] for unit in bus["units"]), abs=1e-3)


def test_quiet_says_nothing_when_all_is_well_and_everything_when_it_is_not(tmp_path):
    done = check(EXAMPLES / "one-meter.toml", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = check(write(tmp_path, "colour = 1"), "--quiet")
    assert done.returncode == 2
    assert "colour" in done.stderr


TEN_MISTAKES = """
[gateway]
site = "hall 1"
[poll]
tick_ms = 500
[filter]
publish = "some"
[[bus]]
name = "b1"
url = "tpc://10.0.0.1"
[[bus]]
name = "line"
url = "serial:///dev/ttyS0"
[[device]]
name = "m1"
bus = "b9"
profile = "eastron/sdm603"
[[device]]
name = "m1"
bus = "line"
unit = 0
profile = "eastron/sdm630"
points = ["powr"]
[[uplink]]
centre = "east"
broker = { url = "mqtt://broker.example", password = "hunter2" }
"""


def test_ten_different_mistakes_are_told_in_one_go_each_with_its_key_and_a_hint(tmp_path):
    path = write(tmp_path, TEN_MISTAKES)
    done = check(path)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "10 mistakes in the configuration:"
    for key in (
        "gateway.site", "poll.tick_ms", "filter.publish", "bus[0].url", "device[0].bus", "device[0].profile",
        "device.name", "device[1].unit", "device[1].points", "uplink[0].broker.password",
    ):  # fmt: skip
        (line,) = [line for line in lines if line.startswith(f"  {path}: {key}")]
        assert " — " in line, "a hint"
    assert "hunter2" not in done.stderr
    mistakes = json.loads(check(path, "--json").stdout)
    assert not mistakes["ok"]
    assert len(mistakes["mistakes"]) == 10
    assert all(m["key"] and m["reason"] and m["hint"] for m in mistakes["mistakes"])


def test_a_line_that_would_need_more_than_all_of_its_time_is_refused_with_numbers_and_a_hint(tmp_path):
    overloaded = SENSOR_LINE.format(baud=2400, interval_s=0.1) + UPLINK
    cost = rtu_cost(2400, 10, turnaround_s=0.02)
    load = 2 * (cost.fixed_s + 2 * cost.register_s) / 0.1
    assert load > 1
    done = check(write(tmp_path, overloaded))
    assert done.returncode == 2
    assert f"bus.line: predicted load is {load:.0%} of the line" in done.stderr
    assert f"lengthen the intervals {load:.1f} times" in done.stderr
    (mistake,) = json.loads(check(write(tmp_path, overloaded), "--json").stdout)["mistakes"]
    assert mistake["key"] == "bus.line"


def test_the_load_of_an_ascii_line_is_that_of_two_characters_per_byte(tmp_path):
    line = SENSOR_LINE.format(baud=9600, interval_s=1.0)
    as_ascii = line.replace("serial:///dev/ttyUSB0?baud=9600", "ascii+serial:///dev/ttyUSB0?baud=9600")
    (bus,) = json.loads(check(write(tmp_path, as_ascii + UPLINK), "--json").stdout)["buses"]
    # question 17, answer 11 and four per register, 3.5 of silence, 10 bits each; the sensor's own 20 ms
    assert bus["load"] == pytest.approx(2 * ((17 + 11 + 2 * 4 + 3.5) * 10 / 9600 + 0.02), rel=0.01)
    (rtu,) = json.loads(check(write(tmp_path, line + UPLINK), "--json").stdout)["buses"]
    assert rtu["load"] < bus["load"]


def test_a_device_over_udp_is_planned_like_one_over_tcp_and_a_place_has_one_owner(tmp_path):
    line = SENSOR_LINE.format(baud=9600, interval_s=1.0)
    loads = []
    for scheme in ("tcp", "udp"):
        text = line.replace("serial:///dev/ttyUSB0?baud=9600", f"{scheme}://192.0.2.7")
        loads.append(json.loads(check(write(tmp_path, text + UPLINK), "--json").stdout)["buses"][0]["load"])
    assert loads[0] == loads[1]
    second = '\n[[bus]]\nname = "other"\nurl = "ascii+serial:///dev/ttyUSB0"\n'
    done = check(write(tmp_path, line + second + UPLINK))
    assert done.returncode == 2
    assert "same line as bus[0]" in done.stderr


def test_a_certificate_that_cannot_be_used_is_told_and_stops_nothing(tmp_path):
    """The service begins with this check: one device's file must not keep a hall from being polled."""
    missing = tmp_path / "plant-ca.pem"
    secure = SENSOR_LINE.format(baud=9600, interval_s=1.0).replace(
        "serial:///dev/ttyUSB0?baud=9600", f"tls+tcp://192.0.2.7?ca={missing}"
    )
    done = check(write(tmp_path, secure + UPLINK))
    assert done.returncode == 0
    assert f"bus line: ca = {missing}: cannot be used: No such file or directory" in done.stdout
    (warning,) = json.loads(check(write(tmp_path, secure + UPLINK), "--json").stdout)["warnings"]
    assert warning.startswith("bus line: ca = ")
    assert json.loads(check(EXAMPLES / "rtu-bus.toml", "--json").stdout)["warnings"] == []


def test_units_that_only_several_lines_behind_a_gateway_could_carry_are_told(tmp_path):
    gateway = SENSOR_LINE.format(baud=9600, interval_s=0.1).replace(
        "serial:///dev/ttyUSB0?baud=9600", "tcp://192.0.2.7?{}"
    )
    both = json.loads(check(write(tmp_path, gateway.format("baud=4800&pipeline=2") + UPLINK), "--json").stdout)
    assert [bus["name"] for bus in both["buses"]] == ["line", "line/2"]
    assert all(bus["load"] < 1 for bus in both["buses"])
    total = sum(bus["load"] for bus in both["buses"])
    assert both["warnings"] == [f"bus line: all its units on one line would need {total:.0%} of it; are there several?"]
    assert check(write(tmp_path, gateway.format("baud=4800") + UPLINK)).returncode == 2, "one after the other: refused"


def test_a_plan_without_devices_or_without_anybody_to_deliver_to_is_refused(tmp_path):
    done = check(write(tmp_path, ""))
    assert done.returncode == 2
    assert "add at least one [[bus]] and one [[device]]" in done.stderr
    assert "add at least one [[uplink]]" in done.stderr


def test_a_file_that_cannot_be_read_is_exit_code_2(tmp_path):
    done = check(tmp_path / "none.toml")
    assert done.returncode == 2
    assert "No such file" in done.stderr
