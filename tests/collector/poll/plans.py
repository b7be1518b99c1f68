"""Buses and units for the poller, without settings and profiles."""

from dataclasses import dataclass, field

from drivers.address import BusAddress, parse_bus
from drivers.base import LinkCost
from tests.scripted_link import COST


@dataclass
class UnitPlan:
    device: str
    unit: int
    blocks: tuple[int, ...]
    timeout_s: float = 0.5
    retries: int = 3


@dataclass
class BusPlan:
    name: str
    units: list[UnitPlan]
    address: BusAddress = field(default_factory=lambda: parse_bus("serial:///dev/ttyX"))
    timeout_s: float = 0.5
    late_s: float | None = None
    cost: LinkCost = COST
    load: float = 0.1
