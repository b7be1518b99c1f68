"""The RTU line in virtual time. Late answers at large: firmware_tests/test_late_answers.py."""

import pytest

from drivers.base import Request
from drivers.errors import BadFrame, DeviceError, DeviceException
from drivers.modbus.rtu import MAX_BUFFER, encode, seal
from drivers.modbus.rtu_exchange import IDLE_LOOK_S, RtuExchange, gap_s, quiet_s
from tests.drivers.modbus.line import data_of, perfect_frame
from tests.fuzzing import hostile

BAUD = 9600
LATE_S = 2.0
ASK = Request(1, 3, 100, 10)
OTHER = Request(1, 3, 500, 10)
NEIGHBOUR = Request(2, 3, 100, 10)
NOW = 1000.0


def answer_to(request):
    return perfect_frame(encode(request))


def line():
    return RtuExchange(BAUD, LATE_S)


def ask(exchange, request, now):
    """Transmit as soon as the gap allows; the time of it."""
    exchange.start(request)
    now = max(now, exchange.next_at())
    assert exchange.transmit(now) == encode(request)
    return now


def silence(exchange, now):
    """Nothing more comes after `now`: what the exchange makes of it, and when."""
    while exchange.look_at is not None:
        now = max(now, exchange.look_at)
        exchange.looked()
    at = exchange.next_at()
    return (None, now) if at is None else (exchange.silence(max(now, at)), max(now, at))


def succeeds(exchange, request, now):
    now = ask(exchange, request, now) + 0.05
    assert exchange.received(answer_to(request), now) == data_of(request)
    return now


@pytest.mark.parametrize(
    ("baud", "milliseconds"), [(1200, 32.1), (9600, 4.01), (19200, 2.01), (38400, 1.75), (115200, 1.75)]
)
def test_the_gap_is_three_and_a_half_characters_and_fixed_above_19200(baud, milliseconds):
    assert round(gap_s(baud) * 1000, 2) == pytest.approx(milliseconds, abs=0.05)


def test_a_request_waits_for_the_gap_after_the_last_byte_received():
    exchange = line()
    now = succeeds(exchange, ASK, NOW)
    exchange.start(OTHER)
    assert exchange.next_at() == pytest.approx(now + gap_s(BAUD))


def test_a_request_waits_for_the_gap_after_the_end_of_our_own_transmission():
    exchange = line()
    now = ask(exchange, ASK, NOW)
    exchange.expire(now)
    exchange.start(NEIGHBOUR)
    assert exchange.next_at() == pytest.approx(now + 8 * 11 / BAUD + gap_s(BAUD))


def test_a_line_that_needs_more_silence_than_t35_gets_it():
    exchange = RtuExchange(BAUD, LATE_S, pause_s=0.01)
    now = succeeds(exchange, ASK, NOW)
    exchange.start(OTHER)
    assert exchange.next_at() == pytest.approx(now + gap_s(BAUD) + 0.01)


def test_a_byte_that_comes_while_waiting_starts_the_gap_again():
    exchange = line()
    now = succeeds(exchange, ASK, NOW)
    exchange.start(OTHER)
    assert exchange.received(b"\x00", now + 0.003) is None
    assert exchange.next_at() == pytest.approx(now + 0.003 + gap_s(BAUD))


def test_a_late_answer_is_counted_and_ends_the_quarantine_of_its_unit():
    exchange = line()
    now = ask(exchange, ASK, NOW) + 1
    assert exchange.expire(now)
    assert exchange.ready_at(ASK.unit) == now + LATE_S
    assert exchange.received(answer_to(ASK), now + 0.5) is None
    assert (exchange.late, exchange.ready_at(ASK.unit)) == (1, 0.0)
    succeeds(exchange, OTHER, now + 0.5)


def test_a_late_exception_ends_the_quarantine_too():
    exchange = line()
    now = ask(exchange, ASK, NOW) + 1
    exchange.expire(now)
    assert exchange.received(seal(1, b"\x83\x04"), now + 0.5) is None
    assert (exchange.late, exchange.ready_at(ASK.unit)) == (1, 0.0)


def test_another_unit_may_be_asked_at_once_and_the_late_answer_is_not_its_own():
    exchange = line()
    now = ask(exchange, ASK, NOW) + 1
    exchange.expire(now)
    assert exchange.ready_at(NEIGHBOUR.unit) == 0.0
    now = ask(exchange, NEIGHBOUR, now)
    assert exchange.received(answer_to(ASK), now + 0.02) is None
    assert exchange.received(answer_to(NEIGHBOUR), now + 0.05) == data_of(NEIGHBOUR)
    assert exchange.late == 1


