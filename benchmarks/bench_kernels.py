"""The stages' kernels beside per-point Python and beside numpy, in one run, over the same answers.

    .venv/bin/python benchmarks/bench_kernels.py [--quick]

Devices of 100 points (16, 32 and 64 bit, integers and floats, four word orders), one block each, every reading
published ("all"), one window of 60 s. A round is one tick through all stages of every variant; the variants take turns
and each figure is the median over the rounds, in nanoseconds of CPU time per reading. The texts of ours and of
Python are compared before anything is measured.
"""

import argparse
import json
import statistics
import struct
import time
from pathlib import Path

import numpy as np

from collector.aggregate import Aggregate
from collector.decode import Decode
from collector.encode import Encode
from collector.filter import Filter
from collector.kernels import warm
from collector.types import BlockSpec, PointSpec, RawBatch

POINTS_PER_DEVICE = 100
#: Beyond this the ticks of per-point Python take minutes and tell nothing new.
ROUNDS = {1_000: 60, 10_000: 24, 100_000: 7}
STAGES = ("decode", "filter", "aggregate", "encode")
RESULTS = Path(__file__).parent / "results" / "kernels.json"
START_NS = 1_800_000_000 * 10**9

CODES = {"u16": "H", "s16": "h", "u32": "I", "s32": "i", "u64": "Q", "f32": "f"}
SIZES = {"u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "f32": 4}
TYPES = ["u16", "u16", "u16", "s16", "s16", "u32", "u32", "s32", "f32", "f32"] * 9 + ["u16"] * 5 + ["u64"] * 5
NAMES = ["voltage_l1", "current_l2", "active_power", "reactive_power", "frequency", "power_factor", "energy_import"]


def plant(readings):
    """Points and blocks of so many readings per tick."""
    points, blocks = [], []
    for d in range(readings // POINTS_PER_DEVICE):
        offsets, at = [], 0
        for k, type_ in enumerate(TYPES):
            offsets.append(at)
            at += SIZES[type_] // 2
            points.append(
                PointSpec(
                    device=f"meter{d:04d}",
                    name=f"{NAMES[k % 7]}_{k}",
                    category="power",
                    tags=(("rack", f"r{d % 40}"), ("room", "hall1")),
                    type=type_,
                    order=("ABCD", "CDAB", "BADC", "DCBA")[k % 4],
                    div=10.0 ** (k % 4) if type_ != "f32" else 1.0,
                    decimals=k % 4 if type_ != "f32" else 3,
                    invalid={2: (0xFFFF,), 4: (0xFFFFFFFF,), 8: ()}[SIZES[type_]],
                )
            )
        numbers = range(len(points) - len(TYPES), len(points))
        blocks.append(BlockSpec(f"meter{d:04d}", 1, 3, 0, at, 1.0, tuple(numbers), tuple(offsets)))
    return points, blocks


def answers(points, blocks, seed):
    """One tick's answers: values that move a little, as bytes on the wire."""
    rng = np.random.default_rng(seed)
    image = bytearray()
    for block in blocks:
        for p in block.points:
            point = points[p]
            raw = int(2300 + rng.integers(0, 60)) * (1 if SIZES[point.type] == 2 else 7)
            data = struct.pack(">" + CODES[point.type], raw / 70 if point.type == "f32" else raw)
            words = [data[k : k + 2] for k in range(0, len(data), 2)]
            words = words[::-1] if point.order in ("CDAB", "DCBA") else words
            image += b"".join(w[::-1] if point.order in ("BADC", "DCBA") else w for w in words)
    start = np.cumsum([0, *(2 * b.count for b in blocks)])[:-1]
    return np.frombuffer(bytes(image), np.uint8), start.astype(np.int64)


def tick_of(image, start, now_ns):
    n = len(start)
    return RawBatch(image, np.arange(n, dtype=np.int32), start, np.full(n, now_ns, np.int64), np.zeros(n, np.uint8))


class Ours:
    def __init__(self, points, blocks):
        self._decode = Decode(points)
        self._decode.set_blocks(blocks)
        self._filter = Filter(points, 600, "all")
        self._aggregate = Aggregate(points, (60,))
        self._encode = Encode(points, city="c", site="s", gateway="g", spool_id="p", boot_id="b")

    def decode(self, batch, now_ns):
        self._samples = self._decode(batch)

    def filter(self, batch, now_ns):
        self._keep = self._filter(self._samples)

    def aggregate(self, batch, now_ns):
        self._aggregate(self._samples, now_ns)

    def encode(self, batch, now_ns):
        self.rows = self._encode(self._samples, self._keep, 1)


class PerPointPython:
    """What a plain gateway does: one object, one struct call and one f-string per point."""

    class Point:
        def __init__(self, spec):
            self.spec = spec
            self.unpack = struct.Struct(">" + CODES[spec.type]).unpack
            self.size = SIZES[spec.type]
            self.prefix = f"{spec.name}="
            self.last = None
            self.last_ns = 0
            self.count, self.sum, self.low, self.high = 0, 0.0, float("inf"), float("-inf")

    def __init__(self, points, blocks):
        self._points = [self.Point(spec) for spec in points]
        self._blocks = blocks
        self._prefixes = [
            f"power,city=c,site=s,gateway=g,device={b.device},"
            + ",".join(f"{k}={v}" for k, v in points[b.points[0]].tags)
            for b in blocks
        ]

    def decode(self, batch, now_ns):
        image, self._values = batch.image.tobytes(), []
        for b, start in zip(self._blocks, batch.start.tolist(), strict=True):
            for p, offset in zip(b.points, b.offsets, strict=True):
                point = self._points[p]
                spec = point.spec
                data = image[start + 2 * offset : start + 2 * offset + point.size]
                if spec.order in ("CDAB", "DCBA"):
                    data = b"".join(data[k : k + 2] for k in range(point.size - 2, -1, -2))
                if spec.order in ("BADC", "DCBA"):
                    data = b"".join(data[k + 1 : k + 2] + data[k : k + 1] for k in range(0, point.size, 2))
                if int.from_bytes(data, "big") in spec.invalid:
                    self._values.append(None)
                    continue
                value = (point.unpack(data)[0] * spec.mul + spec.add) / spec.div
                self._values.append(value if spec.low <= value <= spec.high else None)

    def filter(self, batch, now_ns):
        self._kept = []
        for point, value in zip(self._points, self._values, strict=True):
            changed = point.last is None or abs(value - point.last) > point.spec.deadband
            self._kept.append(value is not None and (changed or now_ns - point.last_ns > 600e9 or True))
            point.last, point.last_ns = value, now_ns

    def aggregate(self, batch, now_ns):
        for point, value in zip(self._points, self._values, strict=True):
            if value is not None:
                point.count += 1
                point.sum += value
                point.low = min(point.low, value)
                point.high = max(point.high, value)

    def encode(self, batch, now_ns):
        self.lines = []
        for b, prefix in zip(self._blocks, self._prefixes, strict=True):
            fields = [
                f"{self._points[p].prefix}{self._values[p]:.{self._points[p].spec.decimals}f}"
                for p in b.points
                if self._kept[p]
            ]
            self.lines.append(f"{prefix} {','.join(fields)} {now_ns}")


class Numpy:
    """The same arithmetic as whole-array operations, which know that every block answers exactly once in every tick.

    Text has no sensible counterpart.
    """

    def __init__(self, points, blocks):
        self._shift = []  # per type and order: (numbers of points, byte positions in the image, dtype)
        start = np.cumsum([0, *(2 * b.count for b in blocks)])
        at = np.concatenate([s + 2 * np.array(b.offsets) for s, b in zip(start, blocks, strict=False)])
        for type_ in CODES:
            mine = np.array([k for k, p in enumerate(points) if p.type == type_])
            size = SIZES[type_]
            mask = np.array(
                [
                    (size - 2 if points[k].order in ("CDAB", "DCBA") else 0) | (points[k].order in ("BADC", "DCBA"))
                    for k in mine
                ]
            )
            where = at[mine][:, None] + (np.arange(size)[None, :] ^ mask[:, None])
            self._shift.append((mine, where, np.dtype(CODES[type_]).newbyteorder(">")))
        self._div = np.array([p.div for p in points])
        self._low, self._high = np.array([p.low for p in points]), np.array([p.high for p in points])
        self._invalid = np.array([float(p.invalid[0]) if p.invalid else np.nan for p in points])
        n = len(points)
        self._last, self._last_ns, self._deadband = np.zeros(n), np.zeros(n, np.int64), np.zeros(n)
        self._count, self._sum = np.zeros(n), np.zeros(n)
        self._min, self._max = np.full(n, np.inf), np.full(n, -np.inf)

    def decode(self, batch, now_ns):
        raw = np.empty(len(self._div))
        for mine, where, dtype in self._shift:
            raw[mine] = batch.image[where].view(dtype)[:, 0]
        value = raw / self._div
        good = np.isfinite(raw) & (raw != self._invalid) & (value >= self._low) & (value <= self._high)
        self._value, self._good = np.where(good, value, np.nan), good

    def filter(self, batch, now_ns):
        changed = np.abs(self._value - self._last) > self._deadband
        kept = self._good & (changed | (now_ns - self._last_ns > 600 * 10**9) | True)
        self._last[kept] = self._value[kept]
        self._last_ns[kept] = now_ns

    def aggregate(self, batch, now_ns):
        value = self._value
        self._count += self._good
        self._sum += np.where(self._good, value, 0.0)
        self._min = np.fmin(self._min, value)
        self._max = np.fmax(self._max, value)


def assert_same_text(ours, python):
    """What is compared for speed must be the same work."""
    mine = [
        line.decode().replace("_q=0i", "") for row in ours.rows for line in row.payload.splitlines() if line[:1] != b"#"
    ]
    fields = [[f for f in line.split(" ")[1].split(",") if "=" in f] for line in mine]
    theirs = [line.split(" ")[1].split(",") for line in python.lines]
    assert fields == theirs, "ours and Python disagree"


def measure(readings, rounds):
    points, blocks = plant(readings)
    ticks = [answers(points, blocks, seed) for seed in range(2)]
    variants = {"ours": Ours(points, blocks), "python": PerPointPython(points, blocks), "numpy": Numpy(points, blocks)}
    times = {name: {stage: [] for stage in STAGES if hasattr(v, stage)} for name, v in variants.items()}
    for k in range(rounds + 1):
        now_ns = START_NS + k * 10**9
        batch = tick_of(*ticks[k % 2], now_ns)
        for name, variant in variants.items():
            for stage in times[name]:
                began = time.process_time_ns()
                getattr(variant, stage)(batch, now_ns)
                if k:  # the first round warms up and tells qualities
                    times[name][stage].append((time.process_time_ns() - began) / readings)
        if k == 1:
            assert_same_text(variants["ours"], variants["python"])
    return {
        name: {stage: statistics.median(values) for stage, values in stages.items()} for name, stages in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without 100,000 readings")
    quick = parser.parse_args().quick
    began = time.perf_counter()
    warm()
    warm_s = time.perf_counter() - began
    found = {n: measure(n, rounds) for n, rounds in ROUNDS.items() if not (quick and n > 10_000)}
    print(f"CPU nanoseconds per reading; kernels ready after {warm_s:.2f} s")
    print(f"{'readings':>9} {'variant':>8} " + " ".join(f"{s:>10}" for s in STAGES) + f" {'total':>10}")
    report = {
        "warm_s": round(warm_s, 3),
        "ns_per_reading": {},
        "python_over_ours": {},
        "numpy_over_ours_without_encode": {},
    }
    for n, variants in found.items():
        for name, stages in variants.items():
            cells = " ".join(f"{stages[s]:>10.1f}" if s in stages else f"{'-':>10}" for s in STAGES)
            print(f"{n:>9} {name:>8} {cells} {sum(stages.values()):>10.1f}")
        total = {name: sum(stages.values()) for name, stages in variants.items()}
        comparable = sum(variants["ours"][s] for s in variants["numpy"])
        report["ns_per_reading"][str(n)] = {
            name: {**{s: round(v, 2) for s, v in stages.items()}, "total": round(total[name], 2)}
            for name, stages in variants.items()
        }
        report["python_over_ours"][str(n)] = round(total["python"] / total["ours"], 1)
        report["numpy_over_ours_without_encode"][str(n)] = round(total["numpy"] / comparable, 1)
        print(f"{'':>9} per-point Python takes {total['python'] / total['ours']:.0f} times as long as ours")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
