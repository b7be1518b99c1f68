"""What the poller gives to each bus: the parts and the clock that all of them share."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collector.clock import Clock
from collector.poll.express import Express
from collector.poll.intake import Intake
from collector.poll.plan import LinkFactory
from collector.poll.unit import Breaker
from collector.types import BlockSpec


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all buses of a gateway share.

    `deadlines` and `wakes` have one place per bus and are what the sweep looks at: when the answer in flight is
    overdue, and when there is something to do. `next_sweep[0]` is when it looks next; `sweep_at` brings that forward.
    """

    blocks: Sequence[BlockSpec]
    split: Callable[[int], list[int]]  #: takes a refused block apart; numbers of the parts, none if it cannot be
    links: LinkFactory
    intake: Intake
    clock: Clock
    breaker: Breaker
    jitter: Callable[[], float]  #: 0 to 1
    deadlines: "array[float]"
    wakes: "array[float]"
    next_sweep: "array[float]"
    sweep_at: Callable[[float], None]
    express: Express
