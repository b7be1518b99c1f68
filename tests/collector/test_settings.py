"""collector.toml: strict, complete in its complaints, and equal to what we ship."""

import json
from pathlib import Path

import pytest

from collector.config_file import Broker, Secret
from collector.errors import ConfigError
from collector.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
GATEWAY_EXAMPLES = sorted(p for p in (ROOT / "config" / "examples").glob("*.toml") if p.stem != "bridge")

GOOD = """
[[bus]]
name = "b1"
url = "tcp://127.0.0.1:502"

[[device]]
name = "m1"
bus = "b1"
profile = "eastron/sdm630"
"""


def write(tmp_path, text):
    path = tmp_path / "collector.toml"
    path.write_text(text)
    return path


def findings_of(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text))
    return caught.value.findings


def test_the_shipped_file_says_exactly_the_defaults():
    assert load_settings(ROOT / "config" / "collector.toml") == Settings()


def test_the_shipped_file_names_every_key():
    text = (ROOT / "config" / "collector.toml").read_text()

    def keys(model):
        for name, info in model.model_fields.items():
            yield name
            inner = getattr(info.annotation, "model_fields", None)
            if inner is not None:
                yield from keys(info.annotation)

    for name in keys(Settings):
        assert name in text


def test_the_schema_is_fresh():
    shipped = json.loads((ROOT / "config" / "schema" / "collector.schema.json").read_text())
    assert shipped == Settings.model_json_schema(), "run scripts/generate"


@pytest.mark.parametrize("path", GATEWAY_EXAMPLES, ids=lambda p: p.stem)
def test_every_example_is_good(path):
    from collector.inventory import Inventory, check_load

    check_load(Inventory(load_settings(path)), str(path))


def test_ten_mistakes_are_listed_in_one_go_each_with_its_key_and_a_hint(tmp_path):
    text = """
[gateway]
site = "hall 1"
[poll]
tick_ms = 500
down_after_failures = "3"
[filter]
publish = "some"
[[bus]]
name = "b1"
url = "tpc://10.0.0.1"
[[bus]]
name = "b2"
url = "serial:///dev/ttyUSB0?baud=fast"
[[device]]
name = "m1"
bus = "b9"
profile = "eastron/sdm603"
[[device]]
name = "m1"
bus = "b1"
profile = "eastron/sdm630"
unit = 300
tags = { site = "x" }
"""
    findings = findings_of(tmp_path, text)
    keys = {f.key for f in findings}
    assert keys >= {
        "gateway.site",
        "poll.tick_ms",
        "poll.down_after_failures",
        "filter.publish",
        "bus[0].url",
        "bus[1].url",
        "device[0].bus",
        "device[0].profile",
        "device[1].unit",
        "device.name",
        "device[1].tags.site",
    }
    assert all(f.hint for f in findings), [str(f) for f in findings if not f.hint]
    nearest = {f.key: f.hint for f in findings}
    assert "tick_s" in nearest["poll.tick_ms"]
    assert "sdm630" in nearest["device[0].profile"]


def test_a_reference_is_checked_even_when_the_form_is_wrong_elsewhere(tmp_path):
    findings = findings_of(tmp_path, GOOD.replace('bus = "b1"', 'bus = "bx"') + "interval_s = 'often'\n")
    assert {f.key for f in findings} == {"device[0].bus", "device[0].interval_s"}


def test_two_buses_on_one_line_are_refused(tmp_path):
    findings = findings_of(tmp_path, GOOD + '[[bus]]\nname = "b2"\nurl = "tcp://127.0.0.1"\n')
    assert [f.key for f in findings] == ["bus[1].url"]


@pytest.mark.parametrize("text", ["[gateway\n", "\xff", "gateway = 1\n", "bus = 3\n", "device = [1]\n", "[bus]\n"])
def test_what_is_not_a_configuration_is_one_clear_error(tmp_path, text):
    path = tmp_path / "collector.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_settings(tmp_path / "none.toml")


def test_plain_mqtt_must_be_written_out():
    with pytest.raises(ValueError, match="not encrypted"):
        Broker(url="mqtt://h:1883")
    with pytest.raises(ValueError, match="contradicts"):
        Broker(url="mqtts://h", tls="off")
    assert Broker(url="mqtt://h", tls="off").port == 1883
    assert Broker(url="mqtts://h").port == 8883


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Secret(file=str(path)).read()
    path.chmod(0o600)
    assert Secret(file=str(path)).read().get_secret_value() == "s3cret"


