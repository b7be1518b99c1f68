"""decode against a reading of the registers that is written in plain Python, from the same contract."""

import math
import struct
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode import Decode
from collector.types import BlockSpec, Outcome, PointSpec, Quality, RawBatch

CODES = {"u16": "H", "s16": "h", "u32": "I", "s32": "i", "u64": "Q", "s64": "q", "f32": "f", "f64": "d"}
REGISTERS = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4, "s64": 4, "f32": 2, "f64": 4, "bool": 1}
REGISTERS |= {"bcd16": 1, "bcd32": 2, "bcd64": 4}
PATTERNS = st.sets(st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FC00000, 2**31, 2**32 - 1, 2**64 - 1]), max_size=3)
INTERESTING = st.sampled_from(
    [0x0000, 0x0001, 0x0003, 0xFFFE, 0x1234, 0x7FFF, 0x8000, 0xFFFF, 0x7FC0, 0x7F80, 0x7F7F, 0xFF80, 0x0020]
)


def model(spec, registers, exponent):
    """(value, quality) of one point from its registers and what its scale register says."""
    if spec.order in ("CDAB", "DCBA"):
        registers = registers[::-1]
    if spec.order in ("BADC", "DCBA"):
        registers = [(r >> 8) | (r & 0xFF) << 8 for r in registers]
    data = b"".join(struct.pack(">H", r) for r in registers)
    pattern = int.from_bytes(data, "big")
    if spec.bits is not None:
        text = f"{pattern:0{8 * len(data)}b}"[::-1]
        pattern = int(text[spec.bits[0] : spec.bits[1] + 1][::-1], 2)
    if any(pattern in (range(each[0], each[1] + 1) if isinstance(each, tuple) else (each,)) for each in spec.invalid):
        return math.nan, Quality.NOT_AVAILABLE
    if exponent == -32768:
        return math.nan, Quality.NOT_AVAILABLE
    if spec.type == "bool":
        raw = float(pattern >> spec.bit & 1)
    elif spec.type.startswith("bcd"):
        raw = float(data.hex()) if data.hex().isdigit() else math.nan
    elif spec.bits is not None:
        raw = float(pattern)
    else:
        raw = float(struct.unpack(">" + CODES[spec.type], data)[0])
    if not math.isfinite(raw):
        return math.nan, Quality.NOT_AVAILABLE
    if not -10 <= exponent <= 10:
        return math.nan, Quality.OUT_OF_RANGE
    up, down = 10.0 ** max(exponent, 0), 10.0 ** max(-exponent, 0)
    value = (raw * spec.mul * up + spec.add * down) / (spec.div * down)
    if spec.encoding and 1 < abs(value) <= 2:
        value = 2 - value if value > 0 else -2 - value
    printable = math.isfinite(value) and abs(Fraction(value)) * 10**spec.decimals < 2**52
    if not spec.low <= value <= spec.high or not printable:
        return math.nan, Quality.OUT_OF_RANGE
    return value, Quality.GOOD


def fits(pattern, bits):
    return (pattern[1] if isinstance(pattern, tuple) else pattern) < 2**bits


@st.composite
def points(draw):
    type_ = draw(st.sampled_from([*CODES, "bcd16", "bcd32", "bcd64", "bool"]))
    bits = 16 * REGISTERS[type_]
    own = None
    if type_ in ("u16", "u32", "u64") and draw(st.booleans()):
        own = tuple(sorted(draw(st.tuples(st.integers(0, bits - 1), st.integers(0, bits - 1)))))
    low, high = sorted(
        draw(st.lists(st.sampled_from([-math.inf, -1e9, -40.0, 0.0, 5.5, 1e6, math.inf]), min_size=2, max_size=2))
    )
    return PointSpec(
        device="d",
        name="p",
        category="c",
        tags=(),
        type=type_,
        order=draw(st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"])),
        bit=draw(st.integers(0, 15)) if type_ == "bool" else -1,
        mul=draw(st.sampled_from([1.0, 5.0, 0.001])),
        add=draw(st.sampled_from([0.0, -400.0])),
        div=draw(st.sampled_from([1.0, 10.0, 256.0])),
        decimals=draw(st.integers(0, 6)),
        low=low,
        high=high,
        invalid=tuple(p for p in draw(st.sampled_from([draw(PATTERNS), {(0xFF00, 0xFFFF), 0}])) if fits(p, bits)),
        bits=own,
        encoding=draw(st.sampled_from(["", "", "four_quadrant"])),
    )


def exponent_of(spec, registers, offset):
    word = registers[offset + spec.scale_at]
    return 0 if spec.scale_at == 0 else word - (word >> 15 << 16)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_decoding_equals_the_plain_model(data):
    specs = data.draw(st.lists(points(), min_size=1, max_size=6))
    count = data.draw(st.integers(max(REGISTERS[s.type] for s in specs), 12))
    offsets = [data.draw(st.integers(0, count - REGISTERS[s.type])) for s in specs]
    scales = [data.draw(st.sampled_from([None, *range(count)])) for _ in specs]
    specs = [
        spec if at in (None, offset) else spec._replace(scale_at=at - offset)
        for spec, offset, at in zip(specs, offsets, scales, strict=True)
    ]
    records = data.draw(
        st.lists(st.lists(st.one_of(INTERESTING, st.integers(0, 0xFFFF)), min_size=count, max_size=count), max_size=3)
    )
    decode = Decode(specs)
    decode.set_blocks([BlockSpec("d", 1, 3, 0, count, 1.0, tuple(range(len(specs))), tuple(offsets))])
    image = b"".join(struct.pack(f">{count}H", *registers) for registers in records)
    samples = decode(
        RawBatch(
            image=np.frombuffer(image, np.uint8),
            block=np.zeros(len(records), np.int32),
            start=2 * count * np.arange(len(records), dtype=np.int64),
            ts_ns=np.arange(len(records), dtype=np.int64),
            outcome=np.full(len(records), Outcome.OK, np.uint8),
        )
    )
    expected = [
        model(spec, registers[offset : offset + REGISTERS[spec.type]], exponent_of(spec, registers, offset))
        for registers in records
        for spec, offset in zip(specs, offsets, strict=True)
    ]
    assert samples.point.tolist() == list(range(len(specs))) * len(records)
    assert [Quality(q) for q in samples.quality.tolist()] == [quality for _, quality in expected]
    assert np.array_equal(samples.value, [value for value, _ in expected], equal_nan=True)
