"""A UDP port in front of virtual units: one frame per datagram, answered to whoever asked."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from drivers.simulators.faults import BABBLE_BYTES, BABBLE_EVERY_S, MAX_OWED, SERIAL_ONLY, Fault, spend
from drivers.simulators.server_serial import RESET_S
from drivers.simulators.server_tcp import GATEWAY_TARGET_SILENT, MBAP, behind, frame_of
from drivers.simulators.unit import Unit

Peer = tuple[Any, ...]


class UdpPort:
    """The units behind one port, by unit id, as behind a `TcpPort`. While it is reset nothing listens there."""

    def __init__(self, units: Mapping[int, Unit], *, seed: int = 1) -> None:
        self.units = behind(units)
        self.noise = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._place: tuple[str, int] = ("", 0)
        self._babbling = False
        self._owed: set[asyncio.TimerHandle] = set()
        self._opening: asyncio.Task[int] | None = None

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port number (chosen by the system for 0). Raises OSError."""
        made: Any = await self._loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(host, port))
        self._transport = made[0]
        number: int = made[0].get_extra_info("sockname")[1]
        self._place = (host, number)
        return number

    def close(self) -> None:
        """Stop listening and forget what is still to be sent."""
        if self._opening is not None:
            self._opening.cancel()
        self._babbling = False
        for handle in self._owed:
            handle.cancel()
        self._owed.clear()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def take(self, datagram: bytes, peer: Peer) -> None:
        """Answer a question; what is none gets no answer."""
        if len(datagram) <= MBAP.size:
            return
        transaction, protocol, length, number = MBAP.unpack_from(datagram)
        if protocol != 0 or length != len(datagram) - MBAP.size + 1:
            return
        pdu = datagram[MBAP.size :]
        unit = self.units.get(number)
        if unit is None:
            self._send(frame_of(transaction, number, bytes((pdu[0] | 0x80, GATEWAY_TARGET_SILENT))), peer)
            return
        answer, fault = unit.answer(pdu), unit.fault
        if fault is None:
            self._send(frame_of(transaction, number, answer), peer)
            return
        spend(unit, fault)
        if fault.kind == "babble":
            if not self._babbling:
                self._babble(unit, peer)
        elif fault.kind == "reset":
            self._reset()
        elif not fault.mute:
            self._send_badly(fault, frame_of(transaction, *fault.spoil_answer(number, answer)), peer)

    def _send_badly(self, fault: Fault, frame: bytes, peer: Peer) -> None:
        datagrams = [frame, frame] if fault.kind == "twice" else [frame]
        if fault.kind not in SERIAL_ONLY and fault.kind != "twice":
            datagrams = [fault.spoil_frame(frame, self.noise)]
        for datagram in datagrams:
            if not fault.delay_s:
                self._send(datagram, peer)
            elif len(self._owed) < MAX_OWED:
                self._later(fault.delay_s, datagram, peer)

    def _later(self, wait_s: float, datagram: bytes, peer: Peer) -> None:
        def due() -> None:
            self._owed.discard(handle)
            self._send(datagram, peer)

        handle = self._loop.call_later(wait_s, due)
        self._owed.add(handle)

    def _send(self, datagram: bytes, peer: Peer) -> None:
        if self._transport is not None:
            self._transport.sendto(datagram, peer)

    def _reset(self) -> None:
        self.close()
        self._opening = self._loop.create_task(self._reopen(), name=f"reopen {self._place}")

    async def _reopen(self) -> int:
        await asyncio.sleep(RESET_S)
        return await self.open(*self._place)

    def _babble(self, unit: Unit, peer: Peer) -> None:
        self._send(self.noise.randbytes(BABBLE_BYTES), peer)
        self._babbling = self._transport is not None and unit.fault is not None and unit.fault.kind == "babble"
        if self._babbling:
            self._loop.call_later(BABBLE_EVERY_S, self._babble, unit, peer)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, port: UdpPort) -> None:
        self._port = port

    def datagram_received(self, data: bytes, addr: Peer) -> None:
        self._port.take(data, addr)

    def error_received(self, exc: Exception) -> None:
        """A client that asked is gone: no matter of the others."""
