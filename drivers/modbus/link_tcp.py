"""Modbus TCP: one connection, one request in flight, answers known by their transaction id."""

import socket
from collections.abc import Callable
from contextlib import suppress

from drivers.address import BusAddress
from drivers.base import LinkCost, Request, Sink
from drivers.errors import BadFrame, LinkError, LinkLost
from drivers.modbus import mbap
from drivers.modbus.connection import CONNECT_S
from drivers.modbus.tcp_connection import TcpConnection
from drivers.modbus.tcp_pool import TcpPool

#: Room for the longest frame and the begin of the next; what does not fit waits in the kernel.
BUFFER_BYTES = 512
#: A round trip to a small device on a plant network, and its own copying of a register, as the planner takes them.
TCP_COST = LinkCost(fixed_s=0.002, register_s=18e-6)

#: No answer can have this length: the fast path is closed while nothing is in flight.
_NOTHING = -1


class TcpLink(TcpConnection):
    """One host:port. `user_timeout_s` is how long sent bytes may stay unacknowledged until the peer counts as gone."""

    __slots__ = (
        "_buffer",
        "_filled",
        "_head",
        "_lent",
        "_request",
        "_sink",
        "_transaction",
        "_view",
        "_whole",
        "cost",
        "late",
    )

    def __init__(
        self, pool: TcpPool, address: BusAddress, sink: Sink, *, user_timeout_s: float, connect_s: float = CONNECT_S
    ) -> None:
        subject = str(address)
        super().__init__(pool, subject, address.host, address.port, user_timeout_s=user_timeout_s, connect_s=connect_s)
        self.cost = TCP_COST
        self.late = 0
        self._sink = sink
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._transaction = 0
        self._request: Request | None = None
        self._head = b""  # the good answer in flight begins with these nine bytes
        self._whole = _NOTHING  # and has this length
        self._lent = False

    def open(self) -> None:
        self.connect()

    def send(self, request: Request) -> None:
        if self._request is not None or self._lent or not self.ready:
            raise RuntimeError(f"{self.subject}: send while {'busy' if self.ready else 'closed'}")
        self.transmit(self._expect(request, (self._transaction + 1) & 0xFFFF))

    def _expect(self, request: Request, transaction: int) -> bytes:
        """From now on the answer to `request` is waited for; its frame."""
        question, head, self._whole = mbap.template(request)
        self._transaction = transaction
        stamp = transaction.to_bytes(2, "big")
        self._head = stamp + head
        self._request = request
        return stamp + question

    def lend(self) -> tuple[int, int] | None:
        """(descriptor, last transaction id) for somebody who sends and receives in our place until `returned`.

        None unless the connection is idle, with no byte left over in either direction. The pool shows the socket once
        for what arrives: whoever does not take all of it in one go has to return the connection.
        """
        if self._sock is None or not self.ready or self._request is not None or self._filled or self.stuck:
            return None
        self._lent = True
        self._pool.show_once(self._sock, True)
        return self._sock.fileno(), self._transaction

    def returned(self, request: Request | None, transaction: int) -> bytes:
        """Serve the connection again; `request`, if any, was sent in our place as `transaction`. Its frame."""
        self._lent = False
        self._transaction = transaction
        if self._sock is not None:
            self._pool.show_once(self._sock, False)
        return b"" if request is None else self._expect(request, transaction)

    def received(self, outcome: bytes | OSError) -> None:
        """What was received in our place: bytes (none: the end), or why there are none."""
        if isinstance(outcome, OSError):
            if not isinstance(outcome, BlockingIOError):
                self.drop_ended(outcome)
        elif outcome:
            self._buffer[: len(outcome)] = outcome
            self._take_apart(len(outcome))
        else:
            self.drop_ended(None)

    def expire(self) -> None:
        self._request = None
        self._whole = _NOTHING
        if self.stuck:
            self.drop(LinkLost(f"{self.subject}: the peer takes no more bytes"))

    def ready_at(self, unit: int) -> float:
        return 0.0

    def connected(self) -> None:
        self._filled = 0
        self._sink.opened()

    def disconnect(self) -> None:
        super().disconnect()
        self._lent = False
        self._request = None
        self._whole = _NOTHING

    def gone(self, error: LinkError) -> None:
        self._sink.lost(error)

    def readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        filled = self._filled
        try:
            received = sock.recv_into(self._view[filled:] if filled else self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self.drop_ended(error)
            return
        if received == self._whole and not filled and self._buffer.startswith(self._head):
            self._request = None
            self._whole = _NOTHING
            self._sink.answered(self._view[9:received])
        elif received == 0:
            self.drop_ended(None)
        else:
            self._take_apart(filled + received)

    def _take_apart(self, end: int) -> None:
        """Serve every whole frame in the buffer and keep the rest of it for the next bytes."""
        sock, start = self._sock, 0
        while self._sock is sock:  # a sink may close the link, and even open it again
            try:
                frame = mbap.split(self._buffer, start, end)
            except BadFrame as error:
                lost = LinkLost(f"{self.subject}: the stream cannot be followed any more: {error}")
                lost.__cause__ = error
                self.drop(lost)
                return
            if frame is None:
                self._buffer[: end - start] = self._buffer[start:end]
                self._filled = end - start
                return
            transaction, size = frame
            self._filled = end - start - size  # behind this frame: the line must not be lent with them
            self._serve(transaction, self._view[start : start + size])
            start += size

    def _serve(self, transaction: int, frame: memoryview) -> None:
        request = self._request
        if request is None or transaction != self._transaction:
            self.late += 1
            return
        self._request = None
        self._whole = _NOTHING
        mbap.tell(self._sink, request, frame)


class TracedTcpLink(TcpLink):
    """A link that shows its bytes to `trace`, called with "tx" or "rx"; for technicians, it costs a second recv."""

    __slots__ = ("_trace",)

    def __init__(
        self,
        pool: TcpPool,
        address: BusAddress,
        sink: Sink,
        *,
        user_timeout_s: float,
        trace: Callable[[str, bytes], None],
    ) -> None:
        super().__init__(pool, address, sink, user_timeout_s=user_timeout_s)
        self._trace = trace

    def transmit(self, frame: bytes) -> None:
        self._trace("tx", frame)
        super().transmit(frame)

    def readable(self) -> None:
        if self._sock is not None:
            with suppress(OSError):
                self._trace("rx", self._sock.recv(BUFFER_BYTES - self._filled, socket.MSG_PEEK))
        super().readable()
