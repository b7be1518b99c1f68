"""The thread that owns the file. Everybody else hands it commands and gets futures."""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from collector.clock import Clock
from collector.errors import SpoolError, SpoolFull
from collector.spool import disk, repair
from collector.spool.file import SpoolFile
from collector.spool.format import MAX_UPLINKS, MIN_MAX_BYTES, create, primary_code
from collector.spool.ledger import Ledger, SpoolStats, snapshot
from collector.types import Row

log = logging.getLogger(__name__)

#: Commands that may wait. The pipeline and each uplink have one or two under way; more is a disk that stands still.
COMMANDS_MAX = 1024
#: How long acks wait for an append or a fetch to share their commit. Losing one to a crash costs a repeated row only.
ACK_HOLD_S = 0.05
#: Acks that wait at most.
ACK_HOLD_MAX = 64
#: Pause between attempts to take the reserve again.
RESERVE_RETRY_S = 10.0
#: One line per this time about rows dropped for room.
DROP_LOG_S = 60.0
#: A file up to this is read through after an unclean stop. A larger one would delay the start; its rows have CRCs.
CHECK_MAX_BYTES = 1 << 30
#: First SQLite in which two connections that write or checkpoint at once cannot corrupt the file.
SAFE_SQLITE = (3, 51, 3)

Result = TypeVar("Result")
Kind = Literal["append", "ack", "fetch", "repair"]


@dataclass(frozen=True, slots=True)
class _Command:
    kind: Kind
    run: Callable[[SpoolFile], Any]
    future: "Future[Any]"


