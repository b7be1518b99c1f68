import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.ascii.octets import MAX_OCTETS, Octets, parse_octets, show
from drivers.meaning import Strict


class Form(Strict):
    octets: Octets


@pytest.mark.parametrize(
    ("written", "octets"),
    [
        ("Q1\\r", b"Q1\r"),
        ("Q1\r", b"Q1\r"),  # as TOML's double quotes give it
        (r"\x02R\x03", b"\x02R\x03"),
        (r"\e@\t\\\n", b"\x1b@\t\\\n"),
        ({"hex": "02 52 0d"}, b"\x02R\r"),
        ("", b""),
    ],
)
def test_text_with_escapes_and_hex_are_bytes(written, octets):
    assert Form(octets=written).octets == octets


@pytest.mark.parametrize("written", [r"\q", "\\", r"\x0", "°C", {"hex": "0"}, {"HEX": "00"}, 13, ["02"], "x" * 257])
def test_what_is_no_bytes_is_refused(written):
    with pytest.raises(ValidationError):
        Form(octets=written)


@given(st.binary(max_size=MAX_OCTETS))
def test_bytes_are_shown_so_that_they_can_be_written_back_where_no_backslash_is_among_them(data):
    data = data.replace(b"\\", b"/")
    assert parse_octets(show(data)) == data


def test_text_in_another_encoding_is_shown_as_text():
    assert show("温度 21\r".encode("gb18030"), "gb18030") == "温度 21\\r"
    assert show(b"\xff\xff", "gb18030") == r"\xff\xff"
