import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.formula import MAX_LENGTH, OPERATORS, FormulaError, compiled, depth_of, evaluate, names_in
from tests.fuzzing import hostile
from tests.maps import untimed

VALUES = {"a": 3.5, "b": -2.0, "c": 0.0, "power_a": 7}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", 3.5),
        ("a + b * 2", -0.5),
        ("(a + b) * 2", 3.0),
        ("a - b - 1", 4.5),
        ("-a / b", 1.75),
        ("power_a // 2", 3),
        ("power_a % 4", 3),
        ("a / c", math.inf),
        ("b / c", -math.inf),
        ("b // c", -math.inf),
        ("c / c", math.nan),
        ("a % c", math.nan),
        (" 1.5e1 ", 15.0),
    ],
)
def test_a_formula_is_arithmetic(text, value):
    assert evaluate(compiled(text), VALUES) == pytest.approx(value, nan_ok=True)


formulas = st.recursive(
    st.sampled_from(["a", "b", "power_a", "2", "0.5"]),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner) | st.builds("-{}".format, inner)
    ),
    max_leaves=12,
)


@untimed
@given(formulas)
def test_a_formula_is_what_python_makes_of_the_same_text(text):
    try:
        expected = eval(text, {}, dict(VALUES))
    except ZeroDivisionError:
        expected = None
    found = evaluate(compiled(text), VALUES)
    assert found == expected if expected is not None else not math.isfinite(found) or found == 0


def test_the_names_of_a_formula_come_once_and_in_order():
    assert names_in(compiled("b + a * b - 2")) == ("b", "a")
    assert depth_of(compiled("a + b + c + a")) == 2
    assert depth_of(compiled("a + (b + (c + a))")) == 4


@pytest.mark.parametrize(
    "text",
    [
        *("", "a +", "a b", "a; b", "a = 1", "a == b", "a and b", "not a", "a if b else c", "a ** 2", "a | b", "~a"),
        *("f(a)", "a.b", "a[0]", "[a]", "lambda: a", "'a'", "True", "1j", "__import__('os')", "(a := 1)", "a\0b"),
        *("1e999", "9" * 30, "(" * 300 + "a" + ")" * 300, "a" * (MAX_LENGTH + 1), "(a + " * 20 + "a" + ")" * 20),
    ],
)  # fmt: skip
def test_what_is_no_formula_is_refused_with_a_hint(text):
    with pytest.raises(FormulaError) as error:
        compiled(text)
    assert str(error.value)
    assert error.value.hint


def test_hostile_text_is_a_formula_or_a_formula_error():
    good = [b"(a + b) / 2.5", b"power_a // 4 - 1", b"a * -b % 3"]
    for data in hostile(good, seed=5, longest=120):
        try:
            program = compiled(data.decode("latin-1"))
        except FormulaError:
            continue
        assert all(isinstance(token, int | float | str) for token in program)
        evaluate(program, dict.fromkeys((t for t in program if isinstance(t, str) and t not in OPERATORS), 2.0))
