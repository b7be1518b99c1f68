"""A line with a text protocol on any wire: a serial port, or a serial server behind TCP."""

import asyncio
from collections.abc import Callable, Sequence

from drivers.address import BusAddress, TextLine
from drivers.base import Sink
from drivers.text.command import Command
from drivers.text.exchange import TextExchange
from drivers.text.listener import Heard, Listener
from drivers.text.plan import text_cost
from drivers.wires.base import Trace, Wire
from drivers.wires.line import LineLink, Outcome

#: After bytes came, the wire rests for so long: how long a text will be is not known, and each byte that wakes the
#: process costs more than all the work on the frame. Less than a tenth of what a device takes to answer.
REST_S = 0.005


class TextLink(LineLink[Command]):
    """One line. `timeout_s`: the longest of its owner; `late_s`: for so long after it an answer may still come."""

    _exchange: TextExchange

    def __init__(
        self,
        wire: Wire,
        sink: Sink,
        address: BusAddress,
        *,
        timeout_s: float,
        late_s: float,
        mono: Callable[[], float],
        trace: Trace | None = None,
    ) -> None:
        line = address.text or TextLine("")
        exchange = TextExchange(
            gap_s=line.gap_s + address.pause_s,
            timeout_s=timeout_s,
            late_s=late_s,
            character_s=address.character_s,
        )
        super().__init__(wire, sink, exchange, mono, trace)
        self.cost = text_cost(address)
        self._settle_s = line.settle_s
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._resting: asyncio.TimerHandle | None = None
        self._listener: Listener | None = None
        self._tell_to: Callable[[Command, memoryview], None] = lambda command, data: None

    @property
    def strays(self) -> int:
        """Bytes received that belonged to no frame."""
        return self._exchange.strays if self._listener is None else self._listener.unread

    def listen(self, commands: Sequence[Command], heard: Callable[[Command, memoryview], None]) -> None:
        """Tell `heard` whatever the devices say of `commands` by themselves: the register image, valid only during
        the call. Beside questions, and until other commands are given. `heard` must not raise and must not block.
        """
        self._listener = Listener(commands)
        self._tell_to = heard
        if self._open:
            self._listener.join(self._mono())
            self._arm()

    def wire_opened(self) -> None:
        if not self._settle_s:
            super().wire_opened()
            return
        self._heard = False
        # A device may start up with the port: its power comes from DTR and RTS.
        self._timer = asyncio.get_running_loop().call_later(self._settle_s, self._opened)

    def wire_received(self, data: bytes) -> None:
        super().wire_received(data)
        if self._open and self._resting is None and not self._wire.remote:
            self._wire.rest()
            self._resting = asyncio.get_running_loop().call_later(REST_S, self._rested)

    def _opened(self) -> None:
        self._timer = None
        if self._listener is not None:
            self._listener.join(self._mono())
        super()._opened()
        self._arm()

    def _received(self, data: bytes, now: float) -> Outcome:
        if self._listener is not None:
            self._tell(self._listener.received(data, now))
        return self._exchange.received(data, now)

    def _rested(self) -> None:
        self._resting = None
        self._wire.listen()

    def _tell(self, heard: list[Heard]) -> None:
        for command, image in heard:
            self._tell_to(command, memoryview(image))

    def _step(self) -> None:
        """Do what is due: transmit after the gap, or judge the silence; then wait for the next."""
        self._cancel_timer()
        exchange, now = self._exchange, self._mono()
        if self._listener is not None and (quiet_at := self._listener.next_at()) is not None and quiet_at <= now:
            self._tell(self._listener.silence(now))
        at = exchange.next_at()
        if at is not None and at <= now:
            if not exchange.waiting:
                self._report(exchange.silence(now))
            elif stale := self._wire.waiting_bytes():
                self.wire_received(stale)
            else:
                self._transmit(now)
        self._arm()

    def _arm(self) -> None:
        """Wake up for the next step. A timer that is set too early finds nothing due and is set again."""
        at = self._next_at()
        if at is None or not self._open:
            return
        if self._timer is not None:
            if self._wake_at <= at:
                return
            self._cancel_timer()
        self._wake_at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - self._mono()), self._step)

    def _next_at(self) -> float | None:
        """When something is due next; None: only bytes can change anything."""
        ends = [self._exchange.next_at(), None if self._listener is None else self._listener.next_at()]
        return min((at for at in ends if at is not None), default=None)

    def _disarm(self) -> None:
        self._cancel_timer()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
