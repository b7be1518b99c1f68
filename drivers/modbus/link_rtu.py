"""Modbus RTU on any wire: a serial port, or through a serial server."""

from collections.abc import Callable

from drivers.base import LinkCost, Request, Sink
from drivers.modbus.rtu import QUESTION_BYTES
from drivers.modbus.rtu_exchange import RtuExchange, gap_s
from drivers.wires.alarm import Alarms
from drivers.wires.base import Trace, Wire
from drivers.wires.line import LineLink, Outcome

#: The alarm for a question rings this much before it may leave: to come from there to the question takes about as long.
PREPARE_S = 0.000_05
#: A good answer is this much longer than its data: unit, function, byte count, CRC.
_ANSWER_OVERHEAD = 5


class RtuLink(LineLink[Request]):
    """One RTU line. `character_s` is the time of one character on it; see RtuExchange for the other times."""

    _exchange: RtuExchange

    def __init__(
        self,
        wire: Wire,
        sink: Sink,
        *,
        baud: int,
        character_s: float,
        pause_s: float,
        timeout_s: float,
        late_s: float,
        mono: Callable[[], float],
        alarms: Alarms,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(wire, sink, RtuExchange(baud, late_s, character_s, pause_s, timeout_s), mono, trace)
        self._alarms = alarms
        self._alarm = alarms.alarm(self._step)
        fixed_s = (QUESTION_BYTES + _ANSWER_OVERHEAD) * character_s + 2 * gap_s(baud) + pause_s
        self.cost = LinkCost(fixed_s=fixed_s, register_s=2 * character_s)

    def _received(self, data: bytes, now: float) -> Outcome:
        return self._exchange.received(data, now, self._alarms.least_late_s)

    def _step(self) -> None:
        """Do what is due: transmit after the gap, look for the answer, or judge the silence; then wait for the next."""
        exchange, now = self._exchange, self._mono()
        at = exchange.next_at()
        if at is not None and at - self._early_s <= now:
            self._alarms.wait_until(at)  # what comes meanwhile is found by the look below, just before the question
            if not exchange.waiting and exchange.look_at is None:
                self._report(exchange.silence(now))
            elif waiting := self._wire.waiting_bytes():
                self._take(waiting)
            elif exchange.waiting:
                self._transmit(max(at, now))
            else:
                exchange.looked()
        self._arm()

    def _transmit(self, now: float) -> None:
        """Write at once: nothing is received before the exchange has made its notes."""
        self._write(self._exchange.question)
        self._exchange.transmit(now)

    @property
    def _early_s(self) -> float:
        """How much earlier than the exchange wants it the next step begins."""
        return PREPARE_S if self._exchange.waiting and not self._wire.remote else 0.0

    def _arm(self) -> None:
        """Wake up for the next step, and for bytes if they may matter before it."""
        if not self._open:
            return
        exchange = self._exchange
        if self._wire.remote:
            exchange.looked()  # bytes come in segments, each worth its wake-up
        at = exchange.next_at()
        if at is None:
            self._alarm.cancel()
        else:
            self._alarm.set(at - self._early_s)
        if exchange.waiting or exchange.look_at is not None:
            self._wire.rest()
        else:
            self._wire.listen()

    def _disarm(self) -> None:
        self._alarm.cancel()
