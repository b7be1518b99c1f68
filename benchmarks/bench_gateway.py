"""The whole gateway against the gateway one would write first, in the same run on the same machine.

1,000 simulated Modbus TCP devices of 100 u32 points (two reads of 100 registers each) at 1 Hz. Every reading is
decoded, filtered, aggregated, encoded, committed with synchronous=FULL and published with QoS 1 to mosquitto. Ours
runs as the real daemon with the real bridge behind it, which writes to VictoriaMetrics (without one: to nothing
but a subscriber) and confirms; the plain gateways publish and are done. CPU is the daemon's user and system time.
All three poll all devices, one after the other, in `--rounds` rounds: the machine's speed changes within minutes. Each
is measured for a minute, in which its windows close once. Each figure is the median over the rounds, each ratio that of
one round's neighbours.

    python benchmarks/bench_gateway.py [--devices 1000] [--seconds 60] [--rounds 5] [--rss-minutes 0]
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from collector.demo import free_port, toml

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "gateway.json"
POINTS = 100
SETTLE_S = 3.0  # after the start, before anything is measured


def profile_text() -> str:
    points = "".join(
        f'\n[[point]]\nname = "p{i:02d}"\ntable = "holding"\naddress = {2 * i}\ntype = "u32"\n' for i in range(POINTS)
    )
    return (
        'schema = 1\n[device]\nvendor = "bench"\nmodel = "u32x100"\ncategory = "power"\n'
        'source = "benchmarks/bench_gateway.py"\nevidence = "single-source"\n'
        f"[limits]\nmax_registers = 100\n{points}"
    )


class Bench:
    def __init__(self, directory: Path, devices: int) -> None:
        self.directory = directory
        self.devices = devices
        self.parts: dict[str, subprocess.Popen] = {}
        self.first_port = 21000
        self.broker_port = free_port()
        self.status_file = directory / "status.json"
        self.environment = {**os.environ, "NUMBA_CACHE_DIR": str(directory / "numba")}

    def spawn(self, name: str, command: list[str]) -> subprocess.Popen:
        log = (self.directory / f"{name}.log").open("ab")
        self.parts[name] = subprocess.Popen(
            command, stdout=log, stderr=log, env=self.environment, stdin=subprocess.DEVNULL
        )
        return self.parts[name]

    def collector(self, name: str, *arguments: str) -> subprocess.Popen:
        return self.spawn(name, [sys.executable, "-m", "collector", *arguments])

    def stop(self, name: str) -> None:
        process = self.parts.pop(name, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()

    def start_servers(self) -> None:
        mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        conf = self.directory / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        conf.write_text(f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\n{user}")
        self.spawn("mosquitto", [mosquitto or "mosquitto", "-c", str(conf)])
        self.collector("fleet", "simulate", "fleet", "--devices", str(self.devices), "--port", str(self.first_port))
        wait_for(lambda: accepts(self.broker_port) and accepts(self.first_port + self.devices - 1), 30)

    def start_bridge(self) -> None:
        victoria = shutil.which("victoria-metrics")
        port = free_port()
        assert victoria is not None, "install victoria-metrics (apt) for this benchmark"
        data = str(self.directory / "vm")
        self.spawn("victoria", [victoria, f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}"])
        wait_for(lambda: accepts(port), 20)
        bridge = {
            "centre": {"name": "east", "city": "c"},
            "broker": self.broker(),
            "store": {"influx_v2": {"url": f"http://127.0.0.1:{port}", "bucket": "b"}},
            "dead_letter": {"path": str(self.directory / "dead.jsonl")},
            "health": {"status_file": str(self.directory / "bridge.json")},
            "limits": {"series_per_gateway": 1_000_000},
        }
        (self.directory / "bridge.toml").write_text(toml(bridge))
        self.collector("bridge", "bridge", "--config", str(self.directory / "bridge.toml"))

    def broker(self) -> dict:
        return {"url": f"mqtt://127.0.0.1:{self.broker_port}", "tls": "off"}

    def configure(self) -> Path:
        profiles = self.directory / "profiles" / "bench"
        profiles.mkdir(parents=True, exist_ok=True)
        (profiles / "u32x100.toml").write_text(profile_text())
        settings = {
            "profile_dirs": [str(profiles.parent)],
            "gateway": {"city": "c", "site": "s", "name": "g"},
            "filter": {"publish": "all"},
            "spool": {"path": str(self.directory / "spool.db")},
            "health": {"status_file": str(self.status_file)},
            "bus": [
                {"name": f"b{d:04d}", "url": f"tcp://127.0.0.1:{self.first_port + d}"} for d in range(self.devices)
            ],
            "device": [
                {"name": f"d{d:04d}", "bus": f"b{d:04d}", "profile": "bench/u32x100"} for d in range(self.devices)
            ],
            "uplink": [{"centre": "east", "broker": self.broker()}],
        }
        path = self.directory / "collector.toml"
        path.write_text(toml(settings))
        return path

    def start_to_first_message(self, config: Path) -> float:
        """Seconds from exec to the first published reading, as a subscriber sees it."""
        subscriber = subprocess.Popen(
            ["mosquitto_sub", "-p", str(self.broker_port), "-t", "dc/v1/c/s/g/data/power", "-C", "1", "-q", "1"],
            stdout=subprocess.DEVNULL,
        )
        time.sleep(0.5)
        began = time.perf_counter()
        self.collector("daemon", "run", "--config", str(config), "--log-level", "warning")
        subscriber.wait(60)
        return time.perf_counter() - began

    def measure(self, seconds: float) -> dict:
        """CPU per reading of the running daemon."""
        daemon = psutil.Process(self.parts["daemon"].pid)
        before, cpu0 = self.next_status(), daemon.cpu_times()
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            after, cpu1 = self.next_status(), daemon.cpu_times()
        cpu = cpu1.user + cpu1.system - cpu0.user - cpu0.system
        readings = after["pipeline"]["readings"] - before["pipeline"]["readings"]
        took = (after["ts_ns"] - before["ts_ns"]) / 1e9
        return {
            "cpu_us_per_reading": round(1e6 * cpu / readings, 3),
            "readings_per_s": round(readings / took, 1),
            "cpu_share": round(cpu / took, 4),
            "rss_mb": round(daemon.memory_info().rss / 1e6, 1),
            "devices_up": sum(d["state"] == "up" for d in after["devices"]),
            "skipped_polls": sum(d["skipped"] for d in after["devices"]) - sum(d["skipped"] for d in before["devices"]),
            "row_bytes": round(after["pipeline"]["bytes"] / max(after["pipeline"]["rows"], 1)),
            "spool_rows_waiting": after["spool"]["rows"],
            "dropped_points": sum(after["spool"]["dropped_points"].values()),
        }

    def round(self, config: Path, seconds: float) -> dict:
        """Ours and both plain gateways, one after the other."""
        warm = self.start_to_first_message(config)
        time.sleep(SETTLE_S)
        ours = {"warm_start_s": round(warm, 2), **self.measure(seconds)}
        self.stop("daemon")
        found = {"ours": ours, "plain_batched": self.plain(True, seconds), "plain": self.plain(False, seconds)}
        print(*(f"{name}: {part['cpu_us_per_reading']} µs" for name, part in found.items()), sep=", ", file=sys.stderr)
        return found

    def next_status(self) -> dict:
        """The daemon's next own account, just when it is written: counters and CPU time of the same moment."""
        seen = self.status_file.stat().st_mtime_ns
        while self.status_file.stat().st_mtime_ns == seen:
            time.sleep(0.01)
        return json.loads(self.status_file.read_text())

    def plain(self, batched: bool, seconds: float) -> dict:
        command = [sys.executable, str(ROOT / "benchmarks" / "plain_gateway.py"), "--first-port", str(self.first_port)]
        command += ["--devices", str(self.devices), "--broker-port", str(self.broker_port)]
        command += ["--seconds", str(seconds), *(["--batched"] if batched else [])]
        environment = {**os.environ, "TMPDIR": str(self.directory)}  # it ends without tidying up
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        return json.loads(run.stdout)

    def close(self) -> None:
        for name in list(self.parts):
            self.stop(name)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError("a server did not come up")
        time.sleep(0.05)


