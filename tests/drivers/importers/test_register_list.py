import contextlib
from pathlib import Path

import pytest

from drivers.errors import ProfileError
from drivers.importers import register_list
from tests.drivers.importers.samples import REGISTER_LIST
from tests.fuzzing import hostile


def imported(text, order=None):
    return register_list.read(text, "list.csv", order).finish("Acme", "M7", "power")


def points(result):
    return {point.name: point for point in result.profile.point}


def test_references_tell_table_and_number_in_both_ways_of_counting():
    found = points(imported(REGISTER_LIST))
    profile = imported(REGISTER_LIST).profile
    assert {name: (p.table, p.address, profile.wire_address(p), p.type) for name, p in found.items()} == {
        "voltage_l1": ("holding", 11, 10, "u16"),
        "room": ("holding", 12, 11, "s16"),
        "energy": ("input", 20, 19, "u32"),
        "pump_fault": ("holding", 30, 29, "bool"),
        "type": ("holding", 40, 39, "string"),
        "relay": ("coil", 5, 4, "bool"),
        "door": ("discrete", 6, 5, "bool"),
        "odd_unit": ("holding", 61, 60, "u16"),
        "six_digits": ("holding", 100, 99, "s32"),
    }


def test_scales_and_units_become_those_of_the_vocabulary():
    found = points(imported(REGISTER_LIST.replace("40011,u16,Again,1,,,,,\n", "").replace("12,4:float", "13,4:float")))
    assert (found["voltage_l1"].scale, found["voltage_l1"].unit) == (0.1, "V")
    assert (found["room"].unit, found["room"].note) == ("°C", "Room, inlet")
    assert (found["power"].scale, found["power"].unit, found["power"].order) == (0.001, "kW", "CDAB")
    assert (found["energy"].scale, found["energy"].unit) == (0.01, "kWh")
    assert found["odd_unit"].unit == ""
    assert any("furlong" in caveat for caveat in imported(REGISTER_LIST).profile.device.caveats)


def test_every_line_that_is_not_taken_over_is_told_with_the_reason():
    told = {left.where: left.reason for left in imported(REGISTER_LIST).left_out}
    assert "order of its words is not given" in told["line 6 (Orderless)"]
    assert "needs its bit" in told["line 8 (Without a bit)"]
    assert "may be register 40050 or 50" in told["line 12 (Ambiguous)"]
    assert "says which table" in told["line 13 (No table)"]
    assert "'frobnicated' is not known" in told["line 14 (Odd type)"]
    assert "shares registers" in told["line 16 (Again)"]
    assert "shares registers with room" in told["line 4 (Power)"]  # 12 and 13 of table 4


def test_an_order_is_taken_from_the_command_line_but_never_guessed():
    text = "reference,type,name,unit\n40001,float,Power,kW\n"
    with pytest.raises(ProfileError, match="order of its words is not given"):
        imported(text)
    assert points(imported(text, "CDAB"))["power"].order == "CDAB"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_spreadsheets_delimiter_byte_order_mark_and_decimal_comma_are_read(delimiter):
    rows = (("Reference", "Type", "Name", "Scale"), ("40001", "u16", "Strom, L1", "0,1"), ("", "", "", ""))
    cells = [[f'"{cell}"' if delimiter in cell else cell for cell in row] for row in rows]
    text = "\ufeff" + "\r\n".join(delimiter.join(row) for row in cells)
    assert points(imported(text))["strom_l1"].scale == 0.1


def test_a_column_that_is_not_known_is_told():
    result = imported("reference,type,name,colour\n40001,u16,a,red\n")
    assert [left.where for left in result.left_out] == ["line 1"]


@pytest.mark.parametrize("text", ["", "reference,type\n40001,u16\n", "no table at all", 'reference,type,name\n"'])
def test_what_is_no_such_table_is_refused(text):
    with pytest.raises(ProfileError):
        imported(text)


@pytest.mark.parametrize("spelling", ["mW", "mw", "MW"])
def test_a_milliwatt_is_never_taken_for_a_megawatt(spelling):
    point = points(imported(f"reference,type,name,unit\n40001,u16,p,{spelling}\n"))["p"]
    assert (point.unit, point.scale) == (("kW", 1000) if spelling == "MW" else ("", 1))


def test_names_become_fields_and_stay_apart():
    text = "reference,type,name\n40001,u16,Spannung (L1)\n40002,u16,Spannung  L1\n40003,u16,电压\n40004,u16,2nd\n"
    found = points(imported(text))
    assert list(found) == ["spannung_l1", "spannung_l1_2", "holding_3", "holding_4_2nd"]
    assert found["holding_3"].note == "电压"


def test_hostile_tables_give_a_profile_or_a_profile_error():
    for data in hostile([REGISTER_LIST.encode()], 52, 2000):
        with contextlib.suppress(ProfileError):
            imported(data.decode("utf-8", "replace"))
    assert imported(REGISTER_LIST).profile.point


def test_the_table_in_the_documentation_is_taken_over_whole():
    document = (Path(__file__).resolve().parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
    table = "reference,type,name" + document.split("  reference,type,name", 1)[1].split("```")[0].replace("\n  ", "\n")
    result = imported(table)
    assert (list(points(result)), result.left_out) == (["voltage_l1", "power", "door_open"], ())
