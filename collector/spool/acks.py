"""Who has confirmed a row that somebody else still needs. With one uplink the table stays empty."""

import sqlite3
from collections import Counter
from collections.abc import Iterable

#: Seals a confirmation, so that a flipped bit cannot confirm another row: a damaged one counts as never made.
_MARK = "(seq % 65521 * 64 + uplink)"
#: SQL: `seq` of the row at hand is confirmed by the uplink whose number is given.
CONFIRMED = f"row.seq IN (SELECT seq FROM acked WHERE seq = row.seq AND uplink = ? AND mark = {_MARK})"


class Acks:
    """The table `acked`. Uplinks are numbers here; methods may raise sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def of(self, seq: int) -> list[int]:
        """The uplinks that have confirmed row `seq`."""
        found = self._db.execute(f"SELECT uplink FROM acked WHERE seq = ? AND mark = {_MARK}", (seq,))
        return [number for (number,) in found.fetchall()]

    def add(self, seq: int, number: int) -> bool:
        """Note a confirmation. False when there is no such row."""
        held = "(SELECT seq, ? AS uplink FROM row WHERE seq = ?)"
        noted = self._db.execute(f"INSERT OR REPLACE INTO acked SELECT seq, uplink, {_MARK} FROM {held}", (number, seq))
        return noted.rowcount == 1

    def insert(self, records: Iterable[tuple[int, int, int]]) -> None:
        """Write (seq, uplink, mark) as they were read from another file."""
        self._db.executemany("INSERT OR REPLACE INTO acked VALUES (?, ?, ?)", records)

    def complete(self, uplinks: int) -> list[int]:
        """The rows with that many confirmations."""
        query = f"SELECT seq FROM acked WHERE mark = {_MARK} GROUP BY seq HAVING count(*) = ?"
        return [seq for (seq,) in self._db.execute(query, (uplinks,)).fetchall()]

    def count(self) -> dict[int, int]:
        """Held rows that each uplink has confirmed."""
        held = f"mark = {_MARK} AND seq IN (SELECT seq FROM row)"
        return dict(self._db.execute(f"SELECT uplink, count(*) FROM acked WHERE {held} GROUP BY uplink").fetchall())

    def forget(self, first: int, last: int) -> Counter[int]:
        """Delete the confirmations of rows that leave. Returns how many there were of each uplink."""
        where = f"seq BETWEEN ? AND ? RETURNING uplink, mark = {_MARK}"
        gone = self._db.execute(f"DELETE FROM acked WHERE {where}", (first, last)).fetchall()
        return Counter(number for number, sound in gone if sound)

    def forget_uplink(self, number: int) -> None:
        self._db.execute("DELETE FROM acked WHERE uplink = ?", (number,))
