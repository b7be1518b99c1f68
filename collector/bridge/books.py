"""What went through the bridge since start, so that in = out + dropped + held can be checked by anybody.

messages: received = stored + rejected(reason) + released + held
lines:    checked = written + dropped(reason)
points:   claimed = written + dropped
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from collector.bridge.check import Checked, Reason, Rejected
from collector.bridge.isolate import Job
from collector.bridge.lines import field_count


@dataclass(slots=True)
class Books:
    """Counters. A message is booked when it is settled, whole; a redelivery is booked again."""

    stored: int = 0  #: messages whose good lines are in the database
    rejected: Counter[Reason] = field(default_factory=Counter)  #: messages without anything to store
    released: int = 0  #: messages of a connection that ended first: the broker sends them again
    lines: int = 0
    lines_written: int = 0
    lines_dropped: Counter[Reason] = field(default_factory=Counter)
    points: int = 0
    points_written: int = 0
    bytes_written: int = 0
    batches: int = 0
    requests: int = 0  #: to the database, answered
    retries: int = 0  #: pauses after a failed one
    dead_letters: int = 0
    dead_letters_lost: int = 0  #: not even these could be written
    confirmed: int = 0  #: rows
    confirmations_failed: int = 0  #: refused by the broker or too many under way

    def settle(self, verdicts: Iterable[Checked | Rejected], job: Job) -> None:
        """Book one batch."""
        self.batches += 1
        self.requests += job.requests
        for verdict in verdicts:
            self.points += verdict.points_claimed
            if isinstance(verdict, Rejected):
                self.rejected[verdict.reason] += 1
                continue
            self.stored += 1
            self.lines += verdict.lines + len(verdict.bad)
            self.lines_dropped.update(bad.reason for bad in verdict.bad)
            self.points_written += verdict.points
            self.bytes_written += len(verdict.body)
        self.lines_written += job.written
        if job.dropped:
            self.lines_dropped[Reason.STORE] += job.dropped
        self.points_written -= sum(field_count(bad.line) for bad in job.bad)

    def snapshot(self, *, received: int, held: int) -> dict[str, Any]:
        """As it stands in the status file."""
        return {
            "messages": {
                "received": received,
                "stored": self.stored,
                "rejected": {reason.value: n for reason, n in self.rejected.items()},
                "released": self.released,
                "held": held,
            },
            "lines": {
                "checked": self.lines,
                "written": self.lines_written,
                "dropped": {reason.value: n for reason, n in self.lines_dropped.items()},
            },
            "points": {
                "claimed": self.points,
                "written": self.points_written,
                "dropped": self.points - self.points_written,
            },
            "bytes_written": self.bytes_written,
            "batches": self.batches,
            "requests": self.requests,
            "retries": self.retries,
            "dead_letters": self.dead_letters,
            "dead_letters_lost": self.dead_letters_lost,
            "confirmed": self.confirmed,
            "confirmations_failed": self.confirmations_failed,
        }
