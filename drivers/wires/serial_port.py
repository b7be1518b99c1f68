"""A serial port as a wire: opened exclusively, read and written without blocking."""

import asyncio
import errno
import fcntl
import logging
import os
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

import serial
from serial.rs485 import RS485Settings

from drivers.address import BusAddress
from drivers.address_settings import Rs485
from drivers.errors import LinkError, LinkLost, LinkUnavailable
from drivers.modbus.reasons import reason_and_hint
from drivers.wires.base import WireOwner

#: One read takes at most this much; what is left wakes the event loop again.
READ_BYTES = 512
#: Device numbers of pseudo-terminals. Their other end keeps them, and TIOCEXCL on them, when we are killed: nobody but
#: root could open one again. A real port forgets it with its last user.
PSEUDO_TERMINALS = range(136, 144)
BY_ID = Path("/dev/serial/by-id")
SYSFS = Path("/sys/class/tty")
#: An adapter that holds bytes for longer than this was not, or could not be, put into its low-latency mode.
LOW_LATENCY_MS = 1
log = logging.getLogger(__name__)

_OWNED = "another program owns the port, and two masters on one bus disturb each other: see fuser -v {path}"
_HINTS = {
    errno.EACCES: "add this user to the group dialout: usermod -aG dialout USER, then log in again",
    errno.EAGAIN: _OWNED,
    errno.EBUSY: _OWNED,
    errno.ENXIO: "no hardware behind this name",
}


