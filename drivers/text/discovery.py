"""Finding out what answers on a line of which nobody has papers: what is the same in every dialect."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from drivers.address import BusAddress
from drivers.errors import LinkLost
from drivers.profile import load_profile, profile_names
from drivers.session import Session
from drivers.text.profile import TextProfile
from drivers.wires.base import Trace

#: What a device has not answered within the time limit it may still answer for so long.
LATE_S = 0.3

AnyDialect = TypeVar("AnyDialect", bound=TextProfile)


@dataclass
class Discovery(ABC):
    """What came of asking at `address`; a dialect adds what was answered."""

    address: BusAddress  #: with whatever settings it was asked
    profiles: list[str] = field(default_factory=list, kw_only=True)  #: those that fit, the fullest first
    received: int = field(default=0, kw_only=True)  #: bytes that came, whatever they were
    lost: str = field(default="", kw_only=True)  #: why the link ended early

    @property
    @abstractmethod
    def heard(self) -> bool:
        """Whether a device is there."""

    @property
    def advice(self) -> list[str]:
        """What to try next when no device was heard."""
        if self.heard or self.lost:
            return []
        if self.received:
            return [
                f"bytes came that are no answer ({self.received}): another speed than {self.address.line}, or noise"
            ]
        return self._silence()

    @abstractmethod
    def _silence(self) -> list[str]:
        """What to try next when nothing came at all."""


async def converse(
    found: Discovery, ask: Callable[[Session], Awaitable[None]], *, timeout_s: float, trace: Trace | None
) -> None:
    """Let `ask` have a session at `found.address`; the end of the link ends it. Raises LinkUnavailable."""

    def watch(way: str, data: bytes) -> None:
        found.received += len(data) if way == "rx" else 0
        if trace is not None:
            trace(way, data)

    session = Session(found.address, timeout_s=timeout_s, late_s=LATE_S, trace=watch)
    try:
        await session.reopen()
        await ask(session)
    except LinkLost as error:
        found.lost = str(error)
    finally:
        session.close()


def profiles_of(dialect: type[AnyDialect], search: Sequence[Path]) -> Iterator[tuple[str, AnyDialect]]:
    """Name and profile of every one in this dialect."""
    for name in profile_names(search):
        profile = load_profile(name, search)
        if isinstance(profile, dialect):
            yield name, profile
