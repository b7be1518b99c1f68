"""What the links of serial lines have in common: an exchange that knows no clock, a wire, and the time between them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from drivers.base import LinkCost, Question, Sink
from drivers.errors import DeviceError, LinkError, LinkLost
from drivers.wires.base import Trace, Wire

#: An owner's timer may fire this much too early.
_TIMER_SLACK_S = 0.001

#: How an exchange ended: the register image, or why there is none. None: not yet.
Outcome = memoryview | DeviceError | None

Asked = TypeVar("Asked", bound=Question)
_Asked = TypeVar("_Asked", bound=Question, contravariant=True)


class Exchange(Protocol[_Asked]):
    """One line as a state machine: every method is told the time (monotonic seconds)."""

    late: int  #: frames thrown away: late, or of a unit that was not asked
    strays: int  #: bytes thrown away that belonged to no frame

    def start(self, question: _Asked, /) -> None:
        """Take a question; it is transmitted when the line allows it."""

    def transmit(self, now: float) -> bytes:
        """The bytes to write now."""
        ...

    def expire(self, now: float) -> bool:
        """The deadline passed. False: the question was never transmitted, because the line was never silent."""
        ...

    def ready_at(self, unit: int) -> float:
        """When `unit` may be asked again; 0.0 when it may be now."""
        ...

    def reset(self, now: float) -> None:
        """The line was closed."""


class LineLink(ABC, Generic[Asked]):
    """One line. `send` may be called at once after an outcome: the link keeps the silence before a question itself.

    The owner's deadline for a question is its timeout plus `cost.of(question)`, the time the line needs to carry it.
    """

    cost: LinkCost
    _exchange: Exchange[Asked]

    def __init__(
        self, wire: Wire, sink: Sink, exchange: Exchange[Asked], mono: Callable[[], float], trace: Trace | None
    ) -> None:
        self._wire = wire
        self._sink = sink
        self._exchange = exchange
        self._mono = mono
        self._trace = trace
        self._open = False
        self._heard = False  # any byte since the wire was opened
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

    def send(self, question: Asked) -> None:
        if not self._open:
            raise RuntimeError(f"{self._wire.subject}: send while closed")
        if self._exchange.ready_at(question.unit) > self._mono() + _TIMER_SLACK_S:
            raise RuntimeError(f"{self._wire.subject}: unit {question.unit} is still in quarantine")
        self._exchange.start(question)
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
        self._disarm()
        self._wire.close()

    def wire_opened(self) -> None:
        self._heard = False
        self._opened()

    def wire_received(self, data: bytes) -> None:
        self._take(data)
        self._arm()

    def wire_lost(self, error: LinkError) -> None:
        self._drop(error)

    def _opened(self) -> None:
        self._open = True
        self._sink.opened()

    def _drop(self, error: LinkError) -> None:
        self.close()
        self._sink.lost(error)

    def _transmit(self, now: float) -> None:
        self._write(self._exchange.transmit(now))

    def _write(self, question: bytes) -> None:
        if self._trace is not None:
            self._trace("tx", question)
        self._wire.write(question)

    def _take(self, data: bytes) -> None:
        self._heard = True
        if self._trace is not None:
            self._trace("rx", data)
        self._report(self._received(data, self._mono()))

    def _report(self, outcome: Outcome) -> None:
        if outcome is None:
            return
        if isinstance(outcome, DeviceError):
            self._sink.failed(outcome)
        else:
            self._sink.answered(outcome)

    @abstractmethod
    def _received(self, data: bytes, now: float) -> Outcome:
        """Give `data` to the exchange."""

    @abstractmethod
    def _step(self) -> None:
        """Do what is due, then wait for the next."""

    @abstractmethod
    def _arm(self) -> None:
        """Be woken for the next step; nothing while closed."""

    @abstractmethod
    def _disarm(self) -> None:
        """Be woken no more."""
