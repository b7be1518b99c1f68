import contextlib
import json

import pytest

from drivers.errors import ProfileError
from drivers.importers import sunspec
from tests.drivers.importers.samples import SUNSPEC_JSON, SUNSPEC_SMDX
from tests.fuzzing import hostile

AT = 40069


def imported(text, at=AT):
    return sunspec.read(text, "model.json", at).finish("Acme", "M7", "power")


def points(result):
    return {point.name: point for point in result.profile.point}


def test_points_stand_where_the_model_says_from_its_first_register_on():
    found = points(imported(SUNSPEC_JSON))
    assert {name: (p.address - AT, p.type) for name, p in found.items()} == {
        "current": (2, "s16"),
        "power": (4, "s16"),
        "power_factor": (6, "s16"),
        "energy_import": (7, "u32"),
        "st": (9, "u16"),
        "evt_ground_fault": (11, "bool"),
        "evt_over_temp": (10, "bool"),
        "serial": (12, "string"),
        "tmp": (20, "f32"),
        "ph_w": (26, "s16"),
        "ph_w_2": (27, "s16"),
    }


def test_scale_registers_sentinels_units_and_symbols_are_those_of_the_model():
    found = points(imported(SUNSPEC_JSON))
    current, power, energy = found["current"], found["power"], found["energy_import"]
    assert (current.scale_register, current.unit, current.invalid) == (AT + 3, "A", (0x8000,))
    assert (power.scale_register, power.unit, power.scale) == (AT + 5, "kW", 0.001)
    assert (energy.kind, energy.invalid, energy.unit, energy.scale) == ("counter", (0,), "kWh", 0.001)
    assert (found["power_factor"].unit, found["power_factor"].scale) == ("", 0.001)  # tenths of a per cent
    assert found["st"].symbols == {"1": "OFF", "4": "MPPT"}
    assert (found["evt_ground_fault"].bit, found["evt_over_temp"].bit) == (0, 1)
    assert (found["serial"].registers, found["tmp"].unit) == (8, "°C")
    assert found["ph_w_2"].scale_register == AT + 5


def test_every_point_that_is_not_taken_over_is_told_with_the_reason():
    told = {left.where: left.reason for left in imported(SUNSPEC_JSON).left_out}
    assert set(told) == {
        *("test_meter.ID", "test_meter.L", "test_meter.A_SF", "test_meter.W_SF", "test_meter.Evt.WRONG"),
        *("test_meter.Pad", "test_meter.Ip", "test_meter.Lost", "test_meter.string"),
    }
    assert "Nowhere_SF" in told["test_meter.Lost"]
    assert "only the device can tell" in told["test_meter.string"]


def test_smdx_counts_behind_the_header():
    result = imported(SUNSPEC_SMDX)
    assert {name: (p.address - AT, p.type) for name, p in points(result).items()} == {
        "frequency": (2, "u16"),
        "wh": (4, "u32"),
        "ver": (6, "string"),
        "ctl_remote": (10, "bool"),
    }
    assert points(result)["frequency"].scale_register == AT + 3
    assert any("repeat" in left.reason for left in result.left_out)


def test_without_the_address_of_the_model_nothing_is_imported():
    with pytest.raises(ProfileError, match="offsets, not addresses") as error:
        sunspec.read(SUNSPEC_JSON, "model.json")
    assert "--at" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{}",
            "[1]",
            '{"group": 3}',
            '{"group": {"points": [1, null]}}',
            "<a/>",
            "<sunSpecModels><model/></sunSpecModels>",
        ),
        *("{" * 5000, "[" * 100000, "<a" * 100, '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
    ],
)
def test_what_is_no_model_is_refused(text):
    with pytest.raises(ProfileError):
        imported(text)


def test_groups_that_repeat_without_bound_end():
    group = {"name": "g", "points": []}
    for _ in range(20):
        group = {"name": "g", "count": 64, "points": [], "groups": [group]}
    with pytest.raises(ProfileError):
        imported(json.dumps({"group": group}))


def test_hostile_models_give_a_profile_or_a_profile_error():
    for data in hostile([SUNSPEC_JSON.encode(), SUNSPEC_SMDX.encode()], 53, 4000):
        with contextlib.suppress(ProfileError):
            imported(data.decode("utf-8", "replace"))
    assert imported(SUNSPEC_JSON).profile.point


def damaged(value, data):
    """Every place of a JSON value, one at a time, as something it must not be."""
    if isinstance(value, dict):
        for key in value:
            yield from ({**value, key: other} for other in (None, [], {}, -1, 1e400, "x" * 300, [[]]))
            yield from ({**value, key: inner} for inner in damaged(value[key], data))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from ([*value[:i], inner, *value[i + 1 :]] for inner in damaged(each, data))


def test_hostile_values_at_any_place_of_a_model_give_a_profile_or_a_profile_error():
    for model in list(damaged(json.loads(SUNSPEC_JSON), None))[::3]:
        with contextlib.suppress(ProfileError):
            imported(json.dumps(model))
