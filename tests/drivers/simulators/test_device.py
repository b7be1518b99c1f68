import math
import struct

import pytest

from drivers.codec import Status, decode_point
from drivers.profile import load_profile, parse_profile, profile_names
from drivers.simulators.device import VirtualDevice
from drivers.simulators.hall import HallModel
from drivers.simulators.showing import seat_for
from drivers.simulators.text_device import TextDevice
from drivers.text.profile import TextProfile
from tests.maps import a_point, a_profile

TEXT = """
schema = 1
[device]
vendor = "Acme"
model = "M1"
category = "power"
source = "made for a test"
evidence = "single-source"
[limits]
address_base = 1
word_order = "CDAB"
max_registers = 60
{limits}
[[point]]
name = "power"
table = "holding"
address = 101
type = "f32"
unit = "kW"
range = [0, 300]
[[point]]
name = "power_l1"
table = "holding"
address = 103
type = "s32"
scale = 10
unit = "W"
[[point]]
name = "power_l2"
table = "holding"
address = 105
type = "s32"
scale = 10
unit = "W"
[[point]]
name = "power_l3"
table = "holding"
address = 107
type = "s32"
scale = 10
unit = "W"
[[point]]
name = "current_l3"
table = "holding"
address = 109
type = "u16"
scale = 0.1
unit = "A"
invalid = [65535]
[[point]]
name = "voltage_l1"
table = "holding"
address = 110
type = "u16"
scale = 0.1
unit = "V"
range = [90, 280]
[[point]]
name = "voltage_l1_l2"
table = "holding"
address = 111
type = "u16"
scale = 0.1
unit = "V"
[[point]]
name = "energy_counted"
table = "holding"
address = 120
type = "u64"
unit = "Wh"
kind = "counter"
[[point]]
name = "model"
table = "holding"
address = 130
type = "string"
registers = 4
[[point]]
name = "state"
table = "holding"
address = 140
type = "u16"
kind = "state"
symbols = {{ 0 = "off", 2 = "on battery", 3 = "on line" }}
[[point]]
name = "flags"
table = "holding"
address = 141
type = "u16"
kind = "state"
[[point]]
name = "running"
table = "holding"
address = 141
type = "bool"
bit = 3
[[point]]
name = "alarm"
table = "holding"
address = 141
type = "bool"
bit = 0
[[point]]
name = "something_odd"
table = "input"
address = 7
type = "s16"
scale = 0.01
unit = "hPa"
range = [-3, -2]
[[point]]
name = "fan_on"
table = "discrete"
address = 9
type = "bool"
[[point]]
name = "leak"
table = "discrete"
address = 11
type = "bool"
"""


def made(limits="", feed="it", share=None, seed=1):
    profile = parse_profile(TEXT.format(limits=limits))
    hall = HallModel(seed)
    return VirtualDevice(profile, seat_for(profile, "m-1", feed, share, hall), hall), hall


def values(device):
    return {name: reading.value for name, reading in device.readings().items()}


def ask(device, function, address, count):
    return device.unit.answer(struct.pack(">BHH", function, address, count))


def test_points_show_what_they_mean_in_the_hall():
    device, hall = made(share=1.0)
    shown = values(device)
    assert shown["power"] == pytest.approx(hall.it_kw, rel=1e-6)
    assert sum(shown[f"power_l{n}"] for n in (1, 2, 3)) == pytest.approx(1000 * hall.it_kw, abs=20)
    assert shown["voltage_l1"] == pytest.approx(hall.phase_v(1), abs=0.06)
    assert shown["voltage_l1_l2"] == pytest.approx(math.sqrt(3) * 230, rel=0.03)
    assert shown["energy_counted"] == pytest.approx(1000 * hall.energy_kwh["it"], rel=1e-6)
    assert shown["current_l3"] * shown["voltage_l1"] == pytest.approx(1000 * hall.it_kw / 3 / 0.98, rel=0.1)
    assert (shown["model"], shown["state"], shown["running"], shown["alarm"]) == ("M1", 3, True, False)
    assert (shown["fan_on"], shown["leak"], shown["flags"]) == (True, False, 8)
    assert -3 <= shown["something_odd"] <= -2


def test_the_registers_on_the_wire_hold_the_same_values():
    device, _ = made()
    profile = device.profile
    for point in profile.point:
        answer = ask(device, point.function, profile.wire_address(point), point.length)
        assert answer[0] == point.function
        assert decode_point(profile, point, answer[2:]) == device.reading(point.name)


def test_values_move_with_the_hall_and_counters_only_upwards():
    device, hall = made(share=1.0)
    before = values(device)
    hall.advance(hall.time_s + 120)
    after = values(device)
    assert after["power"] != before["power"]
    assert after["energy_counted"] > before["energy_counted"]
    assert after["model"] == before["model"]


