import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.lint import FIELD_SUFFIXES, UNITS, lint
from drivers.point import BIT_TABLES
from drivers.profile import load_profile
from drivers.simulators.quantities import UNITS as SIMULATED
from tests.drivers.packaged import MODBUS, TEXT
from tests.maps import a_point, a_profile, untimed

SOUND = (
    a_point(0, "u16", scale=0.1, unit="V", range=(0, 500), invalid=(0xFFFF,)),
    a_point(1, "s16", scale=0.1, unit="°C", range=(-40, 85), invalid=(0x8000,), deadband=0.2),
    a_point(2, "u32", order="CDAB", kind="counter", unit="kWh", scale=0.001),
    a_point(4, "f32", unit="kW"),
    a_point(6, "string", registers=8, order="BADC"),
    a_point(14, "u16", kind="state", symbols={"0": "off", "1": "on"}),
    a_point(15, "u16", name="status_word"),
    a_point(15, "bool", bit=3),
    a_point(15, "bool", bit=4),
    a_point(16, "s16", pow2=7, offset=-251),
    a_point(0, "bool", "coil"),
    a_point(0, "bool", "discrete", symbols={"1": "leak"}, kind="state"),
    a_point(20, "s16", scale_register=22, unit="A", range=(0, 1e6), decimals=2, invalid=(0x8000,)),
    a_point(21, "s16", scale_register=22, scale=0.01, range=(-1, 1)),
    a_point(23, "u16", scale_register="exponent"),
    a_point(24, "s16", name="exponent", every=3600),
    a_point(25, "u16", name="slot_1", bits=(12, 15), kind="state", symbols={"15": "none"}, invalid=(15,)),
    a_point(25, "u16", name="slot_2", bits=(8, 11), scale=0.1, range=(0, 1.5)),
    a_point(25, "bool", bit=3),
    a_point(26, "u32", bits=(10, 20), invalid=((0x700, 0x7FF),)),
    a_point(28, "bcd32", scale=0.01, kind="counter", unit="kWh", range=(0, 999999.99)),
    a_point(32, "u16", scale=0.1, kind="counter", rollover=6553.6),
    a_point(33, "u32", kind="counter", rollover=1e6),
    a_point(30, "f32", encoding="four_quadrant", range=(-1, 1)),
)


def keys_of(*points, **limits):
    return [finding.key for finding in lint(a_profile(*points, **limits))]


def test_a_sound_map_has_no_finding():
    assert lint(a_profile(*SOUND)) == []


