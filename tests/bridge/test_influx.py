"""influx: both APIs against real servers and against one that misbehaves."""

import time
import zlib

import pytest

from collector.bridge.influx import InfluxV1Store, InfluxV2Store
from collector.bridge.settings import InfluxV1, InfluxV2
from collector.clock import FakeClock
from collector.config_file import Secret
from collector.errors import LinesRejected, StoreBusy, StoreRefused, StoreTooLarge
from tests.bridge.payloads import line

#: VictoriaMetrics drops what is older than a month: the timestamps of its tests must be of today.
NOW_NS = time.time_ns() // 10**9 * 10**9


def v1(url: str, **more) -> InfluxV1Store:
    return InfluxV1Store(InfluxV1(url=url, database=more.pop("database", "dc"), **more), FakeClock(NOW_NS))


def v2(url: str, **more) -> InfluxV2Store:
    return InfluxV2Store(InfluxV2(url=url, bucket="dc", **more), FakeClock(NOW_NS))


@pytest.fixture(params=[v1, v2], ids=["v1", "v2"])
def make(request):
    return request.param


@pytest.fixture
def stored(make, stub):
    store = make(stub.url, timeout_s=5.0)
    yield store
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("gzip", [False, True])
def test_influxd_holds_the_exact_value_and_timestamp_once_however_often_it_is_written(influxd, gzip):
    store = v1(influxd.url, gzip=gzip)
    body = line("u=230.125,i=3i", ts_ns=NOW_NS + 1) + line("u=0.1", device="m2", ts_ns=NOW_NS + 2)
    store.write(body)
    store.write(body)
    store.close()
    rows = {(row["device"], row["time"]): (row["u"], row["i"]) for row in influxd.points("power")}
    assert rows == {("m1", NOW_NS + 1): (230.125, 3), ("m2", NOW_NS + 2): (0.1, None)}
    assert len(influxd.points("power")) == 2


@pytest.mark.servers
@pytest.mark.parametrize("gzip", [False, True])
def test_victoria_metrics_holds_the_exact_value_and_timestamp_once(victoria_metrics, gzip):
    store = v2(victoria_metrics.url, gzip=gzip)
    body = line("u=230.125,i=3i", ts_ns=NOW_NS)
    store.write(body)
    store.close()
    [(labels, ts_ms, value)] = victoria_metrics.samples("power_u")
    assert (labels["device"], labels["gateway"], ts_ms, value) == ("m1", "gw1", NOW_NS // 10**6, 230.125)
    assert victoria_metrics.samples("power_i")[0][2] == 3.0


@pytest.mark.servers
def test_influxd_names_the_bad_line_and_keeps_the_others(influxd):
    store = v1(influxd.url)
    bad = b"power,city=c u= 1\n"
    with pytest.raises(LinesRejected) as error:
        store.write(line("u=1") + bad + line("u=2", device="m2"))
    store.close()
    assert error.value.others_written
    assert error.value.lines == (bad[:-1],)
    assert {row["device"] for row in influxd.points("power")} == {"m1", "m2"}


@pytest.mark.servers
def test_influxd_counts_a_type_conflict_and_keeps_the_others(influxd):
    store = v1(influxd.url)
    store.write(line("u=1.0", ts_ns=NOW_NS))
    with pytest.raises(LinesRejected, match="type conflict") as error:
        store.write(line("u=1i", ts_ns=NOW_NS + 1) + line("u=2.0", device="m2", ts_ns=NOW_NS))
    store.close()
    assert (error.value.others_written, error.value.dropped) == (True, 1)
    assert {row["device"] for row in influxd.points("power")} == {"m1", "m2"}


@pytest.mark.servers
def test_a_missing_database_and_a_missing_api_are_refusals_that_somebody_must_mend(influxd):
    for store, words in ((v1(influxd.url, database="nowhere"), "not found"), (v2(influxd.url), "404")):
        with pytest.raises(StoreRefused, match=words):
            store.write(line())
        store.close()


@pytest.mark.servers
def test_a_400_that_blames_the_request_is_a_refusal_and_not_bad_lines(influxd):
    """InfluxDB says 400 "database is required": bisecting would bury every good line."""
    store = v1(influxd.url, database="")
    with pytest.raises(StoreRefused, match=r"database is required.*not the lines but the request"):
        store.write(line())
    store.close()


def test_an_unreachable_database_is_busy(make):
    store = make("http://127.0.0.1:9")
    with pytest.raises(StoreBusy, match=r"127\.0\.0\.1.*9"):
        store.write(line())
    store.close()


@pytest.mark.parametrize("fault", ["reset", "garbage", (503, {"Retry-After": "3"}, b"\xff\xfe"), (500, {}, b"")])
def test_after_a_fault_the_same_body_is_simply_sent_again(stored, stub, fault):
    stub.script = [fault]
    with pytest.raises(StoreBusy):
        stored.write(line())
    stored.write(line())
    assert stub.lines == [line()[:-1]]


def test_a_database_that_never_answers_is_busy_after_the_timeout(make, stub):
    stub.script = ["hang"]
    store = make(stub.url, timeout_s=0.2)
    with pytest.raises(StoreBusy):
        store.write(line())
    store.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, {}, b'{"error": "authorization failed"}'), StoreRefused),
        ((403, {}, b""), StoreRefused),
        ((302, {"Location": "/login"}, b""), StoreRefused),
        ((200, {}, b"<html>"), StoreRefused),
        ((413, {}, b"Request Entity Too Large"), StoreTooLarge),
        ((429, {"Retry-After": "2"}, b""), StoreBusy),
    ],
)
def test_statuses_reach_the_caller_as_our_errors(stored, stub, answer, kind):
    stub.script = [answer]
    with pytest.raises(kind) as error:
        stored.write(line())
    if kind is StoreBusy:
        assert error.value.retry_after_s == 2.0
    stored.write(line())
    assert len(stub.bodies) == 1


def test_an_unknown_400_is_about_lines_when_a_comment_passes(stored, stub):
    stub.script = [(400, {}, b'{"message": "no reason given"}')]
    with pytest.raises(LinesRejected, match="no reason given"):
        stored.write(line())
    assert [body for *_, body in stub.requests] == [line(), b"#\n"]


def test_credentials_travel_in_headers_and_gzip_is_announced(stub, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    secret = Secret(env="SECRET")
    for store in (v1(stub.url, username="u", password=secret, gzip=True), v2(stub.url, token=secret, gzip=True)):
        store.write(line())
        store.close()
    for target, headers, body in stub.requests:
        assert "s3cret" not in target
        assert headers["content-encoding"] == "gzip"
        assert zlib.decompress(body, 31) == line()
    assert [headers["authorization"] for _, headers, _ in stub.requests] == ["Basic dTpzM2NyZXQ=", "Token s3cret"]
    assert "precision=ns" in stub.requests[0][0]
    assert "precision=ns" in stub.requests[1][0]
