import math
import struct
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient
from pymodbus.client.mixin import ModbusClientMixin

from collector.decode import Decode
from collector.specs import point_spec
from collector.types import BlockSpec, Outcome, Quality, RawBatch
from drivers.codec import Status, decode_point, encode_point, own_bits, raw_value, reorder
from drivers.point import REGISTERS_OF_TYPE
from tests.maps import a_point, a_profile, untimed

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")
FLOATS = ("f32", "f64")
BCD = ("bcd16", "bcd32", "bcd64")
DATATYPE = ModbusClientMixin.DATATYPE
PYMODBUS = {
    "u16": DATATYPE.UINT16,
    "s16": DATATYPE.INT16,
    "u32": DATATYPE.UINT32,
    "s32": DATATYPE.INT32,
    "u64": DATATYPE.UINT64,
    "s64": DATATYPE.INT64,
    "f32": DATATYPE.FLOAT32,
    "f64": DATATYPE.FLOAT64,
}


def order_of(point_type, order):
    return order if REGISTERS_OF_TYPE[point_type] > 1 else None


def decode(point, data, offset=0, **limits):
    return decode_point(a_profile(point, **limits), point, data, offset)


def encode(point, value, **limits):
    return struct.pack(f">{point.length}H", *encode_point(a_profile(point, **limits), point, value))


@pytest.mark.parametrize(
    ("order", "words"),
    [("ABCD", "12345678"), ("CDAB", "56781234"), ("BADC", "34127856"), ("DCBA", "78563412")],
)
def test_the_four_orders_of_one_number(order, words):
    point = a_point(0, "u32", order=order)
    assert decode(point, bytes.fromhex(words)) == (0x12345678, Status.GOOD)
    assert encode(point, 0x12345678).hex() == words


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", "0001020304050607"),
        ("CDAB", "0607040502030001"),
        ("BADC", "0100030205040706"),
        ("DCBA", "0706050403020100"),
    ],
)
def test_the_same_rule_runs_over_four_registers(order, words):
    assert decode(a_point(0, "u64", order=order), bytes.fromhex(words)) == (0x0001020304050607, Status.GOOD)


def test_the_devices_word_order_speaks_only_of_numbers_longer_than_a_register():
    assert decode(a_point(0, "u16"), b"\x12\x34", word_order="DCBA").value == 0x1234
    assert decode(a_point(0, "string", registers=2), b"abcd", word_order="DCBA").value == "abcd"
    assert decode(a_point(0, "u32"), b"\x78\x56\x34\x12", word_order="DCBA").value == 0x12345678
    assert decode(a_point(0, "u32", order="ABCD"), b"\x12\x34\x56\x78", word_order="DCBA").value == 0x12345678


@untimed
@given(st.sampled_from([*INTEGERS, *FLOATS]), st.sampled_from([("ABCD", "big"), ("CDAB", "little")]), st.data())
def test_raw_numbers_agree_with_pymodbus(point_type, orders, data):
    order, pymodbus_order = orders
    size = 2 * REGISTERS_OF_TYPE[point_type]
    wire = data.draw(st.binary(min_size=size, max_size=size))
    words = list(struct.unpack(f">{size // 2}H", wire))
    expected = ModbusTcpClient.convert_from_registers(words, PYMODBUS[point_type], word_order=pymodbus_order)
    ours = raw_value(point_type, int.from_bytes(reorder(wire, order), "big"))
    assert ours == expected or (math.isnan(ours) and math.isnan(expected))


@st.composite
def numbers(draw):
    """A numeric point of any type, order and scale, and a value that it can say exactly."""
    point_type = draw(st.sampled_from([*INTEGERS, *FLOATS, *BCD]))
    order = order_of(point_type, draw(st.sampled_from(ORDERS)))
    if point_type in FLOATS:
        point = a_point(0, point_type, order=order, decimals=3)
        width = int(point_type[1:])
        value = draw(st.floats(-(2.0**40), 2.0**40, width=width))
        return point, value
    keys = draw(
        st.sampled_from([{}, {"scale": 0.1}, {"scale": 0.25}, {"scale": 10}, {"scale": 0.001, "offset": -40}])
        | st.integers(1, 16).map(lambda n: {"pow2": n})
    )
    point = a_point(0, point_type, order=order, **keys)
    bits = min(40, 16 * point.length)  # with every scale above still exact when published
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if point_type[0] == "s" else (0, (1 << bits) - 1)
    high = min(high, 10 ** (4 * point.length) - 1) if point_type in BCD else high
    return point, point.scaling.published(draw(st.integers(low, high)))


