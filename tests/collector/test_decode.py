import struct

import numpy as np
import pytest

from collector.decode import MAX_INVALID, Decode
from collector.types import BlockSpec, Outcome, PointSpec, Quality, RawBatch

TS = 1_800_000_000_000_000_000


def point(type_="u16", **kwargs):
    return PointSpec(device="meter", name=kwargs.pop("name", "x"), category="power", tags=(), type=type_, **kwargs)


def block(points, offsets, count, function=3):
    return BlockSpec("meter", 1, function, 0, count, 1.0, tuple(points), tuple(offsets))


def batch(*records, outcomes=None):
    """Records of (block number, bytes)."""
    starts = np.cumsum([0, *(len(data) for _, data in records)])[:-1]
    return RawBatch(
        image=np.frombuffer(bytearray(b"".join(data for _, data in records)), np.uint8),
        block=np.array([number for number, _ in records], np.int32),
        start=starts.astype(np.int64),
        ts_ns=TS + np.arange(len(records), dtype=np.int64),
        outcome=np.array(outcomes or [Outcome.OK] * len(records), np.uint8),
    )


def decode_one(spec, data, **kwargs):
    decode = Decode([spec])
    decode.set_blocks([block([0], [0], len(data) // 2)])
    samples = decode(batch((0, data)), **kwargs)
    return float(samples.value[0]), Quality(samples.quality[0])


def reorder(data, order):
    """Bytes as a device of that word order sends them; written out register by register."""
    registers = [data[k : k + 2] for k in range(0, len(data), 2)]
    if order in ("CDAB", "DCBA"):
        registers = registers[::-1]
    if order in ("BADC", "DCBA"):
        registers = [r[::-1] for r in registers]
    return b"".join(registers)


@pytest.mark.parametrize("order", ["ABCD", "CDAB", "BADC", "DCBA"])
@pytest.mark.parametrize(
    ("type_", "code", "value"),
    [
        ("u16", ">H", 0xFFFE),
        ("s16", ">h", -2),
        ("u32", ">I", 0xFFFFFFFE),
        ("s32", ">i", -123456),
        ("u64", ">Q", 2**51 + 1),
        ("s64", ">q", -(2**51) - 1),
        ("f32", ">f", -1.5),
        ("f64", ">d", 1e-3 / 3),
    ],
)
def test_every_type_is_read_in_every_word_order(type_, code, value, order):
    assert decode_one(point(type_, order=order), reorder(struct.pack(code, value), order)) == (value, Quality.GOOD)


@pytest.mark.parametrize(
    ("order", "data"), [("ABCD", "12345678"), ("CDAB", "56781234"), ("BADC", "34127856"), ("DCBA", "78563412")]
)
def test_word_orders_are_those_of_the_trade(order, data):
    assert decode_one(point("u32", order=order), bytes.fromhex(data)) == (0x12345678, Quality.GOOD)


def test_a_wrong_word_order_gives_another_value():
    """The twin of the two above: the order matters."""
    assert decode_one(point("u32", order="CDAB"), bytes.fromhex("12345678"))[0] != 0x12345678


def test_scaling_gives_the_double_nearest_to_the_true_decimal():
    decode = Decode([point(div=1000.0, decimals=3)])
    decode.set_blocks([block([0], [0], 1)])
    values = decode(batch(*((0, struct.pack(">H", raw)) for raw in range(0, 65536, 7)))).value
    assert values.tolist() == [float(f"{raw // 1000}.{raw % 1000:03d}") for raw in range(0, 65536, 7)]
    assert decode_one(point(mul=3.0, add=-7.0, div=10.0, decimals=1), struct.pack(">H", 1234))[0] == 369.5


@pytest.mark.parametrize("raw", [0xFFFF, 0x8000, 0x7FFF])
def test_a_sentinel_is_not_available_and_without_it_a_wrong_value(raw):
    data = struct.pack(">H", raw)
    value, quality = decode_one(point("s16", invalid=(0xFFFF, 0x8000, 0x7FFF)), data)
    assert np.isnan(value)
    assert quality == Quality.NOT_AVAILABLE
    assert decode_one(point("s16"), data)[1] == Quality.GOOD  # the twin: nothing else would have caught it


def test_a_sentinel_is_compared_before_scaling_and_in_the_word_order_of_the_point():
    spec = point("u32", order="CDAB", div=100.0, decimals=2, invalid=(0x80000000,))
    assert decode_one(spec, bytes.fromhex("00008000"))[1] == Quality.NOT_AVAILABLE
    assert decode_one(spec, bytes.fromhex("80000000"))[1] == Quality.GOOD


def test_a_sentinel_written_with_a_sign_is_the_same_pattern():
    assert decode_one(point("s16", invalid=(-1,)), b"\xff\xff")[1] == Quality.NOT_AVAILABLE
    assert decode_one(point("s64", invalid=(-(2**63),)), b"\x80" + bytes(7))[1] == Quality.NOT_AVAILABLE


def test_as_many_sentinels_as_allowed_work_and_more_are_refused():
    assert decode_one(point(invalid=tuple(range(MAX_INVALID))), struct.pack(">H", 15))[1] == Quality.NOT_AVAILABLE
    with pytest.raises(ValueError, match="17 invalid patterns, at most 16"):
        Decode([point(invalid=tuple(range(MAX_INVALID + 1)))])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (point("u16", invalid=(0x10000,)), "0x10000 has more bits than the point"),
        (point("s16", invalid=(-0x8001,)), "-0x8001 has more bits than the point"),
        (point("u16", invalid=((0, 0x10000),)), "0x10000 has more bits than the point"),
        (point("bool", invalid=(1,)), "only registers can hold an invalid pattern"),
        (point("string", invalid=(1,)), "only registers can hold an invalid pattern"),
    ],
)
def test_a_sentinel_that_cannot_occur_is_refused_instead_of_meaning_another(spec, reason):
    with pytest.raises(ValueError, match=reason):
        Decode([spec])


def test_a_sentinel_of_a_bit_is_that_of_its_whole_register():
    spec = point("bool", bit=3, invalid=(0xFFFF,))
    assert decode_one(spec, b"\xff\xff")[1] == Quality.NOT_AVAILABLE
    assert decode_one(spec, b"\x00\x08") == (1.0, Quality.GOOD)


@pytest.mark.parametrize("data", ["7fc00000", "ffc00001", "7f800000", "ff800000", "7f800001"])
def test_nan_and_infinity_are_not_available(data):
    value, quality = decode_one(point("f32"), bytes.fromhex(data))
    assert (np.isnan(value), quality) == (True, Quality.NOT_AVAILABLE)


def test_the_float_sentinel_of_the_trade_is_out_of_range():
    assert decode_one(point("f32"), bytes.fromhex("7f7fffff"))[1] == Quality.OUT_OF_RANGE


def test_both_ends_of_the_range_are_inside():
    spec = point("s16", low=-10.0, high=10.0)
    qualities = [decode_one(spec, struct.pack(">h", raw))[1] for raw in (-11, -10, 10, 11)]
    assert qualities == [Quality.OUT_OF_RANGE, Quality.GOOD, Quality.GOOD, Quality.OUT_OF_RANGE]


def test_what_could_not_be_printed_exactly_is_out_of_range():
    assert decode_one(point("u64"), struct.pack(">Q", 2**52 - 1)) == (2**52 - 1, Quality.GOOD)
    assert decode_one(point("u64"), struct.pack(">Q", 2**52))[1] == Quality.OUT_OF_RANGE
    assert decode_one(point("u64", decimals=1), struct.pack(">Q", 2**52 // 10 + 1))[1] == Quality.OUT_OF_RANGE
    assert decode_one(point("f64", mul=1e300), struct.pack(">d", 1e300))[1] == Quality.OUT_OF_RANGE


def test_a_clock_that_was_never_set_makes_good_values_unsure_and_keeps_them():
    assert decode_one(point(), b"\0\5", clock_sane=False) == (5.0, Quality.CLOCK_UNSURE)
    assert decode_one(point(invalid=(5,)), b"\0\5", clock_sane=False)[1] == Quality.NOT_AVAILABLE


def test_points_share_a_scale_register_of_their_own_record_only():
    decode = Decode([point("s16", name="a", scale_at=2), point("s16", name="b", scale_at=1)])
    decode.set_blocks([block([0, 1], [0, 1], 3)])
    records = [struct.pack(">hhh", *words) for words in ((2305, -7, -1), (5, 6, 2), (1, 2, -32768), (1, 2, 11))]
    samples = decode(batch(*((0, record) for record in records)))
    assert samples.value[:4].tolist() == [230.5, -0.7, 500.0, 600.0]
    assert samples.quality[4:].tolist() == [Quality.NOT_AVAILABLE] * 2 + [Quality.OUT_OF_RANGE] * 2


def test_four_slots_of_four_bits_lie_in_one_register():
    """DSE GenComm page 154: the first of four alarms is in the highest bits."""
    points = [point(name=f"alarm_{k}", bits=(12 - 4 * k, 15 - 4 * k), state=True, invalid=(15,)) for k in range(4)]
    decode = Decode(points)
    decode.set_blocks([block(range(4), [0] * 4, 1)])
    samples = decode(batch((0, b"\x12\x3f")))
    assert samples.value[:3].tolist() == [1, 2, 3]
    assert samples.quality.tolist() == [0, 0, 0, Quality.NOT_AVAILABLE]


def test_bits_of_a_register_count_from_the_lowest():
    points = [point("bool", name=f"b{k}", bit=k) for k in range(16)]
    decode = Decode(points)
    decode.set_blocks([block(range(16), [0] * 16, 1)])
    assert decode(batch((0, struct.pack(">H", 0x8005)))).value.tolist() == [1, 0, 1] + [0] * 12 + [1]


def test_coils_come_lowest_bit_first():
    """Modbus V1.1b3, 6.1: coils 20-38 answered as CD 6B 05; coil 27 is the highest bit of the first byte."""
    points = [point("bool", name=f"c{k}") for k in range(19)]
    decode = Decode(points)
    decode.set_blocks([block(range(19), range(19), 19, function=1)])
    assert decode(batch((0, bytes.fromhex("cd6b05")))).value.tolist() == [
        *(1, 0, 1, 1, 0, 0, 1, 1),
        *(1, 1, 0, 1, 0, 1, 1, 0),
        *(1, 0, 1),
    ]


@pytest.mark.parametrize("outcome", [o for o in Outcome if o != Outcome.OK])
def test_a_failed_read_gives_one_comm_error_per_point_and_its_neighbours_stay_good(outcome):
    decode = Decode([point(name="a"), point(name="b")])
    decode.set_blocks([block([0, 1], [0, 1], 2)])
    samples = decode(batch((0, b"\0\1\0\2"), (0, b""), (0, b"\0\3\0\4"), outcomes=[Outcome.OK, outcome, Outcome.OK]))
    assert samples.point.tolist() == [0, 1] * 3
    assert samples.ts_ns.tolist() == [TS, TS, TS + 1, TS + 1, TS + 2, TS + 2]
    assert samples.quality.tolist() == [0, 0, Quality.COMM_ERROR, Quality.COMM_ERROR, 0, 0]
    assert samples.value[[0, 1, 4, 5]].tolist() == [1, 2, 3, 4]
    assert np.isnan(samples.value[2:4]).all()


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_a_short_record_is_never_completed_from_its_neighbours_bytes(missing):
    decode = Decode([point("u32", name="a")])
    decode.set_blocks([block([0], [0], 2)])
    whole, short = b"\0\0\0\7", b"\0\0\0\7"[: 4 - missing]
    in_the_middle = decode(batch((0, short), (0, whole)))
    assert in_the_middle.quality.tolist() == [Quality.COMM_ERROR, Quality.GOOD]
    at_the_end = decode(batch((0, whole), (0, short)))
    assert at_the_end.quality.tolist() == [Quality.GOOD, Quality.COMM_ERROR]
    assert decode(batch((0, whole), (0, whole))).quality.tolist() == [0, 0]  # then a perfect answer


@pytest.mark.parametrize("start", [-1, 1, 3, 4, 2**40, 2**63 - 1, -(2**63)])
def test_a_start_outside_of_the_image_is_a_failed_read(start):
    decode = Decode([point("u32")])
    decode.set_blocks([block([0], [0], 2)])
    wrong = batch((0, b"\0\0\0\7"))
    wrong.start[0] = start
    assert decode(wrong).quality.tolist() == [Quality.COMM_ERROR]


def test_an_unknown_block_is_an_error_not_a_read_of_foreign_memory():
    decode = Decode([point()])
    decode.set_blocks([block([0], [0], 1)])
    with pytest.raises(IndexError):
        decode(batch((1, b"\0\1")))


def test_new_blocks_join_and_the_old_numbers_stay_valid():
    decode = Decode([point(name="a"), point(name="b")])
    merged = block([0, 1], [0, 2], 3)
    decode.set_blocks([merged])
    decode.set_blocks([merged, block([0], [0], 1), block([1], [0], 1)])
    samples = decode(batch((2, b"\0\2"), (0, b"\0\5\xaa\xaa\0\6"), (1, b"\0\1")))
    assert samples.point.tolist() == [1, 0, 1, 0]
    assert samples.value.tolist() == [2, 5, 6, 1]


@pytest.mark.parametrize(
    ("spec", "bad"),
    [
        (point("u32"), block([0], [1], 2)),
        (point("u16"), block([0], [-1], 2)),
        (point("string", registers=3), block([0], [0], 2)),
        (point("bool"), block([0], [8], 8, function=2)),
        (point("bool"), block([0], [0], 1)),
        (point("u16"), block([0], [0], 8, function=1)),
        (point("u16", scale_at=1), block([0], [0], 1)),
        (point("u16", scale_at=-1), block([0], [0], 2)),
    ],
)
def test_a_point_that_does_not_lie_in_its_block_is_refused(spec, bad):
    with pytest.raises(ValueError, match="does not lie inside"):
        Decode([spec]).set_blocks([bad])


def test_strings_are_texts_beside_the_samples():
    low_byte_first = point("string", name="low", registers=2, order="BADC")
    points = [point("string", name="serial", registers=4), point(name="x"), low_byte_first]
    decode = Decode(points)
    decode.set_blocks([block([0, 1, 2], [0, 4, 5], 7)])
    good = b"AB-12 \0\xff" + b"\0\7" + b"BADC"
    samples = decode(batch((0, good), (0, b""), (0, good[:-1]), (0, good[:4]), outcomes=[0, Outcome.TIMEOUT, 0, 0]))
    assert samples.texts == ((0, TS, "AB-12"), (2, TS, "ABCD"))
    assert samples.point.tolist() == [1, 1, 1, 1]
    assert samples.quality.tolist() == [Quality.GOOD] + [Quality.COMM_ERROR] * 3


def test_a_text_carries_no_control_characters():
    decode = Decode([point("string", registers=4)])
    decode.set_blocks([block([0], [0], 4)])
    assert decode(batch((0, b"a\nb\x01\xffc  "))).texts[0][2] == "ab\N{REPLACEMENT CHARACTER}c"
    assert decode(batch((0, b"\0" * 8))).texts == ()


def test_nothing_arrived_gives_nothing():
    decode = Decode([point()])
    decode.set_blocks([block([0], [0], 1)])
    assert len(decode(batch())) == 0


def test_read_only_arrays_are_taken_as_they_are():
    decode = Decode([point()])
    decode.set_blocks([block([0], [0], 1)])
    records = batch((0, b"\0\7"))
    for array in (records.image, records.block, records.start, records.ts_ns, records.outcome):
        array.flags.writeable = False
    assert decode(records).value.tolist() == [7.0]


def test_a_derived_point_stands_with_the_fields_it_shares_a_line_with():
    points = [
        point(name="a", div=10.0, decimals=1)._replace(tags=(("outlet", "1"),)),
        point(name="b")._replace(tags=(("outlet", "2"),)),
        point("derived", name="twice", decimals=1)._replace(tags=(("outlet", "1"),)),
        point("string", name="serial", registers=1),
    ]
    decode = Decode(points)
    twice = (2.0, 0, "*", 1, "-")
    decode.set_blocks([BlockSpec("meter", 1, 3, 0, 3, 1.0, (0, 1, 3), (0, 1, 2), derived=((2, twice),))])
    samples = decode(batch((0, b"\0\x64\0\3AB"), (0, b""), (0, b"\0\x0a\0\1CD"), outcomes=[0, Outcome.TIMEOUT, 0]))
    assert samples.point.tolist() == [0, 2, 1] * 3
    assert samples.quality.tolist() == [0] * 3 + [Quality.COMM_ERROR] * 3 + [0] * 3
    assert samples.value[[0, 1, 2, 6, 7, 8]].tolist() == [10.0, 17.0, 3.0, 1.0, 1.0, 1.0]


def test_a_derived_point_is_as_unsure_of_its_time_as_its_inputs():
    decode = Decode([point(name="a"), point("derived", name="d")])
    decode.set_blocks([BlockSpec("meter", 1, 3, 0, 1, 1.0, (0,), (0,), derived=((1, (0, "~")),))])
    samples = decode(batch((0, b"\0\5")), clock_sane=False)
    assert (samples.value.tolist(), samples.quality.tolist()) == ([5.0, -5.0], [Quality.CLOCK_UNSURE] * 2)


def test_a_derived_point_whose_inputs_are_read_apart_is_not_available():
    decode = Decode([point(name="a"), point("derived", name="d")])
    decode.set_blocks([BlockSpec("meter", 1, 3, 0, 1, 1.0, (0,), (0,), derived=((1, ()),))])
    assert decode(batch((0, b"\0\5"))).quality.tolist() == [Quality.GOOD, Quality.NOT_AVAILABLE]


def test_a_text_cannot_be_computed_with():
    decode = Decode([point("string", registers=1), point("derived", name="d")])
    with pytest.raises(ValueError, match="computes with a text"):
        decode.set_blocks([BlockSpec("meter", 1, 3, 0, 1, 1.0, (0,), (0,), derived=((1, (0,)),))])


@pytest.mark.parametrize("order", ["ABCD", "CDAB", "BADC", "DCBA"])
@pytest.mark.parametrize("registers", range(1, 9))
def test_the_last_bytes_of_an_image_of_any_length_are_read(registers, order):
    data = bytes(range(1, 2 * registers + 1))
    points = [point("u16", name=f"x{k}", order=order) for k in range(registers)]
    decode = Decode(points)
    decode.set_blocks([block(range(registers), range(registers), registers)])
    expected = [int.from_bytes(reorder(data[k : k + 2], order), "big") for k in range(0, len(data), 2)]
    assert decode(batch((0, data))).value.tolist() == expected


def test_values_of_one_form_beside_each_other_and_apart_are_told_alike():
    """The kernel looks at a form once per run of values; runs end with the block."""
    types = ["u32", "u32", "s32", "u32", "u32", "f32", "f32", "u32"]
    points = [point(each, name=f"x{k}") for k, each in enumerate([*types, *types])]
    values = [1, 2, -3, 4, 5, 0.5, -0.25, 8]
    data = struct.pack(">IIiIIffI", *values)
    decode = Decode(points)
    decode.set_blocks([block(range(8), range(0, 16, 2), 16), block(range(8, 16), range(0, 16, 2), 16)])
    samples = decode(batch((1, data), (0, data), (1, data)))
    assert samples.value.tolist() == 3 * values
    assert samples.point.tolist() == [*range(8, 16), *range(8), *range(8, 16)]
