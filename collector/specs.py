"""Points and formulas of a profile, as the stages after poll see them."""

from typing import Any

from collector.types import PointSpec
from drivers.formula import OPERATORS, Program
from drivers.meaning import AnyProfile, Derived, Meaning
from drivers.point import Point
from drivers.profile import Profile
from drivers.text.profile import TextPoint


def point_spec(profile: AnyProfile, name: str, interval_s: float) -> PointSpec:
    """A profile's point as the stages after poll see it, of no device yet."""
    point = profile.named(name)
    scaling = point.scaling
    low, high = point.range or (float("-inf"), float("inf"))
    return PointSpec(
        device="",
        name=point.publish_as or point.name,
        category=profile.category(point),
        tags=tuple(sorted(point.tags.items())),
        **_form(profile, point),
        mul=scaling.mul,
        add=scaling.add,
        div=scaling.div,
        decimals=scaling.decimals,
        low=low,
        high=high,
        state=point.is_state,
        counter=point.kind == "counter",
        rollover=float(point.rollover or 0),
        deadband=point.deadband,
        interval_s=interval_s * point.every,
    )


def _form(profile: AnyProfile, point: Meaning) -> dict[str, Any]:
    """How the value looks in its registers."""
    if isinstance(point, Derived):
        return {"type": "derived"}
    if isinstance(point, TextPoint):
        return {"type": "string" if point.is_text else "f64", "registers": point.image_registers}
    assert isinstance(profile, Profile)
    assert isinstance(point, Point)
    scale = profile.scale_address(point)
    return {
        "type": point.type,
        "order": profile.order(point),
        "bit": -1 if point.bit is None else point.bit,
        "bits": point.bits,
        "registers": point.length,
        "scale_at": 0 if scale is None else scale - profile.wire_address(point),
        "encoding": point.encoding or "",
        "invalid": point.invalid,
    }


def numbered(program: Program, place: dict[str, int]) -> tuple[float | int | str, ...]:
    """A formula's program with places for names, as `BlockSpec.derived` has it."""
    return tuple(
        float(token) if not isinstance(token, str) else token if token in OPERATORS else place[token]
        for token in program
    )
