"""The only file that imports numba: how a plain loop becomes machine code, and why a bad cache cannot stop the start.

Numba keeps the machine code on disk (NUMBA_CACHE_DIR, else `__pycache__`, else the user's cache directory). It raises
when none of them can be written, at every start anew when a file there is truncated, and runs code whose bytes rotted:
the process dies by a signal. So each kernel's files are sealed with a checksum, what does not fit its seal is removed
and compiled again, and where nothing can be kept the kernel is compiled for this run only.
With NUMBA_DISABLE_JIT=1 the kernels run as Python; they convert every number explicitly to give the same results.
"""

import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import numba as _numba
import numpy as np

#: Untyped, for the versions of numba that we allow are annotated differently.
numba: Any = _numba

Function = TypeVar("Function", bound=Callable[..., Any])

#: NaN and infinity are data here, so no fast-math. Division by zero gives infinity, as in C, instead of a branch.
OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}

#: A call would pass every array as seven numbers through memory. Nothing but kernels calls a part.
PART_OPTIONS = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_kernels: "list[Kernel]" = []


class Kernel:
    """A plain loop compiled for exactly one signature: by `ready`, or else by the first call."""

    def __init__(self, function: Callable[..., Any], signature: str) -> None:
        self.function = function
        self.signature = signature
        self.fault = ""  #: what was wrong with the cache, for the log
        self.was_missing = False  #: the cache is sound and did not hold it
        self._run: Callable[..., Any] | None = None
        _kernels.append(self)

    def __call__(self, *arguments: Any) -> Any:
        return (self._run or self.ready())(*arguments)

    def ready(self) -> Callable[..., Any]:
        """The compiled function; from the cache if it holds it."""
        if self._run is None:
            self._run = self._compiled()
        return self._run

    def _compiled(self) -> Callable[..., Any]:
        if numba.config.DISABLE_JIT:
            plain: Callable[..., Any] = np.errstate(all="ignore")(self.function)  # machine code does not warn either
            return plain
        for _ in range(2):  # once more after a broken cache has been removed
            dispatcher = numba.njit(**OPTIONS)(self.function)
            cache: _CacheFiles | None = None
            try:
                dispatcher.enable_caching()
                cache = _CacheFiles(Path(dispatcher.stats.cache_path), self.function)
                if not cache.sound():
                    self.fault = f"{cache.seal}: does not fit the files beside it"
                    cache.remove()
                dispatcher.compile(self.signature)
                cache.close()
            except Exception as error:  # numba's cache raises whatever pickle, the file system or LLVM raise
                self.fault = f"{type(error).__name__}: {error}"
            if dispatcher.signatures:  # compiled, even if it could not be kept
                self.was_missing = not self.fault and not dispatcher.stats.cache_hits
                return _only(dispatcher)
            if cache is None or not cache.remove():
                break
        dispatcher = numba.njit(**OPTIONS)(self.function)
        dispatcher.compile(self.signature)
        return _only(dispatcher)


class _CacheFiles:
    """The files in which numba keeps one kernel, and the seal beside them."""

    def __init__(self, directory: Path, function: Callable[..., Any]) -> None:
        self._directory = directory
        self._stem = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}-"
        self.seal = directory / f"{self._stem.rstrip('-')}.seal"

    def sound(self) -> bool:
        """Whether the files are those that were sealed. No files at all are sound."""
        files = self._files()
        return not files or (self.seal.is_file() and self.seal.read_text("ascii", "replace") == _checksum(files))

    def close(self) -> None:
        """Seal the files as they are now."""
        checksum = _checksum(self._files())
        if not self.seal.is_file() or self.seal.read_text("ascii", "replace") != checksum:
            self.seal.write_text(checksum, "ascii")

    def remove(self) -> bool:
        """Delete the files. Whether there were any and all are gone."""
        try:
            files = self._files()
            for path in [*files, self.seal]:
                path.unlink(missing_ok=True)
        except OSError:
            return False
        return bool(files)

    def _files(self) -> list[Path]:
        return sorted(p for p in self._directory.glob(f"{self._stem}*") if p.suffix in (".nbi", ".nbc"))


def _checksum(files: list[Path]) -> str:
    crc = 0
    for path in files:
        crc = zlib.crc32(path.read_bytes(), zlib.crc32(path.name.encode(), crc))
    return f"{crc:08x}\n"


def _only(dispatcher: Any) -> Callable[..., Any]:
    """`dispatcher`, unable to compile for anything else: a wrong type is an error, not a pause of a second."""
    dispatcher.disable_compile()
    compiled: Callable[..., Any] = dispatcher
    return compiled


def kernel(signature: str) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a plain loop a kernel. `signature` is numba's, with every type explicit."""
    return lambda function: Kernel(function, signature)


def inlined(function: Function) -> Function:
    """A part of kernels in the same file; compiled into each of them."""
    compiled: Function = numba.njit(**OPTIONS, **PART_OPTIONS)(function)
    return compiled


def libc(name: str, signature: str) -> Any:
    """A function of the C library that kernels may call; it has no Python form, so neither have they.

    `signature` is numba's. Found by name when the machine code is loaded, so that it can be kept in the cache.
    """
    returned, arguments = numba.core.sigutils.normalize_signature(signature)[::-1]
    return numba.types.ExternalFunction(name, returned(*arguments))


def is_compiled() -> bool:
    """Whether kernels are machine code; False with NUMBA_DISABLE_JIT=1."""
    return not numba.config.DISABLE_JIT


def warm(modules: Collection[str]) -> list[Kernel]:
    """Make every kernel of these modules, of those imported so far, ready."""
    kernels = [each for each in _kernels if each.function.__module__ in modules]
    for each in kernels:
        each.ready()
    return kernels
