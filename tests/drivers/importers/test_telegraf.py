import contextlib
import tomllib

import pytest

from drivers.errors import ProfileError
from drivers.importers import telegraf
from drivers.importers.draft import literal
from tests.drivers.importers.samples import TELEGRAF_METRIC, TELEGRAF_REGISTER, TELEGRAF_REQUEST
from tests.fuzzing import hostile


def imported(text, unit=None):
    return telegraf.read(text, "telegraf.conf", unit).finish("Acme", "M7", "power")


def keys(result, *names):
    """What each point says beside its name."""
    return {point.name: tuple(getattr(point, name) for name in names) for point in result.profile.point}


def reasons(result):
    return {left.where.rpartition("(")[2].rstrip(")"): left.reason for left in result.left_out}


def test_the_register_style_is_taken_over_with_telegrafs_meaning_of_its_types():
    found = keys(imported(TELEGRAF_REGISTER), "table", "address", "type", "order", "scale")
    assert found == {
        "door": ("discrete", 3, "bool", None, 1),
        "pump1_run": ("coil", 12, "bool", None, 1),
        "mains_voltage_l1": ("holding", 100, "u16", None, 0.1),
        "heat": ("holding", 101, "s32", "ABCD", 0.01),
        "litres": ("holding", 103, "u32", "CDAB", 1),  # its FLOAT32 is an unsigned fixed-point number
        "total": ("holding", 106, "u64", "CDAB", 1),
        "firmware": ("holding", 120, "string", "BADC", 1),
        "flow": ("input", 40, "f32", "BADC", 1),
        "alarm_level": ("input", 50, "u16", None, 1),
    }
    assert keys(imported(TELEGRAF_REGISTER), "bits", "registers", "note")["alarm_level"] == ((8, 15), None, "")
    assert keys(imported(TELEGRAF_REGISTER), "note")["mains_voltage_l1"] == ("Mains Voltage L1",)
    assert keys(imported(TELEGRAF_REGISTER), "registers")["firmware"] == (3,)


def test_every_line_that_is_not_taken_over_is_told_with_the_reason():
    told = reasons(imported(TELEGRAF_REGISTER))
    assert set(told) == {"swapped", "gap", "half", "inputs.modbus[0].holding_registers[8]", "orderless", "nothing"}
    assert "swapped inside one register" in told["swapped"]
    assert "not one after the other" in told["gap"]
    assert "float of 16 bits" in told["half"]
    assert "none is guessed" in told["orderless"]
    assert "scale 0.0" in told["nothing"]


def test_the_request_style_is_taken_over():
    result = imported(TELEGRAF_REQUEST)
    assert keys(result, "table", "address", "type", "order", "scale") == {
        "supply": ("input", 0, "s16", None, 0.1),
        "compressor_hours": ("input", 2, "u32", "CDAB", 1),
        "running": ("input", 4, "bool", None, 1),
        "label": ("input", 5, "string", None, 1),
        "remote": ("coil", 0, "bool", None, 1),
        "alarm": ("coil", 1, "bool", None, 1),
        "power_unit_unknown": ("holding", 300, "f32", "ABCD", 1),  # Telegraf's own default of register and byte order
    }
    assert reasons(result) == {"odd": "a profile has no signed number of eight bits"}
    assert keys(result, "bit")["running"] == (5,)


def test_one_of_several_devices_is_chosen_by_its_unit():
    with pytest.raises(ProfileError, match=r"unit 1 at tcp://10\.20\.0\.9:502, unit 2") as error:
        imported(TELEGRAF_METRIC)
    assert "--unit" in str(error.value)
    assert keys(imported(TELEGRAF_METRIC, 1), "table", "address") == {"u": ("holding", 0), "open": ("discrete", 9)}
    assert keys(imported(TELEGRAF_METRIC, 2), "table", "address") == {"u": ("holding", 0)}
    with pytest.raises(ProfileError, match="for unit 3"):
        imported(TELEGRAF_METRIC, 3)


def test_the_profile_says_that_it_is_doubtful_and_what_is_to_be_done():
    result = imported(TELEGRAF_REQUEST)
    assert result.profile.device.evidence == "doubtful"
    assert result.profile.device.source == "Telegraf configuration telegraf.conf"
    todo = [caveat for caveat in result.profile.device.caveats if caveat.startswith("TODO")]
    assert any("unit" in caveat for caveat in todo)
    assert any("range" in caveat for caveat in todo)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1",
        "inputs = 3",
        "[inputs]\nmodbus = 7",
        "[[inputs.cpu]]",
        "[[inputs.modbus]]\nname = 'x'",
        "[",
        "a = " + "[" * 3000,
    ],
)
def test_what_holds_no_field_is_refused(text):
    with pytest.raises(ProfileError):
        imported(text)


def test_a_file_of_which_nothing_can_be_taken_over_is_refused_with_every_reason():
    text = "[[inputs.modbus]]\ncoils = [{ name = 'a', address = [70000] }, { address = [1] }]"
    with pytest.raises(ProfileError) as error:
        imported(text)
    assert [key for key, _, _ in error.value.findings] == ["inputs.modbus[0].coils[0] (a)", "inputs.modbus[0].coils[1]"]


def test_two_fields_over_one_register_are_not_both_taken_over():
    text = """[[inputs.modbus]]
holding_registers = [
  { name = "a", byte_order = "ABCD", data_type = "UINT32", scale = 1.0, address = [0, 1] },
  { name = "b", byte_order = "AB", data_type = "UINT16", scale = 1.0, address = [1] },
]"""
    result = imported(text)
    assert [point.name for point in result.profile.point] == ["a"]
    assert "shares registers with a" in reasons(result)["b"]


def damaged(value):
    """Every place of a configuration, one at a time, as something it must not be."""
    if isinstance(value, dict):
        for key in value:
            yield from ({**value, key: other} for other in (True, [], {}, -1, 1e300, "x" * 300, [[1]], 99999999))
            yield from ({**value, key: inner} for inner in damaged(value[key]))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from ([*value[:i], inner, *value[i + 1 :]] for inner in damaged(each))


@pytest.mark.parametrize("text", [TELEGRAF_REGISTER, TELEGRAF_REQUEST])
def test_hostile_values_at_any_place_give_a_profile_or_a_profile_error(text):
    inputs = tomllib.loads(text)["inputs"]
    assert imported(f"inputs = {literal(inputs)}").profile.point
    for each in list(damaged(inputs))[::3]:
        with contextlib.suppress(ProfileError):
            imported(f"inputs = {literal(each)}")


def test_hostile_configurations_give_a_profile_or_a_profile_error():
    frames = [text.encode() for text in (TELEGRAF_REGISTER, TELEGRAF_REQUEST, TELEGRAF_METRIC)]
    for data in hostile(frames, 51, 4000):
        with contextlib.suppress(ProfileError):
            imported(data.decode("utf-8", "replace"))
    assert imported(TELEGRAF_REQUEST).profile.point
