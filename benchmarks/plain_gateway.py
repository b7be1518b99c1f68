"""The gateway that one would write first, as the yardstick: pymodbus objects, per-point Python, aiomqtt, SQLite.

One client object and one task per device, `convert_from_registers` per point, range check, deadband and running
window per point in Python, line protocol by f-string. Two forms:

    per device   one FULL commit and one QoS 1 publish per device and second
    --batched    one FULL commit and a few large QoS 1 publishes per second for all devices: the like-for-like form

Durability is the same as ours: WAL, synchronous=FULL, rows deleted after the PUBACK. Prints one JSON object.
"""

import argparse
import asyncio
import json
import math
import os
import sqlite3
import tempfile
import time

import aiomqtt
from pymodbus.client import AsyncModbusTcpClient

REGISTERS_PER_READ = 100
PAYLOAD_BYTES = 48 * 1024
WINDOW_S = 60
HEARTBEAT_S = 60.0
PUBLISH_ALL = True


class PlainFilter:
    """One point: sentinel, range, report by exception with heartbeat, and a window of statistics, in Python.

    The same work that the collector does for each reading; everything is published, as in its benchmark.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.quality = 0
        self.published = None
        self.published_at = 0.0
        self.start(-1)

    def start(self, window: int) -> None:
        self.window = window
        self.count = 0
        self.total = 0.0
        self.low = float("inf")
        self.high = float("-inf")
        self.last = 0.0

    def take(self, raw: int, ts: float, closed: list[str]) -> bool:
        value = float(raw)
        quality = 2 if raw == 0xFFFFFFFF or not math.isfinite(value) else 3 if not 0 <= value <= 4294967295 else 0
        changed = quality != self.quality
        self.quality = quality
        if quality:
            return changed
        window = int(ts // WINDOW_S)
        if window != self.window:
            if self.count:
                mean = self.total / self.count
                closed.append(
                    f"{self.name}_mean={mean:.3f},{self.name}_min={self.low:.0f},{self.name}_max={self.high:.0f},"
                    f"{self.name}_last={self.last:.0f},{self.name}_count={self.count}i,{self.name}_expected={WINDOW_S}i"
                )
            self.start(window)
        self.count += 1
        self.total += value
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value
        self.last = value
        due = ts - self.published_at >= HEARTBEAT_S
        keep = PUBLISH_ALL or changed or self.published is None or abs(value - self.published) > 0 or due
        if keep:
            self.published = value
            self.published_at = ts
        return keep


class PlainGateway:
    def __init__(self, ports: list[int], host: str, points: int, batched: bool, database: str) -> None:
        self.ports, self.host, self.points, self.batched = ports, host, points, batched
        self.db = sqlite3.connect(database, isolation_level=None)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=full")
        self.db.execute("create table rows(seq integer primary key, payload blob)")
        self.lines: list[bytes] = []
        self.readings = 0
        self.late = 0

    async def run(self, broker_port: int, seconds: float) -> None:
        async with aiomqtt.Client("127.0.0.1", broker_port, max_inflight_messages=64) as mqtt:
            mqtt.pending_calls_threshold = 10_000
            tasks = [asyncio.create_task(self.device(d, port, mqtt)) for d, port in enumerate(self.ports)]
            if self.batched:
                tasks.append(asyncio.create_task(self.flush_each_second(mqtt)))
            await asyncio.sleep(seconds * 0.3)
            self.readings, self.late = 0, 0
            began, cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(seconds * 0.7)
            self.report(time.perf_counter() - began, time.process_time() - cpu)
            # pymodbus swallows a cancellation that meets a read: some of the tasks would poll on for ever.
            os._exit(0)

    def report(self, wall: float, cpu: float) -> None:
        print(
            json.dumps(
                {
                    "devices": len(self.ports),
                    "batched": self.batched,
                    "readings_per_s": round(self.readings / wall, 1),
                    "late_cycles": self.late,
                    "cpu_share": round(cpu / wall, 4),
                    "cpu_us_per_reading": round(1e6 * cpu / max(self.readings, 1), 3),
                }
            ),
            flush=True,
        )

    async def device(self, number: int, port: int, mqtt: aiomqtt.Client) -> None:
        client = AsyncModbusTcpClient(self.host, port=port, timeout=3)
        await client.connect()
        filters = [PlainFilter(f"p{i:02d}") for i in range(self.points)]
        due = time.monotonic()
        while True:
            fields: list[str] = []
            closed: list[str] = []
            for start in range(0, 2 * self.points, REGISTERS_PER_READ):
                answer = await client.read_holding_registers(start, count=REGISTERS_PER_READ, device_id=1)
                if answer.isError():
                    continue
                now = time.time()
                for i in range(0, REGISTERS_PER_READ, 2):
                    value = client.convert_from_registers(answer.registers[i : i + 2], client.DATATYPE.UINT32)
                    point = (start + i) // 2
                    if filters[point].take(value, now, closed):
                        fields.append(f"{filters[point].name}={value}")
                        self.readings += 1
            tags = f"city=c,site=s,gateway=g,device=d{number:04d}"
            line = f"power,{tags} {','.join(fields)} {time.time_ns()}\n".encode()
            if closed:
                line += f"power_{WINDOW_S}s,{tags} {','.join(closed)} {time.time_ns()}\n".encode()
            if self.batched:
                self.lines.append(line)
            else:
                await self.store_and_publish([line], mqtt)
            due += 1.0
            wait = due - time.monotonic()
            if wait < 0:
                self.late += 1
                due = time.monotonic()
            await asyncio.sleep(max(0.0, wait))

    async def flush_each_second(self, mqtt: aiomqtt.Client) -> None:
        while True:
            await asyncio.sleep(1.0)
            lines, self.lines = self.lines, []
            payloads, batch, size = [], [], 0
            for line in lines:
                batch.append(line)
                size += len(line)
                if size > PAYLOAD_BYTES:
                    payloads.append(b"".join(batch))
                    batch, size = [], 0
            if batch:
                payloads.append(b"".join(batch))
            if payloads:
                await self.store_and_publish(payloads, mqtt)

    async def store_and_publish(self, payloads: list[bytes], mqtt: aiomqtt.Client) -> None:
        self.db.execute("begin")
        seqs = [self.db.execute("insert into rows(payload) values (?)", (p,)).lastrowid for p in payloads]
        self.db.execute("commit")
        await asyncio.gather(*(mqtt.publish("plain/data", p, qos=1) for p in payloads))
        self.db.execute(f"delete from rows where seq in ({','.join(map(str, seqs))})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--first-port", type=int, required=True)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--broker-port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--batched", action="store_true")
    options = parser.parse_args()
    ports = [options.first_port + i for i in range(options.devices)]
    with tempfile.TemporaryDirectory() as directory:
        gateway = PlainGateway(
            ports, options.host, options.points, options.batched, os.path.join(directory, "plain.db")
        )
        asyncio.run(gateway.run(options.broker_port, options.seconds))


main()
