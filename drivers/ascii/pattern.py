"""Which regular expressions may read an answer: those whose search cannot take long, whatever a device sends.

Python tries one way through a pattern after the other, so `(a+)+b` needs years for fifty characters. A pattern is
allowed when at each character it is clear which way to go: what is repeated or left out does not begin like what
follows, and no two alternatives begin alike, unless they are plain words none of which another one begins with. Then a
search takes at most about as many steps as the square of the text's length.
"""

import re
import re._parser as parser  # type: ignore[import-not-found] # the one place that knows the grammar; tests hold it
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

#: A line of a fire panel with ten fields needs some 150 characters.
MAX_PATTERN = 400

_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
#: Every ASCII character, and one of each other kind that the categories tell apart: letters, a digit, a blank, a sign.
_SAMPLES = frozenset(map(chr, range(128))) | frozenset("é温０　℃")

Mistake = tuple[str, str]  # reason, hint
Item = tuple[Any, Any]

_FLAGS: Mistake = ("has flags", "write [Aa] for both sizes of a letter")


def slow_parts(pattern: str) -> list[Mistake]:
    """(reason, hint) of everything that makes `pattern` none that may be used; empty: it may."""
    if len(pattern) > MAX_PATTERN:
        return [(f"is {len(pattern)} characters long", f"at most {MAX_PATTERN}")]
    try:
        re.compile(pattern)
        tree = parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return [(f"is no regular expression: {error}", "try it with a line that the device sent")]
    if tree.state.flags & ~re.UNICODE:
        return [_FLAGS]
    reader = _Reader(tree)
    return list(dict.fromkeys(reader.mistakes(tree, frozenset())))


class _Reader:
    """Walks a parsed pattern. Sets of characters are sets of samples: every one that a class of the pattern names, its
    neighbours, and one of each kind. Two classes that share any character share a sample.
    """

    def __init__(self, tree: Iterable[Item]) -> None:
        self._all = _SAMPLES | {chr(code + d) for code in _codes(tree) for d in (-1, 0, 1) if 0 <= code + d < 0x110000}

    def mistakes(self, items: Iterable[Item], follow: frozenset[str]) -> Iterator[Mistake]:
        """`follow`: what may come behind `items`."""
        items = list(items)
        for place, (op, argument) in enumerate(items):
            yield from self._of(str(op), argument, self._first(items[place + 1 :], follow))

    def _of(self, op: str, argument: Any, follow: frozenset[str]) -> Iterator[Mistake]:
        if op in _REPEATS:
            low, high, inner = argument
            first = self._first(inner, frozenset())
            if self._empty(inner):
                yield "repeats what may be empty", "make the repeated part at least one character long"
            elif low != high and op != "POSSESSIVE_REPEAT" and first & follow:
                shown = "".join(sorted(first & follow)[:3])
                yield (
                    f"what is repeated or left out may begin like what follows (with {shown!r})",
                    r"say what it must not hold: [^,]*, instead of .*, and \d+(?:\.\d+)? instead of \d+\.?\d*",
                )
            yield from self.mistakes(inner, follow | first if high > 1 else follow)
        elif op == "SUBPATTERN":
            if argument[1] or argument[2]:
                yield _FLAGS
            yield from self.mistakes(argument[3], follow)
        elif op == "ATOMIC_GROUP":
            yield from self.mistakes(argument, follow)
        elif op == "BRANCH":
            yield from self._alternatives(argument[1], follow)
        elif op not in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT"):
            yield f"looks around or back ({op.lower()})", "use groups, classes, repeats and alternatives only"

    def _alternatives(self, branches: Sequence[Sequence[Item]], follow: frozenset[str]) -> Iterator[Mistake]:
        words = [_word(branch) for branch in branches]
        for (one, this), (other, that) in combinations(zip(branches, words, strict=True), 2):
            if this is not None and that is not None:
                alike = this.startswith(that) or that.startswith(this)
            else:
                alike = bool(self._first(one, follow) & self._first(other, follow))
            if alike:
                hint = "put what they share before the ( and only what differs inside"
                yield "two alternatives may begin alike", hint
        for branch in branches:
            yield from self.mistakes(branch, follow)

    def _first(self, items: Iterable[Item], follow: frozenset[str]) -> frozenset[str]:
        """The characters that `items`, and what follows where they may be empty, may begin with."""
        found: frozenset[str] = frozenset()
        for op, argument in items:
            found |= self._begin(str(op), argument)
            if not self._empty([(op, argument)]):
                return found
        return found | follow

    def _begin(self, op: str, argument: Any) -> frozenset[str]:
        if op == "LITERAL":
            return frozenset(chr(argument))
        if op == "NOT_LITERAL":
            return self._all - {chr(argument)}
        if op == "ANY":
            return self._all - {"\n"}
        if op == "IN":
            return self._class(argument)
        if op == "BRANCH":
            return frozenset().union(*(self._first(branch, frozenset()) for branch in argument[1]))
        inner = {"SUBPATTERN": 3, "ATOMIC_GROUP": None, **dict.fromkeys(_REPEATS, 2)}
        if op not in inner:
            return frozenset()
        place = inner[op]
        return self._first(argument if place is None else argument[place], frozenset())

    def _class(self, members: Iterable[Item]) -> frozenset[str]:
        found: set[str] = set()
        negated = False
        for op, argument in members:
            if str(op) == "NEGATE":
                negated = True
            elif str(op) == "LITERAL":
                found.add(chr(argument))
            elif str(op) == "RANGE":
                found |= {c for c in self._all if argument[0] <= ord(c) <= argument[1]}
            else:
                category = re.compile(_CATEGORIES[str(argument)])
                found |= {c for c in self._all if category.match(c)}
        return self._all - found if negated else frozenset(found)

    def _empty(self, items: Iterable[Item]) -> bool:
        """Whether `items` may match nothing."""
        return all(self._may_be_empty(str(op), argument) for op, argument in items)

    def _may_be_empty(self, op: str, argument: Any) -> bool:
        if op in _REPEATS:
            return argument[0] == 0 or self._empty(argument[2])
        if op == "SUBPATTERN":
            return self._empty(argument[3])
        if op == "ATOMIC_GROUP":
            return self._empty(argument)
        if op == "BRANCH":
            return any(self._empty(branch) for branch in argument[1])
        return op not in ("LITERAL", "NOT_LITERAL", "ANY", "IN")


def _codes(tree: Any) -> Iterator[int]:
    """Every number in a parsed pattern: code points, and some that are none, which does no harm."""
    if isinstance(tree, int) and not isinstance(tree, bool):
        yield int(tree)
    elif isinstance(tree, list | tuple | parser.SubPattern):
        for part in tree:
            yield from _codes(part)


def _word(branch: Iterable[Item]) -> str | None:
    """The plain word that a branch is; None: it is more than that."""
    items = list(branch)
    return "".join(chr(code) for _, code in items) if items and all(str(op) == "LITERAL" for op, _ in items) else None
