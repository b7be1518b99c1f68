import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.cli.profile import command
from drivers.profile import Profile, parse_profile, profile_names
from drivers.protocols import schema

ROOT = Path(__file__).resolve().parents[2]
BROKEN = """schema = 1
[device]
vendor = "Acme"
model = "M7"
category = "power"
source = "none"
evidence = "doubtful"
[[point]]
name = "a"
table = "input"
address = 10
type = "u8"
[[point]]
name = "b"
table = "input"
address = 11
type = "u16"
unit = "Volt"
"""


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def site(tmp_path):
    """A site's directory with one sound and one broken profile."""
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "m7.toml").write_text(BROKEN)
    (tmp_path / "acme" / "m8.toml").write_text(BROKEN.replace("u8", "u16").replace("Volt", "V").replace("M7", "M8"))
    return tmp_path


def test_list_shows_ours_and_the_sites_and_survives_a_broken_one(site):
    rows = {row["name"]: row for row in json.loads(run("list", "--json", "--profiles", site).stdout)}
    assert set(rows) == {*profile_names(), "acme/m7", "acme/m8"}
    assert rows["eastron/sdm630"]["points"] > 30
    assert rows["acme/m8"]["model"] == "M8"
    assert len(rows["acme/m7"]["mistakes"]) == 2
    shown = run("list", "--profiles", site).stdout
    assert "schneider/pm5xxx" in shown
    assert "2 mistakes" in shown


def names_of(result):
    return {row["name"] for row in json.loads(result.stdout)}


def test_list_takes_words_and_a_category(site):
    assert names_of(run("list", "Schneider", "iem", "--json")) == {"schneider/iem3x50", "schneider/iem3x55"}
    cooling = names_of(run("list", "--category", "cooling", "--json"))
    assert "vertiv/liebert_crv" in cooling
    assert "eastron/sdm630" not in cooling
    assert names_of(run("list", "m7", "--json", "--profiles", site)) == {"acme/m7"}
    assert {"generic/ydn23_ac_panel", "pylontech/us2000"} <= names_of(run("list", "YDT1363", "--json"))


def test_the_list_tells_a_vendor_beside_the_name_only_where_that_does_not(site):
    site.joinpath("acme", "m9.toml").write_text(
        BROKEN.replace("u8", "u16").replace("Volt", "V").replace("Acme", "Bolt")
    )
    lines = run("list", "acme", "--profiles", site).stdout.splitlines()
    assert [line.split() for line in lines if "/m8" in line or "/m9" in line] == [
        ["acme/m8", "M8", "2", "doubtful"],
        ["acme/m9", "Bolt", "M7", "2", "doubtful"],
    ]


def test_list_of_nothing_says_so_and_fails():
    result = run("list", "nobody")
    assert result.exit_code == 1
    assert "collector profile list" in result.stderr
    assert json.loads(run("list", "nobody", "--json").stdout) == []


def test_the_table_in_the_documentation_is_the_one_that_the_command_prints(site):
    table = run("list", "--markdown", "--profiles", site / "none").stdout.strip()
    document = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    between = document.split("<!-- profiles -->")[1].split("<!-- /profiles -->")[0].strip()
    assert between == table, "put the output of `collector profile list --markdown` into docs/profiles.md"


def test_the_example_in_the_documentation_is_a_sound_profile():
    document = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    example = document.split("```toml\n   schema = 1", 1)[1].split("```")[0]
    assert parse_profile("schema = 1" + example.replace("\n   ", "\n")).device.vendor == "Acme"


def test_the_documentation_names_every_key_of_a_point():
    document = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    keys = Profile.model_fields["point"].annotation.__args__[0].model_fields
    assert [key for key in keys if f"`{key}`" not in document] == []


def test_show_tells_every_point_on_the_wire_and_how_it_is_read():
    told = json.loads(run("show", "schneider/pm5xxx", "--json").stdout)
    voltage = next(p for p in told["point"] if p["name"] == "voltage_a")
    assert (voltage["function"], voltage["address"], voltage["wire_address"], voltage["length"]) == (3, 3028, 3027, 2)
    energy = next(p for p in told["point"] if p["name"] == "energy_import")
    assert (energy["mul"], energy["div"], energy["decimals"], energy["category"]) == (1, 1000, 3, "energy")
    assert told["reads"]["tcp"]["blocks"] <= told["reads"]["rtu"]["blocks"] < len(told["point"]) / 4
    assert told["caveats"]


