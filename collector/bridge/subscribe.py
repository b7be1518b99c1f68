"""The messages of one connection, from arrival to acknowledgement; bounded by not reading any more.

An MQTT acknowledgement belongs to its connection. When that ends, everything not yet acknowledged is void: the broker
keeps it in our durable session and sends it again.
"""

import asyncio
import contextlib
from collections import deque
from typing import Protocol

from collector.mqtt import Message

#: What a message costs beyond its payload: topic, packet, objects. Counts, so that empty messages are bounded too.
MESSAGE_OVERHEAD = 1024
#: Reading goes on when this share of the memory limit is free again: fewer, longer pauses.
_RESUME_SHARE = 0.5


class Source(Protocol):
    """What the inbox needs of an MQTT session."""

    def ack(self, message: Message) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Inbox:
    """Messages that arrived and are not acknowledged yet."""

    def __init__(self, *, batch_bytes: int, linger_s: float, memory_bytes: int) -> None:
        self.received = 0
        self.held = 0  #: messages, waiting or in work
        self.held_bytes = 0
        self.pauses = 0
        self._batch_bytes = batch_bytes
        self._linger_s = linger_s
        self._memory_bytes = memory_bytes
        self._waiting: deque[Message] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._paused = False
        self._closing = False
        self._source: Source | None = None

    def attach(self, source: Source) -> None:
        """Name the session before it connects: a durable session speaks first."""
        self._source = source

    def put(self, message: Message) -> None:
        """Take one message. Called by the session."""
        self.received += 1
        self.held += 1
        self.held_bytes += _cost(message)
        self._waiting.append(message)
        self._waiting_bytes += _cost(message)
        self._arrived.set()
        if self._waiting_bytes >= self._batch_bytes:
            self._full.set()
        if self.held_bytes >= self._memory_bytes and not self._paused and self._source is not None:
            self._paused = True
            self.pauses += 1
            self._source.pause()

    def close(self) -> None:
        """No more batches after those already handed out."""
        self._closing = True
        self._arrived.set()

    async def batch(self) -> list[Message]:
        """The oldest messages, up to the batch size or what came within the linger time; empty after `close`."""
        await self._arrived.wait()
        if not self._closing and self._linger_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), self._linger_s)
        if self._closing:
            return []
        batch = [self._pop()]
        size = _cost(batch[0])
        while self._waiting and size + _cost(self._waiting[0]) <= self._batch_bytes:
            size += _cost(self._waiting[0])
            batch.append(self._pop())
        if not self._waiting:
            self._arrived.clear()
        if self._waiting_bytes < self._batch_bytes:
            self._full.clear()
        return batch

    def settle(self, messages: list[Message]) -> None:
        """Acknowledge: what these messages carried is stored or in the dead letters."""
        assert self._source is not None  # they came from it
        for message in messages:
            self._source.ack(message)
            self.held -= 1
            self.held_bytes -= _cost(message)
        if self._paused and self.held_bytes <= self._memory_bytes * _RESUME_SHARE:
            self._paused = False
            self._source.resume()

    def _pop(self) -> Message:
        message = self._waiting.popleft()
        self._waiting_bytes -= _cost(message)
        return message


def _cost(message: Message) -> int:
    return len(message.payload) + MESSAGE_OVERHEAD
