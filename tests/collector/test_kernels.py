"""Machine code and its cache, in processes of their own: a broken cache must not stop the start or change a result."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from collector.kernels import filter as filter_kernels
from collector.kernels import warm

ROOT = Path(__file__).parents[2]

#: Runs one kernel and prints what it computed, from where its code came and what was wrong with the cache.
ONE_KERNEL = """
import numpy as np
from collector.kernels import filter as kernels
n = 1000
rng = np.random.default_rng(1)
point = rng.integers(0, 50, n).astype(np.int32)
keep = np.zeros(n, np.bool_)
state = np.zeros(50), np.zeros(50, np.int64), np.full(50, 255, np.uint8)
run = kernels.select.ready()
kernels.select(point, np.arange(n), rng.normal(size=n), rng.choice([0, 4], n).astype(np.uint8), np.full(50, 0.5),
               300, False, *state, keep)
hits = sum(run.stats.cache_hits.values()) if hasattr(run, "stats") else 0
print(hash(keep.tobytes()) & 0xFFFFFFFF, hits, kernels.select.fault or "sound", sep="|")
"""

#: The same as numba alone does it, without the protection.
NUMBA_ALONE = """
import numba
import numpy as np
from collector.kernels import filter as kernels
numba.njit(kernels.select.signature, cache=True, nogil=True, error_model="numpy")(kernels.select.function)
"""

#: All stages over random answers, with everything that can be wrong in them.
ALL_STAGES = """
import hashlib
import numpy as np
from collector.aggregate import Aggregate
from collector.decode import Decode
from collector.encode import Encode
from collector.filter import Filter
from collector.types import BlockSpec, PointSpec, RawBatch
types = ["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bool", "bcd16", "bcd32", "bcd64"]
points, offsets, at = [], [], 0
for k in range(72):
    type = types[k % 12]
    points.append(PointSpec(device=f"d{k // 20}", name=f"p{k}", category=f"c{k % 3}", tags=(("room", "a b"),),
        type=type, order=["ABCD", "CDAB", "BADC", "DCBA"][k // 9 % 4], bit=k % 16 if type == "bool" else -1,
        div=10.0 ** (k % 4), decimals=k % 7, low=-1e12, high=1e12, invalid=(0, (1, 9)) if k % 5 else (),
        state=k % 11 == 0, deadband=k % 2 * 100.0, bits=(k % 7, k % 7 + 8) if type == "u32" else None,
        encoding="four_quadrant" if k % 7 == 0 else "", scale_at=-3 if at > 2 and k % 3 == 0 else 0,
        counter=k % 13 == 0, rollover=6553.6 * (k % 2)))
    offsets.append(at)
    at += {"16": 1, "32": 2, "64": 4}.get(type[-2:], 1)
points.append(PointSpec("d0", "sum", "c1", (("room", "a b"),), type="derived", decimals=3, low=-1e12, high=1e12))
decode = Decode(points)
program = (0, 1, "+", 13, "-", "~", 2.5, "*", 5, "/")
decode.set_blocks([BlockSpec("d", 1, 3, 0, at, 1.0, tuple(range(72)), tuple(offsets), derived=((72, program),))])
filter_, aggregate = Filter(points, 5, "changes"), Aggregate(points, (10,))
encode = Encode(points, city="c", site="s", gateway="g", spool_id="p", boot_id="b", target_bytes=2048)
rng = np.random.default_rng(3)
digest, rows, fields = hashlib.sha256(), 0, 0
for tick in range(15):
    image = rng.choice([0, 1, 0x7F, 0x80, 0xC0, 0xFF, 0x12], 6 * at).astype(np.uint8)
    batch = RawBatch(image, np.zeros(3, np.int32), 2 * at * np.arange(3), 1_800_000_000_000_000_000
        + tick * 2_000_000_000 + np.arange(3) * 300_000_000, np.array([0, tick % 2, 0], np.uint8))
    samples = decode(batch)
    keep = filter_(samples)
    written = encode(samples, keep, rows)
    for window in aggregate(samples, int(batch.ts_ns[2])):
        written += encode.windows(window, rows + len(written))
    rows += len(written)
    fields += sum(row.points for row in written)
    for part in (samples.point, samples.value, samples.quality, keep, *(row.payload for row in written)):
        digest.update(part)
print(digest.hexdigest(), rows, fields)
"""


def python(code, cache, *, arguments=(), **environment):
    """Run `code` in a process of its own, with its own numba cache."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(cache), **environment}
    variables["PYTHONHASHSEED"] = "0"
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, env=variables, cwd="/", capture_output=True, text=True, timeout=120)