def test_what_lies_in_the_buffer_when_a_request_is_transmitted_is_never_its_answer():
    exchange = line()
    now = succeeds(exchange, ASK, NOW)
    assert exchange.received(answer_to(ASK), now) is None  # a repeater sends it twice
    now = ask(exchange, OTHER, now)
    assert exchange.late == 1
    assert silence(exchange, now)[0] is None
    assert exchange.received(answer_to(OTHER), now + 0.05) == data_of(OTHER)


def test_a_request_that_was_never_transmitted_leaves_no_quarantine():
    exchange = line()
    exchange.start(ASK)
    exchange.received(b"\0", NOW)
    assert exchange.expire(NOW + 0.001) is False
    assert exchange.ready_at(ASK.unit) == 0.0


def test_a_unit_stays_in_quarantine_when_the_line_is_closed_and_opened_again():
    exchange = line()
    now = ask(exchange, ASK, NOW)
    exchange.reset(now)
    assert exchange.ready_at(ASK.unit) == now + LATE_S
    assert exchange.received(answer_to(ASK), now + 0.1) is None
    succeeds(exchange, OTHER, now + 0.1)


def flipped(frame):
    return bytes([*frame[:7], frame[7] ^ 0x10, *frame[8:]])


@pytest.mark.parametrize(
    "fault",
    [
        flipped(answer_to(ASK)),
        seal(1, b"\x65\x01\x02"),
        seal(1, b"\x03\x02\x00\x01"),
        seal(1, b"\x84\x02"),
        b"\0" + seal(1, b"\x03\x02\x00\x01"),
        encode(ASK) + flipped(answer_to(ASK)),
    ],
    ids=["bit flip", "unknown function", "wrong length", "exception of another", "behind a stray", "behind the echo"],
)
@pytest.mark.parametrize("one_by_one", [False, True], ids=["in one piece", "byte by byte"])
def test_a_bad_answer_is_known_at_the_next_silence_and_the_unit_is_free_at_once(fault, one_by_one):
    exchange = line()
    now = ask(exchange, ASK, NOW) + 0.02
    for piece in [fault[i : i + 1] for i in range(len(fault))] if one_by_one else [fault]:
        now += 0.001
        assert exchange.received(piece, now) is None
    outcome, at = silence(exchange, now)
    assert isinstance(outcome, BadFrame)
    assert at == pytest.approx(now + quiet_s(BAUD))
    assert exchange.ready_at(ASK.unit) == 0.0
    succeeds(exchange, OTHER, at)


@pytest.mark.parametrize(
    "fault",
    [b"", b"\0", encode(ASK), answer_to(ASK)[:-1], bytes.fromhex("01 65 01 02"), seal(9, b"\x03\x02\x00\x01")],
    ids=["silence", "a stray byte", "only the echo", "cut short", "unknown function", "another unit"],
)
def test_what_proves_nothing_is_waited_out_and_a_true_answer_still_counts(fault):
    exchange = line()
    now = ask(exchange, ASK, NOW) + 0.02
    if fault:
        assert exchange.received(fault, now) is None
    assert silence(exchange, now)[0] is None
    assert exchange.next_at() is None
    if fault != answer_to(ASK)[:-1]:
        assert exchange.received(answer_to(ASK), now + 0.2) == data_of(ASK)
        succeeds(exchange, OTHER, now + 0.2)
    else:
        exchange.expire(now + 1)
        succeeds(exchange, NEIGHBOUR, now + 1)
        succeeds(exchange, OTHER, now + 1 + LATE_S)


def test_a_corrupt_answer_while_another_unit_is_outstanding_may_be_that_one():
    """One flipped bit makes unit 3's late frame look like unit 1's: unit 1's own answer may still come."""
    exchange = line()
    unit_3 = Request(3, 3, 100, 10)
    now = ask(exchange, unit_3, NOW) + 1
    exchange.expire(now)
    now = ask(exchange, ASK, now)
    assert exchange.received(b"\x01" + answer_to(unit_3)[1:], now + 0.02) is None
    assert isinstance(exchange.silence(now + 0.1), BadFrame)
    assert exchange.ready_at(ASK.unit) > now + 1


@pytest.mark.parametrize(("timeout_s", "ready_s"), [(1.0, 1.0 + LATE_S), (0.0, LATE_S)])
def test_babble_before_the_deadline_does_not_shorten_the_time_in_which_an_answer_may_come(timeout_s, ready_s):
    """The twin, without the owner's deadline, would ask the unit again while its answer may still come."""
    exchange = RtuExchange(BAUD, LATE_S, timeout_s=timeout_s)
    sent = ask(exchange, ASK, NOW)
    outcome = None
    while outcome is None:
        outcome = exchange.received(b"\x55" * MAX_BUFFER, sent)
    assert isinstance(outcome, BadFrame)
    assert exchange.ready_at(ASK.unit) == pytest.approx(sent + ready_s)