def test_show_prints_points_symbols_caveats_and_reads():
    shown = run("show", "huawei/ups2000").stdout
    assert "3:11000" in shown
    assert "status: 0 off, 1 bypass, 2 online, 3 battery, 5 eco" in shown
    assert "! " in shown
    assert "at 9600 baud" in shown


def test_show_of_an_unknown_name_is_a_usage_error_with_the_nearest_one():
    result = run("show", "eastron/sdm603")
    assert result.exit_code == 2
    assert "did you mean eastron/sdm630?" in result.stderr
    told = run("show", "eastron/sdm603", "--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["mistakes"][0]["hint"] == "did you mean eastron/sdm630?"


def test_check_lists_the_mistakes_of_all_files_and_fails(site):
    result = run("check", site / "acme" / "m7.toml", site / "acme" / "m8.toml")
    assert result.exit_code == 2
    assert "point[a].type" in result.stderr
    assert "point[b].unit" in result.stderr
    assert "m8.toml: good: 2 points" in result.stdout
    rows = json.loads(run("check", "--json", site / "acme" / "m7.toml", site / "acme" / "m8.toml").stdout)
    assert [m["key"] for m in rows[0]["mistakes"]] == ["point[a].type", "point[b].unit"]
    assert rows[1]["points"] == 2


def test_check_of_sound_files_is_good_whatever_they_are_called(tmp_path):
    packaged = sorted((ROOT / "drivers" / "profiles").glob("*/*.toml"))
    copy = tmp_path / "profile.txt"
    copy.write_bytes(packaged[0].read_bytes())
    result = run("check", *packaged, copy)
    assert result.exit_code == 0
    assert result.stdout.count(": good: ") == len(packaged) + 1


@pytest.mark.parametrize("arguments", [["check"], ["check", "/nonexistent.toml"], ["show"], ["list", "--nothing"]])
def test_wrong_usage_ends_with_2(arguments):
    assert run(*arguments).exit_code == 2


def test_the_schema_in_config_is_the_models():
    path = ROOT / "config" / "schema" / "profile.schema.json"
    assert json.loads(path.read_text(encoding="utf-8")) == schema(), "run scripts/generate"


def test_listing_loads_neither_numba_nor_the_table_printer_for_json():
    code = (
        "import sys; from collector.cli.profile import command; command(['list', '--json'], standalone_mode=False);"
        "sys.exit('numba' in sys.modules or 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


FORMS = """schema = 1
[device]
vendor = "Acme"
model = "PDU"
category = "power"
source = "none"
evidence = "doubtful"
[[point]]
name = "slot"
table = "holding"
address = 1
type = "u16"
bits = [12, 15]
kind = "state"
[[repeat]]
count = 2
stride = 2
tag = "outlet"
[[repeat.point]]
name = "current"
table = "holding"
address = 10
type = "s16"
scale_register = 20
unit = "A"
range = [0, 100]
[[derived]]
name = "total"
derive = "outlet_1_current + outlet_2_current"
unit = "A"
range = [0, 200]
"""


def test_show_tells_bits_scale_registers_outlets_and_formulas(tmp_path):
    (tmp_path / "pdu.toml").write_text(FORMS)
    shown = run("show", tmp_path / "pdu.toml").stdout
    assert "u16[12:15]" in shown
    assert "raw×10^sf A" in shown
    assert "formula A" in shown
    assert "total = outlet_1_current + outlet_2_current" in shown
    facts = json.loads(run("show", tmp_path / "pdu.toml", "--json").stdout)
    points = {point["name"]: point for point in facts["point"]}
    assert list(points) == ["slot", "outlet_1_current", "outlet_2_current", "total"]
    assert points["outlet_2_current"]["scale_register"] == 20
    assert points["outlet_2_current"]["publish_as"] == "current"
    assert points["outlet_2_current"]["tags"] == {"outlet": "2"}
    assert points["total"]["derive"] == "outlet_1_current + outlet_2_current"
    assert facts["points"] == 4


def test_check_tells_which_mistakes_nobody_would_notice(tmp_path):
    file = tmp_path / "m9.toml"
    file.write_text(BROKEN.replace("u8", "u16").replace("Volt", "V"))
    result = run("check", "--mutants", file)
    assert result.exit_code == 0
    assert "mistakes would be noticed" in result.stdout
    assert "not: point[a].address: 10 → 9" in result.stdout
    assert "more; --json has all" in result.stdout
    told = json.loads(run("check", "--mutants", "--json", file).stdout)[0]["mutants"]
    assert told["total"] == sum(told["noticed"].values()) + len(told["survivors"])
    assert {"key": "point[b].unit", "change": "V → mV"} in told["survivors"]
