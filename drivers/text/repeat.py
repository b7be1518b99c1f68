"""Repeating blocks of a text profile: the points of one cell, fuse or branch written once, for all of them.

Expanded before the profile is validated, because where a value stands is each dialect's own: in every text of a
template `{n}` is the number of the instance, or a formula such as `{4 * n - 3}`. A value that is nothing else becomes
a number.
"""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.errors import ProfileError
from drivers.form import form_findings
from drivers.meaning import MAX_POINTS
from drivers.repeat import Unusable, filled
from drivers.text.profile import TextRepeat

_WHOLE = re.compile(r"\{[^{}]*\}")
#: Keys that stay text whatever stands in them.
_TEXTS = frozenset({"name", "publish_as", "note", "command", "group", "unit", "category"})


class _Repeats(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    repeat: tuple[TextRepeat, ...] = Field(max_length=64)


def unfolded(data: dict[str, Any], subject: str) -> tuple[dict[str, Any], dict[str, str]]:
    """`data` with every instance among its points and no `repeat`; and each instance's template, by name.

    Raises ProfileError naming the tables and templates that cannot be repeated.
    """
    if "repeat" not in data:
        return data, {}
    try:
        repeats = _Repeats.model_validate(data).repeat
    except ValidationError as error:
        raise ProfileError(subject, form_findings(error, data, _Repeats)) from None
    total = sum(repeat.count * len(repeat.point) for repeat in repeats)
    if total > MAX_POINTS:
        raise ProfileError(subject, [("repeat", f"makes {total} points, at most {MAX_POINTS}", "a smaller count")])
    points: list[Any] = list(data.get("point", ()))
    origin: dict[str, str] = {}
    findings = []
    for i, repeat in enumerate(repeats):
        for template in repeat.point:
            key = f"repeat[{i}].point[{template.get('name', '?')}]"
            try:
                made = [_instance(repeat, template, n) for n in range(repeat.first, repeat.first + repeat.count)]
            except Unusable as error:
                findings.append((f"{key}.{error.key}", *error.said))
                continue
            points += made
            origin |= {str(point.get("name")): key for point in made}
    if findings:
        raise ProfileError(subject, findings)
    rest = {key: value for key, value in data.items() if key != "repeat"}
    return {**rest, "point": tuple(points)}, origin


def _instance(repeat: TextRepeat, template: dict[str, Any], n: int) -> dict[str, Any]:
    keys = {key: _value(key, value, n) if isinstance(value, str) else value for key, value in template.items()}
    name, tags = keys.get("name"), keys.get("tags", {})
    if repeat.tag is not None and isinstance(name, str):
        keys.setdefault("publish_as", name)
        keys["name"] = f"{repeat.tag}_{n}_{name}"
        keys["tags"] = {**tags, repeat.tag: str(n)} if isinstance(tags, dict) else tags
    elif isinstance(name, str) and name == template.get("name") and repeat.count > 1:
        hint = "write {n} where its number belongs, or give the repeat a tag"
        raise Unusable("name", "is the same for every instance", hint)
    return keys


def _value(key: str, text: str, n: int) -> str | int:
    said = filled(key, text, n)
    return int(said) if key not in _TEXTS and _WHOLE.fullmatch(text) else said
