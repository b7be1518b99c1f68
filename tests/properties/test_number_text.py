"""The text of numbers against Python's own, which rounds correctly."""

import struct

import numpy as np
import pytest

from collector.decode import Decode
from collector.encode import Encode
from collector.types import BlockSpec, PointSpec, Quality, RawBatch, Samples

N = 100_000


def points(decimals, **kwargs):
    return [PointSpec(device="d", name="x", category="c", tags=(), type="s64", decimals=decimals, **kwargs)]


def texts(decimals, values):
    """What the encoder writes for each value."""
    n = len(values)
    samples = Samples(np.zeros(n, np.int32), np.arange(n, dtype=np.int64), values, np.zeros(n, np.uint8))
    encode = Encode(points(decimals), city="c", site="s", gateway="g", spool_id="p", boot_id="b")
    rows = encode(samples, np.ones(n, np.bool_), 1)
    lines = b"".join(row.payload.partition(b"\n")[2] for row in rows).decode().splitlines()
    fields = [line.split(" ")[1] for line in lines]
    assert fields[0].endswith(",x_q=0i")  # the first reading tells its quality
    return [field.removesuffix(",x_q=0i").removeprefix("x=") for field in fields]


def python_text(value, decimals):
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def near_halves(rng, decimals, n):
    """Doubles next to a half of the last decimal, where a rounded product misleads."""
    halves = (rng.integers(-(10**7), 10**7, n) + 0.5) / 10.0**decimals
    return np.nextafter(halves, rng.choice([-np.inf, 0.0, np.inf], n))


@pytest.mark.parametrize("decimals", range(10))
def test_the_text_equals_pythons_for_random_doubles(decimals):
    rng = np.random.default_rng(decimals)
    limit = 2.0**53 / 10.0**decimals
    values = np.concatenate(
        (
            rng.uniform(-limit, limit, N // 5),
            rng.choice([-1, 1], N // 5) * 10.0 ** rng.uniform(-12, np.log10(limit * 0.999), N // 5),
            rng.integers(-(10**6), 10**6, N // 5) / 10.0 ** rng.integers(0, 8, N // 5),
            np.float32(rng.uniform(-1000, 1000, N // 5)).astype(np.float64),
            near_halves(rng, decimals, N // 5),
        )
    )
    values = values[np.abs(values) * 10.0**decimals < 2.0**53]
    assert texts(decimals, values) == [python_text(v, decimals) for v in values.tolist()]


@pytest.mark.parametrize("decimals", [1, 2, 3, 6])
def test_the_naive_product_would_round_some_of_them_wrong(decimals):
    """The twin: rounding `value * 10**decimals` alone is not what `f"{value:.2f}"` says."""
    values = near_halves(np.random.default_rng(decimals), decimals, N // 5)
    naive = np.rint(values * 10.0**decimals) / 10.0**decimals
    assert any(f"{n:.{decimals}f}" != f"{v:.{decimals}f}" for n, v in zip(naive.tolist(), values.tolist(), strict=True))


@pytest.mark.parametrize("decimals", range(7))
def test_a_scaled_integer_register_is_printed_exactly(decimals):
    rng = np.random.default_rng(decimals)
    top = 2**52 - 1
    raws = np.concatenate(
        (rng.integers(-top, top, N // 4), rng.integers(-(10**6), 10**6, N // 4), [top, -top, 0, 1, -1])
    )
    decode = Decode(points(decimals, div=10.0**decimals))
    decode.set_blocks([BlockSpec("d", 1, 3, 0, 4, 1.0, (0,), (0,))])
    n = len(raws)
    samples = decode(
        RawBatch(
            image=np.frombuffer(struct.pack(f">{n}q", *raws.tolist()), np.uint8),
            block=np.zeros(n, np.int32),
            start=8 * np.arange(n, dtype=np.int64),
            ts_ns=np.arange(n, dtype=np.int64),
            outcome=np.zeros(n, np.uint8),
        )
    )
    assert (samples.quality == Quality.GOOD).all()
    expected = []
    for raw in raws.tolist():
        digits = f"{abs(raw):0{decimals + 1}d}"
        whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
        expected.append(("-" if raw < 0 else "") + whole + ("." + fraction if decimals else ""))
    assert texts(decimals, samples.value) == expected
