"""Links from addresses."""

import time
from collections.abc import Callable

from drivers.address import BusAddress, speaking
from drivers.base import Link, Sink
from drivers.modbus.connection import CONNECT_S
from drivers.modbus.link_ascii import AsciiLink
from drivers.modbus.link_channel import ChannelConnection
from drivers.modbus.link_rtu import RtuLink
from drivers.modbus.link_tcp import TcpLink, TracedTcpLink
from drivers.modbus.link_tls import TlsLink
from drivers.modbus.link_udp import UdpLink
from drivers.modbus.tcp_pool import TcpPool
from drivers.text.link import TextLink
from drivers.wires.alarm import Alarms
from drivers.wires.base import Trace, Wire
from drivers.wires.serial_port import SerialWire
from drivers.wires.tcp_stream import TcpWire

#: A device may acknowledge late when it is busy, and one lost segment costs 0.2 s and more: never cut before this.
MIN_USER_TIMEOUT_S = 1.0
#: A unit that missed its deadline may still answer for as long again, twice; slow units (flash, display) need seconds.
LATE_FACTOR = 2.0
MIN_LATE_S = 1.0
#: Behind a serial server an answer may also wait for a lost segment: four repetitions take 3 s, with room 5 s.
MIN_LATE_REMOTE_S = 5.0


class Links:
    """Makes links and owns what they share. One per event loop; `mono` is the monotonic clock, in seconds."""

    def __init__(self, mono: Callable[[], float] = time.monotonic) -> None:
        self._mono = mono
        self._pool = TcpPool()
        self._alarms = Alarms(mono)
        self._shared: dict[BusAddress, ChannelConnection] = {}

    @property
    def pool(self) -> TcpPool:
        """What the TCP connections share."""
        return self._pool

    def create(
        self,
        address: BusAddress,
        sink: Sink,
        *,
        timeout_s: float,
        late_s: float | None = None,
        trace: Trace | None = None,
    ) -> Link:
        """A closed link to `address` that reports to `sink`.

        `timeout_s` is the owner's longest deadline: a peer that acknowledges nothing for twice as long is gone.
        `late_s`: on a line without transaction ids, how long after a missed deadline an answer may still come.
        `trace` is called with "tx" or "rx" and the bytes on the wire.
        """
        user_timeout_s = max(MIN_USER_TIMEOUT_S, 2 * timeout_s)
        if address.text is None and address.kind == "raw+tcp":
            speaking(address, ())  # raises: what would be spoken there?
        if address.kind == "tls+tcp":
            return TlsLink(address, sink, user_timeout_s=user_timeout_s, trace=trace)
        if address.kind == "udp":
            return UdpLink(self._pool, address, sink, trace=trace)
        if address.pipeline > 1 and trace is None:
            return self._channels(address, user_timeout_s).channel(sink)
        if address.kind == "tcp" and trace is not None:
            return TracedTcpLink(self._pool, address, sink, user_timeout_s=user_timeout_s, trace=trace)
        if address.kind == "tcp":
            return TcpLink(self._pool, address, sink, user_timeout_s=user_timeout_s)
        wire: Wire
        if address.is_port:
            wire, least_s = SerialWire(address), MIN_LATE_S
        else:
            wire, least_s = TcpWire(self._pool, address, user_timeout_s=user_timeout_s), MIN_LATE_REMOTE_S
        if late_s is None:
            late_s = max(least_s, LATE_FACTOR * timeout_s)
        return self._on_wire(wire, address, sink, timeout_s, late_s, trace)

    def _on_wire(
        self, wire: Wire, address: BusAddress, sink: Sink, timeout_s: float, late_s: float, trace: Trace | None
    ) -> Link:
        """The link that speaks what is spoken at `address`."""
        if address.text is not None or address.is_ascii:
            return (TextLink if address.text is not None else AsciiLink)(
                wire,
                sink,
                address,
                timeout_s=timeout_s,
                late_s=late_s,
                mono=self._mono,
                trace=trace,
            )
        return RtuLink(
            wire,
            sink,
            baud=address.baud,
            character_s=address.character_s,
            pause_s=address.pause_s,
            timeout_s=timeout_s,
            late_s=late_s,
            mono=self._mono,
            alarms=self._alarms,
            trace=trace,
        )

    def _channels(self, address: BusAddress, user_timeout_s: float) -> ChannelConnection:
        """The one connection to `address`, whoever of its channels is first."""
        if address not in self._shared:
            self._shared[address] = ChannelConnection(
                self._pool, address, user_timeout_s=user_timeout_s, connect_s=CONNECT_S
            )
        return self._shared[address]

    def close(self) -> None:
        """Close every TCP connection and stop the clock of the serial lines; the sinks are not called any more."""
        self._pool.close()
        self._alarms.close()
