"""A command of a text profile as the poller sees it: a block like those of Modbus, with another question."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.address import BusAddress
from drivers.base import LinkCost
from drivers.text.command import Command

if TYPE_CHECKING:
    from drivers.text.profile import TextProfile


def text_cost(address: BusAddress, turnaround_s: float = 0.0) -> LinkCost:
    """What a command costs on the line at `address`, whose device takes `turnaround_s` itself."""
    gap_s = address.text.gap_s if address.text is not None else 0.0
    return LinkCost(fixed_s=gap_s + turnaround_s, register_s=2 * address.character_s)


@dataclass(frozen=True, slots=True)
class TextBlock:
    """One command, and where in the register image of its answer each point lies."""

    command: str
    count: int  #: registers of the image
    every: int  #: asked at each n-th interval of the device
    interval_s: float
    points: tuple[str, ...]  #: ordered by category, then offset
    offsets: tuple[int, ...]  #: of each point: registers from the start of the image
    profile: "TextProfile" = field(compare=False, repr=False)

    def question(self, unit: int) -> Command:
        """What to send to `unit`."""
        return self.profile.ask(self.command, unit)
