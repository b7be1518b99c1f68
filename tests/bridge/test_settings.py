"""bridge.toml: strict, and what we ship equals the models."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from collector.bridge.settings import Settings, load_settings
from collector.errors import ConfigError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config" / "bridge.toml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    return path


def test_the_shipped_file_holds_the_defaults_of_the_models():
    assert load_settings(SHIPPED) == Settings()


def test_the_shipped_file_shows_every_key():
    # The keys of the databases that are not the default stand there as comments.
    text = SHIPPED.read_text()
    shown = tomllib.loads(re.sub(r"(?m)^#(?=[\[a-z][\w.]*(\]| =))", "", text))
    known = Settings.model_json_schema()
    for name, table in known["properties"].items():
        keys = known["$defs"][table["$ref"].rpartition("/")[2]]["properties"] if "$ref" in table else {}
        assert set(shown[name]) == set(keys), name
    for name, model in (("influx_v2", "InfluxV2"), ("influx_v1", "InfluxV1"), ("sqlite", "Sqlite")):
        assert set(shown["store"][name]) == set(known["$defs"][model]["properties"]), name


def test_the_schema_is_fresh():
    shipped = json.loads((ROOT / "config" / "schema" / "bridge.schema.json").read_text())
    assert shipped == Settings.model_json_schema(), "run scripts/generate"


def test_an_empty_file_is_the_embedded_store_on_the_local_broker(tmp_path):
    settings = load_settings(write(tmp_path, ""))
    assert settings.store.sqlite is not None
    assert settings.topics == ("dc/v1/city/+/+/data/#",)
    assert settings.client_id == "bridge-centre"


def test_all_mistakes_are_told_at_once_each_with_its_key(tmp_path):
    text = """
        [centre]
        name = "a b"
        [broker]
        url = "http://x"
        [subscribe]
        topics = ["dc/v1/#", "dc/v1/c/+/+/data/#"]
        window = 0
        [store.influx_v2]
        url = "influx:8086"
        bucket = "b"
        tokn = "t"
        [limits]
        memory_mb = "64"
        [dead_letter]
        max_mb = 0.5
    """
    with pytest.raises(ConfigError) as error:
        load_settings(write(tmp_path, text))
    keys = {finding.key for finding in error.value.findings}
    assert keys == {
        "centre.name", "broker.url", "subscribe.topics[0]", "subscribe.window", "store.influx_v2.url",
        "store.influx_v2.tokn", "limits.memory_mb", "dead_letter.max_mb",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "[store]",
        '[store.sqlite]\npath = "a"\n[store.influx_v1]\nurl = "http://x"\ndatabase = "d"',
        '[store.influx_v2]\nurl = "http://user:secret@x"\nbucket = "b"',
        '[store.influx_v2]\nurl = "http://x"\nbucket = "b"\ntoken = "secret in plain text"',
    ],
)
def test_a_store_that_is_ambiguous_or_carries_a_secret_is_refused(tmp_path, text):
    with pytest.raises(ConfigError):
        load_settings(write(tmp_path, text))


@pytest.mark.parametrize(
    "topic",
    [
        "dc/v1/c/s/g/data",
        "dc/v1/c/+/+/event/#",
        "dc/v1/c/s#/g/data/#",
        "dc/v1/c/+/+/data/#/x",
        "#",
        "dc/v1/c//g/data/#",
    ],
)
def test_a_topic_filter_outside_the_data_branch_is_refused(tmp_path, topic):
    with pytest.raises(ConfigError, match="topic filter"):
        load_settings(write(tmp_path, f'[subscribe]\ntopics = ["{topic}"]'))


def test_the_example_fits_the_gateways_of_the_other_examples():
    bridge = load_settings(ROOT / "config" / "examples" / "bridge.toml")
    for name in ("one-meter", "rtu-bus", "full-room"):
        gateway = tomllib.loads((ROOT / "config" / "examples" / f"{name}.toml").read_text())
        assert gateway["gateway"]["city"] == bridge.centre.city
        assert bridge.centre.name in [uplink["centre"] for uplink in gateway["uplink"]]
