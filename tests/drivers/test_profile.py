import contextlib
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import ProfileError
from drivers.meaning import Derived
from drivers.point import Point, Repeat
from drivers.profile import MAX_TEXT, load_profile, parse_profile, profile_names
from tests.maps import a_point, a_profile, untimed

PROFILES = Path(__file__).resolve().parents[2] / "drivers" / "profiles"
SOUND = """schema = 1
[device]
vendor = "Acme"
model = "M7"
category = "power"
source = "manual, edition 3, page 12"
evidence = "two-sources"
[[point]]
name = "voltage_a"
table = "input"
address = 10
type = "u16"
scale = 0.1
unit = "V"
"""


def keys_of(error):
    return [key for key, _, _ in error.value.findings]


def write(directory, name, text=SOUND):
    path = directory / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", profile_names())
def test_every_packaged_profile_is_sound_and_proved_by_frames(name):
    profile = load_profile(name)
    assert profile.golden
    assert profile.device.source
    shown = {point for golden in profile.golden for point in golden.expect}
    assert [point.name for point in profile.published if point.name not in shown] == []
    numbers = [p for p in profile.point if not p.is_state and not p.is_text]
    assert [p.name for p in numbers if p.range is None] == []


def test_the_packaged_profiles_are_those_on_disk():
    assert profile_names() == sorted(f"{p.parent.name}/{p.stem}" for p in PROFILES.glob("*/*.toml"))
    assert {"schneider/pm5xxx", "eastron/sdm630", "generic/xy_md02", "apc/smart_ups"} <= set(profile_names())


def test_no_packaged_profile_tells_anything_of_a_site():
    for path in PROFILES.glob("*/*.toml"):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        assert not {"unit_id", "port", "host", "baud", "name"} & (data.keys() | data["device"].keys())


def test_a_sites_directory_wins_over_ours_and_the_first_over_the_second(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, "acme/m7")
    write(second, "acme/m7", SOUND.replace("M7", "M8"))
    write(second, "eastron/sdm630", SOUND.replace("M7", "ours is better"))
    assert load_profile("acme/m7", (first, second)).device.model == "M7"
    assert load_profile("eastron/sdm630", (first, second)).device.model == "ours is better"
    assert load_profile("eastron/sdm630", (first, tmp_path / "missing")).device.model == "SDM630"
    assert "acme/m7" in profile_names((second,))


def test_a_name_that_ends_in_toml_is_a_file(tmp_path):
    assert load_profile(str(write(tmp_path, "m7"))).device.vendor == "Acme"


