"""A late answer of a text protocol is never the answer to another question, not even to the same one asked again."""

import pytest

from drivers.text.exchange import TextExchange
from firmware_tests.virtual_text_line import CHARACTER_S, GAP_S, LATE_S, TIMEOUT_S, Anonymous, Careless, Ydt, run

SPEECHES = {"YD/T 1363.3": Ydt(), "answers that name nobody": Anonymous()}
each_speech = pytest.mark.parametrize("speech", SPEECHES.values(), ids=SPEECHES)


def a_line(kind=TextExchange, *, late_s=LATE_S):
    return kind(gap_s=GAP_S, timeout_s=TIMEOUT_S, late_s=late_s, character_s=CHARACTER_S)


@each_speech
def test_5000_mixed_timings_give_no_wrong_value(speech):
    exchange = a_line()
    seen = run(exchange, speech, 5_000, seed=1)
    assert seen["wrong"] == 0
    assert seen["right"] + seen["expired"] + seen["failed"] == 5_000
    # the mixture was what it says
    assert seen["right"] > 1500
    assert exchange.late > 800
    assert min(seen["late"], seen["twice"], seen["never"]) > 150
    assert min(seen[kind] for kind in speech.faults) > 50


@each_speech
@pytest.mark.parametrize("kind", [TextExchange, Careless])
def test_without_the_quarantine_the_same_timings_give_wrong_values(speech, kind):
    assert run(a_line(kind, late_s=0.0), speech, 2_000, seed=1)["wrong"] > 0


def test_without_the_quarantine_of_the_whole_line_answers_that_name_nobody_give_wrong_values():
    class OnlyTheUnit(TextExchange):
        def ready_at(self, unit):
            return max((end for each, (end, _) in self._overdue.items() if each == unit), default=0.0)

    assert run(a_line(OnlyTheUnit), Anonymous(), 2_000, seed=1)["wrong"] > 0
