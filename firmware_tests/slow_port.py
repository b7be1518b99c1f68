"""A real pseudo-terminal with units that answer late, and what becomes of the questions asked through it."""

import asyncio
import os
import random
import tty
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from drivers.errors import DeviceError, NoAnswer
from drivers.session import Session

DELAYS_S = (0.0, 0.002, 0.01, 0.03, 0.05, 0.07)
#: Before some of the DELAYS_S are over.
TIMEOUT_S = 0.02


@contextmanager
def slow_port(answers: Callable[[bytes], Iterable[bytes]], random_: random.Random) -> Iterator[str]:
    """A port whose units send each of the `answers` to what they read after a time of its own, in two pieces."""
    loop = asyncio.get_running_loop()
    master, slave = os.openpty()
    tty.setraw(slave)

    def readable() -> None:
        for answer in answers(os.read(master, 512)):
            delay = random_.choice(DELAYS_S)
            cut = random_.randrange(len(answer))
            loop.call_later(delay, os.write, master, answer[:cut])
            loop.call_later(delay + random_.choice((0, 0.002)), os.write, master, answer[cut:])

    loop.add_reader(master, readable)
    try:
        yield os.ttyname(slave)
    finally:
        loop.remove_reader(master)
        os.close(slave)
        # answers that are still to be written find a descriptor that nobody reads
        loop.call_later(0.2, os.close, master)


async def values_read(
    answers: Callable[[bytes], Iterable[bytes]],
    question: Callable[[random.Random], Any],
    is_right: Callable[[Any, bytes], bool],
    timings: int,
    late_s: float,
    **session: Any,
) -> Counter[str]:
    """Read through a slow port with a short deadline, up to the first wrong value; what came of it."""
    random_ = random.Random(3)
    seen = Counter[str]()
    with slow_port(answers, random_) as path:
        url = f"serial://{path}?baud=115200"
        async with await Session.open(url, timeout_s=TIMEOUT_S, late_s=late_s, **session) as opened:
            for _ in range(timings):
                asked = question(random_)
                try:
                    data = await opened.read(asked)
                except NoAnswer:
                    seen["expired"] += 1
                    continue
                except DeviceError:
                    seen["failed"] += 1
                    continue
                right = is_right(asked, bytes(data))
                seen["right" if right else "wrong"] += 1
                if not right:
                    break
            seen["late"] = opened.late
        await asyncio.sleep(0.3)  # the pseudo-terminal is closed by now
    return seen
