"""A serial server as a wire: the bytes of its line in a TCP stream, without any header."""

from drivers.address import BusAddress
from drivers.errors import LinkError
from drivers.modbus.connection import CONNECT_S
from drivers.modbus.tcp_connection import TcpConnection
from drivers.modbus.tcp_pool import TcpPool
from drivers.wires.base import WireOwner

#: One read takes at most this much; what is left wakes the event loop again.
READ_BYTES = 512


class TcpWire(TcpConnection):
    """One connection to a serial server."""

    __slots__ = ("_owner",)
    remote = True

    def __init__(
        self, pool: TcpPool, address: BusAddress, *, user_timeout_s: float, connect_s: float = CONNECT_S
    ) -> None:
        subject = str(address)
        super().__init__(pool, subject, address.host, address.port, user_timeout_s=user_timeout_s, connect_s=connect_s)
        self._owner: WireOwner | None = None

    def attach(self, owner: WireOwner) -> None:
        self._owner = owner

    def open(self) -> None:
        self.connect()

    def write(self, frame: bytes) -> None:
        self.transmit(frame)

    def rest(self) -> None:
        """Bytes come in segments here, each worth its wake-up."""

    def listen(self) -> None:
        """Always."""

    def waiting_bytes(self) -> bytes:
        assert self._sock is not None
        try:
            return self._sock.recv(READ_BYTES)
        except OSError:
            return b""

    def connected(self) -> None:
        assert self._owner is not None
        self._owner.wire_opened()

    def readable(self) -> None:
        assert self._owner is not None
        if self._sock is None:
            return
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.drop_ended(error)
            return
        if data:
            self._owner.wire_received(data)
        else:
            self.drop_ended(None)

    def gone(self, error: LinkError) -> None:
        assert self._owner is not None
        self._owner.wire_lost(error)
