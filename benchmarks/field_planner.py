"""What the planned reads of random register maps cost, beside every other way of choosing them.

One read per point; contiguous points only; a fixed gap of 10 or 50 registers that is read over; the best fixed gap of
all for this very map and link; greedy at the link's break-even gap; and, where there are few enough points to try
them, every way of sharing the points out among reads. Costs are computed (`drivers.base.LinkCost`), nothing is sent.
"""

import random
import statistics
import time
from itertools import accumulate, groupby

from drivers.base import Request
from drivers.plan import plan, rtu_cost, tcp_cost
from drivers.profile import Profile, load_profile, profile_names

LINKS = {
    f"RTU {baud}, {turnaround} ms": rtu_cost(baud, turnaround_s=turnaround / 1000)
    for baud in (9600, 19200, 115200)
    for turnaround in (0, 5, 50)
} | {f"TCP, {rtt:g} ms": tcp_cost(rtt / 1000) for rtt in (0.5, 5, 20)}

MAX_REGISTERS = 125
POINTS = 60
#: So few that all ways of sharing them out can be tried: 877.
FEW_POINTS = 7
#: Two sums of the same terms in another order.
ROUNDING = 1 + 1e-9


def a_map(rng, points=POINTS, most=MAX_REGISTERS):
    """A profile of `points` registers and numbers: strewn, in clusters, or in runs with small holes like a meter's."""
    lengths = [rng.choice((1, 1, 1, 2, 2, 4)) for _ in range(points)]
    kind = rng.randrange(3)
    if kind == 0:
        at = sorted(rng.sample(range(0, 7 * points, 1), points))
    elif kind == 1:
        centres = [rng.randrange(4000) for _ in range(max(2, points // 8))]
        at = sorted(rng.choice(centres) + rng.randrange(40) for _ in range(points))
    else:
        gaps = [0 if rng.random() < 0.6 else rng.randrange(1, 9 if rng.random() < 0.7 else 90) for _ in lengths]
        at = list(accumulate((gap + length for gap, length in zip(gaps, lengths, strict=True)), initial=0))[:points]
    names = {1: "u16", 2: "u32", 4: "u64"}
    return Profile.model_validate(
        {
            "schema": 1,
            "device": {"vendor": "x", "model": "y", "category": "c", "source": "random", "evidence": "doubtful"},
            "limits": {"max_registers": most},
            "point": tuple(
                {"name": f"p{i}", "table": "holding", "address": address, "type": names[length]}
                for i, (address, length) in enumerate(zip(at, lengths, strict=True))
            ),
        }
    )


def spans(profile):
    return sorted(profile.span(point) for point in profile.point)


def with_gap(profile, gap):
    """(reads, registers) of greedy from the left, reading over up to `gap` registers."""
    reads, registers = 0, 0
    begin = end = None
    for first, last in spans(profile):
        if begin is not None and first - end <= gap and max(last, end) - begin <= profile.max_count(3):
            end = max(last, end)
            continue
        registers += 0 if begin is None else end - begin
        reads += 1
        begin, end = first, last
    return reads, registers + end - begin


def per_point(profile):
    return len(profile.point), sum(point.length for point in profile.point)


def holes(profile):
    """Every gap that makes a difference: a fixed gap does what the widest hole below it does."""
    ends = accumulate((end for _, end in spans(profile)), max)
    return sorted({max(0, first - end) for end, (first, _) in zip(ends, spans(profile)[1:], strict=False)} | {0})


def shares(items):
    """Every way of sharing `items` out among reads."""
    if not items:
        yield []
        return
    for rest in shares(items[1:]):
        yield [[items[0]], *rest]
        for i, part in enumerate(rest):
            yield [*rest[:i], [items[0], *part], *rest[i + 1 :]]


def all_ways(profile):
    """(reads, registers) of every way that the device's limit allows."""
    for parts in shares(spans(profile)):
        counts = [max(end for _, end in part) - min(first for first, _ in part) for part in parts]
        if max(counts) <= profile.max_count(3):
            yield len(parts), sum(counts)


def seconds(link, reads_and_registers):
    reads, registers = reads_and_registers
    return reads * link.fixed_s + registers * link.register_s


def planned(profile, link):
    blocks = plan(profile, 1.0, link)
    return len(blocks), sum(block.count for block in blocks)


def break_even(link):
    """The widest hole that is cheaper to read over than to begin another read."""
    return int(link.fixed_s / link.register_s)


def compare(maps, links=LINKS):
    """link → way → mean milliseconds of a round; and how often the plan was dearer than another way."""
    rows, dearer = {}, dict.fromkeys(("per_point", "fixed_gap", "greedy"), 0)
    ways = [(per_point(m), with_gap(m, 0), with_gap(m, 10), with_gap(m, 50)) for m in maps]
    gaps = [{with_gap(m, gap) for gap in holes(m)} for m in maps]
    for name, link in links.items():
        costs = []
        for profile, fixed, any_gap in zip(maps, ways, gaps, strict=True):
            ours = seconds(link, planned(profile, link))
            single, contiguous, ten, fifty = (seconds(link, way) for way in fixed)
            best_gap = min(seconds(link, way) for way in any_gap)
            greedy = seconds(link, with_gap(profile, break_even(link)))
            costs.append((single, contiguous, ten, fifty, greedy, best_gap, ours))
            for rival, cost in (("per_point", single), ("fixed_gap", best_gap), ("greedy", greedy)):
                dearer[rival] += ours > cost * ROUNDING
        labels = ("per_point", "contiguous", "gap_10", "gap_50", "greedy", "best_gap", "plan")
        means = (round(1000 * statistics.fmean(column), 2) for column in zip(*costs, strict=True))
        worst = max(greedy / ours for _, _, _, _, greedy, _, ours in costs)
        rows[name] = {
            "break_even": break_even(link),
            **dict(zip(labels, means, strict=True)),
            "worst_greedy": round(worst, 3),
        }
    return rows, dearer


def above_the_optimum(maps, links=LINKS):
    """The largest cost of a plan over the cheapest of all ways: 1.0 when each plan is optimal."""
    worst = 1.0
    for profile in maps:
        ways = set(all_ways(profile))
        for link in links.values():
            worst = max(worst, seconds(link, planned(profile, link)) / min(seconds(link, way) for way in ways))
    return worst


def milliseconds_to_plan(rng, repeats):
    """Median CPU time to plan 100 points, of the slowest kind of map and link."""
    medians = []
    for _ in range(6):
        profile = a_map(rng, points=100)
        for link in (LINKS["RTU 9600, 0 ms"], LINKS["TCP, 20 ms"]):
            taken = []
            for _ in range(repeats):
                begin = time.process_time_ns()
                plan(profile, 1.0, link)
                taken.append((time.process_time_ns() - begin) / 1e6)
            medians.append(statistics.median(taken))
    return max(medians)


def riding_along(profile, link):
    """Cost with one read per interval class over what it would be if a rare point might ride in a frequent read."""
    blocks = plan(profile, 1.0, link)
    apart = sum(link.of(Request(1, b.function, b.address, b.count)) / b.every for b in blocks)
    together = 0.0
    for function, points in groupby(sorted(profile.point, key=lambda p: p.function), lambda p: p.function):
        members = sorted(points, key=profile.span)
        named = {address for point in members for address in range(*profile.span(point))}
        best = [0.0] + [float("inf")] * len(members)
        for i, head in enumerate(members):
            end, every = 0, head.every
            for j, point in enumerate(members[i:], i + 1):
                end, every = max(end, profile.span(point)[1]), min(every, point.every)
                request = Request(1, function, 0, end - profile.span(head)[0])
                crossed = any(profile.span(head)[0] <= first < end for first, _ in profile.forbidden())
                holes_read = set(range(profile.span(head)[0], end)) - named if not profile.limits.read_holes else ()
                if crossed or holes_read or request.count > profile.max_count(function):
                    break
                best[j] = min(best[j], best[i] + link.of(request) / every)
        together += best[-1]
    return apart / min(apart, together)


def planned_for_another(maps):
    """What a plan for 5 ms costs where the device takes another time: mean of cost over the cost of the right plan."""
    found = {}
    for line in ("RTU 9600", "RTU 19200", "RTU 115200", "TCP"):
        assumed = LINKS[f"{line}, 5 ms"]
        for name, link in LINKS.items():
            if name.startswith(f"{line},") and link is not assumed:
                costs = [seconds(link, planned(m, assumed)) / seconds(link, planned(m, link)) for m in maps]
                found[name] = round(statistics.fmean(costs), 3)
    return found


def run(quick):
    rng = random.Random(7)
    maps = [a_map(rng, most=rng.choice((125, 125, 32))) for _ in range(100 if quick else 1000)]
    rows, dearer = compare(maps)
    optimum = above_the_optimum([a_map(rng, FEW_POINTS, 20) for _ in range(20 if quick else 200)])
    plan_ms = milliseconds_to_plan(rng, 20 if quick else 200)
    modbus = [profile for profile in map(load_profile, profile_names()) if isinstance(profile, Profile)]
    rides = [riding_along(profile, link) for profile in modbus for link in LINKS.values()]
    ride = max(rides)
    columns = ("per_point", "contiguous", "gap_10", "gap_50", "greedy", "best_gap", "plan")
    print(f"mean ms per round of {POINTS} points, {len(maps)} maps; in brackets: greedy over the plan, worst map")
    print(f"{'link':<18}{'break-even':>11}" + "".join(f"{c.replace('_', ' '):>11}" for c in columns))
    for name, row in rows.items():
        costs = "".join(f"{row[column]:>11.1f}" for column in columns)
        print(f"{name:<18}{row['break_even']:>11}{costs}  ({row['worst_greedy']:.2f}x)")
    print(f"plan dearer than one read per point, any fixed gap, greedy: {', '.join(map(str, dearer.values()))} times")
    print(
        f"plan over the optimum, all {FEW_POINTS}-point ways tried: {optimum:.6f}; time to plan 100: {plan_ms:.2f} ms"
    )
    mean = 1 - 1 / statistics.fmean(rides)
    print(f"rare points riding in frequent reads would save {mean:.1%}, at most {1 - 1 / ride:.1%}, with our profiles")
    missed = planned_for_another(maps[:100])
    print("planned for 5 ms where the device takes another time, cost over the right plan's:")
    print("  " + ", ".join(f"{name}: {ratio:.3f}" for name, ratio in missed.items()))
    return {
        "planner": rows,
        "planner_dearer": dearer,
        "planner_over_optimum": round(optimum, 9),
        "plan_100_points_ms": round(plan_ms, 3),
        "planner_riding_along_saves": [round(mean, 4), round(1 - 1 / ride, 4)],
        "planner_for_another_time": missed,
    }
