import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ascii.layout import Layout, Place, Repeat, read, write
from drivers.errors import BadFrame
from tests.fuzzing import hostile

Q1 = b"226.0 195.0 226.0 014 49.0 27.5 30.0 00001000"
COLUMNS = Layout(length=45)
Q1_PLACES = {
    "input_voltage": Place(at=0, width=5),
    "load": Place(at=18, width=3),
    "bypass": Place(at=39, width=1),
    "standby": Place(at=41, width=1),
}
SPLIT = Layout(layout="split")
LEAK = Layout(layout="split", separator=",", length=4, nulls=("N/A",))
LEAK_PLACES = {
    "state": Place(field=0, type="word", words={"OK": 0, "LEAK": 1, "BREAK": 2}),
    "distance": Place(field=1, width=5),
    "last": Place(field=3, width=2, type="hex"),
}
PANEL = Layout(
    layout="pattern",
    encoding="gb18030",
    pattern=r"(?P<loop>\d{1,3})-(?P<address>\d{1,3}) (?P<what>火警|故障|恢复)(?: (?P<words>[^\r\n]+))?",
    drop=(b"\x1b@", b"\x1c&"),
)
PANEL_PLACES = {
    "loop": Place(group="loop"),
    "address": Place(group="address"),
    "event": Place(group="what", type="word", words={"火警": 1, "故障": 2, "恢复": 3}),
    "words": Place(group="words", type="text"),
}
BYTES = Layout(layout="bytes", length=6)
BYTES_PLACES = {
    "status": Place(at=0, type="u8", bits=(0, 3)),
    "alarm": Place(at=0, type="u8", bit=7),
    "level": Place(at=1, type="s16", low_first=True),
    "serial": Place(at=3, type="bcd", width=3),
}
CELLS = Layout(layout="hex", length=3, repeat=Repeat(count=Place(at=0, type="u8"), first=1, size=2, most=16))
CELLS_PLACES = {
    **{f"cell_{k + 1}": Place(item=k, at=0, type="u16") for k in range(4)},
    "current": Place(behind=True, at=0, type="s16"),
}
BATTERY = b"0312D412D50CE0FF38"

ALL = {
    "columns": (COLUMNS, Q1_PLACES, Q1),
    "split": (LEAK, LEAK_PLACES, b"LEAK,012.5,x,0F"),
    "pattern": (PANEL, PANEL_PLACES, "2027-01-15 03:12 012-045 火警 3号机房".encode("gb18030")),
    "bytes": (BYTES, BYTES_PLACES, bytes.fromhex("8538FF012345")),
    "hex with groups": (CELLS, CELLS_PLACES, BATTERY),
}
VALUES = {
    "columns": {"input_voltage": 226.0, "load": 14, "bypass": 0, "standby": 1},
    "split": {"state": 1, "distance": 12.5, "last": 15},
    "pattern": {"loop": 12, "address": 45, "event": 1, "words": "3号机房"},
    "bytes": {"status": 5, "alarm": 1, "level": -200, "serial": 12345},
    "hex with groups": {"cell_1": 4820, "cell_2": 4821, "cell_3": 3296, "cell_4": None, "current": -200},
}
each = pytest.mark.parametrize("name", ALL)


@each
def test_the_values_of_an_answer_are_read_from_their_places(name):
    layout, places, body = ALL[name]
    assert read(layout, body, places) == VALUES[name]


@each
def test_other_values_written_into_a_known_answer_read_back(name):
    layout, places, body = ALL[name]
    other = {
        "columns": {"input_voltage": 99.5, "load": 100, "bypass": 1, "standby": 0},
        "split": {"state": 2, "distance": 0.5, "last": 255},
        "pattern": {"loop": 3, "address": 7, "event": 3, "words": "电池室 烟感 A12"},
        "bytes": {"status": 10, "alarm": 0, "level": 1234, "serial": 999999},
        "hex with groups": {"cell_1": 1, "cell_2": 2, "cell_3": 3, "cell_4": None, "current": 32767},
    }[name]
    assert read(layout, write(layout, body, places, other), places) == other


