import pytest

from drivers.ascii.checksum import Check
from drivers.ascii.framing import Envelope
from drivers.ascii.question import body_of, names_unit


@pytest.mark.parametrize(
    ("template", "unit", "body"),
    [
        ("Q1", 7, b"Q1"),
        ("#{addr:02X}", 11, b"#0B"),
        ("#{addr:02x}", 11, b"#0b"),
        ("~00P{addr:03d}STB", 3, b"~00P003STB"),
        ("R{addr}?", 12, b"R12?"),
        ("R{addr:d}?", 12, b"R12?"),
        (r"\x02\x{addr:02X}\x03", 10, b"\x02\x0a\x03"),
        (r"{{\x7d}}", 1, b"{}}"),
    ],
)
def test_the_number_of_the_unit_is_put_in(template, unit, body):
    assert body_of(template, unit) == body


@pytest.mark.parametrize(
    "template",
    [
        "{unit}",
        "{}",
        "{addr!r}",
        "{addr:s}",
        "{addr.real}",
        "{addr[0]}",
        "{addr:_}",
        "{addr:099d}",
        "{addr",
        "a}b",
        r"\q",
    ],
)
def test_anything_else_in_braces_is_refused(template):
    with pytest.raises(ValueError):
        body_of(template, 1)


def test_a_number_that_needs_more_digits_is_refused_instead_of_moving_what_follows():
    with pytest.raises(ValueError, match="does not fit"):
        body_of("#{addr:02d}", 100)


def test_a_question_says_whether_it_names_its_unit():
    assert names_unit("#{addr:02X}")
    assert not names_unit("Q1 {{addr}}")


def test_checksum_and_end_are_put_behind_the_question():
    sealed = Envelope(end="\r", check=Check(kind="sum8", digits=True)).seal(b"#01")
    assert sealed == b"#0184\r"
    bcc = Envelope(start=r"\x02", end=r"\x03", check=Check(kind="xor8", behind_end=True)).seal(b"R01")
    assert bcc == b"\x02R01\x03" + bytes([ord("R") ^ ord("0") ^ ord("1") ^ 3])
