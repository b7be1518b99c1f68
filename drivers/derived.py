"""Derived points: formulas over other points of the same answer."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from drivers.codec import Reading, Status, judged
from drivers.errors import Mistake
from drivers.formula import FormulaError, Program, evaluate, names_in
from drivers.meaning import AnyProfile, Derived, Meaning
from drivers.plan import AnyBlock
from drivers.point import Point
from drivers.profile import Profile
from drivers.text.profile import TextPoint


class Placed(NamedTuple):
    """A derived point in the block that holds its inputs; without a program its inputs are read apart."""

    name: str
    program: Program


def inputs(derived: Derived) -> tuple[str, ...]:
    """Names of the points in its formula."""
    return names_in(derived.program)


def placed(profile: AnyProfile, blocks: Sequence[AnyBlock]) -> list[list[Placed]]:
    """For each block the derived points that are computed from it.

    One whose inputs are spread over several blocks, because a device refused them together, stands without a program
    in the first of them; one without any input there in none.
    """
    found: list[list[Placed]] = [[] for _ in blocks]
    block_of = {name: k for k, block in enumerate(blocks) for name in block.points} if profile.derived else {}
    for derived in profile.derived:
        holders = [block_of[name] for name in inputs(derived) if name in block_of]
        whole = len(holders) == len(inputs(derived)) and len(set(holders)) == 1
        if holders:
            found[min(holders)].append(Placed(derived.name, derived.program if whole else ()))
    return found


def derive(profile: AnyProfile, readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """Every derived point that has all its inputs in `readings`: no better than the worst of them."""
    return {
        derived.name: _reading(derived, [readings[name] for name in inputs(derived)])
        for derived in profile.derived
        if readings.keys() >= set(inputs(derived))
    }


def _reading(derived: Derived, given: list[Reading]) -> Reading:
    worst = max(reading.status for reading in given)
    if worst is not Status.GOOD:
        return Reading(None, worst)
    numbers = {name: float(r.value or 0) for name, r in zip(inputs(derived), given, strict=True)}
    return judged(derived, float(evaluate(derived.program, numbers)))


def mistakes(profile: AnyProfile) -> Iterator[Mistake]:
    """(key, reason, hint) of every formula that cannot be computed from one answer."""
    points = {point.name: point for point in profile.point}
    for derived in profile.derived:
        for reason, hint in _mistakes(profile, points, derived):
            yield f"derived[{derived.name}].derive", reason, hint


def _mistakes(profile: AnyProfile, points: Mapping[str, Meaning], derived: Derived) -> Iterator[tuple[str, str]]:
    try:
        names = inputs(derived)
    except FormulaError as error:
        yield str(error), error.hint
        return
    unknown = [name for name in names if name not in points]
    for name in unknown:
        close = difflib.get_close_matches(name, points, n=1)
        yield f"there is no point {name}", f"did you mean {close[0]}?" if close else "points, not derived ones"
    texts = [name for name in names if name in points and points[name].is_text]
    if texts:
        yield f"{texts[0]} is a text", "only numbers, states and bools"
    if "//" in derived.program or "%" in derived.program:
        yield "// and % are for whole numbers", "use + - * /"
    if not names:
        yield "names no point", "a constant is nothing to collect"
    if unknown or not names:
        return
    given = [points[name] for name in names]
    if {point.every for point in given} != {derived.every}:
        said = ", ".join(f"{point.name} every {point.every}" for point in given)
        yield f"is due every {derived.every}, its inputs: {said}", "the same every for all of them"
    yield from _apart(profile, given)


def _apart(profile: AnyProfile, given: list[Meaning]) -> Iterator[tuple[str, str]]:
    """Why one answer cannot hold these points."""
    if isinstance(profile, Profile):
        registers = [point for point in given if isinstance(point, Point)]
        if len({point.table for point in registers}) > 1:
            yield "its inputs are in several tables", "one read has one table"
            return
        function = registers[0].function
        first, end = profile.together(registers)
        if end - first > profile.max_count(function):
            yield f"its inputs span {end - first}, one read holds {profile.max_count(function)}", "fewer inputs"
        if any(first < high and low < end for low, high in profile.forbidden()):
            yield "a forbidden range lies between its inputs", "one answer must hold them all"
        if not profile.limits.read_holes and not any(
            low <= first and end <= high for low, high in profile.named_runs(function)
        ):
            yield "registers that no point names lie between its inputs, and read_holes is false", "name them"
    elif len({point.command for point in given if isinstance(point, TextPoint)}) > 1:
        yield "its inputs are in the answers of several commands", "one answer must hold them all"
