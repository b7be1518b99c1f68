"""From settings to numbered points, blocks, units and buses, and what their lines will have to carry."""

import numpy as np
import pytest

from collector.decode import Decode
from collector.encode import Encode
from collector.errors import ConfigError
from collector.inventory import Inventory, check_load
from collector.settings import Settings, load_settings
from collector.types import RawBatch
from drivers.plan import ASSUMED_RTT_S
from tests.maps import HEAD

METER = f"""{HEAD}\
[limits]
turnaround_s = 0.05
timeout_s = 0.7
[[point]]
name = "voltage"
table = "holding"
address = 0
type = "u16"
scale = 0.1
deadband = 0.5
range = [0, 1000]
[[point]]
name = "power"
table = "holding"
address = 2
type = "s32"
order = "CDAB"
invalid = [0x80000000]
[[point]]
name = "energy"
table = "holding"
address = 4
type = "u32"
category = "energy"
every = 10
[[point]]
name = "breaker"
table = "coil"
address = 3
type = "bool"
"""
WIDE = METER[: METER.index("[[point]]")] + "".join(
    f'[[point]]\nname = "p{address}"\ntable = "holding"\naddress = {address}\ntype = "u16"\n' for address in (0, 39)
)


@pytest.fixture
def site(tmp_path):
    """Makes the inventory of devices on buses: `site({"b": "tcp://h"}, m1={"bus": "b"})`."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "meter.toml").write_text(METER)
    (tmp_path / "test" / "wide.toml").write_text(WIDE)

    def make(buses, **devices):
        return Inventory(
            Settings.model_validate(
                {
                    "profile_dirs": (str(tmp_path),),
                    "bus": tuple({"name": name, "url": url} for name, url in buses.items()),
                    "device": tuple({"name": n, "profile": "test/meter", **keys} for n, keys in devices.items()),
                    "uplink": ({"centre": "east"},),
                }
            )
        )

    return make


LINE = {"line": "serial:///dev/ttyUSB0?baud=9600&parity=N"}


def test_points_are_numbered_device_by_device_and_blocks_say_where_each_one_lies(site):
    inventory = site(
        LINE, m1={"bus": "line", "unit": 1}, m2={"bus": "line", "unit": 2, "tags": {"row": "r1", "a": "b"}}
    )
    names = ["voltage", "power", "energy", "breaker"]
    assert [(p.device, p.name) for p in inventory.points] == [(m, n) for m in ("m1", "m2") for n in names]
    assert inventory.points[0].tags == ()
    assert inventory.points[4].tags == (("a", "b"), ("row", "r1")), "sorted by key"
    assert inventory.centres == ("east",)
    (bus,) = inventory.buses
    assert [unit.device for unit in bus.units] == ["m1", "m2"]
    seen = []
    for unit in bus.units:
        for number in unit.blocks:
            block = inventory.blocks[number]
            assert (block.device, block.unit) == (unit.device, unit.unit)
            for point, offset in zip(block.points, block.offsets, strict=True):
                seen.append(point)
                address = {"voltage": 0, "power": 2, "energy": 4, "breaker": 3}[inventory.points[point].name]
                assert block.address + offset == address
                assert inventory.points[point].device == unit.device
    assert sorted(seen) == list(range(8)), "each point is read by one block"


def test_a_point_carries_what_its_profile_says_and_its_own_interval(site):
    inventory = site(LINE, m1={"bus": "line", "interval_s": 2.0})
    voltage, power, energy, breaker = inventory.points
    assert (voltage.mul / voltage.div, voltage.decimals, voltage.deadband) == (0.1, 1, 0.5)
    assert (voltage.low, voltage.high) == (0, 1000)
    assert (power.order, power.invalid, power.category) == ("CDAB", (0x80000000,), "power")
    assert (energy.category, energy.interval_s) == ("energy", 20.0)
    assert breaker.state
    assert {b.interval_s for b in inventory.blocks} == {2.0, 20.0}


PDU = (
    METER
    + """
