"""A serial server as the wire of an RtuLink: RTU frames in a TCP stream, without any header."""

from drivers.address import BusAddress
from drivers.errors import LinkError
from drivers.modbus.link_rtu import RtuLink
from drivers.modbus.rtu import MAX_BUFFER
from drivers.modbus.tcp_connection import CONNECT_S, TcpConnection
from drivers.modbus.tcp_pool import TcpPool


class RtuTcpWire(TcpConnection):
    """One connection to a serial server."""

    __slots__ = ("_link",)
    remote = True

    def __init__(
        self, pool: TcpPool, address: BusAddress, *, user_timeout_s: float, connect_s: float = CONNECT_S
    ) -> None:
        subject = str(address)
        super().__init__(pool, subject, address.host, address.port, user_timeout_s=user_timeout_s, connect_s=connect_s)
        self._link: RtuLink | None = None

    def attach(self, link: RtuLink) -> None:
        self._link = link

    def open(self) -> None:
        self.connect()

    def write(self, frame: bytes, earliest_s: float) -> None:
        self.transmit(frame)

    def waiting_bytes(self) -> bytes:
        assert self._sock is not None
        try:
            return self._sock.recv(MAX_BUFFER)
        except OSError:
            return b""

    def connected(self) -> None:
        assert self._link is not None
        self._link.wire_opened()

    def readable(self) -> None:
        assert self._link is not None
        if self._sock is None:
            return
        try:
            data = self._sock.recv(MAX_BUFFER)
        except BlockingIOError:
            return
        except OSError as error:
            self.drop_ended(error)
            return
        if data:
            self._link.wire_received(data)
        else:
            self.drop_ended(None)

    def gone(self, error: LinkError) -> None:
        assert self._link is not None
        self._link.wire_lost(error)
