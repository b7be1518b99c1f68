"""One field of an answer: a number, flags or text of a documented width.

A field of dashes or blanks is not available: None. One that is too narrow, or holds anything else than it should, makes
the answer a damaged one: the protocol has no checksum, so the form of an answer is all that can be checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Value = float | str | None
Values = dict[str, Value]

#: More digits than documented that a number may have; one model says 00037 minutes where three digits are documented.
MAX_GROWTH = 2
#: Letters of QMOD in the order of the digits by which Q6 says the same: that digit is the value of `mode`.
MODES = "PSYLBTFCED"

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_NOT_AVAILABLE = re.compile(r"(-+(\.-+)?)?")
_FORM = {"flags": re.compile("[01-]+"), "digits": re.compile("[0-9]+"), "hex": re.compile("[0-9A-Fa-f]+")}


@dataclass(frozen=True, slots=True)
class Field:
    """`width` characters of an answer and the values they give."""

    names: tuple[str, ...]  #: of flags and digits one per character, else one; "" for what has no known meaning
    width: int
    kind: Literal["number", "flags", "digits", "hex", "mode", "text"]
    decimals: int | None = 0  #: of a number as it is written; None: as many as fit, one at least (27.5, 2.27)
    pad: str = "0"  #: what a number is filled up with

    def read(self, text: str) -> Values:
        """The values in `text`, blanks around it removed. Raises ValueError when it has not this form."""
        names = [name for name in self.names if name]
        if _NOT_AVAILABLE.fullmatch(text):
            return dict.fromkeys(names)
        if self.kind == "text":
            return {names[0]: text.strip("# ") or None}
        if self.kind == "mode" and len(text) == 1:
            return {names[0]: float(MODES.index(text)) if text in MODES else None}
        if self.kind == "number":
            digits = text.lstrip("#")
            if _NUMBER.fullmatch(digits) and len(text) <= self.width + MAX_GROWTH:
                return dict.fromkeys(names, float(digits))
        elif len(text) == self.width and _FORM[self.kind].fullmatch(text):
            if self.kind == "hex":
                return {names[0]: float(int(text, 16))}
            named = [(name, text[at]) for at, name in enumerate(self.names) if name]
            return {name: None if digit == "-" else float(digit) for name, digit in named}
        raise ValueError(f"{text!r} is not {self.kind} of {self.width} characters")

    def write(self, values: Mapping[str, Value]) -> str:
        """The text that says `values`; None becomes dashes, long names are cut. Raises ValueError for a long number."""
        held = [values.get(name) for name in self.names]
        if self.kind == "text":
            text = str(held[0] or "")[: self.width].ljust(self.width)
        elif self.kind == "mode":
            text = "-" if held[0] is None else MODES[int(float(held[0]))]
        elif self.kind in ("flags", "digits"):
            text = "".join(f"{float(value or 0):.0f}" for value in held)
        elif held[0] is None:
            text = self._dashes()
        elif self.kind == "hex":
            text = f"{int(float(held[0])):0{self.width}X}"
        else:
            text = self._number(float(held[0]))
        if len(text) > self.width + (MAX_GROWTH if self.kind == "number" else 0):
            raise ValueError(f"{', '.join(self.names)}: {text!r} does not fit into {self.width} characters")
        return text

    def _dashes(self) -> str:
        decimals = 1 if self.decimals is None else self.decimals
        return "-" * (self.width - decimals - 1) + "." + "-" * decimals if decimals else "-" * self.width

    def _number(self, value: float) -> str:
        decimals = self.decimals
        if decimals is None:
            decimals = max(1, self.width - 1 - len(f"{abs(value):.0f}"))
        return f"{value:{self.pad}={self.width}.{decimals}f}"
