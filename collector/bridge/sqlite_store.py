"""The embedded store: one SQLite file, for a demo or a small site. Same promise as a server: stored means fsynced.

    series(id, measurement, tags, field)      one row per column of a dashboard
    points(id, series, ts_ns, value)          unique (series, ts_ns): a redelivery overwrites

Only the bridge's worker thread writes. Others may look with `latest` and `counts`, which open the file read-only.
"""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from collector.bridge.lines import Line, Value, parse_line
from collector.bridge.settings import Sqlite
from collector.errors import LinesRejected, StoreBusy, StoreRefused

#: `user_version` of the file. A file with a higher one belongs to a newer bridge and is not touched.
SCHEMA_VERSION = 1
#: "DcBr": marks the file as ours (PRAGMA application_id).
APPLICATION_ID = 0x44634272
#: Deleting in steps of this many points keeps a single write short.
_DROP_STEP = 10_000
#: Series ids kept in memory; a small site has hundreds, a hostile one is bounded by the bridge's cap on series.
_MAX_CACHED_SERIES = 200_000

_SCHEMA = f"""
CREATE TABLE series(
    id INTEGER PRIMARY KEY, measurement TEXT NOT NULL, tags TEXT NOT NULL, field TEXT NOT NULL,
    UNIQUE(measurement, tags, field));
CREATE TABLE points(
    id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series(id), ts_ns INTEGER NOT NULL, value NOT NULL,
    UNIQUE(series, ts_ns));
CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('points', 0), ('overwritten', 0), ('dropped', 0);
CREATE VIEW readings AS
    SELECT measurement, tags, field, ts_ns, value FROM points JOIN series ON series.id = points.series;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""
_UPSERT = (
    "INSERT INTO points(series, ts_ns, value) VALUES (?, ?, ?) "
    "ON CONFLICT(series, ts_ns) DO UPDATE SET value = excluded.value"
)
_LATEST = """
SELECT measurement, tags, field, ts_ns, value
FROM (SELECT s.*, (SELECT max(ts_ns) FROM points WHERE series = s.id) AS last FROM series AS s) AS newest
JOIN points ON points.series = newest.id AND ts_ns = last
ORDER BY measurement, tags, field
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the file holds and what has happened to it since it was made."""

    points: int  #: distinct points stored now
    overwritten: int  #: writes of a point that was already there
    dropped: int  #: oldest points removed because of the cap


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest point of one series."""

    measurement: str
    tags: dict[str, str]
    field: str
    ts_ns: int
    value: Value


class SqliteStore:
    """`Store` on one file."""

    def __init__(self, db: sqlite3.Connection, path: Path, max_points: int) -> None:
        self.name = f"sqlite {path}"
        self._db = db
        self._max_points = max_points
        self._series: dict[tuple[str, tuple[tuple[str, str], ...], str], int] = {}

    @classmethod
    def open(cls, settings: Sqlite) -> "SqliteStore":
        """Open or make the file. Raises StoreRefused when it cannot be ours."""
        path = Path(settings.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Opened here, used in the worker thread from then on: never by two at a time.
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            _prepare(db, path)
        except (sqlite3.Error, OSError) as error:
            raise StoreRefused(f"{path}: cannot be opened as a store: {error}") from error
        return cls(db, path, settings.max_points)

    def write(self, body: bytes) -> None:
        """See `Store.write`. Bad lines are named, the good ones of the same body stored."""
        rows: list[Line] = []
        bad: list[bytes] = []
        for text in body.splitlines():
            try:
                rows.append(parse_line(text))
            except ValueError:
                bad.append(text)
        try:
            self._store(rows)
        except sqlite3.OperationalError as error:  # full, read-only, I/O error: the disk may come back
            self._rollback()
            raise StoreBusy(f"{self.name}: write: {error}") from error
        except sqlite3.Error as error:
            self._rollback()
            raise StoreRefused(f"{self.name}: write: {error}") from error
        if bad:
            raise LinesRejected(
                f"{self.name}: partial write: {len(bad)} bad lines",
                others_written=True,
                lines=tuple(bad),
                dropped=len(bad),
            )

    def close(self) -> None:
        """See `Store.close`."""
        self._db.close()

    def _rollback(self) -> None:
        self._series.clear()  # ids given in this transaction are gone with it
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _store(self, lines: list[Line]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        points = [(self._id(line, field), line.ts_ns, value) for line in lines for field, value in line.fields]
        before = self._newest_id()
        db.executemany(_UPSERT, points)
        # Ids are given in order and only the lowest are ever deleted, so their growth is the number of new points.
        new = self._newest_id() - before
        db.execute("UPDATE counters SET value = value + ? WHERE name = 'points'", (new,))
        db.execute("UPDATE counters SET value = value + ? WHERE name = 'overwritten'", (len(points) - new,))
        self._drop_oldest()
        db.execute("COMMIT")

    def _newest_id(self) -> int:
        (newest,) = self._db.execute("SELECT coalesce(max(id), 0) FROM points").fetchone()
        return int(newest)

    def _id(self, line: Line, field: str) -> int:
        key = (line.measurement, line.tags, field)
        found = self._series.get(key)
        if found is not None:
            return found
        names = (line.measurement, json.dumps(dict(sorted(line.tags)), ensure_ascii=False), field)
        self._db.execute("INSERT OR IGNORE INTO series(measurement, tags, field) VALUES (?, ?, ?)", names)
        query = "SELECT id FROM series WHERE measurement = ? AND tags = ? AND field = ?"
        (number,) = self._db.execute(query, names).fetchone()
        if len(self._series) >= _MAX_CACHED_SERIES:
            self._series.clear()
        self._series[key] = number
        return int(number)

    def _drop_oldest(self) -> None:
        db = self._db
        (points,) = db.execute("SELECT value FROM counters WHERE name = 'points'").fetchone()
        while points > self._max_points:
            step = min(points - self._max_points, _DROP_STEP)
            gone = db.execute(
                "DELETE FROM points WHERE id IN (SELECT id FROM points ORDER BY id LIMIT ?)", (step,)
            ).rowcount
            points -= gone
            db.execute("UPDATE counters SET value = value - ? WHERE name = 'points'", (gone,))
            db.execute("UPDATE counters SET value = value + ? WHERE name = 'dropped'", (gone,))


def latest(path: Path) -> list[Latest]:
    """The newest point of every series, ordered. Raises StoreBusy when the file cannot be read now."""
    rows = _read(path, _LATEST)
    return [Latest(measurement, json.loads(tags), field, ts, value) for measurement, tags, field, ts, value in rows]


def counts(path: Path) -> Counts:
    """Raises StoreBusy when the file cannot be read now."""
    found: dict[str, int] = dict(_read(path, "SELECT name, value FROM counters"))
    return Counts(found["points"], found["overwritten"], found["dropped"])


def _read(path: Path, query: str) -> list[tuple[Any, ...]]:
    try:
        db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreBusy(f"{path}: read: {error}") from error


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and (application != APPLICATION_ID or version != SCHEMA_VERSION):
        raise StoreRefused(
            f"{path}: not a store of this version: application id {application:#x}, schema {version}; "
            f"expected {APPLICATION_ID:#x}, {SCHEMA_VERSION}; the file is left as it is"
        )
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # the MQTT acknowledgement follows the commit
    if not tables:
        db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
