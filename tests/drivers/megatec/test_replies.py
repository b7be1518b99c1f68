from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadFrame, DeviceError
from drivers.megatec.frame import LONGEST, Query
from drivers.megatec.profile import MegatecProfile
from drivers.megatec.replies import LAYOUTS, read_answer, regulation, write_answer
from drivers.profile import parse_profile
from tests.fuzzing import hostile

Q1 = b"(226.0 195.0 226.0 014 49.0 27.5 30.0 00001000\r"
#: One answer of each query, as its description or a device gives it, and what it says. The tables of the Megatec
#: protocol and of NUT's drivers; Q6 and WA of an Innova RT and of a Santak C1K.
ANSWERS = {
    (Query.Q1, Q1): {
        "input_voltage": 226.0,
        "fault_voltage": 195.0,
        "output_voltage": 226.0,
        "load": 14.0,
        "frequency": 49.0,
        "battery_voltage": 27.5,
        "temperature": 30.0,
        "utility_fail": 0.0,
        "line_interactive": 1.0,
        "beeper_on": 0.0,
        "regulation": 0.0,
    },
    (Query.QS, b"(215.0 195.0 230.0 014 49.0 2.27 30.0 00101000\r"): {
        "output_voltage": 230.0,
        "battery_voltage": 2.27,
        "bypass_active": 1.0,
        "line_interactive": 1.0,
        "regulation": 3.0,
    },
    (Query.F, b"#220.0 000 024.0 50.0\r"): {
        "rated_voltage": 220.0,
        "rated_current": 0.0,
        "rated_battery_voltage": 24.0,
        "rated_frequency": 50.0,
    },
    (Query.I, b"#-------------   ------     VT12046Q  \r"): {"vendor": None, "model": None, "firmware": "VT12046Q"},
    (Query.I, b"#NOT_A_LIVE_UPS  TESTING    TESTING   \r"): {
        "vendor": "NOT_A_LIVE_UPS",
        "model": "TESTING",
        "firmware": "TESTING",
    },
    (Query.QI, b"(100 00979 50.0 000.3 177 290 0 0000010000112000\r"): {
        "battery_charge": 100.0,
        "runtime": 979.0,
        "input_frequency": 50.0,
        "output_current": 0.3,
        "transfer_low": 177.0,
        "transfer_high": 290.0,
    },
    (Query.M, b"V\r"): {"protocol": "V"},
    (
        Query.Q6,
        b"(227.0 225.6 230.0 50.0 229.9 000.0 000.0 49.9 007 000 000 327.8 000.0 23.0 06932 100 32 00000000 00000000"
        b" 11\r",
    ): {
        "input_voltage_a": 227.0,
        "input_voltage_b": 225.6,
        "input_voltage_c": 230.0,
        "input_frequency": 50.0,
        "output_voltage_a": 229.9,
        "output_frequency": 49.9,
        "load_a": 7.0,
        "battery_voltage": 327.8,
        "temperature": 23.0,
        "runtime_left": 6932.0,
        "battery_charge": 100.0,
        "mode": 3.0,
        "battery_test": 2.0,
        "fault_code": 0.0,
    },
    (
        Query.Q6,
        b"(225.4 ---.- ---.- 49.9 226.3 ---.- ---.- 49.9 013 --- --- 027.1 ---.- 26.5 02293 100 82 00000000 00000000"
        b" 11\r",
    ): {
        "input_voltage_a": 225.4,
        "input_voltage_b": None,
        "load_c": None,
        "battery_voltage_negative": None,
        "mode": 8.0,
    },
    (Query.WA, b"(001.4 000.0 000.0 001.4 000.0 000.0 001.4 001.4 006.5 000.0 000.0 007 00000000\r"): {
        "power_a": 1.4,
        "power": 1.4,
        "apparent_power": 1.4,
        "current_a": 6.5,
        "load": 7.0,
        "utility_fail": 0.0,
    },
    (Query.QGS, b"(234.9 50.0 229.8 50.0 000.0 000 369.1 ---.- 026.5 ---.- 018.8 100000000001\r"): {
        "input_voltage": 234.9,
        "input_frequency": 50.0,
        "output_voltage": 229.8,
        "output_current": 0.0,
        "load": 0.0,
        "bus_voltage": 369.1,
        "battery_voltage": 26.5,
        "temperature": 18.8,
        "online": 1.0,
        "line_interactive": 0.0,
        "utility_fail": 0.0,
        "beeper_off": 0.0,
        "regulation": 0.0,
    },
    (Query.QGS, b"(234.9 50.0 229.8 50.0 000.0 000 369.1 ---.- 026.5 ---.- 018.8 --00-0000-00\r"): {
        "online": None,  # so a UPS with protocol 71 sends what it does not know (NUT)
        "utility_fail": 0.0,
        "bypass_active": None,
        "beeper_off": None,
        "regulation": None,
    },
    (Query.QMOD, b"(S\r"): {"mode": 1.0},
    (Query.QMOD, b"(B\r"): {"mode": 4.0},
    (Query.QMOD, b"(Z\r"): {"mode": None},
    (Query.QWS, b"(0000000100000000000000000000000000000000000000000000000000000000\r"): {
        "battery_low": 1.0,
        "battery_disconnected": 0.0,
    },
    (Query.QBV, b"(026.5 02 01 068 255\r"): {
        "battery_voltage": 26.5,
        "batteries_per_pack": 2.0,
        "battery_packs": 1.0,
        "battery_charge": 68.0,
        "runtime_left": 255.0,
    },
    (Query.QBV, b"(041.0 03 01 100 00037\r"): {"battery_voltage": 41.0, "runtime_left": 37.0},  # longer than documented
    (Query.QFS, b"(OK\r"): {"last_fault": 0.0},
    (Query.QFS, b"(14 212.1 50.0 005.6 49.9 006 010.6 343.8 ---.- 026.2 021.8 01101100\r"): {"last_fault": 0x14},
    (Query.QPI, b"(PI31\r"): {"protocol": 31.0},
    (Query.QRI, b"(230.0 004 024.0 50.0\r"): {"rated_voltage": 230.0, "rated_current": 4.0},
    (Query.QMD, b"(#######OLHVT1K0 ###1000 80 1/1 230 230 02 12.0\r"): {
        "model": "OLHVT1K0",
        "rated_power": 1000.0,
        "output_power_factor": 80.0,
        "phases": "1/1",
        "rated_output_voltage": 230.0,
        "batteries_per_pack": 2.0,
        "rated_voltage_per_battery": 12.0,
    },
    (Query.QMD, b"(       OLHVT1K0    1000 80 1/1 230 230 02 12.0\r"): {"model": "OLHVT1K0", "rated_power": 1000.0},
    (Query.QVFW, b"(VERFW:00322.02\r"): {"firmware": "00322.02"},
    (Query.QID, b"(12345679012345\r"): {"serial": "12345679012345"},
}
LINES = [line for _, line in ANSWERS]
#: Answers whose length its description states, CR included.
LENGTHS = {
    Query.Q1: 47,
    Query.QS: 47,
    Query.F: 22,
    Query.I: 39,
    Query.QI: 49,
    Query.M: 2,
    Query.Q6: 110,
    Query.WA: 80,
    Query.QGS: 76,
    Query.QMOD: 3,
    Query.QWS: 66,
    Query.QBV: 21,
    Query.QPI: 6,
    Query.QRI: 22,
    Query.QMD: 48,
    Query.QVFW: 16,
    Query.QID: 16,
}


