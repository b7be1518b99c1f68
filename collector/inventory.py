"""What is to be read: the settings and their profiles, resolved into numbered buses, units, blocks and points.

Numbers never change while the daemon runs; the list of blocks grows when a device refuses a merged read.
"""

from dataclasses import dataclass
from functools import cache

from collector.errors import ConfigError, Finding
from collector.settings import Bus, Device, Settings
from collector.specs import numbered, point_spec
from collector.splits import Splits
from collector.types import BlockSpec, PointSpec
from drivers.address import BusAddress, parse_bus, speaking
from drivers.base import LinkCost
from drivers.derived import Placed, inputs, placed
from drivers.meaning import AnyProfile, Meaning
from drivers.plan import AnyBlock, Block, link_cost, parts_of, plan_any
from drivers.profile import Profile, load_profile
from drivers.text.command import Command

#: Above this share the bus cannot keep its intervals at all.
FULL_LOAD = 1.0


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """One device on its bus."""

    device: str
    unit: int
    profile: str
    timeout_s: float
    retries: int
    turnaround_s: float  #: that its settings or its profile say
    blocks: tuple[int, ...]
    load: float  #: share of the line's time that it needs
    read_s: float  #: the line's time of one read, in the mean
    round_s: float  #: the line's time when all its reads are due at once


@dataclass(frozen=True, slots=True)
class BusPlan:
    """One line and everything that is asked on it."""

    name: str
    address: BusAddress
    timeout_s: float
    late_s: float | None
    cost: LinkCost  #: of its slowest unit
    units: tuple[UnitPlan, ...]
    load: float  #: share of the line's time that the plan needs, 1.0 = all of it
    reads_per_s: float
    cycle_s: float  #: the shortest interval on it; 0.0 when nothing is read
    round_s: float  #: the line's time when everything is due at once


class Inventory:
    """Numbered buses, blocks and points of one configuration; `splits`: the reads that are known to be refused."""

    def __init__(self, settings: Settings, splits: Splits | None = None) -> None:
        self.settings = settings
        self.splits = splits
        self.points: list[PointSpec] = []
        self.blocks: list[BlockSpec] = []
        self.centres = tuple(uplink.centre for uplink in settings.uplink)
        # Per block: the numbers of its device's points.
        self._plans: list[tuple[AnyProfile, AnyBlock, dict[str, int]]] = []
        # A hall has many devices of few models: each profile is read once, and planned once per way of using it.
        self._profile = cache(lambda name: load_profile(name, settings.profile_search))
        self._spec = cache(lambda name, point, interval_s: point_spec(self._profile(name), point, interval_s))
        self._limited = cache(lambda name, max_registers: _limited(self._profile(name), max_registers))
        self._planned = cache(lambda name, most, *asked: plan_any(self._limited(name, most), *asked))
        devices_on: dict[str, list[Device]] = {bus.name: [] for bus in settings.bus}
        for device in settings.device:
            devices_on[device.bus].append(device)
        self.buses = [plan for bus in settings.bus for plan in self._bus(bus, devices_on[bus.name])]

    def split(self, number: int) -> list[int]:
        """Replace a refused read by reads without holes; returns their numbers, none if it cannot be split."""
        profile, block, numbers = self._plans[number]
        pieces = parts_of(block, profile)
        if len(pieces) < 2:
            return []
        old = self.blocks[number]
        if self.splits is not None:
            self.splits.add((old.device, old.function, old.address, old.count))
        return self._add_blocks(profile, pieces, numbers, old.device, old.unit)

    def _bus(self, bus: Bus, devices: list[Device]) -> list[BusPlan]:
        """One plan, or where a gateway's units are asked at the same time (`pipeline`) one for each share of them."""
        address = speaking(parse_bus(bus.url), [self._profile(d.profile) for d in devices])
        everybody = tuple(self._unit(d, bus, address) for d in devices)
        cost = link_cost(address, max((u.turnaround_s for u in everybody), default=0.0))
        plans: list[BusPlan] = []
        for units in _shares(everybody, address.pipeline):
            blocks = [self.blocks[b] for unit in units for b in unit.blocks]
            plans.append(
                BusPlan(
                    name=f"{bus.name}/{len(plans) + 1}" if plans else bus.name,
                    address=address,
                    timeout_s=max((u.timeout_s for u in everybody), default=1.0),
                    late_s=bus.late_s,
                    cost=cost,
                    units=units,
                    load=sum(u.load for u in units),
                    reads_per_s=sum(1 / b.interval_s for b in blocks),
                    cycle_s=min((b.interval_s for b in blocks), default=0.0),
                    round_s=sum(u.round_s for u in units),
                )
            )
        return plans

    def _unit(self, device: Device, bus: Bus, address: BusAddress) -> UnitPlan:
        profile = self._limited(device.profile, device.max_registers)
        turnaround_s = profile.limits.turnaround_s if device.turnaround_s is None else device.turnaround_s
        chosen = _chosen(profile, device.points)
        numbers = {p.name: len(self.points) + i for i, p in enumerate(chosen)}
        models = [self._spec(device.profile, p.name, device.interval_s) for p in chosen]
        tags = {own: tuple(sorted({**device.tags, **dict(own)}.items())) for own in {m.tags for m in models}}
        self.points += [PointSpec._make((device.name, m.name, m.category, tags[m.tags], *m[4:])) for m in models]
        cost = link_cost(address, turnaround_s)
        planned = self._planned(device.profile, device.max_registers, device.interval_s, cost, tuple(numbers))
        if self.splits is not None:
            planned = [piece for block in planned for piece in self._unrefused(device.name, block, profile)]
        questions = [block.question(device.unit) for block in planned]
        times = [cost.of(q) if q.line_bytes else 0.0 for q in questions]  # what is only listened to costs nothing
        load = sum(time_s / b.interval_s for time_s, b in zip(times, planned, strict=True))
        return UnitPlan(
            device=device.name,
            unit=device.unit,
            profile=device.profile,
            timeout_s=device.timeout_s or bus.timeout_s or profile.limits.timeout_s,
            retries=device.retries,
            turnaround_s=turnaround_s,
            blocks=tuple(self._add_blocks(profile, planned, numbers, device.name, device.unit)),
            load=load,
            read_s=load / sum(1 / b.interval_s for b in planned),
            round_s=sum(times),
        )

    def _unrefused(self, device: str, block: AnyBlock, profile: AnyProfile) -> list[AnyBlock]:
        """`block`, or the parts that an earlier run came to."""
        if not isinstance(block, Block):
            return [block]
        assert self.splits is not None
        if (device, block.function, block.address, block.count) not in self.splits:
            return [block]
        pieces = parts_of(block, profile)
        if len(pieces) < 2:
            return pieces
        return [part for piece in pieces for part in self._unrefused(device, piece, profile)]

    def _add_blocks(
        self, profile: AnyProfile, blocks: list[AnyBlock], numbers: dict[str, int], device: str, unit: int
    ) -> list[int]:
        derived = placed(profile, blocks)
        return [
            self._add_block(profile, b, tuple(d for d in own if d.name in numbers), numbers, device, unit)
            for b, own in zip(blocks, derived, strict=True)
        ]

    def _add_block(
        self,
        profile: AnyProfile,
        block: AnyBlock,
        derived: tuple[Placed, ...],
        numbers: dict[str, int],
        device: str,
        unit: int,
    ) -> int:
        self._plans.append((profile, block, numbers))
        place = {name: k for k, name in enumerate(block.points)}
        function, address, command = 0, 0, None
        if isinstance(block, Block):
            function, address = block.function, block.address
        else:
            command = block.question(unit)
        self.blocks.append(
            BlockSpec(
                device=device,
                unit=unit,
                function=function,
                address=address,
                count=block.count,
                interval_s=block.interval_s,
                points=tuple(numbers[name] for name in block.points),
                offsets=block.offsets,
                derived=tuple((numbers[d.name], numbered(d.program, place)) for d in derived),
                command=command,
            )
        )
        return len(self.blocks) - 1


