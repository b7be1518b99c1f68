"""Points of a text profile that are written once for all cells, fuses or branches."""

import pytest

from drivers.errors import ProfileError
from drivers.meaning import MAX_POINTS
from drivers.profile import load_profile, parse_profile

HEAD = """
schema = 1
protocol = "ydt1363"
[device]
vendor = "x"
model = "y"
category = "power"
source = "none"
evidence = "doubtful"
[ydt1363]
cid1 = "46"
[[command]]
name = "analogs"
cid2 = "42"
layout = [
  { count = "cells", each = "cell", of = [{ type = "u16", names = ["voltage"] }] },
  { type = "u16", names = ["flags", "others"] },
]
[[point]]
name = "others"
command = "analogs"
field = "others"
kind = "state"
"""
CELLS = """
[[repeat]]
count = 3
[[repeat.point]]
name = "cell_{n}_voltage"
command = "analogs"
field = "cell[{n}].voltage"
scale = 0.001
unit = "V"
range = [1, 5]
"""


def findings_of(text):
    with pytest.raises(ProfileError) as caught:
        parse_profile(text)
    return {key: (reason, hint) for key, reason, hint in caught.value.findings}


def test_every_instance_is_a_point_with_its_number_in_name_and_place():
    profile = parse_profile(HEAD + CELLS)
    assert [(p.name, p.field) for p in profile.point[1:]] == [
        (f"cell_{n}_voltage", f"cell[{n}].voltage") for n in (1, 2, 3)
    ]
    assert profile.repeat == ()


def test_formulas_count_and_a_value_that_is_nothing_else_is_a_number():
    flags = CELLS.replace('"cell_{n}_voltage"', '"flag_{n}"').replace('"cell[{n}].voltage"', '"flags"\nbit = "{2 * n}"')
    flags = "\n".join(line for line in flags.splitlines() if line.split(" ")[0] not in ("scale", "unit", "range"))
    profile = parse_profile(HEAD + flags.replace("count = 3", "count = 3\nfirst = 0"))
    assert [(p.name, p.bit) for p in profile.point[1:]] == [("flag_0", 0), ("flag_1", 2), ("flag_2", 4)]


def test_with_a_tag_an_instance_is_published_as_a_device_of_its_own():
    profile = parse_profile(HEAD + CELLS.replace("count = 3", 'count = 2\ntag = "cell"').replace("cell_{n}_", ""))
    assert [(p.name, p.publish_as, p.tags) for p in profile.point[1:]] == [
        ("cell_1_voltage", "voltage", {"cell": "1"}),
        ("cell_2_voltage", "voltage", {"cell": "2"}),
    ]


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("count = 3", "count = 0", "repeat[0].count", "greater than or equal to 1"),
        ("count = 3", "count = 3\nstride = 2", "repeat[0].stride", "known keys here: count, first, point, tag"),
        ("count = 3", f"count = {MAX_POINTS + 1}", "repeat[0].count", f"less than or equal to {MAX_POINTS}"),
        ("cell_{n}_voltage", "voltage", "repeat[0].point[voltage].name", "is the same for every instance"),
        ("cell_{n}_", "cell_{m}_", "repeat[0].point[cell_{m}_voltage].name", "n is the number of the instance"),
        ("cell_{n}_", "cell_{n / 2}_", "repeat[0].point[cell_{n / 2}_voltage].name", "use // to divide"),
        ("[1, 5]", "[5, 1]", "repeat[0].point[cell_{n}_voltage].range", "is not below"),
        ("cell[{n}].voltage", "cell[{n}].volt", "repeat[0].point[cell_{n}_voltage].field", "has no cell["),
        ('unit = "V"', "units = 1", "repeat[0].point[cell_{n}_voltage].units", "did you mean unit?"),
        ('unit = "V"', "unit = 1", "repeat[0].point[cell_{n}_voltage].unit", "valid string"),
        ('unit = "V"', "tags = 1", "repeat[0].point[cell_{n}_voltage].tags", "valid dictionary"),
    ],
)
def test_a_mistake_is_told_once_of_the_template(old, new, key, said):
    findings = findings_of(HEAD + CELLS.replace(old, new))
    assert said in " ".join(findings[key])
    assert len(findings) == 1


def test_a_template_without_a_name_lacks_it_in_every_instance():
    assert "is missing" in str(findings_of(HEAD + CELLS.replace('name = "cell_{n}_voltage"\n', "")))


@pytest.mark.parametrize("repeat", ["repeat = 1", "repeat = [1]", "[repeat]\ncount = 1"])
def test_what_is_no_repeat_is_a_mistake_of_form(repeat):
    text = repeat + "\n" + HEAD if "[" not in repeat[:8] else HEAD + repeat
    assert any(key.startswith("repeat") for key in findings_of(text))


def test_too_many_points_are_refused_before_they_are_made():
    assert f"at most {MAX_POINTS}" in findings_of(HEAD + 3 * CELLS.replace("count = 3", "count = 4000"))["repeat"][0]


def test_the_cells_of_a_packaged_battery_are_all_there():
    names = [point.name for point in load_profile("pylontech/us2000").point]
    assert {f"cell_{n}_voltage" for n in range(1, 16)} <= set(names)
    assert len(names) == len(set(names)) == 62


ASCII = (
    HEAD[: HEAD.index("[ydt1363]")].replace("ydt1363", "ascii")
    + """
[receive]
end = "\\r"
[[command]]
name = "values"
ask = "V"
layout = "split"
length = 3
[[repeat]]
count = 3
[[repeat.point]]
name = "v{n}"
command = "values"
field = "{n - 1}"
[[golden]]
request = "V"
response = "1 2 3\\r"
origin = "computed"
expect = { v1 = 1, v2 = 2, v3 = 3 }
"""
)


def test_a_field_that_is_counted_is_written_as_a_formula_too():
    assert [point.field for point in parse_profile(ASCII, "x").point] == [0, 1, 2]


def test_a_place_that_is_a_number_is_written_as_a_formula():
    points = load_profile("icpdas/i7018").point
    assert [(point.name, point.at) for point in points] == [(f"input_{n}", 7 * n) for n in range(8)]
