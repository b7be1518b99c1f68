"""Modbus RTU beside the limit of the line and beside libmodbus, on pseudo-terminals that keep a line's time.

The limit: question and answer at 11 bits per character, t3.5 before each, no turnaround. A share above 100 % would
mean that t3.5 is broken, so the share of requests that kept it is given too. Each figure is the best of the rounds: on
a machine that does other things as well, what disturbs can only take away. `median_share` in the results is made of the
median read instead of all of them, and tells how much that was.
"""

import asyncio
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from pymodbus.client import AsyncModbusSerialClient

from benchmarks.paced_line import Compiled, limit_per_second, paced
from collector.clock import SystemClock
from collector.inventory import Inventory
from collector.poll import Poller
from collector.poll.intake import Intake
from collector.poll.unit import Breaker
from collector.settings import Settings
from drivers.address import parse_bus
from drivers.base import Request
from drivers.links import Links
from firmware_tests.virtual_bus import METER

BAUDS = (9600, 19_200, 115_200)
REGISTERS = (10, 50, 125)
SECONDS, ROUNDS = 5.0, 3
#: As in systemd/collector.service.
NICE = -5
BUSES, BUSES_BAUD, BUSES_REGISTERS = 32, 19_200, 50


class Saturated:
    """Asks again as soon as it is answered, until told to stop."""

    def __init__(self, links, path, baud, registers):
        self._request = Request(1, 3, 0, registers)
        self._link = links.create(parse_bus(f"serial://{path}?baud={baud}&parity=E"), self, timeout_s=1.0)
        self._ended = asyncio.get_running_loop().create_future()
        self._stopping = False
        self.answers = 0
        self._link.open()

    def opened(self):
        self._link.send(self._request)

    def answered(self, data):
        self.answers += 1
        if self._stopping:
            self._ended.set_result(None)
        else:
            self._link.send(self._request)

    def failed(self, error):
        self._ended.set_exception(error)

    def lost(self, error):
        self._ended.set_exception(error)

    async def stop(self):
        self._stopping = True
        await asyncio.wait_for(self._ended, 10)
        self._link.close()


async def saturate(path, baud, registers, seconds):
    """(answers, CPU seconds) of our link on `path`, without opening and closing."""
    links = Links()
    line = Saturated(links, path, baud, registers)
    await asyncio.sleep(0.5)
    before, cpu = line.answers, time.process_time()
    await asyncio.sleep(seconds)
    found = line.answers - before, time.process_time() - cpu
    await line.stop()
    links.close()
    return found


def ours(compiled, baud, registers, seconds):
    with paced(compiled("paced_slave"), baud) as (paths, seen):
        answers, cpu = asyncio.run(saturate(paths[0], baud, registers, seconds))
    return seen[0], 1e6 * cpu / answers


