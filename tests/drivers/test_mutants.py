import os

import pytest

from drivers.codec import decode_point
from drivers.mutants import judge, mutants, noticed_by
from drivers.profile import load_profile, parse_profile, profile_names
from tests.maps import a_point, a_profile

#: Of each profile; `make nightly` judges all: it takes a minute.
AT_MOST = int(os.environ.get("MUTANTS", "40"))
WANTED = 0.95
GOLDEN = {
    "request": "03 000a 0004",
    "response": "03 08 0900 ffe2 0001 e240",
    "origin": "computed",
    "expect": {"h10": 230.4, "h11": -3.0, "h12": 123.456},
}
MAP = (
    a_point(10, "u16", scale=0.1, unit="V", range=(0, 500), invalid=(0xFFFF,)),
    a_point(11, "s16", scale=0.1, unit="°C", range=(-40, 85)),
    a_point(12, "u32", scale=0.001, unit="kWh", range=(0, 1000)),
)
SILENT = {**GOLDEN, "response": "03 08 ffff ffe2 0001 e240", "expect": {"h11": -3.0}, "missing": ("h10",)}


def changes(profile):
    return {(mutant.key, mutant.change) for mutant in mutants(profile)}


def test_nearly_every_mistake_in_a_packaged_profile_is_noticed(capsys):
    total = noticed = 0
    weak = {}
    for name in profile_names():
        tally = judge(load_profile(name), AT_MOST)
        total += tally.total
        noticed += tally.noticed.total()
        if tally.share < WANTED:
            weak[name] = [(mutant.key, mutant.change) for mutant in tally.survivors]
    with capsys.disabled():
        print(
            f"\n{noticed} of {total} mutants of {len(profile_names())} profiles noticed: {100 * noticed / total:.2f} %"
        )
    assert not weak


@pytest.mark.parametrize("name", ["abb/b23", "schneider/pm5xxx"])
def test_twin_without_its_golden_frames_a_profile_hides_most_mistakes(name):
    profile = load_profile(name)
    assert judge(profile.model_copy(update={"golden": ()}), 100).share < 0.7 < WANTED < judge(profile, 100).share


def test_frames_that_show_every_point_and_its_sentinel_leave_nothing_unnoticed():
    profile = a_profile(*MAP, golden=(GOLDEN, SILENT))
    tally = judge(profile)
    assert [(mutant.key, mutant.change) for mutant in tally.survivors if not mutant.key.endswith("unit")] == []
    assert set(tally.noticed) == {"linter", "golden frames"}


def test_a_sentinel_that_no_frame_shows_is_missed():
    survivors = judge(a_profile(*MAP, golden=(GOLDEN,))).survivors
    assert ("point[h10].invalid", "(65535,) → ()") in {(mutant.key, mutant.change) for mutant in survivors}


def test_a_value_beyond_the_range_is_noticed_without_any_frame():
    sound = a_profile(a_point(10, "f32", unit="V", range=(100, 500)))
    assert judge(sound).noticed["range"] > 0


def test_each_mutant_has_one_change_and_differs_from_the_sound_profile():
    profile = load_profile("carlo_gavazzi/em24")
    for mutant in mutants(profile):
        changed = [p for p, q in zip(mutant.profile.point, profile.point, strict=True) if p != q]
        assert len(changed) + (mutant.profile.limits != profile.limits) == 1, mutant.key


def test_every_kind_of_change_is_made():
    points = (
        a_point(0, "bool", bit=3),
        a_point(1, "string", registers=4),
        a_point(5, "u16", bits=(4, 7)),
        a_point(6, "s16", pow2=4),
        a_point(7, "u32", scale=0.1, offset=5, unit="kW", invalid=(0xFFFFFFFF,), scale_register=20),
        a_point(9, "s16", scale=0.001, encoding="four_quadrant"),
        a_point(10, "bcd32"),
        a_point(0, "bool", "coil"),
    )
    keys = {key.split(".")[-1] for key, _ in changes(a_profile(*points))}
    assert keys == {
        *("address", "table", "type", "order", "registers", "bit", "bits", "scale", "offset", "pow2", "unit"),
        *("invalid", "scale_register", "encoding", "address_base", "word_order"),
    }


@pytest.mark.parametrize(
    ("keys", "same"),
    [
        ({"point_type": "u16", "range": (0, 3000), "scale": 0.1}, True),
        ({"point_type": "u16", "range": (0, 6000), "scale": 0.1}, False),
        ({"point_type": "s16", "range": (0, 3000), "scale": 0.1}, True),
        ({"point_type": "s16", "range": (-5, 3000), "scale": 0.1}, False),
        ({"point_type": "u16"}, False),
        ({"point_type": "s16", "range": (-10000, -7000), "offset": -8000}, False),
    ],
)
def test_a_sign_is_no_mutant_only_where_every_register_reads_the_same(keys, same):
    point = a_point(10, **keys)
    profile = a_profile(point)
    other = point.model_copy(update={"type": "u16" if point.type == "s16" else "s16"})
    alike = all(
        decode_point(profile, point, raw.to_bytes(2, "big")) == decode_point(profile, other, raw.to_bytes(2, "big"))
        for raw in (*range(0, 0x10000, 97), 0x7FFF, 0x8000, 0xFFFF)
    )
    assert alike is same
    assert any(key == "point[h10].type" and change.endswith("16") for key, change in changes(profile)) is not same


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("megatec/q1", {"field", "scale", "offset", "unit"}),
        ("pylontech/us2000", {"field", "bit", "scale", "offset", "unit"}),
        ("icpdas/i7018", {"at", "scale", "offset"}),
    ],
)
def test_places_in_the_answers_of_a_text_protocol_are_mistaken_as_well(name, keys):
    assert keys <= {key.split(".")[-1] for key, _ in changes(load_profile(name))}


def test_twin_without_its_golden_frames_a_text_profile_hides_most_mistakes():
    profile = load_profile("megatec/q1")
    assert judge(profile.model_copy(update={"golden": ()}), 100).share < 0.7 < WANTED < judge(profile, 100).share


def test_a_mutant_is_judged_by_the_linter_first():
    profile = parse_profile(
        'schema = 1\n[device]\nvendor = "A"\nmodel = "M"\ncategory = "power"\nsource = "-"\nevidence = "doubtful"\n'
        '[[point]]\nname = "power"\ntable = "holding"\naddress = 1\ntype = "f32"\nunit = "kW"\nrange = [0, 10]\n'
    )
    [unit] = [mutant for mutant in mutants(profile) if mutant.change == "kW → W"]
    assert noticed_by(unit.profile, None) == "linter"
