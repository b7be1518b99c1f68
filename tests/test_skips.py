"""No skip is silent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SKIPPING = """
import pytest
@pytest.mark.skipif(True, reason="mbpoll is not installed")
@pytest.mark.parametrize("n", [1, 2])
def test_by_a_mark(n): ...
def test_inside(): pytest.skip("mount is not permitted here: [Errno 1]")
"""


def told(tmp_path, text, missing=""):
    path = tmp_path / "test_it.py"
    path.write_text(text)
    plugins = ["-p", "tests.skips", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "--rootdir", tmp_path, path],
        cwd=ROOT, env={**os.environ, "MISSING_TOOLS": missing}, capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_each_reason_is_told_once_with_how_many_checks_it_cost(tmp_path):
    lines = told(tmp_path, SKIPPING, "mbpoll nutdrv_qx")
    begin = next(n for n, line in enumerate(lines) if "not checked here" in line)
    assert [line for line in lines[begin + 1 :] if not line.startswith(("=", "SKIPPED"))][:4] == [
        "missing: mbpoll: run scripts/setup-apt",
        "missing: nutdrv_qx: run scripts/setup-apt",
        "2 checks: mbpoll is not installed (test_it.py)",
        "1 check: mount is not permitted here: [Errno 1] (test_it.py)",
    ]


def test_a_run_without_skips_says_so(tmp_path):
    assert any("nothing was skipped" in line for line in told(tmp_path, "def test_good(): ..."))


@pytest.mark.parametrize("tool", ["mbpoll", "nutdrv_qx", "mosquitto", "influxd", "victoria-metrics"])
def test_scripts_test_looks_for_every_real_tool(tool):
    assert tool in (ROOT / "scripts/test").read_text(encoding="utf-8")