@pytest.mark.parametrize(("query", "line"), ANSWERS, ids=[f"{query} {line.decode()[:24]!r}" for query, line in ANSWERS])
def test_a_published_answer_says_what_its_description_says(query, line):
    values = read_answer(query, line)
    assert {name: values[name] for name in ANSWERS[query, line]} == ANSWERS[query, line]
    assert tuple(values) == LAYOUTS[query].names


def test_every_query_has_a_published_answer():
    assert {query for query, _ in ANSWERS} == set(Query) == set(LAYOUTS)


@pytest.mark.parametrize(("query", "length"), LENGTHS.items())
def test_an_answer_is_as_long_as_documented(query, length):
    names = {Query.M: "V", Query.QVFW: "00322.02", Query.QID: "12345679012345"}
    values = dict.fromkeys(LAYOUTS[query].names, names.get(query))
    assert len(write_answer(query, values)) == length <= LONGEST


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        (Query.Q1, "1-5 7-11 13-17 19-21 23-26 28-31 33-36 38-45"),
        (Query.F, "1-5 7-9 11-15 17-20"),
        (Query.I, "1-15 17-26 28-37"),
        (Query.QGS, "1-5 7-10 12-16 18-21 23-27 29-31 33-37 39-43 45-49 51-55 57-61 63-74"),
        (Query.QMD, "1-15 17-23 25-26 28-30 32-34 36-38 40-41 43-46"),
        (Query.QBV, "1-5 7-8 10-11 13-15 17-19"),
        (
            Query.Q6,
            "1-5 7-11 13-17 19-22 24-28 30-34 36-40 42-45 47-49 51-53 55-57 59-63 65-69 71-74 76-80 82-84 86-87 89-96"
            " 98-105 107-108",
        ),
        (Query.WA, "1-5 7-11 13-17 19-23 25-29 31-35 37-41 43-47 49-53 55-59 61-65 67-69 71-78"),
    ],
)
def test_the_columns_are_those_of_the_description(query, columns):
    documented = [tuple(map(int, pair.split("-"))) for pair in columns.split()]
    assert [(first + 1, behind) for first, behind in LAYOUTS[query].columns] == documented