@pytest.mark.parametrize("name", ["columns", "bytes", "hex with groups"])
def test_an_answer_with_a_character_too_few_or_too_many_is_a_bad_frame(name):
    """A character lost in the middle moves everything behind it: 226.0 would become 26.0."""
    layout, places, body = ALL[name]
    for at in range(len(body)):
        for wrong in (body[:at] + body[at + 1 :], body[:at] + b"0" + body[at:]):
            with pytest.raises(BadFrame):
                read(layout, wrong, places)


def test_without_the_length_a_lost_character_would_have_been_a_wrong_value():
    careless = Layout()
    assert read(careless, b"26.0 " + Q1[5:], {"v": Place(at=0, width=4)}) == {"v": 26.0}


@each
def test_an_answer_that_is_cut_off_is_a_bad_frame_or_lacks_what_was_cut(name):
    layout, places, body = ALL[name]
    whole = VALUES[name]
    for end in range(len(body)):
        try:
            values = read(layout, body[:end], places)
        except BadFrame:
            continue
        assert all(values[key] in (whole[key], None) or isinstance(whole[key], str) for key in whole), body[:end]


def test_a_body_may_be_longer_where_the_profile_says_so():
    layout = Layout(layout="split", length=2, longer=True)
    places = {"a": Place(field=0)}
    assert read(layout, b"1 2 3", places) == {"a": 1}
    with pytest.raises(BadFrame, match="has 1 fields, not 2"):
        read(layout, b"1", places)


def test_a_sensor_that_says_it_has_no_value_gives_none():
    assert read(LEAK, b"OK,---.-,x,00", LEAK_PLACES) == {"state": 0, "distance": None, "last": 0}
    assert read(LEAK, b"OK,  N/A,x,00", LEAK_PLACES)["distance"] is None
    assert read(LEAK, b"OK,     ,x,00", LEAK_PLACES)["distance"] is None


def test_any_run_of_blanks_separates_unless_a_separator_is_given():
    places = {"a": Place(field=0), "b": Place(field=1)}
    assert read(SPLIT, b"  12.5 \t 7", places) == {"a": 12.5, "b": 7}


def test_a_group_of_the_pattern_that_took_no_part_has_no_value():
    assert read(PANEL, "001-002 恢复".encode("gb18030"), PANEL_PLACES)["words"] is None


def test_control_sequences_of_a_printer_are_taken_out_also_in_the_middle():
    body = b"\x1b@\x1c&012-0\x1b@45 " + "火警".encode("gb18030")
    assert read(PANEL, body, PANEL_PLACES)["address"] == 45


@pytest.mark.parametrize("count", ["11", "FF"])
def test_more_groups_than_there_may_be_are_a_bad_frame(count):
    with pytest.raises(BadFrame, match="lists"):
        read(CELLS, count.encode() + b"12D4" * 300, CELLS_PLACES)


@pytest.mark.parametrize("body", [b"0", b"0g", b" 01", b"0_1"])
def test_what_is_no_pair_of_hex_digits_is_a_bad_frame(body):
    with pytest.raises(BadFrame):
        read(CELLS, body, CELLS_PLACES)


@each
def test_hostile_answers_give_values_of_the_right_kind_or_a_bad_frame(name):
    layout, places, body = ALL[name]
    accepted = 0
    for data in hostile([body], seed=11, longest=2 * len(body)):
        try:
            values = read(layout, data, places)
        except BadFrame:
            continue
        accepted += 1
        assert values.keys() == places.keys()
        for point, value in values.items():
            assert value is None or isinstance(value, str) == (places[point].type == "text")
    assert accepted


@given(st.lists(st.floats(-999, 999).map(lambda x: round(x, 1)), min_size=3, max_size=3))
def test_numbers_survive_the_way_to_the_wire_and_back(numbers):
    layout = Layout(layout="split", separator=",")
    places = {f"v{k}": Place(field=k) for k in range(3)}
    values = dict(zip(places, numbers, strict=True))
    assert read(layout, write(layout, b"+023.4,+000.0,+999.9", places, values), places) == values
