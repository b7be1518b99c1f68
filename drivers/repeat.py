"""Repeating blocks of a profile: the points of one outlet, branch or module written once, for all of them."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from drivers.errors import Mistake, ProfileError
from drivers.formula import FormulaError, Program, compiled, evaluate, names_in
from drivers.meaning import MAX_POINTS, Derived
from drivers.point import DerivedTemplate, Point, Repeat, Template
from drivers.profile import Profile

#: `{n}`, `{4 * n - 3}` in a text of a template.
_PLACE = re.compile(r"\{([^{}]*)\}")
_WORD = re.compile(r"[A-Za-z_]\w*")
_POINT_KEY = re.compile(r"(?:point|derived)\[([^\]]*)\](.*)", re.DOTALL)


def expanded(profile: Profile, subject: str) -> tuple[Profile, dict[str, str]]:
    """The profile with every instance of its templates among its points; and each instance's template, by name.

    Raises ProfileError naming the templates that cannot be repeated.
    """
    total = len(profile.published) + sum(r.count * (len(r.point) + len(r.derived)) for r in profile.repeat)
    if not total:
        raise ProfileError(subject, [("point", "there is none", "add at least one [[point]] or [[repeat]]")])
    if total > MAX_POINTS:
        raise ProfileError(subject, [("repeat", f"makes {total} points, at most {MAX_POINTS}", "a smaller count")])
    points: list[Point] = list(profile.point)
    derived: list[Derived] = list(profile.derived)
    origin: dict[str, str] = {}
    findings: list[Mistake] = []
    for i, repeat in enumerate(profile.repeat):
        templates: list[Template | DerivedTemplate] = [*repeat.point, *repeat.derived]
        for template in templates:
            table = "derived" if isinstance(template, DerivedTemplate) else "point"
            key = f"repeat[{i}].{table}[{template.name}]"
            try:
                made = [_instance(repeat, template, n) for n in range(repeat.first, repeat.first + repeat.count)]
            except Unusable as error:
                findings.append((f"repeat[{i}].{error.key}" if error.of_repeat else f"{key}.{error.key}", *error.said))
                continue
            points += [point for point in made if isinstance(point, Point)]
            derived += [point for point in made if isinstance(point, Derived)]
            origin |= {point.name: key for point in made}
    if findings:
        raise ProfileError(subject, list(dict.fromkeys(findings)))
    whole = {"point": tuple(points), "derived": tuple(derived), "repeat": ()}
    return profile.model_copy(update=whole), origin


def of_templates(findings: Iterable[Mistake], origin: dict[str, str]) -> Iterator[Mistake]:
    """Findings with what is said of instances told once, of their template."""
    told = set()
    for key, reason, hint in findings:
        match = _POINT_KEY.fullmatch(key)
        template = origin.get(match[1]) if match else None
        if match is None or template is None:
            yield key, reason, hint
        elif (template, match[2], hint) not in told:
            told.add((template, match[2], hint))
            yield f"{template}{match[2]}", f"{reason} (in {match[1]})", hint


class Unusable(Exception):
    """A template that gives no point: the key at fault, the reason and the hint."""

    def __init__(self, key: str, reason: str, hint: str, *, of_repeat: bool = False) -> None:
        self.key, self.said, self.of_repeat = key, (reason, hint), of_repeat


def _instance(repeat: Repeat, template: Template | DerivedTemplate, n: int) -> Point | Derived:
    keys: dict[str, Any] = template.model_dump(exclude_unset=True)
    for key in ("name", "publish_as", "note", "scale_register", "derive"):
        if isinstance(keys.get(key), str):
            keys[key] = filled(key, keys[key], n)
    if repeat.tag is not None:
        siblings = {filled("name", each.name, n) for each in repeat.point}
        if "derive" in keys:
            keys["derive"] = _WORD.sub(
                lambda word: f"{repeat.tag}_{n}_{word[0]}" if word[0] in siblings else word[0], keys["derive"]
            )
        keys.setdefault("publish_as", keys["name"])
        keys["name"] = f"{repeat.tag}_{n}_{keys['name']}"
        keys["tags"] = {**keys.get("tags", {}), repeat.tag: str(n)}
    elif keys["name"] == template.name and repeat.count > 1:
        hint = "write {n} where its number belongs, or give the repeat a tag"
        raise Unusable("name", "is the same for every instance", hint)
    if isinstance(template, Template):
        keys["address"] += _away(repeat, n)
    model = Point if isinstance(template, Template) else Derived
    try:
        return model.model_validate(keys)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0]) if first["loc"] else "name"
        reason = f"{first['input']!r} of instance {n}: {first['msg'].removeprefix('Input ')}"
        raise Unusable(key, reason, "see what {n} makes of it") from None


def _away(repeat: Repeat, n: int) -> int:
    """Registers from the template's address to that of instance n."""
    if repeat.index is None and repeat.stride is None and repeat.count > 1:
        hint = "registers from one instance to the next"
        raise Unusable("stride", "is missing", hint, of_repeat=True)
    if repeat.index is None:
        return (n - repeat.first) * (repeat.stride or 0)
    if repeat.stride is not None:
        raise Unusable("index", f"stands beside stride = {repeat.stride}", "one of them", of_repeat=True)
    try:
        return _whole(repeat.index, n)
    except FormulaError as error:
        raise Unusable("index", str(error), error.hint, of_repeat=True) from None


def filled(key: str, text: str, n: int) -> str:
    """`text` with every placeholder replaced for instance `n`. Raises Unusable, naming `key`."""
    try:
        return _PLACE.sub(lambda match: str(_whole(match[1], n)), text)
    except FormulaError as error:
        raise Unusable(key, str(error), error.hint) from None


def _whole(text: str, n: int) -> int:
    program: Program = compiled(text)
    foreign = [name for name in names_in(program) if name != "n"]
    if foreign:
        raise FormulaError(f"{foreign[0]} is unknown here", "n is the number of the instance")
    value = evaluate(program, {"n": n})
    if not isinstance(value, int):
        raise FormulaError(f"{text!r} is {value:g} for n = {n}", "use // to divide whole numbers")
    return value
