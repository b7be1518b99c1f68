import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ProfileError
from drivers.importers.draft import Draft, literal, published_unit
from drivers.meaning import MAX_POINTS
from tests.maps import untimed


def a_draft(*names, **keys):
    draft = Draft("a list")
    for i, name in enumerate(names):
        draft.add(f"line {i + 1}", name, **{"table": "holding", "address": i, "type": "u16", **keys})
    return draft


def finished(draft):
    return draft.finish("Acme", "M7", "power")


def test_what_the_linter_refuses_is_left_out_with_its_reason_and_the_rest_stays():
    draft = a_draft("good", "time", "also good")
    draft.add("line 9", "fine scale", table="holding", address=9, type="u16", scale=1e-7)
    result = finished(draft)
    assert [point.name for point in result.profile.point] == ["good", "also_good"]
    told = dict(result.left_out)
    assert "is the name of a tag" in told["line 2"]
    assert "not enough for scale 1e-07" in told["line 9"]


def test_a_mistake_that_is_of_no_point_is_told():
    with pytest.raises(ProfileError, match=r"device\.category"):
        a_draft("a").finish("Acme", "M7", "no name")


def test_a_draft_without_points_is_refused_with_what_was_left_out():
    draft = Draft("a list")
    with pytest.raises(ProfileError, match="holds no register"):
        finished(draft)
    draft.leave("line 1", "is a comment")
    with pytest.raises(ProfileError, match="is a comment"):
        finished(draft)


def test_no_more_points_than_a_profile_may_have_are_taken():
    draft = a_draft(*(f"p{i}" for i in range(MAX_POINTS + 3)))
    assert (len(draft.points), len(draft.left_out)) == (MAX_POINTS, 3)


def test_the_first_of_two_that_share_a_register_stays():
    draft = a_draft("z")
    draft.add("line 2", "a", table="holding", address=0, type="s16")
    draft.add("line 3", "b", table="input", address=0, type="s16")
    draft.add("line 4", "c", table="holding", address=0, type="bool", bit=3)
    assert [point.name for point in finished(draft).profile.point] == ["z", "b", "c"]


@pytest.mark.parametrize(
    ("said", "unit"),
    [
        *((("kwh"), ("kWh", 1)), ("W", ("kW", 0.001)), ("MVA", ("kVA", 1000)), ("℃", ("°C", 1)), ("Pct", ("%", 1))),
        *(("mA", ("mA", 1)), ("ma", None), ("Ma", None), ("bananas", None), ("", ("", 1)), (None, None)),
    ],
)
def test_units_are_understood_where_they_can_mean_one_thing_only(said, unit):
    assert published_unit(said) == unit


@untimed
@given(st.text(max_size=60))
def test_any_text_is_written_as_toml_reads_it(text):
    kept = "".join(c if c.isprintable() else " " for c in text).strip()
    assert tomllib.loads(f"a = {literal(text)}")["a"] == kept


@untimed
@given(st.text(min_size=1, max_size=80), st.text(max_size=20))
def test_any_name_and_unit_of_a_source_give_a_sound_profile(name, unit):
    result = finished(a_draft("a", name, unit=unit))
    assert result.profile.point[0].name == "a"


@pytest.mark.parametrize(
    ("name", "said", "called", "unit", "scale"),
    [
        ("Voltage_A", "V", "voltage_a", "V", 1),
        ("voltage_a", "mV", "voltage_a", "V", 0.001),
        ("runtime_left", "min", "runtime_left", "s", 60),
        ("power", "W", "power", "kW", 0.001),
        ("power", None, "power_unit_unknown", "", 1),
        ("load_a", "V", "load_a_in_v", "V", 1),
        ("spindle", None, "spindle", "", 1),
    ],
)
def test_a_name_that_profiles_share_keeps_its_unit_or_the_point_is_called_otherwise(name, said, called, unit, scale):
    result = finished(a_draft(name, unit=said))
    point = result.profile.point[0]
    assert (point.name, point.unit, point.scale) == (called, unit, scale)
    assert any("_unit_unknown" in caveat for caveat in result.profile.device.caveats) == ("unknown" in called)


def test_an_offset_goes_into_the_other_unit_with_the_scale():
    point = finished(a_draft("power", unit="W", scale=2, offset=-500)).profile.point[0]
    assert point.scaling.published(1000) == 1.5
