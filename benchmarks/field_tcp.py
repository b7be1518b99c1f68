"""CPU of a Modbus TCP read of 100 registers: our poller, pymodbus' client, and a C program over epoll.

Every client is a process of its own and keeps each connection busy without a pause; one C process answers them all.
Ours is the poller as the daemon runs it: schedule, deadlines, counters, answers in the intake. pymodbus is one client
object and task per connection. User and system time of the client; the best of the rounds, because what else the
machine does can only add.
"""

import asyncio
import os
import random
import resource
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.paced_line import Compiled

CONNECTIONS = (1, 50, 500, 1000)
REGISTERS = 100
SECONDS, ROUNDS = 4.0, 3
CLIENTS = ("ours", "pymodbus", "c")
#: What the goals speak of.
FEW, MANY = 50, 1000
#: Blocks of a device, each due again at once: one of them always waits.
BLOCKS, INTERVAL_S = 4, 1e-6


@dataclass
class UnitPlan:
    device: str
    unit: int
    blocks: tuple
    timeout_s: float = 5.0
    turnaround_s: float = 0.0
    read_s: float = 0.0
    retries: int = 3


@dataclass
class BusPlan:
    name: str
    address: object
    units: list
    timeout_s: float = 5.0
    late_s: float | None = None
    load: float = 0.0
    cost: object = None


class Plan:
    """`connections` buses to one port, each with a device of BLOCKS blocks."""

    def __init__(self, port, connections):
        from collector.types import BlockSpec
        from drivers.address import parse_bus
        from drivers.base import Request
        from drivers.plan import tcp_cost

        self.blocks, self.buses = [], []
        for bus in range(connections):
            numbers = tuple(range(BLOCKS * bus, BLOCKS * (bus + 1)))
            for _ in numbers:
                self.blocks.append(
                    BlockSpec(f"d{bus}", 1, 3, 0, REGISTERS, INTERVAL_S, (), (), Request(1, 3, 0, REGISTERS))
                )
            units = [UnitPlan(f"d{bus}", 1, numbers)]
            self.buses.append(BusPlan(f"b{bus}", parse_bus(f"tcp://127.0.0.1:{port}"), units, cost=tcp_cost(0.001)))

    def split(self, number):
        return []


async def ours(port, connections, seconds):
    from collector.clock import SystemClock
    from collector.kernels import warm
    from collector.poll import Poller
    from collector.poll.intake import Intake
    from collector.poll.unit import Breaker
    from drivers.links import Links

    warm()
    links, intake = Links(), Intake(64 << 20)
    poller = Poller(Plan(port, connections), links, intake, SystemClock(), Breaker(), random.random)
    poller.start()
    await asyncio.sleep(1.0)  # connected, and every line on which all is well is on the express
    intake.take()
    before, cpu, began = intake.accepted, time.process_time(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        await asyncio.sleep(0.1)
        intake.take()
    found = intake.accepted - before, time.process_time() - cpu, time.perf_counter() - began
    assert intake.dropped == 0
    poller.close()
    links.close()
    return found


async def pymodbus(port, connections, seconds):
    from pymodbus.client import AsyncModbusTcpClient

    counts = [0] * connections

    async def ask(place):
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5)
        await client.connect()
        while True:
            answer = await client.read_holding_registers(0, count=REGISTERS, device_id=1)
            assert len(answer.registers) == REGISTERS
            counts[place] += 1

    tasks = [asyncio.create_task(ask(place)) for place in range(connections)]
    await asyncio.sleep(1.0)
    before, cpu, began = sum(counts), time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    assert not any(task.done() for task in tasks)
    return sum(counts) - before, time.process_time() - cpu, time.perf_counter() - began


@contextmanager
def responder(program):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([program, "serve", str(port)], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def one(client, program, port, connections, seconds):
    """(transactions, CPU seconds, wall seconds) of one client process."""
    arguments = [str(port), str(connections), str(seconds)]
    command = [program, "ask", *arguments] if client == "c" else [sys.executable, "-m", __name__, client, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60 + seconds)
    transactions, cpu, wall = done.stdout.split()
    return int(transactions), float(cpu), float(wall)


def run(quick):
    """Keys tcp (per client and number of connections), tcp_us_per_transaction and pymodbus_us_per_transaction at 50."""
    seconds, rounds = (1.0, 1) if quick else (SECONDS, ROUNDS)
    allow_files()
    best = {(client, k): float("inf") for client in CLIENTS for k in CONNECTIONS}
    with Compiled() as compiled, responder(compiled("tcp_peer")) as port:
        for _ in range(rounds):
            for client, k in best:
                transactions, cpu, _ = one(client, compiled("tcp_peer"), port, k, seconds)
                best[client, k] = min(best[client, k], 1e6 * cpu / transactions)
    print(f"{'CPU us per transaction':24}" + "".join(f"{k:>9}" for k in CONNECTIONS) + "  connections")
    for client in CLIENTS:
        print(f"{client:24}" + "".join(f"{best[client, k]:9.1f}" for k in CONNECTIONS))
    return {
        "tcp": {client: {str(k): round(best[client, k], 2) for k in CONNECTIONS} for client in CLIENTS},
        "tcp_us_per_transaction": round(best["ours", FEW], 2),
        "tcp_us_per_transaction_1000": round(best["ours", MANY], 2),
        "pymodbus_us_per_transaction": round(best["pymodbus", FEW], 2),
        "c_epoll_us_per_transaction": round(best["c", FEW], 2),
    }


def allow_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


async def main(name, port, connections, seconds):
    print(*await {"ours": ours, "pymodbus": pymodbus}[name](int(port), int(connections), float(seconds)), flush=True)
    os._exit(0)  # pymodbus' clients do not let themselves be cancelled


if __name__ == "__main__":
    allow_files()
    asyncio.run(main(*sys.argv[1:]))
