"""The thread that owns the file. Everybody else hands it commands and gets futures."""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from collector.clock import Clock
from collector.errors import SpoolError, SpoolFull
from collector.spool.command import Command, Kind, transact
from collector.spool.file import SpoolFile
from collector.spool.format import MAX_UPLINKS, MIN_MAX_BYTES
from collector.spool.ledger import SpoolStats, snapshot
from collector.spool.owner import Owner
from collector.types import Row

log = logging.getLogger(__name__)

#: Commands that may wait. The pipeline and each uplink have one or two under way; more is a disk that stands still.
COMMANDS_MAX = 1024
#: How long acks wait for others to share a commit, and lazy ones for the next append. Losing one to a crash costs a
#: repeated row only; a commit of its own costs a flush, and flash memory its life.
ACK_HOLD_S = 0.05
LAZY_ACK_HOLD_S = 1.0
#: One line per this time about rows dropped.
DROP_LOG_S = 60.0


class Spool:
    """Rows, durable from the moment `append` resolves until every uplink has acknowledged them.

    Only `open` and `close` block. Futures resolve in the spool's thread; they fail with SpoolFull (retryable) where
    the disk refuses, and with SpoolError after `close`.
    """

    def __init__(self, path: Path, *, uplinks: Sequence[str], max_bytes: int, reserve_bytes: int, clock: Clock) -> None:
        if not 0 < len(set(uplinks)) == len(uplinks) <= MAX_UPLINKS:
            raise ValueError(f"spool {path}: 1 to {MAX_UPLINKS} uplinks with different names, not {list(uplinks)}")
        if max_bytes < MIN_MAX_BYTES:
            raise ValueError(f"spool {path}: a cap of {max_bytes} bytes is less than {MIN_MAX_BYTES}")
        self._path = path
        self._uplinks = tuple(uplinks)
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._commands: queue.Queue[Command | None] = queue.Queue(COMMANDS_MAX)
        self._gate = threading.Lock()
        self._accepting = False
        self._listeners: list[Callable[[Sequence[Row]], object]] = []
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._in_hand: list[Command] = []
        self._commits = self._failed_commits = self._used_bytes = self._drops_logged = 0
        self._commit_ms_last = self._commit_ms_max = 0.0
        self._oldest_ts_ns: int | None = None
        self._log_drops_at = float("-inf")
        self.was_unclean = False  #: the last owner did not close the file

    @property
    def spool_id(self) -> str:
        """8 hex digits, made with the file. Another id means: sequence numbers began again."""
        return self._stats.spool_id

    @property
    def next_seq(self) -> int:
        """The first number never given yet. A number is not given twice in the life of a file."""
        return self._stats.next_seq

    def open(self) -> None:
        """Take the file over and start the thread. Blocks: call it before READY.

        A damaged file is renamed and what can be verified in it carried over. Raises SpoolLocked when another process
        owns it, SpoolUnusable when it is another program's or of a newer schema, SpoolFull when the disk refuses.
        """
        # Before 3.51.3 a second writer can corrupt the file (WAL-reset bug). The lock keeps a second daemon out.
        log.info("spool %s: SQLite %s; look inside with mode=ro only", self._path, sqlite3.sqlite_version)
        try:
            self._owner = Owner(
                self._path,
                uplinks=self._uplinks,
                max_bytes=self._max_bytes,
                reserve_bytes=self._reserve_bytes,
                clock=self._clock,
            )
            try:
                self.was_unclean = self._owner.attempt(lambda file: file.was_unclean)
                self._owner.hold_reserve()
            except BaseException:
                self._owner.release()
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._refusal("open", error) from error
        self._note_stats()
        self._drops_logged = sum(self._stats.dropped_rows.values())
        self._accepting = True
        self._thread.start()

    def append(self, rows: Sequence[Row]) -> "Future[int]":
        """Commit `rows`, numbered on from `next_seq`: all or none. Resolves with their number once they are fsynced.

        Rows committed before are passed over, so that an append whose answer was lost may be repeated. Where they do
        not fit the oldest rows are dropped and counted; SpoolFull means that not even that helps. ValueError for rows
        that do not join the sequence.
        """
        return self._submit("append", lambda file: file.append(rows), rows)

    def fetch(
        self, uplink: str, *, after_seq: int, limit_bytes: int, before_seq: int | None = None
    ) -> "Future[list[Row]]":
        """Committed rows that `uplink` has not acknowledged with after_seq < seq < before_seq, oldest first.

        At most `limit_bytes` of payload, but one row at least if there is one. Every row is verified; a damaged one
        is left out, put into quarantine and counted as dropped.
        """
        self._check_uplink(uplink)
        return self._submit("fetch", lambda file: file.fetch(uplink, after_seq, before_seq, limit_bytes))

    def ack(self, uplink: str, seqs: Sequence[int], *, lazily: bool = False) -> "Future[int]":
        """Note that `uplink` needs these rows no longer; durable when it resolves, with how many were new to it.

        Numbers that are not held, or were acknowledged before, are ignored and counted. `lazily`: nobody waits for it;
        it may take up to `LAZY_ACK_HOLD_S`, to share the commit of what comes next.
        """
        self._check_uplink(uplink)
        hold_s = LAZY_ACK_HOLD_S if lazily else ACK_HOLD_S
        return self._submit("ack", lambda file: file.ack(uplink, seqs), hold_s=hold_s)

    def stats(self) -> SpoolStats:
        """The latest snapshot; from any thread, never waits."""
        return self._stats

    def add_listener(self, callback: Callable[[Sequence[Row]], object]) -> None:
        """Call `callback` in the spool's thread after each commit of rows, with these rows in their order.

        They are durable by then, and `next_seq` is beyond them. Rows of a repeated append are told again.
        """
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

    def _submit(
        self, kind: Kind, run: Callable[[SpoolFile], Any], rows: Sequence[Row] = (), hold_s: float = 0.0
    ) -> "Future[Any]":
        future: Future[Any] = Future()
        with self._gate:
            if not self._accepting:
                future.set_exception(SpoolError(f"spool {self._path}: it is not open"))
                return future
            try:
                self._commands.put_nowait(Command(kind, run, future, rows, hold_s))
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
            if self._owner.file is not None:
                self._owner.file.mark_clean()
        except (sqlite3.Error, OSError) as error:
            log.warning("%s", self._refusal("mark clean", error))
        finally:
            with self._gate:
                self._accepting = False
            self._abandon()
            self._owner.release()

    def _collect(self) -> bool:
        """Take into hand whatever waits; acks alone wait a little for company. False when it is time to close."""
        self._in_hand.clear()
        command = self._commands.get()
        until = float("inf")
        while command is not None:
            if command.future.set_running_or_notify_cancel():
                self._in_hand.append(command)
            now = self._clock.mono()
            until = min(until, now + command.hold_s)
            try:
                command = self._commands.get(until > now, max(until - now, 0.0))
            except queue.Empty:
                return True
        return False

    def _serve(self) -> None:
        """One transaction for all that writes; then, seeing only what is durable, the reads."""
        self._owner.hold_reserve()
        writes = [c for c in self._in_hand if c.kind != "fetch"]
        if writes:
            self._commit(writes)
        fetches = [c for c in self._in_hand if c.kind == "fetch"]
        answers = [self._answer(c) for c in fetches]
        file = self._owner.file
        if file is not None and file.damaged:
            damaged, file.damaged = file.damaged, set()
            self._commit([Command("quarantine", lambda file: file.quarantine(damaged), Future())])
        if fetches:  # one of them may have found the file damaged
            self._note_stats()
        for command, answer in zip(fetches, answers, strict=True):
            command.resolve(answer)

    def _answer(self, command: Command) -> Any:
        try:
            return self._owner.attempt(command.run)
        except Exception as error:
            return self._refusal("read", error)

    def _commit(self, writes: list[Command]) -> None:
        started = self._clock.mono()
        try:
            results = self._owner.attempt(lambda file: transact(file, writes))
        except Exception as error:
            self._failed_commits += 1
            needy = [c for c in writes if c.kind == "append"]
            others = [c for c in writes if c.kind != "append"]
            if needy and others:  # what frees space must not fail with what needs it
                self._commit(others)
                writes = needy
            results = [self._refusal("commit", error)] * len(writes)
        else:
            self._commits += 1
            self._commit_ms_last = (self._clock.mono() - started) * 1e3
            self._commit_ms_max = max(self._commit_ms_max, self._commit_ms_last)
        self._note_stats()
        rows: list[Row] = []
        for command, result in zip(writes, results, strict=True):
            command.resolve(result)
            rows += () if isinstance(result, Exception) else command.rows
        self._tell(rows)

    def _note_stats(self) -> None:
        file = self._owner.file
        if file is None:
            return
        with suppress(sqlite3.Error):  # the next command meets the same error, and acts on it
            self._used_bytes, self._oldest_ts_ns = file.used_bytes(), file.oldest_ts_ns()
        self._stats = snapshot(
            file.ledger,
            bytes=self._used_bytes,
            max_bytes=self._max_bytes,
            oldest_ts_ns=self._oldest_ts_ns,
            disk_full=not self._owner.may_grow,
            commits=self._commits,
            failed_commits=self._failed_commits,
            commit_ms_last=self._commit_ms_last,
            commit_ms_max=self._commit_ms_max,
        )

    def _tell(self, rows: Sequence[Row]) -> None:
        stats = self._stats
        dropped = sum(stats.dropped_rows.values())
        if dropped > self._drops_logged and self._clock.mono() >= self._log_drops_at:
            log.warning("spool %s: rows dropped so far: %s", self._path, dict(stats.dropped_rows))
            self._log_drops_at = self._clock.mono() + DROP_LOG_S
            self._drops_logged = dropped
        for callback in self._listeners if rows else ():
            try:
                callback(rows)
            except Exception:
                log.exception("spool %s: a listener failed", self._path)

    def _abandon(self) -> None:
        """Fail whatever was not answered, so that nobody waits for a thread that is gone."""
        while not self._commands.empty():
            command = self._commands.get_nowait()
            if command is not None and command.future.set_running_or_notify_cancel():
                self._in_hand.append(command)
        for command in self._in_hand:
            if not command.future.done():
                command.future.set_exception(SpoolError(f"spool {self._path}: its thread ended"))

    def _refusal(self, action: str, error: Exception) -> Exception:
        """What the caller is told: our own errors as they are, the disk's as something to be tried again."""
        if not isinstance(error, sqlite3.Error | OSError):
            return error
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return SpoolFull(f"spool {self._path}: cannot {action}: {error} ({name})")
