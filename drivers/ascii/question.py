r"""The bytes of a question, from a profile's template and a unit's number.

A template is text with escapes in which `{addr}` stands for the number: decimal or hex, plain or with leading zeros
(`{addr:03d}`, `{addr:02X}`), or as a byte (`\x{addr:02X}`). Nothing else can be put in, so whatever a device is sent
stands in its profile, to be read there.
"""

import re
from contextlib import suppress
from functools import lru_cache
from string import Formatter

from drivers.ascii.octets import MAX_OCTETS, unescape

#: What fits into the two hex digits that nearly all protocols have.
UNITS = range(256)

_FORM = re.compile(r"(?:0?([1-9]))?[dXx]?")


def body_of(template: str, unit: int) -> bytes:
    """What `template` asks of `unit`; `{{` and `}}` are braces.

    Raises ValueError for a placeholder that is none, a number that does not fit into its digits, a wrong escape.
    """
    octets = unescape("".join(_filled(template, unit)))
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"is {len(octets)} bytes long, at most {MAX_OCTETS}")
    return octets


def names_unit(template: str) -> bool:
    """Whether the unit's number is in the question. Raises ValueError like `body_of`."""
    return any(name is not None for _, name, _, _ in Formatter().parse(template))


def unit_of(template: str, body: bytes) -> int | None:
    """Whose body begins as `template` says; None: nobody's. 0 when the template does not name a unit."""
    found = [(len(begin), unit) for unit, begin in _begins(template) if body.startswith(begin)]
    return max(found)[1] if found else None


@lru_cache(maxsize=64)
def _begins(template: str) -> tuple[tuple[int, bytes], ...]:
    """The begin of each unit's body."""
    if not names_unit(template):
        return ((0, body_of(template, 0)),)
    found = []
    for unit in UNITS:
        with suppress(ValueError):
            found.append((unit, body_of(template, unit)))
    return tuple(found)


def _filled(template: str, unit: int) -> list[str]:
    parts = []
    for plain, name, form, conversion in Formatter().parse(template):
        parts.append(plain)
        if name is None:
            continue
        match = _FORM.fullmatch(form or "")
        if name != "addr" or conversion or match is None:
            raise ValueError(f"{{{name}{':' if form else ''}{form}}} is no placeholder: write {{addr}}, {{addr:02X}}")
        digits = format(unit, form or "d")
        if match[1] and len(digits) > int(match[1]):
            raise ValueError(f"unit {unit} does not fit into {{addr:{form}}}")
        parts.append(digits)
    return parts