class Spool:
    """Rows, durable from the moment `append` resolves until every uplink has acknowledged them.

    Calls never block (but `open` and `close`); futures resolve in the spool's thread. They fail with SpoolFull
    (retryable) where the disk refuses, SpoolError after `close`, ValueError for rows out of sequence.
    """

    def __init__(self, path: Path, *, uplinks: Sequence[str], max_bytes: int, reserve_bytes: int, clock: Clock) -> None:
        if not 0 < len(set(uplinks)) == len(uplinks) <= MAX_UPLINKS:
            raise ValueError(f"spool {path}: 1 to {MAX_UPLINKS} uplinks with different names, not {list(uplinks)}")
        if max_bytes < MIN_MAX_BYTES:
            raise ValueError(f"spool {path}: a cap of {max_bytes} bytes is less than {MIN_MAX_BYTES}")
        self._path = path
        self._uplinks = tuple(uplinks)
        self._max_bytes = max_bytes
        self._clock = clock
        self._reserve = disk.Reserve(path, reserve_bytes)
        self._commands: queue.Queue[_Command | None] = queue.Queue(COMMANDS_MAX)
        self._gate = threading.Lock()
        self._accepting = False
        self._listeners: list[Callable[[int], object]] = []
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._in_hand: list[_Command] = []
        self._file: SpoolFile | None = None
        self._may_grow = True
        self._full_since = 0.0
        self._take_reserve_at = self._log_drops_at = float("-inf")
        self._rows_dropped_logged = 0
        self._commits = self._failed_commits = self._used_bytes = 0
        self._commit_ms_last = self._commit_ms_max = 0.0
        self._oldest_ts_ns: int | None = None
        self.was_unclean = False  #: the last owner did not close the file

    @property
    def spool_id(self) -> str:
        """8 hex digits, made with the file. Another id means: sequence numbers began again."""
        return self.stats().spool_id

    @property
    def next_seq(self) -> int:
        """The first number never given yet. A number is not given twice in the life of a file."""
        return self.stats().next_seq

    def open(self) -> None:
        """Take the file over and start the thread. Blocks; call it before READY.

        A damaged file is renamed and what can be verified in it carried over. Raises SpoolLocked when another process
        owns it, SpoolUnusable when it is another program's or of a newer schema, SpoolError when the disk refuses.
        """
        version = sqlite3.sqlite_version
        log.info("spool %s: SQLite %s, %d uplinks", self._path, version, len(self._uplinks))
        if sqlite3.sqlite_version_info < SAFE_SQLITE:
            log.warning(
                "SQLite %s may corrupt a file that two connections write (fixed in %s): "
                "let no other program write the spool",
                version,
                ".".join(map(str, SAFE_SQLITE)),
            )
        try:
            self._lock = disk.OwnerLock(self._path)
            try:
                self.was_unclean = self._attempt(lambda file: file.was_unclean)
            except BaseException:
                self._lock.release()
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._refusal("open", error) from error
        self._take_reserve()
        self._note_stats()
        self._rows_dropped_logged = sum(self._stats.dropped_rows.values())
        self._accepting = True
        self._thread.start()

    def append(self, rows: Sequence[Row]) -> "Future[int]":
        """Commit `rows`, numbered on from `next_seq`. Resolves with their number once they are fsynced.

        All or none. Rows committed before are passed over, so that an append whose answer was lost may be repeated.
        Where they do not fit, the oldest rows are dropped and counted; SpoolFull means that not even that helps.
        """
        return self._submit("append", lambda file: file.append(rows))

    def fetch(
        self, uplink: str, *, after_seq: int, limit_bytes: int, before_seq: int | None = None
    ) -> "Future[list[Row]]":
        """Committed rows that `uplink` has not acknowledged with after_seq < seq < before_seq, oldest first.

        At most `limit_bytes` of payload, but one row at least if there is one. Every row is verified; a damaged one
        is left out, put into quarantine and counted as dropped.
        """
        self._check_uplink(uplink)
        return self._submit("fetch", lambda file: file.fetch(uplink, after_seq, before_seq, limit_bytes))

    def ack(self, uplink: str, seqs: Sequence[int]) -> "Future[int]":
        """Note that `uplink` needs these rows no longer; durable when it resolves, with how many were new to it.

        Numbers that are not held, or were acknowledged before, are ignored and counted.
        """
        self._check_uplink(uplink)
        return self._submit("ack", lambda file: file.ack(uplink, seqs))

    def stats(self) -> SpoolStats:
        """The latest snapshot; from any thread, never waits."""
        return self._stats

    def add_listener(self, callback: Callable[[int], object]) -> None:
        """Call `callback` in the spool's thread after each commit, with the highest committed number."""
        self._listeners.append(callback)

    def close(self) -> None:
        """Commit what waits, mark the file clean and close it. Blocks; may be repeated."""
        with self._gate:
            accepting, self._accepting = self._accepting, False
        if accepting:
            self._commands.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _check_uplink(self, uplink: str) -> None:
        if uplink not in self._uplinks:
            raise ValueError(f"spool {self._path}: no uplink {uplink!r}; there are {', '.join(self._uplinks)}")

    def _submit(self, kind: Kind, run: Callable[[SpoolFile], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        with self._gate:
            if not self._accepting:
                future.set_exception(SpoolError(f"spool {self._path}: it is not open"))
                return future
            try:
                self._commands.put_nowait(_Command(kind, run, future))
            except queue.Full:
                future.set_exception(
                    SpoolFull(f"spool {self._path}: {COMMANDS_MAX} commands wait already: the disk stands still")
                )
        return future

    # In the spool's thread from here on.

    def _run(self) -> None:
        try:
            while self._collect():
                self._serve()
            self._serve()
            if self._file is not None:
                self._file.close_clean()
        except (sqlite3.Error, OSError) as error:
            log.warning("%s", self._refusal("mark clean", error))
        finally:
            with self._gate:
                self._accepting = False
            self._abandon()
            self._lock.release()

    def _collect(self) -> bool:
        """Take into hand whatever waits; acks alone wait a little for company. False when it is time to close."""
        self._in_hand.clear()
        command = self._commands.get()
        hold = ACK_HOLD_MAX
        while command is not None:
            if command.future.set_running_or_notify_cancel():
                self._in_hand.append(command)
            hold = hold - 1 if command.kind == "ack" else 0
            try:
                command = self._commands.get(hold > 0, ACK_HOLD_S)
            except queue.Empty:
                return True
        return False

    def _serve(self) -> None:
        """One transaction for all that writes; then, seeing only what is durable, the reads."""
        writes = [c for c in self._in_hand if c.kind != "fetch"]
        if writes:
            self._commit(writes)
        fetches = [c for c in self._in_hand if c.kind == "fetch"]
        answers = [self._answer(c) for c in fetches]
        if self._file is not None and self._file.damaged:
            damaged, self._file.damaged = self._file.damaged, set()
            self._commit([_Command("repair", lambda file: file.quarantine(damaged), Future())])
        for command, answer in zip(fetches, answers, strict=True):
            _resolve(command, answer)
        self._take_reserve()

    def _answer(self, command: _Command) -> Any:
        try:
            return self._attempt(command.run)
        except Exception as error:
            return self._refusal("read", error)

    def _commit(self, writes: list[_Command]) -> None:
        started = self._clock.mono()
        try:
            results = self._attempt(lambda file: _transact(file, writes))
        except Exception as error:
            self._failed_commits += 1
            others = [c for c in writes if c.kind != "append"]
            if len(others) < len(writes):
                writes = [c for c in writes if c.kind == "append"]
                if others:  # what frees space must not fail with what needs it
                    self._commit(others)
            results = [self._refusal("commit", error)] * len(writes)
        else:
            self._commits += 1
            self._commit_ms_last = (self._clock.mono() - started) * 1e3
            self._commit_ms_max = max(self._commit_ms_max, self._commit_ms_last)
        self._note_stats()
        for command, result in zip(writes, results, strict=True):
            _resolve(command, result)
        self._tell()

    def _attempt(self, run: Callable[[SpoolFile], Result]) -> Result:
        """Run on the open file; once more after what can be done about a failure."""
        try:
            return run(self._opened())
        except sqlite3.Error as error:
            if not self._remedy(error):
                raise
            return run(self._opened())

    def _remedy(self, error: sqlite3.Error) -> bool:
        """Whether something was done that gives the same work a chance."""
        if repair.is_damage(error):
            if self._file is not None:
                self._file.close()
                self._file = None
            self._replace(str(error))
            return True
        full = primary_code(error) == sqlite3.SQLITE_FULL or disk.is_full(self._path)
        if not (full and self._may_grow):
            return False
        log.warning("spool %s: disk full (%s); the oldest rows make room for new ones", self._path, error)
        self._may_grow = False
        self._full_since = self._clock.mono()
        self._take_reserve_at = self._full_since + RESERVE_RETRY_S
        self._reserve.release()
        if self._file is not None:
            self._file.may_grow = False
            with suppress(sqlite3.Error):
                self._file.checkpoint()
        return True

    def _take_reserve(self) -> None:
        """Try now and then to hold the reserve again; with it, the disk counts as having room."""
        now = self._clock.mono()
        if self._reserve.held or now < self._take_reserve_at:
            return
        self._take_reserve_at = now + RESERVE_RETRY_S
        if self._reserve.make() and not self._may_grow:
            self._may_grow = True
            if self._file is not None:
                self._file.may_grow = True
            log.info("spool %s: the disk has room again, after %.0f s", self._path, now - self._full_since)

    def _opened(self) -> SpoolFile:
        if self._file is None:
            self._file = self._take_over()
        return self._file

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
        file.may_grow = self._may_grow
        return file

    def _replace(self, damage: str) -> None:
        log.error("spool %s: damaged (%s); renaming it and saving what can be read", self._path, damage)
        ledger = repair.replace(self._path, max_bytes=self._max_bytes, stamp=self._stamp())
        log.error(
            "spool %s: replaced; id %s, %d rows saved in all, %d dropped as corrupt",
            self._path,
            ledger.spool_id,
            ledger.salvaged_rows,
            ledger.dropped_rows.get("corrupt", 0),
        )

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")

    def _note_stats(self) -> None:
        if self._file is None:
            return
        with suppress(sqlite3.Error):  # the next command meets the same error, and acts on it
            self._used_bytes, self._oldest_ts_ns = self._file.used_bytes(), self._file.oldest_ts_ns()
        self._stats = snapshot(
            self._file.ledger,
            bytes=self._used_bytes,
            max_bytes=self._max_bytes,
            oldest_ts_ns=self._oldest_ts_ns,
            disk_full=not self._may_grow,
            commits=self._commits,
            failed_commits=self._failed_commits,
            commit_ms_last=self._commit_ms_last,
            commit_ms_max=self._commit_ms_max,
        )

    def _tell(self) -> None:
        stats = self._stats
        dropped = sum(stats.dropped_rows.values())
        if dropped > self._rows_dropped_logged and self._clock.mono() >= self._log_drops_at:
            self._log_drops_at = self._clock.mono() + DROP_LOG_S
            self._rows_dropped_logged = dropped
            log.warning("spool %s: rows dropped so far: %s", self._path, dict(stats.dropped_rows))
        for callback in self._listeners:
            try:
                callback(stats.next_seq - 1)
            except Exception:
                log.exception("spool %s: a listener failed", self._path)

    def _abandon(self) -> None:
        """Fail whatever was not answered, so that nobody waits for a thread that is gone."""
        left = list(self._in_hand)
        while not self._commands.empty():
            command = self._commands.get_nowait()
            if command is not None and command.future.set_running_or_notify_cancel():
                left.append(command)
        for command in left:
            if not command.future.done():
                command.future.set_exception(SpoolError(f"spool {self._path}: its thread ended"))

    def _refusal(self, action: str, error: Exception) -> Exception:
        """What the caller is told: our own errors as they are, the disk's as something to be tried again."""
        if not isinstance(error, sqlite3.Error | OSError):
            return error
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return SpoolFull(f"spool {self._path}: cannot {action}: {error} ({name})")


def _transact(file: SpoolFile, writes: list[_Command]) -> list[Any]:
    with file.transaction():
        return [_outcome(command, file) for command in writes]


def _outcome(command: _Command, file: SpoolFile) -> Any:
    try:
        return command.run(file)
    except ValueError as error:  # this caller's mistake, found before any change
        return error


def _resolve(command: _Command, result: Any) -> None:
    if isinstance(result, Exception):
        command.future.set_exception(result)
    else:
        command.future.set_result(result)
