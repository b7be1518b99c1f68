"""What stands in INFO: fields, nulls, and groups as many as the answer says."""

import math
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadFrame
from drivers.ydt1363.frame import unseal
from drivers.ydt1363.layout import Item, Reader, build, fields, mistakes, octets_of, value_of
from tests.drivers.ydt1363 import vectors
from tests.fuzzing import hostile
from tests.maps import untimed

PANEL = (
    Item(
        count="inputs",
        each="input",
        of=(
            Item(type="f32", names=("ua", "ub", "uc", "hz")),
            Item(count="extras", each="extra", of=(Item(type="f32", names=("value",)),)),
        ),
    ),
    Item(type="f32", names=("ia", "ib", "ic")),
)
FLAG = Item(type="u8", names=("dataflag",), null=False)


def read(items, octets):
    reader = Reader(octets)
    reader.read(items)
    return reader.values


def test_a_float_has_its_low_byte_first_and_a_whole_number_its_high_byte():
    assert value_of(Item(type="f32", names=("x",)), bytes.fromhex("B67B6443")) == pytest.approx(228.483, abs=5e-4)
    assert value_of(Item(type="u16", names=("x",)), b"\x0d\x1f") == 3359
    assert value_of(Item(type="s16", names=("x",)), b"\xfe\x66") == -410
    assert value_of(Item(type="u24", names=("x",)), b"\x01\x00\x02") == 65538
    assert value_of(Item(type="s32", names=("x",)), b"\xff\xff\xff\xfe") == -2


@pytest.mark.parametrize("kind", ["u8", "s16", "u16", "u24", "u32", "f32"])
def test_a_field_full_of_20_has_no_value_unless_the_layout_says_otherwise(kind):
    octets = b"\x20" * Item(type=kind, names=("x",)).size
    assert value_of(Item(type=kind, names=("x",)), octets) is None
    assert value_of(Item(type=kind, names=("x",), null=False), octets) is not None


def test_texts_versions_and_clocks_are_read_as_people_write_them():
    assert value_of(Item(type="text", length=10, names=("x",)), b"US2KBPL\0\0\0") == "US2KBPL"
    assert value_of(Item(type="text", length=6, names=("x",)), "空调".encode("gb18030") + b"  ") == "空调"
    assert value_of(Item(type="version", length=2, names=("x",)), b"\x02\x03") == "2.3"
    assert value_of(Item(type="time", names=("x",)), bytes.fromhex("07EA0B190700 3B")) == "2026-11-25T07:00:59"
    assert value_of(Item(type="time", names=("x",)), b"\x07\xea\x0d\x20\x19\x00\x00") is None  # month 13


def test_a_published_panel_with_two_inputs_is_taken_apart_and_blanks_have_no_value():
    said = read((FLAG, *PANEL), unseal(vectors.PANEL_BLANKS + b"\r").octets)
    assert said["inputs"] == 2
    assert said["input[1].ua"] == pytest.approx(390.240, abs=5e-4)
    assert said["input[2].ua"] == pytest.approx(1.041, abs=5e-4)
    assert said["input[2].hz"] is None
    assert said["ib"] is None
    assert "input[3].ua" not in said


def test_a_published_panel_with_one_input_has_no_second():
    said = read((FLAG, *PANEL), unseal(vectors.PANEL_SAYS + b"\r").octets)
    assert (said["dataflag"], said["inputs"], said["input[1].extras"]) == (0x11, 1, 0)
    assert "input[2].ua" not in said


@pytest.mark.parametrize(
    ("frame", "tail", "modules", "said"),
    [
        (vectors.PYLON_STACK, ("full", "cycles"), 3, {"voltage": 49504, "current": -27, "left": 33500, "cycles": 31}),
        (vectors.PYLON_LARGE_STACK, ("", "cycles", "long"), 4, {"voltage": 49593, "current": -69, "long": 60680}),
    ],
)
def test_published_stacks_of_batteries_are_groups_of_groups(frame, tail, modules, said):
    cells = Item(count="cells", each="cell", of=(Item(type="u16", names=("volts",)),))
    temperatures = Item(count="temperatures", each="temperature", of=(Item(type="u16", names=("kelvin",)),))
    numbers = (Item(type="s16", names=("current",)), Item(type="u16", names=("voltage", "left")))
    rest = [Item(type="u24", names=("long", "most")) if name == "long" else Item(type="u16", names=(name or "short",))
            for name in tail]  # fmt: skip
    module = (cells, temperatures, *numbers, Item(type="u8", names=("extras",)), *rest)
    values = read((FLAG, Item(count="modules", each="module", of=module)), unseal(frame + b"\r").octets)
    assert values["modules"] == modules
    assert [values[f"module[{k}].cells"] for k in range(1, modules + 1)] == [15] * modules
    assert said == {name: values[f"module[{modules}].{name}"] for name in said}


@pytest.mark.parametrize("cut", [-1, 1])
def test_an_info_that_is_longer_or_shorter_than_its_layout_is_a_bad_frame(cut):
    octets = unseal(vectors.PANEL_SAYS + b"\r").octets
    changed = octets[:cut] if cut < 0 else octets + b"\0"
    with pytest.raises(BadFrame, match="layout"):
        read((FLAG, *PANEL), changed)


