"""A spool's owner in a process of its own, to be stopped the hard way."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.clock import SystemClock
from collector.spool import format as spool_format
from tests.spool_rows import a_spool, rows_from


class Child:
    """A forked process that runs `work(tell)`; what it told is read back after its end."""

    def __init__(self, work: Callable[[Callable[[str], object]], None]) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                work(lambda text: os.write(writing, text.encode() + b"\n"))
            finally:
                os._exit(1)
        os.close(writing)
        self._reading = reading

    def wait_for_word(self) -> None:
        """Until it told something; that line is swallowed."""
        while os.read(self._reading, 1) != b"\n":
            pass

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> list[str]:
        """Kill it. Returns the whole lines it told; a torn last one was never heard."""
        self.signal(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        heard = b""
        while part := os.read(self._reading, 1 << 16):
            heard += part
        os.close(self._reading)
        return heard.decode().split("\n")[:-1]


def keep_writing(
    path: Path, *, synchronous: str = "FULL", pause_s: float = 0.0, acks: bool = False, hasty: bool = False
) -> Child:
    """A child that commits rows for ever. It tells `committed N` after the fact (hasty: before), `acking N` before."""

    def work(tell: Callable[[str], object]) -> None:
        spool_format.SYNCHRONOUS = synchronous
        spool = a_spool(path, clock=SystemClock())
        tell("open")
        while True:
            first = spool.next_seq
            if hasty:
                tell(f"committed {first + first % 5}")
            spool.append(rows_from(first, first % 5 + 1)).result()
            tell(f"committed {spool.next_seq - 1}")
            if acks:
                tell(f"acking {first}")
                spool.ack("east", [first])
            time.sleep(pause_s)

    return Child(work)


def numbers(lines: list[str], word: str) -> list[int]:
    return [int(line.split()[1]) for line in lines if line.startswith(word)]


@contextmanager
def mounted(where: Path, *arguments: str) -> Iterator[Path]:
    """`mount arguments where` for the time of the block; the test is skipped where that is not allowed."""
    where.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)
