import itertools
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks import field_planner
from drivers.base import LinkCost, Request
from drivers.plan import plan, rtu_cost, split, tcp_cost
from drivers.profile import load_profile
from tests.drivers.packaged import MODBUS
from tests.maps import a_point, a_profile, untimed

#: A thousand take ten seconds; `make bench-field` tries those.
MAPS = 100
SLOW, FAST = rtu_cost(9600), tcp_cost(0.002)
LENGTHS = {"u16": 1, "u32": 2, "u64": 4, "string": None}

costs = st.builds(LinkCost, st.floats(1e-4, 0.1), st.floats(1e-6, 0.01))


@st.composite
def maps(draw, max_points=30, max_address=400):
    """A profile with overlaps, bits, several tables and classes, and whatever limits a device may have."""
    base = draw(st.sampled_from([0, 1]))
    read_holes = draw(st.booleans())
    points = {}
    for _ in range(draw(st.integers(1, max_points))):
        table = draw(st.sampled_from(["holding", "holding", "holding", "input", "coil"]))
        kind = "bool" if table == "coil" else draw(st.sampled_from(["u16", "u32", "u64", "bool", "string"]))
        keys = {"every": draw(st.sampled_from([1, 1, 10])), "category": draw(st.sampled_from([None, "energy", "ups"]))}
        if kind == "bool" and table != "coil":
            keys["bit"] = draw(st.integers(0, 15))
        if kind == "string":
            keys["registers"] = draw(st.integers(1, 16))
        address = base + draw(st.integers(0, max_address))
        if kind in ("u16", "u32") and draw(st.booleans()):
            away = draw(st.integers(1, 10)) if read_holes else 1  # what lies between is named by nobody
            behind = address + LENGTHS[kind] - 1 + away
            keys["scale_register"] = draw(st.sampled_from([max(address - away, base), behind]))
            keys["scale_register"] = behind if keys["scale_register"] == address else keys["scale_register"]
        point = a_point(address, kind, table, **keys)
        points[point.name] = point
    limits = {
        "address_base": base,
        "max_registers": draw(st.integers(16, 125)),
        "max_bits": draw(st.integers(1, 200)),
        "read_holes": read_holes,
    }
    profile = a_profile(*points.values(), **limits)
    spans = [profile.reach(p) for p in points.values()]
    free = [a for a in range(max_address + 20) if not any(first <= a < end for first, end in spans)]
    taken = draw(st.lists(st.sampled_from(free), max_size=4)) if free else []
    return a_profile(*points.values(), **limits, forbidden=tuple((a + base, a + base) for a in taken))


def registers_of(block):
    return range(block.address, block.address + block.count)


def cost_of(blocks, cost):
    return sum(cost.of(Request(1, b.function, b.address, b.count)) for b in blocks)


def check_cover(profile, blocks, names):
    """Each point once, in a block of its function and class that contains it wholly, at the offset it has there."""
    seen = [name for block in blocks for name in block.points]
    assert sorted(seen) == sorted(names)
    for block in blocks:
        for name, offset in zip(block.points, block.offsets, strict=True):
            point = profile.named(name)
            first, end = profile.reach(point)
            assert (block.function, block.every) == (point.function, point.every)
            assert block.address + offset == profile.wire_address(point)
            assert block.address <= first
            assert end <= block.address + block.count


@untimed
@given(maps(), costs)
def test_every_point_is_in_exactly_one_block_that_contains_it(profile, cost):
    check_cover(profile, plan(profile, 1.0, cost), [p.name for p in profile.point])


@untimed
@given(maps(), costs)
def test_no_block_breaks_a_limit_or_reads_what_it_must_not(profile, cost):
    limits = profile.limits
    for block in plan(profile, 1.0, cost):
        assert block.count <= profile.max_count(block.function)
        read = set(registers_of(block))
        assert not any(first <= a < end for first, end in profile.forbidden() for a in read)
        if not limits.read_holes:
            points = [p for p in profile.point if p.function == block.function]
            assert read <= {a for p in points for a in range(*profile.reach(p))}


