import pytest

from drivers.errors import ProfileError
from drivers.meaning import MAX_POINTS
from drivers.profile import load_profile, parse_profile
from drivers.simulators.device import VirtualDevice
from drivers.simulators.hall import HallModel
from drivers.simulators.showing import seat_for

HEAD = """schema = 1
[device]
vendor = "Acme"
model = "PDU 42"
category = "power"
source = "manual, page 3"
evidence = "single-source"
"""
OUTLETS = """[[repeat]]
count = 42
stride = 10
tag = "outlet"
[[repeat.point]]
name = "current"
table = "holding"
address = 100
type = "u16"
scale = 0.1
unit = "A"
range = [0, 16]
[[repeat.point]]
name = "power"
table = "holding"
address = 102
type = "s16"
scale_register = "outlet_{n}_exponent"
unit = "kW"
range = [0, 4000]
[[repeat.point]]
name = "exponent"
table = "holding"
address = 103
type = "s16"
"""
BRANCHES = """[[repeat]]
count = 84
first = 1
stride = 1
[[repeat.point]]
name = "current_{n}"
table = "input"
address = 0
type = "u16"
unit = "A"
note = "Branch {n} current"
"""


def parse(*parts):
    return parse_profile("\n".join((HEAD, *parts)))


def findings(*parts):
    with pytest.raises(ProfileError) as error:
        parse(*parts)
    return error.value.findings


def test_a_tagged_block_gives_each_instance_fields_of_the_same_name_and_a_tag_of_its_own():
    profile = parse(OUTLETS)
    assert len(profile.point) == 126
    point = profile.named("outlet_42_current")
    assert (point.address, point.publish_as, point.tags) == (100 + 41 * 10, "current", {"outlet": "42"})
    assert profile.reach(profile.named("outlet_2_power")) == (112, 114)


def test_without_a_tag_the_number_stands_in_the_name():
    profile = parse(BRANCHES)
    assert [p.name for p in profile.point] == [f"current_{n}" for n in range(1, 85)]
    assert [p.address for p in profile.point] == list(range(84))
    assert profile.named("current_7").note == "Branch 7 current"
    assert all(p.publish_as is None and not p.tags for p in profile.point)


def test_four_alarms_of_four_bits_in_each_register():
    """Deep Sea GenComm page 154: alarm 1 in the highest bits of the first register."""
    slots = "\n".join(
        f"""[[repeat.point]]
name = "alarm_{{4 * n - {3 - k}}}"
table = "holding"
address = 39425
type = "u16"
bits = [{12 - 4 * k}, {15 - 4 * k}]
kind = "state"
invalid = [15]
"""
        for k in range(4)
    )
    profile = parse("[[repeat]]\ncount = 32\nstride = 1\n", slots)
    assert len(profile.point) == 128
    last = profile.named("alarm_128")
    assert (last.address, last.bits) == (39425 + 31, (0, 3))


def test_an_index_formula_places_what_no_stride_does():
    text = BRANCHES.replace("stride = 1", 'index = "n - 1 + (n - 1) // 42 * 58"')  # two panels of 42, the second at 100
    profile = parse(text)
    assert [profile.named(f"current_{n}").address for n in (1, 42, 43, 84)] == [0, 41, 100, 141]


def test_the_first_instance_may_have_any_number():
    profile = parse(BRANCHES.replace("first = 1", "first = 0"))
    assert (profile.point[0].name, profile.point[0].address) == ("current_0", 0)


def test_the_instances_are_proved_by_golden_frames_and_shown_by_simulators_like_any_point():
    golden = """[[golden]]
request = "04 0000 0003"
response = "04 06 0001 0002 0003"
origin = "computed"
expect = { current_1 = 1, current_3 = 3 }
"""
    assert parse(BRANCHES, golden)
    assert findings(BRANCHES, golden.replace("current_3 = 3", "current_3 = 4"))[0][0] == "golden[0].expect.current_3"
    profile, hall = parse(OUTLETS), HallModel(1)
    device = VirtualDevice(profile, seat_for(profile, "pdu", "it", None, hall), hall)
    assert 0 < device.reading("outlet_17_current").value < 16