@pytest.mark.parametrize("piece", [1, 7, 100, 5000])
def test_babble_is_cut_and_the_next_answer_succeeds(piece):
    exchange = line()
    now = ask(exchange, ASK, NOW)
    outcome = None
    for _ in range(5000):
        now += 0.001
        outcome = exchange.received(b"\x01\x03\x14\x00\x07" * (piece // 5 + 1), now)
        assert len(exchange._receiver) <= MAX_BUFFER
        if outcome is not None:
            break
    assert isinstance(outcome, BadFrame)
    assert "babbles" in str(outcome)
    succeeds(exchange, NEIGHBOUR, now)
    succeeds(exchange, OTHER, now + LATE_S)


def test_an_exception_answer_ends_the_exchange():
    exchange = line()
    now = ask(exchange, ASK, NOW)
    error = exchange.received(seal(1, b"\x83\x02"), now)
    assert isinstance(error, DeviceException)
    succeeds(exchange, OTHER, now)


def test_two_requests_at_once_are_a_programming_error():
    exchange = line()
    exchange.start(ASK)
    with pytest.raises(RuntimeError, match="unit 2 asked while unit 1 is"):
        exchange.start(NEIGHBOUR)


def test_bytes_that_belong_to_nothing_are_counted():
    exchange = line()
    now = succeeds(exchange, ASK, NOW)
    exchange.received(b"\xaa\xbb\xcc", now)
    succeeds(exchange, OTHER, now)
    assert (exchange.strays, exchange.late) == (3, 0)


CHARACTER_S = 11 / BAUD
#: Question and answer of ASK, 8 and 25 characters.
SHORTEST_S = 33 * CHARACTER_S


def test_nothing_is_looked_at_before_the_answer_can_be_all_but_complete():
    exchange = line()
    now = ask(exchange, ASK, NOW)
    assert exchange.next_at() == exchange.look_at == pytest.approx(now + SHORTEST_S - CHARACTER_S / 2)
    exchange.looked()
    assert exchange.look_at is None


def test_the_smallest_turnaround_of_the_unit_is_slept_through_and_that_of_another_is_not():
    exchange = line()
    now = ask(exchange, ASK, NOW)
    exchange.received(answer_to(ASK)[:-1], now + SHORTEST_S + 0.1 - CHARACTER_S)
    assert exchange.received(answer_to(ASK)[-1:], now + SHORTEST_S + 0.1) == data_of(ASK)
    now = ask(exchange, OTHER, now + 1)
    assert exchange.look_at == pytest.approx(now + SHORTEST_S + 0.1 - CHARACTER_S / 2)
    exchange.expire(now)
    now = ask(exchange, NEIGHBOUR, now + 1)
    assert exchange.look_at == pytest.approx(now + SHORTEST_S - CHARACTER_S / 2)


def test_the_rest_of_an_answer_that_has_begun_is_slept_through():
    exchange = line()
    now = ask(exchange, ASK, NOW) + 0.1
    assert exchange.received(answer_to(ASK)[:5], now) is None
    assert exchange.look_at == pytest.approx(now + 20 * CHARACTER_S - CHARACTER_S / 2)
    assert exchange.received(answer_to(ASK)[5:-1], exchange.look_at) is None
    assert exchange.look_at is None, "the last byte is seen when it comes"


def begun(exchange):
    """Fifteen of the 25 bytes of an answer were seen; when it must be over."""
    now = ask(exchange, ASK, NOW) + 0.1
    assert exchange.received(answer_to(ASK)[:15], now) is None
    return now + 10 * CHARACTER_S


def test_the_gap_counts_from_the_end_of_the_answer_however_late_it_is_looked_at():
    exchange = line()
    end = begun(exchange)
    assert exchange.look_at < end
    assert exchange.received(answer_to(ASK)[15:], end + 0.003) == data_of(ASK)
    exchange.start(OTHER)
    assert exchange.next_at() == pytest.approx(end + gap_s(BAUD))


@pytest.mark.parametrize(("late_s", "wake_s"), [(0.003, 0.0), (0.003, 0.001), (0.0005, 0.001)])
def test_of_bytes_that_were_listened_for_only_the_lateness_of_every_wake_up_is_taken_off(late_s, wake_s):
    """The unit may have paused: what came later than computed came later."""
    exchange = line()
    end = begun(exchange)
    exchange.looked()
    assert exchange.received(answer_to(ASK)[15:], end + late_s, wake_s) == data_of(ASK)
    exchange.start(OTHER)
    assert exchange.next_at() == pytest.approx(max(end, end + late_s - wake_s) + gap_s(BAUD))


def test_the_gap_counts_from_the_last_byte_when_more_came_than_was_missing():
    exchange = line()
    now = ask(exchange, ASK, NOW) + 0.1
    exchange.received(answer_to(ASK)[:15], now)
    late = now + 10 * CHARACTER_S + 0.003
    assert exchange.received(answer_to(ASK)[15:] + b"\0", late) == data_of(ASK)
    exchange.start(OTHER)
    assert exchange.next_at() == pytest.approx(late + gap_s(BAUD))


def test_an_exception_is_found_at_the_first_look():
    exchange = line()
    ask(exchange, ASK, NOW)
    assert isinstance(exchange.received(seal(1, b"\x83\x02"), exchange.look_at), DeviceException)


def test_what_comes_while_nobody_is_asked_is_looked_at_now_and_then():
    """A babbling device at 115,200 baud would wake the process 10,000 times a second."""
    exchange = line()
    now = succeeds(exchange, ASK, NOW)
    assert exchange.next_at() is None, "listens: a port may be unplugged"
    exchange.received(b"\x55", now)
    assert exchange.next_at() == exchange.look_at == pytest.approx(now + IDLE_LOOK_S)
    exchange.received(b"\x55", exchange.look_at)
    exchange.looked()
    assert exchange.next_at() is None
    exchange.received(b"\x55", now)
    succeeds(exchange, OTHER, now)


@pytest.mark.parametrize("step", [1, 17, 10**6], ids=["byte by byte", "in lumps", "whole"])
def test_hostile_bytes_end_in_an_outcome_or_nothing_and_a_perfect_answer_succeeds_after_them(step):
    frames = [
        answer_to(ASK),
        answer_to(NEIGHBOUR),
        answer_to(Request(1, 3, 100, 9)),
        encode(ASK),
        seal(1, b"\x83\x02"),
        seal(9, b"\x04\x02\x00\x01"),
    ]
    exchange, now = line(), NOW
    for data in hostile(frames, seed=5, longest=400):
        outcome, now = None, ask(exchange, ASK, now)
        for at in range(0, len(data), step):
            now += 0.001
            outcome = outcome or exchange.received(data[at : at + step], now)
            assert exchange.look_at is None or now < exchange.look_at < now + 0.3, "no longer than an answer takes"
        if outcome is None:
            outcome, now = silence(exchange, now)
        if isinstance(outcome, memoryview):
            assert seal(1, bytes((3, 20)) + outcome) in data.replace(encode(ASK), b"")
        else:
            assert outcome is None or isinstance(outcome, DeviceError)
        assert len(exchange._receiver) <= MAX_BUFFER
        assert len(exchange._expected) <= 2
        if outcome is None:
            exchange.expire(now)
        now = succeeds(exchange, NEIGHBOUR, now) + LATE_S


def test_a_unit_that_got_quicker_is_looked_at_in_time_after_a_few_answers():
    """The first looks come too late and find the whole answer: each makes the next one earlier."""
    exchange, now = line(), NOW
    for turnaround_s in [0.8] * 200 + [0.02] * 20:
        now = ask(exchange, ASK, now)
        ready = now + SHORTEST_S + turnaround_s
        looks = exchange.look_at
        if looks < ready:
            exchange.received(answer_to(ASK)[:-1], max(looks, ready - CHARACTER_S / 2))
            assert exchange.received(answer_to(ASK)[-1:], ready) == data_of(ASK)
        else:
            assert exchange.received(answer_to(ASK), looks) == data_of(ASK)
        now = max(ready, looks)
    assert looks < ready


def test_a_refusal_of_a_long_read_is_found_long_before_its_answer_would_have_been_over():
    exchange, long = line(), Request(1, 3, 0, 125)
    now = ask(exchange, long, NOW)
    refused_at = now + 13 * CHARACTER_S
    assert refused_at < exchange.look_at < refused_at + 3 * CHARACTER_S
    error = exchange.received(seal(1, b"\x83\x02"), exchange.look_at)
    assert isinstance(error, DeviceException)


def test_a_long_answer_is_slept_through_once_its_head_was_seen():
    exchange, long = line(), Request(1, 3, 0, 125)
    now = ask(exchange, long, NOW)
    at = exchange.look_at
    there = int((at - now) / CHARACTER_S) - 8
    assert exchange.received(answer_to(long)[:there], at) is None
    assert exchange.look_at == pytest.approx(at + (255 - there) * CHARACTER_S - CHARACTER_S / 2)
