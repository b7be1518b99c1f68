"""isolate: whatever the database rejects, the good lines get in and exactly the bad ones come out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.bridge.isolate import MAX_SEARCH, MIN_BODY_BYTES, Job
from collector.errors import LinesRejected, StoreRefused, StoreTooLarge


class FakeDatabase:
    """Stores lines; knows bad ones by the letter they begin with; each server's manners can be chosen."""

    def __init__(self, *, partial=False, names=False, counts=False, max_bytes=1 << 30):
        self.partial, self.names, self.counts, self.max_bytes = partial, names, counts, max_bytes
        self.stored: set[bytes] = set()

    def write(self, body: bytes) -> None:
        if len(body) > self.max_bytes:
            raise StoreTooLarge("413")
        lines = body.splitlines()
        bad = [at for at in lines if at.startswith(b"bad")]
        if self.partial or not bad:
            self.stored |= set(lines) - set(bad)
        if bad:
            raise LinesRejected(
                "400",
                others_written=self.partial,
                lines=tuple(bad) if self.names else (),
                dropped=len(bad) if self.counts else None,
            )


def run(job: Job, database: FakeDatabase) -> Job:
    while not job.done:
        try:
            database.write(job.body)
            job.stored()
        except LinesRejected as error:
            job.rejected(error)
        except StoreTooLarge as error:
            job.too_large(error)
    return job


def bodies(flags: list[bool], per_body: int = 10) -> list[bytes]:
    lines = [(b"good %d" if ok else b"bad %d") % n + b"\n" for n, ok in enumerate(flags)]
    return [b"".join(lines[i : i + per_body]) for i in range(0, len(lines), per_body)]


manners = st.builds(FakeDatabase, partial=st.booleans(), names=st.booleans(), counts=st.booleans())


@given(flags=st.lists(st.booleans(), max_size=60), database=manners, max_bytes=st.integers(10, 2000))
def test_good_lines_are_stored_and_bad_lines_known_whatever_the_servers_manners(flags, database, max_bytes):
    job = run(Job(bodies(flags), max_bytes), database)
    good = {b"good %d" % n for n, ok in enumerate(flags) if ok}
    assert database.stored == good
    assert job.written == len(good)
    assert job.dropped == flags.count(False)
    if job.requests < MAX_SEARCH:
        assert sorted(b.line for b in job.bad) == sorted(b"bad %d" % n for n, ok in enumerate(flags) if not ok)


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("at", [0, 1, 2500, 4999])
def test_one_bad_line_among_five_thousand_is_found_in_log2_steps(partial, at):
    flags = [n != at for n in range(5000)]
    job = run(Job(bodies(flags), 1 << 20), FakeDatabase(partial=partial))
    assert [b.line for b in job.bad] == [b"bad %d" % at]
    assert job.requests <= 2 * math.ceil(math.log2(5000)) + 1
    assert job.written == 4999


def test_a_named_bad_line_costs_one_more_request_when_nothing_was_written_and_none_when_the_rest_was():
    flags = [n != 77 for n in range(1000)]
    assert run(Job(bodies(flags), 1 << 20), FakeDatabase(names=True)).requests == 2
    assert run(Job(bodies(flags), 1 << 20), FakeDatabase(names=True, partial=True)).requests == 1


def test_a_line_that_is_named_but_was_never_sent_changes_nothing():
    job = Job([b"good\nbad\n"], 1000)
    job.rejected(LinesRejected("400", others_written=False, lines=(b"ba", b"other")))
    assert job.body == b"good\n"


def test_lines_all_dropped_by_count_need_no_search():
    job = run(Job(bodies([False] * 500), 1 << 20), FakeDatabase(partial=True, counts=True))
    assert job.requests == 1
    assert (job.dropped, len(job.bad)) == (500, 500)


def test_the_search_ends_when_the_good_lines_are_safe_and_the_rest_is_kept_together():
    flags = [n % 3 != 0 for n in range(3000)]
    database = FakeDatabase(partial=True, counts=True)
    job = run(Job(bodies(flags), 1 << 20), database)
    assert len(database.stored) == 2000
    assert job.requests <= 3 * MAX_SEARCH
    assert (job.written, job.dropped) == (2000, 1000)
    assert {b.line for b in job.bad} >= {b"bad %d" % n for n in range(0, 3000, 3)}


def test_a_body_that_is_too_large_is_halved_until_it_fits_and_the_size_is_remembered():
    line = b"x" * 1000 + b"\n"
    database = FakeDatabase(max_bytes=150_000)
    job = run(Job([line * 1000], 2_000_000), database)
    assert job.written == 1000
    assert job.max_bytes <= 150_000
    refused = math.ceil(math.log2(1_001_000 / 150_000))
    assert job.requests <= refused + math.ceil(1_001_000 / job.max_bytes) + 1
    again = run(Job([line * 1000], job.max_bytes), database)
    assert again.requests == math.ceil(1_001_000 / job.max_bytes)


def test_a_server_that_takes_not_even_64_kib_is_an_alarm_and_not_a_reason_to_give_up_lines():
    job = Job([b"good\n"], 1000)
    with pytest.raises(StoreRefused, match="5 bytes"):
        job.too_large(StoreTooLarge("413"))
    assert job.body == b"good\n"
    assert job.bad == []


def test_a_single_line_above_every_limit_is_given_up_alone():
    giant = b"bad" + b"x" * (2 * MIN_BODY_BYTES) + b"\n"
    job = run(Job([b"good\n" + giant + b"good2\n"], 1 << 20), FakeDatabase(max_bytes=MIN_BODY_BYTES))
    assert [b.line for b in job.bad] == [giant[:-1]]
    assert job.written == 2


@given(sizes=st.lists(st.integers(0, 30), max_size=20), max_bytes=st.integers(20, 100))
def test_bodies_are_packed_to_the_limit_in_order_and_nothing_is_lost(sizes, max_bytes):
    pieces = [b"%02d" % n + b"." * size + b"\n" for n, size in enumerate(sizes)]
    job = Job(pieces, max_bytes)
    sent = []
    while not job.done:
        sent.append(job.body)
        job.stored()
    assert b"".join(sent) == b"".join(pieces)
    assert all(len(body) <= max_bytes or body.count(b"\n") == 1 for body in sent)
