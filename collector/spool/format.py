"""What a spool looks like on disk, and how a record of it is sealed and verified.

SQLite has no page checksums: of 400 flipped bits its own check sees ten. So every row carries a CRC-32 over all its
columns, and the ledger one over its text.
"""

import os
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from collector.spool import disk
from collector.spool.ledger import Ledger
from collector.types import Row

APPLICATION_ID = 0x44435350  #: "DCSP" in the header of every spool
SCHEMA_VERSION = 1
PAGE_BYTES = 8192  #: the cheapest for rows of 32-64 KiB (benchmarks/bench_spool.py)
#: Uplinks a spool can tell apart: a confirmation's mark has six bits for them.
MAX_UPLINKS = 64
#: Below this a cap holds too few messages to be of use.
MIN_MAX_BYTES = 1 << 20

SYNCHRONOUS = "FULL"
#: Pages of write-ahead log before they are copied into the file: 8 MiB. Fewer cost CPU, more a larger reserve: a disk
#: that fills up needs a reserve of this and one commit.
CHECKPOINT_PAGES = 1024
#: The log keeps this much disk when it starts again, so that a disk that fills up later cannot take it away.
LOG_KEPT_BYTES = 16 << 20
#: Page cache: one tick's rows, so that freeing them does not read them back.
CACHE_KIB = 8 << 10

_SCHEMA = f"""
BEGIN;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE ledger (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL, crc32 INTEGER NOT NULL);
CREATE TABLE row (seq INTEGER PRIMARY KEY, category BLOB, ts_ns INTEGER, points INTEGER, crc32 INTEGER, payload BLOB);
CREATE TABLE acked (seq INTEGER, uplink INTEGER, mark INTEGER, PRIMARY KEY (seq, uplink)) WITHOUT ROWID;
CREATE TABLE quarantine (seq INTEGER, category BLOB, ts_ns INTEGER, points INTEGER, crc32 INTEGER, payload BLOB);
"""

COLUMNS = "seq, category, ts_ns, points, crc32, payload"


def seal(seq: int, category: bytes, ts_ns: int, points: int, payload_crc32: int) -> int:
    """The CRC-32 stored with a row: the payload's, carried on over the other columns."""
    return zlib.crc32(b"%d %b %d %d" % (seq, category, ts_ns, points), payload_crc32)


def unseal(record: Sequence[object]) -> Row | None:
    """The row of a record as read from the file, or None when any column is not what was written."""
    seq, category, ts_ns, points, stored, payload = record
    if not (isinstance(seq, int) and isinstance(ts_ns, int) and isinstance(points, int)):
        return None
    if not (isinstance(category, bytes) and isinstance(payload, bytes)):
        return None
    crc32 = zlib.crc32(payload)
    if seal(seq, category, ts_ns, points, crc32) != stored:
        return None
    return Row(seq, category.decode(), ts_ns, points, crc32, payload)


def sealed(row: Row) -> tuple[int, bytes, int, int, int, bytes]:
    """The record to store. The payload's CRC is the row's own: damage on the way here shows when it is read."""
    category = row.category.encode()
    crc32 = seal(row.seq, category, row.ts_ns, row.points, row.crc32)
    return row.seq, category, row.ts_ns, row.points, crc32, row.payload


def pages_for(payload_bytes: int) -> int:
    """Pages a row may take at worst: its own for a large one, a share of one for a small one."""
    if payload_bytes > PAGE_BYTES // 2:
        return payload_bytes // (PAGE_BYTES - 4) + 2
    return 1


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 for errors of Python's own module."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def damaged_file(reason: str) -> sqlite3.DatabaseError:
    """Our own finding, in the shape of SQLite's."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection that opens no transaction by itself and decodes no text. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.text_factory = bytes  # a flipped bit may make text of a blob
    return connection


def open_for_writing(path: Path, max_pages: int) -> sqlite3.Connection:
    """The owner's connection. Raises sqlite3.Error."""
    connection = connect(path)
    try:
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {SYNCHRONOUS}",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"journal_size_limit = {LOG_KEPT_BYTES}",
            f"cache_size = -{CACHE_KIB}",
            f"max_page_count = {max_pages}",
            "mmap_size = 0",
            "secure_delete = OFF",  # Debian's default is ON: it writes every freed page once more
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: Path, ledger: Ledger) -> None:
    """Make an empty spool: all of it or, after a power cut, nothing. Raises sqlite3.Error or OSError."""
    making = disk.beside(path, ".making")
    for suffix in ("", "-journal"):
        disk.beside(making, suffix).unlink(missing_ok=True)
    os.close(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = connect(making)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.executescript(_SCHEMA)
        write_ledger(connection, ledger.to_text())
        connection.execute("COMMIT")
    finally:
        connection.close()
    making.rename(path)
    disk.fsync_directory(path)


def read_ledger(connection: sqlite3.Connection) -> Ledger | None:
    """The books, or None when they are damaged. Raises sqlite3.Error where the file cannot be read at all."""
    found = connection.execute("SELECT body, crc32 FROM ledger").fetchone()
    if found is None or not isinstance(found[0], bytes) or zlib.crc32(found[0]) != found[1]:
        return None
    return Ledger.from_text(found[0].decode())


def write_ledger(connection: sqlite3.Connection, text: str) -> None:
    """Store the books with their checksum, in the transaction that is open."""
    connection.execute("INSERT OR REPLACE INTO ledger VALUES (1, ?, ?)", (text, zlib.crc32(text.encode())))
