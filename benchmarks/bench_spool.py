"""What the spool costs at the load of the big hall: 35 rows of 56 KiB a second, appended, read back and acknowledged.

One tick is one append (one FULL commit), fetches of 256 KiB until nothing is left, and acks that travel with the
next tick's commit. With --handed-over nothing is fetched: so it is for uplinks that keep up, which get the rows from
memory when they are committed. CPU is that of the whole process; ticks follow each other at once. Writes
benchmarks/results/spool.json.
"""

import argparse
import json
import os
import sqlite3
import statistics
import tempfile
import time
import zlib
from pathlib import Path

from collector.clock import SystemClock
from collector.spool import Spool
from collector.types import Row

RESULTS = Path(__file__).parent / "results"
ROWS, ROW_BYTES, FETCH_BYTES = 35, 56 << 10, 256 << 10


def rows_from(seq: int, payloads: list[bytes]) -> list[Row]:
    return [Row(seq + i, "power", 1, 3000, crc32, data) for i, (crc32, data) in enumerate(payloads)]


def run(directory: Path, ticks: int, uplinks: list[str], *, handed_over: bool) -> dict[str, float]:
    payloads = [(zlib.crc32(data), data) for data in (os.urandom(ROW_BYTES) for _ in range(ROWS))]
    path = directory / "spool.db"
    spool = Spool(path, uplinks=uplinks, max_bytes=1 << 30, reserve_bytes=8 << 20, clock=SystemClock())
    spool.open()
    cpu_ms, commit_ms = [], []
    for _ in range(ticks):
        first = spool.next_seq
        started = time.process_time()
        spool.append(rows_from(first, payloads)).result()
        commit_ms.append(spool.stats().commit_ms_last)
        for uplink in uplinks:
            after = first - 1
            while not handed_over and (rows := spool.fetch(uplink, after_seq=after, limit_bytes=FETCH_BYTES).result()):
                after = rows[-1].seq
            spool.ack(uplink, range(first, first + ROWS))
        cpu_ms.append((time.process_time() - started) * 1e3)
    log_bytes = os.path.getsize(f"{path}-wal")
    spool.close()
    return {
        "cpu_ms_per_tick": round(statistics.median(cpu_ms), 2),
        "cpu_ms_per_tick_mean": round(statistics.fmean(cpu_ms), 2),
        "commit_ms_p50": round(statistics.median(commit_ms), 2),
        "commit_ms_max": round(max(commit_ms), 2),
        "log_bytes": log_bytes,
        "file_bytes": path.stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=120)
    parser.add_argument("--uplinks", type=int, default=1)
    parser.add_argument("--handed-over", action="store_true", help="the uplinks keep up: nothing is read back")
    parser.add_argument("--directory", help="on the disk to measure; default: the temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        found = run(
            Path(directory),
            options.ticks,
            [f"centre{n}" for n in range(options.uplinks)],
            handed_over=options.handed_over,
        )
    result = {
        "rows": ROWS,
        "row_bytes": ROW_BYTES,
        "uplinks": options.uplinks,
        "handed_over": options.handed_over,
        "sqlite": sqlite3.sqlite_version,
        **found,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "spool.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