@untimed
@given(numbers())
def test_what_is_encoded_decodes_to_the_same_value(case):
    point, value = case
    assert decode(point, encode(point, value)) == (value, Status.GOOD)


@untimed
@given(
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from([0.1, 0.01, 0.001, 0.3, 1.5, 0.007]),
    st.sampled_from([0, -40, 0.05]),
)
def test_a_published_value_is_the_double_nearest_to_the_true_decimal(raw, scale, offset):
    point = a_point(0, "s32", scale=scale, offset=offset)
    true = Decimal(raw) * Decimal(str(scale)) + Decimal(str(offset))
    assert point.scaling.published(raw) == float(true)


def test_plain_multiplication_would_publish_other_values():
    assert 3 * 0.1 != 0.3
    assert decode(a_point(0, "u16", scale=0.1), b"\x00\x03").value == 0.3


@untimed
@given(st.integers(0, 0xFFFF))
def test_every_bit_of_a_register_is_read_and_written(word):
    data = struct.pack(">H", word)
    read = [decode(a_point(0, "bool", bit=bit), data).value for bit in range(16)]
    assert read == [bool(word >> bit & 1) for bit in range(16)]
    assert sum(encode_point(a_profile(), a_point(0, "bool", bit=bit), read[bit])[0] for bit in range(16)) == word


@untimed
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_coils_are_packed_from_the_lowest_bit_of_the_first_byte(coils):
    data = bytes(sum(coil << place for place, coil in enumerate(coils[at : at + 8])) for at in range(0, len(coils), 8))
    point = a_point(0, "bool", "coil")
    assert [decode(point, data, offset).value for offset in range(len(coils))] == coils
    assert encode_point(a_profile(), point, True) == (1,)
    assert encode_point(a_profile(), point, False) == (0,)


@pytest.mark.parametrize(
    ("keys", "words", "status"),
    [
        ({"point_type": "u16", "invalid": (0xFFFF,)}, "ffff", Status.NOT_AVAILABLE),
        ({"point_type": "s16", "invalid": (0x8000,), "scale": 0.1}, "8000", Status.NOT_AVAILABLE),
        ({"point_type": "s16", "invalid": (0x7FFF, 0x8000)}, "7fff", Status.NOT_AVAILABLE),
        ({"point_type": "u32", "invalid": (0xFFFFFFFF,), "order": "CDAB"}, "ffffffff", Status.NOT_AVAILABLE),
        ({"point_type": "s32", "invalid": (0x80000000,), "order": "CDAB"}, "00008000", Status.NOT_AVAILABLE),
        ({"point_type": "bool", "bit": 0, "invalid": (0xFFFF,)}, "ffff", Status.NOT_AVAILABLE),
        ({"point_type": "f32"}, "7fc00000", Status.NOT_AVAILABLE),
        ({"point_type": "f32"}, "ffc00000", Status.NOT_AVAILABLE),
        ({"point_type": "f32"}, "7f800000", Status.NOT_AVAILABLE),
        ({"point_type": "f64"}, "fff0000000000000", Status.NOT_AVAILABLE),
        ({"point_type": "s16", "scale": 0.1, "range": (-40, 85)}, "7fff", Status.OUT_OF_RANGE),
        ({"point_type": "u64"}, "0020000000000000", Status.OUT_OF_RANGE),  # 2**53
        ({"point_type": "f32"}, "7f7fffff", Status.OUT_OF_RANGE),
        ({"point_type": "string", "registers": 2}, "20200000", Status.NOT_AVAILABLE),
    ],
)
def test_no_value_is_never_a_number(keys, words, status):
    assert decode(a_point(0, **keys), bytes.fromhex(words)) == (None, status)


def test_without_its_sentinel_the_same_pattern_is_a_plausible_looking_number():
    assert decode(a_point(0, "s16", scale=0.1), b"\x80\x00") == (-3276.8, Status.GOOD)


def test_both_ends_of_a_range_are_inside():
    point = a_point(0, "s16", scale=0.1, range=(-40, 85))
    for words, status in (
        (-401, Status.OUT_OF_RANGE),
        (-400, Status.GOOD),
        (850, Status.GOOD),
        (851, Status.OUT_OF_RANGE),
    ):
        assert decode(point, struct.pack(">h", words)).status == status


