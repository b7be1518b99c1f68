"""Messages about a configuration: complete, in one exception class, and without anybody's secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.config_file import MAX_SHOWN, parse, shown
from collector.errors import ConfigError
from collector.references import cross_check
from collector.settings import Settings, load_settings
from tests.maps import untimed

UPLINK = '[[uplink]]\ncentre = "east"\n'
DEVICE = '[[device]]\nname = "m1"\nbus = "b1"\nprofile = "generic/xy_md02"\n'
SERIAL = '[[bus]]\nname = "b1"\nurl = "serial:///dev/ttyUSB0"\n'


def findings_of(tmp_path, text):
    path = tmp_path / "collector.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return caught.value.findings


@pytest.mark.parametrize(
    "text",
    [
        UPLINK + 'broker = { tls = "off", password = "s3cret" }',
        UPLINK + 'broker = { tls = "off", password = { value = "s3cret" } }',
        UPLINK + 'broker = { tls = "off", token = "s3cret" }',
        UPLINK + 'broker = { tls = "off", url = "mqtt://me:s3cret@broker" }',
        UPLINK + 'broker = "mqtt://me:s3cret@broker"',
        UPLINK + 'broker = ["s3cret"]',
        SERIAL.replace("serial:///dev/ttyUSB0", "tcp://me:s3cret@meter"),
    ],
)
def test_a_secret_in_a_wrong_place_is_refused_and_not_repeated(tmp_path, text):
    findings = findings_of(tmp_path, text)
    assert "s3cret" not in str(ConfigError(findings))
    assert all(f.hint for f in findings)


def test_a_file_that_is_not_there_is_named_and_nothing_in_it(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "none.toml")
    assert str(caught.value).endswith(f"\n  {tmp_path}/none.toml: No such file or directory")


def test_a_value_is_quoted_so_that_it_can_be_found(tmp_path):
    (finding,) = findings_of(tmp_path, '[gateway]\nsite = "hall 1"')
    assert (finding.key, finding.value) == ("gateway.site", "'hall 1'")
    assert len(shown("x" * 1000, "key")) == MAX_SHOWN


def test_a_value_that_may_be_of_two_kinds_is_told_once(tmp_path):
    findings = findings_of(tmp_path, UPLINK + 'broker = { url = "mqtt://b", tls = "of" }')
    assert [f.key for f in findings] == ["uplink[0].broker.tls"]


@pytest.mark.parametrize("unit", [0, 248, 255])
def test_a_unit_that_no_serial_line_has_is_told_with_the_other_mistakes(tmp_path, unit):
    findings = findings_of(tmp_path, "colour = 1\n" + SERIAL + DEVICE + f"unit = {unit}\n")
    assert [f.key for f in findings] == ["colour", "device[0].unit"]


@pytest.mark.parametrize("unit", [1, 247])
def test_every_unit_that_a_serial_line_has_is_good(tmp_path, unit):
    (tmp_path / "collector.toml").write_text(SERIAL + DEVICE + f"unit = {unit}\n")
    assert load_settings(tmp_path / "collector.toml").device[0].unit == unit


@pytest.mark.parametrize("unit", [0, 255])
def test_a_device_with_its_own_network_port_may_be_unit_0_or_255(tmp_path, unit):
    (tmp_path / "collector.toml").write_text(
        SERIAL.replace("serial:///dev/ttyUSB0", "tcp://meter") + DEVICE + f"unit = {unit}\n"
    )
    assert load_settings(tmp_path / "collector.toml").device[0].unit == unit


def test_a_device_of_which_nothing_is_read_is_a_mistake(tmp_path):
    (finding,) = findings_of(tmp_path, SERIAL + DEVICE + "points = []\n")
    assert finding.key == "device[0].points"
    assert finding.hint


# Whatever TOML can say, under names that mean something: lists stand where tables belong, numbers where names do.
KEYS = "gateway poll tick_s bus device uplink broker url tls name unit points tags password centre profile"
words = st.sampled_from(KEYS.split(" "))
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=8),
    words,
    st.sampled_from(["tcp://h", "serial:///dev/x", "mqtt://h", "tcp://[", "mqtt://h:x", "generic/xy_md02", "off"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@untimed
@given(st.dictionaries(words | st.text(max_size=4), values, max_size=5))
def test_no_configuration_raises_anything_but_its_findings(data):
    found = cross_check(data, "f", ())
    try:
        parse(data, Settings, "f")
    except ConfigError as error:
        found += error.findings
    assert all(f.key and f.reason for f in found)
