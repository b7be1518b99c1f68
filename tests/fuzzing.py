"""Hostile input for parsers: mutated good frames and plain noise, the same for a seed; `make nightly` gives more."""

import os
import random
from collections.abc import Iterator, Sequence

#: Inputs per parser and way of feeding it.
INPUTS = int(os.environ.get("FUZZ_INPUTS", "1500"))


def hostile(frames: Sequence[bytes], seed: int, longest: int, inputs: int = INPUTS) -> Iterator[bytes]:
    """`inputs` byte strings of at most `longest` bytes: noise, and `frames` with bytes changed, lost, doubled, cut."""
    rng = random.Random(seed)
    for _ in range(inputs):
        if not frames or rng.random() < 0.25:
            yield rng.randbytes(rng.randrange(longest + 1))
            continue
        data = bytearray(rng.choice(frames))
        for _ in range(rng.randrange(1, 6)):
            _mutate(data, rng, frames)
        yield bytes(data[:longest])


def _mutate(data: bytearray, rng: random.Random, frames: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(6)
    if kind == 0:
        data[at : at + 1] = rng.randbytes(1)
    elif kind == 1:
        del data[at : at + rng.randrange(1, 5)]
    elif kind == 2:
        data[at:at] = rng.randbytes(rng.randrange(1, 5))
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        data[at:at] = rng.choice(frames)
    elif data:
        data[at % len(data)] ^= 1 << rng.randrange(8)
