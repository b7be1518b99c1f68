import binascii
import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadFrame, Refused
from drivers.megatec.frame import LONGEST, AnswerLine, Query, crc16, encode, read_line, seal

#: Voltronic's published commands with their checksums.
CHECKSUMS = {"QPI": "BEAC", "QPIGS": "B7A9", "QMOD": "49C1", "QPIRI": "F854"}
STATUS = b"(226.0 195.0 226.0 014 49.0 27.5 30.0 00001000\r"  # Q1, Megatec protocol
RATINGS = b"#220.0 000 024.0 50.0\r"  # F, Megatec protocol


@pytest.mark.parametrize(("command", "checksum"), CHECKSUMS.items())
def test_the_checksum_of_published_commands_is_right(command, checksum):
    assert crc16(command.encode()) == int(checksum, 16)


@given(st.binary(max_size=60))
def test_the_checksum_is_xmodem_without_reserved_bytes(data):
    plain = binascii.crc_hqx(data, 0).to_bytes(2, "big")
    assert crc16(data).to_bytes(2, "big") == bytes(byte + (byte in (0x0A, 0x0D, 0x28)) for byte in plain)


def test_a_reserved_byte_occurs_and_is_replaced():
    found = [text for text in itertools.product(b"ABCDEFGH", repeat=3) if binascii.crc_hqx(bytes(text), 0) >> 8 == 0x0D]
    assert found
    assert all(crc16(bytes(text)) >> 8 == 0x0E for text in found)


@pytest.mark.parametrize("query", Query)
def test_a_question_is_its_name_and_a_carriage_return(query):
    assert encode(query) == query.value.encode() + b"\r"


def test_a_question_of_the_checksum_dialect_carries_it():
    assert encode(Query.QMOD, crc=True) == b"QMOD\x49\xc1\r"


ORDERS = [
    *("Q", "C", "CT", "T", "TL", "S", "ON", "OFF", "RESET", "M\rC", "Q1\rQ", "q1", "F ", " F", ""),
    *(f"T{n:02d}" for n in range(100)),
    *(f"S{n:02d}" for n in range(100)),
    *(f"S.{n}" for n in range(10)),
    *(f"S{n:02d}R{m:04d}" for n in range(0, 11, 5) for m in (0, 1, 9999)),
    *("SON", "SOFF", "SKON1", "SKOFF1", "PE", "PD", "BKON", "DATE20260101", "BATN3", "FREQ50", "V230", "QMDx", "QS "),
]


@pytest.mark.parametrize("crc", [False, True])
def test_no_order_can_be_written(crc):
    """Neither those of the protocol nor any other text of up to three letters that is no question."""
    short = (
        "".join(letters) for n in range(4) for letters in itertools.product(string.ascii_uppercase + "1267", repeat=n)
    )
    for text in (*ORDERS, *short):
        if text in Query.__members__:
            continue
        with pytest.raises(ValueError, match="is not a valid Query"):
            encode(text, crc=crc)


def test_no_question_is_an_order():
    """S switches off, T tests, C cancels; Q is the beeper's. QS and QT are no S or T: a UPS reads to the CR."""
    assert not [query for query in Query if query.value[0] in "STC" or query.value == "Q"]


@pytest.mark.parametrize(
    ("query", "line"),
    [
        (Query.Q1, b"(NAK\r"),
        (Query.Q1, b"NAK\r"),
        (Query.Q1, b"Q1\r"),
        (Query.Q1, b"?\r"),
        (Query.Q1, b"\r"),
        (Query.F, b"(NAK\r"),
        (Query.F, b"#NAK\r"),
        (Query.F, b"\x00\xffF\r".lstrip(b"\x00\xff")),
        (Query.QMOD, b"\xf0\x9f(NAK\r"),
    ],
)
def test_what_a_ups_says_to_an_unknown_question_is_a_lasting_refusal(query, line):
    with pytest.raises(Refused, match=f"{query}: the UPS does not know this question") as refused:
        read_line(query, line)
    assert not refused.value.retryable


@pytest.mark.parametrize("line", [b"(NAK\x73\x73\r", b"(NAK\r", b"QMOD\x49\xc1\r", b"QMOD\r"])
def test_the_checksum_dialect_refuses_with_and_without_checksum(line):
    with pytest.raises(Refused):
        read_line(Query.QMOD, line, crc=True)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"226.0 195.0\r", "does not begin with"),
        (b"#220.0 000 024.0 50.0\r", "does not begin with"),
        (b"(226.0 195.\x80 226.0\r", "not text"),
    ],
)
def test_what_is_no_answer_is_a_bad_frame(line, reason):
    with pytest.raises(BadFrame, match=reason):
        read_line(Query.Q1, line)


def test_a_wrong_checksum_is_a_bad_frame():
    sealed = seal(b"(S", crc=True)
    assert read_line(Query.QMOD, sealed, crc=True) == "S"
    for position in range(len(sealed) - 1):
        damaged = bytearray(sealed)
        damaged[position] ^= 0x01
        with pytest.raises(BadFrame):
            read_line(Query.QMOD, bytes(damaged), crc=True)


def test_without_the_checksum_the_damage_would_have_been_a_value():
    assert read_line(Query.QMOD, b"(R\r") == "R"


def test_a_bracket_begins_an_answer_anew_and_a_hash_does_not():
    assert read_line(Query.Q1, b"(226.0 195" + STATUS) == STATUS.decode()[1:-1]
    assert read_line(Query.I, b"#A#B\r") == "A#B"


NOISE = {
    "nothing": b"",
    "zeros": b"\0\0",
    "line feeds": b"\n\n",
    "an empty line": b"\r",
    "the echo": b"Q1\r",
    "the echo and an empty line": b"Q1\r\r\n",
    "bytes of a wrong baud rate": b"\xfe\xf8\x80",
    "an answer cut short": STATUS[:20],
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_the_answer_is_found_behind(noise):
    data = noise + STATUS
    whole = AnswerLine(Query.Q1).find(data, silent=False)
    assert whole is not None
    assert data[slice(*whole)] == STATUS
    places = [AnswerLine(Query.Q1).find(data[:end], silent=False) for end in range(len(data))]
    assert set(places) == {None}, "found before it was whole"


@pytest.mark.parametrize("line", [b"\r", b"Q1\r", b"\0\rQ1\r"])
def test_an_echo_or_an_empty_line_counts_only_when_nothing_follows(line):
    finder = AnswerLine(Query.Q1)
    assert finder.find(line, silent=False) is None
    place = finder.find(line, silent=True)
    assert place is not None
    with pytest.raises(Refused):
        read_line(Query.Q1, line[slice(*place)])


@given(st.binary(max_size=2 * LONGEST), st.booleans())
def test_a_place_that_is_found_is_a_line(data, silent):
    for query in Query:
        place = AnswerLine(query).find(data, silent=silent)
        if place is not None:
            begin, end = place
            assert 0 <= begin < end <= len(data)
            assert data[end - 1 : end] == b"\r"
