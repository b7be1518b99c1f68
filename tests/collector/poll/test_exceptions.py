"""What each Modbus exception code means for the read, the unit, the line and the neighbours: one row per code."""

import pytest

from collector.poll.agenda import REFUSED_RETRY_S, RETRY_S
from collector.poll.schedule import SILENT_BLOCK_MAX_S
from collector.poll.unit import Standing
from collector.types import BlockSpec, Outcome
from drivers.errors import DeviceException, Refused
from tests.collector.poll.test_poller import Hall, answer

INTERVAL_S = 10.0
WATCHED_S = 200.0
#: code → (what becomes of a read that cannot be split, how often it is asked in 200 s, how soon a good answer is heard)
BACK_OFF = ("asked again soon, then more and more rarely", range(6, 11), SILENT_BLOCK_MAX_S + INTERVAL_S)
RARELY = ("asked rarely", range(1, 2), REFUSED_RETRY_S)
UNIT = ("the unit is down and probed", range(8, 14), 60 * 1.25 + 1)
CODES = {
    1: RARELY,
    2: RARELY,
    3: RARELY,
    4: BACK_OFF,
    5: ("asked at its next interval, then more rarely", range(5, 9), SILENT_BLOCK_MAX_S + INTERVAL_S),
    6: BACK_OFF,
    7: BACK_OFF,
    8: BACK_OFF,
    9: BACK_OFF,  # no such code in the standard: taken for a passing one
    10: UNIT,
    11: UNIT,
}


def refusing(code):
    """The first block of unit 1 is refused with `code`, everything else answered."""

    def reply(link):
        if (link.in_flight.unit, link.in_flight.address) == (1, 0):
            link.fail(DeviceException(code))
        else:
            link.answer()

    return reply


def asked(hall):
    return [t for t, r in hall.link.sent if (r.unit, r.address) == (1, 0)]


@pytest.mark.parametrize("code", CODES)
def test_what_an_exception_means_for_the_read_the_unit_and_the_line(code):
    _, expected, heard_s = CODES[code]
    hall = Hall(units=2, interval_s=INTERVAL_S)
    hall.go(WATCHED_S, refusing(code))
    assert len(asked(hall)) in expected
    sick, neighbour = hall.bus.units
    assert sick.exceptions == len(asked(hall))
    assert sick.standing is (Standing.DOWN if code in (10, 11) else Standing.UP)
    assert f"exception {code} " in sick.last_error
    assert (hall.link.opens, hall.bus.is_open, hall.bus.losses) == (1, True, 0), "the connection stays whatever it says"
    assert neighbour.standing is Standing.UP
    assert neighbour.skipped == 0
    assert neighbour.answered >= WATCHED_S / INTERVAL_S - 1
    outcomes = {outcome for number, outcome in hall.records() if number == 0}
    assert outcomes <= {Outcome.EXCEPTION, Outcome.SUSPENDED}, "never a value"
    hall.go(heard_s + 2 * RETRY_S, answer)
    assert Outcome.OK in {outcome for number, outcome in hall.records() if number == 0}
    before = len(asked(hall))
    hall.go(10 * INTERVAL_S, answer)
    assert len(asked(hall)) - before in (9, 10, 11), "and from then on at its interval"
    assert sick.standing is Standing.UP
    hall.balance()


@pytest.mark.parametrize("code", range(1, 12))
def test_only_what_may_hold_in_part_is_taken_apart(code):
    """2: a register is not there; 3: so many cannot be read at once. Everything else is said of the whole read."""
    split = []

    def parts(number):
        split.append(number)
        if number != 0:
            return []
        hall.blocks += [
            BlockSpec("d0", 1, 3, 0, 5, INTERVAL_S, (), ()),
            BlockSpec("d0", 1, 3, 5, 5, INTERVAL_S, (), ()),
        ]
        return [1, 2]

    hall = Hall(interval_s=INTERVAL_S, split=parts)

    def reply(link):
        if link.in_flight.count > 5:
            link.fail(DeviceException(code))
        else:
            link.answer()

    hall.go(WATCHED_S, reply)
    if code in (2, 3):
        assert split == [0], "once"
        assert [r.count for _, r in hall.link.sent].count(10) == 1
        assert [r.count for _, r in hall.link.sent].count(5) >= 2 * (WATCHED_S / INTERVAL_S - 1)
    else:
        assert split == []
        assert all(r.count == 10 for _, r in hall.link.sent)


def test_a_device_that_stays_busy_does_not_fill_its_line():
    """Twin of the back-off: asked again after 2 s for ever, it would be asked a hundred times."""
    hall = Hall(interval_s=INTERVAL_S)
    hall.go(WATCHED_S, refusing(6))
    assert len(asked(hall)) < 0.15 * WATCHED_S / RETRY_S


def test_a_read_that_is_refused_for_good_is_told_once(caplog):
    hall = Hall(interval_s=INTERVAL_S)
    hall.go(3 * REFUSED_RETRY_S, refusing(2))
    assert len(asked(hall)) == 3
    assert [r.levelname for r in caplog.records if "asking rarely" in r.getMessage()] == ["WARNING"]


@pytest.mark.parametrize("code", [1, 2, 3, 5, 10, 11, 0xE0])
@pytest.mark.parametrize(("retryable", "expected"), [(True, BACK_OFF), (False, RARELY)])
def test_the_codes_of_a_text_protocol_are_its_own_and_mean_what_its_driver_says(code, retryable, expected):
    _, often, _ = expected
    hall = Hall(units=2, interval_s=INTERVAL_S)
    calls = []
    hall.bus.agenda._split = lambda number: calls.append(number) or []

    def reply(link):
        if (link.in_flight.unit, link.in_flight.address) == (1, 0):
            link.fail(Refused(code, f"RTN {code:02X}H", retryable=retryable))
        else:
            link.answer()

    hall.go(WATCHED_S, reply)
    assert len(asked(hall)) in often
    assert calls == [], "a command cannot be taken apart"
    sick, _ = hall.bus.units
    assert sick.standing is Standing.UP, "no gateway speaks for it"
    assert sick.last_error == f"RTN {code:02X}H"