def test_what_a_device_has_besides_is_left_alone_where_the_layout_says_so():
    items = (Item(type="u8", names=("a",)), Item(type="skip", length=2), Item(type="u8", names=("b",)))
    assert read((*items, Item(type="rest")), b"\1\0\0\2rest") == {"a": 1, "b": 2}
    assert read((*items, Item(type="rest")), b"\1\0\0\2") == {"a": 1, "b": 2}


def test_groups_may_follow_their_count_later_or_be_as_many_always():
    items = (
        Item(count="modules"),
        Item(type="u8", names=("state",)),
        Item(repeat="modules", each="module", of=(Item(type="u8", names=("alarm",)),)),
        Item(times=2, each="phase", of=(Item(type="u16", names=("volts",)),)),
    )
    assert list(mistakes(items)) == []
    said = read(items, b"\2\7\0\1\0\xe6\0\xe7")
    assert (said["module[2].alarm"], said["phase[2].volts"]) == (1, 231)


def test_paths_are_told_without_numbers():
    assert [*fields(PANEL)] == [
        *("inputs", "input[].ua", "input[].ub", "input[].uc", "input[].hz", "input[].extras", "input[].extra[].value"),
        *("ia", "ib", "ic"),
    ]


U8 = Item(type="u8", names=("x",))


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Item(), "an item has nothing"),
        (Item(type="u8", names=("x",), count="n"), "an item has type and count"),
        (Item(type="u8"), "u8 with names"),
        (Item(type="skip", length=1, names=("x",)), "skip with names"),
        (Item(type="text", names=("x",)), "text with length None"),
        (Item(type="u16", names=("x",), length=2), "u16 with length 2"),
        (Item(type="u16", names=("x",), of=(U8,), each="y"), "has groups"),
        (Item(count="n", each="y"), "a group needs"),
        (Item(count="n", of=(U8,)), "a group needs"),
        (Item(repeat="n", each="y", of=(U8,)), "there is no count n before"),
        (Item(times=3), "a group needs"),
        (Item(count="n", each="y", of=(Item(times=2, each="z", of=(U8,)),)), "no field of its own"),
        (Item(count="n", each="y", of=(Item(type="rest"),)), "rest stands before"),
        (Item(count="n", each="y", of=(U8,), names=("z",)), "names or a length"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(item, reason):
    assert any(reason in said for said, _ in mistakes((item,)))


def test_rest_is_the_end_and_groups_lie_at_most_three_deep():
    assert any("rest stands before" in said for said, _ in mistakes((Item(type="rest"), U8)))
    deep = (U8,)
    for level in range(4):
        deep = (U8, Item(count=f"n{level}", each=f"g{level}", of=deep))
    assert any("deep" in said for said, _ in mistakes(deep))


@untimed
@given(
    st.lists(st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False)), max_size=12),
    st.integers(0, 5),
)
def test_what_is_built_is_read_as_it_was(values, extras):
    said = {f"input[{k + 1}].ua": value for k, value in enumerate(values)}
    said |= {f"input[1].extra[{k + 1}].value": float(k) for k in range(extras if values else 0)}
    counts = {"inputs": len(values), "input[1].extras": extras}
    found = read(PANEL, build(PANEL, said, counts))
    for path, value in said.items():
        null = value is not None and struct.pack("<f", value) == b"    "
        assert found[path] == (None if null else value)
    assert found["ia"] is None


@pytest.mark.parametrize(
    ("item", "value", "octets"),
    [
        (Item(type="u8", names=("x",)), 300, b"\xff"),
        (Item(type="s16", names=("x",)), -1e9, b"\x80\x00"),
        (Item(type="u16", names=("x",)), None, b"  "),
        (Item(type="u16", names=("x",), null=False), None, b"\0\0"),
        (Item(type="text", length=4, names=("x",)), "abcdef", b"abcd"),
        (Item(type="version", length=2, names=("x",)), "2.3", b"\2\3"),
        (Item(type="time", names=("x",)), "2026-11-25T07:00:59", bytes.fromhex("07EA0B1907003B")),
    ],
)
def test_a_device_says_the_nearest_it_can(item, value, octets):
    assert octets_of(item, value) == octets


def test_a_float_that_is_none_is_not_available_and_a_huge_one_is_left_to_the_range():
    assert math.isnan(value_of(Item(type="f32", names=("x",)), bytes.fromhex("0000C07F")))
    assert value_of(Item(type="f32", names=("x",)), bytes.fromhex("55100F55")) > 9.8e12


def test_hostile_octets_are_read_or_refused_and_never_cost_more_than_their_length():
    good = [unseal(frame + b"\r").octets for frame in (vectors.PANEL_SAYS, vectors.PANEL_BLANKS)]
    for octets in hostile(good, seed=3, longest=2048):
        reader = Reader(octets)
        with suppress(BadFrame):
            reader.read((FLAG, *PANEL))
        assert len(reader.values) <= len(octets) + 4
