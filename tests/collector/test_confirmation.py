import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import confirmation

SEQS = st.sets(st.integers(1, 10**6) | st.integers(2**60, 2**63), max_size=300)


@given(SEQS)
def test_what_is_encoded_decodes_to_the_same_rows(seqs):
    found = set()
    for payload in confirmation.encode("1f2e3d4c", seqs):
        spool_id, ranges = confirmation.decode(payload)
        assert spool_id == "1f2e3d4c"
        for first, last in ranges:
            found.update(range(first, last + 1))
    assert found == seqs


def test_neighbours_become_one_range_and_many_ranges_several_messages():
    (payload,) = confirmation.encode("s", [3, 1, 2, 9])
    assert json.loads(payload) == {"spool": "s", "seqs": [[1, 3], [9, 9]]}
    scattered = range(2**62, 2**62 + 4000, 2)
    payloads = confirmation.encode("1f2e3d4c", scattered)
    assert len(payloads) == 4
    assert max(map(len, payloads)) <= confirmation.MAX_BYTES
    assert confirmation.encode("s", []) == []


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"spool":1,"seqs":[]}',
        b'{"spool":"s","seqs":{}}',
        b'{"spool":"s","seqs":[[1]]}',
        b'{"spool":"s","seqs":[[2,1]]}',
        b'{"spool":"s","seqs":[[0,1]]}',
        b'{"spool":"s","seqs":[[-5,1]]}',
        b'{"spool":"s","seqs":[[true,true]]}',
        b'{"spool":"s","seqs":[[1.0,2.0]]}',
        b'{"spool":"s","seqs":[["1","2"]]}',
        b'{"spool":"s","seqs":[[1,NaN]]}',
        b'{"spool":"s","seqs":[[1,' + b"9" * 5000 + b"]]}",
        b"[" * 20_000,
        b'{"spool":"s","seqs":[' + b",".join([b"[1,1]"] * 513) + b"]}",
        b" " * (confirmation.MAX_BYTES + 1),
    ],
)
def test_anything_else_is_a_value_error(payload):
    with pytest.raises(ValueError):
        confirmation.decode(payload)


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes_decode_or_are_a_value_error(payload):
    try:
        confirmation.decode(payload)
    except ValueError:
        return
