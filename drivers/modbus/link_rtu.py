"""Modbus RTU on any wire: a serial port, or through a serial server."""

from collections.abc import Callable

from drivers.base import LinkCost, Request, Sink
from drivers.errors import DeviceError, LinkError, LinkLost
from drivers.modbus.rtu import QUESTION_BYTES
from drivers.modbus.rtu_exchange import Outcome, RtuExchange, gap_s
from drivers.wires.alarm import Alarms
from drivers.wires.base import Trace, Wire

#: A good answer is this much longer than its data: unit, function, byte count, CRC.
_ANSWER_OVERHEAD = 5
#: An owner's timer may fire this much too early.
_TIMER_SLACK_S = 0.001


class RtuLink:
    """One RTU line. `character_s` is the time of one character on it; see RtuExchange for
    `late_s` and `pause_s`.

    `send` may be called at once after an outcome: the link keeps t3.5 itself. The owner's deadline for a request
    is its timeout plus `cost.of(request)`, the time the line needs to carry it.
    """

    def __init__(
        self,
        wire: Wire,
        sink: Sink,
        *,
        baud: int,
        character_s: float,
        pause_s: float,
        late_s: float,
        mono: Callable[[], float],
        alarms: Alarms,
        trace: Trace | None = None,
    ) -> None:
        self._wire = wire
        self._trace = trace
        self._sink = sink
        self._mono = mono
        self._exchange = RtuExchange(baud, late_s, character_s, pause_s)
        self._alarms = alarms
        self._alarm = alarms.alarm(self._step)
        self._open = False
        self._heard = False  # any byte since the wire was opened
        fixed_s = (QUESTION_BYTES + _ANSWER_OVERHEAD) * character_s + 2 * gap_s(baud) + pause_s
        self.cost = LinkCost(fixed_s=fixed_s, register_s=2 * character_s)
        wire.attach(self)

    @property
    def late(self) -> int:
        return self._exchange.late

    @property
    def strays(self) -> int:
        """Bytes received that belonged to no frame."""
        return self._exchange.strays

    def open(self) -> None:
        self._wire.open()

    def send(self, request: Request) -> None:
        if not self._open:
            raise RuntimeError(f"{self._wire.subject}: send while closed")
        if self._exchange.ready_at(request.unit) > self._mono() + _TIMER_SLACK_S:
            raise RuntimeError(f"{self._wire.subject}: unit {request.unit} is still in quarantine")
        self._exchange.start(request)
        self._step()

    def expire(self) -> None:
        transmitted = self._exchange.expire(self._mono())
        if not transmitted:
            self._drop(
                LinkLost(f"{self._wire.subject}: the line is never silent: a device babbles, or a second master")
            )
        elif not self._heard and self._wire.remote:
            self._drop(LinkLost(f"{self._wire.subject}: nothing was ever received on this connection"))
        else:
            self._arm()

    def ready_at(self, unit: int) -> float:
        return self._exchange.ready_at(unit)

    def close(self) -> None:
        self._open = False
        self._exchange.reset(self._mono())
        self._alarm.cancel()
        self._wire.close()

    def wire_opened(self) -> None:
        self._open = True
        self._heard = False
        self._sink.opened()

    def wire_received(self, data: bytes) -> None:
        self._take(data)
        self._arm()

    def wire_lost(self, error: LinkError) -> None:
        self._drop(error)

    def _drop(self, error: LinkError) -> None:
        self.close()
        self._sink.lost(error)

    def _report(self, outcome: Outcome) -> None:
        if outcome is None:
            return
        if isinstance(outcome, DeviceError):
            self._sink.failed(outcome)
        else:
            self._sink.answered(outcome)

    def _step(self) -> None:
        """Do what is due: transmit after the gap, look for the answer, or judge the silence; then wait for the next."""
        exchange, now = self._exchange, self._mono()
        at = exchange.next_at()
        if at is not None and at <= now:
            if not exchange.waiting and exchange.look_at is None:
                self._report(exchange.silence(now))
            elif waiting := self._wire.waiting_bytes():
                self._take(waiting)
            elif exchange.waiting:
                self._transmit(now)
            else:
                exchange.looked()
        self._arm()

    def _transmit(self, now: float) -> None:
        question = self._exchange.transmit(now)
        if self._trace is not None:
            self._trace("tx", question)
        self._wire.write(question)

    def _take(self, data: bytes) -> None:
        self._heard = True
        if self._trace is not None:
            self._trace("rx", data)
        self._report(self._exchange.received(data, self._mono(), self._alarms.lead_s))

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
            self._alarm.set(at)
        if exchange.waiting or exchange.look_at is not None:
            self._wire.rest()
        else:
            self._wire.listen()