def grouped(profile):
    def key(point):
        return point.function, point.every

    return itertools.groupby(sorted(profile.point, key=key), key)


def reads_with_gap(profile, gap):
    """Greedy from the left, reading over up to `gap` registers: what a collector with a fixed setting does."""
    blocked = [a for first, end in profile.forbidden() for a in range(first, end)]
    for (function, _), group in grouped(profile):
        start = reach = None
        for first, end in sorted(profile.reach(p) for p in group):
            joins = (
                start is not None
                and first - reach <= gap
                and max(end, reach) - start <= profile.max_count(function)
                and not any(start <= a < max(end, reach) for a in blocked)
            )
            if joins:
                reach = max(reach, end)
                continue
            if start is not None:
                yield Request(1, function, start, reach - start)
            start, reach = first, end
        yield Request(1, function, start, reach - start)


@untimed
@given(maps(), costs)
def test_the_plan_costs_no_more_than_one_read_per_point_or_any_fixed_gap(profile, cost):
    ours = cost_of(plan(profile, 1.0, cost), cost)
    reaches = [(p.function, *profile.reach(p)) for p in profile.point]
    single = sum(cost.of(Request(1, function, first, end - first)) for function, first, end in reaches)
    assert ours <= single * (1 + 1e-9)
    assume(profile.limits.read_holes)
    for gap in (0, 5, 10, 20, 50, 124):
        assert ours <= sum(map(cost.of, reads_with_gap(profile, gap))) * (1 + 1e-9), gap


def partitions(items):
    if not items:
        yield []
        return
    for parts in partitions(items[1:]):
        yield [[items[0]], *parts]
        for i, part in enumerate(parts):
            yield [*parts[:i], [items[0], *part], *parts[i + 1 :]]


@settings(untimed, max_examples=60)
@given(maps(max_points=6, max_address=25), costs)
def test_no_partition_of_the_points_at_all_is_cheaper(profile, cost):
    blocked = {a for first, end in profile.forbidden() for a in range(first, end)}
    best = 0.0
    for (function, _), group in grouped(profile):
        spans = [profile.reach(p) for p in group]
        same = [p for p in profile.point if p.function == function]
        named = {a for p in same for a in range(*profile.reach(p))}
        prices = []
        for parts in partitions(spans):
            hulls = [range(min(f for f, _ in part), max(e for _, e in part)) for part in parts]
            if any(len(h) > profile.max_count(function) or blocked & set(h) for h in hulls):
                continue
            if profile.limits.read_holes or all(set(h) <= named for h in hulls):
                prices.append(sum(cost.of(Request(1, function, h.start, len(h))) for h in hulls))
        best += min(prices)
    assert cost_of(plan(profile, 1.0, cost), cost) == pytest.approx(best)


def test_on_random_maps_and_all_links_no_gap_no_greedy_and_no_single_reads_are_cheaper():
    """The benchmark's own maps: each fixed gap that makes a difference is tried on each."""
    rng = random.Random(11)
    maps = [field_planner.a_map(rng, most=rng.choice((125, 32))) for _ in range(MAPS)]
    rows, dearer = field_planner.compare(maps)
    assert dearer == {"per_point": 0, "fixed_gap": 0, "greedy": 0}
    assert len(rows) >= 6
    assert all(row["plan"] < row["gap_10"] or row["plan"] < row["gap_50"] for row in rows.values())


