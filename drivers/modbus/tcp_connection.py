"""One TCP connection: half-open peers are found, idle ones kept."""

import socket

from drivers.modbus.connection import Connection
from drivers.modbus.tcp_pool import TcpPool

#: An idle connection is probed after this long, so that a NAT or firewall keeps it and a dead peer is noticed.
KEEPALIVE_S = 30


class TcpConnection(Connection):
    """A half-open peer is found `user_timeout_s` after the first unacknowledged byte."""

    __slots__ = ("_user_timeout_ms",)

    def __init__(
        self, pool: TcpPool, subject: str, host: str, port: int, *, user_timeout_s: float, connect_s: float
    ) -> None:
        super().__init__(pool, subject, host, port, connect_s=connect_s)
        self._user_timeout_ms = max(1, round(user_timeout_s * 1000))

    def make_socket(self, family: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, self._user_timeout_ms // 3000))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        except OSError:
            sock.close()
            raise
        return sock

    def established(self, sock: socket.socket) -> None:
        # only now: it would also shorten the time a connection request gets
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._user_timeout_ms)