def summary(rounds: list[dict]) -> dict:
    """Medians over the rounds; what must not happen in any of them is summed."""

    def median(name: str, key: str) -> float:
        return round(statistics.median(r[name][key] for r in rounds), 3)

    def times(name: str) -> float:
        ratios = (r[name]["cpu_us_per_reading"] / r["ours"]["cpu_us_per_reading"] for r in rounds)
        return round(statistics.median(ratios), 1)

    return {
        "cpu_us_per_reading": median("ours", "cpu_us_per_reading"),
        "plain_cpu_us_per_reading": median("plain", "cpu_us_per_reading"),
        "plain_batched_cpu_us_per_reading": median("plain_batched", "cpu_us_per_reading"),
        "times_less_than_plain": times("plain"),
        "times_less_than_plain_batched": times("plain_batched"),
        "warm_start_s": median("ours", "warm_start_s"),
        "rss_mb": max(r["ours"]["rss_mb"] for r in rounds),
        "row_bytes": median("ours", "row_bytes"),
        **{key: sum(r["ours"][key] for r in rounds) for key in ("skipped_polls", "dropped_points")},
        "late_cycles": {name: sum(r[name]["late_cycles"] for r in rounds) for name in ("plain_batched", "plain")},
    }


def growth(bench: Bench, minutes: float) -> dict:
    """Resident memory over time, in MB."""
    daemon = psutil.Process(bench.parts["daemon"].pid)
    seen = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        seen.append(round(daemon.memory_info().rss / 1e6, 1))
        time.sleep(15)
    third = max(len(seen) // 3, 1)
    return {
        "minutes": minutes,
        "rss_mb_first_third_max": max(seen[:third]),
        "rss_mb_last_third_max": max(seen[-third:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rss-minutes", type=float, default=0, help="then watch memory for so long")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as name:
        bench = Bench(Path(name), options.devices)
        try:
            bench.start_servers()
            bench.start_bridge()
            config = bench.configure()
            cold = bench.start_to_first_message(config)
            bench.stop("daemon")
            rounds = [bench.round(config, options.seconds) for _ in range(options.rounds)]
            growing = {}
            if options.rss_minutes:
                bench.start_to_first_message(config)
                growing = {"rss_growth": growth(bench, options.rss_minutes)}
                bench.stop("daemon")
        finally:
            bench.close()
            logs = bench.directory / "daemon.log"
            print(logs.read_text()[-2000:] if logs.exists() else "", file=sys.stderr)
    result = {"devices": options.devices, "points_per_device": POINTS, "cold_start_s": round(cold, 2)}
    result |= summary(rounds) | growing | {"rounds": rounds}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


main()
