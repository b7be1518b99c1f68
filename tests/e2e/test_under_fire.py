"""The chain while its parts are killed: nothing that was accepted may be missing from the database at the end.

Each protection has its twin: the same fire with the protection taken out, where points must be missing.
"""

import random
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.chain import parse_line, stored_in_influxd

pytestmark = [pytest.mark.servers, pytest.mark.slow]

HERE = Path(__file__).parent
DAEMON_KILLS, BRIDGE_KILLS, BROKER_KILLS, DATABASE_DOWNS = 20, 20, 5, 2


def strike(chain, influxd, what: str, rng: random.Random) -> None:
    """One blow, and the part back up."""
    if what == "mosquitto":
        chain.mosquitto.kill()
        time.sleep(rng.uniform(0, 0.3))
        chain.mosquitto.start()
    elif what == "database":
        influxd.kill()
        time.sleep(3)
        influxd.start()
    else:
        chain.kill(what)
        time.sleep(rng.uniform(0, 0.3))
        chain.start_daemon() if what == "daemon" else chain.start_bridge()


def missing(chain, influxd, upto_seq: int) -> set:
    accepted = chain.accepted(upto_seq)
    return accepted.keys() - dict(stored_in_influxd(influxd, accepted)).keys()


@pytest.mark.timeout(420)
def test_no_accepted_point_is_lost_whatever_is_killed(new_chain, mosquitto, influxd):
    rng = random.Random(7)
    chain = new_chain(mosquitto, {"influx_v1": {"url": influxd.url, "database": "dc"}})
    chain.start()
    blows = ["daemon"] * DAEMON_KILLS + ["bridge"] * BRIDGE_KILLS + ["mosquitto"] * BROKER_KILLS
    blows += ["database"] * DATABASE_DOWNS
    rng.shuffle(blows)
    for what in blows:
        time.sleep(rng.uniform(0.3, 1.6))
        strike(chain, influxd, what, rng)
    last = chain.last_seq()
    chain.wait_for(lambda: chain.last_seq() > last, 60)  # alive after all that
    last = chain.last_seq()
    chain.wait_for(lambda: not missing(chain, influxd, last), 90)
    accepted = chain.accepted(last)
    stored = stored_in_influxd(influxd, accepted)
    values = dict(stored)
    assert len(stored) == len(values)
    assert {point: values[point] for point in accepted} == accepted
    print(f"{len(blows)} blows, {len(accepted)} points accepted, 0 lost")


@pytest.mark.timeout(120)
def test_the_twin_that_trusts_the_broker_loses_what_the_broker_had_acknowledged(new_chain, mosquitto, influxd):
    chain = new_chain(mosquitto, {"influx_v1": {"url": influxd.url, "database": "dc"}}, confirm="broker")
    chain.start()
    chain.wait_for(lambda: influxd.points("power"), 30)
    chain.kill("bridge")
    first = chain.last_seq()
    chain.wait_for(lambda: chain.last_seq() > first + 20, 30)
    chain.mosquitto.kill()
    chain.mosquitto.start()
    chain.start_bridge()
    last = chain.last_seq()
    chain.wait_for(lambda: chain.last_seq() > last + 20, 60)
    time.sleep(5)  # more than the confirmation would need
    assert missing(chain, influxd, last), "PUBACK is not durability"


@pytest.mark.timeout(120)
def test_the_twin_that_accepts_in_memory_loses_points_when_the_daemon_is_killed(new_chain, mosquitto, influxd):
    store = {"influx_v1": {"url": influxd.url, "database": "dc"}}
    chain = new_chain(mosquitto, store, daemon=[sys.executable, str(HERE / "twin_daemon.py")])
    ledger = chain.directory / "accepted"
    chain.environment["ACCEPTED_LEDGER"] = str(ledger)
    chain.start_simulator()
    chain.start_bridge()
    lost = set()
    for _ in range(3):
        chain.start_daemon()
        chain.wait_for(lambda: ledger.exists() and ledger.stat().st_size > 20_000, 60)
        time.sleep(1.0)
        chain.kill("daemon")
    lines = [line for line in ledger.read_text().splitlines() if line and not line.startswith("#")]
    accepted = dict(pair for line in lines[:-1] for pair in parse_line(line))
    time.sleep(3)
    lost = accepted.keys() - dict(stored_in_influxd(influxd, accepted)).keys()
    assert lost, "what is only in memory is gone"


@pytest.mark.timeout(120)
def test_the_twin_bridge_that_acknowledges_before_it_writes_loses_what_the_database_missed(
    new_chain, mosquitto, influxd
):
    store = {"influx_v1": {"url": influxd.url, "database": "dc"}}
    chain = new_chain(mosquitto, store, bridge=[sys.executable, str(HERE / "twin_bridge.py")])
    chain.start()
    chain.wait_for(lambda: influxd.points("power"), 30)
    influxd.kill()
    first = chain.last_seq()
    chain.wait_for(lambda: chain.last_seq() > first + 15, 30)
    last = chain.last_seq()
    time.sleep(2)
    influxd.start()
    time.sleep(5)
    assert missing(chain, influxd, last), "acknowledged is not written"
