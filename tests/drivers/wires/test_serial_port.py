"""Whose a port is while we have it, and after."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.address import parse_bus
from drivers.errors import LinkUnavailable
from drivers.wires.serial_port import close_port, open_port

ROOT = Path(__file__).resolve().parents[3]
TIOCGEXCL = 0x80045440  # asm-generic/ioctls.h; not in termios


@pytest.fixture
def line() -> Iterator[str]:
    """A pseudo-terminal whose other end stays open, as a simulator or a serial server's program keeps it."""
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def exclusive(path: str) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        return any(fcntl.ioctl(fd, TIOCGEXCL, b"\0" * 4))
    finally:
        os.close(fd)


def test_a_port_in_use_is_refused_to_a_second_user_of_ours(line: str) -> None:
    port = open_port(parse_bus(f"serial://{line}"))
    with pytest.raises(LinkUnavailable, match="another program owns the port"):
        open_port(parse_bus(f"serial://{line}"))
    close_port(port)
    close_port(open_port(parse_bus(f"serial://{line}")))


def test_a_killed_owner_leaves_no_lock_on_a_pseudo_terminal(line: str) -> None:
    """EBUSY would meet every later open that is not root's, for as long as the other end lives."""
    code = "import os, sys; from drivers.address import parse_bus; from drivers.wires.serial_port import open_port\n"
    code += "port = open_port(parse_bus(sys.argv[1])); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code, f"serial://{line}"], cwd=ROOT, timeout=20, check=False)
    assert killed.returncode == -9
    assert not exclusive(line)
    close_port(open_port(parse_bus(f"serial://{line}")))


def test_a_missing_port_is_named_as_missing() -> None:
    with pytest.raises(LinkUnavailable, match="no such port") as failed:
        open_port(parse_bus("serial:///dev/ttyNONE"))
    assert failed.value.__cause__.errno == errno.ENOENT
