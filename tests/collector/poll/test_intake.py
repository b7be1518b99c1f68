"""What goes in comes out: in order, once, within the bound, or counted as dropped."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.poll.intake import RECORD_BYTES, Intake
from collector.types import Outcome
from tests.maps import untimed

TAKE = "take"
answers = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), st.binary(max_size=260))
failures = st.tuples(
    st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), st.sampled_from([o for o in Outcome if o is not Outcome.OK])
)
events = st.lists(st.one_of(answers, failures, st.just(TAKE)), max_size=60)


def put(intake, block, ts_ns, what):
    if isinstance(what, Outcome):
        intake.fail(block, ts_ns, what)
    else:
        intake.answer(block, ts_ns, memoryview(what))


def size_of(what):
    return RECORD_BYTES + (0 if isinstance(what, Outcome) else len(what))


def assert_same(batch, expected):
    assert list(zip(batch.block.tolist(), batch.ts_ns.tolist(), strict=True)) == [(b, t) for b, t, _ in expected]
    for start, outcome, (_, _, what) in zip(batch.start, batch.outcome, expected, strict=True):
        if isinstance(what, Outcome):
            assert outcome == what
        else:
            assert outcome == Outcome.OK
            assert bytes(batch.image[start : start + len(what)]) == what


@untimed
@given(events, st.integers(0, 3000))
def test_every_record_comes_out_once_and_in_order_or_is_counted_as_dropped(events, capacity):
    intake = Intake(capacity)
    expected, room, given_, dropped, came_out = [], capacity, 0, 0, 0
    for event in [*events, TAKE]:
        if event == TAKE:
            batch = intake.take()
            assert_same(batch, expected)
            came_out += len(batch)
            expected, room = [], capacity
            continue
        given_ += 1
        put(intake, *event)
        room -= size_of(event[2])
        if room >= 0:
            expected.append(event)
        else:
            dropped += 1
        assert sum(size_of(what) for _, _, what in expected) <= capacity
    assert (intake.accepted, intake.dropped) == (came_out, dropped)
    assert given_ == came_out + dropped


def test_a_batch_stays_as_it_is_while_the_field_fills_the_other_image():
    intake = Intake(1000)
    intake.answer(1, 10, memoryview(b"first"))
    first = intake.take()
    intake.answer(2, 20, memoryview(b"second"))
    intake.fail(3, 30, Outcome.TIMEOUT)
    assert_same(first, [(1, 10, b"first")])
    assert_same(intake.take(), [(2, 20, b"second"), (3, 30, Outcome.TIMEOUT)])


def test_the_two_images_take_turns():
    """A batch is good until the next one is taken, and no longer: its memory is then filled again."""
    intake = Intake(1000)
    batches = []
    for text in (b"one", b"two", b"six"):
        intake.answer(0, 0, memoryview(text))
        batches.append(intake.take())
    assert np.shares_memory(batches[0].image, batches[2].image)
    assert not np.shares_memory(batches[0].image, batches[1].image)
    assert bytes(batches[0].image) == b"six"


def test_bytes_are_copied_before_the_link_uses_its_buffer_again():
    intake = Intake(1000)
    buffer = bytearray(b"reading")
    intake.answer(0, 0, memoryview(buffer))
    buffer[:] = b"garbage"
    assert_same(intake.take(), [(0, 0, b"reading")])


def test_a_flood_of_failures_is_bounded_too():
    intake = Intake(10 * RECORD_BYTES)
    for i in range(1000):
        intake.fail(i, i, Outcome.LINK_DOWN)
    assert len(intake.take()) == 10
    assert intake.dropped == 990


def test_what_is_dropped_harms_nothing_that_was_there_and_the_next_batch_is_whole_again():
    intake = Intake(2 * RECORD_BYTES + 8)
    intake.answer(0, 0, memoryview(b"12345678"))
    intake.answer(1, 1, memoryview(bytes(100)))
    assert_same(intake.take(), [(0, 0, b"12345678")])
    intake.answer(2, 2, memoryview(b"87654321"))
    assert_same(intake.take(), [(2, 2, b"87654321")])


def test_an_empty_batch_has_the_types_of_a_full_one():
    batch = Intake(0).take()
    types = [batch.block.dtype, batch.start.dtype, batch.ts_ns.dtype, batch.outcome.dtype]
    assert types == [np.int32, np.int64, np.int64, np.uint8]
    assert len(batch) == 0
