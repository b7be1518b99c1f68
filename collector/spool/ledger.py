"""The spool's books: accepted = freed + dropped + held, at every commit.

They are kept in the file beside the rows and written by the same transaction, so that they can never disagree with
them by a crash.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Ledger:
    """Counts over the life of one spool file."""

    spool_id: str = field(
        default_factory=lambda: secrets.token_hex(4)
    )  #: 8 hex digits; a new one means: seq starts again
    next_seq: int = 1
    clean: bool = False  #: the last owner closed the file properly
    uplinks: dict[str, int] = field(default_factory=dict)  #: name → number in the table `acked`
    acked: dict[str, int] = field(default_factory=dict)  #: held rows that this uplink has confirmed already
    accepted_rows: int = 0
    accepted_points: int = 0
    freed_rows: int = 0  #: confirmed by every uplink
    freed_points: int = 0
    dropped_rows: dict[str, int] = field(default_factory=dict)  #: by reason: cap, disk, corrupt
    dropped_points: dict[str, int] = field(default_factory=dict)
    first_dropped_ts_ns: int | None = None  #: of rows dropped for room; a damaged row's timestamp cannot be believed
    last_dropped_ts_ns: int | None = None
    unknown_acks: int = 0
    salvaged_rows: int = 0  #: carried over from a damaged file
    damaged_files: int = 0

    @property
    def held_rows(self) -> int:
        return self.accepted_rows - self.freed_rows - sum(self.dropped_rows.values())

    @property
    def held_points(self) -> int:
        return self.accepted_points - self.freed_points - sum(self.dropped_points.values())

    def drop(self, reason: str, rows: int, points: int) -> None:
        """Book rows that will never be delivered."""
        self.dropped_rows[reason] = self.dropped_rows.get(reason, 0) + rows
        self.dropped_points[reason] = self.dropped_points.get(reason, 0) + points

    def mark_gap(self, first_ts_ns: int, last_ts_ns: int) -> None:
        """Widen the time range that dropping for room has torn."""
        self.first_dropped_ts_ns = min(first_ts_ns, self.first_dropped_ts_ns or first_ts_ns)
        self.last_dropped_ts_ns = max(last_ts_ns, self.last_dropped_ts_ns or last_ts_ns)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Ledger":
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """A snapshot, consistent in itself: accepted = acked + sum(dropped) + held, in rows and in points."""

    spool_id: str
    next_seq: int
    rows: int  #: held
    points: int  #: held
    bytes: int  #: pages in use; the cap counts these
    max_bytes: int
    oldest_ts_ns: int | None
    pending: Mapping[str, int]  #: rows an uplink has not confirmed
    accepted_rows: int
    accepted_points: int
    acked_rows: int  #: confirmed by every uplink, and freed
    acked_points: int
    dropped_rows: Mapping[str, int]  #: by reason: cap, disk, corrupt
    dropped_points: Mapping[str, int]
    first_dropped_ts_ns: int | None
    last_dropped_ts_ns: int | None
    unknown_acks: int  #: acks of rows that are not held: late, repeated or invented
    salvaged: int
    damaged_files: int
    disk_full: bool  #: the file may not grow: it is a ring until space returns
    commits: int  #: since open
    failed_commits: int
    commit_ms_last: float
    commit_ms_max: float


def snapshot(ledger: Ledger, **others: Any) -> SpoolStats:
    """The books with what only the owner of the file knows."""
    return SpoolStats(
        spool_id=ledger.spool_id,
        next_seq=ledger.next_seq,
        rows=ledger.held_rows,
        points=ledger.held_points,
        pending={name: ledger.held_rows - acked for name, acked in ledger.acked.items()},
        accepted_rows=ledger.accepted_rows,
        accepted_points=ledger.accepted_points,
        acked_rows=ledger.freed_rows,
        acked_points=ledger.freed_points,
        dropped_rows=dict(ledger.dropped_rows),
        dropped_points=dict(ledger.dropped_points),
        first_dropped_ts_ns=ledger.first_dropped_ts_ns,
        last_dropped_ts_ns=ledger.last_dropped_ts_ns,
        unknown_acks=ledger.unknown_acks,
        salvaged=ledger.salvaged_rows,
        damaged_files=ledger.damaged_files,
        **others,
    )
