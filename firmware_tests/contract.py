"""What every driver owes a device and a reader, as plain steps: used against simulators and against real hardware."""

import asyncio
from dataclasses import dataclass, field

from drivers.codec import Reading, Status, decode_point
from drivers.derived import derive
from drivers.errors import DriverError, LinkError, LinkUnavailable
from drivers.meaning import AnyProfile
from drivers.plan import AnyBlock, link_cost, parts_of, plan_any
from drivers.session import Session


@dataclass
class Round:
    """One reading of everything a profile names."""

    readings: dict[str, Reading] = field(default_factory=dict)
    refused: dict[AnyBlock, DriverError] = field(default_factory=dict)


def planned(session: Session, profile: AnyProfile) -> list[AnyBlock]:
    return plan_any(profile, 1.0, link_cost(session.address, profile.limits.turnaround_s))


async def read_block(session: Session, profile: AnyProfile, unit: int, block: AnyBlock) -> dict[str, Reading]:
    """Readings of one block; raises what the driver raises."""
    data = await session.read(block.question(unit))
    points = [profile.named(name) for name in block.points]
    found = {p.name: decode_point(profile, p, data, at) for p, at in zip(points, block.offsets, strict=True)}
    return found | derive(profile, found)


async def read_round(session: Session, profile: AnyProfile, unit: int, blocks: list[AnyBlock]) -> Round:
    """Every block once. A refused block costs its own points only; where the link ended, one more try is made."""
    round_ = Round()
    for block in blocks:
        try:
            try:
                round_.readings |= await read_block(session, profile, unit, block)
            except LinkError:
                await reopened(session)
                round_.readings |= await read_block(session, profile, unit, block)
        except DriverError as error:
            round_.refused[block] = error
    return round_


async def reopened(session: Session, patience_s: float = 10.0) -> None:
    """Open the link again, as long as that may take. Raises LinkUnavailable."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            await session.reopen()
            return
        except LinkUnavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)


async def read_apart(session: Session, profile: AnyProfile, unit: int, blocks: list[AnyBlock]) -> Round:
    """Like `read_round`, but what the device refuses is split until it answers or cannot be split."""
    whole = Round()
    while blocks:
        round_ = await read_round(session, profile, unit, blocks)
        whole.readings |= round_.readings
        blocks = []
        for block, error in round_.refused.items():
            pieces = parts_of(block, profile)
            if len(pieces) > 1:
                blocks += pieces
            else:
                whole.refused[block] = error
    return whole


def not_good(round_: Round) -> dict[str, Status]:
    return {name: reading.status for name, reading in round_.readings.items() if reading.status is not Status.GOOD}
