"""What feeds the watchdog: a sweep and a tick that are both young."""

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from collector.clock import FakeClock
from collector.settings import Settings
from collector.watch import STATUS_S, SWEEP_STALL_S, TICK_STALL_S, Watch


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """systemd's end of the notify socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield end


def is_fed(systemd: socket.socket, tmp_path: Path, *, sweep_age_s: float, tick_age_s: float) -> bool:
    """Whether the daemon feeds the watchdog when the last sweep and the last tick are so old."""
    clock = FakeClock()
    now = clock.mono()
    pipeline = SimpleNamespace(
        poller=SimpleNamespace(swept_at=now - sweep_age_s),
        ticked_at=now - tick_age_s,
        inventory=SimpleNamespace(splits=None),
    )
    health = SimpleNamespace(snapshot=dict, lines=list)
    settings = Settings.model_validate({"health": {"status_file": str(tmp_path / "status.json")}})

    async def once() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Watch(settings, pipeline, health, clock).run(), 0.1)

    asyncio.run(once())
    try:
        return systemd.recv(100) == b"WATCHDOG=1"
    except BlockingIOError:
        return False


def test_a_watchdog_is_fed_while_polling_and_committing_are_young(systemd, tmp_path):
    assert is_fed(systemd, tmp_path, sweep_age_s=0.9 * SWEEP_STALL_S, tick_age_s=0.9 * TICK_STALL_S)


def test_no_watchdog_is_fed_when_the_sweep_stands_still(systemd, tmp_path):
    assert not is_fed(systemd, tmp_path, sweep_age_s=1.1 * SWEEP_STALL_S, tick_age_s=0)


def test_no_watchdog_is_fed_when_no_tick_comes_to_an_end(systemd, tmp_path):
    assert not is_fed(systemd, tmp_path, sweep_age_s=0, tick_age_s=1.1 * TICK_STALL_S)


def test_the_status_file_tells_how_often_it_is_written(systemd, tmp_path):
    is_fed(systemd, tmp_path, sweep_age_s=0, tick_age_s=0)
    assert json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))["interval_s"] == STATUS_S
