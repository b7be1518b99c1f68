import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu import DecodePDU

from drivers.simulators.unit import Bank, Identity, Unit, registers

WORDS = bytearray(struct.pack(">10H", *range(100, 110)))


def read(function, address, count):
    return struct.pack(">BHH", function, address, count)


def test_a_read_gives_the_registers_as_they_lie():
    assert Unit("u", registers(40, WORDS)).answer(read(3, 42, 2)) == bytes((3, 4, 0, 102, 0, 103))


@pytest.mark.parametrize("function", [1, 2])
def test_bits_are_packed_with_the_first_one_lowest(function):
    bank = Bank(5, bytearray([1, 0, 1, 1, 0, 0, 0, 0, 1, 1]), width=1)
    assert Unit("u", {function: bank}).answer(read(function, 5, 10)) == bytes((function, 2, 0b1101, 0b11))


@pytest.mark.parametrize(("address", "count"), [(39, 1), (49, 2), (50, 1), (0xFFFF, 1)])
def test_reading_outside_the_span_is_exception_2(address, count):
    assert Unit("u", registers(40, WORDS)).answer(read(3, address, count)) == b"\x83\x02"


@pytest.mark.parametrize("count", [0, 126, 0xFFFF])
def test_a_count_no_device_takes_is_exception_3(count):
    assert Unit("u", registers(40, WORDS)).answer(read(3, 40, count)) == b"\x83\x03"


def test_a_forbidden_hole_is_exception_2_and_its_neighbours_are_not():
    bank = Bank(0, bytearray(20), defined=bytes([1, 1, 1, 0, 1, 1, 1, 1, 1, 1]))
    unit = Unit("u", {3: bank})
    assert unit.answer(read(3, 0, 4)) == b"\x83\x02"
    assert unit.answer(read(3, 0, 3)) == b"\x03\x06" + bytes(6)
    assert unit.answer(read(3, 4, 6)) == b"\x03\x0c" + bytes(12)


def test_a_table_the_device_lacks_is_exception_2_and_no_write():
    unit = Unit("u", {3: Bank(0, bytearray(2))})
    assert unit.answer(read(4, 0, 1)) == b"\x84\x02"
    assert unit.writes_refused == 0


@pytest.mark.parametrize("function", [0, 5, 6, 7, 8, 15, 16, 21, 22, 23, 90, 127])
def test_everything_but_reading_is_refused_and_counted(function):
    before = bytes(WORDS)
    unit = Unit("u", registers(40, WORDS), Identity("Acme", "M1"))
    assert unit.answer(bytes((function, 0, 40, 0, 7))) == bytes((function | 0x80, 1))
    assert (unit.writes_refused, unit.exceptions, unit.requests) == (1, 1, 1)
    assert bytes(WORDS) == before


def test_identification_is_understood_by_pymodbus():
    unit = Unit("u", registers(0, WORDS), Identity("Acme", "PM-9", "2.1"))
    decoder = DecodePDU(is_server=False)
    answer = decoder.decode(unit.answer(bytes((0x2B, 0x0E, 1, 0))))
    assert answer.information == {0: b"Acme", 1: b"PM-9", 2: b"2.1"}
    assert unit.answer(b"\x11") == b"\x11\x0b\x01\xffAcme PM-9"  # id, running, text
    one = decoder.decode(unit.answer(bytes((0x2B, 0x0E, 4, 1))))
    assert one.information == {1: b"PM-9"}


def test_identification_that_was_not_given_is_refused():
    unit = Unit("u", registers(0, WORDS))
    assert unit.answer(b"\x11") == b"\x91\x01"
    assert unit.answer(bytes((0x2B, 0x0E, 1, 0))) == b"\xab\x01"


@given(st.binary(min_size=1, max_size=253))
def test_any_pdu_gets_an_answer_that_fits_a_frame(pdu):
    unit = Unit("u", registers(40, bytearray(WORDS)), Identity("A" * 300, "B" * 300, "C" * 300))
    answer = unit.answer(pdu)
    assert 2 <= len(answer) <= 253
    assert answer[0] & 0x7F == pdu[0] & 0x7F


@given(st.integers(0, 12), st.integers(0, 12))
def test_a_good_answer_holds_exactly_what_was_asked(address, count):
    answer = Unit("u", registers(2, WORDS)).answer(read(4, address, count))
    if address >= 2 and count >= 1 and address + count <= 12:
        assert answer[2:] == WORDS[2 * (address - 2) : 2 * (address - 2 + count)]
    else:
        assert answer[0] == 0x84
