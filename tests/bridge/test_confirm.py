"""confirm: one message per gateway and spool, that the gateway's side reads back; and when to give a row up."""

from hypothesis import given
from hypothesis import strategies as st

from collector.bridge.check import Reason, Rejected, Sender
from collector.bridge.confirm import GivenUp, confirmations
from collector.confirmation import decode

senders = st.builds(
    Sender, st.just("c"), st.sampled_from("ab"), st.sampled_from("gh"), st.sampled_from(("aa", "bb")),
    st.integers(1, 30),
)  # fmt: skip


@given(st.lists(senders, max_size=60))
def test_the_gateway_reads_exactly_the_rows_that_were_stored(rows):
    confirmed = set()
    for topic, payload in confirmations(rows, "east"):
        _, _, city, site, gateway, ack, centre = topic.split("/")
        assert (ack, centre) == ("ack", "east")
        spool, ranges = decode(payload)
        for first, last in ranges:
            confirmed |= {Sender(city, site, gateway, spool, seq) for seq in range(first, last + 1)}
    assert confirmed == set(rows)


def test_many_rows_in_a_run_are_one_range():
    [(topic, payload)] = confirmations([Sender("c", "s", "g", "aa", n) for n in (3, 1, 2, 2)], "east")
    assert topic == "dc/v1/c/s/g/ack/east"
    assert payload == b'{"spool":"aa","seqs":[[1,3]]}'


def rejected(seq: int = 1, crc: str = "00000000") -> Rejected:
    return Rejected(Reason.CRC, Sender("c", "s", "g", "aa", seq), crc)


def test_a_rejected_row_is_given_up_only_when_it_comes_again_unchanged():
    given_up = GivenUp()
    assert not given_up.is_final(rejected())
    assert not given_up.is_final(rejected(crc="11111111"))
    assert not given_up.is_final(rejected(seq=2))
    assert given_up.is_final(rejected())


def test_a_row_of_nobody_is_never_confirmed():
    given_up = GivenUp()
    assert not any(given_up.is_final(Rejected(Reason.HEADER)) for _ in range(3))


def test_the_memory_of_rejected_rows_is_bounded():
    given_up = GivenUp()
    for seq in range(10_000):
        given_up.is_final(rejected(seq))
    assert len(given_up._seen) <= 8192
    assert given_up.is_final(rejected(9_999))
