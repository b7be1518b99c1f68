"""A small MQTT broker that misbehaves on request: the packets a real one sends only on its worst days."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Published:
    """One PUBLISH as it came in."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    retain: bool
    dup: bool
    connection: int


@dataclass
class FakeBroker:
    """`async with FakeBroker() as broker:` listens on `broker.port`. Set the fields before or while it runs."""

    connack: int | None = 0  #: reason code, or None for no answer
    session_present: bool = False
    receive_maximum: int | None = None
    maximum_packet: int | None = None
    connack_delay_s: float = 0.0
    #: for each PUBLISH: a reason code to answer with, or None for no answer
    puback: Callable[[Published], int | None] = lambda _: 0
    suback: int = 1

    published: list[Published] = field(default_factory=list)
    connects: list[bytes] = field(default_factory=list)  #: CONNECT bodies
    pubacks: list[int] = field(default_factory=list)  #: packet ids the client acknowledged
    subscriptions: list[str] = field(default_factory=list)
    pings: int = 0
    said_goodbye: int = 0
    port: int = 0

    async def __aenter__(self) -> "FakeBroker":
        self._writers: list[asyncio.StreamWriter] = []
        self._v5 = True
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.abort()
        await asyncio.sleep(0)

    def abort(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def disconnect(self, code: int) -> None:
        """DISCONNECT with a reason, then close."""
        self.send(b"\xe0", bytes([code, 0]))
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    def deliver(self, topic: str, payload: bytes, mid: int = 0, *, retain: bool = False) -> None:
        """PUBLISH to every client, QoS 1 if it has a packet id."""
        body = struct.pack("!H", len(topic.encode())) + topic.encode()
        body += struct.pack("!H", mid) if mid else b""
        body += (b"\x00" if self._v5 else b"") + payload
        self.send(bytes([0x30 | (2 if mid else 0) | retain]), body)

    def send_puback(self, mid: int, code: int = 0) -> None:
        self.send(b"\x40", struct.pack("!H", mid) + (bytes([code, 0]) if self._v5 and code else b""))

    def send(self, first: bytes, body: bytes) -> None:
        """A packet, or anything that looks like one, to every client."""
        for writer in self._writers:
            if not writer.is_closing():
                writer.write(first + _length(len(body)) + body)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                first = (await reader.readexactly(1))[0]
                body = await reader.readexactly(await _read_length(reader))
                await self._packet(first, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            if writer in self._writers:
                self._writers.remove(writer)

    async def _packet(self, first: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        kind = first >> 4
        if kind == 1:
            self.connects.append(body)
            self._v5 = body[6] == 5
            if self.connack is None:
                return
            await asyncio.sleep(self.connack_delay_s)
            answer = bytes([self.session_present, self.connack]) + (self._connack_properties() if self._v5 else b"")
            writer.write(b"\x20" + _length(len(answer)) + answer)
            if self.connack:
                writer.close()
        elif kind == 3:
            self._published(first, body)
        elif kind == 4:
            self.pubacks.append(struct.unpack_from("!H", body)[0])
        elif kind == 8:
            mid = body[:2]
            at = 3 if self._v5 else 2
            size = struct.unpack_from("!H", body, at)[0]
            self.subscriptions.append(body[at + 2 : at + 2 + size].decode())
            writer.write(b"\x90" + _length(3 + self._v5) + mid + (b"\x00" if self._v5 else b"") + bytes([self.suback]))
        elif kind == 12:
            self.pings += 1
            writer.write(b"\xd0\x00")
        elif kind == 14:
            self.said_goodbye += 1

    def _published(self, first: int, body: bytes) -> None:
        size = struct.unpack_from("!H", body)[0]
        topic, at = body[2 : 2 + size].decode(), 2 + size
        qos = first >> 1 & 3
        mid = struct.unpack_from("!H", body, at)[0] if qos else 0
        at += (2 if qos else 0) + self._v5
        message = Published(topic, body[at:], mid, qos, bool(first & 1), bool(first & 8), len(self.connects))
        self.published.append(message)
        code = self.puback(message)
        if qos and code is not None:
            self.send_puback(mid, code)

    def _connack_properties(self) -> bytes:
        properties = b""
        if self.receive_maximum is not None:
            properties += b"\x21" + struct.pack("!H", self.receive_maximum)
        if self.maximum_packet is not None:
            properties += b"\x27" + struct.pack("!I", self.maximum_packet)
        return _length(len(properties)) + properties


def _length(size: int) -> bytes:
    """The variable byte integer of MQTT (MQTT 5, 1.5.5)."""
    encoded = bytearray()
    while True:
        size, digit = divmod(size, 128)
        encoded.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(encoded)


async def _read_length(reader: asyncio.StreamReader) -> int:
    size = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return size
