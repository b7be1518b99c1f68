"""Modbus TCP ports in front of virtual units: real bytes, cheap enough to serve a thousand devices on half a core.

One connection object per client, a fixed receive buffer, no task or future per request; answers are sent from the
read callback.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Mapping

from drivers.simulators.faults import BABBLE_BYTES, BABBLE_EVERY_S, MAX_OWED, SERIAL_ONLY
from drivers.simulators.unit import Unit

GATEWAY_TARGET_SILENT = 11
#: Unit ids that mean "the TCP device itself" (Modbus messaging on TCP/IP V1.0b, section 4.4.2).
DEVICE_ITSELF = (0, 255)
#: Receive buffer of a connection: 15 of the largest requests; a client that pipelines more waits in its socket.
_BUFFER = 4096
_MBAP = struct.Struct(">HHHB")
#: Unit id and PDU: at least a function code, at most 253 bytes of PDU.
_SHORTEST, _LONGEST = 2, 254


class TcpPort:
    """One listening port with the units behind it, by unit id; more than one makes it a gateway.

    A gateway answers for unit ids it does not know with exception 11, as gateways do. A port with one unit also
    answers under ids 0 and 255.
    """

    def __init__(self, units: Mapping[int, Unit], *, seed: int = 1) -> None:
        self.units = dict(units)
        if len(self.units) == 1:
            (only,) = self.units.values()
            self.units.update({i: only for i in DEVICE_ITSELF if i not in self.units})
        self.noise = random.Random(seed)
        self.connections: set[_Connection] = set()
        self.broken_streams = 0
        self._server: asyncio.Server | None = None

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port number (chosen by the system for 0). Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drop()


class _Connection(asyncio.BufferedProtocol):
    __slots__ = ("_babbling", "_buffer", "_held", "_loop", "_owed", "_port", "_transport", "_view")

    _transport: asyncio.Transport

    def __init__(self, port: TcpPort) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._held = 0
        self._babbling = False
        self._owed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.connections.discard(self)

    def drop(self) -> None:
        self._transport.abort()

    # A client that asks and never reads stops being read: what is queued for it stays bounded.
    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._held :]

    def buffer_updated(self, nbytes: int) -> None:
        end = self._held + nbytes
        start = 0
        buffer = self._buffer
        units = self._port.units
        while end - start >= _MBAP.size:
            transaction, protocol, length, unit_id = _MBAP.unpack_from(buffer, start)
            if protocol != 0 or not _SHORTEST <= length <= _LONGEST:
                self._port.broken_streams += 1  # no way to find the next frame: devices close here
                self._transport.abort()
                return
            stop = start + 6 + length
            if stop > end:
                break
            pdu = bytes(buffer[start + 7 : stop])
            unit = units.get(unit_id)
            if unit is None:
                answer = bytes((pdu[0] | 0x80, GATEWAY_TARGET_SILENT))
                self._transport.write(_frame(transaction, unit_id, answer))
            elif unit.fault is None:
                answer = unit.answer(pdu)
                self._transport.write(_MBAP.pack(transaction, 0, len(answer) + 1, unit_id) + answer)
            else:
                self._answer_badly(unit, transaction, unit_id, pdu)
                if self._transport.is_closing():
                    return
            start = stop
        self._held = end - start
        if start and self._held:
            buffer[: self._held] = buffer[start:end]

    def _answer_badly(self, unit: Unit, transaction: int, unit_id: int, pdu: bytes) -> None:
        fault = unit.fault
        assert fault is not None
        unit.fault = fault.used()
        answer = unit.answer(pdu)
        if fault.kind == "silent":
            return
        if fault.kind == "reset":
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
            return
        if fault.kind == "babble":
            if not self._babbling:
                self._babble(unit)
            return
        frame = _frame(transaction, *fault.spoil_answer(unit_id, answer))
        if fault.kind not in SERIAL_ONLY:
            frame = fault.spoil_frame(frame, self._port.noise)
        if not fault.delay_s:
            self._transport.write(frame)
        elif self._owed < MAX_OWED:
            self._owed += 1
            self._loop.call_later(fault.delay_s, self._write_late, frame)

    def _write_late(self, frame: bytes) -> None:
        self._owed -= 1
        if not self._transport.is_closing():
            self._transport.write(frame)

    def _babble(self, unit: Unit) -> None:
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() < _BUFFER:
            self._transport.write(self._port.noise.randbytes(BABBLE_BYTES))
        self._babbling = unit.fault is not None and unit.fault.kind == "babble"
        if self._babbling:
            self._loop.call_later(BABBLE_EVERY_S, self._babble, unit)


def _frame(transaction: int, unit_id: int, pdu: bytes) -> bytes:
    return _MBAP.pack(transaction, 0, len(pdu) + 1, unit_id) + pdu
