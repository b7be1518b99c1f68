"""Modbus/TCP Security: the frames of Modbus TCP, unchanged, inside TLS (specification V36:
the ADU is encapsulated as it is).

On asyncio's transports: whoever encrypts on such a device's processor does not poll it a thousand times a second.
Nothing is ever sent in plain text; the files are read anew for each connection, so a renewed certificate needs no
restart.
"""

import asyncio
import socket
import ssl

from drivers.address import BusAddress
from drivers.address_settings import Tls
from drivers.base import LinkCost, Request, Sink
from drivers.errors import BadFrame, LinkError, LinkLost, LinkUnavailable
from drivers.modbus import mbap
from drivers.modbus.connection import CONNECT_S
from drivers.modbus.link_tcp import TCP_COST
from drivers.modbus.reasons import reason_and_hint
from drivers.modbus.tcp_connection import KEEPALIVE_S
from drivers.modbus.tls import client_context, handshake_reason
from drivers.wires.base import Trace

#: A handshake costs a small controller seconds of arithmetic.
HANDSHAKE_S = 6.0


class TlsLink:
    """One host:port behind TLS. `user_timeout_s`: how long sent bytes may stay unacknowledged."""

    def __init__(
        self,
        address: BusAddress,
        sink: Sink,
        *,
        user_timeout_s: float,
        trace: Trace | None = None,
        handshake_s: float = HANDSHAKE_S,
    ) -> None:
        self._address = address
        self._tls = address.tls or Tls()
        self.subject = f"tls+tcp://{address.host}:{address.port}"
        self._sink = sink
        self._user_timeout_ms = max(1, round(user_timeout_s * 1000))
        self._trace = trace
        self._handshake_s = handshake_s
        self.cost: LinkCost = TCP_COST
        self.late = 0
        self._attempt: asyncio.Task[None] | None = None
        self._lookup: asyncio.Task[list[str]] | None = None
        self._stream: _Stream | None = None
        self._transaction = 0
        self._request: Request | None = None

    def open(self) -> None:
        if self._attempt is not None or self._stream is not None:
            raise RuntimeError(f"{self.subject} is open or opening already")
        self._attempt = asyncio.get_running_loop().create_task(self._connect(), name=f"connect {self.subject}")

    def send(self, request: Request) -> None:
        if self._request is not None or self._stream is None:
            raise RuntimeError(f"{self.subject}: send while {'closed' if self._stream is None else 'busy'}")
        question, _, _ = mbap.template(request)
        self._transaction = (self._transaction + 1) & 0xFFFF
        self._request = request
        self._stream.transmit(self._transaction.to_bytes(2, "big") + question)

    def expire(self) -> None:
        self._request = None
        if self._stream is not None and self._stream.stuck:
            self._drop(LinkLost(f"{self.subject}: the peer takes no more bytes"))

    def ready_at(self, unit: int) -> float:
        return 0.0

    def close(self) -> None:
        self._request = None
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self._stream is not None:
            self._stream.abort()
            self._stream = None

    async def _connect(self) -> None:
        """Try the host's addresses in turn; report the last failure."""
        try:
            stream = await self._handshake()
        except LinkUnavailable as error:
            self._attempt = None
            self._sink.lost(error)
            return
        self._attempt = None
        self._stream = stream
        if stream.ended is None:
            self._sink.opened()
        else:  # a device may reject our certificate as soon as its side of the handshake is done
            self.stream_ended(stream, stream.ended)

    async def _handshake(self) -> "_Stream":
        loop = asyncio.get_running_loop()
        context = await loop.run_in_executor(None, client_context, self._tls)
        name = self._tls.name or self._address.host
        try:  # asyncio would leave the socket open
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
        except ValueError as error:
            hint = "give name= as it stands in the certificate"
            raise LinkUnavailable(f"{self.subject}: {name!r} can be no name: {error} — {hint}") from error
        last: LinkUnavailable | None = None
        for host in await self._addresses():
            try:
                async with asyncio.timeout(CONNECT_S + self._handshake_s):
                    _, stream = await loop.create_connection(
                        lambda: _Stream(self, self._trace),
                        host,
                        self._address.port,
                        ssl=context,
                        server_hostname=name,
                        ssl_handshake_timeout=self._handshake_s,
                    )
            except (TimeoutError, OSError) as error:  # ssl.SSLError is an OSError
                last = self._unavailable(error)
            else:
                return stream
        raise last or LinkUnavailable(f"{self.subject}: the name has no address")

    def _unavailable(self, error: Exception) -> LinkUnavailable:
        failed_in_tls = isinstance(error, ssl.SSLError | ConnectionAbortedError | ConnectionResetError)
        if not failed_in_tls and isinstance(error, OSError) and error.errno is not None:
            return LinkUnavailable(f"{self.subject}: cannot connect: {reason_and_hint(error)}")
        if isinstance(error, TimeoutError):
            advice = "is the device on, the address right, a firewall between?"
            return LinkUnavailable(f"{self.subject}: no answer to the connection request — {advice}")
        return LinkUnavailable(f"{self.subject}: {handshake_reason(error)}")

    async def _addresses(self) -> list[str]:
        """What DNS says, one question at a time: a lookup that hangs cannot be stopped, only waited for again."""
        if self._lookup is None or self._lookup.done():
            self._lookup = asyncio.get_running_loop().create_task(_resolve(self._address.host, self._address.port))
            self._lookup.add_done_callback(_heard)
        try:
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.shield(self._lookup)
        except (OSError, UnicodeError) as error:
            reason = "no answer from DNS" if isinstance(error, TimeoutError) else f"cannot be resolved ({error})"
            hint = "check the name and DNS, or write the address and name="
            raise LinkUnavailable(f"{self.subject}: {self._address.host!r}: {reason} — {hint}") from error

    def harden(self, sock: socket.socket) -> None:
        """Half-open peers are found `user_timeout_s` after the first unacknowledged byte, dead idle ones as well."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, self._user_timeout_ms // 3000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._user_timeout_ms)

    def frame(self, transaction: int, frame: memoryview) -> None:
        """A whole frame came."""
        request = self._request
        if request is None or transaction != self._transaction:
            self.late += 1
            return
        self._request = None
        mbap.tell(self._sink, request, frame)

    def stream_ended(self, stream: "_Stream", error: Exception) -> None:
        """`stream` is closed, by the peer or because it cannot be followed."""
        if stream is not self._stream:
            return
        if isinstance(error, BadFrame):
            lost = LinkLost(f"{self.subject}: the stream cannot be followed any more: {error}")
            lost.__cause__ = error
        elif isinstance(error, ssl.SSLError):
            lost = LinkLost(f"{self.subject}: {handshake_reason(error)}")
        elif isinstance(error, OSError) and error.errno is not None:
            lost = LinkLost(f"{self.subject}: connection lost: {reason_and_hint(error)}")
        elif stream.heard:
            lost = LinkLost(f"{self.subject}: connection closed by the peer")
        else:
            advice = "does the device accept our certificate, and one more connection?"
            lost = LinkLost(f"{self.subject}: connection closed by the peer before it said anything — {advice}")
        self._drop(lost)

    def _drop(self, error: LinkError) -> None:
        self.close()
        self._sink.lost(error)


class _Stream(asyncio.Protocol):
    """One connection: its bytes become frames."""

    def __init__(self, link: TlsLink, trace: Trace | None) -> None:
        self._link = link
        self._trace = trace
        self._transport: asyncio.Transport | None = None
        self._frames = mbap.Frames()
        self.heard = False  #: whether anything came at all
        self.ended: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._link.harden(transport.get_extra_info("socket"))

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or EOFError())

    def data_received(self, data: bytes) -> None:
        if self._trace is not None:
            self._trace("rx", data)
        self.heard = True
        try:
            for transaction, frame in self._frames.feed(data):
                self._link.frame(transaction, frame)
                if self.ended is not None:
                    return  # the link was closed meanwhile
        except BadFrame as error:
            self._end(error)

    @property
    def stuck(self) -> bool:
        """Whether the peer has not even taken the bytes of the last frame into its window."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def transmit(self, frame: bytes) -> None:
        assert self._transport is not None
        if self._trace is not None:
            self._trace("tx", frame)
        self._transport.write(frame)

    def abort(self) -> None:
        """Close at once; nothing is reported any more."""
        self.ended = self.ended or EOFError()
        if self._transport is not None:
            self._transport.abort()

    def _end(self, error: Exception) -> None:
        if self.ended is None:
            self.ended = error
            self._link.stream_ended(self, error)


def _heard(lookup: "asyncio.Task[list[str]]") -> None:
    """Nobody may wait for it any more; its failure is no news then."""
    if not lookup.cancelled():
        lookup.exception()


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]