[[repeat]]
count = 3
stride = 1
tag = "outlet"
[[repeat.point]]
name = "current"
table = "input"
address = 100
type = "u16"
[[repeat.point]]
name = "load"
table = "input"
address = 110
type = "u16"
"""
)


def test_the_outlets_of_one_read_are_lines_of_their_own_with_the_sites_tags(site, tmp_path):
    (tmp_path / "test" / "pdu.toml").write_text(PDU)
    inventory = site(LINE, m1={"bus": "line", "profile": "test/pdu", "tags": {"row": "r1", "a": "b"}})
    by_tags = {}
    for point in inventory.points:
        by_tags.setdefault(point.tags, []).append(point.name)
    site_tags = (("a", "b"), ("row", "r1"))
    assert by_tags[site_tags] == ["voltage", "power", "energy", "breaker"]
    for n in "123":
        assert by_tags[("a", "b"), ("outlet", n), ("row", "r1")] == ["current", "load"]
    (block,) = [b for b in inventory.blocks if b.function == 4]
    assert (block.address, block.count) == (100, 13)
    assert [inventory.points[p].name for p in block.points] == ["current", "load"] * 3, (
        "an outlet's points stand together"
    )
    decode, keep = Decode(inventory.points), np.ones(6, np.bool_)
    decode.set_blocks(inventory.blocks)
    words = [5, 6, 7, *[0] * 7, 50, 60, 70]
    number = np.array([inventory.blocks.index(block)], np.int32)
    one = np.ones(1, np.int64)
    samples = decode(RawBatch(np.array(words, ">u2").view(np.uint8), number, one - 1, one, one.astype(np.uint8) - 1))
    encode = Encode(inventory.points, city="c", site="s", gateway="g", spool_id="p", boot_id="b")
    (row,) = encode(samples, keep, 1)
    lines = row.payload.decode().splitlines()[1:]
    assert (
        lines[1]
        == "power,city=c,site=s,gateway=g,device=m1,a=b,outlet=2,row=r1 current=6,current_q=0i,load=60,load_q=0i 1"
    )
    assert len(lines) == 3


SUM = (
    METER
    + """
[[derived]]
name = "resistance"
derive = "voltage / (power + 1)"
unit = "Ω"
"""
)


def test_a_derived_point_brings_its_inputs_and_loses_its_value_when_they_must_be_read_apart(site, tmp_path):
    (tmp_path / "test" / "sum.toml").write_text(SUM)
    inventory = site(LINE, m1={"bus": "line", "profile": "test/sum", "points": ("resistance",)})
    assert [p.name for p in inventory.points] == ["voltage", "power", "resistance"]
    (block,) = inventory.blocks
    assert (block.points, block.derived) == ((0, 1), ((2, (0, 1, 1.0, "+", "/")),))
    first, second = (inventory.blocks[number] for number in inventory.split(0))
    assert (first.points, first.derived, second.points, second.derived) == ((0,), ((2, ()),), (1,), ())
    whole = site(LINE, m1={"bus": "line", "profile": "test/sum"})
    assert len(whole.points) == 5
    without = site(LINE, m1={"bus": "line", "profile": "test/sum", "points": ("voltage", "power")})
    assert [b.derived for b in without.blocks] == [()]


def test_a_site_may_not_set_a_tag_that_the_profile_sets(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "pdu.toml").write_text(PDU)
    text = f"""profile_dirs = ["{tmp_path}"]
