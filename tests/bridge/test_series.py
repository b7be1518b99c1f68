"""series: a gateway gets its share of series and no more; its neighbours never notice."""

from collector.bridge import series as module
from collector.bridge.check import Checked, Limits, Reason, check
from collector.bridge.series import SeriesCap
from tests.bridge.payloads import line, payload, topic


def message(body: bytes, gateway: str = "gw1") -> Checked:
    verdict = check(topic(gateway), payload(body, gateway=gateway), Limits(1 << 20, 1000))
    assert isinstance(verdict, Checked)
    return verdict


def test_known_series_pass_for_ever_and_new_ones_until_the_cap():
    cap = SeriesCap(per_gateway=3)
    first = line(device="a") + line(device="b")
    for _ in range(5):
        assert cap.admit(message(first)).bad == ()
    admitted = cap.admit(message(line(device="c") + line(device="d") + line(device="a") + line("v=1", device="d")))
    assert admitted.body == line(device="c") + line(device="a")
    assert [(bad.reason, b"device=d" in bad.line) for bad in admitted.bad] == [(Reason.SERIES, True)] * 2
    assert (admitted.lines, admitted.points, admitted.points_claimed) == (2, 2, 4)
    assert cap.admit(message(line(device="e"))).body == b""


def test_the_cap_of_one_gateway_is_not_its_neighbours():
    cap = SeriesCap(per_gateway=1)
    assert cap.admit(message(line(device="a"))).bad == ()
    assert cap.admit(message(line(device="b"))).bad != ()
    assert cap.admit(message(line(device="b", gateway="gw2"), "gw2")).bad == ()


def test_another_field_or_time_is_not_another_series():
    cap = SeriesCap(per_gateway=1)
    body = b"".join(line(f"f{n}=1", ts_ns=n) for n in range(50))
    assert cap.admit(message(body)).lines == 50


def test_the_memory_is_bounded_by_forgetting_whom_it_heard_longest_ago(monkeypatch):
    monkeypatch.setattr(module, "MAX_GATEWAYS", 3)
    cap = SeriesCap(per_gateway=5)
    for n in range(10):
        cap.admit(message(line(gateway=f"g{n}"), f"g{n}"))
    assert len(cap._known) == 3
    assert cap._total == 3
