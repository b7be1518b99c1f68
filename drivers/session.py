"""One link for a technician or a test: ask and wait. The daemon's poller does not use it."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from drivers.address import BusAddress, parse_bus, speaking
from drivers.base import Link, Question
from drivers.errors import BadFrame, DeviceError, DeviceException, LinkError, LinkLost, LinkUnavailable, NoAnswer
from drivers.links import Links
from drivers.meaning import AnyProfile
from drivers.modbus.connection import CONNECT_S
from drivers.modbus.link_rtu import RtuLink
from drivers.modbus.link_tls import HANDSHAKE_S
from drivers.text.command import Command
from drivers.text.link import TextLink
from drivers.wires.base import Trace

#: Longest wait for a link to open: longer than any attempt to connect, so that the link's own reason is heard.
OPEN_S = 2 * CONNECT_S + HANDSHAKE_S

#: A device that sends by itself is waited for so long, unless the timeout is longer: sensors send every few seconds.
LISTEN_S = 15.0
#: A quarantine ends early when the late answer comes: look for that this often.
LOOK_AGAIN_S = 0.02


@dataclass(slots=True)
class Statistics:
    """What came of the reads of a session."""

    ok: int = 0
    exceptions: int = 0
    timeouts: int = 0
    bad_frames: int = 0
    lost: int = 0  #: reads that ended because the link did
    rtt_s: list[float] = field(default_factory=list)  #: of every read the device answered, with data or an exception

    @property
    def reads(self) -> int:
        return self.ok + self.exceptions + self.timeouts + self.bad_frames + self.lost


class Session:
    """An open link. `async with await Session.open(url) as session: data = await session.read(question)`.

    One read at a time. A read may wait before it asks: for the quarantine of a unit that missed its deadline.
    """

    def __init__(
        self, address: BusAddress, *, timeout_s: float = 1.0, late_s: float | None = None, trace: Trace | None = None
    ) -> None:
        self.address = address
        self.statistics = Statistics()
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._links = Links(mono=self._loop.time)
        self._link: Link = self._links.create(address, self, timeout_s=timeout_s, late_s=late_s, trace=trace)
        self._waiting: asyncio.Future[bytes] | None = None
        self._listened: list[Command] = []
        self._hearing: Command | None = None
        self._ended: LinkError | None = LinkLost(f"{address}: not open")

    @classmethod
    async def open(
        cls,
        url: str,
        timeout_s: float = 1.0,
        late_s: float | None = None,
        trace: Trace | None = None,
        profile: AnyProfile | None = None,
    ) -> Self:
        """Connect to `url` and speak what a device of `profile` does; None: Modbus.

        Raises ProfileError for an address that is wrong, or cannot carry that, and LinkUnavailable.
        """
        address = speaking(parse_bus(url), [] if profile is None else [profile])
        session = cls(address, timeout_s=timeout_s, late_s=late_s, trace=trace)
        try:
            await session.reopen()
        except BaseException:
            session.close()
            raise
        return session

    async def reopen(self) -> None:
        """Connect again after the link was lost. Raises LinkUnavailable."""
        self._waiting = self._loop.create_future()
        self._link.open()
        settle_s = self.address.text.settle_s if self.address.text is not None else 0.0
        try:
            async with asyncio.timeout(OPEN_S + settle_s):
                await self._waiting
        except TimeoutError:
            self._link.close()
            raise LinkUnavailable(f"{self.address}: not open after {OPEN_S:g} s") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the link; a second time does nothing."""
        self._link.close()
        self._links.close()
        self._ended = LinkLost(f"{self.address}: closed")

    @property
    def ended(self) -> LinkError | None:
        """Why the link is not open; None: it is."""
        return self._ended

    @property
    def late(self) -> int:
        """Answers thrown away: they came after their deadline or belong to nobody."""
        return self._link.late

    @property
    def strays(self) -> int:
        """Bytes received that belong to no frame; always 0 on Modbus TCP."""
        return self._link.strays if isinstance(self._link, RtuLink | TextLink) else 0

    async def read(self, question: Question) -> bytes:
        """The answer's data bytes, a register image. Raises NoAnswer, BadFrame, DeviceException, LinkError.

        ValueError when `question` cannot be expressed on the wire.
        """
        if isinstance(question, Command) and question.unasked:
            return await self._hear(question)
        while (wait_s := self._link.ready_at(question.unit) - self._loop.time()) > 0:
            await asyncio.sleep(min(wait_s, LOOK_AGAIN_S))
        if self._ended is not None:
            raise self._ended
        waiting: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting = waiting
        begin = self._loop.time()
        self._link.send(question)
        try:
            async with asyncio.timeout(self._timeout_s + self._link.cost.of(question)):
                data = await waiting
        except asyncio.CancelledError:
            self._waiting = None
            self._link.expire()
            raise
        except TimeoutError:
            self._waiting = None
            self.statistics.timeouts += 1
            self._link.expire()
            waited = f"unit {question.unit} within {self._timeout_s:g} s"
            raise NoAnswer(f"{self.address}: no answer of {waited}") from None
        except DeviceException:
            self.statistics.exceptions += 1
            self.statistics.rtt_s.append(self._loop.time() - begin)
            raise
        except BadFrame:
            self.statistics.bad_frames += 1
            raise
        except LinkError as error:
            if isinstance(error.__cause__, BadFrame):
                self.statistics.bad_frames += 1
            else:
                self.statistics.lost += 1
            raise
        self.statistics.ok += 1
        self.statistics.rtt_s.append(self._loop.time() - begin)
        return data

    async def _hear(self, command: Command) -> bytes:
        """What a unit says next by itself. Raises NoAnswer, LinkError."""
        if self._ended is not None:
            raise self._ended
        assert isinstance(self._link, TextLink)
        if command not in self._listened:
            self._listened.append(command)
            self._link.listen(self._listened, self._heard)
        self._hearing, self._waiting = command, self._loop.create_future()
        patience_s = max(self._timeout_s, min(command.patience_s, LISTEN_S))
        try:
            async with asyncio.timeout(patience_s):
                data = await self._waiting
        except TimeoutError:
            self.statistics.timeouts += 1
            raise NoAnswer(f"{self.address}: heard nothing of {command} for {patience_s:g} s") from None
        except LinkError:
            self.statistics.lost += 1
            raise
        finally:
            self._hearing = self._waiting = None
        self.statistics.ok += 1
        return data

    def _heard(self, command: Command, data: memoryview) -> None:
        if command == self._hearing:
            self._settle(None, bytes(data))

    def opened(self) -> None:
        self._ended = None
        self._settle(None, b"")

    def answered(self, data: memoryview) -> None:
        self._settle(None, bytes(data))

    def failed(self, error: DeviceError) -> None:
        self._settle(error, b"")

    def lost(self, error: LinkError) -> None:
        self._ended = error
        self._settle(error, b"")

    def _settle(self, error: Exception | None, data: bytes) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(data)
        else:
            waiting.set_exception(error)
