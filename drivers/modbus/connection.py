"""Names, connecting and the end of one connected socket behind the pool; what the bytes mean is the link's affair."""

import asyncio
import errno
import select
import socket
from typing import Any

from drivers.errors import LinkError, LinkLost, LinkUnavailable
from drivers.modbus.reasons import reason_and_hint
from drivers.modbus.tcp_pool import TcpPool

#: Linux repeats a lost SYN after 1 s and after 3 s: a connection gets the time for both.
CONNECT_S = 4.0

_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT

Address = tuple[int, Any]  # family and what connect() takes


class Connection:
    """Connecting and losing one socket; a subclass makes it and gives the bytes their meaning.

    Names are resolved by the event loop's resolver threads, one question at a time, and the last known addresses
    serve while DNS does not answer.
    """

    __slots__ = (
        "_addresses",
        "_connect_s",
        "_deadline",
        "_host",
        "_lookup",
        "_loop",
        "_numeric",
        "_pool",
        "_port",
        "_remaining",
        "_sock",
        "_unsent",
        "ready",
        "subject",
    )

    def __init__(self, pool: TcpPool, subject: str, host: str, port: int, *, connect_s: float) -> None:
        self._pool = pool
        self.subject = subject
        self._host = host
        self._port = port
        self._connect_s = connect_s
        self._addresses = _numeric(host, port)
        self._numeric = bool(self._addresses)
        self._remaining: list[Address] = []
        self._sock: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lookup: asyncio.Future[list[Address]] | None = None
        self._deadline: asyncio.Handle | None = None
        self._unsent = b""
        self.ready = False  #: connected

    def make_socket(self, family: int) -> socket.socket:
        """A new socket that does not block. Raises OSError."""
        raise NotImplementedError

    def established(self, sock: socket.socket) -> None:
        """`sock` is connected: set what must not be set earlier."""

    def connected(self) -> None:
        """The connection is ready to transmit."""
        raise NotImplementedError

    def readable(self) -> None:
        """Bytes, an end or an error can be received."""
        raise NotImplementedError

    def gone(self, error: LinkError) -> None:
        """The connection is closed, or could not be made."""
        raise NotImplementedError

    def connect(self) -> None:
        """Start connecting. `connected` or `gone` follows, never from inside this call."""
        if self._deadline is not None or self._sock is not None:
            raise RuntimeError(f"{self.subject} is open or opening already")
        loop = self._loop = asyncio.get_running_loop()
        if self._numeric:
            self._remaining = list(self._addresses)
            self._deadline = loop.call_soon(self._connect_next, None)
            return
        self._deadline = loop.call_later(self._connect_s, self._lookup_expired)
        if self._lookup is None:
            self._lookup = asyncio.ensure_future(_resolve(loop, self._host, self._port))
            self._lookup.add_done_callback(self._resolved)

    def disconnect(self) -> None:
        """Close at once; nothing is reported any more."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._sock is not None:
            self._pool.remove(self._sock)
            self._sock = None
        self._unsent = b""
        self.ready = False

    def close(self) -> None:
        self.disconnect()  # a lookup goes on: its thread could not be stopped, and its answer is of use later

    def transmit(self, frame: bytes) -> None:
        """Send `frame`, now or as the socket takes it. Never calls back from inside: a failure is reported later."""
        assert self._sock is not None
        assert self._loop is not None
        if self._unsent:
            self._loop.call_soon(self._failed_send, self._sock, OSError(errno.ENOBUFS, ""))
            return
        try:
            sent = self._sock.send(frame)
        except OSError as error:
            self.transmitted(frame, error)
        else:
            if sent < len(frame):
                self.transmitted(frame, sent)

    def transmitted(self, frame: bytes, outcome: int | OSError) -> None:
        """What came of sending `frame`: the bytes that went, or why none did. The rest goes as the socket takes it."""
        assert self._sock is not None
        assert self._loop is not None
        if isinstance(outcome, OSError):
            if not isinstance(outcome, BlockingIOError):
                self._loop.call_soon(self._failed_send, self._sock, outcome)
                return
            outcome = 0
        self._unsent = frame[outcome:]
        if self._unsent:
            self._pool.want_write(self._sock, True)

    @property
    def stuck(self) -> bool:
        """Whether the peer has not even taken the bytes of the last frame into its window."""
        return bool(self._unsent)

    def drop(self, error: LinkError) -> None:
        """Close and report."""
        self.disconnect()
        self.gone(error)

    def drop_ended(self, error: OSError | None) -> None:
        """Close and report the end of the stream, or `error` where the kernel names one."""
        if error is None:
            self.drop(LinkLost(f"{self.subject}: connection closed by the peer"))
        else:
            self.drop(LinkLost(f"{self.subject}: connection lost: {reason_and_hint(error)}"))

    def event(self, events: int) -> None:
        """Anything but plain readable: connected, room to send, hang-up."""
        sock = self._sock
        if sock is None:
            return
        if not self.ready:
            self._connect_done(sock)
            return
        if events & _WRITE:
            self._send_rest(sock)
        if self._sock is sock and events & ~_WRITE:
            if events & _READ:
                self.readable()
            else:
                self.drop_ended(_pending_error(sock))

    def _send_rest(self, sock: socket.socket) -> None:
        try:
            self._unsent = self._unsent[sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            self.drop_ended(error)
            return
        if not self._unsent:
            self._pool.want_write(sock, False)

    def _failed_send(self, sock: socket.socket, error: OSError) -> None:
        if self._sock is sock:
            self.drop_ended(error)

    def _resolved(self, lookup: "asyncio.Future[list[Address]]") -> None:
        self._lookup = None
        if lookup.cancelled():
            return
        error = lookup.exception()
        if error is None:
            self._addresses = lookup.result()
        if self._deadline is None or self._sock is not None:
            return
        if not self._addresses:
            self._deadline.cancel()
            self._deadline = None
            reason = f"cannot resolve {self._host!r} ({error})"
            self.gone(LinkUnavailable(f"{self.subject}: {reason} — check the name and DNS, or write the address"))
            return
        self._remaining = list(self._addresses)
        self._connect_next(None)

    def _lookup_expired(self) -> None:
        self._deadline = None
        if self._addresses:
            self._remaining = list(self._addresses)
            self._connect_next(None)
            return
        reason = f"no answer from DNS for {self._host!r} within {self._connect_s:g} s"
        self.gone(LinkUnavailable(f"{self.subject}: {reason} — write the address instead of the name"))

    def _connect_next(self, last: OSError | None) -> None:
        """Try the remaining addresses in turn; when none is left, report the last error."""
        loop = self._loop
        assert loop is not None
        self.disconnect()
        while self._remaining:
            family, target = self._remaining.pop(0)
            try:
                self._pool.start()
                self._sock = sock = self.make_socket(family)
                self._pool.add(sock, self, write=True)
                sock.connect(target)
            except BlockingIOError:
                pass
            except OSError as error:
                last = error
                self.disconnect()
                continue
            self._deadline = loop.call_later(self._connect_s, self._connect_next, TimeoutError())
            return
        self.gone(_unavailable(self.subject, last, self._connect_s))

    def _connect_done(self, sock: socket.socket) -> None:
        error = _pending_error(sock)
        if error is not None:
            self._connect_next(error)
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._pool.want_write(sock, False)
        self.established(sock)
        self.ready = True
        self.connected()


def _numeric(host: str, port: int) -> list[Address]:
    """The address of a numeric host, without asking anybody; empty for a name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [(family, address) for family, _, _, _, address in found]


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Address]:
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _pending_error(sock: socket.socket) -> OSError | None:
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, "") if number else None


def _unavailable(subject: str, error: OSError | None, connect_s: float) -> LinkUnavailable:
    if error is None or error.errno is None:
        advice = "is the device on, the address right, a firewall between?"
        return LinkUnavailable(f"{subject}: no answer to the connection request within {connect_s:g} s — {advice}")
    return LinkUnavailable(f"{subject}: cannot connect: {reason_and_hint(error)}")
