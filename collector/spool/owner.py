"""The file kept open and usable: taken over, replaced when it is damaged, a ring while the disk is full."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from collector.clock import Clock
from collector.spool import disk, repair
from collector.spool.file import SpoolFile
from collector.spool.format import create, primary_code
from collector.spool.ledger import Ledger

log = logging.getLogger(__name__)

#: Pause between attempts to hold the reserve again.
RESERVE_RETRY_S = 10.0
#: A file up to this is read through after an unclean stop. A larger one would delay the start; its rows have CRCs.
CHECK_MAX_BYTES = 1 << 30

Result = TypeVar("Result")


class Owner:
    """The one owner of the files under `path`; used by one thread at a time.

    Raises SpoolLocked or OSError when they cannot be owned; opening the file waits for the first `attempt`.
    """

    def __init__(self, path: Path, *, uplinks: Sequence[str], max_bytes: int, reserve_bytes: int, clock: Clock) -> None:
        self._path = path
        self._uplinks = uplinks
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = disk.OwnerLock(path)
        self._reserve = disk.Reserve(path, reserve_bytes)
        self._without_reserve = False
        self._full_since = clock.mono()
        self._take_reserve_at = float("-inf")
        self.file: SpoolFile | None = None  #: None before the first attempt, and while a damaged file is not replaced
        self.may_grow = True  #: False on a full disk: new rows take the place of the oldest

    def attempt(self, run: Callable[[SpoolFile], Result]) -> Result:
        """Run on the open file; once more after what can be done about a failure.

        Raises what `run` raises, SpoolUnusable, sqlite3.Error or OSError.
        """
        try:
            return run(self._opened())
        except sqlite3.Error as error:
            if not self._remedy(error):
                raise
            return run(self._opened())

    def hold_reserve(self) -> None:
        """Try now and then to hold the reserve; with it, the disk counts as having room again."""
        now = self._clock.mono()
        if self._reserve.held or now < self._take_reserve_at:
            return
        self._take_reserve_at = now + RESERVE_RETRY_S
        if not self._reserve.make():
            level = logging.DEBUG if self._without_reserve else logging.WARNING
            log.log(level, "spool %s: no room for the reserve: a full disk would stop it", self._path)
            self._without_reserve = True
        elif self._without_reserve:
            self._without_reserve = False
            self._set_may_grow(True)
            log.info("spool %s: the disk has room again, after %.0f s", self._path, now - self._full_since)

    def release(self) -> None:
        """Close the file as it is and let others own it."""
        if self.file is not None:
            self.file.close()
        self._lock.release()

    def _opened(self) -> SpoolFile:
        if self.file is None:
            self.file = self._take_over()
            self._set_may_grow(self.may_grow)
        return self.file

    def _take_over(self) -> SpoolFile:
        """Open the file, whatever state it is in."""
        repair.finish_replacement(self._path, self._stamp())
        ours = bool(self._lock.mark())
        if not self._path.exists() or (not ours and self._path.stat().st_size == 0):
            create(self._path, Ledger(clean=True))
        elif damage := repair.examine(self._path, ours=ours):
            self._replace(damage)
        file = SpoolFile(self._path, max_bytes=self._max_bytes)
        try:
            if file.was_unclean:
                file.check(CHECK_MAX_BYTES)
            file.settle(self._uplinks)
            self._lock.set_mark(file.ledger.spool_id)
        except BaseException:
            file.close()
            raise
        return file

    def _remedy(self, error: sqlite3.Error) -> bool:
        """Whether something was done that gives the same work a chance."""
        if repair.is_damage(error):
            known = None
            if self.file is not None:
                known = self.file.ledger
                self.file.close()
                self.file = None
            self._replace(str(error), known)
            return True
        if not disk.is_full(self._path):
            return primary_code(error) == sqlite3.SQLITE_FULL  # somebody made room meanwhile
        if not self.may_grow:
            return False
        log.warning("spool %s: disk full (%s): the oldest rows make room for new ones", self._path, error)
        self._full_since = self._clock.mono()
        self._take_reserve_at = self._full_since + RESERVE_RETRY_S
        self._reserve.release()
        self._without_reserve = True
        self._set_may_grow(False)
        return True

    def _set_may_grow(self, may_grow: bool) -> None:
        self.may_grow = may_grow
        if self.file is not None:
            with suppress(sqlite3.Error):  # the log cannot be copied now: the next commit tries again, and says why
                self.file.set_may_grow(may_grow)

    def _replace(self, damage: str, known: Ledger | None = None) -> None:
        log.error("spool %s: damaged (%s): renaming it and saving what can be read", self._path, damage)
        ledger = repair.replace(self._path, max_bytes=self._max_bytes, stamp=self._stamp(), known=known)
        log.error(
            "spool %s: replaced by spool %s with %d rows, %d rows lost as corrupt so far",
            self._path,
            ledger.spool_id,
            ledger.held_rows,
            ledger.dropped_rows.get("corrupt", 0),
        )

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self._clock.now_ns() // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
