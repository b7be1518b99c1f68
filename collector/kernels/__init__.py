"""Plain-loop kernels. numba is imported only in `_jit`; everything else here is numpy and arithmetic.

A kernel takes one-dimensional arrays (tables may have two dimensions), writes into the last ones, allocates nothing,
raises nothing and trusts its caller: indices are not checked. Indices are unsigned where speed matters, because a
signed one may count from the end, which keeps LLVM from seeing that neighbours are neighbours.
"""

import importlib
import os
import subprocess
import sys

#: The quickest to compile comes first: it tells whether the cache holds the others.
FIRST = f"{__name__}.checksum"
#: Two halves of the compiler's work.
OURS = (f"{__name__}.express", f"{__name__}.encode")
BESIDE = (f"{__name__}.decode", f"{__name__}.filter", f"{__name__}.aggregate")
#: When our half is done the second process has this long before we do its half as well.
BESIDE_S = 20.0


def warm() -> list[str]:
    """Compile or load every kernel: before READY, never while polling. Returns what was wrong with the cache.

    With nothing in the cache and a second processor, a second process compiles half of them into the cache meanwhile.
    """
    jit = importlib.import_module(f"{__name__}._jit")
    for name in (FIRST, *OURS, *BESIDE):
        importlib.import_module(name)
    kernels = jit.warm((FIRST,))
    beside = _second_process() if any(kernel.was_missing for kernel in kernels) else None
    try:
        kernels += jit.warm(OURS)
    finally:
        trouble = "" if beside is None else _end(beside)
    kernels += jit.warm(BESIDE)  # whatever became of the second process
    faults = [f"{kernel.function.__qualname__}: {kernel.fault}" for kernel in kernels if kernel.fault]
    return [*faults, trouble] if trouble else faults


def _second_process() -> "subprocess.Popen[bytes] | None":
    """It ends when its standard input does, so that it does not outlive us."""
    if len(os.sched_getaffinity(0)) < 2:
        return None
    command = [sys.executable, "-P", "-m", __name__, *BESIDE]
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:  # no memory, no right to start programs: there is a way without
        return None


def _end(beside: "subprocess.Popen[bytes]") -> str:
    """Wait for the second process; what went wrong, if anything did."""
    trouble = ""
    try:
        if (status := beside.wait(BESIDE_S)) != 0:
            trouble = f"the second process that compiles ended with {status}"
    except subprocess.TimeoutExpired:
        trouble = "the second process that compiles took too long"
    with beside:
        beside.kill()
    return trouble
