"""Plain-loop kernels. numba is imported only in `_jit`; everything else here is numpy and arithmetic.

A kernel takes one-dimensional arrays (tables may have two dimensions), writes into the last ones, allocates nothing,
raises nothing and trusts its caller: indices are not checked. Indices are unsigned where speed matters, because a
signed one may count from the end, which keeps LLVM from seeing that neighbours are neighbours.
"""

import importlib

MODULES = ("express", "decode", "filter", "aggregate", "encode", "checksum")


def warm() -> list[str]:
    """Compile or load every kernel: before READY, never while polling. Returns what was wrong with the cache."""
    for name in MODULES:
        importlib.import_module(f"collector.kernels.{name}")
    jit = importlib.import_module("collector.kernels._jit")
    faults: list[str] = jit.warm_all()
    return faults
