"""A device profile: what a model of device says at which register, as data.

A profile holds nothing of a site (no unit id, port or name), so one file serves every device of its model.
How to write one: docs/profiles.md. Reading one from disk: `load_profile`.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from drivers.errors import ProfileError
from drivers.form import form_findings, survivors
from drivers.formula import names_in
from drivers.meaning import MAX_POINTS, AnyProfile, Frame, Strict
from drivers.point import Point, Repeat, WordOrder
from drivers.protocols import MODELS, model_of

#: vendor/model of a packaged or site profile. No dots, so a name never leaves the directory it is looked up in.
PROFILE_NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
#: A profile of MAX_POINTS points has a third of this.
MAX_TEXT = 2_000_000
#: Parsed profiles kept: a gateway has a few models of devices, and a thousand devices must not parse a thousand times.
CACHED_PROFILES = 64


class Limits(Strict):
    """What the device accepts on the wire."""

    address_base: Literal[0, 1] = 0  #: 1: `address` below counts from 1, as this vendor's document does
    word_order: WordOrder = "ABCD"  #: of numbers longer than one register
    max_registers: Annotated[int, Field(ge=1, le=125)] = 125
    max_bits: Annotated[int, Field(ge=1, le=2000)] = 2000
    read_holes: bool = True  #: False: never read a register that no point names (the device rejects the request)
    forbidden: tuple[tuple[int, int], ...] = ()  #: first and last address, in the document's counting, never read
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 1.0
    turnaround_s: Annotated[float, Field(ge=0, le=5)] = 0.02  #: typical time from request to first answer byte


class Profile(AnyProfile):
    """One model of Modbus device. The frames are PDUs in hex, without address and checksum."""

    protocol: Literal["modbus"] = "modbus"
    limits: Limits = Limits()
    point: tuple[Point, ...] = Field(default=(), max_length=MAX_POINTS)
    repeat: Annotated[tuple[Repeat, ...], Field(max_length=64)] = ()
    golden: tuple[Frame, ...] = ()

    def wire_address(self, point: Point) -> int:
        """0-based address as on the wire."""
        return point.address - self.limits.address_base

    def span(self, point: Point) -> tuple[int, int]:
        """First and behind-the-last wire address of a point: registers, or bits in a bit table."""
        first = self.wire_address(point)
        return first, first + point.length

    def scale_address(self, point: Point) -> int | None:
        """Wire address of the register that holds the point's power of ten. Raises KeyError."""
        place = point.scale_register
        if place is None:
            return None
        return self.wire_address(self.named(place)) if isinstance(place, str) else place - self.limits.address_base

    def reach(self, point: Point) -> tuple[int, int]:
        """First and behind-the-last wire address that one answer must hold: the point and its scale register."""
        first, end = self.span(point)
        scale = self.scale_address(point)
        return (first, end) if scale is None else (min(first, scale), max(end, scale + 1))

    def together(self, points: Sequence[Point]) -> tuple[int, int]:
        """First and behind-the-last wire address of an answer that holds all these points of one table."""
        reaches = [self.reach(point) for point in points]
        return min(first for first, _ in reaches), max(end for _, end in reaches)

    def named_runs(self, function: int) -> list[tuple[int, int]]:
        """First and behind-the-last wire address of each run of registers that points name, scale registers too."""
        points = [point for point in self.point if point.function == function]
        scales = {self.scale_address(point) for point in points} - {None}
        return _merged([*map(self.span, points), *((scale, scale + 1) for scale in scales if scale is not None)])

    def needed_runs(self, function: int) -> list[tuple[int, int]]:
        """`named_runs`, with what lies between a point and its scale register or the inputs of a derived point."""
        points = {point.name: point for point in self.point if point.function == function}
        inputs = ([points.get(name) for name in names_in(derived.program)] for derived in self.derived)
        wholes = [self.together([point for point in given if point]) for given in inputs if given and all(given)]
        return _merged([*map(self.reach, points.values()), *wholes])

    def forbidden(self) -> list[tuple[int, int]]:
        """First and behind-the-last wire address of each range that is never read."""
        base = self.limits.address_base
        return [(first - base, last - base + 1) for first, last in self.limits.forbidden]

    def max_count(self, function: int) -> int:
        """The most registers or bits one read with this function code may ask for."""
        return self.limits.max_bits if function <= 2 else self.limits.max_registers

    def order(self, point: Point) -> WordOrder:
        """The order that applies to the point: the device's default speaks only of numbers longer than a register."""
        if point.order is not None:
            return point.order
        return self.limits.word_order if point.type != "string" and point.length > 1 else "ABCD"


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch, as one."""
    runs: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if runs and first <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(runs[-1][1], end)
        else:
            runs.append((first, end))
    return runs


def load_profile(name: str, search: Sequence[Path] = ()) -> AnyProfile:
    """The profile called `name` ("schneider/pm5xxx"), from the first directory of `search` that has it, else ours.

    A name that ends in .toml is a file. Raises ProfileError with every mistake found, lint errors included, and for a
    profile with questions of its own that somebody else than root or we could have written.
    """
    if name.endswith(".toml"):
        return _from_file(Path(name), name)
    for directory in search if PROFILE_NAME.fullmatch(name) else ():
        path = directory / f"{name}.toml"
        if _exists(path):
            return _from_file(path, str(path))
    packaged = _packaged() / f"{name}.toml"
    if PROFILE_NAME.fullmatch(name) and packaged.is_file():
        return parse_profile(read_profile(packaged), name)
    known = profile_names(search)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}?" if close else f"collector profile list shows the {len(known)} that are known"
    where = f" in {', '.join(map(str, search))}, nor" if search else ""
    raise ProfileError(name, [("", f"no such profile{where} among those that come with us", hint)])


def profile_names(search: Sequence[Path] = ()) -> list[str]:
    """Names of all profiles that `load_profile` finds with the same `search`, sorted."""
    files = [file for directory in (*search, _packaged()) for file in directory.glob("*/*.toml")]
    names = {f"{file.parent.name}/{file.stem}" for file in files}
    return sorted(name for name in names if PROFILE_NAME.fullmatch(name))


@lru_cache(maxsize=CACHED_PROFILES)
def parse_profile(text: str, subject: str = "profile") -> AnyProfile:
    """The profile written in `text` as TOML; `subject` names it in messages. Raises ProfileError."""
    from drivers.lint import lint  # these three stand above this module
    from drivers.repeat import expanded, of_templates
    from drivers.text.repeat import unfolded

    try:
        data = _tuples(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError(subject, [("(syntax)", str(error), "the file is not valid TOML")]) from error
    model = model_of(data.get("protocol", "modbus"))
    if model is None:
        hint = f"known: {', '.join(MODELS)}"
        raise ProfileError(subject, [("protocol", f"{data['protocol']!r} is not spoken here", hint)])
    origin: dict[str, str] = {}
    if model is not Profile:
        data, origin = unfolded(data, subject)
    try:
        profile = model.model_validate(data)
    except ValidationError as error:
        findings = form_findings(error, data, model)
        rest = survivors(error, data)
        if rest is not None and rest["point"]:  # so that the sound points' mistakes of content are told as well
            findings += lint(model.model_validate(rest))
        raise ProfileError(subject, [*of_templates(findings, origin)]) from None
    if isinstance(profile, Profile):
        profile, origin = expanded(profile, subject)
    mistakes = lint(profile)
    if mistakes:
        raise ProfileError(subject, [*of_templates(mistakes, origin)])
    return profile


def read_profile(path: Path) -> str:
    """The text of a profile's file. Raises ProfileError when it cannot be had."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise ProfileError(str(path), [("", error.strerror or str(error), "is the path right?")]) from error
    except ValueError as error:
        raise ProfileError(str(path), [("", f"is not UTF-8 text: {error}", "save it as UTF-8")]) from error
    if len(text) > MAX_TEXT:
        raise ProfileError(str(path), [("", f"is longer than {MAX_TEXT} characters", "is it a profile?")])
    return text


def _from_file(path: Path, subject: str) -> AnyProfile:
    profile = parse_profile(read_profile(path), subject)
    doubt = _doubt_of(path) if profile.own_questions else None
    if doubt is not None:
        reason = f"says what is sent to the device, and {doubt}"
        raise ProfileError(subject, [("", reason, f"sudo chown root {path}; sudo chmod 644 {path}")])
    return profile


def _doubt_of(path: Path) -> str | None:
    """Who else could have written the file; None: nobody but root and the user we run as."""
    path = path.resolve()
    for place in (path, path.parent):
        found = place.stat()
        if found.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to the user with number {found.st_uid}"
        shared_like_tmp = (
            place is not path and found.st_mode & stat.S_ISVTX
        )  # there nobody can replace what is another's
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not shared_like_tmp:
            return f"{place} can be written by others than its owner"
    return None


def _packaged() -> Path:
    return Path(str(resources.files("drivers"))) / "profiles"


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a directory that may not be searched must not fall back to another profile silently
        raise ProfileError(str(path), [("", error.strerror or str(error), "may we read it?")]) from error


def _tuples(value: Any) -> Any:
    """TOML's lists as tuples: the models are frozen and strict."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
