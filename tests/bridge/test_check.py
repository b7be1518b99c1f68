"""check: a gateway writes only under its own name, and nothing hostile gets past or breaks anything."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.bridge.check import Checked, Limits, Reason, Rejected, check
from tests.bridge.payloads import line, payload, topic

LIMITS = Limits(payload_bytes=1 << 20, lines=1000)


def judge(data: bytes, on: str | None = None, limits: Limits = LIMITS) -> Checked | Rejected:
    return check(on or topic(), data, limits)


def test_a_good_message_passes_whole():
    body = line("u=1.5,i=2i") + line('text="a, b=c \\" d",on=true', device="m2")
    verdict = judge(payload(body, seq=7, points=4))
    assert isinstance(verdict, Checked)
    assert (verdict.body, verdict.lines, verdict.points, verdict.bad) == (body, 2, 4, ())
    assert (verdict.sender.topic, verdict.sender.spool, verdict.sender.seq) == ("dc/v1/c/s1/gw1", "0000beef", 7)


def test_a_last_line_without_newline_gets_one():
    body = line()[:-1]
    assert judge(payload(body, points=1)).body == line()


def test_an_empty_message_is_good_and_stores_nothing():
    verdict = judge(payload(b""))
    assert isinstance(verdict, Checked)
    assert verdict.lines == 0


@pytest.mark.parametrize(
    ("data", "on", "reason"),
    [
        (payload(line()), "dc/v1/c/s1/gw1/data/power/more", Reason.TOPIC),
        (payload(line()), "dc/v1/c/s1/../data/power", Reason.TOPIC),
        (payload(line()), "dc/v1/c/s1/gw1/event", Reason.TOPIC),
        (payload(line()), "dc/v1/c/s1/gw,1/data/power", Reason.TOPIC),
        (b"", None, Reason.HEADER),
        (line(), None, Reason.HEADER),
        (payload(line())[1:], None, Reason.HEADER),
        (payload(line()).replace(b"seq=1", b"seq=-1"), None, Reason.HEADER),
        (payload(line()).replace(b"seq=1", b"seq=99999999999999999999"), None, Reason.HEADER),
        (payload(line()).replace(b"boot=12345678", b"boot=1234567"), None, Reason.HEADER),
        (payload(line(), gateway="gw2"), None, Reason.SENDER),
        (payload(line(), crc=1), None, Reason.CRC),
        (payload(line(), points=10**6), None, Reason.POINTS),
        (payload(line() * 1001), None, Reason.LINES),
        (payload(b"x" * (1 << 20)), None, Reason.SIZE),
    ],
)
def test_a_message_that_is_not_what_it_claims_is_rejected(data, on, reason):
    verdict = judge(data, on)
    assert isinstance(verdict, Rejected)
    assert verdict.reason is reason


def test_who_sent_a_rejected_message_is_told_only_when_topic_and_header_agree():
    assert judge(payload(line(), crc=1, seq=5)).sender.seq == 5
    assert judge(payload(line(), gateway="gw2")).sender is None
    assert judge(b"nonsense").sender is None


@pytest.mark.parametrize(
    "foreign",
    [
        line(gateway="gw2"),
        line(site="s2"),
        line(category="cooling"),
        line().replace(b"gateway=gw1", b"gateway=gw1,gateway=gw2"),
        b" " + line(),
        b"power u=1 1\n",
        b"\n",
    ],
)
def test_a_line_under_another_name_goes_and_its_neighbours_stay(foreign):
    verdict = judge(payload(line() + foreign + line(device="m2"), points=3))
    assert verdict.body == line() + line(device="m2")
    assert [bad.reason for bad in verdict.bad] == [Reason.FOREIGN]
    assert (verdict.points, verdict.points_claimed) == (2, 3)


@pytest.mark.parametrize(
    "fields",
    ["", "u", "u=", "u=abc", "u=NaN", "u=Inf", "u=1,", ",u=1", "u=1 2", 'u="open', "u=1\x00", "u=1\r", "u=--1",
     "u=1..2", "u=0x10", "u=1i5", "u =1", "u==1", 'u="a"b', "u=\x7f1"],
)  # fmt: skip
def test_a_line_that_is_not_line_protocol_goes_and_its_neighbours_stay(fields):
    bad = line(fields)
    verdict = judge(payload(line() + bad + line(device="m2")))
    assert verdict.body == line() + line(device="m2")
    assert [b.line for b in verdict.bad] == [bad[:-1]]
    assert verdict.bad[0].reason is Reason.SYNTAX


@pytest.mark.parametrize("tail", [b" ", b" 12345678901234567890", b" now", b""])
def test_a_line_needs_a_timestamp(tail):
    head = line().rsplit(b" ", 1)[0]
    assert judge(payload(head + tail + b"\n")).bad[0].reason is Reason.SYNTAX


@pytest.mark.parametrize("tag", ["gateway=gw2", "site=s2", "city=d", "device=m2"])
def test_a_second_tag_of_who_writes_is_a_bad_line(tag):
    bad = line().replace(b",device=m1", f",device=m1,rack=a,{tag}".encode())
    verdict = judge(payload(line() + bad))
    assert verdict.body == line()
    assert verdict.bad[0].reason is Reason.SYNTAX


def test_a_tag_that_only_begins_like_one_of_ours_is_good():
    good = line().replace(b",device=m1", b",device=m1,gateway_rack=a,sites=4")
    assert judge(payload(good)).body == good


def test_a_newline_inside_a_text_cannot_smuggle_a_line_in():
    smuggled = b'power,city=c,site=s1,gateway=gw1,device=m t="x\npower,city=c,site=s1,gateway=gw2,device=m u=1 1\n" 1\n'
    verdict = judge(payload(line() + smuggled, points=2))
    assert verdict.body == line()
    assert b"gw2" not in verdict.body


def test_text_that_is_not_utf8_is_a_bad_line():
    bad = line('t="\xff"').decode().encode("latin-1")
    verdict = judge(payload(line() + bad))
    assert verdict.body == line()
    assert verdict.bad[0].reason is Reason.SYNTAX


def test_a_room_name_in_chinese_with_spaces_is_a_good_tag():
    good = line().replace(b",device=m1", ",device=m1,room=三楼\\ 机房\\,A".encode())
    assert judge(payload(good)).body == good


def test_ten_thousand_mutated_payloads_give_a_verdict_and_never_an_exception():
    rng = random.Random(7)
    body = line("u=1.5,i=2i") + line('t="a b"', device="m2") + line("on=f", device="m3")
    good = payload(body)
    verdicts = []
    for n in range(12_000):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 1, 5))] = rng.randbytes(rng.choice((0, 1, 1, 4)))
        if n % 2:  # half of them with the right checksum, so that the lines are looked at
            rest = bytes(data).partition(b"\n")[2]
            data = bytearray(payload(rest, points=min(rest.count(b"\n"), len(rest) // 4)))
        verdicts.append(judge(bytes(data)))
    stored = [v for v in verdicts if isinstance(v, Checked)]
    assert len(stored) > 1000
    assert {v.reason for v in verdicts if isinstance(v, Rejected)} >= {Reason.HEADER, Reason.CRC}
    for verdict in stored:
        assert all(at.startswith(b"power,city=c,site=s1,gateway=gw1,device=") for at in verdict.body.splitlines())
        assert verdict.points <= verdict.points_claimed


def test_every_prefix_of_a_payload_gives_a_verdict():
    good = payload(line() + line(device="m2"))
    whole = [isinstance(judge(good[:n]), Checked) for n in range(len(good) + 1)]
    # Only the payload without its last newline has another checksum and still the same lines: it is rejected, too.
    assert whole.index(True) == len(good)


@settings(max_examples=300, deadline=None)
@given(topic=st.text(max_size=40), data=st.binary(max_size=300))
def test_anything_at_all_gives_a_verdict(topic, data):
    assert isinstance(check(topic, data, LIMITS), Rejected)
    verdict = check("dc/v1/c/s1/gw1/data/power", payload(data, points=0), LIMITS)
    assert isinstance(verdict, Checked | Rejected)
    if isinstance(verdict, Checked):
        assert verdict.body == b""


def test_a_million_empty_lines_are_rejected_without_looking_at_each():
    verdict = judge(payload(b"\n" * 500_000, points=0))
    assert isinstance(verdict, Rejected)
    assert verdict.reason is Reason.LINES


def test_a_long_run_of_escapes_or_commas_does_not_hang():
    for junk in (b"\\" * 200_000, b"," * 200_000, b"a=1," * 50_000, b'"' * 200_000, b"1" * 200_000, b"e" * 200_000):
        verdict = judge(payload(line()[:-1].rsplit(b" ", 1)[0] + b"," + junk + b" 1\n", points=1))
        assert isinstance(verdict, Checked)
        assert verdict.body == b""