def test_a_secret_never_shows_in_text(tmp_path, monkeypatch):
    monkeypatch.setenv("MQTT_PW", "s3cret")
    secret = Secret(env="MQTT_PW").read()
    assert "s3cret" not in f"{secret!r} {secret}"


def test_a_credential_outside_of_systemd_says_what_to_do(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="LoadCredential"):
        Secret(credential="mqtt").read()


def test_a_secret_names_exactly_one_place():
    with pytest.raises(ValueError, match="exactly one"):
        Secret(env="A", file="b")


def test_fewer_registers_at_once_than_a_point_is_long_are_refused_with_the_point(tmp_path):
    (found,) = findings_of(tmp_path, GOOD + "max_registers = 1\n")
    assert (found.key, found.hint) == ("device[0].max_registers", "at least 2")
    assert "alone has 2 registers" in found.reason
    assert load_settings(write(tmp_path, GOOD + "max_registers = 2\n")).device[0].max_registers == 2


TEXT_BUS = """
[[bus]]
name = "b1"
url = "{url}"

[[device]]
name = "p1"
bus = "b1"
unit = {unit}
profile = "{profile}"
"""


@pytest.mark.parametrize(
    ("url", "unit", "profile"),
    [
        ("serial:///dev/ttyUSB0", 0, "seplos/bms_v2"),
        ("raw+tcp://10.0.0.9:4001?baud=9600", 254, "generic/ydn23_ac_panel"),
        ("serial:///dev/ttyUSB0?baud=2400", 1, "megatec/q1"),
    ],
)
def test_a_device_with_a_text_protocol_is_on_a_serial_line_with_a_number_of_its_protocol(tmp_path, url, unit, profile):
    settings = load_settings(write(tmp_path, TEXT_BUS.format(url=url, unit=unit, profile=profile)))
    assert settings.device[0].unit == unit


@pytest.mark.parametrize(
    ("url", "unit", "profile", "key", "reason"),
    [
        ("tcp://10.0.0.9", 1, "generic/ydn23_ac_panel", "bus[0].url", "tcp carries Modbus, not ydt1363"),
        ("raw+tcp://10.0.0.9:4001", 1, "eastron/sdm630", "bus[0].url", "raw+tcp carries text protocols"),
        ("serial:///dev/ttyUSB0", 255, "generic/ydn23_ac_panel", "device[0].unit", "no such unit on a serial line"),
        ("serial:///dev/ttyUSB0", 0, "eastron/sdm630", "device[0].unit", "no such unit on a serial line"),
    ],
)
def test_a_protocol_that_the_line_or_the_unit_does_not_fit_is_told_once(tmp_path, url, unit, profile, key, reason):
    (finding,) = findings_of(tmp_path, TEXT_BUS.format(url=url, unit=unit, profile=profile))
    assert finding.key == key
    assert reason in finding.reason


def test_two_protocols_on_one_bus_are_refused(tmp_path):
    text = TEXT_BUS.format(url="serial:///dev/ttyUSB0", unit=1, profile="generic/ydn23_ac_panel")
    text += '[[device]]\nname = "m1"\nbus = "b1"\nunit = 2\nprofile = "eastron/sdm630"\n'
    (finding,) = findings_of(tmp_path, text)
    assert finding.key == "bus[0].url"
    assert "its devices speak modbus and ydt1363" in finding.reason


def test_a_bus_of_unknown_profiles_is_told_only_of_them(tmp_path):
    text = TEXT_BUS.format(url="raw+tcp://10.0.0.9:4001", unit=1, profile="nobody/knows")
    assert [finding.key for finding in findings_of(tmp_path, text)] == ["device[0].profile"]


def test_two_units_on_the_line_of_a_device_without_a_number_are_refused(tmp_path):
    """The same UPS would answer for both."""
    text = TEXT_BUS.format(url="serial:///dev/ttyUSB0?baud=2400", unit=1, profile="megatec/q1")
    text += '[[device]]\nname = "p2"\nbus = "b1"\nunit = {}\nprofile = "megatec/online_q1"\n'
    (finding,) = findings_of(tmp_path, text.format(2))
    assert finding.key == "bus[0]"
    assert "2 units on the line of a device that has no number" in finding.reason
    assert len(load_settings(write(tmp_path, text.format(1))).device) == 2
