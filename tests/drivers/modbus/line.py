"""Real sockets and pseudo-terminals with a scripted device behind them, and a sink that remembers."""

import asyncio
import os
import socket
import struct
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from drivers.base import Request
from drivers.errors import DeviceError, LinkError
from drivers.modbus.rtu import seal

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Recorder:
    """A sink that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[bytes | Exception | str] = []
        self._news = asyncio.Event()

    def opened(self) -> None:
        self.note("opened")

    def answered(self, data: memoryview) -> None:
        self.note(bytes(data))

    def failed(self, error: DeviceError) -> None:
        self.note(error)

    def lost(self, error: LinkError) -> None:
        self.note(error)

    def note(self, event: bytes | Exception | str) -> None:
        self.events.append(event)
        self._news.set()

    async def next(self) -> bytes | Exception | str:
        """The oldest event not taken yet; waits for one."""
        if not self.events:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 15.0)
        return self.events.pop(0)


def data_of(request: Request) -> bytes:
    """What a perfect device answers: each register and bit pattern tells unit and address."""
    if request.function <= 2:
        return bytes((request.unit + request.address + i) & 0xFF for i in range(request.answer_bytes))
    values = [(request.unit * 4099 + request.address + i) & 0xFFFF for i in range(request.count)]
    return struct.pack(f">{request.count}H", *values)


def asked(pdu: bytes, unit: int) -> Request:
    """The request in a question's PDU."""
    return Request(unit, *struct.unpack(">BHH", pdu))


def perfect_pdu(pdu: bytes, unit: int) -> bytes:
    request = asked(pdu, unit)
    data = data_of(request)
    return bytes((request.function, len(data))) + data


def mbap(transaction: int, unit: int, pdu: bytes, *, protocol: int = 0, length: int | None = None) -> bytes:
    """A Modbus TCP frame, right or wrong on purpose."""
    return struct.pack(">HHHB", transaction, protocol, 1 + len(pdu) if length is None else length, unit) + pdu


async def question(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """The next request on a TCP connection: transaction id, unit, PDU."""
    frame = await reader.readexactly(12)
    transaction, protocol, length, unit = struct.unpack(">HHHB", frame[:7])
    assert (protocol, length) == (0, 6)
    return transaction, unit, frame[7:]


async def answer_perfectly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve a Modbus TCP connection until it ends."""
    while True:
        transaction, unit, pdu = await question(reader)
        writer.write(mbap(transaction, unit, perfect_pdu(pdu, unit)))


@asynccontextmanager
async def tcp_device(*serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The URL of a device; connection i is served by `serve[i]`, later ones by the last."""
    connections = 0
    tasks = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        task = asyncio.current_task()
        tasks.add(task)
        mine = serve[min(connections, len(serve) - 1)]
        connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
                await mine(reader, writer)
            writer.close()
        finally:
            tasks.discard(task)
            if writer.transport.get_write_buffer_size() or not writer.is_closing():
                writer.transport.abort()

    server = await asyncio.start_server(accept, host, 0)
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"tcp://{shown}:{server.sockets[0].getsockname()[1]}"
    finally:
        await asyncio.sleep(0.02)  # connections still on their way in are taken, so that they can be closed
        server.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.01)  # the transports close their sockets in the next rounds of the loop


#: Called with a question's datagram and with what sends one back.
Reply = Callable[[bytes, Callable[[bytes], object]], None]


@asynccontextmanager
async def udp_device(serve: Reply, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """The URL of a device to whose datagrams `serve` replies as it likes, also with empty ones."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((host, port))

        def readable() -> None:
            datagram, peer = sock.recvfrom(2048)
            serve(datagram, lambda answer: sock.sendto(answer, peer))

        loop.add_reader(sock, readable)
        shown = f"[{host}]" if ":" in host else host
        try:
            yield f"udp://{shown}:{sock.getsockname()[1]}"
        finally:
            loop.remove_reader(sock)


def perfect_datagram(datagram: bytes) -> bytes:
    """The right answer to a question over UDP."""
    transaction, protocol, length, unit = struct.unpack(">HHHB", datagram[:7])
    assert (protocol, length) == (0, 6)
    return mbap(transaction, unit, perfect_pdu(datagram[7:], unit))


class PtyDevice:
    """A device behind a pseudo-terminal: each question of `size` is handed to `serve`, which writes what it likes."""

    def __init__(self, serve: Callable[["PtyDevice", bytes], None], size: int) -> None:
        self.questions: list[bytes] = []
        self._size = size
        self._serve = serve
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self.url = f"serial://{os.ttyname(slave)}?baud=115200"
        os.close(slave)
        self._held = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._readable)

    def write(self, data: bytes, after_s: float = 0.0) -> None:
        if after_s:
            self._loop.call_later(after_s, self.write, data)
        elif self._master >= 0:
            with suppress(OSError):
                os.write(self._master, data)

    def unplug(self) -> None:
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            os.close(self._master)
            self._master = -1

    def _readable(self) -> None:
        try:
            self._held += os.read(self._master, 512)
        except OSError:  # nobody has the other side open at the moment
            self._loop.remove_reader(self._master)
            self._loop.call_later(0.02, self._listen)
            return
        while len(self._held) >= self._size:
            frame, self._held = self._held[: self._size], self._held[self._size :]
            self.questions.append(frame)
            self._serve(self, frame)

    def _listen(self) -> None:
        if self._master >= 0:
            self._loop.add_reader(self._master, self._readable)


@contextmanager
def pty_device(serve: Callable[[PtyDevice, bytes], None], size: int = 8) -> Iterator[PtyDevice]:
    device = PtyDevice(serve, size)
    try:
        yield device
    finally:
        device.unplug()


def perfect_frame(frame: bytes) -> bytes:
    """The right RTU answer to an RTU question."""
    return seal(frame[0], perfect_pdu(frame[1:6], frame[0]))


@contextmanager
def pty_pair() -> Iterator[tuple[str, str]]:
    """Two serial ports joined by a null-modem cable."""
    loop = asyncio.get_running_loop()
    (left, left_slave), (right, right_slave) = os.openpty(), os.openpty()
    for slave in (left_slave, right_slave):
        tty.setraw(slave)
    loop.add_reader(left, lambda: os.write(right, os.read(left, 512)))
    loop.add_reader(right, lambda: os.write(left, os.read(right, 512)))
    try:
        yield os.ttyname(left_slave), os.ttyname(right_slave)
    finally:
        for end in (left, right):
            loop.remove_reader(end)
        for end in (left, right, left_slave, right_slave):
            os.close(end)
