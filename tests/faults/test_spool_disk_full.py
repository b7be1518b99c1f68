"""S3 and S4 of the fault matrix: the disk is full, fails, or turns read-only."""

import subprocess
import sys
from pathlib import Path

import pytest

from collector.clock import FakeClock
from collector.errors import SpoolFull
from tests.faults.spool_children import mounted
from tests.spool_rows import MIB, a_row, a_spool, assert_balanced, pending, put, rows_from, seqs

DISK_MIB = 32
RESERVE = 12 * MIB  #: the least that the settings allow: the log of `CHECKPOINT_PAGES` and one commit of the pipeline
ROW = 50_000


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs") as disk:
        yield disk


def fill(disk: Path) -> Path:
    """Somebody else's file that takes all the space there is."""
    other = disk / "other.log"
    with other.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return other


def append_until_refused(spool, most=2000):
    for _ in range(most):
        try:
            spool.append(rows_from(spool.next_seq, 2, ROW)).result(20)
        except SpoolFull as refused:
            return refused
    return None


@pytest.mark.parametrize("before", [40, 140, 180])
def test_on_a_disk_that_others_fill_acks_still_free_rows(disk, before):
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=RESERVE)
    for _ in range(before // 10):
        put(spool, 10, ROW)
    fill(disk)
    for _ in range(30):
        put(spool, 10, ROW)
    stats = spool.stats()
    assert stats.disk_full
    assert stats.dropped_rows["disk"] > 0
    held = seqs(pending(spool))
    assert held == list(range(held[0], before + 301))
    assert spool.ack("east", held).result(20) == len(held)
    assert spool.stats().rows == 0
    assert_balanced(spool.stats())
    spool.close()


@pytest.mark.parametrize("before", [40, 80, 120, 160, 200, 240])
def test_the_least_reserve_is_enough_for_commits_as_large_as_the_pipeline_makes(disk, before):
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=RESERVE)
    put(spool, before + 1, ROW)
    fill(disk)
    for _ in range(8):
        put(spool, 80, ROW)
    assert spool.stats().disk_full
    held = seqs(pending(spool))
    assert spool.ack("east", held).result(20) == len(held) > 0
    assert_balanced(spool.stats())
    spool.close()


def test_twin_without_the_reserve_a_full_disk_is_a_deadlock(disk):
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=0)
    put(spool, 20, ROW)
    fill(disk)
    assert append_until_refused(spool) is not None
    with pytest.raises(SpoolFull, match="SQLITE_FULL"):
        spool.ack("east", range(1, 21)).result(20)
    assert spool.stats().rows >= 20
    spool.close()


def test_a_spool_that_fills_the_disk_itself_becomes_a_ring(disk, caplog):
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=RESERVE)
    for _ in range(300):
        put(spool, 2, ROW)
    stats = spool.stats()
    assert stats.dropped_rows.keys() == {"disk"}
    assert seqs(pending(spool))[-1] == 600
    assert stats.failed_commits == 0
    assert caplog.text.count("disk full") == 1
    assert_balanced(stats)
    spool.close()


def test_when_space_returns_the_spool_grows_again_by_itself(disk, caplog):
    caplog.set_level("INFO")
    clock = FakeClock()
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=RESERVE, clock=clock)
    put(spool, 20, ROW)
    other = fill(disk)
    for _ in range(20):
        put(spool, 2, ROW)
    clock.advance(60)
    put(spool, 1, ROW)
    assert spool.stats().disk_full
    other.unlink()
    clock.advance(60)
    put(spool, 1, ROW)
    dropped = spool.stats().dropped_rows
    for _ in range(20):
        put(spool, 2, ROW)
    assert not spool.stats().disk_full
    assert spool.stats().dropped_rows == dropped
    assert (disk / "spool.db.reserve").stat().st_size == RESERVE
    assert "the disk has room again, after 120 s" in caplog.text
    spool.close()


def test_a_refused_append_may_be_repeated_when_there_is_space(disk):
    clock = FakeClock()
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, clock=clock)
    put(spool, 3, ROW)
    other = fill(disk)
    refused = append_until_refused(spool)
    assert refused.retryable
    first, commits = spool.next_seq, spool.stats().commits
    rows = rows_from(first, 2, ROW)
    assert first not in seqs(pending(spool))
    other.unlink()
    clock.advance(60)
    assert spool.append(rows).result(20) == 2
    assert spool.stats().commits == commits + 1
    assert seqs(pending(spool))[-2:] == [first, first + 1]
    assert_balanced(spool.stats())
    spool.close()


