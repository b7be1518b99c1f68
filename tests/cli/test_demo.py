"""`collector demo`: the whole chain, ended and counted. Every run here is the real thing."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
import zlib
from contextlib import closing

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.demo import Demo, toml
from collector.types import Row
from tests.maps import untimed
from tests.spool_rows import a_spool

COLLECTOR = [sys.executable, "-m", "collector"]
#: The same on a machine where no mosquitto can be found.
WITHOUT_MOSQUITTO = [
    sys.executable,
    "-c",
    "import shutil; shutil.which = lambda *_, **__: None; from collector.cli import main; main()",
]
PATIENCE_S = 100.0

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
tables = st.recursive(
    st.dictionaries(keys, scalars | st.lists(scalars, max_size=3), max_size=4),
    lambda inner: st.dictionaries(keys, inner | st.lists(inner, min_size=1, max_size=3) | scalars, max_size=4),
    max_leaves=8,
)


@untimed
@given(tables)
def test_a_table_written_as_toml_reads_back_the_same(table):
    assert tomllib.loads(toml(table)) == table


@pytest.mark.parametrize(
    "text", ["", 'say "hi"', "back\\slash", "tab\tnew\nline\r", "\x00\x1f\x7f\x85\u2028", "机房 °C 🌡"]
)
def test_odd_text_survives_as_key_and_as_value(text):
    table = {text: text, "device": [{"name": text, "tags": {text: text}}, {"name": "b"}], "list": [text, text]}
    assert tomllib.loads(toml(table)) == table


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, {1, 2}])
def test_what_json_and_toml_write_differently_is_refused(value):
    with pytest.raises((ValueError, TypeError)):
        tomllib.loads(toml({"key": value}))


def demo(*arguments, command=COLLECTOR):
    done = subprocess.run(
        [*command, "demo", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def assert_nothing_lost(result):
    assert (result["lost"], result["duplicates_stored"]) == (0, 0)
    assert result["readings"] > 100
    assert 0 < result["rows_confirmed"] <= result["rows_accepted"]
    assert result["points_stored"] + result["points_under_way"] == result["points_accepted"]
    assert result["points_stored"] > 100
    assert result["devices_up"] == result["devices"] == 11
    assert result["buses"] == 7


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A directory kept by a demo that has ended, and what it printed."""
    directory = tmp_path_factory.mktemp("demo")
    return directory, demo("--seconds", 8, "--keep", directory)


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(120)
def test_the_demo_shows_a_hall_and_ends_with_one_object_that_says_nothing_was_lost(finished):
    directory, (*shown, last) = finished
    result = json.loads(last)
    assert_nothing_lost(result)
    assert result["broker"] == "mosquitto"
    table = "\n".join(shown)
    for words in ("meter-mains", "schneider/pm5xxx", "serial", "tcp", "kW", "°C", "%RH"):
        assert words in table
    pue = float(table.partition("PUE ")[2].split()[0])
    assert 1.0 < pue < 2.0
    kept = {path.name for path in directory.iterdir()}
    assert {"collector.toml", "bridge.toml", "spool.db", "store.db", "daemon.log"} <= kept


def account(directory):
    demo = Demo(directory, seed=1)
    return demo._account(json.loads(demo.status_file.read_text()))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_point_that_is_neither_stored_nor_waiting_is_counted_as_lost(finished, tmp_path):
    directory = shutil.copytree(finished[0], tmp_path / "copy", ignore=shutil.ignore_patterns("tty*"))
    with closing(sqlite3.connect(directory / "store.db")) as db, db:
        db.execute("DELETE FROM points WHERE id IN (SELECT id FROM points LIMIT 3)")
    assert account(directory)["lost"] == 3


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_row_that_is_stored_but_not_confirmed_yet_is_not_lost(finished, tmp_path):
    directory = shutil.copytree(finished[0], tmp_path / "copy", ignore=shutil.ignore_patterns("tty*"))
    before = account(directory)
    with closing(sqlite3.connect(directory / "store.db")) as db:
        query = "SELECT measurement, tags, field, ts_ns FROM readings WHERE typeof(value) = 'real' LIMIT 5"
        stored = db.execute(query).fetchall()
    lines = [f"{m},{','.join(f'{k}={v}' for k, v in json.loads(t).items())} {f}=1.0 {ts}\n" for m, t, f, ts in stored]
    payload = ("#dc1\n" + "".join(lines)).encode()
    spool = a_spool(directory / "spool.db", uplinks=["centre-1"])
    spool.append([Row(spool.next_seq, "power", stored[0][3], 5, zlib.crc32(payload), payload)]).result(20)
    spool.close()
    after = account(directory)
    assert after["rows_confirmed"] == before["rows_confirmed"] - 1
    assert (after["lost"], after["points_under_way"]) == (0, before["points_under_way"])


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_where_there_is_no_mosquitto_the_broker_that_comes_as_a_wheel_does(tmp_path):
    """And a second demo in the same directory goes on with the first one's spool and database."""
    for _ in range(2):
        (last,) = demo("--seconds", 5, "--keep", tmp_path, "--json", command=WITHOUT_MOSQUITTO)
        result = json.loads(last)
        assert_nothing_lost(result)
        assert result["broker"] == "iotcore"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_demo_that_is_told_to_end_leaves_no_process_behind():
    process = subprocess.Popen([*COLLECTOR, "demo", "--seconds", "600"], stdout=subprocess.DEVNULL)
    try:
        me = psutil.Process(process.pid)
        give_up = time.monotonic() + PATIENCE_S
        while len(parts := me.children(recursive=True)) < 4:  # simulator, broker, bridge, daemon
            assert time.monotonic() < give_up
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert not [part for part in parts if part.is_running() and part.status() != psutil.STATUS_ZOMBIE]
    finally:
        process.kill()
        process.wait()


def test_without_any_broker_the_demo_says_what_to_install(tmp_path):
    nothing = WITHOUT_MOSQUITTO[2].replace("import shutil;", "import shutil, sys; sys.modules['iotcore'] = None;")
    done = subprocess.run(
        [sys.executable, "-c", nothing, "demo", "--keep", str(tmp_path)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "install mosquitto, or" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_part_that_does_not_come_up_is_told_with_its_own_words(tmp_path):
    (tmp_path / "store.db").write_text("something else")
    done = subprocess.run(
        [*COLLECTOR, "demo", "--seconds", "5", "--keep", str(tmp_path)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "the bridge did not come up" in done.stderr
    assert "store.db" in done.stderr
    assert "Traceback" not in done.stderr
