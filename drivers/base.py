"""The contract between a bus owner and a link.

A link is one serial port or one host:port. It carries one question at a time, whatever units are behind it, and
tells its owner what came of it by calling the owner's sink: no task, future or timer per request. It reads only:
there is no way to express a write. What a question is, is the protocol's: a `Request` is a Modbus read, a
`drivers.text.command.Command` a question of a text protocol. An answer's bytes are a register image in both cases.

    owner                     link
    open()            ──▶     connects
                      ◀──     sink.opened()            or sink.lost(LinkError)
    send(question)    ──▶     transmits (after the line's own gap)
                      ◀──     sink.answered(data)      or sink.failed(DeviceError)   or sink.lost(LinkError)
    expire()          ──▶     the owner's deadline passed: the link forgets the request and makes sure
                              that a late answer can never be taken for another request's

Deadlines belong to the owner, who sweeps them for all links at once. On a line without transaction ids the link
refuses to ask a unit again until a late answer of it can no longer come: `ready_at`.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from drivers.errors import DeviceError, LinkError

READ_COILS = 1
READ_DISCRETE_INPUTS = 2
READ_HOLDING_REGISTERS = 3
READ_INPUT_REGISTERS = 4

#: Modbus application protocol V1.1b3, sections 6.1-6.4
MAX_REGISTERS = 125
MAX_BITS = 2000


_TABLES = {
    READ_COILS: "coil",
    READ_DISCRETE_INPUTS: "discrete",
    READ_HOLDING_REGISTERS: "holding",
    READ_INPUT_REGISTERS: "input",
}


class Question(Protocol):
    """What a link can ask. Hashable; as text it says what it is about, e.g. `holding:3059+10`."""

    @property
    def unit(self) -> int: ...

    @property
    def line_bytes(self) -> int:
        """Bytes on the line that differ from question to question, for the cost of asking it."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One Modbus read: `count` registers or bits of `unit` from the 0-based `address`."""

    unit: int
    function: int
    address: int
    count: int
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A link looks up the encoded form of a request for each one it sends: hashed once, not once per send.
        object.__setattr__(self, "_hash", hash((self.unit, self.function, self.address, self.count)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{_TABLES.get(self.function, self.function)}:{self.address}+{self.count}"

    @property
    def answer_bytes(self) -> int:
        """Data bytes in a good answer."""
        return 2 * self.count if self.function >= READ_HOLDING_REGISTERS else (self.count + 7) // 8

    @property
    def line_bytes(self) -> int:
        return self.answer_bytes


@dataclass(frozen=True, slots=True)
class LinkCost:
    """What a read costs on this link, in seconds: `fixed_s + register_s * registers`. Feeds the planner.

    Two bytes that differ from question to question (`Question.line_bytes`) cost as much as a register.
    """

    fixed_s: float
    register_s: float

    def of(self, question: Question) -> float:
        return self.fixed_s + self.register_s * question.line_bytes / 2


class Sink(Protocol):
    """Where a link reports. Called from the event loop; must not raise and must not block."""

    def opened(self) -> None:
        """The link is ready for `send`."""

    def answered(self, data: memoryview) -> None:
        """The question in flight was answered: its register or bit bytes, valid only during this call."""

    def failed(self, error: DeviceError) -> None:
        """The request in flight failed; the link is ready for the next one."""

    def lost(self, error: LinkError) -> None:
        """The link is closed, and with it the request in flight, if any. `open` it again later."""


class Link(Protocol):
    """One serial port or one host:port."""

    cost: LinkCost

    @property
    def late(self) -> int:
        """Answers thrown away because they came after their deadline or belong to nobody."""
        ...

    def open(self) -> None:
        """Start opening; the sink hears of the outcome. Never blocks, never raises."""

    def send(self, question: Any) -> None:
        """Transmit a `Question` of the link's protocol.

        Only when open, nothing is in flight and `ready_at(unit)` has passed.
        """

    def expire(self) -> None:
        """Forget the request in flight: its deadline passed. May call `sink.lost` if the line must be reopened."""

    def ready_at(self, unit: int) -> float:
        """Monotonic time from which `unit` may be asked; 0.0 where a late answer is known by its transaction id."""

    def close(self) -> None:
        """Close at once; the sink is not called any more."""
