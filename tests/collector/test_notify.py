"""What systemd hears, on real datagram sockets."""

import os
import secrets
import socket

import pytest

from collector import notify


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    """systemd's end of the socket, named as it names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@collector-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield sock


@pytest.mark.parametrize(
    ("say", "heard"),
    [
        (notify.ready, b"READY=1"),
        (notify.watchdog, b"WATCHDOG=1"),
        (notify.stopping, b"STOPPING=1"),
        (lambda: notify.status("11 devices, 机房"), "STATUS=11 devices, 机房".encode()),
        (lambda: notify.reloading(123_456), b"RELOADING=1\nMONOTONIC_USEC=123456"),
        (lambda: notify.extend_timeout(1.5), b"EXTEND_TIMEOUT_USEC=1500000"),
    ],
)
def test_each_message_arrives_as_systemd_reads_it(systemd, say, heard):
    say()
    assert systemd.recv(4096) == heard


def test_without_a_socket_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    notify.ready()


def test_a_systemd_that_is_gone_or_deaf_stops_nobody(systemd):
    for _ in range(10_000):  # far more than its queue holds, and nobody reads
        notify.watchdog()
    assert systemd.recv(4096) == b"WATCHDOG=1"
    systemd.close()
    notify.ready()


def test_the_watchdog_is_fed_twice_as_often_as_systemd_asks(monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert notify.watchdog_period_s() == 2.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert notify.watchdog_period_s() == 2.0


def test_a_watchdog_that_watches_somebody_else_or_nobody_is_not_fed(monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert notify.watchdog_period_s() is None
    monkeypatch.delenv("WATCHDOG_USEC")
    assert notify.watchdog_period_s() is None
