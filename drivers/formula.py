"""Formulas in profiles, `(a + b) / 2`: numbers, names, + - * / // % and parentheses, as a program for a stack.

A formula is data: it is parsed, never run as Python, and knows nothing but arithmetic.
"""

import ast
import math
from collections.abc import Mapping
from functools import lru_cache

#: A number, the name of a value, or an operator, in the order of their use (postfix).
Token = float | int | str
Program = tuple[Token, ...]

NEGATE = "~"
OPERATORS = frozenset({"+", "-", "*", "/", "//", "%", NEGATE})
#: A sum over the 84 branches of a panel has some 1,500 characters.
MAX_LENGTH = 2000
#: Values that wait on the stack at once: only parentheses need more than two.
MAX_STACK = 16

#: Beyond it a double does not tell neighbours apart.
LARGEST = 2.0**53

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
_HINT = "numbers, names, + - * / and parentheses"


class FormulaError(ValueError):
    """What is wrong in a formula; `hint` says what may stand there."""

    def __init__(self, reason: str, hint: str = _HINT) -> None:
        self.hint = hint
        super().__init__(reason)


@lru_cache(maxsize=4096)  # a formula is asked for by the linter, the planner and for each device of its model
def compiled(text: str) -> Program:
    """The program of a formula. Raises FormulaError."""
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"has {len(text)} characters, at most {MAX_LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        program = tuple(_tokens(tree.body))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, FormulaError):
            raise
        raise FormulaError(f"{text!r} is no formula") from None
    if depth_of(program) > MAX_STACK:
        raise FormulaError(f"nests more than {MAX_STACK} values deep", "leave out parentheses, or reorder it")
    return program


def names_in(program: Program) -> tuple[str, ...]:
    """The names a program asks for, each once, in the order of their first use."""
    return tuple(dict.fromkeys(token for token in program if isinstance(token, str) and token not in OPERATORS))


def depth_of(program: Program) -> int:
    """The most values that wait on the stack at once."""
    deepest = depth = 0
    for token in program:
        depth += 0 if token == NEGATE else -1 if isinstance(token, str) and token in OPERATORS else 1
        deepest = max(deepest, depth)
    return deepest


def evaluate(program: Program, values: Mapping[str, float]) -> float:
    """The value of a program. Division by zero gives infinity or NaN, as in C. Raises KeyError for an unknown name."""
    stack: list[float] = []
    for token in program:
        if not isinstance(token, str):
            stack.append(token)
        elif token == NEGATE:
            stack.append(-stack.pop())
        elif token in OPERATORS:
            right, left = stack.pop(), stack.pop()
            try:
                stack.append(_apply(token, left, right))
            except OverflowError:  # of whole numbers that no double holds
                stack.append(math.inf)
        else:
            stack.append(values[token])
    return stack.pop()


def _apply(operator: str, left: float, right: float) -> float:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if right == 0:
        return math.nan if left == 0 or left != left or operator == "%" else math.copysign(math.inf, left * right)
    return left / right if operator == "/" else left // right if operator == "//" else left % right


def _tokens(node: ast.expr) -> list[Token]:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):  # bool is an int, too
        number: float = node.value  # type: ignore[assignment]
        if number >= LARGEST:
            raise FormulaError("holds a number that is too large", f"below {LARGEST:.0f}")
        return [number]
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return [*_tokens(node.operand), NEGATE]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return [*_tokens(node.left), *_tokens(node.right), _BINARY[type(node.op)]]
    raise FormulaError(f"{ast.unparse(node)!r} is not allowed")