@pytest.mark.parametrize(
    ("bits", "name"),
    [
        ("10000000", "utility_fail"),
        ("01000000", "battery_low"),
        ("00100000", "bypass_active"),
        ("00010000", "ups_failed"),
        ("00001000", "line_interactive"),
        ("00000100", "test_running"),
        ("00000010", "shutdown_active"),
        ("00000001", "beeper_on"),
    ],
)
@pytest.mark.parametrize("query", [Query.Q1, Query.QS, Query.WA])
def test_each_status_bit_has_its_name(query, bits, name):
    """Megatec protocol: b7 utility fail … b0 beeper on, the highest first."""
    line = write_answer(query, {})
    values = read_answer(query, line[:-9] + bits.encode() + b"\r")
    assert [each for each in LAYOUTS[query].fields[-1].names if values[each]] == [name]


@pytest.mark.parametrize(
    ("active", "input_v", "output_v", "state"),
    [
        (0.0, 220.0, 220.0, 0.0),
        (0.0, None, None, 0.0),
        (1.0, 240.0, 220.0, 1.0),  # 0.917: trimmed
        (1.0, 100.0, 95.0, 2.0),
        (1.0, 220.0, 220.0, 2.0),  # the same: bypass
        (1.0, 215.0, 230.0, 3.0),  # 1.07: boosted
        (1.0, 100.0, 105.0, 3.0),
        (1.0, 100.0, 49.0, None),  # neither a transformer nor a bypass does that
        (1.0, 100.0, 150.0, None),
        (1.0, 0.0, 230.0, None),
        (1.0, None, 230.0, None),
        (1.0, 230.0, None, None),
        (None, 230.0, 230.0, None),
    ],
)
def test_bypass_boost_and_buck_are_told_apart_by_the_voltages(active, input_v, output_v, state):
    assert regulation({"bypass_active": active, "input_voltage": input_v, "output_voltage": output_v}) == state


@pytest.mark.parametrize(
    ("field", "shown"),
    [("temperature", b"--.-"), ("temperature", b"    "), ("battery_voltage", b"--.-"), ("fault_voltage", b"---.-")],
)
def test_dashes_and_blanks_are_not_available(field, shown):
    known = {"temperature": b"30.0", "battery_voltage": b"27.5", "fault_voltage": b"195.0"}
    values = read_answer(Query.Q1, Q1.replace(known[field], shown))
    assert values == read_answer(Query.Q1, Q1) | {field: None}


@pytest.mark.parametrize(
    "line",
    [
        Q1.replace(b"(226.0", b"( 26.0"),  # padded with blanks instead of zeros
        Q1.replace(b"014", b" 14"),
        Q1[:-1] + b" 1234\r",  # more fields than documented
        Q1[:-1] + b"\n\r",
        Q1[:-1] + b"\0\0\r",
        b"\n" + Q1,
    ],
)
def test_padding_and_further_fields_are_read(line):
    values = read_answer(Query.Q1, line)
    assert values["temperature"] == 30.0
    assert values["load"] == 14.0


def test_a_number_with_more_digits_than_documented_is_read():
    values = read_answer(Query.Q1, Q1.replace(b"27.5", b"218.4"))
    assert (values["battery_voltage"], values["temperature"], values["line_interactive"]) == (218.4, 30.0, 1.0)


@pytest.mark.parametrize(
    "line",
    [
        b"(226.0 195.0 226.0 014 49.0 27.5 30.0\r",
        b"(226.0 195.0 226.0 014 49.0 27.5 30.0 0000100\r",
        b"(226.0 195.0 226.0 014 49.0 27.5 30.0 000010000\r",
        b"(226.0 195.0 226.0 014 49.0 27.5 30.0 00002000\r",
        b"(226.0 195.0 226.0 014 49.0 27.5 3O.0 00001000\r",
        b"(226.0 195.0 226.0 014 4..0 27.5 30.0 00001000\r",
        b"(226.0 195.0 226.0 014 49.0 27.5 1e10 00001000\r",
        b"(226.0 195.0 226.0 014 49.0  nan 30.0 00001000\r",
        b"(226.0000 195.0 226.0 014 49.0 27.5 30.0 00001000\r",
        b"(\r",
        b"#220.0 000 024.0 50.0\r",
    ],
)
def test_a_damaged_answer_is_a_bad_frame(line):
    with pytest.raises(BadFrame):
        read_answer(Query.Q1, line)


