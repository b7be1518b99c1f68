import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.decode import Decode
from collector.specs import numbered, point_spec
from collector.types import BlockSpec, RawBatch
from drivers.codec import Reading, Status, decode_point
from drivers.derived import derive, mistakes, placed
from drivers.errors import ProfileError
from drivers.lint import lint
from drivers.plan import plan, plan_any, split, tcp_cost
from drivers.profile import parse_profile
from tests.drivers.test_formula import formulas
from tests.drivers.test_plan import FAST, SLOW, check_cover, costs, maps
from tests.maps import HEAD, a_derived, a_point, a_profile, untimed

A, B, C = (a_point(k, "s16", name=name, scale=0.1, invalid=(0x8000,)) for k, name in enumerate("abc"))
SUM = a_derived("total", "a + b + c", unit="kW", decimals=1)


def readings(profile, data):
    found = {p.name: decode_point(profile, p, data, profile.wire_address(p)) for p in profile.point}
    return found | derive(profile, found)


def test_a_derived_point_is_its_formula_over_published_values():
    profile = a_profile(A, B, C, derived=(SUM, a_derived("mean", "(a + b + c) / 3", scale=0.001, decimals=6)))
    found = readings(profile, bytes.fromhex("000a00140005"))
    assert found["total"] == (pytest.approx(3.5), Status.GOOD)
    assert found["mean"] == (pytest.approx(3.5 / 3000), Status.GOOD)


@pytest.mark.parametrize(
    ("a", "b", "keys", "status"),
    [
        ("8000", "0014", {}, Status.NOT_AVAILABLE),
        ("7fff", "0014", {}, Status.OUT_OF_RANGE),
        ("7fff", "8000", {}, Status.OUT_OF_RANGE),
        ("0005", "0014", {"range": (0, 1)}, Status.OUT_OF_RANGE),
        ("0005", "0000", {"derive": "a / b"}, Status.NOT_AVAILABLE),
        ("0000", "0000", {"derive": "a / b"}, Status.NOT_AVAILABLE),
    ],
)
def test_it_is_no_better_than_the_worst_of_its_inputs_and_never_a_number_then(a, b, keys, status):
    first = A.model_copy(update={"range": (-100.0, 100.0)})
    profile = a_profile(first, B, derived=(a_derived("total", **{"derive": "a + b", **keys}),))
    assert readings(profile, bytes.fromhex(a + b))["total"] == (None, status)


def test_states_and_bits_count():
    bits = [a_point(0, "bool", bit=k, name=f"running_{k}") for k in range(3)]
    count = a_derived("running", "running_0 + running_1 + running_2", kind="state", decimals=0)
    found = readings(a_profile(*bits, derived=(count,)), b"\0\5")
    assert found["running"] == (2, Status.GOOD)


def test_inputs_come_in_one_answer_however_dear_and_without_the_formula_they_do_not():
    far = a_point(60, name="far")
    profile = a_profile(A, far, derived=(a_derived("both", "a + far"),))
    (block,) = plan(profile, 1.0, SLOW)
    assert (block.address, block.count, block.points) == (0, 61, ("a", "far"))
    assert placed(profile, [block]) == [[("both", ("a", "far", "+"))]]
    assert len(plan(a_profile(A, far), 1.0, SLOW)) == 2
    assert len(plan(profile, 1.0, SLOW, points=["a"])) == 1
    assert plan(profile, 1.0, SLOW, points=["a", "far", "both"]) == [block]


@untimed
@given(maps(), costs, st.data())
def test_whatever_is_derived_from_what_the_planner_always_reads_its_inputs_together(profile, cost, data):
    groups = {}
    for point in profile.point:
        groups.setdefault((point.function, point.every), []).append(point)
    derived = []
    for k in range(data.draw(st.integers(1, 4))):
        group = data.draw(st.sampled_from([*groups.values()]))
        inputs = data.draw(st.lists(st.sampled_from(group), min_size=1, max_size=3, unique_by=lambda p: p.name))
        formula = a_derived(f"d{k}", " + ".join(point.name for point in inputs), every=inputs[0].every)
        if not [*mistakes(profile.model_copy(update={"derived": (formula,)}))]:
            derived.append(formula)
    whole = profile.model_copy(update={"derived": tuple(derived)})
    blocks = plan(whole, 1.0, cost)
    check_cover(whole, blocks, [point.name for point in whole.point])
    assert {p.name for each in placed(whole, blocks) for p in each if p.program} == {d.name for d in derived}
    assert all(block.count <= whole.max_count(block.function) for block in blocks)
    for block in blocks:
        pieces = split(block, whole)
        told = [p.name for each in placed(whole, pieces) for p in each]
        assert sorted(told) == sorted(p.name for p in placed(whole, blocks)[blocks.index(block)]), "none is forgotten"