MISTAKES = [
    ({"table": "coil"}, "type"),
    ({"table": "discrete", "point_type": "f32"}, "type"),
    ({"point_type": "bool"}, "bit"),
    ({"bit": 3}, "bit"),
    ({"point_type": "bool", "table": "coil", "bit": 0}, "bit"),
    ({"point_type": "string"}, "registers"),
    ({"registers": 2}, "registers"),
    ({"order": "CDAB"}, "order"),
    ({"point_type": "bool", "bit": 1, "order": "ABCD"}, "order"),
    ({"point_type": "string", "registers": 4, "order": "CDAB"}, "order"),
    ({"address": 65535, "point_type": "u32"}, "address"),
    ({"address": 65536}, "address"),
    ({"invalid": (0x10000,)}, "invalid"),
    ({"point_type": "s16", "invalid": (-1,)}, "invalid"),
    ({"point_type": "u32", "invalid": (1 << 32,)}, "invalid"),
    ({"point_type": "string", "registers": 2, "invalid": (0,)}, "invalid"),
    ({"point_type": "bool", "table": "coil", "invalid": (1,)}, "invalid"),
    ({"invalid": tuple(range(17))}, "invalid"),
    ({"symbols": {"0": "off"}}, "symbols"),
    ({"kind": "state", "symbols": {"on": "1"}}, "symbols"),
    ({"kind": "state", "symbols": {"70000": "x"}}, "symbols"),
    ({"kind": "state", "symbols": {"--1": "x"}}, "symbols"),
    ({"kind": "state", "symbols": {"01": "x"}}, "symbols"),
    ({"kind": "state", "point_type": "bool", "table": "coil", "symbols": {"2": "x"}}, "symbols"),
    ({"range": (5, 5)}, "range"),
    ({"range": (9, 5)}, "range"),
    ({"range": (-40, 85), "scale": 0.1}, "range"),
    ({"range": (0, 65536)}, "range"),
    ({"point_type": "s16", "scale": 0.1, "range": (-5000, 5000)}, "range"),
    ({"point_type": "bool", "bit": 0, "range": (0, 1)}, "range"),
    ({"point_type": "string", "registers": 2, "range": (0, 1)}, "range"),
    ({"pow2": 3, "scale": 0.1}, "pow2"),
    ({"scale": 0}, "scale"),
    ({"scale": 1e-7}, "decimals"),
    ({"scale": 0.01, "decimals": 1}, "decimals"),
    ({"offset": 0.5, "decimals": 0}, "decimals"),
    ({"scale": 1e300}, "scale"),
    ({"offset": 2**60}, "scale"),
    ({"kind": "state", "scale": 0.1}, "scale"),
    ({"kind": "state", "pow2": 2}, "scale"),
    ({"point_type": "bool", "bit": 0, "offset": 1}, "scale"),
    ({"kind": "state", "decimals": 2}, "decimals"),
    ({"kind": "state", "unit": "V"}, "unit"),
    ({"kind": "state", "point_type": "f32"}, "kind"),
    ({"kind": "counter", "point_type": "bool", "bit": 0}, "kind"),
    ({"kind": "state", "deadband": 1.0}, "deadband"),
    ({"unit": "kwh"}, "unit"),
    ({"unit": "Volt"}, "unit"),
    ({"bits": (3, 16)}, "bits"),
    ({"bits": (-1, 3)}, "bits"),
    ({"bits": (5, 3)}, "bits"),
    ({"point_type": "s16", "bits": (0, 3)}, "bits"),
    ({"point_type": "f32", "bits": (0, 3)}, "bits"),
    ({"point_type": "bool", "bit": 0, "bits": (0, 3)}, "bits"),
    ({"bits": (0, 3), "invalid": (16,)}, "invalid"),
    ({"bits": (0, 3), "range": (0, 20)}, "range"),
    ({"bits": (0, 3), "kind": "state", "symbols": {"16": "x"}}, "symbols"),
    ({"invalid": ((5, 3),)}, "invalid"),
    ({"invalid": ((0, 0x10000),)}, "invalid"),
    ({"point_type": "bcd16", "range": (0, 10000)}, "range"),
    ({"point_type": "bcd16", "order": "CDAB"}, "order"),
    ({"scale_register": "nobody"}, "scale_register"),
    ({"scale_register": 200}, "scale_register"),
    ({"scale_register": 65536}, "scale_register"),
    ({"scale_register": 7}, "scale_register"),
    ({"scale_register": 8, "pow2": 3}, "scale_register"),
    ({"scale_register": 8, "kind": "state"}, "scale_register"),
    ({"scale_register": 8, "point_type": "bool", "bit": 0}, "scale_register"),
    ({"scale_register": 8, "scale": 0.0001}, "decimals"),
    ({"encoding": "four_quadrant", "unit": "V"}, "encoding"),
    ({"encoding": "four_quadrant", "kind": "state"}, "encoding"),
    ({"encoding": "four_quadrant", "point_type": "f32", "range": (-2, 2)}, "range"),
    ({"rollover": 100.0}, "rollover"),
    ({"rollover": 65537.0, "kind": "counter"}, "rollover"),
    ({"rollover": 6553.7, "kind": "counter", "scale": 0.1}, "rollover"),
    ({"name": "power_a", "unit": "W"}, "unit"),
    ({"name": "power_factor", "unit": "%"}, "unit"),
    ({"name": "gateway"}, "name"),
    ({"name": "time"}, "name"),
]


@pytest.mark.parametrize(("keys", "field"), MISTAKES)
def test_each_mistake_is_found_at_its_key(keys, field):
    point = a_point(**{"address": 7, **keys})
    assert f"point[{point.name}].{field}" in keys_of(point)


@pytest.mark.parametrize(("keys", "field"), MISTAKES)
def test_each_finding_says_what_to_do(keys, field):
    for finding in lint(a_profile(a_point(**{"address": 7, **keys}))):
        assert finding.reason
        assert finding.hint


def test_an_address_below_the_documents_first_is_found():
    assert keys_of(a_point(0), address_base=1) == ["point[h0].address"]
    assert keys_of(a_point(0)) == []


def test_a_point_longer_than_one_read_is_found():
    assert keys_of(a_point(0, "u64"), max_registers=3) == ["point[h0].registers"]
    assert keys_of(a_point(0, "u64"), max_registers=4) == []


@pytest.mark.parametrize(
    ("forbidden", "found"), [((9, 9), False), ((10, 12), True), ((11, 11), True), ((12, 20), False)]
)
def test_a_point_in_a_forbidden_range_is_found(forbidden, found):
    assert bool(keys_of(a_point(10, "u32"), forbidden=(forbidden,))) is found


def test_a_range_of_addresses_must_be_one():
    assert keys_of(a_point(0), forbidden=((9, 5),)) == ["limits.forbidden[0]"]
    assert keys_of(a_point(5), forbidden=((0, 2),), address_base=1) == ["limits.forbidden[0]"]


