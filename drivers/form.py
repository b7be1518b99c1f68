"""Mistakes of form in a profile's text: what pydantic says of it, in the words of the person who writes profiles."""

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

from drivers.errors import Mistake

_HINTS = {
    "missing": "add it",
    "string_type": 'write it in quotes: "..."',
    "int_type": "write a whole number without quotes",
    "float_type": "write a number without quotes",
    "bool_type": "write true or false without quotes",
    "tuple_type": "write a list: [ ... ]",
    "dict_type": "write a table: { ... }",
    "string_pattern_mismatch": "letters, digits and _ only, beginning with a letter",
}
#: What pydantic appends to a place when a union was tried member by member; no key of a profile is called so.
_UNION_MEMBERS = frozenset({"float", "int", "str", "bool"})


def form_findings(error: ValidationError, data: dict[str, Any], model: type[BaseModel]) -> list[Mistake]:
    """(key, reason, hint) of each mistake, one per place."""
    found: dict[str, Mistake] = {}
    for item in error.errors(include_url=False):
        place = tuple(part for part in item["loc"] if part not in _UNION_MEMBERS)
        key = _key(place, data)
        if item["type"] == "extra_forbidden":
            finding = (key, "unknown key", _nearest(str(place[-1]), place[:-1], model))
        elif item["type"] == "missing":
            finding = (key, "is missing", _HINTS["missing"])
        else:
            shown = repr(item["input"])
            shown = shown if len(shown) <= 40 else shown[:37] + "..."
            reason = item["msg"].removeprefix("Input ")
            finding = (key, f"{shown} {reason}", _HINTS.get(item["type"], ""))
        found.setdefault(key, finding)
    return list(found.values())


def survivors(error: ValidationError, data: dict[str, Any]) -> dict[str, Any] | None:
    """`data` without the points that have a mistake, and without golden frames; None when something else is wrong."""
    places = [item["loc"] for item in error.errors(include_url=False, include_input=False)]
    if any(place[0] not in ("point", "golden") or len(place) < 2 for place in places):
        return None
    bad = {place[1] for place in places if place[0] == "point"}
    points = tuple(point for i, point in enumerate(data.get("point", ())) if i not in bad)
    return {**data, "point": points, "golden": ()}


def _key(place: tuple[Any, ...], data: Any) -> str:
    """`point[voltage_a].scale`: a list's member is called by its name where it has one, else by its number."""
    key = ""
    for part in place:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
        if isinstance(part, int):
            name = data.get("name") if isinstance(data, dict) else None
            key += f"[{name if isinstance(name, str) else part}]"
        else:
            key += f".{part}"
    return key.lstrip(".") or ('""' if place else "")  # TOML has empty keys; no key at all is the whole of it


def _nearest(key: str, parents: tuple[Any, ...], model: type[BaseModel]) -> str:
    known = _keys_at(parents, model)
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known keys here: {', '.join(sorted(known))}"


def _keys_at(parents: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    fields = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    for part in parents:
        if part in fields:
            annotation = fields[part]
            inner = next(
                t
                for t in (annotation, *getattr(annotation, "__args__", ()))
                if isinstance(t, type) and issubclass(t, BaseModel)
            )
            return _keys_at(parents[parents.index(part) + 1 :], inner)
    return list(fields)
