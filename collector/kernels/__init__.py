"""Plain-loop kernels. numba is imported only in `_jit`; everything else here is numpy and arithmetic.

A kernel takes one-dimensional arrays (tables may have two dimensions), writes into the last ones, allocates nothing,
raises nothing and trusts its caller: indices are not checked. Indices are unsigned where speed matters, because a
signed one may count from the end, which keeps LLVM from seeing that neighbours are neighbours.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: The quickest to compile comes first: it tells whether the cache holds the others.
FIRST = f"{__name__}.checksum"
#: Two halves of the compiler's work.
OURS = (f"{__name__}.express", f"{__name__}.encode")
BESIDE = (f"{__name__}.decode", f"{__name__}.filter", f"{__name__}.aggregate")
#: Much longer than it takes on a small machine; then we do its half as well.
BESIDE_TIMEOUT_S = 90.0


def warm() -> list[str]:
    """Compile or load every kernel: before READY, never while polling. Returns what was wrong with the cache.

    With nothing in the cache and a second processor, a second process compiles half of them into the cache meanwhile.
    """
    jit = importlib.import_module(f"{__name__}._jit")
    for name in (FIRST, *OURS, *BESIDE):
        importlib.import_module(name)
    kernels = jit.warm((FIRST,))
    with _compiling_beside(any(kernel.was_missing for kernel in kernels)):
        kernels += jit.warm(OURS)
    kernels += jit.warm(BESIDE)
    return [f"{kernel.function.__qualname__}: {kernel.fault}" for kernel in kernels if kernel.fault]


@contextmanager
def _compiling_beside(wanted: bool) -> Iterator[None]:
    """Whatever becomes of the second process: what it did not leave in the cache is compiled here."""
    beside = _second_process() if wanted and len(os.sched_getaffinity(0)) > 1 else None
    try:
        yield
        if beside is not None:
            beside.wait(BESIDE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if beside is not None:
            beside.kill()
            beside.wait()


def _second_process() -> "subprocess.Popen[bytes] | None":
    quiet = subprocess.DEVNULL
    try:
        return subprocess.Popen([sys.executable, "-m", __name__, *BESIDE], stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError:  # no memory, no right to start programs: there is a way without
        return None