def test_a_name_is_used_once_and_not_for_anothers_statistics():
    assert keys_of(a_point(0, name="a"), a_point(1, name="a")) == ["point[a].name"]
    for suffix in FIELD_SUFFIXES:
        assert keys_of(a_point(0, name="a"), a_point(1, name=f"a{suffix}")) == [f"point[a{suffix}].name"]
        assert keys_of(a_point(0, name="b"), a_point(1, name=f"a{suffix}")) == []


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([a_point(0, "u32"), a_point(1)], ["point[h1].address"]),
        ([a_point(0), a_point(0, "s16", name="again")], ["point[h0].address"]),
        ([a_point(0, "string", registers=9), a_point(2), a_point(5)], ["point[h2].address", "point[h5].address"]),
        ([a_point(0, "u32"), a_point(1, "bool", bit=2)], []),
        ([a_point(3, "bool", bit=2), a_point(3, "bool", bit=2, name="again")], ["point[again].address"]),
        ([a_point(3, "bool", "coil"), a_point(3, "bool", "coil", name="again")], ["point[again].address"]),
        ([a_point(3), a_point(3, table="input"), a_point(3, "bool", "coil")], []),
    ],
)
def test_points_that_contradict_each_other_over_a_register_are_found(points, found):
    assert keys_of(*points) == found


@pytest.mark.parametrize(
    ("points", "limits", "reason"),
    [
        ([a_point(0, scale_register=9), a_point(8, "u32")], {}, "is a register of h8 (u32)"),
        ([a_point(0, scale_register="h9"), a_point(9, "s16", scale=0.1)], {}, "is a register of h9 (s16)"),
        ([a_point(0, scale_register="i9"), a_point(9, "s16", "input")], {}, "i9 is in another table (input)"),
        ([a_point(0, scale_register=9)], {"max_registers": 9}, "is 10 registers away"),
        ([a_point(0, scale_register=9)], {"forbidden": ((5, 5),)}, "the forbidden range 5 to 5 lies between"),
        ([a_point(0, scale_register=9)], {"read_holes": False}, "registers that no point names lie between"),
        ([a_point(0, scale_register=2), a_point(1)], {"read_holes": False}, None),
        ([a_point(9, scale_register=9)], {}, "is a register of h9 (u16)"),
    ],
)
def test_a_scale_register_that_could_not_come_with_its_point_is_found(points, limits, reason):
    findings = [f for f in lint(a_profile(*points, **limits)) if f.key.endswith("scale_register")]
    assert [reason in f.reason for f in findings] == [True] * (reason is not None)


def test_a_lost_scale_register_hides_no_other_mistake():
    assert keys_of(a_point(0, scale_register="nobody", unit="Volt"), a_point(1, unit="kwh")) == [
        "point[h0].scale_register",
        "point[h0].unit",
        "point[h1].unit",
    ]


def test_bits_may_share_a_register_but_no_bit():
    low, high = a_point(3, bits=(0, 7), name="low"), a_point(3, bits=(8, 15), name="high")
    assert keys_of(low, high, a_point(3, name="word")) == []
    assert keys_of(low, a_point(3, "bool", bit=7)) == ["point[h3_7].address"]
    assert keys_of(low, a_point(2, "u32", bits=(7, 9))) == ["point[h2].address"]
    assert keys_of(low, a_point(2, "u32", bits=(7, 9), order="CDAB")) == []  # these are bits of register 2


POINTS = (
    a_point(10, "s16", scale=0.1, invalid=(0x8000,)),
    a_point(11, "u16"),
    a_point(20, "f32"),
    a_point(0, "bool", "coil"),
)
GOOD = {
    "request": "03 000a 0002",
    "response": "03 04 ffce 0007",
    "origin": "computed",
    "expect": {"h10": -5.0, "h11": 7},
}


@pytest.mark.parametrize(
    "golden",
    [
        GOOD,
        {"request": "03000a0001", "response": "03028000", "origin": "captured", "missing": ("h10",)},
        {"request": "0300140002", "response": "030441cc0000", "origin": "documented", "expect": {"h20": 25.5}},
        {"request": "0100000001", "response": "010101", "origin": "computed", "expect": {"c0": True}},
    ],
)
def test_a_frame_that_decodes_as_expected_proves_the_map(golden):
    assert lint(a_profile(*POINTS, golden=(golden,))) == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"expect": {"h10": -5.1}}, "golden[0].expect.h10"),
        ({"expect": {"h10": -5.0, "h11": 8}}, "golden[0].expect.h11"),
        ({"expect": {"h11": True}}, "golden[0].expect.h11"),
        ({"expect": {"h11": "7"}}, "golden[0].expect.h11"),
        ({"expect": {"h99": 7}}, "golden[0].expect.h99"),
        ({"expect": {"h20": 7.0}}, "golden[0].expect.h20"),
        ({"expect": {"c0": True}}, "golden[0].expect.c0"),
        ({"expect": {}, "missing": ("h10",)}, "golden[0].expect.h10"),
        ({"expect": {}}, "golden[0].expect"),
        ({"response": "03 04 8000 0007"}, "golden[0].expect.h10"),
        ({"response": "03 02 ffce"}, "golden[0].response"),
        ({"response": "03 04 ffce"}, "golden[0].response"),
        ({"response": "04 04 ffce 0007"}, "golden[0].response"),
        ({"response": "83 02"}, "golden[0].response"),
        ({"response": ""}, "golden[0].response"),
        ({"request": "03 000a"}, "golden[0].request"),
        ({"request": "06 000a 0002"}, "golden[0].request"),
        ({"request": "03 000a 0000"}, "golden[0].request"),
        ({"request": "03 000a 007e"}, "golden[0].request"),
        ({"request": "03 000z 0002"}, "golden[0]"),
    ],
)
def test_a_frame_that_contradicts_the_map_or_cannot_be_exchanged_is_found(changes, key):
    assert [f.key for f in lint(a_profile(*POINTS, golden=({**GOOD, **changes},)))] == [key]


