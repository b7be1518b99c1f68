"""Whatever a line carries, for a technician who wants to know what a device sends by itself. Nothing is sent."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from drivers.address import BusAddress, TextLine
from drivers.errors import LinkLost
from drivers.session import Session

#: Bytes that come closer than this are shown together: at 300 baud one comes every 33 ms.
LUMP_S = 0.05
#: A lump that goes on is shown in parts of so many bytes.
LUMP_BYTES = 256

#: Called with the seconds since the port was opened and the bytes that came then.
Heard = Callable[[float, bytes], None]


class Lumps:
    """Joins bytes that belong together and hands them on."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._held = bytearray()
        self._begun = self._last = 0.0

    def add(self, data: bytes, now: float) -> None:
        self.tick(now)
        if not self._held:
            self._begun = now
        self._held += data
        self._last = now
        while len(self._held) >= LUMP_BYTES:
            self._flush(LUMP_BYTES)

    def tick(self, now: float) -> None:
        """Time passes: what is complete is handed on."""
        if self._held and now - self._last >= LUMP_S:
            self._flush(len(self._held))

    def _flush(self, size: int) -> None:
        self._heard(self._begun, bytes(self._held[:size]))
        del self._held[:size]
        self._begun = self._last


async def hear(address: BusAddress, seconds: float, heard: Heard) -> None:
    """Listen for so long. Raises ValueError for an address that is no line, LinkUnavailable, LinkLost when it ends."""
    if not address.is_port and address.kind != "raw+tcp":
        raise ValueError(f"{address} is no line that can be listened to")
    loop = asyncio.get_running_loop()
    lumps = Lumps(heard)
    session = Session(
        replace(address, text=TextLine("any")),
        trace=lambda way, data: lumps.add(data, loop.time() - begin),
    )
    begin = loop.time()
    try:
        await session.reopen()
        begin = loop.time()
        while loop.time() - begin < seconds:
            if session.ended is not None:
                raise LinkLost(str(session.ended))
            await asyncio.sleep(min(LUMP_S, seconds))
            lumps.tick(loop.time() - begin)
        lumps.tick(float("inf"))
    finally:
        session.close()
