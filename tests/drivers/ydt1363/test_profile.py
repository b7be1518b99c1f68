"""Profiles of YD/T 1363.3: what can be asked, what refusals mean, what a device's answer becomes."""

from pathlib import Path

import pytest

from drivers.codec import Status, decode_answer
from drivers.errors import AskAgain, BadFrame, OtherUnit, ProfileError, Refused
from drivers.profile import load_profile, parse_profile
from drivers.ydt1363.frame import Frame, seal, unseal
from tests.fuzzing import hostile

TEXT = """
schema = 1
protocol = "ydt1363"
[device]
vendor = "x"
model = "y"
category = "power"
source = "none"
evidence = "doubtful"
[ydt1363]
version = "20"
cid1 = "40"
{options}
[[command]]
name = "analogs"
cid2 = "{cid2}"
info = "{{adr}}"
layout = [{{ type = "{kind}", names = ["voltage"] }}, {{ type = "u8", names = ["bits"] }}]
[[point]]
name = "voltage_a"
command = "analogs"
field = "{field}"
unit = "V"
range = [0, 500]
[[point]]
name = "fault"
command = "analogs"
field = "bits"
bit = {bit}
"""


def text(*, cid2="42", kind="u16", field="voltage", bit=3, options=""):
    return TEXT.format(cid2=cid2, kind=kind, field=field, bit=bit, options=options)


PROFILE = parse_profile(text())


def answer(info, *, unit=1, cid1=0x40, code=0, version=0x20):
    return seal(Frame(version, unit, cid1, code, info.encode()))


def readings(profile, frame, unit=1):
    return decode_answer(profile, "analogs", profile.ask("analogs", unit).read(frame))


def mistakes_of(toml):
    with pytest.raises(ProfileError) as caught:
        parse_profile(toml)
    return {key: (reason, hint) for key, reason, hint in caught.value.findings}


def test_a_question_names_the_unit_and_carries_its_address_where_the_profile_says_so():
    assert PROFILE.ask("analogs", 0x1F).question == b"~201F4042E0021FFD0F\r"


def test_an_answer_becomes_values_and_bits():
    said = readings(PROFILE, answer("0000E608"))
    assert said["voltage_a"].value == 230
    assert said["fault"].value is True


def test_no_value_is_not_available_and_a_value_beyond_the_range_is_none():
    said = readings(PROFILE, answer("00202020"))
    assert {name: reading.status for name, reading in said.items()} == dict.fromkeys(said, Status.NOT_AVAILABLE)
    assert readings(PROFILE, answer("00FFFF00"))["voltage_a"].status is Status.OUT_OF_RANGE


def test_nonsense_with_sound_checksums_is_out_of_range():
    profile = parse_profile(text(kind="f32"))
    assert readings(profile, answer("0055100F5500"))["voltage_a"].status is Status.OUT_OF_RANGE


def test_an_answer_of_another_unit_or_kind_of_device_is_not_this_ones():
    read = PROFILE.ask("analogs", 1).read
    with pytest.raises(OtherUnit) as caught:
        read(answer("0000E608", unit=2))
    assert caught.value.unit == 2
    with pytest.raises(BadFrame, match="CID1"):
        read(answer("0000E608", cid1=0x41))


@pytest.mark.parametrize("version", [0x10, 0x21, 0x26])
def test_the_version_of_an_answer_is_its_own(version):
    assert readings(PROFILE, answer("0000E608", version=version))["voltage_a"].value == 230


@pytest.mark.parametrize(("code", "retryable"), [(4, False), (5, True), (6, True), (0xE0, True), (0xFF, True)])
def test_a_refusal_tells_its_code_and_only_an_unknown_command_is_hopeless(code, retryable):
    with pytest.raises(Refused, match=f"RTN {code:02X}H") as caught:
        PROFILE.ask("analogs", 1).read(answer("", code=code))
    assert caught.value.retryable is retryable
    assert not isinstance(caught.value, AskAgain)
    assert not caught.value.hole
    assert not caught.value.gateway


@pytest.mark.parametrize("code", [2, 3])
def test_a_question_that_came_damaged_is_asked_once_more(code):
    with pytest.raises(AskAgain) as caught:
        PROFILE.ask("analogs", 1).read(answer("", code=code))
    assert caught.value.question is None


def test_a_device_of_another_version_is_asked_in_its_own():
    with pytest.raises(AskAgain) as caught:
        PROFILE.ask("analogs", 1).read(answer("", code=1, version=0x22))
    assert unseal(caught.value.question) == Frame(0x22, 1, 0x40, 0x42, b"01")


