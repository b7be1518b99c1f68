import os
from importlib import resources
from pathlib import Path

import pytest

from drivers.ascii.profile import AsciiProfile
from drivers.codec import decode_answer
from drivers.errors import BadFrame, OtherUnit, ProfileError, Refused
from drivers.profile import load_profile, parse_profile
from tests.fuzzing import hostile

#: A device with a checksum, addresses in its answers, refusals, two questions and a line that it sends by itself.
TEXT = r"""
schema = 1
protocol = "ascii"
refusals = ["?{addr:02X}"]

[device]
vendor = "test"
model = "all-in-one"
category = "environment"
source = "made up"
evidence = "doubtful"

[send]
end = "\r"
check = { kind = "sum8", digits = true }

[receive]
start = "!"
other_starts = ["?"]
end = "\r"
check = { kind = "sum8", digits = true, skip_first = 0 }

[[command]]
name = "values"
ask = "#{addr:02X}"
begins = "{addr:02X}"
layout = "columns"
length = 14

[[command]]
name = "identity"
ask = "${addr:02X}M"
begins = "{addr:02X}"
layout = "pattern"
pattern = '^(?P<model>[^ ]+) (?P<firmware>[0-9.]+)$'

[[command]]
name = "alarm"
max_age_s = 3600
layout = "split"
separator = ";"
length = 2
receive = { start = "*", end = "\n" }

[[point]]
name = "temperature"
command = "values"
at = 0
width = 7
decimals = 1
unit = "°C"
range = [-40, 100]

[[point]]
name = "load"
command = "values"
at = 7
width = 7
scale = 10
unit = "%"

[[point]]
name = "model"
command = "identity"
group = "model"
type = "text"
length = 20

[[point]]
name = "door"
command = "alarm"
field = 1
type = "word"
words = { OPEN = 1, SHUT = 0 }
kind = "state"
symbols = { "0" = "shut", "1" = "open" }

[[golden]]
unit = 10
request = "#0A94\r"
response = "!0A+0023.4+0005.638\r"
origin = "computed"
expect = { temperature = 23.4, load = 56 }

[[golden]]
request = "$01MD2\r"
response = "!01T7018 2.157\r"
origin = "computed"
expect = { model = "T7018" }

[[golden]]
request = ""
response = "*3;OPEN\n"
origin = "computed"
expect = { door = 1 }
"""


@pytest.fixture(scope="module")
def profile():
    found = parse_profile(TEXT, "test")
    assert isinstance(found, AsciiProfile)
    return found


def summed(body):
    """The frame of `body` in that device's framing."""
    return body + b"%02X\r" % (sum(body) & 0xFF)


def values_of(profile, command, image):
    return {point: reading.value for point, reading in decode_answer(profile, command, image).items()}


def test_a_question_names_its_unit_and_ends_with_checksum_and_terminator(profile):
    assert profile.ask("values", 10).question == b"#0A94\r"
    assert profile.ask("identity", 1).question == b"$01MD2\r"


def test_what_a_device_sends_by_itself_has_no_question(profile):
    assert profile.ask("alarm", 1).question == b""


@pytest.mark.parametrize(
    ("command", "unit", "frame", "values"),
    [
        ("values", 10, summed(b"!0A+0023.4+0005.6"), {"temperature": 23.4, "load": 56}),
        ("values", 10, summed(b"!0A------ +0005.6"), {"temperature": None, "load": 56}),
        ("identity", 1, summed(b"!01T7018 2.1"), {"model": "T7018"}),
        ("alarm", 1, b"*3;OPEN\n", {"door": 1}),
    ],
)
def test_an_answer_becomes_values(profile, command, unit, frame, values):
    assert values_of(profile, command, profile.ask(command, unit).read(frame)) == values


def test_the_answer_of_another_unit_is_known_as_such(profile):
    with pytest.raises(OtherUnit) as caught:
        profile.ask("values", 11).read(summed(b"!0A+0023.4+0005.6"))
    assert caught.value.unit == 10


def test_a_refusal_is_one_and_only_of_the_unit_that_was_asked(profile):
    refusal = profile.refusal(10, b"#0A94\r")
    assert refusal == b"?0AB0\r"
    with pytest.raises(Refused) as caught:
        profile.ask("values", 10).read(refusal)
    assert not caught.value.retryable
    with pytest.raises(BadFrame):
        profile.ask("values", 11).read(refusal)


@pytest.mark.parametrize(
    "frame",
    [
        b"!0A+0023.4+0005.639\r",  # checksum
        b"!0A+0023.4+0005.638\n",  # terminator
        summed(b">0A+0023.4+0005.6"),  # start
        summed(b"!0A+023.4+0005.6"),  # a character is missing, and the checksum says nothing of it
        summed(b"!0G+0023.4+0005.6"),  # no number of a unit
        summed(b"!0A+0O23.4+0005.6"),  # the letter O
        b"",
    ],
)
def test_what_is_no_answer_is_a_bad_frame(profile, frame):
    with pytest.raises(BadFrame):
        profile.ask("values", 10).read(frame)


