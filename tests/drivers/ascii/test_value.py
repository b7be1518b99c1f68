import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ascii.value import IN_BYTES, IN_TEXT, SIZES, Form, from_bytes, from_text, to_bytes, to_text
from drivers.errors import BadFrame

NULLS = ("NaN", "ERR", "2020")


@pytest.mark.parametrize(
    ("form", "token", "value"),
    [
        ({}, "+023.4", 23.4),
        ({}, "  -1.5 ", -1.5),
        ({}, "1.20E-3", 0.0012),
        ({}, ".5", 0.5),
        ({}, "007", 7.0),
        ({}, "---.-", None),
        ({}, "-", None),
        ({}, "   ", None),
        ({}, "NaN", None),
        ({}, "ERR", None),
        ({}, "2020", None),
        ({"type": "hex"}, "00fF", 255),
        ({"type": "hex-signed"}, "FFF6", -10),
        ({"type": "hex-signed"}, "7FFF", 32767),
        ({"type": "hex", "bit": 7}, "80", 1),
        ({"type": "hex", "bits": (4, 6)}, "5A", 5),
        ({"type": "word", "words": {"LEAK": 1, "OK": 0}}, "LEAK", 1),
        ({"type": "word", "words": {"LEAK": 1, "OK": 0}}, "SERVICE", None),
        ({"type": "word", "words": {"LEAK": 1, "*": 9}}, "SERVICE", 9),
        ({"type": "text"}, " 3号机房 ", "3号机房"),
    ],
)
def test_characters_are_read(form, token, value):
    assert from_text(Form(**form), token, NULLS) == value


@pytest.mark.parametrize(
    "token", ["2b.5", "1_000", "1,5", "inf", "nan", "0x10", "+ 1", "٣", "１２", "1e9999", "1" * 21]
)
def test_characters_that_only_python_takes_for_a_number_are_a_bad_frame(token):
    with pytest.raises(BadFrame):
        from_text(Form(), token, NULLS)


@pytest.mark.parametrize("token", ["+1", "g", "0x1", "1" * 17, "1_0"])
def test_hex_digits_are_digits_only(token):
    with pytest.raises(BadFrame):
        from_text(Form(type="hex"), token, ())


@pytest.mark.parametrize(
    ("form", "octets", "value"),
    [
        ({"type": "u16"}, "00A0", 160),
        ({"type": "u16", "low_first": True}, "A000", 160),
        ({"type": "s16"}, "FE66", -410),
        ({"type": "s24"}, "FFFFFF", -1),
        ({"type": "u64"}, "FFFFFFFFFFFFFFFF", 2**64 - 1),
        ({"type": "f32", "low_first": True}, "B67B6443", 228.48324584960938),  # YD/T 1363: low byte first
        ({"type": "bcd"}, "012345", 12345),
        ({"type": "bcd", "low_first": True}, "452301", 12345),
        ({"type": "bcd"}, "FFFFFF", None),
        ({"type": "u8", "bit": 3}, "08", 1),
        ({"type": "u16", "bits": (8, 11)}, "1234", 2),
        ({"type": "text"}, "503120000000", "P1"),
    ],
)
def test_bytes_are_read(form, octets, value):
    assert from_bytes(Form(**form), bytes.fromhex(octets), "ascii") == value


def test_packed_digits_that_are_none_are_a_bad_frame():
    with pytest.raises(BadFrame):
        from_bytes(Form(type="bcd"), b"\x1a", "ascii")


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (-1.5, "+023.4", "-001.5"),
        (7.25, "  12.34", "   7.25"),
        (7, "014", "007"),
        (None, "+023.4", "----.-"),
        (None, "---.-", "---.-"),
        (None, "2020", " NaN"),
        (0.04, "---.-", "000.0"),
        (1234.5, "+023.4", "+01234"),
    ],
)
def test_a_value_is_written_as_the_device_wrote_another(value, like, text):
    assert to_text(Form(), value, like, ("NaN",) if like == "2020" else ()) == text


@pytest.mark.parametrize(("value", "like"), [(123456, "+023.4"), (-1000.0, "14.0")])
def test_a_number_that_needs_more_characters_is_refused(value, like):
    with pytest.raises(ValueError, match="does not fit"):
        to_text(Form(), value, like, ())


def test_one_bit_is_written_and_the_others_stay():
    assert to_text(Form(type="hex", bit=0), 1, "80", ()) == "81"
    assert to_bytes(Form(type="u8", bit=7), 0, b"\x81", "ascii") == b"\x01"


@pytest.mark.parametrize("kind", sorted(SIZES))
def test_every_number_of_bytes_reads_back(kind):
    @given(st.integers(-(2**63), 2**64 - 1), st.booleans())
    def reads_back(number, low_first):
        form, size = Form(type=kind, low_first=low_first), SIZES[kind]
        bits = 8 * size
        value = number % (1 << bits) if kind[0] == "u" else (number + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
        written = to_bytes(form, value, bytes(size), "ascii")
        read = from_bytes(form, written, "ascii")
        assert read == value if kind[0] != "f" else math.isclose(read, value, rel_tol=1e-6)

    reads_back()


@given(st.text(max_size=40), st.sampled_from(sorted(IN_TEXT)), st.sampled_from([None, 0, 63]))
def test_any_characters_give_a_value_or_a_bad_frame(token, kind, bit):
    try:
        value = from_text(Form(type=kind, bit=bit, words={"A": 1}), token, NULLS)
    except BadFrame:
        return
    assert value is None or isinstance(value, str) == (kind == "text")


@given(st.binary(min_size=8, max_size=8), st.sampled_from(sorted(IN_BYTES)), st.booleans())
def test_any_bytes_give_a_value_or_a_bad_frame(data, kind, low_first):
    data = data[: SIZES.get(kind, 8)]
    try:
        value = from_bytes(Form(type=kind, low_first=low_first), data, "gb18030")
    except BadFrame:
        return
    assert value is None or isinstance(value, str) == (kind == "text")