def test_it_starts_on_a_full_disk_when_it_left_a_reserve(disk):
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=RESERVE)
    rows = put(spool, 40, ROW)
    spool.close()
    fill(disk)
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=RESERVE)
    assert pending(spool) == rows
    assert spool.ack("east", seqs(rows)).result(20) == 40
    put(spool, 10, ROW)
    spool.close()


def test_a_reserve_of_smaller_settings_grows_when_there_is_room_and_is_kept_until_then(disk):
    a_spool(disk / "spool.db", reserve_bytes=2 * MIB).close()
    other = disk / "other.log"
    other.write_bytes(bytes(20 * MIB))
    clock = FakeClock()
    spool = a_spool(disk / "spool.db", reserve_bytes=RESERVE, clock=clock)
    assert (disk / "spool.db.reserve").stat().st_size == 2 * MIB
    other.unlink()
    clock.advance(60)
    put(spool, 1)
    assert (disk / "spool.db.reserve").stat().st_size == RESERVE
    spool.close()


def test_twin_without_a_reserve_it_cannot_start_on_a_full_disk(disk):
    spool = a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=0)
    put(spool, 40, ROW)
    spool.close()
    fill(disk)
    with pytest.raises(SpoolFull, match=r"spool\.db: cannot open"):
        a_spool(disk / "spool.db", max_bytes=1 << 30, reserve_bytes=0)


def test_a_disk_that_turns_read_only_accepts_nothing_and_loses_nothing(tmp_path):
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    subprocess.run(["mkfs.ext4", "-qF", image], check=True)
    with mounted(tmp_path / "disk", "-o", "loop,errors=remount-ro", str(image)) as disk:
        spool = a_spool(disk / "spool.db")
        rows = put(spool, 20)
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", disk], check=True, capture_output=True, text=True
        ).stdout.strip()
        trigger = Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error")
        if not trigger.exists():
            pytest.skip(f"no {trigger}")
        trigger.write_text("x")
        with pytest.raises(SpoolFull, match="cannot commit") as refused:
            spool.append([a_row(21)]).result(20)
        assert refused.value.retryable
        assert pending(spool) == rows
        assert spool.next_seq == 21
        spool.close()
    subprocess.run(["e2fsck", "-fy", image], check=False, capture_output=True)
    with mounted(tmp_path / "disk", "-o", "loop", str(image)) as disk:
        spool = a_spool(disk / "spool.db")
        assert spool.was_unclean
        assert pending(spool) == rows
        spool.close()


WRITER = """
import sys
from pathlib import Path
from collector.errors import SpoolFull
from tests.spool_rows import a_spool, rows_from
spool = a_spool(Path(sys.argv[1]))
for _ in range(40):
    first = spool.next_seq
    try:
        spool.append(rows_from(first, 2)).result(20)
        print("ok", first, flush=True)
    except SpoolFull as error:
        print("refused", first, str(error).replace(" ", "_"), flush=True)
"""


@pytest.mark.parametrize(
    ("fault", "refusals"),
    [
        ("fdatasync:error=EIO:when=15", 1),
        ("fdatasync:error=EIO:when=15..18", 4),
        ("pwrite64:error=ENOSPC:when=60", 0),  # there is room again at the second attempt
        ("pwrite64:error=ENOSPC:when=60..61", 1),
        ("pwrite64:error=EIO:when=81", 1),
        ("pwrite64:error=EIO:when=90..95", 6),
    ],
)
def test_a_commit_that_the_disk_failed_is_never_reported_as_done(tmp_path, fault, refusals):
    path = tmp_path / "spool.db"
    trace = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={fault.split(':')[0]}", "-e", f"inject={fault}"]
    try:
        ran = subprocess.run(
            [*trace, sys.executable, "-c", WRITER, path], capture_output=True, text=True, timeout=25, check=False
        )
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    if "PTRACE" in ran.stderr:
        pytest.skip(f"strace is not permitted here: {ran.stderr.strip()}")
    told = [line.split() for line in ran.stdout.splitlines()]
    assert len(told) == 40, ran.stderr
    assert sum(word == "refused" for word, *_ in told) == refusals
    assert told[-1][0] == "ok"
    done = [int(first) for word, first, *_ in told if word == "ok"]
    assert len(done) == len(set(done))
    spool = a_spool(path)
    assert {seq for first in done for seq in (first, first + 1)} <= set(seqs(pending(spool)))
    assert_balanced(spool.stats())
    spool.close()
