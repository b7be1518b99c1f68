"""Modbus TCP ports in front of virtual units: real bytes, cheap enough to serve a thousand devices on little CPU.

All sockets, the listening ones too, are behind one epoll object; no task, future or timer per request.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

from drivers.modbus.tcp_pool import TcpPool
from drivers.simulators.faults import BABBLE_BYTES, BABBLE_EVERY_S, MAX_OWED, SERIAL_ONLY, spend
from drivers.simulators.unit import Unit

GATEWAY_TARGET_SILENT = 11
#: Unit ids that mean "the TCP device itself" (Modbus messaging on TCP/IP V1.0b, section 4.4.2).
DEVICE_ITSELF = (0, 255)
#: Receive buffer of a connection: 15 of the largest requests; a client that pipelines more waits in its socket.
_BUFFER = 4096
#: Answers that wait behind a full socket. A client that asks on without reading is dropped above this.
MAX_UNREAD = 65_536
_BACKLOG = 128
MBAP = struct.Struct(">HHHB")
#: Unit id and PDU: at least a function code, at most 253 bytes of PDU.
_SHORTEST, _LONGEST = 2, 254


class TcpPort:
    """One listening port with the units behind it, by unit id; more than one makes it a gateway.

    A gateway answers for unit ids it does not know with exception 11, as gateways do. A port with one unit also
    answers under ids 0 and 255. Ports may share a `pool`; whoever made it closes it.
    """

    def __init__(self, units: Mapping[int, Unit], pool: TcpPool, *, seed: int = 1) -> None:
        self.units = behind(units)
        self.pool = pool
        self.noise = random.Random(seed)
        self.connections: set[_Connection] = set()
        self._listener: socket.socket | None = None

    def open(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port number (chosen by the system for 0). Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.pool.start()
        self.pool.add(self._listener, self, write=False)
        number: int = self._listener.getsockname()[1]
        return number

    def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._listener is not None:
            self.pool.remove(self._listener)
            self._listener = None
        for connection in list(self.connections):
            connection.close()

    def readable(self) -> None:
        """Somebody connects."""
        assert self._listener is not None
        with suppress(OSError):  # gone again before we looked, or no descriptor left: the client tries again
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, sock)
            self.pool.add(sock, connection, write=False)
            self.connections.add(connection)

    def event(self, events: int) -> None:
        """Nothing else can happen to a listening socket that matters here."""


class _Connection:
    __slots__ = ("_babbling", "_buffer", "_held", "_loop", "_owed", "_port", "_sock", "_unread", "_view")

    def __init__(self, port: TcpPort, sock: socket.socket) -> None:
        self._port = port
        self._sock: socket.socket | None = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._held = 0
        self._unread = b""
        self._babbling = False
        self._owed = 0

    def close(self) -> None:
        if self._sock is not None:
            self._port.pool.remove(self._sock)
            self._port.connections.discard(self)
            self._sock = None

    def readable(self) -> None:
        assert self._sock is not None
        try:
            received = self._sock.recv_into(self._view[self._held :])
        except BlockingIOError:
            return
        except OSError:
            received = 0
        if received:
            self._answer_all(self._held + received)
        else:
            self.close()

    def event(self, events: int) -> None:
        if self._unread:
            unread, self._unread = self._unread, b""
            self._write(unread)
            if not self._unread and self._sock is not None:
                self._port.pool.want_write(self._sock, False)
        if self._sock is not None:
            self.readable()

    def _answer_all(self, end: int) -> None:
        """Answer the whole requests among the first `end` bytes of the buffer and keep the rest."""
        start = 0
        while end - start >= MBAP.size:
            transaction, protocol, length, unit_id = MBAP.unpack_from(self._buffer, start)
            if protocol != 0 or not _SHORTEST <= length <= _LONGEST:
                self.close()  # no way to find the next frame: devices close here
                return
            stop = start + 6 + length
            if stop > end:
                break
            pdu = bytes(self._view[start + 7 : stop])
            unit = self._port.units.get(unit_id)
            if unit is None:
                answer = bytes((pdu[0] | 0x80, GATEWAY_TARGET_SILENT))
                self._write(frame_of(transaction, unit_id, answer))
            elif unit.fault is None:
                answer = unit.answer(pdu)
                self._write(MBAP.pack(transaction, 0, len(answer) + 1, unit_id) + answer)
            else:
                self._answer_badly(unit, transaction, unit_id, pdu)
            if self._sock is None:
                return
            start = stop
        self._held = end - start
        if start and self._held:
            self._buffer[: self._held] = self._buffer[start:end]

    def _answer_badly(self, unit: Unit, transaction: int, unit_id: int, pdu: bytes) -> None:
        fault = unit.fault
        assert fault is not None
        assert self._sock is not None
        answer = unit.answer(pdu)
        spend(unit, fault)
        if fault.mute:
            return
        if fault.kind == "reset":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
            return
        if fault.kind == "babble":
            if not self._babbling:
                self._babble(unit)
            return
        frame = frame_of(transaction, *fault.spoil_answer(unit_id, answer))
        if fault.kind not in SERIAL_ONLY:
            frame = fault.spoil_frame(frame, self._port.noise)
        if not fault.delay_s:
            self._write(frame)
        elif self._owed < MAX_OWED:
            self._owed += 1
            self._loop.call_later(fault.delay_s, self._write_late, frame)

    def _write(self, data: bytes) -> None:
        """Send, keep what the socket does not take, and drop a client that lets too much wait."""
        if self._sock is None:
            return
        sent = 0
        if not self._unread:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            self._port.pool.want_write(self._sock, True)
        self._unread += data[sent:]
        if len(self._unread) > MAX_UNREAD:
            self.close()

    def _write_late(self, frame: bytes) -> None:
        self._owed -= 1
        self._write(frame)

    def _babble(self, unit: Unit) -> None:
        self._write(self._port.noise.randbytes(BABBLE_BYTES))
        self._babbling = self._sock is not None and unit.fault is not None and unit.fault.kind == "babble"
        if self._babbling:
            self._loop.call_later(BABBLE_EVERY_S, self._babble, unit)


def behind(units: Mapping[int, Unit]) -> dict[int, Unit]:
    """The units a port answers for, by the ids it answers under."""
    found = dict(units)
    if len(found) == 1:
        (only,) = found.values()
        found.update({i: only for i in DEVICE_ITSELF if i not in found})
    return found


def frame_of(transaction: int, unit_id: int, pdu: bytes) -> bytes:
    """The frame that carries `pdu`."""
    return MBAP.pack(transaction, 0, len(pdu) + 1, unit_id) + pdu
