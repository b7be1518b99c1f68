"""Simulated TCP and RTU devices → daemon → mosquitto → bridge → a real database, with real processes."""

import pytest

from tests.e2e.chain import in_milliseconds, stored_in_influxd, stored_in_victoria_metrics

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(180)]

RUN_ROWS = 120


def run(chain) -> dict:
    """Let the chain run for a while; returns every point accepted by then."""
    chain.start()
    chain.wait_for(lambda: chain.status()["spool"]["accepted_rows"] >= RUN_ROWS, 90)
    upto = chain.last_seq()
    status = chain.status()
    assert all(device["state"] == "up" for device in status["devices"]), status["devices"]
    assert {bus["name"][:3] for bus in status["buses"]} == {"tcp", "rtu"}
    return chain.accepted(upto)


def test_every_accepted_point_is_in_influxdb_1_once_with_its_value_and_nanosecond(new_chain, mosquitto, influxd):
    chain = new_chain(mosquitto, {"influx_v1": {"url": influxd.url, "database": "dc"}})
    accepted = run(chain)
    chain.wait_for(lambda: accepted.keys() <= dict(stored_in_influxd(influxd, accepted)).keys(), 30)
    assert chain.stop("daemon") == 0
    assert chain.stop("bridge") == 0
    stored = stored_in_influxd(influxd, accepted)
    values = dict(stored)
    assert len(stored) == len(values), "a point is stored once"
    assert {point: values[point] for point in accepted} == accepted
    assert len(accepted) > 1000
    assert values.keys() <= chain.accepted().keys(), "nothing is stored that was not accepted"


def test_every_accepted_point_is_in_victoria_metrics_once_through_influxdb_client(
    new_chain, mosquitto, victoria_metrics
):
    chain = new_chain(mosquitto, {"influx_v2": {"url": victoria_metrics.url, "bucket": "dc"}})
    accepted = in_milliseconds(run(chain))
    chain.wait_for(lambda: accepted.keys() <= dict(stored_in_victoria_metrics(victoria_metrics, accepted)).keys(), 60)
    assert chain.stop("daemon") == 0
    assert chain.stop("bridge") == 0
    stored = stored_in_victoria_metrics(victoria_metrics, accepted)
    values = dict(stored)
    assert len(stored) == len(values), "a point is stored once"
    assert {point: values[point] for point in accepted} == accepted