def test_the_makers_own_codes_have_the_profiles_words():
    profile = parse_profile(text(options='[ydt1363.rtn]\nE1 = "the fan is stuck"'))
    with pytest.raises(Refused, match="RTN E1H: the fan is stuck"):
        profile.ask("analogs", 1).read(answer("", code=0xE1))
    with pytest.raises(Refused, match="RTN E1H: the maker's own code"):
        PROFILE.ask("analogs", 1).read(answer("", code=0xE1))


@pytest.mark.parametrize("cid2", ["45", "48", "49", "4E", "94", "95"])
def test_a_command_that_writes_is_refused_also_when_it_is_listed_as_a_read(cid2):
    assert "changes the device" in mistakes_of(text(cid2=cid2))["command[analogs].cid2"][0]
    listed = mistakes_of(text(cid2=cid2, options=f'vendor_reads = ["{cid2}"]'))
    assert "ydt1363.vendor_reads" in listed
    with pytest.raises(ValueError, match="only reads"):
        PROFILE.question(PROFILE.command[0].model_copy(update={"cid2": cid2}), 1)


def test_a_makers_command_is_asked_only_when_it_is_listed_as_a_read():
    assert "vendor_reads" in mistakes_of(text(cid2="92"))["command[analogs].cid2"][1]
    profile = parse_profile(text(cid2="92", options='vendor_reads = ["92"]'))
    assert unseal(profile.ask("analogs", 1).question).code == 0x92


def test_a_file_that_others_may_write_is_not_trusted_with_a_makers_commands(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(text(cid2="92", options='vendor_reads = ["92"]'), encoding="utf-8")
    path.chmod(0o666)
    with pytest.raises(ProfileError, match="written by others"):
        load_profile(str(path))
    path.write_text(text(), encoding="utf-8")
    assert load_profile(str(path)).point


@pytest.mark.parametrize(
    ("keys", "key", "hint"),
    [
        ({"field": "volts"}, "point[voltage_a].field", "known: dataflag, voltage, bits"),
        ({"bit": 8}, "point[fault].bit", "u8 has no such bit"),
        ({"options": 'vendor_reads = ["42"]'}, "ydt1363.vendor_reads", "80 to EF"),
        ({"options": '[ydt1363.rtn]\nz = "?"'}, "ydt1363.rtn.z", "two hexadecimal digits"),
    ],
)
def test_mistakes_are_told_with_their_place_and_what_is_known(keys, key, hint):
    assert hint in mistakes_of(text(**keys))[key][1]


def test_a_misspelt_key_is_told_with_the_right_one():
    wrong = text().replace("cid2", "cid_2")
    assert "did you mean cid2?" in mistakes_of(wrong)["command[analogs].cid_2"][1]


def test_a_simulated_device_refuses_as_the_standard_says():
    good = PROFILE.ask("analogs", 1).question
    assert PROFILE.refusal(1, good.replace(b"FD", b"FE")) == answer("", code=2)
    assert PROFILE.refusal(1, good.replace(b"E002", b"E004")) == answer("", code=3)
    assert PROFILE.refusal(1, seal(Frame(0x20, 1, 0x40, 0x45, b"01"))) == answer("", code=4)
    assert PROFILE.refusal(1, seal(Frame(0x21, 1, 0x40, 0x42, b"01"))) == answer("", code=1)
    assert PROFILE.refusal(2, good) == b""
    assert PROFILE.refusal(1, b"hello\r") == b""


@pytest.mark.parametrize("name", ["pylontech/us2000", "vertiv/liebert_gxe", "generic/ydn23_ac_panel"])
def test_hostile_answers_are_read_or_refused_with_the_errors_of_the_contract(name):
    profile = load_profile(name)
    for golden in profile.golden:
        command = next(c for c in profile.command if profile.question(c, golden.unit) == golden.request.encode())
        read = profile.ask(command.name, golden.unit).read
        size = len(read(golden.response.encode()))
        for data in hostile([golden.response.encode()], seed=4, longest=500, inputs=200):
            try:
                assert len(read(data)) == size
            except (BadFrame, Refused):
                continue


def test_the_example_of_the_documentation_is_a_profile():
    document = (Path(__file__).resolve().parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
    example = document.split("## A device with YD/T 1363.3")[1].split("```toml\n")[1].split("```")[0]
    device = TEXT.split("[ydt1363]")[0].split("[device]")[1]
    profile = parse_profile(f"{example}\n[device]{device}")
    assert profile.ask("analogs", 1).question == b"~20014041E00200FD3D\r"