def test_same_seed_same_registers():
    assert values(made(seed=3)[0]) == values(made(seed=3)[0]) != values(made(seed=4)[0])


def test_a_device_takes_the_share_its_ranges_allow():
    profile = parse_profile(TEXT.format(limits="").replace("range = [0, 300]", "range = [0, 3]"))
    hall = HallModel(1)
    device = VirtualDevice(profile, seat_for(profile, "small", "it", None, hall), hall)
    assert 0.5 < values(device)["power"] < 2.5


def test_a_value_the_range_cannot_show_is_replaced_by_one_inside():
    profile = parse_profile(TEXT.format(limits="").replace("range = [90, 280]", "range = [90, 140]"))
    hall = HallModel(1)
    device = VirtualDevice(profile, seat_for(profile, "us", "it", 1.0, hall), hall)
    assert 90 <= values(device)["voltage_l1"] <= 140


@pytest.mark.parametrize(
    ("limits", "hole", "forbidden"),
    [("", 3, 3), ("read_holes = false", 0x83, 0x83), ("forbidden = [[125, 126]]", 3, 0x83)],
)
def test_holes_are_zeros_only_where_the_profile_lets_them_be_read(limits, hole, forbidden):
    device, _ = made(limits)
    assert ask(device, 3, 111, 4)[0] == hole  # documents 112-115: no point
    assert ask(device, 3, 123, 5)[0] == forbidden  # documents 124-128: no point
    assert ask(device, 3, 100, 11)[0] == 3
    assert ask(device, 3, 99, 1) == b"\x83\x02"
    assert ask(device, 3, 100, 61) == b"\x83\x03"  # more than the device's limit


def test_strict_overrules_the_profile():
    profile, hall = parse_profile(TEXT.format(limits="")), HallModel(1)
    device = VirtualDevice(profile, seat_for(profile, "m", "it", 1.0, hall), hall, strict=True)
    assert ask(device, 3, 111, 4) == b"\x83\x02"


@pytest.mark.parametrize("name", profile_names())
def test_every_point_of_every_profile_has_a_good_value_all_day(name):
    profile = load_profile(name)
    hall = HallModel(2, step_s=300.0)
    made = TextDevice if isinstance(profile, TextProfile) else VirtualDevice
    device = made(profile, seat_for(profile, "any", "it", None, hall), hall)
    for _ in range(12):
        hall.advance(hall.time_s + 7200)
        bad = {n: r for n, r in device.readings().items() if r.status is not Status.GOOD}
        assert not bad


@pytest.mark.parametrize("name", profile_names())
def test_what_a_simulated_meter_shows_fits_together(name):
    profile, hall = load_profile(name), HallModel(3)
    made = TextDevice if isinstance(profile, TextProfile) else VirtualDevice
    shown = values(made(profile, seat_for(profile, "any", "it", None, hall), hall))
    phases = [shown.get(f"power_{phase}") for phase in "abc"]
    if None not in (*phases, shown.get("power")):
        assert sum(phases) == pytest.approx(shown["power"], rel=0.02, abs=0.02)
    for phase in "abc":
        voltage, current, power = (shown.get(f"{what}_{phase}") for what in ("voltage", "current", "power"))
        if None not in (voltage, current, power) and current > 0.5:
            assert 0.85 < 1000 * power / (voltage * current) < 1.02
    if shown.get("energy_import") is not None:
        assert shown["energy_import"] > 100 * (shown.get("energy_export") or 0)
    if None not in (shown.get("power"), shown.get("apparent_power"), shown.get("power_factor")):
        assert shown["power"] == pytest.approx(shown["apparent_power"] * shown["power_factor"], rel=0.02, abs=0.02)


def test_a_scale_register_says_what_the_ranges_of_its_points_need_and_bits_leave_their_neighbours_alone():
    profile = a_profile(
        a_point(0, "s16", name="voltage_a", unit="V", scale_register=2, range=(0, 500), decimals=1),
        a_point(1, "s16", name="power", unit="W", scale_register=3, range=(0, 100000), decimals=2),
        a_point(2, "s16", name="voltage_exponent"),
        a_point(4, "u16", name="slot_1", bits=(12, 15), kind="state", symbols={"1": "healthy"}),
        a_point(4, "u16", name="slot_2", bits=(0, 3), kind="state", symbols={"2": "on"}),
        a_point(4, "bool", name="present", bit=8),
    )
    hall = HallModel(1)
    shown = VirtualDevice(profile, seat_for(profile, "m", "it", None, hall), hall).readings()
    assert 200 < shown["voltage_a"].value < 260
    assert shown["voltage_exponent"].value == -1
    assert shown["power"].status is Status.GOOD
    assert (shown["slot_1"].value, shown["slot_2"].value, shown["present"].value) == (1, 2, True)
