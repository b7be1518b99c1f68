"""Where a serial bus can be reached: a pseudo-terminal behind a stable path, or a TCP port as serial servers offer."""

import asyncio
import os
import tty
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from drivers.simulators.bus_ascii import AsciiBus
from drivers.simulators.bus_rtu import RtuBus
from drivers.simulators.bus_text import TextBus
from drivers.simulators.serial_bus import SerialBus
from drivers.simulators.text_device import TextUnit
from drivers.simulators.unit import Unit
from drivers.simulators.wrong_speed import heard, speed_of

#: Bytes queued for a client that does not read; more is lost, as behind a serial server whose buffer is full.
_MAX_QUEUED = 4096
#: A port that was reset is back after this long.
RESET_S = 0.2

#: The units of one line: all of them Modbus, or all of the same text protocol.
Units = Mapping[int, Unit] | Mapping[int, TextUnit]


def bus_of(
    units: Units, write: Callable[[bytes], None], reset: Callable[[], None], *, is_ascii: bool, **line: Any
) -> SerialBus:
    """The bus that carries `units`; Modbus ones in ASCII framing if `is_ascii`. See SerialBus for the rest."""
    texts = {number: unit for number, unit in units.items() if isinstance(unit, TextUnit)}
    if texts:
        return TextBus(texts, write, reset, **line)
    modbus = AsciiBus if is_ascii else RtuBus
    return modbus({number: unit for number, unit in units.items() if isinstance(unit, Unit)}, write, reset, **line)


class PtyLine:
    """A serial bus on a pseudo-terminal that is opened through the symbolic link `path`, like a serial port.

    Bytes that nobody reads are lost and counted in `overruns`, as on a real line. With a `baud`, a client that has
    set another speed hears garbage and is not understood; a pseudo-terminal knows no parity, so any is right.
    """

    def __init__(
        self,
        path: Path,
        units: Units,
        *,
        baud: int | None = None,
        turnaround_s: float = 0.0,
        is_ascii: bool = False,
        seed: int = 1,
    ) -> None:
        self.path = path
        self.overruns = 0
        self._baud = baud
        line = {"baud": baud, "turnaround_s": turnaround_s, "seed": seed}
        self.bus = bus_of(units, self._write, self.replug, is_ascii=is_ascii, **line)
        self._loop = asyncio.get_running_loop()
        self._master = -1
        self._slave = -1
        self._replug: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Make the port. Raises OSError, FileExistsError when `path` is something else than a symbolic link."""
        if self.path.exists() and not self.path.is_symlink():
            raise FileExistsError(f"{self.path} exists and is no simulated port")
        # The slave end stays open here: otherwise the master would hang up each time a client closes it.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        os.symlink(os.ttyname(self._slave), fresh)
        os.replace(fresh, self.path)
        self._loop.add_reader(self._master, self._readable)
        self.bus.begin()

    def close(self) -> None:
        """Take the port away; whoever has it open reads end of file or an I/O error."""
        if self._replug is not None:
            self._replug.cancel()
            self._replug = None
        self.unplug()

    def unplug(self) -> None:
        """The port disappears, as when the USB adapter is pulled."""
        if self._master < 0:
            return
        self.bus.close()
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        self.path.unlink(missing_ok=True)

    def replug(self) -> None:
        """Unplug, and plug in again a moment later, behind the same path."""
        self.unplug()
        self._replug = self._loop.call_later(RESET_S, self.open)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        speed = self._other_speed()
        self.bus.feed(heard(data, speed, self._baud) if speed and self._baud else data)

    def _other_speed(self) -> int:
        """The client's, if it is not ours; else 0."""
        speed = speed_of(self._master) if self._baud else 0
        return 0 if speed == self._baud else speed

    def _write(self, data: bytes) -> None:
        if self._master < 0:
            return
        speed = self._other_speed()
        if speed and self._baud:
            data = heard(data, self._baud, speed)
        try:
            sent = os.write(self._master, data)
        except BlockingIOError:
            sent = 0
        self.overruns += len(data) - sent


class StreamPort:
    """The same units behind a TCP port that carries the line's bytes. Each connection sees a line of its own."""

    def __init__(
        self,
        units: Units,
        *,
        baud: int | None = None,
        turnaround_s: float = 0.0,
        is_ascii: bool = False,
        seed: int = 1,
    ) -> None:
        self._units = units
        self._line: dict[str, Any] = {
            "baud": baud,
            "turnaround_s": turnaround_s,
            "is_ascii": is_ascii,
            "seed": seed,
        }
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port number (chosen by the system for 0). Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    def line(self, write: Callable[[bytes], None], drop: Callable[[], None]) -> SerialBus:
        """A line of its own for a connection."""
        return bus_of(self._units, write, drop, **self._line)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drop()


class _Connection(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, port: StreamPort) -> None:
        self._port = port
        self._bus = port.line(self._write, self.drop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port.connections.add(self)
        self._bus.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._bus.close()
        self._port.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._bus.feed(data)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def drop(self) -> None:
        self._transport.abort()

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing() and self._transport.get_write_buffer_size() < _MAX_QUEUED:
            self._transport.write(data)
