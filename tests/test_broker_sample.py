"""config/broker/ as an operator copies it, served by the real mosquitto: who gets in, who may say what."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "config" / "broker"
GATEWAY, BRIDGE = ("sz/ft1/gw-a", "gateway's own"), ("bridge-east", "bridge's own")
MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")

pytestmark = pytest.mark.servers


class Broker:
    def __init__(self, port: int, directory: Path) -> None:
        self.port = port
        self.directory = directory

    def publish(self, who: tuple[str, str], topic: str, text: str = "x", ca: str = "ca.pem") -> str:
        """What the broker answered; empty when it accepted."""
        command = ["mosquitto_pub", *self._options(who, ca), "-t", topic, "-m", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout + done.stderr

    def retained(self, who: tuple[str, str], topic: str) -> str:
        command = ["mosquitto_sub", *self._options(who, "ca.pem"), "-t", topic, "-W", "2", "-C", "1"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()

    def retain(self, who: tuple[str, str], topic: str, text: str) -> str:
        command = ["mosquitto_pub", *self._options(who, "ca.pem"), "-r", "-t", topic, "-m", text]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stderr

    def _options(self, who: tuple[str, str], ca: str) -> list[str]:
        ca_file = str(self.directory / ca)
        return [
            "-V",
            "5",
            "-q",
            "1",
            "-h",
            "localhost",
            "-p",
            str(self.port),
            "--cafile",
            ca_file,
            "-u",
            who[0],
            "-P",
            who[1],
        ]


def make_certificates(directory: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, check=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("ca", "stranger"):
        openssl(*new, "-x509", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    openssl(*new, "-subj", "/CN=localhost", "-keyout", "broker.key", "-out", "broker.csr")
    openssl("x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-out", "broker.pem")  # fmt: skip


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("broker")
    make_certificates(directory)
    port = free_port()
    text = (SAMPLE / "mosquitto.conf").read_text()
    text = text.replace("/etc/mosquitto/certs", str(directory)).replace("/etc/mosquitto", str(directory))
    text = text.replace("/var/lib/mosquitto", str(directory)).replace("listener 8883", f"listener {port} localhost")
    if os.geteuid() == 0:
        text += "\nuser root\n"  # it would otherwise become `mosquitto`, who cannot read this directory
    (directory / "mosquitto.conf").write_text(text)
    shutil.copy(SAMPLE / "acl", directory / "acl")
    passwords = directory / "passwords"
    passwords.touch(mode=0o600)
    for name, password in (GATEWAY, BRIDGE):
        subprocess.run(["mosquitto_passwd", "-b", passwords, name, password], check=True, capture_output=True)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([str(MOSQUITTO), "-c", directory / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        wait_for_port(port, directory / "log")
        yield Broker(port, directory)
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int, log: Path) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("localhost", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"mosquitto did not start: {log.read_text()}")


@pytest.mark.parametrize("leaf", ["data/power", "status", "event"])
def test_a_gateway_publishes_under_its_own_name(broker: Broker, leaf: str) -> None:
    assert broker.publish(GATEWAY, f"dc/v1/sz/ft1/gw-a/{leaf}") == ""


@pytest.mark.parametrize(
    "topic",
    [
        "dc/v1/sz/ft1/gw-b/data/power",  # another gateway
        "dc/v1/sz/ft2/gw-a/data/power",  # the same name at another site
        "dc/v1/sz/ft1/gw-a/ack/east",  # a confirmation of its own rows
        "dc/v1/sz/ft1/gw-a/data/power/x",
        "other",
    ],
)
def test_a_gateway_publishes_nowhere_else(broker: Broker, topic: str) -> None:
    assert "Not authorized" in broker.publish(GATEWAY, topic)


def test_the_bridge_confirms_in_the_name_of_its_centre_only(broker: Broker) -> None:
    assert broker.publish(BRIDGE, "dc/v1/sz/ft1/gw-a/ack/east") == ""
    assert "Not authorized" in broker.publish(BRIDGE, "dc/v1/sz/ft1/gw-a/ack/west")
    assert "Not authorized" in broker.publish(BRIDGE, "dc/v1/sz/ft1/gw-a/data/power")


def test_confirmations_reach_the_gateway_they_are_for_and_no_other(broker: Broker) -> None:
    broker.retain(BRIDGE, "dc/v1/sz/ft1/gw-a/ack/east", "for a")
    broker.retain(BRIDGE, "dc/v1/sz/ft1/gw-b/ack/east", "for b")
    assert broker.retained(GATEWAY, "dc/v1/sz/ft1/gw-a/ack/+") == "for a"
    assert broker.retained(GATEWAY, "dc/v1/sz/ft1/gw-b/ack/+") == ""


def test_data_reaches_the_bridge_and_no_other_gateway(broker: Broker) -> None:
    assert broker.retain(GATEWAY, "dc/v1/sz/ft1/gw-a/data/retained", "seen") == ""
    assert broker.retained(BRIDGE, "dc/v1/+/+/+/data/#") == "seen"
    assert broker.retained(GATEWAY, "dc/v1/sz/ft1/gw-a/data/#") == ""


@pytest.mark.parametrize("who", [("sz/ft1/gw-a", "guessed"), ("nobody", "x"), ("", "")])
def test_nobody_comes_in_without_the_password(broker: Broker, who: tuple[str, str]) -> None:
    assert "ot authori" in broker.publish(who, "dc/v1/sz/ft1/gw-a/data/power")


def test_a_broker_with_a_strangers_certificate_gets_no_password(broker: Broker) -> None:
    assert "TLS error" in broker.publish(GATEWAY, "dc/v1/sz/ft1/gw-a/status", ca="stranger.pem")


def test_plain_text_is_not_spoken(broker: Broker) -> None:
    command = ["mosquitto_pub", "-h", "localhost", "-p", str(broker.port), "-u", GATEWAY[0], "-P", GATEWAY[1]]
    topic = ["-q", "1", "-t", "dc/v1/sz/ft1/gw-a/status", "-m", "x"]
    done = subprocess.run([*command, *topic], capture_output=True, timeout=10, check=False)
    assert done.returncode != 0