def test_a_refused_input_costs_the_derived_point_and_not_the_other_inputs():
    profile = a_profile(A, B, C, derived=(SUM,))
    (block,) = plan(profile, 1.0, FAST)
    pieces = split(block, profile)
    assert [p.points for p in pieces] == [("a",), ("b", "c")]
    assert placed(profile, pieces) == [[("total", ())], []]


@pytest.mark.parametrize("missing", range(12))
def test_a_refused_register_costs_no_formula_but_its_own(missing):
    groups = [[a_point(4 * g + k, name=f"g{g}_{k}") for k in range(3)] for g in range(3)]
    loose = [a_point(4 * g + 3, name=f"loose_{g}") for g in range(3)]
    derived = tuple(a_derived(f"sum_{g}", " + ".join(p.name for p in group)) for g, group in enumerate(groups))
    profile = a_profile(*(p for group in groups for p in group), *loose, derived=derived)
    waiting, good = plan(profile, 1.0, FAST), []
    while waiting:
        block = waiting.pop()
        there = not block.address <= missing < block.address + block.count
        pieces = [] if there else split(block, profile)
        good += [block] if there else []
        waiting += pieces if len(pieces) > 1 else []
    kept = {p.name for each in placed(profile, good) for p in each if p.program}
    lost = set() if missing % 4 == 3 else {f"sum_{missing // 4}"}
    assert kept == {d.name for d in derived} - lost
    assert sum(len(block.points) for block in good) == 11


def test_a_derived_point_without_any_input_read_is_nowhere():
    profile = a_profile(A, B, a_point(9, name="z"), derived=(a_derived("both", "a + b"),))
    assert placed(profile, plan(profile, 1.0, FAST, points=["z"])) == [[]]


@pytest.mark.parametrize(
    ("derived", "points", "limits", "said"),
    [
        (a_derived("d", "a + x"), (A, B), {}, "there is no point x"),
        (a_derived("d", "a +"), (A,), {}, "is no formula"),
        (a_derived("d", "a ** 2"), (A,), {}, "is not allowed"),
        (a_derived("d", "1 + 2"), (A,), {}, "names no point"),
        (a_derived("d", "a // 2"), (A,), {}, "// and %"),
        (a_derived("d", "a + s"), (A, a_point(9, "string", registers=2, name="s")), {}, "s is a text"),
        (a_derived("d", "a + i"), (A, a_point(1, table="input", name="i")), {}, "several tables"),
        (a_derived("d", "a + z"), (A, a_point(200, name="z")), {}, "its inputs span 201, one read holds 125"),
        (a_derived("d", "a + z"), (A, a_point(20, name="z")), {"forbidden": ((5, 6),)}, "a forbidden range"),
        (a_derived("d", "a + z"), (A, a_point(20, name="z")), {"read_holes": False}, "registers that no point names"),
        (a_derived("d", "a + z"), (A, a_point(1, name="z", every=10)), {}, "is due every 1, its inputs: a every 1, z"),
        (a_derived("d", "a + b", every=10), (A, B), {}, "is due every 10"),
    ],
)
def test_what_cannot_be_computed_from_one_answer_is_found_with_a_hint(derived, points, limits, said):
    (finding,) = lint(a_profile(*points, derived=(derived,), **limits))
    assert finding.key == "derived[d].derive"
    assert said in finding.reason
    assert finding.hint


def test_the_other_mistakes_of_a_derived_point_are_those_of_any_point():
    keys = [f.key for f in lint(a_profile(A, B, derived=(a_derived("b", "a + b", unit="Volt", range=(5, 1)),)))]
    assert keys == ["point[b].name", "derived[b].range", "derived[b].unit"]
    other = a_derived("other", "a", publish_as="b")
    assert [f.key for f in lint(a_profile(A, B, derived=(other,)))] == ["derived[other].publish_as"]


def test_a_golden_frame_may_expect_a_derived_value():
    golden = {"request": "03 0000 0003", "response": "03 06 000a 0014 0005", "origin": "computed"}
    good, wrong = ({**golden, "expect": {"total": value}} for value in (3.5, 3.6))
    part = {**golden, "request": "03 0000 0002", "response": "03 04 000a 0014", "expect": {"total": 3.5}}
    assert lint(a_profile(A, B, C, derived=(SUM,), golden=(good,))) == []
    for frame in (wrong, part):
        (finding,) = lint(a_profile(A, B, C, derived=(SUM,), golden=(frame,)))
        assert finding.key == "golden[0].expect.total"


