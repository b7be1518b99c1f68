"""Several units of a Modbus TCP gateway asked at the same time over one connection.

Each channel is a link with one question in flight, so a unit never has two, and its owner is like any other. What came
of a question is known by its transaction id alone: answers may come in any order, late, twice or never.
"""

import asyncio

from drivers.address import BusAddress
from drivers.base import LinkCost, Request, Sink
from drivers.errors import BadFrame, LinkError, LinkLost
from drivers.modbus import mbap
from drivers.modbus.link_tcp import TCP_COST
from drivers.modbus.tcp_connection import TcpConnection
from drivers.modbus.tcp_pool import TcpPool

RECEIVE_BYTES = 4096


class ChannelLink:
    """One question at a time over the connection it shares."""

    cost: LinkCost = TCP_COST

    def __init__(self, connection: "ChannelConnection", sink: Sink) -> None:
        self._connection = connection
        self.sink = sink
        self.request: Request | None = None
        self.transaction = -1
        self.is_open = False

    @property
    def late(self) -> int:
        return self._connection.late if self._connection.first is self else 0

    def open(self) -> None:
        self._connection.join(self)

    def send(self, request: Request) -> None:
        if self.request is not None or not self.is_open:
            state = "busy" if self.is_open else "closed"
            raise RuntimeError(f"{self._connection.subject}: send while {state}")
        self._connection.ask(self, request)

    def expire(self) -> None:
        self._connection.forget(self)
        self._connection.drop_if_stuck()

    def ready_at(self, unit: int) -> float:
        return 0.0

    def close(self) -> None:
        self._connection.leave(self)


class ChannelConnection(TcpConnection):
    """The connection of all channels to one host:port; open while one of them wants it to be."""

    __slots__ = ("_asked", "_frames", "_members", "_transaction", "first", "late")

    def __init__(self, pool: TcpPool, address: BusAddress, *, user_timeout_s: float, connect_s: float) -> None:
        subject = str(address)
        super().__init__(pool, subject, address.host, address.port, user_timeout_s=user_timeout_s, connect_s=connect_s)
        self.first: ChannelLink | None = None  #: tells of what belongs to no channel
        self.late = 0
        self._members: list[ChannelLink] = []  # who want it to be open
        self._asked: dict[int, ChannelLink] = {}  # transaction id → who waits for its answer
        self._transaction = 0
        self._frames = mbap.Frames()

    def channel(self, sink: Sink) -> ChannelLink:
        """A closed link of its own over this connection."""
        made = ChannelLink(self, sink)
        self.first = self.first or made
        return made

    def join(self, channel: ChannelLink) -> None:
        """`channel` wants to be open; it hears of the outcome, never from inside this call."""
        if channel in self._members:
            raise RuntimeError(f"{self.subject} is open or opening already")
        self._members.append(channel)
        if self.ready:
            asyncio.get_running_loop().call_soon(self._welcome, channel)
        elif len(self._members) == 1:
            self.connect()

    def leave(self, channel: ChannelLink) -> None:
        """`channel` is closed and hears nothing more."""
        self.forget(channel)
        channel.is_open = False
        if channel in self._members:
            self._members.remove(channel)
            if not self._members:
                self.disconnect()

    def ask(self, channel: ChannelLink, request: Request) -> None:
        question, _, _ = mbap.template(request)
        self._transaction = (self._transaction + 1) & 0xFFFF
        while self._transaction in self._asked:
            self._transaction = (self._transaction + 1) & 0xFFFF
        self._asked[self._transaction] = channel
        channel.request, channel.transaction = request, self._transaction
        frame = self._transaction.to_bytes(2, "big") + question
        if self.stuck:
            self._unsent += frame  # behind what the peer has not taken yet: one frame per channel at most
        else:
            self.transmit(frame)

    def forget(self, channel: ChannelLink) -> None:
        """Whatever `channel` waits for comes too late now."""
        if channel.request is not None:
            channel.request = None
            del self._asked[channel.transaction]

    def drop_if_stuck(self) -> None:
        if self.stuck:
            self.drop(LinkLost(f"{self.subject}: the peer takes no more bytes"))

    def connected(self) -> None:
        self._frames = mbap.Frames()
        for channel in list(self._members):
            self._welcome(channel)

    def _welcome(self, channel: ChannelLink) -> None:
        if self.ready and channel in self._members and not channel.is_open:
            channel.is_open = True
            channel.sink.opened()

    def gone(self, error: LinkError) -> None:
        members, self._members = self._members, []
        for channel in members:
            self.forget(channel)
            channel.is_open = False
        for channel in members:
            channel.sink.lost(error)

    def readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            data = sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.drop_ended(error)
            return
        if not data:
            self.drop_ended(None)
            return
        try:
            for transaction, frame in self._frames.feed(data):
                self._serve(transaction, frame)
                if self._sock is not sock:
                    return  # a sink has closed the last channel, and may have opened one again
        except BadFrame as error:
            lost = LinkLost(f"{self.subject}: the stream cannot be followed any more: {error}")
            lost.__cause__ = error
            self.drop(lost)

    def _serve(self, transaction: int, frame: memoryview) -> None:
        channel = self._asked.pop(transaction, None)
        if channel is None or channel.request is None:
            self.late += 1
            return
        request, channel.request = channel.request, None
        mbap.tell(channel.sink, request, frame)