def test_each_instance_may_derive_from_its_own_points_and_from_those_of_the_device():
    mains = '[[point]]\nname = "voltage"\ntable = "holding"\naddress = 99\ntype = "u16"\nunit = "V"\n'
    per_outlet = '[[repeat.derived]]\nname = "apparent"\nderive = "voltage * current"\nunit = "VA"\n'
    profile = parse(OUTLETS.replace("count = 42", "count = 3"), per_outlet, mains)
    assert [(d.name, d.derive, d.tags) for d in profile.derived] == [
        (f"outlet_{n}_apparent", f"voltage * outlet_{n}_current", {"outlet": str(n)}) for n in (1, 2, 3)
    ]
    numbered = '[[repeat.derived]]\nname = "twice_{n}"\nderive = "current_{n} * 2"\n'
    assert parse(BRANCHES, numbered).derived[83].derive == "current_84 * 2"
    wrong = findings(BRANCHES, numbered.replace("current_{n} *", "curent_{n} *"))
    assert wrong[0][0] == "repeat[0].derived[twice_{n}].derive"


@pytest.mark.parametrize(
    ("parts", "key", "said"),
    [
        ((OUTLETS.replace('"A"', '"Amp"'),), "repeat[0].point[current].unit", "(in outlet_1_current)"),
        ((OUTLETS.replace("address = 102", "address = 100"),), "repeat[0].point[power].address", "shares registers"),
        ((OUTLETS.replace("stride = 10", "stride = 2000"),), "repeat[0].point[current].address", "instance 34"),
        ((OUTLETS.replace("stride = 10", ""),), "repeat[0].stride", "is missing"),
        ((OUTLETS.replace("stride = 10", "stride = 10\nindex = 'n'"),), "repeat[0].index", "stride = 10"),
        ((BRANCHES.replace("_{n}", ""),), "repeat[0].point[current].name", "the same for every instance"),
        ((BRANCHES.replace("_{n}", "_{n / 2}"),), "repeat[0].point[current_{n / 2}].name", "0.5 for n = 1"),
        ((BRANCHES.replace("_{n}", "_{m}"),), "repeat[0].point[current_{m}].name", "m is unknown"),
        ((BRANCHES.replace("_{n}", "_{n}_{"),), "repeat[0].point[current_{n}_{].name", "'current_1_{' of instance 1"),
        ((BRANCHES.replace("_{n}", "_{n // 2}"),), "repeat[0].point[current_{n // 2}].name", "used 2 times"),
        ((BRANCHES.replace("stride = 1", 'index = "n +"'),), "repeat[0].index", "is no formula"),
        ((BRANCHES.replace("count = 84", "count = 4000"), OUTLETS.replace("42", "100")), "repeat", "makes 4300 points"),
        ((OUTLETS.replace('"outlet_{n}_exponent"', "90"),), "repeat[0].point[power].scale_register", "registers away"),
        ((OUTLETS.replace("outlet", "gateway"),), "repeat[0].point[current].tags.gateway", "sets this tag itself"),
        ((), "point", "there is none"),
    ],
)
def test_a_mistake_in_a_template_is_told_once_and_of_the_template(parts, key, said):
    found = findings(*parts)
    assert [k for k, _, _ in found].count(key) == 1
    assert said in {k: reason for k, reason, _ in found}[key]
    assert all(hint for _, _, hint in found)
    assert len(found) <= 3


def test_a_mistake_of_form_in_a_template_is_told_at_its_key():
    keys = [key for key, _, _ in findings(OUTLETS.replace("scale = 0.1", "scael = 0.1"))]
    assert keys == ["repeat[0].point[current].scael"]
    assert "did you mean scale?" in str(findings(OUTLETS.replace("scale = 0.1", "scael = 0.1")))


def test_no_more_points_than_a_profile_may_have():
    text = BRANCHES.replace("count = 84", f"count = {MAX_POINTS}")
    assert len(parse(text).point) == MAX_POINTS


def test_two_points_may_not_be_published_as_the_same_field_of_the_same_tags():
    assert findings(OUTLETS, OUTLETS.replace("address = 1", "address = 51").replace("count = 42", "count = 1"))[0][1]
    clash = BRANCHES.replace('name = "current_{n}"', 'name = "current_{n}"\npublish_as = "current"')
    assert "published under the same name" in findings(clash)[0][1]


@pytest.mark.parametrize("name", ["eastron/sdm630"])
def test_a_profile_without_repeats_is_as_it_was(name):
    assert not load_profile(name).repeat