@pytest.mark.parametrize(
    "name", ["eastron/sdm603", "../../etc/passwd", "", "eastron", "eastron/../x", "a\0/b", "/etc/x"]
)
def test_an_unknown_name_is_told_with_the_nearest_one_and_never_leaves_the_directory(name, tmp_path):
    with pytest.raises(ProfileError) as error:
        load_profile(name, (tmp_path,))
    assert "did you mean" in str(error.value) or "collector profile list" in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[device", b"x = 1\0", b"a = " + b"[" * 5000])
def test_what_is_not_toml_is_a_profile_error(content, tmp_path):
    path = tmp_path / "m7.toml"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=r"m7\.toml"):
        load_profile(str(path))


def test_a_name_that_no_profile_has_is_one_line_that_begins_with_it():
    with pytest.raises(
        ProfileError, match=r"^eastrom/sdm630: no such profile .* — did you mean eastron/sdm630"
    ) as told:
        load_profile("eastrom/sdm630")
    assert "\n" not in str(told.value)


def test_a_missing_file_and_an_endless_one_are_profile_errors(tmp_path):
    with pytest.raises(ProfileError, match="No such file"):
        load_profile(str(tmp_path / "missing.toml"))
    endless = tmp_path / "endless.toml"
    endless.symlink_to("/dev/zero")
    with pytest.raises(ProfileError, match=str(MAX_TEXT)):
        load_profile(str(endless))


def test_every_mistake_of_form_is_told_at_once_with_the_points_name():
    text = (
        SOUND
        + """every = "ten"
adress = 4
range = [1]
[[point]]
name = "2nd"
type = "u8"
[limits]
word_order = "big"
baud = 9600
"""
    )
    with pytest.raises(ProfileError) as error:
        parse_profile(text)
    assert set(keys_of(error)) >= {
        "point[voltage_a].every",
        "point[voltage_a].adress",
        "point[voltage_a].range[1]",
        "point[2nd].name",
        "point[2nd].type",
        "point[2nd].table",
        "point[2nd].address",
        "limits.word_order",
        "limits.baud",
    }
    assert "did you mean address?" in str(error.value)
    assert "word_order" in {key: hint for key, _, hint in error.value.findings}["limits.baud"]


def test_mistakes_of_form_do_not_hide_those_of_content_in_the_other_points():
    text = SOUND.replace('"V"', '"Volt"') + '[[point]]\nname = "b"\ntable = "input"\naddress = 1\ntype = "u8"\n'
    with pytest.raises(ProfileError) as error:
        parse_profile(text)
    assert keys_of(error) == ["point[b].type", "point[voltage_a].unit"]


def test_a_profile_with_mistakes_of_content_is_refused():
    with pytest.raises(ProfileError, match="vocabulary"):
        parse_profile(SOUND.replace('"V"', '"volts"'))


@pytest.mark.parametrize("line", ["scale = nan", "scale = inf", "deadband = nan", "range = [0, inf]", "offset = -inf"])
def test_nan_and_infinity_are_no_settings(line):
    with pytest.raises(ProfileError, match=r"finite|valid"):
        parse_profile(SOUND.replace("scale = 0.1", line))


def test_the_same_text_is_parsed_once_and_a_changed_file_anew(tmp_path):
    path = write(tmp_path, "acme/m7")
    first = load_profile("acme/m7", (tmp_path,))
    assert load_profile("acme/m7", (tmp_path,)) is first
    path.write_text(SOUND.replace("M7", "M8"), encoding="utf-8")
    assert load_profile("acme/m7", (tmp_path,)).device.model == "M8"


def test_addresses_are_resolved_to_the_wire():
    one = a_profile(a_point(3000, "f32"), address_base=1, forbidden=((10, 12),))
    assert one.span(one.point[0]) == (2999, 3001)
    assert one.forbidden() == [(9, 12)]
    zero = a_profile(a_point(3000, "string", registers=7))
    assert zero.span(zero.point[0]) == (3000, 3007)


@pytest.mark.parametrize(
    ("keys", "scaling"),
    [
        ({}, (1, 0, 1, 0)),
        ({"scale": 0.1}, (1, 0, 10, 1)),
        ({"scale": 0.25}, (25, 0, 100, 2)),
        ({"scale": 10}, (10, 0, 1, 0)),
        ({"scale": 0.1, "offset": -40}, (1, -400, 10, 1)),
        ({"scale": 1, "offset": 0.5}, (10, 5, 10, 1)),
        ({"scale": 1e-3}, (1, 0, 1000, 3)),
        ({"scale": 1e-6}, (1, 0, 1000000, 6)),
        ({"pow2": 7}, (1, 0, 128, 3)),
        ({"pow2": 16}, (1, 0, 65536, 5)),
        ({"pow2": 7, "decimals": 1}, (1, 0, 128, 1)),
        ({"pow2": 7, "offset": -251}, (1, -251 * 128, 128, 3)),
        ({"scale": 0.1, "decimals": 3}, (1, 0, 10, 3)),
    ],
)
def test_scales_become_whole_numbers(keys, scaling):
    derived = a_profile().scaling(a_point(0, "s32", **keys))
    assert (derived.mul, derived.add, derived.div, derived.decimals) == scaling


def test_floats_have_three_decimals_unless_they_say_otherwise():
    assert a_point(0, "f32").scaling.decimals == 3
    assert a_point(0, "f64", decimals=1).scaling.decimals == 1
    assert a_point(0, "f32", scale=0.001).scaling.published(1500.0) == 1.5


def test_a_point_has_its_own_category_or_the_devices():
    profile = a_profile(a_point(0), a_point(1, category="energy"))
    assert [profile.category(point) for point in profile.point] == ["power", "energy"]
    with pytest.raises(KeyError, match="nothing"):
        profile.named("nothing")


def test_a_copy_with_other_points_knows_the_other_points():
    profile = a_profile(a_point(0), a_point(1))
    assert profile.named("h1").address == 1
    copy = profile.model_copy(update={"point": (a_point(1, name="h9"),)})
    assert copy.named("h9").address == 1
    with pytest.raises(KeyError):
        copy.named("h1")


toml_values = st.recursive(
    st.integers(-(2**64), 2**64) | st.floats() | st.booleans() | st.text(max_size=8) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def as_toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() or c in " +-*/%(){}" else "_" for c in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    return str(value).replace("None", '""')


REPEATED = """[[repeat]]
count = 3
stride = 2
tag = "outlet"
[[repeat.point]]
name = "current"
table = "input"
address = 20
type = "s16"
scale_register = 19
[[repeat.derived]]
name = "double"
derive = "current * 2"
[[derived]]
name = "total"
derive = "voltage_a + outlet_1_current"
"""
KEYS = sorted(
    {*Point.model_fields, *Derived.model_fields, *Repeat.model_fields, "forbidden", "max_registers", "request", "x"}
)
HEADERS = {
    "point": "",
    "limits": "[limits]\n",
    "device": "",
    "golden": "[[golden]]\n",
    "repeat": "[[repeat]]\n",
    "repeat.point": "",
    "repeat.derived": "",
    "derived": "",
}


@settings(untimed, max_examples=250)
@given(
    st.sampled_from(sorted(HEADERS)), st.sampled_from(KEYS), toml_values | st.sampled_from(["n + 1", "{n}", "{", "a"])
)
def test_any_value_at_any_key_gives_a_profile_or_a_profile_error(table, key, value):
    line = f"{key} = {as_toml(value)}\n"
    lines = [row for row in (SOUND + REPEATED).splitlines() if not row.startswith(f"{key} ")]
    text = "\n".join(lines) + "\n"
    place = f"[[{table}]]\n"
    if table == "device":
        text = text.replace("[[point]]", f"{line}[[point]]", 1)
    elif HEADERS[table]:
        text += HEADERS[table] + line
    else:
        text = text.replace(place, place + line, 1)
    with contextlib.suppress(ProfileError):
        parse_profile(text)


def test_the_text_that_is_damaged_above_is_sound():
    assert len(parse_profile(SOUND + REPEATED).published) == 8


@untimed
@given(st.data())
def test_a_damaged_file_gives_a_profile_or_a_profile_error(data):
    text = (PROFILES / "generic" / "xy_md02.toml").read_text(encoding="utf-8")
    at = data.draw(st.integers(0, len(text) - 1))
    cut = data.draw(st.integers(0, 12))
    damaged = text[:at] + data.draw(st.text(max_size=4)) + text[at + cut :]
    with contextlib.suppress(ProfileError):
        parse_profile(damaged)
    assert parse_profile(text).device.model == "XY-MD02"
