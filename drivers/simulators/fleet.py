"""Very many plain Modbus TCP devices in one process, for benchmarks: cheap to answer, every value checkable.

Point p of device d shows `(d * 1000 + p) * 1000 + s % 1000` in second s: one u32 (ABCD) over registers 2p and 2p+1,
the same as holding and input registers. A reading therefore tells whose it is and when it was made.
"""

import asyncio
import resource
import time
from collections.abc import Callable

import numpy as np

from drivers.modbus.tcp_pool import TcpPool
from drivers.simulators.server_tcp import TcpPort
from drivers.simulators.unit import Unit, registers

#: Above this the values would not fit in 32 bits.
MAX_DEVICES = 4000
#: Point numbers take three decimal digits of the value.
MAX_REGISTERS = 2000
TICK_S = 1.0
#: Listening socket and connections of a device, and what the process needs besides.
_FILES_PER_DEVICE, _FILES_BESIDES = 3, 64


def value(device: int, point: int, second: int) -> int:
    """What point `point` of device `device` shows in second `second`."""
    return (device * 1000 + point) * 1000 + second % 1000


class Fleet:
    """`devices` ports of one unit each, with `count` registers. Their values change all at once, each second."""

    def __init__(self, devices: int, count: int, *, unit: int = 1, mono: Callable[[], float] = time.monotonic) -> None:
        if not 1 <= devices <= MAX_DEVICES:
            raise ValueError(f"fleet of {devices} devices: from 1 to {MAX_DEVICES}")
        if count % 2 or not 2 <= count <= MAX_REGISTERS:
            raise ValueError(f"fleet with {count} registers: an even number from 2 to {MAX_REGISTERS}")
        self._mono = mono
        self._origin = mono()
        points = np.arange(count // 2)
        self._base = ((np.arange(devices)[:, None] * 1000 + points) * 1000).astype(">u4")
        self._image = self._base.copy()
        rows = [memoryview(row).cast("B") for row in self._image.view(np.uint8)]
        self.units = [Unit(f"device-{d}", registers(0, row)) for d, row in enumerate(rows)]
        self._pool = TcpPool()
        self.ports = [TcpPort({unit: u}, self._pool) for u in self.units]
        self._timer: asyncio.TimerHandle | None = None

    def open(self, host: str, first_port: int) -> None:
        """Listen on `first_port` and the ports after it, one per device. Raises OSError."""
        _allow_files(len(self.ports) * _FILES_PER_DEVICE + _FILES_BESIDES)
        for offset, port in enumerate(self.ports):
            port.open(host, first_port + offset)
        self._tick()

    @property
    def second(self) -> int:
        """Whole seconds since the fleet was made."""
        return int(self._mono() - self._origin)

    def advance(self) -> None:
        """Show the values of the present second."""
        np.add(self._base, self.second % 1000, out=self._image)

    def close(self) -> None:
        """Stop listening, drop every connection."""
        if self._timer is not None:
            self._timer.cancel()
        for port in self.ports:
            port.close()
        self._pool.close()

    def _tick(self) -> None:
        self.advance()
        wait = TICK_S - (self._mono() - self._origin) % TICK_S
        self._timer = asyncio.get_running_loop().call_later(wait, self._tick)


def _allow_files(wanted: int) -> None:
    """Raise the soft limit of open files as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