def test_states_are_integers_and_switches_are_booleans():
    state = decode(a_point(0, "u16", kind="state"), b"\x00\x03").value
    assert (state, type(state)) == (3, int)
    assert decode(a_point(0, "bool", bit=1), b"\x00\x02").value is True


@pytest.mark.parametrize(
    ("order", "wire", "text"),
    [
        (None, b"PM5560\0\0", "PM5560"),
        (None, b" PM 5560", "PM 5560"),
        ("BADC", b"MP5506\0\0", "PM5560"),
        (None, b"PM\0rest!", "PM"),
        (None, b"\xe4b\x07c    ", "\ufffdbc"),  # latin-1 and a control character
    ],
)
def test_texts_lose_padding_and_nothing_else(order, wire, text):
    assert decode(a_point(0, "string", registers=4, order=order), wire) == (text, Status.GOOD)


@untimed
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, categories=("L", "N"))),
    st.sampled_from([None, "BADC"]),
)
def test_a_text_comes_back_as_far_as_its_registers_reach(text, order):
    point = a_point(0, "string", registers=6, order=order)
    shown = decode(point, encode(point, text)).value
    assert text.startswith(shown or "")
    assert len(text.encode()) <= 12 or len((shown or "").encode()) >= 11
    assert len(text.encode()) > 12 or (shown or "") == text


@pytest.mark.parametrize(
    ("point", "value", "words"),
    [
        (a_point(0, "u16"), -1, "0000"),
        (a_point(0, "u16"), 70000, "ffff"),
        (a_point(0, "s16", scale=0.1), 4000, "7fff"),
        (a_point(0, "s16", scale=0.1), -4000, "8000"),
        (a_point(0, "s16", scale=0.1), math.inf, "7fff"),
        (a_point(0, "s64"), 1e30, "7fffffffffffffff"),
        (a_point(0, "u64"), 1e30, "ffffffffffffffff"),
        (a_point(0, "f32"), 1e300, "7f7fffff"),
        (a_point(0, "f32"), -1e300, "ff7fffff"),
        (a_point(0, "f32"), math.inf, "7f800000"),
        (a_point(0, "f32"), None, "7fc00000"),
        (a_point(0, "u16", scale=0.1), 2.26, "0017"),
        (a_point(0, "u16", scale=0.1), 2.24, "0016"),
        (a_point(0, "s16", invalid=(0x8000,)), None, "8000"),
        (a_point(0, "s16", invalid=(0x8000,)), math.nan, "8000"),
        (a_point(0, "u32", invalid=(0xFFFFFFFE,), order="CDAB"), None, "fffeffff"),
        (a_point(0, "string", registers=2), None, "00000000"),
    ],
)
def test_encoding_rounds_clamps_and_knows_no_value(point, value, words):
    assert encode(point, value).hex() == words


@pytest.mark.parametrize(
    ("point", "value"),
    [
        (a_point(0, "u16"), None),
        (a_point(0, "u16"), "twelve"),
        (a_point(0, "string", registers=2), 12),
        (a_point(0, "bool", bit=3), None),
    ],
)
def test_a_value_that_the_point_cannot_say_is_refused(point, value):
    with pytest.raises(ValueError, match=point.name):
        encode(point, value)


@pytest.mark.parametrize(
    ("point", "data", "offset"),
    [
        (a_point(0, "u32"), b"\0\0\0", 0),
        (a_point(0, "u32"), b"\0\0\0\0", 1),
        (a_point(0, "u16"), b"\0\0", -1),
        (a_point(0, "bool", "coil"), b"\0", 8),
        (a_point(0, "bool", "coil"), b"\0", -1),
        (a_point(0, "string", registers=2), b"abc", 0),
    ],
)
def test_data_that_does_not_hold_the_point_is_refused(point, data, offset):
    with pytest.raises(ValueError, match="does not lie inside"):
        decode(point, data, offset)


