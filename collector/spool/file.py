"""The open SQLite file: rows, who has confirmed them, and the cap.

WAL with synchronous=FULL: a returned commit survives power loss on storage that honours flushes. One connection,
used by one thread at a time: before 3.51.3 a second writing connection can corrupt the file (the WAL-reset bug).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from collector.confirmation import ranges
from collector.errors import SpoolFull
from collector.spool.acks import CONFIRMED, Acks
from collector.spool.format import (
    CHECKPOINT_PAGES,
    COLUMNS,
    PAGE_BYTES,
    damaged_file,
    open_for_writing,
    pages_for,
    read_ledger,
    sealed,
    unseal,
    write_ledger,
)
from collector.spool.ledger import Ledger
from collector.types import Row

#: Pages under the cap that rows never use: the ledger, confirmations and tree nodes need room too.
MARGIN_PAGES = 16
#: Rows looked at per step of dropping.
DROP_SLICE = 256
#: Damaged rows kept for the curious; the oldest make room.
QUARANTINE_ROWS = 64
#: More fields than one row can have. A larger count is damage and is not believed.
MAX_POINTS = 1 << 32

_POINTS = f"CASE WHEN typeof(points) = 'integer' AND points BETWEEN 0 AND {MAX_POINTS} THEN points ELSE 0 END"
_TS_NS = "CASE WHEN typeof(ts_ns) = 'integer' THEN ts_ns END"
_PENDING = f"SELECT {COLUMNS} FROM row WHERE seq > ? AND seq < ? AND NOT {CONFIRMED} ORDER BY seq"


class SpoolFile:
    """An open spool. Methods may raise sqlite3.Error; `append`, `ack` and `quarantine` belong in `transaction()`."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self.path = path
        self.max_pages = max_bytes // PAGE_BYTES
        self.may_grow = True  #: False on a full disk: new rows then take the place of the oldest
        self.damaged: set[int] = set()  #: seqs that `fetch` could not verify; `quarantine` takes them out
        self._db = open_for_writing(path, self.max_pages)
        try:
            found = read_ledger(self._db)
            if found is None:
                raise damaged_file("the ledger fails its checksum")
        except BaseException:
            self._db.close()
            raise
        self.acks = Acks(self._db)
        self.ledger = found
        self.was_unclean = not found.clean
        self._saved = found.to_text()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, rows and books alike; durable when it ends."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            text = self.ledger.to_text()
            write_ledger(self._db, text)
            self._db.execute("COMMIT")
        except BaseException:
            self.ledger = Ledger.from_text(self._saved)
            if self._db.in_transaction:  # SQLite may have rolled back by itself
                self._db.execute("ROLLBACK")
            raise
        self._saved = text

    def settle(self, uplinks: Sequence[str]) -> None:
        """Take the file over: note who must confirm from now on, and drop what a lowered cap no longer holds."""
        with self.transaction():
            self.ledger.clean = False
            self._change_uplinks(uplinks)
        while self._free_pages() < MARGIN_PAGES and self.ledger.held_rows:
            with self.transaction():
                self._drop_oldest(MARGIN_PAGES - self._free_pages())

    def _change_uplinks(self, uplinks: Sequence[str]) -> None:
        """New uplinks first: a row that only a removed one lacked is wanted by the one that replaces it."""
        ledger = self.ledger
        for name in set(ledger.uplinks) - set(uplinks):
            self.acks.forget_uplink(ledger.uplinks.pop(name))
            del ledger.acked[name]
        for name in uplinks:
            if name not in ledger.uplinks:
                ledger.uplinks[name] = min(set(range(len(uplinks))) - set(ledger.uplinks.values()))
                ledger.acked[name] = 0
        self._free(self.acks.complete(len(uplinks)))

    def append(self, rows: Sequence[Row]) -> int:
        """Add `rows`, dropping the oldest where they do not fit. Returns their number.

        Rows that were committed before are passed over, so that an append whose answer got lost may be repeated.
        Raises ValueError before any change when `rows` do not join the sequence, SpoolFull when one cannot fit.
        """
        ledger = self.ledger
        new = self._not_yet_here(rows)
        room = 0
        for row in new:
            pages = pages_for(len(row.payload))
            if room < pages:
                room = self._make_room(pages + MARGIN_PAGES) - MARGIN_PAGES
            room -= pages
            self.insert(row)
            ledger.accepted_rows += 1
            ledger.accepted_points += row.points
            ledger.next_seq = row.seq + 1
        return len(rows)

    def _not_yet_here(self, rows: Sequence[Row]) -> list[Row]:
        following = self.ledger.next_seq
        new = []
        for row in rows:
            if row.seq < following and self._is_another(row):
                raise ValueError(f"spool {self.path}: row {row.seq} is there already, with other contents")
            if row.seq > following or not 0 <= row.points < MAX_POINTS:
                raise ValueError(f"spool {self.path}: row {row.seq}, {row.points} points: row {following} comes next")
            if row.seq == following:
                following += 1
                new.append(row)
        return new

    def _is_another(self, row: Row) -> bool:
        found = self._db.execute("SELECT crc32 FROM row WHERE seq = ?", (row.seq,)).fetchone()
        return found is not None and found[0] != sealed(row)[4]

    def insert(self, row: Row) -> bool:
        """Write one row, without the books. False when its number is taken."""
        return self._db.execute("INSERT OR IGNORE INTO row VALUES (?, ?, ?, ?, ?, ?)", sealed(row)).rowcount == 1

    def fetch(self, uplink: str, after_seq: int, before_seq: int | None, limit_bytes: int) -> list[Row]:
        """Rows `uplink` has not confirmed, oldest first; more than one only within `limit_bytes`."""
        end = self.ledger.next_seq
        before = end if before_seq is None else min(before_seq, end)
        after = min(max(after_seq, 0), end)
        rows: list[Row] = []
        size = 0
        cursor = self._db.execute(_PENDING, (after, before, self.ledger.uplinks[uplink]))
        try:
            for record in cursor:
                row = unseal(record)
                if row is None:
                    self.damaged.add(record[0])
                    continue
                size += len(row.payload)
                if rows and size > limit_bytes:
                    break
                rows.append(row)
        finally:
            cursor.close()  # an open read would keep the log from starting again
        return rows

    def ack(self, uplink: str, seqs: Sequence[int]) -> int:
        """Confirm rows for `uplink` and free those that nobody else needs. Returns how many were new to it."""
        number, others = self.ledger.uplinks[uplink], len(self.ledger.uplinks) - 1
        known = 0
        last: list[int] = []  # nobody else needs these
        for seq in seqs:
            done = self.acks.of(seq) if others else []
            if not 0 < seq < self.ledger.next_seq or number in done:
                continue
            if len(done) == others:
                last.append(seq)
            else:
                self._make_room(1)
                noted = self.acks.add(seq, number)
                self.ledger.acked[uplink] += noted
                known += noted
        known += self._free(last)
        self.ledger.unknown_acks += len(seqs) - known
        return known

    def _free(self, seqs: Iterable[int]) -> int:
        """Delete rows that every uplink has. Returns how many of them there were."""
        freed = 0
        for first, last in ranges(seqs):
            where = f"seq BETWEEN ? AND ? RETURNING {_POINTS}"
            points = [found for (found,) in self._db.execute(f"DELETE FROM row WHERE {where}", (first, last))]
            self._forget_acks(first, last)
            self.ledger.freed_points += sum(points)
            freed += len(points)
        self.ledger.freed_rows += freed
        return freed

    def _forget_acks(self, first: int, last: int) -> None:
        gone = self.acks.forget(first, last)
        for name, number in self.ledger.uplinks.items():
            self.ledger.acked[name] -= gone[number]

    def _free_pages(self) -> int:
        """Pages that can still be filled: up to the cap or, when the disk is full, those inside the file."""
        pages, unused = self._pages()
        under_cap = self.max_pages - pages + unused
        return under_cap if self.may_grow else min(under_cap, unused)

    def _pages(self) -> tuple[int, int]:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (unused,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return pages, unused

    def _make_room(self, pages: int) -> int:
        """Drop the oldest rows until `pages` more fit; the pages there are now. Raises SpoolFull if it cannot be."""
        while (free := self._free_pages()) < pages:
            self._drop_oldest(pages - free)
        return free

    def _drop_oldest(self, pages: int) -> None:
        """Drop rows of about `pages` pages, one slice at most. Raises SpoolFull when there is none."""
        last = size = 0
        oldest = self._db.execute("SELECT seq, length(payload) FROM row ORDER BY seq LIMIT ?", (DROP_SLICE,))
        for seq, length in oldest.fetchall():
            last = seq
            size += length or 0
            if size >= pages * PAGE_BYTES:
                break
        if not last:
            raise SpoolFull(
                f"spool {self.path}: no room for {pages * PAGE_BYTES} bytes and nothing left to drop; "
                f"cap {self.max_pages * PAGE_BYTES} bytes" + ("" if self.may_grow else ", disk full")
            )
        rows, points, first_ts, last_ts = self._db.execute(
            f"SELECT count(*), sum({_POINTS}), min({_TS_NS}), max({_TS_NS}) FROM row WHERE seq <= ?", (last,)
        ).fetchone()
        self._db.execute("DELETE FROM row WHERE seq <= ?", (last,))
        self._forget_acks(0, last)
        used, unused = self._pages()
        self.ledger.drop("cap" if self.may_grow or used - unused > self.max_pages else "disk", rows, points)
        if first_ts is not None:
            self.ledger.mark_gap(first_ts, last_ts)

    def quarantine(self, seqs: Iterable[int]) -> int:
        """Take damaged rows out of the sequence, and book them as dropped. Returns their number."""
        for seq in seqs:
            if self._free_pages() > 2 * MARGIN_PAGES:
                self._db.execute(f"INSERT INTO quarantine SELECT {COLUMNS} FROM row WHERE seq = ?", (seq,))
            self._db.execute("DELETE FROM row WHERE seq = ?", (seq,))
            self._forget_acks(seq, seq)
        self._db.execute(
            "DELETE FROM quarantine WHERE rowid NOT IN (SELECT rowid FROM quarantine ORDER BY rowid DESC LIMIT ?)",
            (QUARANTINE_ROWS,),
        )
        return self.reconcile()

    def reconcile(self) -> int:
        """Book as dropped whatever the ledger holds and the table does not. Returns the number of such rows.

        A damaged row's own count of points cannot be believed; the difference of the sums can.
        """
        ledger = self.ledger
        self._db.execute("DELETE FROM row WHERE seq < 1 OR seq >= ?", (ledger.next_seq,))  # no such row was accepted
        rows, points = self._db.execute(f"SELECT count(*), coalesce(sum({_POINTS}), 0) FROM row").fetchone()
        missing: int = ledger.held_rows - rows
        if missing or ledger.held_points != points:
            ledger.drop("corrupt", missing, ledger.held_points - points)
        found = self.acks.count()
        ledger.acked = {name: found.get(number, 0) for name, number in ledger.uplinks.items()}
        return missing

    def check(self, max_bytes: int) -> None:
        """After an unclean stop: the pages up to `max_bytes` of file, then the books. Raises sqlite3.DatabaseError."""
        if self.path.stat().st_size <= max_bytes:
            (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if found != b"ok":
                raise damaged_file(found.decode("utf-8", "replace"))
        with self.transaction():
            self.reconcile()

    def oldest_ts_ns(self) -> int | None:
        found = self._db.execute(f"SELECT {_TS_NS} FROM row ORDER BY seq LIMIT 1").fetchone()
        return None if found is None else found[0]

    def used_bytes(self) -> int:
        pages, unused = self._pages()
        return (pages - unused) * PAGE_BYTES

    def set_may_grow(self, may_grow: bool) -> None:
        """Grow up to the cap, or not at all: then the log, copied at every commit, needs no more disk than it has."""
        self.may_grow = may_grow
        self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES if may_grow else 1}").fetchall()
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close the file; SQLite folds the log into it. Without `mark_clean` the next start calls the stop unclean."""
        self._db.close()

    def mark_clean(self) -> None:
        """Say in the file that it was stopped properly; nothing may be written after that."""
        with self.transaction():
            self.ledger.clean = True
