"""The bridge as processes, and a gateway that talks to it through a broker."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from collector.confirmation import decode
from collector.mqtt import MqttSession
from collector.mqtt.options import MqttOptions
from tests.bridge.payloads import payload, topic

ROOT = Path(__file__).parents[2]


async def until(true: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, f"{what}: not within {seconds} s"
        await asyncio.sleep(0.02)


class Bridges:
    """Bridge processes of one configuration in `directory`."""

    def __init__(self, directory: Path, broker_port: int, store: str, more: str = "") -> None:
        self.directory = directory
        self.config = directory / "bridge.toml"
        self.status_file = directory / "status.json"
        self.dead_letters = directory / "dead.jsonl"
        self.config.write_text(
            f'[centre]\nname = "east"\ncity = "c"\n[broker]\nurl = "mqtt://127.0.0.1:{broker_port}"\ntls = "off"\n'
            f'[dead_letter]\npath = "{self.dead_letters}"\n'
            f'[health]\ninterval_s = 0.05\nstatus_file = "{self.status_file}"\n{store}\n{more}\n'
        )
        log = (directory / "bridge.log").open("ab")
        with log:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.bridge.zygote"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.pid = 0

    def start(self, kind: str = "bridge") -> None:
        self._zygote.stdin.write(f"{kind} {self.config}\n")
        self._zygote.stdin.flush()
        self.pid = int(self._zygote.stdout.readline())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """SIGTERM, and wait until it is gone."""
        os.kill(self.pid, signal.SIGTERM)
        await until(self.gone, "end of the bridge")

    def gone(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def close(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                self.kill()
        self._zygote.stdin.close()
        self._zygote.wait(10)
        self._zygote.stdout.close()

    def status(self) -> dict:
        """What the bridge last said of itself; {} before its first word."""
        try:
            return json.loads(self.status_file.read_text())
        except FileNotFoundError:
            return {}

    async def connected(self) -> None:
        await until(lambda: self.status().get("broker", {}).get("connected"), "connection of the bridge")


class Gateway:
    """Sends rows and collects what the centre confirms. Use as `async with`."""

    def __init__(self, broker_port: int, name: str = "gw1") -> None:
        self.name = name
        self.confirmed: set[int] = set()
        options = MqttOptions("127.0.0.1", broker_port, f"test-{name}", receive_maximum=200)
        self._session = MqttSession(options, self._heard)
        self.seq = 0

    async def __aenter__(self) -> "Gateway":
        await self._session.__aenter__()
        await self._session.subscribe(f"dc/v1/c/s1/{self.name}/ack/+")
        return self

    async def __aexit__(self, *error) -> None:
        await self._session.__aexit__(*error)

    async def send(self, body: bytes, **more) -> int:
        """One row; returns its seq after the broker's PUBACK."""
        self.seq += 1
        data = payload(body, gateway=self.name, seq=self.seq, **more)
        await self._session.publish(topic(self.name), data)
        return self.seq

    async def send_raw(self, on: str, data: bytes) -> None:
        await self._session.publish(on, data)

    async def all_confirmed(self, seconds: float = 20.0) -> None:
        await until(lambda: len(self.confirmed) == self.seq, f"confirmation of {self.seq} rows", seconds)

    def _heard(self, message) -> None:
        spool, ranges = decode(message.payload)
        assert spool == "0000beef"
        for first, last in ranges:
            self.confirmed |= set(range(first, last + 1))