def _limited(profile: AnyProfile, max_registers: int | None) -> AnyProfile:
    """`profile` for a device that can be asked for this many registers at once; its longest point fits into them."""
    if max_registers is None or not isinstance(profile, Profile):
        return profile
    return profile.model_copy(update={"limits": profile.limits.model_copy(update={"max_registers": max_registers})})


def _chosen(profile: AnyProfile, names: tuple[str, ...] | None) -> list[Meaning]:
    """The points of these names, and whatever the derived ones among them are computed from."""
    if names is None:
        return [*profile.published]
    needed = {name for derived in profile.derived if derived.name in names for name in inputs(derived)}
    return [point for point in profile.published if point.name in needed or point.name in names]


def _shares(units: tuple[UnitPlan, ...], most: int) -> list[tuple[UnitPlan, ...]]:
    """`units` in at most `most` shares of about the same load; what is behind one unit number stays together."""
    if most == 1:
        return [units]
    by_number: dict[int, list[UnitPlan]] = {}
    for unit in units:
        by_number.setdefault(unit.unit, []).append(unit)
    shares: list[list[UnitPlan]] = [[] for _ in range(max(1, min(most, len(by_number))))]
    for group in sorted(by_number.values(), key=lambda group: -sum(u.load for u in group)):
        min(shares, key=lambda share: sum(u.load for u in share)).extend(group)
    return [tuple(u for u in units if u in share) for share in shares]


def _nameless_speakers(inventory: Inventory, bus: BusPlan) -> list[str]:
    """Devices of `bus` that send by themselves without saying who they are."""
    found = []
    for unit in bus.units:
        commands = [inventory.blocks[number].command for number in unit.blocks]
        if any(isinstance(c, Command) and c.unasked and not c.names_unit for c in commands):
            found.append(unit.device)
    return found


def check_load(inventory: Inventory, file: str) -> None:
    """Refuse what cannot work. Raises ConfigError naming each overloaded bus, each on which two devices send by
    themselves and nobody can tell which, and a plan without a begin or an end.
    """
    findings = []
    for bus in inventory.buses:
        if bus.load > FULL_LOAD:
            hint = f"lengthen the intervals {bus.load:.1f} times, read fewer points, or split the bus"
            findings.append(Finding(file, f"bus.{bus.name}", "", f"predicted load is {bus.load:.0%} of the line", hint))
        speakers = _nameless_speakers(inventory, bus)
        if len(speakers) > 1:
            reason = f"{' and '.join(speakers)} send by themselves, and nobody can tell which of them did"
            findings.append(Finding(file, f"bus.{bus.name}", "", reason, "give each a bus of its own"))
    if not inventory.blocks:
        findings.append(Finding(file, "device", "", "nothing to poll", "add at least one [[bus]] and one [[device]]"))
    if not inventory.centres:
        hint = "add at least one [[uplink]]"
        findings.append(Finding(file, "uplink", "", "nobody to deliver to", hint))
    if findings:
        raise ConfigError(findings)