def test_a_frame_that_reads_a_forbidden_range_or_a_hole_of_a_strict_device_is_found():
    hole = {"request": "03 000a 000c", "response": "03 18" + " 0000" * 12, "origin": "computed", "expect": {"h10": 0.0}}
    assert keys_of(*POINTS, golden=(hole,)) == []
    assert keys_of(*POINTS, golden=(hole,), read_holes=False) == ["golden[0].request"]
    assert keys_of(*POINTS, golden=(hole,), forbidden=((15, 15),)) == ["golden[0].request"]


@untimed
@given(st.text("0123456789abcdefz ", max_size=20), st.text("0123456789abcdefz ", max_size=20))
def test_any_hex_as_a_frame_gives_findings_and_no_exception(request_hex, response_hex):
    golden = {"request": request_hex, "response": response_hex, "origin": "computed", "expect": {"h11": 7}}
    assert all(f.key.startswith("golden[0]") for f in lint(a_profile(*POINTS, golden=(golden,))))


@pytest.mark.parametrize("name", TEXT)
@untimed
@given(data=st.data())
def test_a_packaged_frame_of_a_text_protocol_that_says_something_else_is_found(name, data):
    """The same answer with other values: written as the device would, so its form is right."""
    profile = load_profile(name)
    golden = data.draw(st.sampled_from(profile.golden))
    command = next(c for c in profile.command if profile.question(c, golden.unit) == golden.bytes_of(golden.request))
    said = profile.read(command, golden.unit, golden.bytes_of(golden.response))
    point = profile.named(data.draw(st.sampled_from(sorted(golden.expect))))
    value = said[point.name]
    other = f"x{value[1:]}" if point.is_text else 1 - value if point.is_bool else value + 1
    turned = profile.answer(command, golden.unit, {**said, point.name: other})
    if profile.read(command, golden.unit, turned)[point.name] == value:
        return  # it follows from other points
    changed = {"response": turned.hex(), "request": golden.bytes_of(golden.request).hex(), "encoding": "hex"}
    assert lint(profile.model_copy(update={"golden": (golden.model_copy(update=changed),)})) != []


@pytest.mark.parametrize("name", MODBUS)
@untimed
@given(data=st.data())
def test_a_packaged_frame_with_one_bit_turned_is_found_when_a_named_register_is_hit(name, data):
    profile = load_profile(name)
    golden = data.draw(st.sampled_from(profile.golden))
    payload = bytearray.fromhex(golden.response)
    derived = {point.name for point in profile.derived}
    names = [name for name in (*golden.expect, *golden.missing) if name not in derived]
    point = profile.named(data.draw(st.sampled_from(names)))
    start = int.from_bytes(bytes.fromhex(golden.request)[1:3], "big")
    first, end = profile.span(point)
    if point.table in BIT_TABLES:
        payload[2 + (first - start) // 8] ^= 1 << (first - start) % 8
    elif point.type == "bool":
        at = 2 + 2 * (first - start) + (0 if point.bit >= 8 else 1)
        payload[at] ^= 1 << point.bit % 8
    else:
        order = profile.order(point)
        register = first if order in ("ABCD", "BADC") else end - 1
        at = 2 + 2 * (register - start) + (order in ("BADC", "DCBA"))
        payload[at] ^= 0x40  # the second highest bit: sign, exponent or a large number
    turned = golden.model_copy(update={"response": payload.hex()})
    assert end <= start + (len(payload) - 2) * 8 // (1 if point.table in BIT_TABLES else 16)
    assert lint(profile.model_copy(update={"golden": (turned,)})) != []


def test_the_simulators_know_no_unit_that_profiles_may_not_use():
    assert {unit for unit in SIMULATED if unit not in UNITS} <= {"C", "℃", "degC"}
