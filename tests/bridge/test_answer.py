"""answer: every status of every server, in their own words (InfluxDB 1.6, 2.7, 3; VictoriaMetrics; proxies)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.bridge.answer import MAX_RETRY_AFTER_S, error_of, is_about_lines, retry_after_s
from collector.errors import LinesRejected, StoreBusy, StoreError, StoreRefused, StoreTooLarge

NOW_NS = 1_790_000_000_000_000_000  # Mon, 21 Sep 2026 14:13:20 GMT


def judge(status: int, text: str = "", headers: dict | None = None) -> StoreError | None:
    return error_of("db", status, headers or {}, text, NOW_NS)


def test_only_204_means_stored():
    assert judge(204) is None
    for status in (200, 202, 302):
        assert isinstance(judge(status, "<html>login</html>"), StoreRefused)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, StoreRefused), (403, StoreRefused), (404, StoreRefused), (405, StoreRefused), (410, StoreRefused),
     (413, StoreTooLarge),
     (408, StoreBusy), (429, StoreBusy), (499, StoreBusy), (500, StoreBusy), (502, StoreBusy), (503, StoreBusy),
     (400, LinesRejected), (422, LinesRejected)],
)  # fmt: skip
def test_each_status_becomes_the_error_that_says_who_must_act(status, kind):
    error = judge(status, '{"error": "words"}')
    assert type(error) is kind
    assert f"db: HTTP {status}: words" in str(error)


V1_PARTIAL = "partial write: unable to parse 'm,a=b v= 179': missing field value dropped=0"
V1_CONFLICT = (
    'partial write: field type conflict: input field "v" on measurement "m" is type integer, '
    "already exists as type float dropped=3"
)
V1_RETENTION = "partial write: points beyond retention policy dropped=2"
V1_NONE = "unable to parse 'm v=': missing field value"
V2_PARSE = "unable to parse 'm v=': missing fields\nunable to parse 'n, x=1': missing tag key"
V2_DROPPED = (
    "failure writing points to database: partial write: dropped 4 points outside retention policy of duration "
    "72h0m0s - oldest point x at 1970, newest point y at 1970"
)


@pytest.mark.parametrize(
    ("status", "body", "written", "lines", "dropped"),
    [
        (400, {"error": V1_PARTIAL}, True, (b"m,a=b v= 179",), 0),
        (400, {"error": V1_CONFLICT}, True, (), 3),
        (400, {"error": V1_RETENTION}, True, (), 2),
        (400, {"error": V1_NONE}, False, (b"m v=",), None),
        (400, {"code": "invalid", "message": V2_PARSE}, False, (b"m v=", b"n, x=1"), None),
        (422, {"code": "unprocessable entity", "message": V2_DROPPED}, True, (), 4),
        (
            400,
            {"error": "line protocol parsing error", "data": {"original_line": "m v=", "line_number": 2}},
            False,
            (b"m v=",),
            None,
        ),
        (
            400,
            {"error": "partial write of line protocol occurred", "data": [{"original_line": "a"}, {"x": 1}, None]},
            True,
            (b"a",),
            None,
        ),
    ],
)
def test_what_became_of_the_good_lines_and_which_were_bad_is_read_from_the_words(status, body, written, lines, dropped):
    error = judge(status, json.dumps(body))
    assert isinstance(error, LinesRejected)
    assert (error.others_written, error.lines, error.dropped) == (written, lines, dropped)
    assert is_about_lines(error)


@pytest.mark.parametrize("words", ["database is required", "invalid precision", "org not found", "Bad Request"])
def test_a_400_that_blames_no_line_is_known_as_such(words):
    assert not is_about_lines(judge(400, json.dumps({"error": words})))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1.0),
        ("0.5", 0.5),
        ("1000000000", MAX_RETRY_AFTER_S),
        ("1e400", MAX_RETRY_AFTER_S),
        ("-5", 0.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Mon, 21 Sep 2026 14:13:50 GMT", 30.0),
        ("Mon, 21 Sep 2026 14:13:00 GMT", 0.0),
        ("Fri, 21 Sep 2096 14:13:00 GMT", MAX_RETRY_AFTER_S),
        ("Mon, 99 Sep 2026 14:13:00 GMT", None),
    ],
)
def test_retry_after_is_honoured_up_to_five_minutes_and_ignored_when_it_makes_no_sense(value, seconds):
    assert retry_after_s(value, NOW_NS) == seconds


def test_retry_after_travels_with_the_error():
    assert judge(429, "", {"Retry-After": "7"}).retry_after_s == 7.0
    assert judge(503).retry_after_s is None


@given(status=st.integers(100, 599), text=st.text(max_size=80), header=st.text(max_size=40))
def test_any_answer_becomes_one_of_our_errors(status, text, header):
    error = judge(status, text, {"Retry-After": header})
    assert (error is None) == (status == 204)
    assert error is None or isinstance(error, StoreError)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"message": 5}', '{"data": [[[]]]}', "null", "\x00", '{"error": null}']
)
def test_odd_bodies_are_only_words(text):
    assert isinstance(judge(400, text), LinesRejected)
    assert len(str(judge(500, text))) < 400
