"""Serial lines with the time of real ones, in C (paced_slave.c), for whoever is measured on them."""

import os
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.modbus.rtu_exchange import CHARACTER_BITS, gap_s

HERE = Path(__file__).parent


@dataclass
class Seen:
    """What the units of one line saw of their master."""

    transactions: int
    seconds: float  #: from the end of the first answer to the end of the last
    median_us: float  #: from the end of one answer to the end of the next
    gaps: int
    kept: int  #: gaps of t3.5 and more
    worst_gap_us: float
    late_mean_us: float  #: clock error of the line itself
    late_max_us: float

    @property
    def per_second(self):
        return (self.transactions - 1) / self.seconds


def limit_per_second(baud, registers):
    """The most reads a line can carry: question, answer, t3.5 before each, no turnaround beyond that."""
    return 1 / ((13 + 2 * registers) * CHARACTER_BITS / baud + 2 * gap_s(baud))


class Compiled:
    """C programs of this directory, compiled when they are first run, gone at the end."""

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="bench-")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._directory.cleanup()

    def __call__(self, name, *libraries):
        program = Path(self._directory.name) / name
        if not program.exists():
            source = HERE / f"{name}.c"
            command = ["gcc", "-O2", "-Wall", "-I/usr/include/modbus", "-o", program, source, *libraries]
            subprocess.run(command, check=True)
        return str(program)


@contextmanager
def apart():
    """The command that gives a program a processor of its own, which we and our other children leave alone meanwhile.

    A real line needs none: where it shares one, its master is measured waiting for it. With one processor: nothing.
    """
    ours = os.sched_getaffinity(0)
    if len(ours) < 2:
        yield []
        return
    own = max(ours)
    os.sched_setaffinity(0, ours - {own})
    try:
        yield ["taskset", "-c", str(own)]
    finally:
        os.sched_setaffinity(0, ours)


@contextmanager
def paced(slave, baud, buses=1):
    """The ports of `buses` lines, and an empty list that holds a Seen for each of them in the end."""
    with apart() as alone:
        command = [*alone, slave, str(baud), str(buses)]
        yield from _paced(command, buses)


def _paced(command, buses):
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    seen = []
    try:
        yield [process.stdout.readline().strip() for _ in range(buses)], seen
    finally:
        process.stdin.close()
        for line in process.stdout:
            first, seconds, median_us, gaps, kept, *rest = line.split()
            seen.append(Seen(int(first), float(seconds), float(median_us), int(gaps), int(kept), *map(float, rest)))
        process.wait()
