"""paho's socket on the event loop: when to read, to write, to rest, and keep-alive."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client

#: Packets decoded per turn of the loop while a TLS record holds more of them; others get their turn between.
READ_BURST = 64
#: How often keep-alive is looked after, seconds; keep-alive itself is at least 5 s.
BEAT_S = 1.0


class SocketDriver:
    """Drives one paho client through one connection; `failed` gets what paho raises while it is driven.

    paho opens its socket in a connect thread and calls back from there; everything else happens in the loop.
    It holds a lock during its callbacks: `close` must not be called from inside one.
    """

    def __init__(self, paho: Client, failed: Callable[[Exception], None]) -> None:
        self._paho = paho
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._paused = False
        self._ended = False
        self._beat: asyncio.TimerHandle | None = None
        paho.on_socket_open = self._opened
        paho.on_socket_close = self._closes
        paho.on_socket_register_write = self._wants_write

    def pause(self) -> None:
        """Stop reading. Keep-alive goes on."""
        self._paused = True
        self._watch()

    def resume(self) -> None:
        self._paused = False
        self._paho._ping_t = 0.0  # the answer to a ping sent meanwhile stands behind the unread messages
        self._watch()
        self._loop.call_soon(self._read)  # a TLS record may hold packets that the selector knows nothing of

    def end(self) -> None:
        """Drive no more; the socket is closed in the loop's next turn."""
        if not self._ended:
            self._ended = True
            if self._beat is not None:
                self._beat.cancel()
            self._loop.call_soon(self.close)

    def close(self) -> None:
        self._paho._sock_close()

    def _opened(self, _client: Any, _data: Any, sock: Any) -> None:
        if self._ended:  # given up while the connect thread was still at it
            sock.close()
            raise ConnectionAbortedError("given up")
        self._loop.call_soon_threadsafe(self._begin, sock)

    def _closes(self, _client: Any, _data: Any, sock: Any) -> None:
        self._loop.remove_reader(sock.fileno())

    def _wants_write(self, _client: Any, _data: Any, sock: Any) -> None:
        if threading.get_ident() == self._thread:
            self._write_when_ready(sock)
        else:
            self._loop.call_soon_threadsafe(self._write_when_ready, sock)

    def _begin(self, sock: Any) -> None:
        if self._paho.socket() is sock:
            self._watch()
            self._beat = self._loop.call_later(BEAT_S, self._keep_alive)

    def _write_when_ready(self, sock: Any) -> None:
        number = sock.fileno()
        if self._paho.socket() is sock:  # else closed since, and its number may be another's by now
            self._loop.add_writer(number, self._drive, self._paho.loop_write)

    def _watch(self) -> None:
        sock = self._paho.socket()
        if sock is None:
            return
        if self._paused:
            self._loop.remove_reader(sock.fileno())
        else:
            self._loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        for _ in range(READ_BURST):
            if self._paused or self._ended:
                return
            self._drive(self._paho.loop_read)
            sock = self._paho.socket()
            if not isinstance(sock, ssl.SSLSocket) or not sock.pending():
                return
        self._loop.call_soon(self._read)

    def _keep_alive(self) -> None:
        if self._ended:
            return
        if self._paused:
            self._paho._ping_t = 0.0  # not reading on purpose: a missing PINGRESP says nothing
        self._drive(self._paho.loop_misc)
        self._beat = self._loop.call_later(BEAT_S, self._keep_alive)

    def _drive(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:
            self._failed(error)
