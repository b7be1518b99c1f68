"""A link under test and its recorder, and what is said over it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from drivers.address import parse_bus
from drivers.base import Link, Request
from drivers.links import Links
from tests.drivers.modbus.line import PtyDevice, Recorder, data_of

OTHER = Request(1, 3, 2000, 20)


@contextmanager
def link_to(url: str, sink: Any = None, *, timeout_s: float = 1.0, **settings: Any) -> Iterator[tuple[Link, Any]]:
    """A link of its own pool and its sink."""
    sink = sink or Recorder()
    links = Links()
    link = links.create(parse_bus(url), sink, timeout_s=timeout_s, **settings)
    try:
        yield link, sink
    finally:
        link.close()
        links.close()


async def opened(link: Link, sink: Recorder) -> None:
    link.open()
    assert await sink.next() == "opened"


async def send(link: Link, request: Request) -> None:
    """Ask as soon as the unit is out of quarantine."""
    if (wait_s := link.ready_at(request.unit) - time.monotonic()) > 0:
        await asyncio.sleep(wait_s + 0.001)
    link.send(request)


async def succeeds(link: Link, sink: Recorder, request: Request = OTHER) -> None:
    await send(link, request)
    assert await sink.next() == data_of(request)


def first(
    perfect: Callable[[PtyDevice, bytes], None], *pieces: bytes, every_s: float = 0.01
) -> Callable[[PtyDevice, bytes], None]:
    """A device on a line that answers its first question with `pieces` and the others perfectly."""

    def serve(device: PtyDevice, frame: bytes) -> None:
        if len(device.questions) > 1:
            perfect(device, frame)
            return
        for i, piece in enumerate(pieces):
            device.write(piece, after_s=every_s * i)

    return serve
