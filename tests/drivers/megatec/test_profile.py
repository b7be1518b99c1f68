"""Profiles of the family on the line of text protocols, without a port."""

import pytest

from drivers.codec import Status, decode_answer
from drivers.errors import BadFrame, ProfileError, Refused
from drivers.megatec.frame import LONGEST
from drivers.profile import load_profile, parse_profile
from drivers.text.exchange import TextExchange
from drivers.text.profile import TextProfile
from tests.fuzzing import INPUTS, hostile

PROFILE = load_profile("megatec/q1")
ANSWER = b"(226.0 195.0 226.0 014 49.0 27.5 30.0 00001000\r"
CHECKED = PROFILE.model_copy(update={"megatec": PROFILE.megatec.model_copy(update={"crc": True})})
#: Answers to this and to other questions, refusals and echoes, for hostile input.
LINES = [ANSWER, b"#220.0 000 024.0 50.0\r", b"(NAK\r", b"Q1\r", b"\r", b"(\r", b"V\r", b"(S\r"]

SOUND = """
schema = 1
protocol = "megatec"

[device]
vendor = "Acme"
model = "U1"
category = "ups"
source = "a test"
evidence = "doubtful"

[[command]]
name = "Q1"

[[point]]
name = "output_voltage"
command = "Q1"
field = "output_voltage"
unit = "V"
range = [0, 500]
"""


class Line:
    """One UPS on a line whose time is told by hand."""

    def __init__(self, profile=PROFILE):
        self.profile = profile
        self.exchange = TextExchange(gap_s=0.05, timeout_s=1.0, late_s=2.0, character_s=1 / 240)
        self.now = 0.0
        self.commands = {}

    def ask(self, name="Q1"):
        """Transmit as soon as that is allowed; the bytes on the wire."""
        self.now = max(self.now + 10, self.exchange.ready_at(1))
        if name not in self.commands:
            self.commands[name] = self.profile.ask(name, 1)
        self.exchange.start(self.commands[name])
        return self.exchange.transmit(max(self.now, self.exchange.next_at()))

    def hear(self, data, step=None):
        """The outcome, None: none yet. Nothing comes after `data`."""
        for k in range(0, len(data), step or len(data)):
            outcome = self.exchange.received(data[k : k + (step or len(data))], self.now)
            if outcome is not None:
                return outcome
        return self.exchange.silence(self.now + 0.5)

    def values(self, image, name="Q1"):
        readings = decode_answer(self.profile, name, bytes(image))
        return {point: reading.value for point, reading in readings.items()}


def test_a_question_and_its_answer_become_values():
    line = Line()
    assert line.ask() == b"Q1\r"
    values = line.values(line.hear(ANSWER))
    assert (values["output_voltage"], values["battery_voltage"], values["line_interactive"]) == (226.0, 27.5, True)


def test_the_scale_of_a_point_makes_the_battery_of_a_cell():
    cells = parse_profile(
        SOUND.replace('field = "output_voltage"\n', 'field = "battery_voltage"\nscale = 96\n').replace(
            "[0, 500]", "[140, 250]"
        )
    )
    line = Line(cells)
    line.ask()
    assert line.values(line.hear(ANSWER.replace(b"27.5", b"2.25")))["output_voltage"] == 216.0


@pytest.mark.parametrize("said", [b"(NAK\r", b"Q1\r", b"\r", b"?\r"])
def test_a_refusal_that_is_repeated_lasts_and_the_next_question_is_answered(said):
    line = Line()
    for lasts in (False, True, True):
        line.ask("F")
        refused = line.hear(said.replace(b"Q1", b"F"))
        assert isinstance(refused, Refused)
        assert refused.retryable is not lasts
    line.ask()
    assert line.values(line.hear(ANSWER))["output_voltage"] == 226.0


@pytest.mark.parametrize("said", [b"(NAK\r", b"\r"])
def test_what_was_answered_once_is_never_taken_for_unknown(said):
    """A stray CR must not cost ten minutes of readings."""
    line = Line()
    line.ask()
    assert line.values(line.hear(ANSWER))["output_voltage"] == 226.0
    for _ in range(3):
        line.ask()
        refused = line.hear(said)
        assert isinstance(refused, Refused)
        assert refused.retryable


def test_twin_believed_at_once_a_stray_carriage_return_would_last():
    believing = TextProfile.ask(PROFILE, "Q1", 1)
    assert believing.read(ANSWER)
    with pytest.raises(Refused) as refused:
        believing.read(b"\r")
    assert not refused.value.retryable


def test_an_echo_with_the_answer_behind_it_is_no_refusal():
    line = Line()
    line.ask()
    assert line.values(line.hear(b"Q1\r" + ANSWER, step=1))["output_voltage"] == 226.0


def test_the_answer_to_another_question_is_never_taken_for_this_one():
    line = Line()
    line.ask("F")
    assert isinstance(line.hear(ANSWER), BadFrame)


def test_the_checksum_dialect_asks_and_reads_with_it():
    line = Line(CHECKED)
    assert line.ask()[:2] == b"Q1"
    said = {point.name: value for point, value in zip(CHECKED.points_of("Q1"), [226.0] * 7, strict=False)}
    answer = CHECKED.answer(CHECKED.command_named("Q1"), 1, said)
    assert line.values(line.hear(answer))["output_voltage"] == 226.0
    line.ask()
    assert isinstance(line.hear(bytes([answer[0], answer[1] ^ 1]) + answer[2:]), BadFrame)


@pytest.mark.parametrize("step", [None, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("profile", [PROFILE, CHECKED], ids=["plain", "checksum"])
def test_hostile_bytes_end_in_an_outcome_or_nothing_and_a_perfect_answer_succeeds_after_them(profile, step):
    line = Line(profile)
    answer = profile.answer(profile.command_named("Q1"), 1, {"output_voltage": 226.0})
    for data in hostile([*LINES, answer], seed=step or 0, longest=2 * LONGEST, inputs=INPUTS // 3):
        line.ask()
        if not data or line.hear(data, step) is None:
            line.exchange.expire(line.now + 1)
        line.ask()
        assert line.values(line.hear(answer, step))["output_voltage"] == 226.0


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        ('name = "S01"', "command[S01].name: is no question of this protocol — known: Q1, QS, F"),
        ('field = "voltage"', "point[output_voltage].field: the answer to Q1 has no voltage — known: input_voltage"),
        ('field = "line_interactive"', "point[output_voltage].unit: a state, bool or string has no unit"),
    ],
)
def test_what_the_protocol_does_not_have_is_a_finding(wrong, finding):
    key = wrong.split(" = ")[0]
    usual = {"name": 'name = "Q1"', "field": 'field = "output_voltage"'}[key]
    text = SOUND.replace(usual, wrong)
    if key == "name":
        text = text.replace('command = "Q1"', 'command = "S01"')
    with pytest.raises(ProfileError) as caught:
        parse_profile(text)
    assert finding in str(caught.value)


def test_a_profile_of_an_order_cannot_ask_it():
    """Not even one that was made past the linter."""
    order = PROFILE.model_copy(update={"command": (PROFILE.command[0].model_copy(update={"name": "S01"}),)})
    with pytest.raises(ValueError, match="is not a valid Query"):
        order.ask("S01", 1)


def test_a_value_outside_its_range_is_no_value():
    """The twin of the checksum that is missing: a digit that became another one is found when it is far off."""
    line = Line()
    line.ask()
    image = line.hear(ANSWER.replace(b" 226.0 014", b" 926.0 014"))
    assert decode_answer(PROFILE, "Q1", bytes(image))["output_voltage"].status is Status.OUT_OF_RANGE
