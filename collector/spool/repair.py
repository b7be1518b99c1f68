"""What happens to a file that is not as it should be: refused when it is not ours, replaced when it is damaged.

A damaged file is renamed, never overwritten, and what can still be verified in it is carried over to a new one.
"""

import glob
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from collector.errors import SpoolUnusable
from collector.spool import disk
from collector.spool.file import SpoolFile
from collector.spool.format import (
    APPLICATION_ID,
    COLUMNS,
    SCHEMA_VERSION,
    connect,
    create,
    primary_code,
    read_ledger,
    unseal,
)
from collector.spool.ledger import Ledger
from collector.types import Row

_MAGIC = b"SQLite format 3\0"
#: Damaged files kept beside the spool. A dying disk must not fill up with them.
DAMAGED_KEPT = 4
#: Rows per transaction of carrying over: a damaged file may hold more than memory does.
SALVAGE_SLICE = 64
#: Numbers looked up one by one behind an unreadable place: some seconds at worst.
SALVAGE_LOOKUPS = 1_000_000
#: Rows that `read_only_rows` takes at once, so that it never holds back the owner's log.
READ_SLICE = 64
#: SQLite's result codes for "this file is damaged"; ERROR is a table that its schema no longer knows.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is damaged, rather than the disk busy or full."""
    return primary_code(error) in _DAMAGE


def examine(path: Path, *, ours: bool) -> str:
    """Look at the header without opening the file. Returns the damage, or nothing where there is none.

    `ours`: a spool was opened under this name before, so an unknown header is damage and not another program's file.
    Raises SpoolUnusable for another program's file and for a schema of the future.
    """
    with path.open("rb") as file:
        header = file.read(100)
    application, version = int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big")
    if header[:16] == _MAGIC and application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise SpoolUnusable(
                f"spool {path}: schema {version} is newer than {SCHEMA_VERSION}, the one known here; "
                "install the newer collector again, or move the file away"
            )
        return "" if version == SCHEMA_VERSION else f"schema {version} never existed"
    if not ours:
        raise SpoolUnusable(
            f"spool {path}: not a spool (it begins with {header[:16]!r}); give another path or move it away"
        )
    return "the header is destroyed"


def finish_replacement(path: Path, stamp: str) -> None:
    """Complete, or undo, a replacement that a crash interrupted."""
    new = disk.beside(path, ".new")
    if path.exists():
        _remove(new)
        return
    _move_aside(path, stamp)  # a log without its file must not be applied to another one
    if new.exists():
        new.rename(path)
        disk.fsync_directory(path)


def replace(path: Path, *, max_bytes: int, stamp: str, known: Ledger | None = None) -> Ledger:
    """Put a new spool in the place of a damaged one. Returns its ledger; raises sqlite3.Error or OSError.

    Where the ledger is known or can be read, identity, sequence and books go on, verified rows are carried over and
    the others booked as dropped. Where it cannot, the new spool has a new identity, and the old one's rows stay in the
    renamed file: nobody could tell any more which numbers were given.
    """
    new = disk.beside(path, ".new")
    _remove(new)
    with closing(connect(path)) as source:
        source.execute("PRAGMA query_only = ON")
        source.execute("PRAGMA writable_schema = ON")  # or SQLite reads nothing at all of a file cut short
        known = known or _ledger_of(source)
        ledger = known or Ledger()
        ledger.damaged_files += 1
        create(new, ledger)
        target = SpoolFile(new, max_bytes=max_bytes)
        try:
            if known:
                _carry_over(source, target)
            with target.transaction():
                target.reconcile()
            ledger = target.ledger
        finally:
            target.close()
    _move_aside(path, stamp)
    new.rename(path)
    disk.fsync_directory(path)
    return ledger


def _ledger_of(source: sqlite3.Connection) -> Ledger | None:
    try:
        return read_ledger(source)
    except sqlite3.Error:
        return None


def _carry_over(source: sqlite3.Connection, target: SpoolFile) -> None:
    """Copy what can be verified, until the disk is full: the rest is then in the renamed file only."""
    rows = _verified(source, target.ledger.next_seq)
    acks = _readable(source, "SELECT seq, uplink, mark FROM acked")
    try:
        while batch := list(islice(rows, SALVAGE_SLICE)):
            with target.transaction():
                target.ledger.salvaged_rows += sum(target.insert(row) for row in batch)
        with target.transaction():
            target.acks.insert(acks)
    except sqlite3.Error as error:
        if is_damage(error):
            raise


def _verified(source: sqlite3.Connection, end: int) -> Iterator[Row]:
    """Every row below `end` that can be read: in order up to the first damage, from there on number by number."""
    low = 0
    for row in _rows(source, "seq < ? ORDER BY seq", end):
        low = row.seq
        yield row
    for seq in range(low + 1, min(end, low + SALVAGE_LOOKUPS)):
        yield from _rows(source, "seq = ?", seq)


def _rows(source: sqlite3.Connection, where: str, bound: int) -> Iterator[Row]:
    for record in _readable(source, f"SELECT {COLUMNS} FROM row WHERE {where}", bound):
        row = unseal(record)
        if row is not None:
            yield row


def _readable(source: sqlite3.Connection, query: str, *bounds: int) -> Iterator[tuple[Any, ...]]:
    """The records of `query` up to the first that cannot be read."""
    with suppress(sqlite3.Error):
        yield from source.execute(query, bounds)


def _move_aside(path: Path, stamp: str) -> None:
    """Rename a damaged file with its log; the file first, so that no crash leaves a file without its name."""
    aside = disk.beside(path, f".corrupt-{stamp}")
    while aside.exists() or disk.beside(aside, "-wal").exists():
        aside = disk.beside(aside, "+")
    for suffix in ("", "-wal"):
        if disk.beside(path, suffix).exists():
            disk.beside(path, suffix).rename(disk.beside(aside, suffix))
    disk.beside(path, "-shm").unlink(missing_ok=True)
    kept = sorted(found for found in path.parent.glob(f"{glob.escape(path.name)}.corrupt-*") if found.suffix != "-wal")
    for old in kept[:-DAMAGED_KEPT]:
        _remove(old)
    disk.fsync_directory(path)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        disk.beside(path, suffix).unlink(missing_ok=True)


def read_only_rows(path: Path, *, on_damaged: Callable[[int], None] | None = None) -> Iterator[Row]:
    """Every verified row of a spool, oldest first, whether or not its owner runs.

    Damaged rows are passed over; `on_damaged` is told their numbers. Nothing is written, locked or held back: rows
    are read a slice at a time. Raises SpoolUnusable when `path` is not a spool or its pages cannot be read.
    """
    try:
        damage = examine(path, ours=False)
        if damage:
            raise SpoolUnusable(f"spool {path}: {damage}")
        with closing(connect(path, read_only=True)) as source:
            query = f"SELECT {COLUMNS} FROM row WHERE seq > ? ORDER BY seq LIMIT {READ_SLICE}"
            last = 0
            while records := source.execute(query, (last,)).fetchall():
                for record in records:
                    row = unseal(record)
                    if row is not None:
                        yield row
                    elif on_damaged is not None:
                        on_damaged(record[0])
                last = records[-1][0]
    except (sqlite3.Error, OSError) as error:
        raise SpoolUnusable(f"spool {path}: cannot be read ({error})") from error
