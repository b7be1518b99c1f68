"""What poll needs to be told: numbered blocks, the buses they are read on, and who makes their links."""

from collections.abc import Sequence
from typing import Protocol

from collector.types import BlockSpec
from drivers.address import BusAddress
from drivers.base import Link, LinkCost, Sink
from drivers.modbus.tcp_pool import TcpPool


class UnitPlan(Protocol):
    """What a bus needs to know of a device."""

    @property
    def device(self) -> str: ...
    @property
    def unit(self) -> int: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def retries(self) -> int: ...
    @property
    def blocks(self) -> tuple[int, ...]: ...


class BusPlan(Protocol):
    """What a bus needs to know of itself."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> BusAddress: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def late_s(self) -> float | None: ...
    @property
    def cost(self) -> LinkCost: ...
    @property
    def load(self) -> float: ...
    @property
    def units(self) -> Sequence[UnitPlan]: ...


class LinkFactory(Protocol):
    """Makes the link of an address; `drivers.links.Links` is the real one."""

    @property
    def pool(self) -> TcpPool: ...
    def create(self, address: BusAddress, sink: Sink, *, timeout_s: float, late_s: float | None = None) -> Link: ...


class Plan(Protocol):
    """Numbered blocks, the buses they belong to, and how a refused one is taken apart."""

    @property
    def blocks(self) -> Sequence[BlockSpec]: ...
    @property
    def buses(self) -> Sequence[BusPlan]: ...
    def split(self, number: int) -> list[int]: ...
