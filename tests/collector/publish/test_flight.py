from hypothesis import given
from hypothesis import strategies as st

from collector.publish.flight import MAX_BYTES, MAX_SENDS, SLOW_RTT_S, Flight


def flight(rows=8, timeout_s=30.0, pace=8):
    made = Flight(rows, timeout_s)
    made.pace = pace
    return made


def deliver(f, seq, at=0.0):
    f.sent(seq, 100, at)
    f.pubacked(seq, at + 0.01)


def test_it_begins_with_one_row_and_speeds_up_with_every_quick_puback():
    f = Flight(8, 30)
    assert f.has_room(100)
    f.sent(1, 10, 0)
    assert not f.has_room(100)
    f.pubacked(1, 0.1)
    assert f.pace == 2
    for seq in range(2, 20):
        f.sent(seq, 10, 1)
        f.pubacked(seq, 1.1)
    assert f.pace == 8


def test_a_slow_link_gets_fewer_rows_at_once():
    f = flight()
    f.sent(1, 10, 0)
    f.pubacked(1, SLOW_RTT_S)
    assert f.pace == 4
    for seq in range(2, 9):
        f.sent(seq, 10, 0)
        f.pubacked(seq, 10)
    assert f.pace == 1


def test_rows_not_confirmed_take_room_and_rows_not_pubacked_take_slots():
    f = flight(rows=3)
    for seq in (1, 2, 3):
        deliver(f, seq)
    assert not f.has_room(100)
    assert f.has_slot(100)
    assert f.confirmed([(2, 2)], 1) == [2]
    assert not f.has_room(100)
    f.remove([2])
    assert f.has_room(100)
    f.sent(4, 10, 0)
    assert not f.has_slot(1)


def test_bytes_without_puback_are_bounded_too():
    f = flight(rows=1000, pace=1000)
    f.sent(1, MAX_BYTES, 0)
    assert not f.has_room(1000)
    f.pubacked(1, 0.1)
    assert f.has_room(1000)


def test_only_rows_under_way_are_confirmed_and_only_once():
    f = flight()
    for seq in (5, 6, 7):
        deliver(f, seq)
    assert f.confirmed([(1, 5), (7, 10**18), (5, 5)], 1) == [5, 7]
    assert f.confirmed([(1, 10**18)], 1) == [6]
    assert f.confirmed([(1, 10**18)], 1) == []


def test_a_row_is_overdue_when_later_ones_were_confirmed():
    f = flight()
    deliver(f, 1, 0)
    deliver(f, 2, 5)
    f.confirmed([(2, 2)], 6)
    assert f.overdue(29.9) is None
    assert f.overdue(30.1) == 1
    f.sent(1, 100, 30.1)
    assert f.overdue(30.2) is None


def test_a_silent_bridge_is_probed_with_one_row_at_growing_intervals():
    f = flight()
    for seq in range(1, 9):
        deliver(f, seq, 0)
    probes = []
    for now in range(3600):
        seq = f.overdue(now)
        if seq is not None:
            probes.append((now, seq))
            deliver(f, seq, now)
    assert [now for now, _ in probes] == [30, 60, 120, 240, 480, 960, 1560, 2160, 2760, 3360]
    assert [seq for _, seq in probes][:3] == [1, 2, 3]


def test_when_the_bridge_is_heard_again_what_is_queued_for_it_gets_its_full_time():
    f = flight()
    for seq in (1, 2, 3):
        deliver(f, seq, 0)
    assert f.overdue(31) == 1
    deliver(f, 1, 31)
    f.confirmed([(2, 2)], 1000)
    assert f.overdue(1029) is None
    assert f.overdue(1031) in (1, 3)


def test_a_row_that_alone_gets_no_answer_becomes_hopeless():
    f = flight()
    deliver(f, 1, 0)
    now = 0.0
    for n in range(1, MAX_SENDS + 1):
        deliver(f, 100 + n, now)
        f.confirmed([(100 + n, 100 + n)], now + 1)
        now += 31
        assert f.overdue(now) == 1
        assert f.hopeless(1) == (n == MAX_SENDS)
        deliver(f, 1, now)


def test_the_broker_stalls_when_it_owes_pubacks_and_gives_none():
    f = flight()
    assert not f.stalled(1e9, 60)
    f.sent(1, 10, 100)
    f.sent(2, 10, 100)
    assert not f.stalled(159, 60)
    f.pubacked(1, 150)
    assert not f.stalled(209, 60)
    assert f.stalled(210, 60)


def test_after_the_link_only_rows_that_may_be_freed_remain_and_the_pace_is_slow_again():
    f = flight()
    deliver(f, 1)
    deliver(f, 2)
    f.sent(3, 10, 0)
    f.confirmed([(2, 2)], 1)
    f.link_lost()
    assert list(f.rows) == [2]
    assert f.pace == 1
    assert f.unacked == []


STEPS = st.lists(
    st.tuples(st.sampled_from(["sent", "pubacked", "confirmed", "remove", "link_lost"]), st.integers(1, 12)),
    max_size=80,
)


@given(STEPS)
def test_the_counts_of_slots_and_bytes_always_equal_the_rows(steps):
    f = flight(rows=6)
    for now, (step, seq) in enumerate(steps):
        if step == "sent":
            row = f.rows.get(seq)
            if f.has_room(100) if row is None else row.pubacked and not row.done:
                f.sent(seq, seq, now)
        elif step == "pubacked":
            f.pubacked(seq, now)
        elif step == "confirmed":
            f.confirmed([(seq, seq)], now)
        elif step == "remove":
            f.remove([seq])
        else:
            f.link_lost()
        waiting = [row for row in f.rows.values() if not row.pubacked]
        assert (f._unacked, f._unacked_bytes) == (len(waiting), sum(row.size for row in waiting))
        assert len(f) <= 6