def libmodbus(compiled, baud, registers, seconds):
    master = compiled("libmodbus_master", "-lmodbus")
    with paced(compiled("paced_slave"), baud) as (paths, seen):
        command = [master, paths[0], str(baud), str(registers), str(seconds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    reads, cpu_us = map(int, done.stdout.split())
    return seen[0], cpu_us / reads


async def ask_with_pymodbus(path, baud, registers, seconds):
    """(answers, CPU seconds) of pymodbus' own client."""
    client = AsyncModbusSerialClient(path, baudrate=baud)  # a pseudo-terminal has no parity to be told twice
    await client.connect()
    answers, cpu, end = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        await client.read_holding_registers(0, count=registers, device_id=1)
        answers += 1
    found = answers, time.process_time() - cpu
    client.close()
    return found


def pymodbus(compiled, seconds):
    """What the usual Python client makes of the line of the 32 buses, alone on it and as it is."""
    with paced(compiled("paced_slave"), BUSES_BAUD) as (paths, seen):
        answers, cpu = asyncio.run(ask_with_pymodbus(paths[0], BUSES_BAUD, BUSES_REGISTERS, seconds))
    share = seen[0].per_second / limit_per_second(BUSES_BAUD, BUSES_REGISTERS)
    kept, cpu_us = seen[0].kept / seen[0].gaps, 1e6 * cpu / answers
    print(
        f"pymodbus' client on one line at {BUSES_BAUD}, {BUSES_REGISTERS} registers: {share:.1%} of the limit, "
        f"t3.5 kept {kept:.1%}, {cpu_us:.0f} us of CPU per read"
    )
    return {"pymodbus_rtu": {"share": round(share, 4), "t35_kept": round(kept, 4), "cpu_us": round(cpu_us, 1)}}


def cell(compiled, baud, registers, seconds, rounds):
    limit = limit_per_second(baud, registers)
    best = {}
    for _ in range(rounds):
        for master in (ours, libmodbus):
            seen, cpu_us = master(compiled, baud, registers, seconds)
            found = seen.per_second / limit, seen.kept / seen.gaps, cpu_us, seen
            best[master] = max(best.get(master, found), found, key=lambda f: f[0])
    (share, kept, cpu_us, seen), (their_share, their_kept, their_cpu_us, their_seen) = best[ours], best[libmodbus]
    print(
        f"{baud:>7} {registers:>9} {limit:>7.2f} {share:>8.2%} {kept:>8.2%} {cpu_us:>7.0f} "
        f"{their_share:>10.2%} {their_kept:>8.2%} {their_cpu_us:>7.0f} "
        f"{seen.late_mean_us:>10.0f} {seen.late_max_us:>7.0f}",
        flush=True,
    )
    return {
        "baud": baud,
        "registers": registers,
        "share": round(share, 4),
        "libmodbus_share": round(their_share, 4),
        "t35_kept": round(kept, 4),
        "libmodbus_t35_kept": round(their_kept, 4),
        "median_share": round(1e6 / seen.median_us / limit, 4),
        "libmodbus_median_share": round(1e6 / their_seen.median_us / limit, 4),
        "cpu_us": round(cpu_us, 1),
        "libmodbus_cpu_us": round(their_cpu_us, 1),
        "line_late_mean_us": seen.late_mean_us,
        "line_late_max_us": seen.late_max_us,
    }


def plan_of(directory, paths):
    """Two meters on each of `paths`, each read oftener than the line could carry it alone: one of them always waits."""
    (directory / "test").mkdir(exist_ok=True)
    (directory / "test" / "meter.toml").write_text(METER.replace("address = 18", f"address = {BUSES_REGISTERS - 2}"))
    lines = [{"name": f"b{i}", "url": f"serial://{p}?baud={BUSES_BAUD}&parity=E"} for i, p in enumerate(paths)]
    # one read: to skip what lies between the points would save less than a turnaround of a second
    meter = {"profile": "test/meter", "interval_s": 0.1, "turnaround_s": 1.0}
    devices = [{"name": f"m{i}-{u}", "bus": f"b{i}", "unit": u, **meter} for i in range(len(paths)) for u in (1, 2)]
    settings = {"profile_dirs": (str(directory),), "bus": tuple(lines), "device": tuple(devices)}
    plan = Inventory(Settings.model_validate(settings))
    assert all(block.count == BUSES_REGISTERS for block in plan.blocks)
    return plan


async def poll(plan, seconds):
    """(answers, CPU seconds, wall seconds) of the daemon's own poller; what it reads is taken twice a second."""
    links, intake = Links(), Intake(1 << 20)
    poller = Poller(plan, links, intake, SystemClock(), Breaker())
    poller.start()
    await asyncio.sleep(1.0)
    before, cpu, wall = intake.accepted, time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < seconds:
        await asyncio.sleep(0.5)
        intake.take()
    found = intake.accepted - before, time.process_time() - cpu, time.perf_counter() - wall
    poller.close()
    links.close()
    return found


def many(compiled, seconds, rounds):
    """32 saturated buses in one process: CPU of one core, of the round that came nearest to the limit."""
    limit = BUSES * limit_per_second(BUSES_BAUD, BUSES_REGISTERS)
    best = ()
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory() as directory,
            paced(compiled("paced_slave"), BUSES_BAUD, BUSES) as (paths, seen),
        ):
            answers, cpu, wall = asyncio.run(poll(plan_of(Path(directory), paths), seconds))
        kept = sum(s.kept for s in seen) / sum(s.gaps for s in seen)
        late = sum(s.late_mean_us for s in seen) / BUSES
        best = max(best, (answers / wall / limit, cpu / wall, kept, 1e6 * cpu / answers, late))
    share, cpu, kept, cpu_us, late = best
    print(f"{BUSES} saturated buses at {BUSES_BAUD}, {BUSES_REGISTERS} registers, the daemon's poller, one process:")
    print(
        f"{cpu:.1%} of a core ({cpu_us:.0f} us per read), {share:.1%} of the limit, "
        f"t3.5 kept {kept:.2%}; the lines' clock error {late:.0f} us"
    )
    return {
        "rtu_32_buses_cpu": round(cpu, 4),
        "rtu_32_buses_share": round(share, 4),
        "rtu_32_buses_t35_kept": round(kept, 4),
        "rtu_32_buses_cpu_us": round(cpu_us, 1),
    }


@contextmanager
def nice():
    """The precedence that systemd gives the daemon, for both masters; none for whoever may not."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    yield
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, before)


def run(quick):
    seconds, rounds = (1.0, 1) if quick else (SECONDS, ROUNDS)
    with Compiled() as compiled, nice():
        print(f"{'':>25} {'ours':>8} {'t3.5':>8} {'CPU us':>7} {'libmodbus':>10} {'t3.5':>8} {'CPU us':>7}", end=" ")
        print(f"{'line clock error us':>18}")
        print(f"{'baud':>7} {'registers':>9} {'limit/s':>7} {'share':>8} {'kept':>8} {'a read':>7}", end=" ")
        print(f"{'share':>10} {'kept':>8} {'a read':>7} {'mean':>10} {'max':>7}", flush=True)
        cells = [cell(compiled, baud, n, seconds, rounds) for baud in BAUDS for n in REGISTERS]
        return {"rtu": cells, **pymodbus(compiled, seconds), **many(compiled, seconds, rounds)}
