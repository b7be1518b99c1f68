"""Rows and spools for tests, and the books that must balance in all of them."""

import random
import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from collector.clock import Clock, FakeClock
from collector.spool import Spool, SpoolStats
from collector.types import Row

T0_NS = 1_800_000_000_000_000_000
MIB = 1 << 20


def a_row(seq: int, size: int = 600, category: str = "power") -> Row:
    """Row `seq`, always with the same contents for the same arguments; its points are seq % 7 + 1."""
    payload = b"# row %d\n" % seq + random.Random(seq).randbytes(size)
    return Row(seq, category, T0_NS + seq * 1_000_000_000, seq % 7 + 1, zlib.crc32(payload), payload)


def rows_from(first: int, count: int, size: int = 600) -> list[Row]:
    return [a_row(seq, size) for seq in range(first, first + count)]


def a_spool(
    path: Path,
    uplinks: Sequence[str] = ("east",),
    *,
    max_bytes: int = 64 * MIB,
    reserve_bytes: int = 0,
    clock: Clock | None = None,
) -> Spool:
    """An open spool."""
    spool = Spool(path, uplinks=uplinks, max_bytes=max_bytes, reserve_bytes=reserve_bytes, clock=clock or FakeClock())
    spool.open()
    return spool


def crash_image(path: Path, target: Path) -> Path:
    """What a crash at this moment would leave of the spool at `path`, as a spool in the directory `target`."""
    target.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", target)
    return target / path.name


def put(spool: Spool, count: int, size: int = 600) -> list[Row]:
    """Append `count` new rows and wait until they are durable."""
    rows = rows_from(spool.next_seq, count, size)
    assert spool.append(rows).result(20) == count
    return rows


def pending(spool: Spool, uplink: str = "east") -> list[Row]:
    return spool.fetch(uplink, after_seq=0, limit_bytes=1 << 40).result(20)


def seqs(rows: Iterable[Row]) -> list[int]:
    return [row.seq for row in rows]


def assert_balanced(stats: SpoolStats) -> None:
    """accepted = acked + dropped + held."""
    assert stats.accepted_rows == stats.acked_rows + sum(stats.dropped_rows.values()) + stats.rows
    assert stats.accepted_points == stats.acked_points + sum(stats.dropped_points.values()) + stats.points
    assert all(0 <= pending <= stats.rows for pending in stats.pending.values())
