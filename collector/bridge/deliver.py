"""One batch at a time: check, store, bury what cannot be stored, confirm, acknowledge. In this order and no other.

Nothing is acknowledged to the broker before the database has it (or the dead letters do). A batch is held for as long
as the database is busy or refuses; behind it the inbox fills, and then the broker is not read any more.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from collector.bridge.books import Books
from collector.bridge.check import Checked, Limits, Rejected, check
from collector.bridge.confirm import GivenUp, confirmations
from collector.bridge.dead_letter import DeadLetters
from collector.bridge.isolate import Job
from collector.bridge.pace import Pace
from collector.bridge.series import SeriesCap
from collector.bridge.store import Store
from collector.bridge.subscribe import Inbox
from collector.clock import Clock
from collector.errors import CollectorError, LinesRejected, StoreBusy, StoreRefused, StoreTooLarge, UplinkLost
from collector.mqtt import Message

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Longest pause between two attempts when the database does not name one.
LONGEST_PAUSE_S = 60.0
#: A hanging database must not keep us from stopping: nothing it has not taken was acknowledged.
CLOSE_S = 1.0
#: Confirmations whose PUBACK is outstanding. Beyond it none is sent: their gateways ask again by sending again.
MAX_CONFIRMATIONS = 10_000


class Outlet(Protocol):
    """What the delivery needs of an MQTT session."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> asyncio.Future[int]: ...


class Delivery:
    """Everything behind the inbox; outlives connections. `run` is called anew for each."""

    def __init__(
        self,
        store: Store,
        dead_letters: DeadLetters,
        clock: Clock,
        *,
        centre: str,
        limits: Limits,
        series_per_gateway: int,
        batch_bytes: int,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.books = Books()
        self.pace = Pace(store.name, LONGEST_PAUSE_S, clock, rng or random.Random())
        self.busy_since: float | None = None  #: monotonic start of the call that the worker thread is in
        self._store = store
        self._dead_letters = dead_letters
        self._clock = clock
        self._centre = centre
        self._limits = limits
        self._series = SeriesCap(series_per_gateway)
        self._given_up = GivenUp()
        self._max_bytes = batch_bytes
        self._sleep = sleep
        self._outstanding = 0
        self._told: set[str] = set()
        # One thread: a call of a connection that ended is finished before the next connection's begins.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def run(self, inbox: Inbox, outlet: Outlet) -> None:
        """Deliver batch after batch until the inbox is closed. May be cancelled at any point: nothing is lost."""
        while messages := await inbox.batch():
            verdicts = await self._in_thread(self._examine, messages)
            bodies = [v.body for v in verdicts if isinstance(v, Checked) and v.body]
            job = Job(bodies, self._max_bytes)
            await self._write(job)
            self._max_bytes = job.max_bytes
            await self._bury(messages, verdicts, job)
            self.books.settle(verdicts, job)
            self._confirm(verdicts, outlet)
            inbox.settle(messages)

    async def close(self) -> bool:
        """Close the database after the call the worker thread is in. False when that did not end within CLOSE_S."""
        closed = self._thread.submit(self._store.close)
        done, _ = await asyncio.wait({asyncio.wrap_future(closed)}, timeout=CLOSE_S)
        self._thread.shutdown(wait=False, cancel_futures=True)
        return bool(done)

    def _examine(self, messages: list[Message]) -> list[Checked | Rejected]:
        verdicts = [check(m.topic, m.payload, self._limits) for m in messages]
        return [self._series.admit(v) if isinstance(v, Checked) else v for v in verdicts]

    async def _write(self, job: Job) -> None:
        while not job.done:
            try:
                await self._in_thread(self._store.write, job.body)
                job.stored()
            except LinesRejected as error:
                job.rejected(error)
            except StoreTooLarge as error:
                try:
                    job.too_large(error)
                except StoreRefused as refused:
                    await self._pause(refused)
                    continue
            except (StoreBusy, StoreRefused) as error:
                await self._pause(error)
                continue
            self.pace.succeeded()

    async def _pause(self, error: CollectorError) -> None:
        self.books.retries += 1
        await self._sleep(self.pace.failed(error))

    async def _bury(self, messages: list[Message], verdicts: list[Checked | Rejected], job: Job) -> None:
        letters, records = self._dead_letters, []
        for message, verdict in zip(messages, verdicts, strict=True):
            if isinstance(verdict, Rejected):
                records.append(letters.payload(message.topic, verdict.reason, message.payload))
            else:
                records += [letters.line(message.topic, bad) for bad in verdict.bad]
        records += [letters.line("", bad) for bad in job.bad]
        if not records:
            return
        self._tell_once(records[0]["reason"], "dead letter: %s (%s)", records[0]["reason"], records[0]["topic"])
        try:
            await self._in_thread(letters.write, records)
            self.books.dead_letters += len(records)
        except OSError as error:
            # One gateway's rubbish and a full disk must not hold up the others: counted, and gone.
            self.books.dead_letters_lost += len(records)
            self._tell_once("dead letters", "dead letters cannot be written, only counted: %s", error)

    def _confirm(self, verdicts: list[Checked | Rejected], outlet: Outlet) -> None:
        final = [v for v in verdicts if isinstance(v, Checked) or self._given_up.is_final(v)]
        senders = [v.sender for v in final if v.sender is not None]
        for topic, payload in confirmations(senders, self._centre):
            if self._outstanding >= MAX_CONFIRMATIONS:
                self.books.confirmations_failed += 1
                continue
            self._outstanding += 1
            outlet.publish(topic, payload).add_done_callback(self._confirmed)
        self.books.confirmed += len(senders)

    def _confirmed(self, future: asyncio.Future[int]) -> None:
        self._outstanding -= 1
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, UplinkLost):
            self.books.confirmations_failed += 1
            self._tell_once("confirm", "a confirmation is refused, its gateway will send again and again: %s", error)

    def _tell_once(self, subject: str, text: str, *args: object) -> None:
        """The first of each kind is a warning; the rest is in the counters of the status file."""
        log.log(logging.DEBUG if subject in self._told else logging.WARNING, text, *args)
        self._told.add(subject)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        self.busy_since = self._clock.mono()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        finally:
            self.busy_since = None
