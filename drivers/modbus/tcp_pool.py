"""Every TCP connection of the process behind one epoll object, without a task, future or timer per request.

The event loop sees one descriptor, the epoll object's own. When it is readable, all ready sockets are served in one
go: an asyncio transport per socket would cost a handle and a callback per answer. Somebody faster may serve them in
our place (`let`); what he leaves is served here.
"""

import asyncio
import select
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

#: One wake-up serves at most this many sockets, then the event loop's other work gets its turn.
MAX_EVENTS = 1024
_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT
_READ_ONCE = _READ | select.EPOLLET | select.EPOLLRDHUP


class Connection(Protocol):
    """What the pool serves."""

    def readable(self) -> None:
        """Bytes, an end or an error can be received, and nothing else happened."""

    def event(self, events: int) -> None:
        """Any other set of epoll events."""

    def close(self) -> None:
        """Close at once and report nothing."""


#: Serves what is ready on the epoll object of this descriptor; returns (descriptor, events) of what it leaves to us.
Serve = Callable[[int], Iterable[tuple[int, int]]]


class TcpPool:
    """One epoll object for many connections; starts with the first of them, on the running event loop."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: dict[int, Connection] = {}
        self._draining = False
        self._retired: list[socket.socket] = []
        self._serve: Serve | None = None
        self._pause: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Sockets held at the moment."""
        return len(self._connections)

    def start(self) -> asyncio.AbstractEventLoop:
        """Attach to the running event loop, once. Raises OSError when there is no descriptor left for epoll."""
        if self._loop is None:
            loop = asyncio.get_running_loop()
            self._epoll = select.epoll()
            loop.add_reader(self._epoll.fileno(), self._drain)
            self._loop = loop
        return self._loop

    def add(self, sock: socket.socket, connection: Connection, *, write: bool) -> None:
        assert self._epoll is not None
        self._epoll.register(sock, _READ | _WRITE if write else _READ)
        self._connections[sock.fileno()] = connection

    def want_write(self, sock: socket.socket, write: bool) -> None:
        assert self._epoll is not None
        self._epoll.modify(sock, _READ | _WRITE if write else _READ)

    def show_once(self, sock: socket.socket, once: bool) -> None:
        """Whether `sock` is shown once for what arrives, or again until all is taken; what is left by now is shown.

        Once spares the kernel a second look at each socket that was served. The end of the stream is then told with
        what arrived before it: it would not be shown again by itself.
        """
        assert self._epoll is not None
        self._epoll.modify(sock, _READ_ONCE if once else _READ)

    def remove(self, sock: socket.socket) -> None:
        """Close `sock`. Its descriptor stays taken until the drain ends: events already fetched name it by number."""
        if self._connections.pop(sock.fileno(), None) is not None and self._epoll is not None:
            self._epoll.unregister(sock)
        if self._draining:
            self._retired.append(sock)
        else:
            sock.close()

    def let(self, serve: Serve) -> None:
        """From now on `serve` looks at the sockets first."""
        self._serve = serve

    def pause(self, seconds: float) -> None:
        """Look at the sockets only after this: when many answers are on their way, one wake-up then serves a crowd."""
        if self._pause is None and self._loop is not None and self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._pause = self._loop.call_later(seconds, self._resume)

    def close(self) -> None:
        """Close every connection without telling the sinks, then the epoll object."""
        for connection in list(self._connections.values()):
            connection.close()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._loop is not None and self._epoll is not None:
            with suppress(RuntimeError):  # the loop is already closed
                self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        self._loop = self._epoll = None

    def _resume(self) -> None:
        self._pause = None
        try:
            self._drain()
        finally:  # what one connection raised must not deafen the others for ever
            if self._pause is None and self._loop is not None and self._epoll is not None:
                self._loop.add_reader(self._epoll.fileno(), self._drain)

    def _drain(self) -> None:
        assert self._epoll is not None
        connections = self._connections
        self._draining = True
        try:
            ready = self._epoll.poll(0, MAX_EVENTS) if self._serve is None else self._serve(self._epoll.fileno())
            for descriptor, events in ready:
                connection = connections.get(descriptor)
                if connection is None:
                    continue
                if events == _READ:
                    connection.readable()
                else:
                    connection.event(events)
        finally:
            self._draining = False
            for sock in self._retired:
                sock.close()
            self._retired.clear()
