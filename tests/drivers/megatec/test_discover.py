import pytest

from drivers.address import parse_bus
from drivers.errors import LinkUnavailable, NoAnswer, Refused
from drivers.megatec import discover as module
from drivers.megatec.discover import discover
from drivers.megatec.frame import Query
from drivers.megatec.profile import MegatecLimits
from drivers.text import discovery
from drivers.wires import serial_port
from tests.drivers.megatec.ups import CASTLE, LINE_INTERACTIVE, Ups, on_a_port

#: A UPS here answers at once, on a busy machine a little later; the time limit is what silence costs.
TIMEOUT_S = 0.1
STATUS = LINE_INTERACTIVE[b"Q1"]
USUAL, USUAL_SETTLE_S, USUAL_GAP_S = MegatecLimits(), module.SETTLE_S, module.GAP_S


@pytest.fixture(autouse=True)
def _no_time_to_wake(monkeypatch):
    monkeypatch.setattr(module, "SETTLE_S", 0.0)
    monkeypatch.setattr(module, "GAP_S", 0.0)
    monkeypatch.setattr(discovery, "LATE_S", 0.0)


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


@pytest.mark.parametrize(
    ("answers", "profiles"),
    [
        (LINE_INTERACTIVE, ["megatec/q1"]),
        (LINE_INTERACTIVE | {b"Q1": b"(226.0 195.0 226.0 014 49.0 2.27 30.0 00000000"}, ["megatec/online_q1"]),
        ({b"Q1": b"(---.- ---.- ---.- --- --.- --.- --.- 00000000"}, []),
        (CASTLE, ["santak/castle_c", "megatec/q6", "megatec/online_q1"]),
    ],
)
async def test_profiles_fit_whose_values_are_plausible_the_fullest_first(answers, profiles, tmp_path):
    found = await found_on(Ups(answers), tmp_path / "ups")
    assert found.profiles == profiles


async def test_a_ups_that_ignores_what_it_does_not_know_is_asked_on(tmp_path):
    found = await found_on(Ups(CASTLE, refusal=None), tmp_path / "ups")
    assert set(found.answers) == {Query.Q1, Query.Q6, Query.WA}
    assert {type(error) for error in found.errors.values()} == {NoAnswer}


async def test_the_checksum_dialect_is_recognised(tmp_path):
    ups = Ups({b"QMOD": b"(L", b"QPI": b"(PI30", b"QS": STATUS}, crc=True, refusal=None)
    found = await found_on(ups, tmp_path / "ups")
    assert found.crc
    assert set(found.answers) == {Query.QMOD, Query.QPI, Query.QS}, "what was asked in vain without it is asked again"


@pytest.mark.parametrize(
    ("settings", "levels"), [("", (True, False)), ("&dtr=0&rts=1", (False, True)), ("&rts=1", (True, True))]
)
async def test_the_control_lines_are_the_usual_ones_or_those_of_the_address(settings, levels, tmp_path, monkeypatch):
    """Never any others: where a UPS has contacts instead of a protocol, one of them is its order to switch off."""
    held = []
    monkeypatch.setattr(serial_port, "_set_levels", lambda port, address: held.append((address.dtr, address.rts)))
    with on_a_port(Ups({}, refusal=None), tmp_path / "ups") as url:
        found = await discover(parse_bus(url + settings), timeout_s=TIMEOUT_S)
    assert held == [levels]
    assert not found.heard


async def test_silence_and_noise_are_told_apart(tmp_path):
    silent = await found_on(Ups({}, refusal=None), tmp_path / "silent")
    assert (silent.heard, silent.received) == (False, 0)
    noisy = await found_on(Ups({}, refusal=b"\xfe\x80\xf8"), tmp_path / "noisy")
    assert (noisy.heard, noisy.received) == (False, 4 * len(module.FIRST))


async def test_a_port_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(LinkUnavailable, match="no such port"):
        await discover(parse_bus(f"serial://{tmp_path}/nothing?baud=2400"))


def test_the_line_is_treated_as_the_profiles_want_it():
    assert (USUAL.settle_s, USUAL.dtr, USUAL.rts) == (1.1, True, False)
    assert (USUAL.settle_s, USUAL.gap_s) == (USUAL_SETTLE_S, USUAL_GAP_S)
