from drivers.modbus.turnaround import ANSWERS, Turnarounds


def test_a_unit_that_was_never_heard_may_answer_at_once():
    assert Turnarounds().least(1) == 0.0


def test_the_smallest_turnaround_counts_and_each_unit_has_its_own():
    seen = Turnarounds()
    for turnaround_s in (0.02, 0.01, 0.03):
        seen.saw(1, turnaround_s)
    seen.saw(2, 0.5)
    assert (seen.least(1), seen.least(2)) == (0.01, 0.5)


def test_a_unit_that_got_slower_is_believed_after_a_while():
    seen = Turnarounds()
    seen.saw(1, 0.01)
    for _ in range(2 * ANSWERS):
        seen.saw(1, 0.05)
    assert seen.least(1) == 0.05


def test_a_turnaround_is_never_below_nothing():
    """A line that is set to a lower baud than it has, a clock that was read late."""
    seen = Turnarounds()
    seen.saw(1, -0.01)
    assert seen.least(1) == 0.0
