import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient, ModbusUdpClient

from tests.ports import free_ports_in_a_row
from tests.servers import free_port

COLLECTOR = Path(sys.executable).with_name("collector")
PATIENCE_S = 20.0


ANY = object()  #: stands for a TCP address with a free port


def written(arguments):
    return [f"tcp://127.0.0.1:{free_port()}" if argument is ANY else str(argument) for argument in arguments]


class Running:
    """A `collector simulate` process: what it listed first, and lines in and out."""

    def __init__(self, process):
        self.process = process
        self.listed = self.line()

    def line(self):
        text = self.process.stdout.readline()
        assert text, self.process.stderr.read()
        return json.loads(text)

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.line()


@contextmanager
def simulate(*arguments):
    process = subprocess.Popen(
        [COLLECTOR, "simulate", *written(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Running(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def refused(*arguments):
    done = subprocess.run(
        [COLLECTOR, "simulate", *written(arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stderr


def port_of(url):
    return int(url.rsplit(":", 1)[1])


def test_one_device_is_served_and_faults_are_switched_by_lines():
    with simulate("eastron/sdm630", "--listen", ANY, "--unit", 5) as running:
        (bus,) = running.listed["bus"]
        (device,) = running.listed["device"]
        assert (device["name"], device["unit"], device["profile"]) == ("sdm630", 5, "eastron/sdm630")
        with ModbusTcpClient("127.0.0.1", port=port_of(bus["url"]), timeout=PATIENCE_S) as client:
            answer = client.read_input_registers(0, count=2, device_id=5)
            (voltage,) = struct.unpack(">f", struct.pack(">2H", *answer.registers))
            assert 207 < voltage < 253
            assert running.say("sdm630 exception:6") == {"device": "sdm630", "fault": "exception:6"}
            assert client.read_input_registers(0, count=2, device_id=5).exception_code == 6
            running.say("sdm630 ok")
            assert not client.read_input_registers(0, count=2, device_id=5).isError()
        assert running.say("stats")["sdm630"]["writes_refused"] == 0
        assert "error" in running.say("sdm630 sulky")


def test_a_device_on_a_pty_begins_with_its_fault(tmp_path):
    path = tmp_path / "ttySIM"
    with simulate("generic/xy_md02", "--pty", path, "--name", "th-9", "--fault", "th-9=exception:4*1") as running:
        assert running.listed["bus"][0]["url"] == f"serial://{path}?baud=9600&parity=N"
        with ModbusSerialClient(str(path), baudrate=9600, timeout=PATIENCE_S) as client:
            assert client.read_input_registers(1, count=2, device_id=1).exception_code == 4
            temperature, humidity = client.read_input_registers(1, count=2, device_id=1).registers
            assert 150 < temperature < 350
            assert 200 < humidity < 800
    assert not path.is_symlink()


def test_a_device_over_udp_is_read_by_pymodbus():
    with simulate("eastron/sdm630", "--listen", f"udp://127.0.0.1:{free_port()}", "--unit", 5) as running:
        url = running.listed["bus"][0]["url"]
        assert url.startswith("udp://127.0.0.1:")
        with ModbusUdpClient("127.0.0.1", port=port_of(url), timeout=PATIENCE_S) as client:
            answer = client.read_input_registers(0, count=2, device_id=5)
            (voltage,) = struct.unpack(">f", struct.pack(">2H", *answer.registers))
            assert 207 < voltage < 253
            running.say("sdm630 exception:6*1")
            assert client.read_input_registers(0, count=2, device_id=5).exception_code == 6


def test_a_device_in_ascii_is_read_by_pymodbus_on_a_pty_and_through_a_serial_server(tmp_path):
    path = tmp_path / "ttySIM"
    with simulate("generic/xy_md02", "--pty", path, "--ascii", "--baud", 19200) as running:
        assert running.listed["bus"][0]["url"] == f"ascii+serial://{path}?baud=19200&parity=N&data=8"
        with ModbusSerialClient(
            str(path), framer=FramerType.ASCII, baudrate=19200, bytesize=8, timeout=PATIENCE_S
        ) as client:
            assert 150 < client.read_input_registers(1, count=2, device_id=1).registers[0] < 350
    with simulate("generic/xy_md02", "--listen", f"ascii+tcp://127.0.0.1:{free_port()}") as running:
        port = port_of(running.listed["bus"][0]["url"])
        with ModbusTcpClient("127.0.0.1", framer=FramerType.ASCII, port=port, timeout=PATIENCE_S) as client:
            assert 150 < client.read_input_registers(1, count=2, device_id=1).registers[0] < 350


def test_a_hall_lists_its_buses_and_devices_and_serves_them(tmp_path):
    with simulate("hall", "--dir", tmp_path, "--base-port", 0, "--json", "--seed", 4) as running:
        urls = {bus["name"]: bus["url"] for bus in running.listed["bus"]}
        assert {device["bus"] for device in running.listed["device"]} == set(urls)
        powers = {}
        for device in running.listed["device"]:
            if device["profile"] == "schneider/pm5xxx":
                with ModbusTcpClient("127.0.0.1", port=port_of(urls[device["bus"]]), timeout=PATIENCE_S) as client:
                    answer = client.read_holding_registers(3059, count=2, device_id=device["unit"])
                    (powers[device["name"]],) = struct.unpack(">f", struct.pack(">2H", *answer.registers))
        assert 1.2 < powers["meter-mains"] / powers["meter-it"] < 1.5
        assert os.path.islink(urls["rtu-1"].removeprefix("serial://").split("?")[0])


def test_a_fleet_answers_on_every_port():
    first = free_ports_in_a_row(20)
    with simulate("fleet", "--devices", 20, "--registers", 10, "--port", first) as running:
        assert running.listed == {"devices": 20, "registers": 10, "host": "127.0.0.1", "first_port": first, "unit": 1}
        for device in (0, 19):
            with ModbusTcpClient("127.0.0.1", port=first + device, timeout=PATIENCE_S) as client:
                high, low = client.read_holding_registers(4, count=2).registers
                assert (high << 16 | low) // 1000 == device * 1000 + 2


def test_seconds_end_the_simulation():
    code, _ = refused("eastron/sdm630", "--listen", ANY, "--seconds", 0.1)
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("eastron/sdm630",), 2, "either --listen"),
        (("eastron/sdm630", "--listen", ANY, "--ascii"), 2, "--ascii belongs to --pty"),
        (("eastron/sdm630", "--listen", "ascii+serial:///dev/x"), 2, "simulated with --pty PATH"),
        (("eastron/sdm630", "--listen", "tls+tcp://127.0.0.1"), 2, "no device with TLS"),
        (("megatec/q1", "--listen", "udp://127.0.0.1:1502"), 2, "udp carries Modbus, not megatec"),
        (("megatec/q1", "--pty", "/tmp/no-such-tty", "--ascii"), 2, "ascii+serial carries Modbus ASCII"),
        (("acme/nothing", "--listen", ANY), 2, "no such profile"),
        (("eastron/sdm630", "--listen", "tpc://127.0.0.1:1"), 2, "unknown scheme"),
        (("eastron/sdm630", "--listen", "serial:///dev/ttyS9"), 2, "--pty PATH"),
        (("eastron/sdm630", "--listen", ANY, "--fault", "sdm631=silent"), 2, "not simulated here"),
        (("eastron/sdm630", "--listen", ANY, "--fault", "sdm630=sulky"), 2, "unknown"),
        (("fleet", "--registers", 3, "--port", 0), 2, "even number"),
        (("eastron/sdm630", "--pty", "/nowhere/ttySIM"), 3, "cannot open"),
    ],
)
def test_what_cannot_be_served_says_why(arguments, code, reason):
    got, output = refused(*arguments)
    assert got == code, output
    assert reason in output
    assert "Traceback" not in output


def test_a_port_in_use_is_exit_code_3():
    async def scenario():
        server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        code, output = await asyncio.to_thread(refused, "eastron/sdm630", "--listen", url)
        server.close()
        assert code == 3
        assert "in use" in output

    asyncio.run(scenario())


def test_a_wrong_speed_can_be_rehearsed_with_probe(tmp_path):
    port = tmp_path / "ttySIM"
    with simulate("eastron/sdm630", "--pty", port, "--baud", 9600):

        def probe(baud):
            url = f"serial://{port}?baud={baud}&parity=N"
            command = [COLLECTOR, "probe", url, "--profile", "eastron/sdm630", "--count", "1", "--timeout", "0.5"]
            return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

        wrong, right = probe(4800), probe(9600)
    assert wrong.returncode == 1
    assert "Present    no answer" in wrong.stdout
    assert "baud" in wrong.stdout, "what to try"
    assert right.returncode == 0, right.stdout + right.stderr