def test_answers_tell_their_unit_only_when_all_of_them_do(profile):
    assert profile.ask("values", 1).names_unit
    silent = parse_profile(TEXT.replace('begins = "{addr:02X}"', 'begins = "0A"', 1), "x")
    assert not silent.ask("identity", 1).names_unit


def test_a_number_that_begins_like_another_is_not_taken_for_it():
    text = TEXT.replace('begins = "{addr:02X}"\nlayout = "columns"', 'begins = "{addr}:"\nlayout = "columns"')
    text = text.replace("!0A+0023.4+0005.638", summed(b"!10:+0023.4+0005.6").decode()[:-1])
    profile = parse_profile(text, "x")
    with pytest.raises(OtherUnit):
        profile.ask("values", 1).read(summed(b"!10:+0023.4+0005.6"))


@pytest.mark.parametrize("command", ["values", "identity", "alarm"])
def test_a_simulated_answer_reads_back_as_what_was_put_in(profile, command):
    raw = {"temperature": -12.5, "load": 7.3, "model": "T7019", "door": 0}
    for unit in (1, 10, 255):
        asked = profile.ask(command, unit)
        frame = profile.answer(profile.command_named(command), unit, raw)
        assert asked.framing.find(frame, silent=False) == (0, len(frame))
        said = values_of(profile, command, asked.read(frame))
        expected = {"temperature": -12.5, "load": 73, "model": "T7019", "door": 0}
        assert said == {name: expected[name] for name in said}


def test_a_simulated_text_that_cannot_stand_in_the_answer_is_left_out(profile):
    frame = profile.answer(profile.command_named("identity"), 1, {"model": "two words"})
    assert values_of(profile, "identity", profile.ask("identity", 1).read(frame)) == {"model": "T7018"}


def test_a_device_may_say_that_it_has_no_value(profile):
    frame = profile.answer(profile.command_named("values"), 1, {"load": 1})
    assert values_of(profile, "values", profile.ask("values", 1).read(frame)) == {"temperature": None, "load": 10}


def test_hostile_frames_give_an_image_of_the_right_size_or_a_device_error(profile):
    for command in ("values", "identity", "alarm"):
        asked = profile.ask(command, 10)
        good = profile.answer(
            profile.command_named(command), 10, {"temperature": 1, "load": 2, "model": "T", "door": 1}
        )
        size = len(asked.read(good))
        for data in hostile([good], seed=3, longest=60):
            try:
                image = asked.read(data)
            except (BadFrame, Refused):
                continue
            assert len(image) == size


def written(tmp_path, text=TEXT):
    folder = tmp_path / "site"
    folder.mkdir()
    path = folder / "one.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    return path


def test_a_profile_that_others_can_write_is_not_used_because_it_says_what_is_sent(tmp_path):
    path = written(tmp_path)
    assert load_profile(str(path)).protocol == "ascii"
    assert load_profile("site/one", [tmp_path]).protocol == "ascii"
    path.chmod(0o666)
    with pytest.raises(ProfileError, match="written by others"):
        load_profile(str(path))
    path.chmod(0o644)
    path.parent.chmod(0o777)
    with pytest.raises(ProfileError, match="written by others"):
        load_profile("site/one", [tmp_path])
    path.parent.chmod(0o1777)
    assert load_profile(str(path)).protocol == "ascii"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_profile_of_another_user_is_not_used(tmp_path):
    path = written(tmp_path)
    os.chown(path, 65534, 65534)
    with pytest.raises(ProfileError, match="belongs to the user with number 65534"):
        load_profile(str(path))


def test_a_modbus_profile_may_be_anybodys_because_it_can_only_read(tmp_path):
    packaged = Path(str(resources.files("drivers"))) / "profiles" / "generic" / "xy_md02.toml"
    path = written(tmp_path, packaged.read_text(encoding="utf-8"))
    path.chmod(0o666)
    assert load_profile(str(path)).protocol == "modbus"


def test_the_example_of_the_documentation_is_a_profile():
    page = (Path(__file__).resolve().parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
    example = page.split("## Any other device on a serial line")[1].split("```toml\n")[1].split("```")[0]
    device = TEXT[TEXT.index("[device]") : TEXT.index("[send]")]
    answer = summed(b">+0023.4+0005.6").decode().replace("\r", "\\r")
    golden = f'[[golden]]\nunit = 10\nrequest = "#0A94\\r"\nresponse = "{answer}"\norigin = "computed"\n'
    profile = parse_profile(f"{example}\n{device}\n{golden}expect = {{ temperature = 23.4 }}\n", "the example")
    with pytest.raises(Refused):
        profile.ask("values", 10).read(summed(b"?0A"))