@pytest.mark.parametrize(("query", "line"), [each for each in ANSWERS if each[0] in (Query.Q1, Query.QGS, Query.Q6)])
def test_an_answer_that_lost_a_character_never_gives_another_value(query, line):
    """A lost character shifts all behind it. Only where a further field follows can the form stay right."""
    right = read_answer(query, line)
    for at in range(1, len(line) - 1):
        lost = line[:at] + line[at + 1 :]
        if lost == line:
            continue
        try:
            values = read_answer(query, lost)
        except BadFrame:
            continue
        assert values == right, lost


def test_if_narrow_fields_were_read_a_lost_digit_would_be_a_value():
    """The twin: splitting alone takes 26 V for 226 V."""
    strict = LAYOUTS[Query.Q1]
    careless = replace(strict, fields=tuple(replace(each, width=3) for each in strict.fields[:-1]) + strict.fields[-1:])
    assert careless.read("26.0 195.0 226.0 014 49.0 27.5 30.0 00001000")["input_voltage"] == 26.0


def plausible(field):
    if field.kind == "number":
        decimals = 1 if field.decimals is None else field.decimals
        digits = field.width - (decimals + 1 if decimals else 0)
        return st.integers(0, 10 ** (digits + decimals) - 1).map(lambda n: round(n / 10**decimals, decimals))
    if field.kind == "hex":
        return st.integers(0, 16**field.width - 1).map(float)
    return st.text("ABCDEFGHIJ0123456789", min_size=field.width, max_size=field.width)


@st.composite
def answers(draw):
    query = draw(st.sampled_from(Query))
    values = {}
    for field in LAYOUTS[query].fields:
        if field.kind in ("flags", "digits", "mode"):
            most = 1 if field.kind == "flags" else 9
            values |= {name: float(draw(st.integers(0, most))) for name in field.names}
        else:
            values[field.names[0]] = draw(
                plausible(field) if query is Query.M else st.none() | plausible(field)
            )  # no letter is no answer
    return query, {name: value for name, value in values.items() if name}


@given(answers(), st.booleans())
def test_what_a_simulated_ups_says_is_read_as_it_was_meant(answer, crc):
    query, values = answer
    read = read_answer(query, write_answer(query, values, crc=crc), crc=crc)
    expected = dict(values)
    for field in LAYOUTS[query].fields:  # a text of one kind of sign, or none, says nothing
        if field.kind == "text" and expected[field.names[0]] is not None:
            expected[field.names[0]] = expected[field.names[0]].strip("# ") or None
    assert {name: read[name] for name in expected} == pytest.approx(expected)


def test_a_value_too_large_for_its_column_cannot_be_written():
    with pytest.raises(ValueError, match=r"input_voltage: .* does not fit into 5"):
        write_answer(Query.Q1, {"input_voltage": 22_600_000.0})


@pytest.mark.parametrize(("volts", "shown"), [(27.5, b" 27.5 "), (2.27, b" 2.27 "), (218.4, b" 218.4 ")])
def test_the_battery_voltage_has_as_many_decimals_as_fit(volts, shown):
    assert shown in write_answer(Query.Q1, {"battery_voltage": volts})


@pytest.mark.parametrize("query", Query)
def test_hostile_lines_are_read_or_refused_with_one_class_of_errors(query):
    """The values of what is read are finite numbers of the layout, texts or None."""
    for line in hostile(LINES, seed=len(query.value), longest=2 * LONGEST):
        for crc in (False, True):
            try:
                values = read_answer(query, line, crc=crc)
            except DeviceError:
                continue
            assert tuple(values) == LAYOUTS[query].names
            assert all(value is None or isinstance(value, str) or abs(value) < 2**32 for value in values.values())


def test_the_table_in_the_documentation_names_every_value():
    document = (Path(__file__).parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
    table = document.split("<!-- megatec -->")[1].split("<!-- /megatec -->")[0].strip().splitlines()[2:]
    assert table == [f"| `{query}` | {' '.join(f'`{name}`' for name in LAYOUTS[query].names)} |" for query in Query]


def test_the_example_in_the_documentation_is_a_sound_profile():
    document = (Path(__file__).parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
    example = document.split("## A UPS with the Megatec/Q1 protocol")[1].split("```toml")[1].split("```")[0]
    assert isinstance(parse_profile(example), MegatecProfile)