class SerialWire:
    """The port at `address.path` with its line settings."""

    remote = False

    def __init__(self, address: BusAddress) -> None:
        self._address = address
        self.subject = str(address)
        self._owner: WireOwner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Future[serial.Serial] | None = None
        self._port: serial.Serial | None = None
        self._listening = False
        self._warned = False  # of an adapter that holds bytes: once, not at each reopening

    def attach(self, owner: WireOwner) -> None:
        self._owner = owner

    def open(self) -> None:
        if self._opening is not None or self._port is not None:
            raise RuntimeError(f"{self.subject} is open or opening already")
        self._loop = asyncio.get_running_loop()
        # in a thread: an adapter that is about to go away can hold open() for seconds
        self._opening = self._loop.run_in_executor(None, open_port, self._address)
        self._opening.add_done_callback(self._opened)

    def write(self, frame: bytes) -> None:
        assert self._port is not None
        assert self._loop is not None
        try:
            written = os.write(self._port.fd, frame)
        except OSError as error:
            self._loop.call_soon(self._lost, self._port, error)
            return
        if written < len(frame):
            self._loop.call_soon(self._lost, self._port, OSError(errno.EIO, "the port takes no bytes"))
            return

    def rest(self) -> None:
        if self._listening:
            assert self._port is not None
            assert self._loop is not None
            self._listening = False
            with suppress(RuntimeError):  # the loop is already closed
                self._loop.remove_reader(self._port.fd)

    def listen(self) -> None:
        if not self._listening and self._port is not None:
            assert self._loop is not None
            self._listening = True
            self._loop.add_reader(self._port.fd, self._readable)

    def waiting_bytes(self) -> bytes:
        assert self._port is not None
        try:
            return os.read(self._port.fd, READ_BYTES)
        except OSError:
            return b""  # nothing, or lost: then the reader finds it

    def close(self) -> None:
        self._opening = None
        if self._port is not None:
            self.rest()
            close_port(self._port)
            self._port = None

    def _opened(self, opening: "asyncio.Future[serial.Serial]") -> None:
        if opening.cancelled():
            return
        error = opening.exception()
        if self._opening is not opening:  # closed meanwhile
            if error is None:
                close_port(opening.result())
            return
        self._opening = None
        assert self._owner is not None
        if isinstance(error, LinkError):
            self._owner.wire_lost(error)
        elif error is not None:
            raise error
        else:
            self._port = opening.result()
            self._warn_of_latency()
            self.listen()
            self._owner.wire_opened()

    def _warn_of_latency(self) -> None:
        held_ms = held_bytes_ms(self._address.path)
        if held_ms > LOW_LATENCY_MS and not self._warned:
            self._warned = True
            hint = 'a udev rule can: SUBSYSTEM=="usb-serial", ATTR{latency_timer}="1"'
            log.warning(
                "%s: the adapter holds bytes for %d ms and cannot be told not to — %s", self.subject, held_ms, hint
            )

    def _readable(self) -> None:
        assert self._port is not None
        assert self._owner is not None
        try:
            data = os.read(self._port.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(self._port, error)
            return
        if data:
            self._owner.wire_received(data)
        else:  # the line was hung up; looking again would spin
            self._lost(self._port, OSError(errno.EIO, ""))

    def _lost(self, port: serial.Serial, error: OSError) -> None:
        if self._port is port:
            assert self._owner is not None
            self._owner.wire_lost(LinkLost(f"{self.subject}: port lost: {reason_and_hint(error)}"))


def open_port(address: BusAddress) -> serial.Serial:
    """Open the port for ourselves alone, non-blocking, with no bytes from before. Raises LinkUnavailable. Blocks."""
    try:
        port = serial.Serial(
            address.path,
            address.baud,
            **character_of(address),
            exclusive=True,
        )
    except (OSError, ValueError, termios.error) as error:
        raise _unavailable(address, error) from error
    try:
        if address.rs485 is not None:
            _switch_direction(port, address, address.rs485)
        if not is_pseudo_terminal(address.path):
            fcntl.ioctl(port.fd, termios.TIOCEXCL)  # the lock above binds only programs that ask for it
        settings = termios.tcgetattr(port.fd)
        settings[6][termios.VMIN] = 1  # so that no bytes is EAGAIN, and b"" only a hang-up
        termios.tcsetattr(port.fd, termios.TCSANOW, settings)
    except LinkUnavailable:
        port.close()
        raise
    except (OSError, termios.error) as error:
        port.close()
        raise _unavailable(address, error) from error
    _set_levels(port, address)
    with suppress(ValueError, OSError):  # only some drivers know it; see held_bytes_ms
        port.set_low_latency_mode(True)
    return port


def character_of(address: BusAddress) -> dict[str, Any]:
    """What pyserial has to be told of a character on the port at `address`.

    A pseudo-terminal carries whole bytes without parity, whatever is said of it, and the C library may refuse to ask
    it for anything else.
    """
    if is_pseudo_terminal(address.path):
        return {"bytesize": 8, "parity": "N", "stopbits": 1}
    return {"bytesize": address.data_bits, "parity": address.parity, "stopbits": address.stop_bits}


def is_pseudo_terminal(path: str) -> bool:
    """Whether `path` leads to one; False where there is nothing."""
    try:
        return os.major(os.stat(path).st_rdev) in PSEUDO_TERMINALS
    except OSError:
        return False


def _set_levels(port: serial.Serial, address: BusAddress) -> None:
    """Some devices are powered by the port's control lines, some are silenced by them."""
    with suppress(OSError, termios.error):  # a pseudo-terminal has none
        if address.dtr is not None:
            port.dtr = address.dtr
        if address.rts is not None:
            port.rts = address.rts


def held_bytes_ms(path: str) -> int:
    """How long the adapter at `path` holds bytes to collect more of them; 0 where the driver has no such timer."""
    name = Path(path).resolve().name
    try:
        return int((SYSFS / name / "device" / "latency_timer").read_text())
    except (OSError, ValueError):
        return 0


def _switch_direction(port: serial.Serial, address: BusAddress, wanted: Rs485) -> None:
    settings = RS485Settings(
        rts_level_for_tx=wanted.sending,
        rts_level_for_rx=not wanted.sending,
        delay_before_tx=wanted.before_ms / 1000,
        delay_before_rx=wanted.after_ms / 1000,
    )
    try:
        port.rs485_mode = settings
    except ValueError as error:
        reason = "the driver of this port cannot switch the direction of an RS-485 line"
        hint = "most USB adapters do it themselves: remove rs485="
        raise LinkUnavailable(f"{address}: {reason} — {hint}") from error


def close_port(port: serial.Serial) -> None:
    """Close without waiting for unsent bytes: the kernel would, for up to 30 s."""
    with suppress(OSError, termios.error):
        termios.tcflush(port.fd, termios.TCIOFLUSH)
    with suppress(OSError):
        port.close()


def _unavailable(address: BusAddress, error: Exception) -> LinkUnavailable:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENODEV):
        found = sorted(str(path) for path in BY_ID.glob("*"))
        present = ", ".join(found) if found else "no USB adapter is plugged in"
        return LinkUnavailable(f"{address}: no such port — ports by name: {present}")
    if number is None:
        reason = f"cannot be used as a serial port ({error})"
        return LinkUnavailable(f"{address}: {reason} — is it a serial port, and does it know these line settings?")
    hint = _HINTS.get(number, "").format(path=address.path)
    return LinkUnavailable(f"{address}: cannot open: {os.strerror(number)}" + (f" — {hint}" if hint else ""))
