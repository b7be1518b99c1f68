"""Points per CPU second of the bridge, from a real mosquitto into a real VictoriaMetrics, with all checks on.

Rows as gateways send them: 48 KiB, lines of 100 fields, QoS 1. CPU is user and system time of the bridge's process
alone. The same rows go through two plain bridges in the same run: one that makes Point objects, and one that hands
payloads on unseen. What arrived is counted by the database itself.

    python benchmarks/bench_bridge.py [--rows 1500] [--rounds 3]
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from collector.confirmation import decode  # noqa: E402
from collector.mqtt import MqttSession  # noqa: E402
from collector.mqtt.options import MqttOptions  # noqa: E402
from tests.servers import Mosquitto, VictoriaMetrics  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "bridge.json"
FIELDS, ROW_BYTES = 100, 48 * 1024
GATEWAYS = 8
IN_FLIGHT = 64
TS_NS = time.time_ns() // 10**9 * 10**9


class Rows:
    """Rows of one gateway fleet; each has timestamps of its own, so that every point is a new one."""

    def __init__(self) -> None:
        rng = random.Random(1)
        self._bodies = []
        for gateway in range(GATEWAYS):
            lines, size = [], 0
            while size < ROW_BYTES - 200:
                head = (
                    f"power,city=c,site=s1,gateway=gw{gateway},device=m{len(lines):03d},rack=A{len(lines):02d},room=101"
                )
                fields = ",".join(f"u_l{n}n={230 + rng.random() * 5:.2f}" for n in range(FIELDS))
                lines.append(f"{head} {fields} @TS@\n")
                size += len(lines[-1]) + 15
            self._bodies.append(("".join(lines).encode(), len(lines) * FIELDS))

    def row(self, seq: int) -> tuple[str, bytes, int]:
        """Topic, payload and points of one row."""
        gateway = seq % GATEWAYS
        template, points = self._bodies[gateway]
        body = template.replace(b"@TS@", b"%d" % (TS_NS - seq * 10**6))
        head = (
            f"#dc1 gateway=gw{gateway} boot=12345678 spool=0000beef seq={seq} points={points} crc={crc32(body):08x}\n"
        )
        return f"dc/v1/c/s1/gw{gateway}/data/power", head.encode() + body, points


def inserted(database: VictoriaMetrics) -> int:
    """Points the database says it took."""
    with urllib.request.urlopen(f"{database.url}/metrics", timeout=10) as answer:
        found = [line for line in answer.read().decode().splitlines() if line.startswith("vm_rows_inserted_total{")]
    return sum(int(line.rpartition(" ")[2]) for line in found if 'type="influx"' in line)


async def feed(port: int, rows: Rows, first: int, count: int, database: VictoriaMetrics) -> int:
    """Send rows and wait until the database has all of their points; their number."""
    confirmed: set[int] = set()

    def heard(message) -> None:
        for low, high in decode(message.payload)[1]:
            confirmed.update(range(low, high + 1))

    before, sent = await asyncio.to_thread(inserted, database), 0
    async with MqttSession(MqttOptions("127.0.0.1", port, "bench", receive_maximum=1000), heard) as session:
        await session.subscribe("dc/v1/+/+/+/ack/+")
        under_way: set[asyncio.Future] = set()
        for seq in range(first, first + count):
            topic, payload, points = rows.row(seq)
            sent += points
            under_way.add(session.publish(topic, payload))
            while len(under_way) >= IN_FLIGHT:
                _done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        while await asyncio.to_thread(inserted, database) - before < sent:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
    assert await asyncio.to_thread(inserted, database) - before == sent, "points came twice"
    assert len(confirmed) in (0, count)
    return sent


def cpu_s(process: subprocess.Popen) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def bridge(command: list[str], directory: Path) -> Iterator[subprocess.Popen]:
    with (directory / "bridge.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    try:
        time.sleep(2.5)  # imports done, connected
        assert process.poll() is None, (directory / "bridge.log").read_text()
        yield process
    finally:
        process.terminate()
        process.wait(15)


def measure(name: str, command: list[str], rows: int, rounds: int, place: tuple) -> dict[str, float]:
    directory, broker, database, fleet, seqs = place
    results = []
    with bridge(command, directory) as process:
        asyncio.run(feed(broker.port, fleet, next(seqs), 20, database))  # warm: session, connection, series made
        for _ in range(rounds):
            first = next(seqs)
            cpu, wall = cpu_s(process), time.perf_counter()
            points = asyncio.run(feed(broker.port, fleet, first, rows, database))
            cpu, wall = cpu_s(process) - cpu, time.perf_counter() - wall
            results.append((points / cpu, points / wall))
        rss = psutil.Process(process.pid).memory_info().rss / 2**20
    found = {
        "points_per_cpu_s": round(statistics.median(r[0] for r in results)),
        "points_per_s": round(statistics.median(r[1] for r in results)),
        "rss_mb": round(rss, 1),
    }
    print(
        f"{name:28} {found['points_per_cpu_s']:>12,} points/CPU s {found['points_per_s']:>12,} points/s {rss:6.0f} MB"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        broker = Mosquitto(directory, "max_inflight_messages 64", "max_queued_messages 0", "log_type error").start()
        database = VictoriaMetrics(directory).start()
        place = (directory, broker, database, Rows(), iter(range(1, 10**9, 10**5)))
        config = directory / "bridge.toml"
        config.write_text(
            f'[centre]\ncity = "c"\n[broker]\nurl = "{broker.url}"\ntls = "off"\n'
            f'[store.influx_v2]\nurl = "{database.url}"\nbucket = "dc"\n'
            f'[dead_letter]\npath = "{directory}/dead.jsonl"\n[health]\nstatus_file = "{directory}/status.json"\n'
        )
        ours = [sys.executable, "-c", "from collector.cli import main; main()", "bridge", "--config", str(config)]
        plain = [sys.executable, "benchmarks/plain_bridge.py", str(broker.port), database.url]
        try:
            found = measure("collector bridge", ours, arguments.rows, arguments.rounds, place)
            points = measure("plain, Point objects", [*plain, "points"], arguments.rows // 30, 1, place)
            raw = measure("plain, unchecked payloads", [*plain, "raw"], arguments.rows, arguments.rounds, place)
        finally:
            broker.stop()
            database.stop()
    result = {
        **found,
        "plain_points_per_cpu_s": points["points_per_cpu_s"],
        "plain_unchecked_points_per_cpu_s": raw["points_per_cpu_s"],
        "times_plain": round(found["points_per_cpu_s"] / points["points_per_cpu_s"], 1),
        "rows": arguments.rows,
        "row_bytes": ROW_BYTES,
        "fields_per_line": FIELDS,
        "cpus": os.cpu_count(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
