"""Profiles for tests, written as short as a map can be."""

from typing import Any

from hypothesis import settings

from drivers.meaning import Derived
from drivers.point import Point
from drivers.profile import Profile

#: Other work runs on the same machine: how long an example takes says nothing.
untimed = settings(deadline=None)

#: Begin of the text of a register profile.
HEAD = """\
schema = 1
[device]
vendor = "Test"
model = "Meter"
category = "power"
source = "made up for this test"
evidence = "doubtful"
"""
DEVICE = {"vendor": "x", "model": "y", "category": "power", "source": "none", "evidence": "doubtful"}


def a_point(address: int = 0, point_type: str = "u16", table: str = "holding", **keys: Any) -> Point:
    """A point called after its place unless named."""
    bit = f"_{keys['bit']}" if "bit" in keys else ""
    name = f"{table[0]}{address}{bit}"
    return Point.model_validate({"name": name, "table": table, "address": address, "type": point_type, **keys})


def a_derived(name: str, derive: str, **keys: Any) -> Derived:
    return Derived.model_validate({"name": name, "derive": derive, **keys})


def a_profile(
    *points: Point, golden: tuple[Any, ...] = (), derived: tuple[Derived, ...] = (), **limits: Any
) -> Profile:
    """A profile of these points; not linted."""
    data = {
        "schema": 1,
        "device": DEVICE,
        "limits": limits,
        "point": points or (a_point(),),
        "derived": derived,
        "golden": golden,
    }
    return Profile.model_validate(data)
