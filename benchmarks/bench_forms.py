"""What each form of a value costs: a plain register beside scale registers, bits, BCD, formulas and counters.

    .venv/bin/python benchmarks/bench_forms.py

10,000 samples per call, all of one form; each figure is the median of the calls, in nanoseconds of CPU time per sample.
"""

import json
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np

from collector.aggregate import Aggregate
from collector.decode import Decode
from collector.kernels import warm
from collector.types import BlockSpec, PointSpec, RawBatch

DEVICES, POINTS_PER_DEVICE = 100, 100
CALLS = 300
START_NS = 1_800_000_000 * 10**9
RESULTS = Path(__file__).parent / "results" / "forms.json"

#: Keys of the points. In a block each value has a scale register behind it, used or not.
FORMS = {
    "u16": {},
    "u16, three sentinels": {"invalid": (0xFFFF, 0x8000, (0xFF00, 0xFFFE))},
    "u16, bits 4 to 11": {"bits": (4, 11)},
    "u16, scale register": {"scale_at": 1},
    "u16, four quadrants": {"encoding": "four_quadrant", "div": 1000.0},
    "bcd16": {"type": "bcd16"},
    "u16, every tenth a formula of three": {},
}


def plant(keys, formulas):
    """Points and blocks of so many devices, `formulas` of each device's points computed from the others."""
    plain = POINTS_PER_DEVICE - formulas
    points, blocks = [], []
    for d in range(DEVICES):
        first = len(points)
        points += [PointSpec(f"d{d}", f"p{k}", "c", (), **{"type": "u16", **keys}) for k in range(plain)]
        points += [PointSpec(f"d{d}", f"f{k}", "c", (), "derived") for k in range(formulas)]
        computed = tuple((first + plain + k, (3 * k, 3 * k + 1, "+", 3 * k + 2, "+")) for k in range(formulas))
        numbers, offsets = tuple(range(first, first + plain)), tuple(range(0, 2 * plain, 2))
        blocks.append(BlockSpec(f"d{d}", 1, 3, 0, 2 * POINTS_PER_DEVICE, 1.0, numbers, offsets, computed))
    return points, blocks


def answers():
    """One answer of each device: values 0230, scale registers -2."""
    image = np.tile(np.array([0x0230, 0xFFFE], ">u2"), DEVICES * POINTS_PER_DEVICE).view(np.uint8)
    number = np.arange(DEVICES)
    start = number * (len(image) // DEVICES)
    return RawBatch(image, number.astype(np.int32), start, np.full(DEVICES, START_NS), np.zeros(DEVICES, np.uint8))


def median_ns(call):
    times = []
    for _ in range(CALLS):
        began = time.process_time_ns()
        call()
        times.append((time.process_time_ns() - began) / (DEVICES * POINTS_PER_DEVICE))
    return round(statistics.median(times), 2)


def main():
    warm()
    batch, found = answers(), {"decode": {}, "aggregate": {}}
    for name, keys in FORMS.items():
        points, blocks = plant(keys, 10 if "formula" in name else 0)
        decode = Decode(points)
        decode.set_blocks(blocks)
        samples = decode(batch)
        assert not samples.quality.any(), name
        found["decode"][name] = median_ns(partial(decode, batch))
    for name in ("gauge", "counter"):
        aggregate = Aggregate([p._replace(counter=name == "counter") for p in points], (60,))
        found["aggregate"][name] = median_ns(partial(aggregate, samples, START_NS))
    for stage, forms in found.items():
        print(f"{stage}, nanoseconds per sample")
        for name, ns in forms.items():
            print(f"{ns:>9.1f} {name}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"ns_per_sample": found}, indent=2) + "\n")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
