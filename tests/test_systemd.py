"""The units as systemd's own tools judge them, and against what the code assumes of them."""

import re
import subprocess
from pathlib import Path

import pytest

from collector import daemon
from collector.bridge.settings import Settings as BridgeSettings
from collector.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
UNITS = ["collector.service", "collector-bridge.service"]
#: systemd's scale ends at 10; services without hardening have 9.6
MAX_EXPOSURE = 1.5


def directives(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (ROOT / "systemd" / unit).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def exposure(unit: Path) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
    assert score, shown
    return float(score[1])


def complaints(unit: Path) -> str:
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def installed_copy(unit: str, directory: Path) -> Path:
    """The unit with its command where it is on this machine; systemd-analyze insists that it exists."""
    copy = directory / unit
    text = (ROOT / "systemd" / unit).read_text()
    copy.write_text(text.replace("/opt/collector/bin/collector", str(ROOT / ".venv/bin/collector")))
    return copy


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_rates_the_unit_as_hardened(unit: str) -> None:
    score = exposure(ROOT / "systemd" / unit)
    print(f"{unit}: exposure {score}")
    assert score <= MAX_EXPOSURE


def test_systemd_rates_the_same_command_without_hardening_as_unsafe(tmp_path: Path) -> None:
    bare = tmp_path / "collector.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    assert exposure(bare) > 9


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line_of_the_unit(unit: str, tmp_path: Path) -> None:
    assert complaints(installed_copy(unit, tmp_path)) == ""


def test_systemd_would_name_a_line_it_does_not_understand(tmp_path: Path) -> None:
    unit = installed_copy("collector.service", tmp_path)
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHouse=yes"))
    assert "ProtectHouse" in complaints(unit)


def test_the_users_of_the_units_are_made_by_sysusers(tmp_path: Path) -> None:
    source = ROOT / "systemd" / "collector.sysusers"
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", str(source)], capture_output=True, check=True)
    users = {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    assert {directives(unit)["User"][0] for unit in UNITS} <= users


def test_the_default_paths_lie_in_the_directories_the_units_provide() -> None:
    gateway, bridge = Settings(), BridgeSettings()
    sqlite = bridge.store.sqlite
    assert sqlite is not None
    for unit, state, runtime in (
        ("collector.service", [gateway.spool.path], gateway.health.status_file),
        ("collector-bridge.service", [sqlite.path, bridge.dead_letter.path], bridge.health.status_file),
    ):
        found = directives(unit)
        assert {str(Path(p).parent) for p in state} == {f"/var/lib/{found['StateDirectory'][0]}"}
        assert str(Path(runtime).parent) == f"/run/{found['RuntimeDirectory'][0]}"


def test_the_daemon_is_done_before_systemd_loses_patience() -> None:
    stop_s = float(directives("collector.service")["TimeoutStopSec"][0])
    assert stop_s > daemon.COMMIT_DEADLINE_S + daemon.FAREWELL_DEADLINE_S


def test_kernels_are_kept_in_a_directory_the_unit_may_write() -> None:
    found = directives("collector.service")
    assert found["Environment"] == [f"NUMBA_CACHE_DIR=%C/{found['CacheDirectory'][0]}/numba"]
    assert "MemoryDenyWriteExecute" not in found, "numba cannot even be imported with it"


def test_only_the_collector_sees_devices_and_only_serial_ones() -> None:
    assert all(rule.startswith("char-tty") for rule in directives("collector.service")["DeviceAllow"])
    bridge = directives("collector-bridge.service")
    assert "DeviceAllow" not in bridge
    assert bridge["PrivateDevices"] == ["yes"]


@pytest.mark.parametrize("unit", UNITS)
def test_no_secret_is_written_into_the_unit(unit: str) -> None:
    found = directives(unit)
    assert "SetCredential" not in found
    assert not [e for e in found.get("Environment", []) if re.search("password|token|secret", e, re.IGNORECASE)]
