"""lines: the grammar agrees with itself, and takes apart what it lets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.bridge.lines import field_count, heads, is_body, is_line, parse_line
from tests.bridge.payloads import TS_NS, line

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
texts = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=("Cs",)), max_size=12)
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    texts,
)


def escaped(text: str, what: str) -> str:
    return "".join("\\" + c if c in what else c for c in text)


def written(value: float | int | str) -> str:
    if isinstance(value, str):
        return '"' + escaped(value, '"\\') + '"'
    return f"{value}i" if isinstance(value, int) else repr(value)


@given(
    tags=st.dictionaries(names, texts.filter(lambda t: t.strip() and "\\" not in t), max_size=3),
    fields=st.dictionaries(names, values, min_size=1, max_size=5),
    ts_ns=st.integers(-(2**62), 2**62),
)
def test_every_line_that_is_written_is_read_back(tags, fields, ts_ns):
    head = "power" + "".join(f",{k}={escaped(v, ', =')}" for k, v in tags.items())
    text = f"{head} {','.join(f'{k}={written(v)}' for k, v in fields.items())} {ts_ns}".encode()
    parsed = parse_line(text)
    assert (parsed.measurement, dict(parsed.tags), parsed.ts_ns) == ("power", tags, ts_ns)
    assert dict(parsed.fields) == fields
    assert field_count(text) == len(fields)
    assert heads(text + b"\n") == [head.encode()]


@pytest.mark.parametrize(("text", "value"), [("t", 1), ("False", 0), ("7u", 7), ("-1.5e-3", -0.0015), ('""', "")])
def test_each_kind_of_value_is_read(text, value):
    assert parse_line(line(f"u={text}")[:-1]).fields == (("u", value),)


@pytest.mark.parametrize("text", ["u=9223372036854775808i", "u=1e999", "u=NaN", "u=1 1", "", "u=1,,v=2"])
def test_a_value_without_a_place_in_64_bits_is_refused(text):
    with pytest.raises(ValueError):
        parse_line(line(text)[:-1])


def test_a_body_is_good_exactly_when_each_of_its_lines_is():
    good, bad = line(), line("u=oops")
    assert is_line(good[:-1])
    assert is_body(good * 3)
    assert is_body(b"")
    assert not is_line(bad[:-1])
    assert not is_line(good)  # the newline belongs to the body
    assert not is_body(good + bad + good)
    assert not is_body(good[:-1])


def test_heads_are_one_per_line_even_with_escaped_spaces():
    body = line(device="a\\ b") + line(device="c") + line('t="x y"', device="d")
    assert [head.rpartition(b"=")[2] for head in heads(body)] == [b"a\\ b", b"c", b"d"]
    assert parse_line(body.splitlines()[0]).tags[-1] == ("device", "a b")
    assert parse_line(body.splitlines()[0]).ts_ns == TS_NS
