"""Whose a port is while we have it, and after."""

import errno
import fcntl
import os
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial

from drivers.address import parse_bus
from drivers.errors import LinkUnavailable
from drivers.wires import serial_port
from drivers.wires.serial_port import SerialWire, _set_levels, character_of, close_port, open_port
from tests.waiting import until

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


def test_a_pseudo_terminal_is_opened_again_and_again_whatever_character_is_asked_for(line: str) -> None:
    """It has no parity and no 7 bits; some C libraries refuse to ask for them when nothing else is to be changed."""
    for _ in range(3):
        port = open_port(parse_bus(f"ascii+serial://{line}?baud=9600"))
        assert (port.bytesize, port.parity) == (8, "N")
        close_port(port)


def test_a_real_port_gets_the_character_of_its_address() -> None:
    expected = {"bytesize": 7, "parity": "E", "stopbits": 1}
    assert character_of(parse_bus("ascii+serial:///dev/null")) == expected
    assert character_of(parse_bus("ascii+serial:///dev/no-such-port")) == expected


def test_a_missing_port_is_named_as_missing() -> None:
    with pytest.raises(LinkUnavailable, match="no such port") as failed:
        open_port(parse_bus("serial:///dev/ttyNONE"))
    assert failed.value.__cause__.errno == errno.ENOENT


#: linux/serial.h, struct serial_rs485: flags, delay before sending, delay after, in milliseconds
TIOCSRS485 = 0x542F
ENABLED, RTS_ON_SEND, RTS_AFTER_SEND = 1, 2, 4


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("rs485=rts", (ENABLED | RTS_ON_SEND, 0, 0)),
        ("rs485=rts-low", (ENABLED | RTS_AFTER_SEND, 0, 0)),
        *(
            (f"rs485=rts&rs485_before_ms={ms}&rs485_after_ms={100 - ms}", (ENABLED | RTS_ON_SEND, ms, 100 - ms))
            for ms in (1, 29, 57)  # which as seconds are no exact binary fractions
        ),
    ],
)
def test_the_driver_is_told_how_to_switch_the_direction(
    line: str, settings: str, told: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pseudo-terminal can: what the kernel would be told is looked at on its way."""
    seen = []
    real = fcntl.ioctl

    def ioctl(fd: int, request: int, *argument: "array[int]") -> int:
        if request not in (TIOCSRS485, TIOCSRS485 - 1):
            return real(fd, request, *argument)
        if request == TIOCSRS485:
            seen.append(tuple(argument[0][:3]))
        return 0

    monkeypatch.setattr(serial.serialposix.fcntl, "ioctl", ioctl)
    close_port(open_port(parse_bus(f"serial://{line}?{settings}")))
    assert set(seen) == {told}


def test_a_port_that_cannot_switch_the_direction_is_unavailable_and_free_again(line: str) -> None:
    with pytest.raises(LinkUnavailable, match="remove rs485="):
        open_port(parse_bus(f"serial://{line}?rs485=rts"))
    close_port(open_port(parse_bus(f"serial://{line}")))


@pytest.mark.parametrize(("timer_ms", "warnings"), [("16\n", 1), ("1\n", 0), (None, 0)])
async def test_an_adapter_that_holds_bytes_is_named_once(
    line: str,
    timer_ms: str | None,
    warnings: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only FTDI's driver has such a timer, and says in sysfs what it is set to."""
    if timer_ms is not None:
        device = tmp_path / Path(line).name / "device"
        device.mkdir(parents=True)
        (device / "latency_timer").write_text(timer_ms)
    monkeypatch.setattr(serial_port, "SYSFS", tmp_path)
    opened: list[str] = []
    owner = SimpleNamespace(wire_opened=lambda: opened.append(line))
    wire = SerialWire(parse_bus(f"serial://{line}"))
    wire.attach(owner)
    for count in (1, 2):
        wire.open()
        await until(lambda count=count: len(opened) == count)
        wire.close()
    assert len([r for r in caplog.records if "holds bytes for 16 ms" in r.message]) == warnings


class Levels:
    """Stands for a port: a pseudo-terminal has no control lines."""

    dtr = rts = None


@pytest.mark.parametrize(
    ("settings", "levels"), [("", (None, None)), ("?dtr=1&rts=0", (True, False)), ("?rts=1", (None, True))]
)
def test_the_control_lines_are_set_as_the_address_says(settings: str, levels: tuple[bool | None, bool | None]) -> None:
    port = Levels()
    _set_levels(port, parse_bus(f"serial:///dev/ttyS0{settings}"))  # type: ignore[arg-type]
    assert (port.dtr, port.rts) == levels


def test_a_port_without_control_lines_is_opened_all_the_same(line: str) -> None:
    close_port(open_port(parse_bus(f"serial://{line}?dtr=1&rts=0")))