@pytest.mark.parametrize(
    ("keys", "words", "value"),
    [
        ({"point_type": "bcd16"}, "1234", 1234),
        ({"point_type": "bcd32", "order": "CDAB", "scale": 0.1}, "56781234", 1234567.8),
        ({"point_type": "bcd64"}, "0000123456789012", 123456789012),
        ({"point_type": "bcd16"}, "12a4", None),  # no digit
        ({"point_type": "bcd32"}, "ffffffff", None),
        ({"point_type": "u16", "bits": (12, 15), "kind": "state"}, "2fff", 2),
        ({"point_type": "u16", "bits": (0, 3), "kind": "state", "invalid": (15,)}, "222f", None),
        ({"point_type": "u16", "bits": (4, 11), "scale": 0.1}, "abcd", 18.8),
        ({"point_type": "u32", "bits": (15, 16), "order": "CDAB"}, "80000001", 3),
        ({"point_type": "u16", "invalid": ((0xFF00, 0xFFFF),)}, "ff01", None),  # J1939: all from FF00 on
        ({"point_type": "u16", "invalid": ((0xFE00, 0xFEFF), 0xFFFF)}, "ff01", 0xFF01),
        ({"point_type": "f32", "encoding": "four_quadrant"}, "3f666666", pytest.approx(0.9, abs=1e-6)),
        ({"point_type": "s16", "scale": 0.001, "encoding": "four_quadrant"}, "044c", pytest.approx(0.9)),  # 1.1
        ({"point_type": "s16", "scale": 0.001, "encoding": "four_quadrant"}, "f9e8", pytest.approx(-0.44)),  # -1.56
        ({"point_type": "s16", "scale": 0.001, "encoding": "four_quadrant", "range": (-1, 1)}, "0bb8", None),  # 3.0
        ({"point_type": "u32", "scale": 0.001, "offset": -2000000}, "77359400", 0.0),  # CAT EMCP4: 1 W, -2e9
        ({"point_type": "u16", "pow2": 14, "offset": -1}, "7c29", pytest.approx(0.94, abs=1e-4)),
        ({"point_type": "u16", "pow2": 7, "offset": -251}, "a680", 82.0),
    ],
)
def test_what_the_vendors_manuals_call_a_number(keys, words, value):
    assert decode(a_point(0, **keys), bytes.fromhex(words)).value == value


@pytest.mark.parametrize(
    ("words", "keys", "expected"),
    [
        ("0901 ffff", {}, (230.5, Status.GOOD)),
        ("0901 0000", {}, (2305, Status.GOOD)),
        ("0901 0002", {}, (230500, Status.GOOD)),
        ("f6ff fffe", {}, (-23.05, Status.GOOD)),
        ("0003 fff6", {"scale": 100}, (3e-8, Status.GOOD)),
        ("0064 fffe", {"offset": -40}, (-39.0, Status.GOOD)),
        ("0901 8000", {}, (None, Status.NOT_AVAILABLE)),  # sunssf: not implemented
        ("8000 ffff", {"invalid": (0x8000,)}, (None, Status.NOT_AVAILABLE)),
        ("0901 fff5", {}, (None, Status.OUT_OF_RANGE)),  # -11: nobody's power of ten
        ("0901 000b", {}, (None, Status.OUT_OF_RANGE)),
        ("0901 0000", {"range": (0, 500)}, (None, Status.OUT_OF_RANGE)),
    ],
)
def test_a_scale_register_is_the_power_of_ten_of_its_points(words, keys, expected):
    point = a_point(0, "s16", scale_register=1, **keys)
    assert decode(point, bytes.fromhex(words)) == expected
    behind = a_point(1, "s16", scale_register=0, **keys)
    assert decode(behind, bytes.fromhex(words[5:] + words[:4]), 1) == expected


def test_a_scale_register_outside_of_the_answer_is_refused_and_not_guessed():
    for point, offset in ((a_point(0, "s16", scale_register=1), 0), (a_point(1, "s16", scale_register=0), 0)):
        with pytest.raises(ValueError, match="scale register does not lie inside"):
            decode(point, b"\x09\x01", offset)


def test_a_scale_register_may_be_a_point_called_by_its_name():
    points = a_point(2, "s16", scale_register="h1"), a_point(1, "s16")
    profile = a_profile(*points)
    assert decode_point(profile, points[0], bytes.fromhex("ffff0901"), 1).value == 230.5
    assert profile.reach(points[0]) == (1, 3)


@untimed
@given(st.integers(-32768, 32767), st.integers(-10, 10), st.sampled_from([1, 0.1, 0.01]))
def test_a_scaled_value_is_the_double_nearest_to_the_true_decimal(raw, exponent, scale):
    point = a_point(0, "s16", scale_register=1, scale=scale, decimals=0)
    words = struct.pack(">hh", raw, exponent)
    assert decode(point, words).value == float(Decimal(raw) * Decimal(str(scale)) * Decimal(10) ** exponent)


