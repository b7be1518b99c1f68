"""Modbus over UDP: the frames of Modbus TCP, one per datagram; one question in flight, answers known by their
transaction id.

The socket is connected, so the kernel hands on only what comes from the address that was asked, and tells when nothing
listens there. Datagrams get lost, doubled and reordered: a lost one is a missed deadline, and whatever does not carry
the id of the question in flight is thrown away. When to ask again is the owner's to say.

A datagram socket always opens. So that a host without a listener does not seem to come back at each attempt, what was
refused last is asked again while opening: the link is open when anything comes back, or nothing for KNOCK_S.
"""

import asyncio
import random
import socket

from drivers.address import BusAddress
from drivers.base import LinkCost, Request, Sink
from drivers.errors import BadFrame, LinkError, LinkLost, LinkUnavailable
from drivers.modbus import mbap
from drivers.modbus.connection import CONNECT_S, Connection
from drivers.modbus.link_tcp import TCP_COST
from drivers.modbus.reasons import reason_and_hint
from drivers.modbus.tcp_pool import TcpPool
from drivers.wires.base import Trace

#: Room for more than the longest frame: what fills it is none.
RECEIVE_BYTES = 512
#: Longer than Linux looks for a host on its own network (three times 1 s) before it says that there is none.
KNOCK_S = CONNECT_S
#: linux/in.h and in6.h; not in Python's socket. Without it "no such host" is not reported, only "nothing listens".
_RECEIVE_ERRORS: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),
}


class UdpLink(Connection):
    """One host:port. That it is open proves nothing unless it was refused before."""

    __slots__ = (
        "_heard",
        "_knock",
        "_question",
        "_refused",
        "_request",
        "_sink",
        "_trace",
        "_transaction",
        "cost",
        "late",
    )

    def __init__(self, pool: TcpPool, address: BusAddress, sink: Sink, *, trace: Trace | None = None) -> None:
        super().__init__(pool, str(address), address.host, address.port, connect_s=CONNECT_S)
        self.cost: LinkCost = TCP_COST
        self.late = 0
        self._sink = sink
        self._trace = trace
        self._heard = False  # any datagram since the link was opened
        self._request: Request | None = None
        self._question = b""  # the last one, without its transaction id
        self._refused = False  # and nothing was heard since
        self._knock: asyncio.TimerHandle | None = None
        # not from 0: an answer to the process before us may find us under the same port
        self._transaction = random.getrandbits(16)

    def open(self) -> None:
        self.connect()

    def send(self, request: Request) -> None:
        if self._request is not None or not self.ready or self._knock is not None:
            raise RuntimeError(f"{self.subject}: send while {'busy' if self._request is not None else 'closed'}")
        self._question, _, _ = mbap.template(request)
        self._request = request
        self._ask()

    def _ask(self) -> None:
        self._transaction = (self._transaction + 1) & 0xFFFF
        frame = self._transaction.to_bytes(2, "big") + self._question
        if self._trace is not None:
            self._trace("tx", frame)
        self.transmit(frame)

    def expire(self) -> None:
        self._request = None
        if self.stuck:
            self.drop(LinkLost(f"{self.subject}: the network takes no more datagrams"))

    def ready_at(self, unit: int) -> float:
        return 0.0

    def make_socket(self, family: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(*_RECEIVE_ERRORS[family], 1)
        except OSError:
            sock.close()
            raise
        return sock

    def connected(self) -> None:
        self._heard = False
        if not self._refused:
            self._sink.opened()
            return
        self._knock = asyncio.get_running_loop().call_later(KNOCK_S, self._welcome)
        self._ask()

    def _welcome(self) -> None:
        """Nobody refuses any more."""
        if self._knock is not None:
            self._knock.cancel()
            self._knock = None
        self._refused = False
        self._sink.opened()

    def disconnect(self) -> None:
        super().disconnect()
        self._request = None
        if self._knock is not None:
            self._knock.cancel()
            self._knock = None

    def gone(self, error: LinkError) -> None:
        self._sink.lost(error)

    def drop_ended(self, error: OSError | None) -> None:
        """The network reports that what was sent did not arrive."""
        self._refused = bool(self._question)
        reason = "the network reports an error" if error is None else reason_and_hint(error)
        if self._heard:
            self.drop(LinkLost(f"{self.subject}: cannot be reached any more: {reason}"))
        else:
            self.drop(LinkUnavailable(f"{self.subject}: cannot be reached: {reason}"))

    def readable(self) -> None:
        if self._sock is None:
            return
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.drop_ended(error)
            return
        if self._trace is not None:
            self._trace("rx", data)
        self._heard = True
        if self._knock is not None:
            self._welcome()
        else:
            self._take(data)

    def _take(self, datagram: bytes) -> None:
        request = self._request
        try:
            transaction, frame = mbap.whole(datagram)
        except BadFrame as error:
            if request is None:
                self.late += 1
                return
            self._request = None
            self._sink.failed(error)
            return
        if request is None or transaction != self._transaction:
            self.late += 1
            return
        self._request = None
        mbap.tell(self._sink, request, frame)