def test_on_small_random_maps_no_way_of_sharing_the_points_out_is_cheaper():
    rng = random.Random(12)
    maps = [field_planner.a_map(rng, field_planner.FEW_POINTS, 20) for _ in range(MAPS // 5)]
    assert field_planner.above_the_optimum(maps) == pytest.approx(1.0)


def test_a_planner_with_a_fixed_gap_would_be_caught(monkeypatch):
    monkeypatch.setattr(field_planner, "planned", lambda profile, link: field_planner.with_gap(profile, 3))
    rng = random.Random(12)
    assert field_planner.compare([field_planner.a_map(rng) for _ in range(5)])[1]["fixed_gap"] > 0
    assert (
        field_planner.above_the_optimum([field_planner.a_map(rng, field_planner.FEW_POINTS, 20) for _ in range(5)])
        > 1.0
    )


def test_a_slow_line_cuts_where_a_network_reads_over():
    profile = a_profile(a_point(0), a_point(40))
    assert [(b.address, b.count) for b in plan(profile, 1.0, SLOW)] == [(0, 1), (40, 1)]
    assert [(b.address, b.count) for b in plan(profile, 1.0, FAST)] == [(0, 41)]


def test_sixteen_bits_of_a_register_are_one_read():
    profile = a_profile(*(a_point(7, "bool", bit=bit) for bit in range(16)), a_point(7))
    (block,) = plan(profile, 1.0, SLOW)
    assert (block.address, block.count, block.offsets) == (7, 1, (0,) * 17)


def test_a_point_is_never_cut_in_two():
    profile = a_profile(*(a_point(a, "u32") for a in range(0, 20, 2)), max_registers=5)
    assert all(b.count == 4 for b in plan(profile, 1.0, FAST))


def test_points_stand_by_category_then_offset():
    profile = a_profile(
        a_point(0, category="power"), a_point(1, category="energy"), a_point(2, category="power"), a_point(3)
    )
    (block,) = plan(profile, 1.0, FAST)
    assert block.points == ("h1", "h0", "h2", "h3")
    assert block.offsets == (1, 0, 2, 3)


def test_slow_points_are_read_less_often_in_blocks_of_their_own():
    profile = a_profile(a_point(0), a_point(1, every=60))
    assert [(b.points, b.every, b.interval_s) for b in plan(profile, 2.0, FAST)] == [
        (("h0",), 1, 2.0),
        (("h1",), 60, 120.0),
    ]


def test_a_point_and_its_scale_register_come_in_one_answer_however_dear_and_are_never_split():
    profile = a_profile(a_point(0, "s16", scale_register=60), a_point(30), a_point(90))
    first, second = plan(profile, 1.0, SLOW)
    assert (first.address, first.count, first.points, first.offsets) == (0, 61, ("h0", "h30"), (0, 30))
    assert (second.address, second.count) == (90, 1)
    assert split(first, profile) == [first]
    without = a_profile(a_point(0, "s16"), a_point(60, "s16"), a_point(30), a_point(90))  # the twin
    assert [b.count for b in plan(without, 1.0, SLOW)] == [1, 1, 1, 1]


def test_a_scale_register_before_its_point_shifts_the_point_in_the_block():
    (block,) = plan(a_profile(a_point(6, "s32", scale_register=5)), 1.0, FAST)
    assert (block.address, block.count, block.offsets) == (5, 3, (1,))


def test_points_of_different_scale_registers_may_be_split_between_them():
    points = (a_point(2, scale_register=4), a_point(3, scale_register=4), a_point(5, scale_register=6))
    (block,) = plan(a_profile(*points), 1.0, FAST)
    pieces = split(block, a_profile(*points))
    assert [(p.address, p.count, p.points) for p in pieces] == [(2, 3, ("h2", "h3")), (5, 2, ("h5",))]


def test_only_the_points_asked_for_are_read():
    profile = a_profile(a_point(0), a_point(1), a_point(2))
    (block,) = plan(profile, 1.0, FAST, points=["h2"])
    assert (block.address, block.count, block.points) == (2, 1, ("h2",))
    with pytest.raises(KeyError, match="h9"):
        plan(profile, 1.0, FAST, points=["h9"])


def test_what_the_document_counts_from_one_is_asked_from_zero():
    (block,) = plan(a_profile(a_point(3000, "f32"), address_base=1), 1.0, SLOW)
    assert (block.address, block.count) == (2999, 2)


def test_a_refused_filler_is_not_read_again_but_a_named_register_is():
    profile = a_profile(a_point(0), a_point(2), a_point(3))
    assert [(b.address, b.count) for b in plan(profile, 1.0, FAST, unmergeable={(3, 1)})] == [(0, 1), (2, 2)]
    assert [(b.address, b.count) for b in plan(profile, 1.0, FAST, unmergeable={(3, 2), (4, 1)})] == [(0, 4)]


def test_without_holes_a_register_named_by_a_point_not_asked_for_may_be_read_over():
    profile = a_profile(a_point(0), a_point(1), a_point(2), read_holes=False)
    (block,) = plan(profile, 1.0, FAST, points=["h0", "h2"])
    assert (block.count, block.points) == (3, ("h0", "h2"))


@untimed
@given(maps(), costs)
def test_a_split_keeps_every_point_and_leaves_no_hole(profile, cost):
    for block in plan(profile, 1.0, cost):
        pieces = split(block, profile)
        check_cover(profile, pieces, block.points)
        covered = {a for name in block.points for a in range(*profile.reach(profile.named(name)))}
        if pieces != [block]:
            assert all(set(registers_of(piece)) <= covered for piece in pieces)
            assert all(piece.interval_s == block.interval_s for piece in pieces)


def test_a_block_with_holes_splits_into_its_runs():
    profile = a_profile(a_point(0), a_point(1, "u32"), a_point(10), a_point(11), a_point(30))
    (block,) = plan(profile, 1.0, FAST)
    assert [(p.address, p.count) for p in split(block, profile)] == [(0, 3), (10, 2), (30, 1)]


@untimed
@given(st.integers(1, 40), st.data())
def test_repeated_splitting_isolates_the_one_register_that_is_not_there(n, data):
    profile = a_profile(*(a_point(address) for address in range(n)))
    missing = data.draw(st.integers(0, n - 1))
    waiting, good, refused = plan(profile, 1.0, FAST), [], []
    asked = 0
    while waiting:
        block = waiting.pop()
        asked += 1
        if missing not in registers_of(block):
            good.append(block)
            continue
        pieces = split(block, profile)
        (refused if pieces == [block] else waiting).extend(pieces)
    assert [b.points for b in refused] == [(f"h{missing}",)]
    assert sum(len(b.points) for b in good) == n - 1
    assert asked <= 2 * n.bit_length() + 3


def test_a_piece_that_cannot_be_split_returns_itself():
    profile = a_profile(a_point(0, "u32"), a_point(1), a_point(1, "bool", bit=3))
    (block,) = plan(profile, 1.0, FAST)
    assert split(block, profile) == [block]


@pytest.mark.parametrize(("baud", "n", "ms"), [
    (1200, 10, 367), (1200, 125, 2475), (2400, 10, 183), (4800, 125, 619), (9600, 10, 45.8), (9600, 125, 309),
    (19200, 10, 22.9), (19200, 125, 155), (38400, 10, 13.0), (115200, 10, 6.7), (115200, 125, 28.6),
])  # fmt: skip
def test_serial_cost_agrees_with_the_standards_timing(baud, n, ms):
    assert rtu_cost(baud).of(Request(1, 3, 0, n)) * 1000 == pytest.approx(ms, rel=0.01)


def test_turnaround_and_round_trip_count_once_per_read():
    assert rtu_cost(9600, turnaround_s=0.05).fixed_s - SLOW.fixed_s == pytest.approx(0.05)
    assert tcp_cost(0.004).fixed_s == 0.004
    assert rtu_cost(9600, char_bits=10).register_s == pytest.approx(20 / 9600)


@pytest.mark.parametrize("name", MODBUS)
@pytest.mark.parametrize("cost", [SLOW, FAST])
def test_packaged_profiles_are_planned_at_less_than_one_read_per_point(name, cost):
    profile = load_profile(name)
    blocks = plan(profile, 1.0, cost)
    check_cover(profile, blocks, [p.name for p in profile.point])
    single = sum(cost.of(Request(1, p.function, 0, p.length)) for p in profile.point)
    assert cost_of(blocks, cost) < 0.75 * single


def test_a_large_map_is_planned_without_trying_every_cut():
    rng = random.Random(7)
    profile = a_profile(*(a_point(a) for a in sorted(rng.sample(range(60000), 4000))))
    blocks = plan(profile, 1.0, FAST)
    assert len(blocks) < 1000
    check_cover(profile, blocks, [p.name for p in profile.point])