def test_plain_multiplication_by_a_power_of_ten_would_publish_other_values():
    assert 3 * 10.0**-1 != 0.3
    assert decode(a_point(0, "s16", scale_register=1), b"\0\3\xff\xff").value == 0.3


@untimed
@given(st.sampled_from(["u16", "u32", "u64"]), st.sampled_from(ORDERS), st.data())
def test_bits_of_a_number_come_back_and_touch_no_other(point_type, order, data):
    size = REGISTERS_OF_TYPE[point_type]
    first = data.draw(st.integers(0, 16 * size - 1))
    last = data.draw(st.integers(first, min(first + 40, 16 * size - 1)))
    value = data.draw(st.integers(0, (1 << last - first + 1) - 1))
    point = a_point(0, point_type, order=order_of(point_type, order), bits=(first, last))
    words = encode_point(a_profile(point), point, value)
    own = own_bits(a_profile(point), point)
    assert sum(word.bit_count() for word in own) == last - first + 1
    assert all(word & ~mask == 0 for word, mask in zip(words, own, strict=True))
    around = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=size, max_size=size))
    wire = [other & ~mask | word for other, mask, word in zip(around, own, words, strict=True)]
    assert decode(point, struct.pack(f">{size}H", *wire)).value == value


@st.composite
def any_numeric_point(draw):
    point_type = draw(st.sampled_from([*INTEGERS, *FLOATS, *BCD, "bool"]))
    keys = {"order": order_of(point_type, draw(st.sampled_from(ORDERS)))}
    bits = 16 * REGISTERS_OF_TYPE[point_type]
    if point_type == "bool":
        keys["bit"] = draw(st.integers(0, 15))
    else:
        keys |= draw(st.sampled_from([{}, {"scale": 0.1}, {"scale": 0.01, "offset": -40}, {"pow2": 7}]))
        keys["range"] = draw(st.sampled_from([None, (-1000.0, 1000.0)]))
        keys["encoding"] = draw(st.sampled_from([None, None, "four_quadrant"]))
        keys["scale_register"] = draw(st.sampled_from([None, 3, 8]))
    if point_type in ("u16", "u32", "u64") and draw(st.booleans()):
        keys["bits"] = tuple(sorted(draw(st.tuples(st.integers(0, bits - 1), st.integers(0, bits - 1)))))
        bits = keys["bits"][1] - keys["bits"][0] + 1
    top = (1 << bits) - 1
    keys["invalid"] = draw(st.sampled_from([(), (top,), (1 << bits - 1, 0), ((top - top // 256, top), 0)]))
    return a_point(4, point_type, **keys)


@untimed
@given(any_numeric_point(), st.data())
def test_the_kernel_of_the_hot_path_decodes_the_same(point, data):
    size = 2 * point.length
    sentinels = [p.to_bytes(size, "big") for pair in point.sentinels for p in pair] or [bytes(size)]
    patterns = st.binary(min_size=size, max_size=size) | st.integers(0, 20000).map(
        lambda n: n.to_bytes(max(size, 2), "big")
    ) | st.sampled_from(sentinels)  # fmt: skip
    value = reorder(data.draw(patterns), point.order or "ABCD")
    scale = data.draw(st.integers(-12, 12) | st.sampled_from([-32768, 32767])).to_bytes(2, "big", signed=True)
    before, behind = data.draw(st.binary(min_size=1, max_size=1)), b"\x77"
    wire = before * 6 + scale + value + behind * (8 - size) + scale
    profile = a_profile(point)
    decoder = Decode([point_spec(profile, point.name, 1.0)])
    decoder.set_blocks([BlockSpec("d", 1, 3, 0, len(wire) // 2, 1.0, (0,), (4,))])
    batch = RawBatch(
        image=np.frombuffer(wire, np.uint8),
        block=np.zeros(1, np.int32),
        start=np.zeros(1, np.int64),
        ts_ns=np.ones(1, np.int64),
        outcome=np.full(1, Outcome.OK, np.uint8),
    )
    samples = decoder(batch)
    reading = decode_point(profile, point, wire, 4)
    assert samples.quality[0] == reading.status
    assert Quality(reading.status).name == reading.status.name
    if reading.value is None:
        assert math.isnan(samples.value[0])
    else:
        assert samples.value[0] == float(reading.value)
