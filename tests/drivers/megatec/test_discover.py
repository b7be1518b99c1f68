import pytest

from drivers.address import parse_bus
from drivers.errors import LinkUnavailable, NoAnswer, Refused
from drivers.megatec import discover as module
from drivers.megatec.discover import LEVELS, discover
from drivers.megatec.frame import Query
from drivers.megatec.profile import MegatecLimits
from drivers.wires import serial_port
from tests.drivers.megatec.ups import CASTLE, LINE_INTERACTIVE, Ups, on_a_port

#: A UPS here answers at once; the time limit is what silence costs.
TIMEOUT_S = 0.03
USUAL_SETTLE_S = module.SETTLE_S


@pytest.fixture(autouse=True)
def _no_time_to_wake(monkeypatch):
    monkeypatch.setattr(module, "SETTLE_S", 0.0)
    monkeypatch.setattr(module, "GAP_S", 0.0)
    monkeypatch.setattr(module, "LATE_S", 0.0)


async def found_on(ups, path):
    with on_a_port(ups, path) as url:
        return await discover(parse_bus(url), timeout_s=TIMEOUT_S)


async def test_a_ups_is_asked_everything_and_nothing_else(tmp_path):
    ups = Ups(LINE_INTERACTIVE)
    found = await found_on(ups, tmp_path / "ups")
    assert found.heard
    assert sorted(ups.asked) == sorted(query.encode() for query in Query)
    assert {query.encode(): line[:-1] for query, line in found.answers.items()} == LINE_INTERACTIVE
    assert {type(error) for error in found.errors.values()} == {Refused}


async def test_a_ups_that_ignores_what_it_does_not_know_is_asked_on(tmp_path):
    found = await found_on(Ups(CASTLE, refusal=None), tmp_path / "ups")
    assert set(found.answers) == {Query.Q1, Query.Q6, Query.WA}
    assert {type(error) for error in found.errors.values()} == {NoAnswer}


async def test_the_checksum_dialect_is_recognised(tmp_path):
    found = await found_on(Ups({b"QMOD": b"(L", b"QPI": b"(PI30"}, crc=True, refusal=None), tmp_path / "ups")
    assert found.crc
    assert set(found.answers) == {Query.QMOD, Query.QPI}


@pytest.mark.parametrize("levels", LEVELS)
async def test_a_ups_that_is_powered_otherwise_is_found(levels, tmp_path, monkeypatch):
    ups = Ups(LINE_INTERACTIVE)

    def power(port, line):
        ups.powered = (line.dtr, line.rts) == levels

    monkeypatch.setattr(serial_port, "_set_levels", power)
    found = await found_on(ups, tmp_path / "ups")
    assert (found.address.text.dtr, found.address.text.rts) == levels
    assert Query.Q1 in found.answers


async def test_silence_and_noise_are_told_apart(tmp_path):
    silent = await found_on(Ups({}, refusal=None), tmp_path / "silent")
    assert (silent.heard, silent.received) == (False, 0)
    noisy = await found_on(Ups({}, refusal=b"\xfe\x80\xf8"), tmp_path / "noisy")
    assert (noisy.heard, noisy.received) == (False, 4 * len(module.FIRST))


async def test_a_port_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(LinkUnavailable, match="no such port"):
        await discover(parse_bus(f"serial://{tmp_path}/nothing?baud=2400"))


def test_the_usual_levels_are_those_of_the_profiles():
    assert (MegatecLimits().dtr, MegatecLimits().rts) == LEVELS[0]
    assert USUAL_SETTLE_S == MegatecLimits().settle_s == 1.1