def one_kernel(cache, **environment):
    """(result, cache hits, fault)"""
    done = python(ONE_KERNEL, cache, **environment)
    assert done.returncode == 0, done.stderr
    result, hits, fault = done.stdout.strip().split("|")
    return int(result), int(hits), fault


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound cache of one kernel, and the result it gives."""
    cache = tmp_path_factory.mktemp("sound")
    result, hits, fault = one_kernel(cache)
    assert (hits, fault) == (0, "sound")
    return cache, result


@pytest.fixture
def cache(sound, tmp_path):
    """A copy of the sound cache, to be broken."""
    shutil.copytree(sound[0], tmp_path / "cache")
    return tmp_path / "cache"


def files(cache, suffix):
    found = sorted(cache.rglob(f"*{suffix}"))
    assert found
    return found


def truncate(cache):
    for path in files(cache, ".nbc"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_index(cache):
    for path in files(cache, ".nbi"):
        path.write_bytes(b"")


def rot(cache):
    for path in files(cache, ".nbc"):
        data = bytearray(path.read_bytes())
        data[len(data) // 8 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 8)
        path.write_bytes(data)


def lose_the_seal(cache):
    for path in files(cache, ".seal"):
        path.unlink()


def garble_the_seal(cache):
    for path in files(cache, ".seal"):
        path.write_bytes(b"\xff\x00")


@pytest.mark.timeout(120)
def test_a_second_start_takes_the_code_from_the_cache(sound, cache):
    assert one_kernel(cache) == (sound[1], 1, "sound")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("damage", [truncate, empty_index, rot, lose_the_seal, garble_the_seal])
def test_a_damaged_cache_is_replaced_and_the_next_start_is_sound(sound, cache, damage):
    damage(cache)
    result, hits, fault = one_kernel(cache)
    assert (result, hits) == (sound[1], 0)
    assert "does not fit the files beside it" in fault
    if damage is truncate:
        assert one_kernel(cache) == (sound[1], 1, "sound")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("damage", "complaint"), [(truncate, "pickle data was truncated"), (empty_index, "Ran out of input"), (rot, "")]
)
def test_numba_alone_does_not_start_with_such_a_cache(cache, damage, complaint):
    """The twin: why the cache is sealed."""
    damage(cache)
    done = python(NUMBA_ALONE, cache)
    assert done.returncode != 0
    assert complaint in done.stderr


@pytest.mark.timeout(120)
def test_numba_alone_starts_with_the_same_cache_before_it_is_damaged(cache):
    assert python(NUMBA_ALONE, cache).returncode == 0


@pytest.fixture
def nowhere(tmp_path):
    """A copy of the sources where nothing can be cached, not even by root: a file is where the directory would be."""
    shutil.copytree(ROOT / "collector", tmp_path / "collector", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "collector" / "kernels" / "__pycache__").write_text("not a directory")
    return {"PYTHONPATH": str(tmp_path), "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache"}


@pytest.mark.timeout(120)
def test_without_any_writable_directory_the_kernels_are_compiled_for_this_run(sound, nowhere):
    result, hits, fault = one_kernel("/dev/null/cache", **nowhere)
    assert (result, hits) == (sound[1], 0)
    assert "no locator available" in fault


@pytest.mark.timeout(120)
def test_numba_alone_does_not_start_without_a_writable_directory(nowhere):
    """The twin."""
    done = python(NUMBA_ALONE, "/dev/null/cache", **nowhere)
    assert done.returncode == 1
    assert "no locator available" in done.stderr


FULL_DISK = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))\n"


@pytest.mark.timeout(120)
def test_a_disk_that_fills_up_while_the_code_is_saved_does_not_stop_the_start(sound, tmp_path):
    done = python(FULL_DISK + ONE_KERNEL, tmp_path)
    assert done.returncode == 0, done.stderr
    result, hits, fault = done.stdout.strip().split("|")
    assert (int(result), int(hits)) == (sound[1], 0)
    assert "File too large" in fault


@pytest.mark.timeout(120)
def test_numba_alone_does_not_start_when_the_disk_is_full(tmp_path):
    """The twin."""
    assert "File too large" in python(FULL_DISK + NUMBA_ALONE, tmp_path).stderr


@pytest.mark.timeout(120)
def test_without_compilation_all_stages_give_the_same_bytes():
    """Uses the cache of this test run for the compiled half."""
    own_cache = os.environ.get("NUMBA_CACHE_DIR", "")
    compiled = python(ALL_STAGES, own_cache)
    assert compiled.returncode == 0, compiled.stderr
    plain = python(ALL_STAGES, own_cache, NUMBA_DISABLE_JIT="1")
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout == compiled.stdout
    rows, fields = map(int, plain.stdout.split()[1:])
    assert rows > 30
    assert fields > 1000


def test_warming_makes_every_kernel_ready_and_reports_nothing_when_all_is_well():
    warm()
    assert warm() == []
    assert filter_kernels.select.ready() is filter_kernels.select.ready()


def test_a_wrong_type_is_an_error_and_not_a_compilation():
    warm()
    with pytest.raises(TypeError, match="No matching definition"):
        filter_kernels.select(np.zeros(1), *[None] * 10)


#: Warms, and prints what was wrong and the kernels that this process had to compile itself.
WARM = """
import sys
from collector import kernels
from collector.kernels import _jit
if len(sys.argv) > 1: sys.executable = sys.argv[1]
faults = kernels.warm()
print(faults, sorted(k.function.__name__ for k in _jit._kernels if k.was_missing), sep="|")
"""

needs_two_processors = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


def warmed(cache, *arguments):
    """(faults, names of the kernels that the process compiled itself)"""
    done = python(WARM, cache, arguments=arguments)
    assert done.returncode == 0, done.stderr
    faults, missing = done.stdout.strip().split("|")
    return faults, missing


@needs_two_processors
@pytest.mark.timeout(120)
def test_with_an_empty_cache_a_second_process_compiles_half_of_the_kernels(tmp_path):
    assert warmed(tmp_path) == ("[]", "['crc32_joined', 'launch', 'pick', 'serve', 'write']")
    assert warmed(tmp_path) == ("[]", "[]")


@needs_two_processors
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("program", "trouble"),
    [
        ("/bin/false", "['the second process that compiles ended with 1']"),
        ("/nowhere/python", "[]"),
        (ROOT / "tests/collector/sleeper", "['the second process that compiles took too long']"),
    ],
)
def test_a_second_process_that_fails_costs_only_its_time(tmp_path, program, trouble):
    """The twin: without it the first process compiles all of them."""
    everything = "['accumulate', 'crc32_joined', 'decode', 'launch', 'pick', 'select', 'serve', 'write']"
    assert warmed(tmp_path, program) == (trouble, everything)
    assert warmed(tmp_path) == ("[]", "[]")