[gateway]
name = "g"
city = "c"
site = "s"
[[bus]]
name = "b"
url = "tcp://10.0.0.1"
[[device]]
name = "d"
bus = "b"
profile = "test/pdu"
tags = {{ outlet = "1" }}
"""
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"tags\.outlet.*test/pdu sets this tag itself"):
        load_settings(tmp_path / "c.toml")


def test_devices_of_one_model_share_their_plan_but_no_numbers(site):
    inventory = site(LINE, **{f"m{i}": {"bus": "line", "unit": i} for i in range(1, 6)})
    first, *others = ([inventory.blocks[b] for b in unit.blocks] for unit in inventory.buses[0].units)
    used = {point for block in first for point in block.points}
    for blocks in others:
        assert [(b.function, b.address, b.count, b.offsets) for b in blocks] == [
            (b.function, b.address, b.count, b.offsets) for b in first
        ]
        points = {point for block in blocks for point in block.points}
        assert not points & used
        used |= points


def test_a_subset_of_points_is_all_that_is_read(site):
    inventory = site(LINE, m1={"bus": "line", "points": ("power", "voltage")})
    assert [p.name for p in inventory.points] == ["voltage", "power"], "in the profile's order"
    (block,) = inventory.blocks
    assert (block.function, block.address, block.count, block.points, block.offsets) == (3, 0, 4, (0, 1), (0, 2))


def test_a_split_adds_numbers_and_leaves_the_old_ones_as_they_are(site):
    inventory = site(LINE, m1={"bus": "line", "points": ("power", "voltage")}, m2={"bus": "line", "unit": 2})
    before, points = list(inventory.blocks), list(inventory.points)
    parts = inventory.split(0)
    assert parts == [len(before), len(before) + 1]
    assert inventory.blocks[: len(before)] == before
    assert inventory.points == points
    voltage, power = (inventory.blocks[number] for number in parts)
    assert (voltage.address, voltage.count, voltage.points, voltage.offsets) == (0, 1, (0,), (0,))
    assert (power.address, power.count, power.points, power.offsets) == (2, 2, (1,), (0,))
    assert (power.device, power.unit, power.interval_s) == ("m1", 1, before[0].interval_s)


def test_a_block_of_one_point_cannot_be_split(site):
    inventory = site(LINE, m1={"bus": "line", "points": ("power",)})
    assert inventory.split(0) == []
    assert len(inventory.blocks) == 1


def test_parts_can_be_split_again_until_each_point_stands_alone(site):
    inventory = site(LINE, m1={"bus": "line"})
    waiting, single = list(range(len(inventory.blocks))), []
    while waiting:
        number = waiting.pop()
        parts = inventory.split(number)
        waiting += parts
        single += [] if parts else [number]
    assert sorted(p for n in single for p in inventory.blocks[n].points) == [0, 1, 2, 3]
    assert all(len(inventory.blocks[n].points) == 1 for n in single)


def test_the_predicted_load_of_a_9600_baud_line_is_what_a_hand_computes(site):
    """8 bytes of request, 5 + 4 of answer in 10 bits each, 2 x 3.5 characters of 11 bits of silence; 20 ms the unit."""
    sensors = {f"th{i}": {"bus": "line", "unit": i, "profile": "generic/xy_md02", "interval_s": 1.0} for i in (1, 2)}
    inventory = site(LINE, **sensors)
    (bus,) = inventory.buses
    one_read_s = (17 * 10 + 7 * 11) / 9600 + 0.020
    assert one_read_s == pytest.approx(0.04573, abs=1e-5)
    assert bus.load == pytest.approx(2 * one_read_s)
    assert bus.reads_per_s == 2.0
    assert (bus.cycle_s, bus.round_s) == (1.0, pytest.approx(2 * one_read_s))
    assert [unit.read_s for unit in bus.units] == [pytest.approx(one_read_s)] * 2


def test_a_character_with_parity_takes_longer(site):
    """11 bits in place of 10 for each of the 17 characters; the silence is counted in 11 bits either way."""
    line = {"line": LINE["line"].replace("parity=N", "parity=E")}
    sensor = {"bus": "line", "profile": "generic/xy_md02", "interval_s": 1.0}
    even, none = (site(buses, th=sensor).buses[0].load for buses in (line, LINE))
    assert even - none == pytest.approx(17 / 9600)


def test_a_line_behind_a_gateway_is_predicted_as_soon_as_its_baud_is_told(site):
    sensor = {"bus": "line", "profile": "generic/xy_md02", "interval_s": 1.0}
    direct, told, silent, server = (
        site({"line": url}, th=sensor).buses[0]
        for url in (LINE["line"], "tcp://h?baud=9600", "tcp://h", "rtu+tcp://h:4001?baud=9600")
    )
    assert silent.load == pytest.approx(ASSUMED_RTT_S, rel=0.02), "as if there were no line"
    assert told.load == pytest.approx(direct.load + ASSUMED_RTT_S), "the line, and the way to it"
    assert server.load == pytest.approx(told.load)


def test_a_line_behind_a_gateway_is_planned_as_a_line(site):
    """A hole of 38 registers: read over on a network, too long for 9600 baud."""
    meter = {"bus": "line", "profile": "test/wide"}
    assert [b.count for b in site({"line": "tcp://h"}, m=meter).blocks] == [40]
    assert [b.count for b in site({"line": "tcp://h?baud=9600"}, m=meter).blocks] == [1, 1]


def test_the_mean_read_of_a_unit_is_weighed_by_how_often_each_is_due(site):
    (unit,) = site(LINE, m1={"bus": "line"}).buses[0].units
    fixed_s = (13 * 10 + 7 * 11) / 9600 + 0.05
    coil, often, rarely = (fixed_s + data_bytes * 10 / 9600 for data_bytes in (1, 8, 4))
    assert unit.read_s == pytest.approx((coil + often + rarely / 10) / 2.1)
    assert unit.round_s == pytest.approx(coil + often + rarely)


def test_what_a_device_is_read_rarely_weighs_rarely(site):
    often = site(LINE, m1={"bus": "line", "interval_s": 1.0}).buses[0]
    rarely = site(LINE, m1={"bus": "line", "interval_s": 10.0}).buses[0]
    assert rarely.load == pytest.approx(often.load / 10)
    assert rarely.reads_per_s == pytest.approx(often.reads_per_s / 10)


def test_a_line_is_as_slow_as_its_slowest_unit_thinks(site):
    (bus,) = site(
        LINE, m1={"bus": "line"}, th={"bus": "line", "unit": 2, "profile": "generic/xy_md02", "interval_s": 1.0}
    ).buses
    assert bus.cost.fixed_s == pytest.approx((13 * 10 + 7 * 11) / 9600 + 0.05), "deadlines leave room for that"
    quick = site(LINE, th={"bus": "line", "unit": 2, "profile": "generic/xy_md02", "interval_s": 1.0}).buses[0]
    assert bus.units[1].load == pytest.approx(quick.load), "but each unit costs what it takes itself"


def test_deadlines_come_from_the_profile_unless_the_bus_says_otherwise(site):
    (bus,) = site(LINE, m1={"bus": "line"}, th={"bus": "line", "unit": 2, "profile": "generic/xy_md02"}).buses
    assert [unit.timeout_s for unit in bus.units] == [0.7, 1.0]
    assert bus.timeout_s == 1.0, "the line's is the longest"


def test_a_device_may_have_a_deadline_and_a_turnaround_of_its_own(site):
    slow = {"bus": "line", "unit": 2, "timeout_s": 3.0, "turnaround_s": 0.4}
    (bus,) = site(LINE, m1={"bus": "line"}, m2=slow).buses
    assert [(unit.timeout_s, unit.turnaround_s) for unit in bus.units] == [(0.7, 0.05), (3.0, 0.4)]
    assert bus.timeout_s == 3.0
    assert bus.units[1].read_s == pytest.approx(bus.units[0].read_s + 0.35)


def test_a_device_may_be_asked_for_fewer_registers_at_once_than_its_model_bears(site):
    wide = {"bus": "line", "profile": "test/wide", "turnaround_s": 0.2}
    inventory = site(LINE, all={**wide, "unit": 1}, few={**wide, "unit": 2, "max_registers": 20})
    assert [[inventory.blocks[b].count for b in unit.blocks] for unit in inventory.buses[0].units] == [[40], [1, 1]]


def test_the_units_of_a_pipelined_gateway_are_shared_out_by_load_and_one_number_stays_together(site):
    devices = {f"m{u}": {"bus": "gw", "unit": u, "interval_s": u} for u in range(1, 6)}
    also = {"bus": "gw", "unit": 1, "points": ("power",)}
    inventory = site({"gw": "tcp://h?baud=9600&pipeline=3"}, **devices, also=also)
    assert [bus.name for bus in inventory.buses] == ["gw", "gw/2", "gw/3"]
    shares = [[unit.device for unit in bus.units] for bus in inventory.buses]
    assert shares == [["m1", "also"], ["m2", "m5"], ["m3", "m4"]]
    assert {bus.address for bus in inventory.buses} == {inventory.buses[0].address}, "one connection"
    (whole,) = site({"gw": "tcp://h?baud=9600"}, **devices, also=also).buses
    assert sum(bus.load for bus in inventory.buses) == pytest.approx(whole.load)
    assert {bus.timeout_s for bus in inventory.buses} == {whole.timeout_s}


def test_a_gateway_with_fewer_units_than_its_pipeline_has_no_idle_shares(site):
    buses = site(
        {"gw": "tcp://h?pipeline=16", "none": "tcp://i?pipeline=4"}, m1={"bus": "gw"}, m2={"bus": "gw", "unit": 2}
    ).buses
    assert [(bus.name, len(bus.units)) for bus in buses] == [("gw", 1), ("gw/2", 1), ("none", 0)]


def test_a_bus_may_be_empty(site):
    inventory = site({**LINE, "spare": "tcp://192.0.2.1"}, m1={"bus": "line"})
    assert inventory.buses[1].units == ()
    assert (inventory.buses[1].load, inventory.buses[1].reads_per_s) == (0, 0)
    check_load(inventory, "f")


def test_more_than_all_of_a_lines_time_is_refused_by_name_and_others_are_not(site):
    buses = {**LINE, "slow": "serial:///dev/ttyS1?baud=1200"}
    inventory = site(buses, m1={"bus": "line"}, m2={"bus": "slow", "interval_s": 0.2})
    with pytest.raises(ConfigError) as caught:
        check_load(inventory, "f.toml")
    (finding,) = caught.value.findings
    assert (finding.file, finding.key) == ("f.toml", "bus.slow")
    assert f"{inventory.buses[1].load:.0%}" in finding.reason
    assert f"{inventory.buses[1].load:.1f} times" in finding.hint


def test_a_full_line_is_just_possible(site):
    interval_s = (17 * 10 + 7 * 11) / 9600 + 0.020
    check_load(site(LINE, th={"bus": "line", "profile": "generic/xy_md02", "interval_s": 1.0}), "f")
    many = {f"th{i}": {"bus": "line", "unit": i, "profile": "generic/xy_md02", "interval_s": 1.0} for i in range(1, 22)}
    assert 21 * interval_s < 1.0
    check_load(site(LINE, **many), "f")
    many["th22"] = {"bus": "line", "unit": 22, "profile": "generic/xy_md02", "interval_s": 1.0}
    with pytest.raises(ConfigError, match="predicted load is 101%"):
        check_load(site(LINE, **many), "f")


def test_two_devices_that_send_by_themselves_on_one_line_are_refused_unless_they_say_who_they_are(site):
    sensor = {"profile": "example/streaming_sensor"}
    buses = {**LINE, "other": "serial:///dev/ttyS1"}
    check_load(site(buses, a={"bus": "line", **sensor}, b={"bus": "other", **sensor}), "f")
    with pytest.raises(ConfigError, match="a and b send by themselves"):
        check_load(site(LINE, a={"bus": "line", **sensor}, b={"bus": "line", "unit": 2, **sensor}), "f")