@untimed
@given(formulas, st.binary(min_size=6, max_size=6), st.sampled_from([{}, {"range": (-50, 50)}, {"scale": 0.1}]))
def test_the_kernel_computes_the_same_as_the_reference(text, data, keys):
    points = (
        a_point(0, "s16", name="a", scale=0.1, invalid=((0, 0x80),)),
        a_point(1, "u16", name="b", range=(0, 60000)),
        a_point(2, "bool", name="power_a", bit=0),
    )
    derived = a_derived("d", text, **keys)
    profile = a_profile(*points, derived=(derived,) if "a" in text or "b" in text else ())
    (block,) = plan(profile, 1.0, tcp_cost(0.1), points=["a", "b", "power_a"])
    ((mine,),) = placed(profile, [block]) if profile.derived else [(("d", ()),)]
    place = {name: k for k, name in enumerate(block.points)}
    specs = [point_spec(a_profile(*points, derived=(derived,)), name, 1.0) for name in (*block.points, "d")]
    decode = Decode(specs)
    program = numbered(mine[1], place)
    blocks = [BlockSpec("d", 1, 3, 0, 3, 1.0, (0, 1, 2), block.offsets, derived=((3, program),))]
    decode.set_blocks(blocks)
    one = np.ones(1, np.int64)
    samples = decode(
        RawBatch(np.frombuffer(data, np.uint8), np.zeros(1, np.int32), one - 1, one, np.zeros(1, np.uint8))
    )
    at = samples.point.tolist().index(3)
    expected = readings(profile, data).get("d", Reading(None, Status.NOT_AVAILABLE))
    assert samples.quality[at] == expected.status
    if expected.value is None:
        assert math.isnan(samples.value[at])
    else:
        assert samples.value[at] == float(expected.value)


def text_points(command, *names):
    """Points of a text protocol, each called after its field."""
    keys = f'command = "{command}"\nunit = "V"\nrange = [0, 500]\n'
    return "".join(f'[[point]]\nname = "{name}"\nfield = "{name}"\n{keys}' for name in names)


@pytest.fixture
def a_ups():
    """The text of a UPS's profile, with one point computed by this formula from what two commands tell."""

    def written(formula):
        head = HEAD.replace("schema = 1", 'schema = 1\nprotocol = "megatec"')
        commands = '[[command]]\nname = "Q1"\n[[command]]\nname = "F"\n'
        points = text_points("Q1", "input_voltage", "output_voltage") + text_points("F", "rated_voltage")
        computed = f'name = "boost"\nderive = "{formula}"\nunit = "V"\ndecimals = 1\nrange = [-500, 500]\n'
        return f"{head}{commands}{points}[[derived]]\n{computed}"

    return written


def test_text_protocols_derive_from_the_values_of_one_command(a_ups):
    profile = parse_profile(a_ups("output_voltage - input_voltage"))
    block = plan_any(profile, 1.0, FAST)[0]
    ((mine,), _) = placed(profile, plan_any(profile, 1.0, FAST))
    data = profile.ask("Q1", 1).read(b"(226.0 195.0 230.5 014 49.0 27.5 30.0 00001000\r")
    found = {
        name: decode_point(profile, profile.named(name), data, at)
        for name, at in zip(block.points, block.offsets, strict=True)
    }
    assert derive(profile, found)["boost"] == (pytest.approx(4.5), Status.GOOD)
    decode = Decode([point_spec(profile, name, 1.0) for name in (*block.points, "boost")])
    program = numbered(mine.program, {name: k for k, name in enumerate(block.points)})
    decode.set_blocks([BlockSpec("d", 1, 0, 0, block.count, 1.0, (0, 1), block.offsets, derived=((2, program),))])
    one = np.ones(1, np.int64)
    samples = decode(
        RawBatch(np.frombuffer(data, np.uint8), np.zeros(1, np.int32), one - 1, one, np.zeros(1, np.uint8))
    )
    assert samples.value[2] == pytest.approx(4.5)
    assert plan_any(profile, 1.0, FAST, ["boost", "input_voltage", "output_voltage"])[0].points == block.points


def test_values_of_two_commands_cannot_be_computed_with(a_ups):
    with pytest.raises(ProfileError, match="in the answers of several commands"):
        parse_profile(a_ups("output_voltage - rated_voltage"))
