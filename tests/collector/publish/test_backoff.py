import random

from collector.errors import UplinkLost, UplinkRefused
from collector.publish.backoff import HELD_BACK_S, MAX_FATAL, MAX_SUSPECTS, Backoff, Suspects


class Longest(random.Random):
    def uniform(self, a, b):
        return b


class Shortest(random.Random):
    def uniform(self, a, b):
        return a


def test_waits_double_to_a_minute_and_are_jittered_down_to_nothing():
    longest, shortest = Backoff(Longest()), Backoff(Shortest())
    lost = UplinkLost("x")
    assert [longest.after(lost, 0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [shortest.after(lost, 0) for _ in range(3)] == [0, 0, 0]


def test_a_refusal_waits_at_least_half_a_minute():
    assert Backoff(Shortest()).after(UplinkRefused("x"), 0) == 30


def test_only_a_connection_that_held_a_minute_starts_the_waits_again():
    backoff = Backoff(Longest())
    for _ in range(7):
        backoff.after(UplinkLost("x"), 0)
    assert backoff.after(UplinkLost("x"), 59) == 60
    assert backoff.after(UplinkLost("x"), 60) == 1


def test_two_clients_with_one_id_push_each_other_out_once_in_half_a_minute_not_more():
    """Each connect ends the other's connection at once; the waits alone keep them apart."""
    rng = random.Random(7)
    sides = [Backoff(rng), Backoff(rng)]
    now, connects, due = 0.0, [], [0.0, 0.1]
    while now < 3600:
        side = due.index(min(due))
        now = due[side]
        connects.append(now)
        due[side] = float("inf")
        other = 1 - side
        if due[other] == float("inf"):
            due[other] = now + sides[other].after(UplinkLost("closed by the peer"), 1.0)
    assert len([at for at in connects if at > 120]) <= (3600 - 120) / 20


def test_a_row_is_held_back_after_it_was_alone_at_the_end_three_times_until_its_time_is_up():
    suspects = Suspects()
    for i in range(MAX_FATAL):
        assert not suspects.held_back(5, i)
        suspects.alone_at_the_end(5, i)
    assert suspects.held_back(5, 10)
    assert not suspects.held_back(6, 10)
    assert not suspects.held_back(5, MAX_FATAL + HELD_BACK_S)
    suspects.alone_at_the_end(5, 2000)
    assert suspects.held_back(5, 2001)
    suspects.acquit(5)
    assert not suspects.held_back(5, 2001)


def test_no_more_than_a_few_suspects_are_remembered():
    suspects = Suspects()
    for seq in range(10 * MAX_SUSPECTS):
        suspects.alone_at_the_end(seq, 0)
    assert len(suspects._rows) == MAX_SUSPECTS
