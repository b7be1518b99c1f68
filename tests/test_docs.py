"""What the documents say is true: pages are fresh, links lead somewhere, named tests exist, examples work."""

import ast
import json
import re
import shlex
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest

from collector import cli, confirmation
from collector.aggregate import Aggregate
from collector.bridge.check import Checked, Limits, check
from collector.bridge.lines import parse_line
from collector.cli.status import _devices
from collector.clock import FakeClock
from collector.encode import _SUFFIXES, Encode
from collector.health import DEVICE_CATEGORY, GATEWAY_CATEGORY, Health
from collector.inventory import Inventory
from collector.pipeline import Counts
from collector.poll.unit import Breaker, Standing, Unit
from collector.publish import Uplink
from collector.settings import Bus, Device, Gateway, Settings
from collector.settings import Uplink as UplinkSettings
from collector.types import Counted, PointSpec, Quality, Row, Samples, WindowRows
from tests.spool_rows import a_spool

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
S = 1_000_000_000


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fences(text: str) -> list[str]:
    """The blocks of code of a page."""
    return [block for _, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


# --- pages written from the code -------------------------------------------------------------------------------------


def test_the_pages_written_from_the_code_are_fresh():
    command = [sys.executable, str(ROOT / "scripts/generate"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=25, check=False)
    assert done.stderr == ""
    stale = [line for line in done.stdout.splitlines() if line.startswith("docs/")]
    assert stale == []


def test_every_key_of_the_configuration_has_a_meaning():
    rows = [line for line in text_of("configuration.md").splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.rstrip("| ").count(" | ") < 3] == []


def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for child in command.list_commands(context):
            yield from leaves(command.get_command(context, child), f"{name} {child}")
    else:
        yield name, command


@pytest.mark.parametrize(("name", "command"), list(leaves(cli.group, "collector")))
def test_every_command_has_an_example_that_begins_with_its_name(name, command):
    examples = re.findall(r"Example:\s+(collector .*)", command.help or "")
    assert examples
    for example in examples:
        assert resolved(shlex.split(example))[0] is command


# --- links and names -------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The names of the headings of a page, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):  # another site
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def names_of_tests(path: Path) -> set[str]:
    """Functions, and names given to a test case, at the top of a file."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


TEST_NAME = re.compile(r"([\w/]+\.py)::(\w+)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_a_page_names_exists(page):
    named = TEST_NAME.findall(page.read_text(encoding="utf-8"))
    missing = [f"{file}::{test}" for file, test in named if not (ROOT / file).is_file()]
    missing += [f"{f}::{t}" for f, t in named if (ROOT / f).is_file() and t not in names_of_tests(ROOT / f)]
    assert missing == []


def test_every_guarantee_names_a_test():
    sections = re.split(r"^## ", text_of("guarantees.md"), flags=re.MULTILINE)[1:]
    assert [section.split(".")[0] for section in sections] == [str(n + 1) for n in range(len(sections))]
    assert [section.split("\n")[0] for section in sections if "- Held by: " not in section] == []
    assert [section.split("\n")[0] for section in sections if not TEST_NAME.search(section)] == []
    twins = [re.findall(r"^- Twin: (.*(?:\n  .*)*)", section, re.MULTILINE) for section in sections]
    assert all(TEST_NAME.search(twin) for found in twins for twin in found)


# --- commands in the pages -------------------------------------------------------------------------------------------


def resolved(words: Sequence[str]) -> tuple[click.Command, list[str]]:
    """The command of a line as it is typed, and its arguments. Raises click.UsageError when there is none."""
    command, rest = cli.group, list(words[1:])
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        _, command, rest = command.resolve_command(click.Context(command), rest)
    return command, rest


def typed(page: Path) -> Iterator[str]:
    """Every line of a page that runs `collector`."""
    text = page.read_text(encoding="utf-8")
    for block in fences(text):
        yield from re.findall(r"^(?:sudo )?(collector [^#|\n]+)", block, re.MULTILINE)
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`(?:sudo )?(collector [^`]+)`", outside)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "cli.md"], ids=name_of)
def test_every_command_line_in_a_page_can_be_typed(page):
    for line in typed(page):
        command, rest = resolved(shlex.split(line))
        known = {"--help"} | {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        assert [word for word in rest if re.match("--?[a-z]", word) and word.partition("=")[0] not in known] == [], line


# --- docs/fields.md --------------------------------------------------------------------------------------------------


def tables(text: str) -> list[list[list[str]]]:
    """Every table of a page: rows of cells, without its heading."""
    found = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in t.splitlines()] for t in found]


def table_under(heading: str) -> list[list[str]]:
    section = re.split(rf"^#+ {heading}$", text_of("fields.md"), flags=re.MULTILINE)[1]
    return tables(section)[0]


def test_the_message_shown_is_one_that_the_bridge_stores():
    topic, payload = re.findall(
        r"<!-- topic: (\S+) -->\n```\n(.*?)^```", text_of("fields.md"), re.DOTALL | re.MULTILINE
    )[0]
    verdict = check(topic, payload.encode(), Limits(1 << 20, 100))
    assert isinstance(verdict, Checked)
    assert verdict.bad == ()
    assert verdict.points == verdict.points_claimed == 9


def test_the_confirmation_shown_is_one_that_a_gateway_understands():
    [payload] = re.findall(r"<!-- confirmation -->\n```\n(.*?)^```", text_of("fields.md"), re.DOTALL | re.MULTILINE)
    assert confirmation.decode(payload.encode()) == ("0b7d6e21", [(1842, 1850), (1852, 1852)])


def test_every_quality_is_told_with_its_number():
    [table] = [t for t in tables(text_of("fields.md")) if t[0][1] == "good"]
    told = {int(number): name.replace(" ", "_").upper() for number, name, _ in table}
    assert told == {quality.value: quality.name for quality in Quality}


def test_every_ending_of_a_field_is_told():
    told = {row[0].removeprefix("`<point>").split("`")[0] for row in table_under("Fields")}
    assert told == set(_SUFFIXES.values())


def a_health() -> Health:
    """Of one device, with nothing behind it but counters."""
    unit = Unit("mains", 1, 1.0, Breaker(), 0.0)
    poller = SimpleNamespace(buses=[SimpleNamespace(name="b", units=[unit])])
    inventory = SimpleNamespace(buses=[])
    pipeline = SimpleNamespace(poller=poller, counts=Counts(), intake=SimpleNamespace(dropped=0), inventory=inventory)
    spool = SimpleNamespace(stats=lambda: SimpleNamespace(rows=1, bytes=2, dropped_points={}))
    return Health(Gateway(), "0" * 8, pipeline, spool, list, FakeClock())


@pytest.mark.parametrize("category", [DEVICE_CATEGORY, GATEWAY_CATEGORY])
def test_every_field_of_the_health_measurements_is_told_with_its_type(category):
    [body] = [body for name, body, _ in a_health().lines() if name == category]
    fields = parse_line(body.splitlines()[0]).fields
    types = {int: "integer", float: "float"}
    assert [(row[0].strip("`"), row[1]) for row in table_under(category)] == [
        (name, types[type(value)]) for name, value in fields
    ]


def test_every_key_of_the_status_message_is_told():
    uplink = SimpleNamespace(_status=a_health().summary, _spool=SimpleNamespace(spool_id="0b7d6e21", next_seq=2))
    keys = json.loads(Uplink._status_text(uplink, "offline", clean=True))
    paragraph = text_of("fields.md").split("/status`, retained")[1].split("\n\n")[0]
    assert set(keys) <= set(re.findall(r"`(\w+)`", paragraph))


def queries() -> dict[str, list[str]]:
    """The InfluxQL of each heading."""
    sections = re.split(r"^### ", text_of("fields.md"), flags=re.MULTILINE)[1:]
    found = {s.split("\n")[0]: re.findall(r"^```influxql\n(.*?)^```$", s, re.MULTILINE | re.DOTALL) for s in sections}
    return {heading: blocks for heading, blocks in found.items() if blocks}


MAINS, IT, MAINS_KWH, IT_KWH = range(4)
POINTS = [
    PointSpec(device, name, category, (("room", "A"),), "f32", decimals=3)
    for category, name in (("power", "power"), ("energy", "energy_import"))
    for device in ("meter-mains", "meter-it")
]


def samples(rows: Sequence[tuple[int, int, float, Quality]]) -> Samples:
    """Rows of (point, ts_ns, value, quality)."""
    point, ts_ns, value, quality = zip(*rows, strict=True)
    return Samples(np.array(point, np.int32), np.array(ts_ns, np.int64), np.array(value), np.array(quality, np.uint8))


def an_hour_of_readings(now_ns: int) -> list[Row]:
    """Two meters until now; that of the IT load has been silent for 300 s and answered every other time before."""
    rows = [(MAINS, now_ns - s * S, 150.0, Quality.GOOD) for s in range(600, 0, -10)]
    rows += [(IT, now_ns - s * S, 100.0, Quality.GOOD) for s in range(600, 299, -10)]
    rows += [(IT, now_ns - 290 * S, np.nan, Quality.COMM_ERROR)]
    batch = samples(rows)
    minute = now_ns // (60 * S)
    windows = [
        WindowRows(
            60, np.array([MAINS, IT], np.int32), np.full(2, (minute - m) * 60 * S),
            *(np.array([150.0, 100.0]) for _ in range(4)), np.array([60, 30], np.int32), np.array([60, 60], np.int32),
        )
        for m in range(1, 51)
    ]  # fmt: skip
    windows += [  # of energies that ran over in between
        WindowRows(
            60, np.array([MAINS_KWH, IT_KWH], np.int32), np.full(2, (minute - m) * 60 * S),
            *(np.array([1e6, 5e5]) for _ in range(4)), *(np.array([60, 60], np.int32) for _ in range(2)),
            Counted(np.array([0.3, 0.2]), np.array([np.nan, 1.0 if m == 7 else np.nan])),
        )
        for m in range(1, 1001)
    ]  # fmt: skip
    encode = Encode(POINTS, city="sz", site="ft1", gateway="gw1", spool_id="0b7d6e21", boot_id="5f0c91aa")
    rows = encode(batch, np.ones(len(batch), np.bool_), 1)
    for window in windows:
        rows += encode.windows(window, 1 + len(rows))
    return rows


@pytest.mark.servers
def test_the_queries_shown_answer_what_they_promise(influxd):
    now_ns = time.time_ns()
    for row in an_hour_of_readings(now_ns):
        url = f"{influxd.url}/write?db=dc&precision=ns"
        urllib.request.urlopen(url, data=row.payload, timeout=10).close()

    def ask(query: str) -> dict[str, list[list[float]]]:
        """Rows of (time, value) for each device."""
        [result] = json.loads(influxd.get("/query", db="dc", q=query, epoch="ns"))["results"]
        return {series.get("tags", {}).get("device", ""): series["values"] for series in result["series"]}

    asked = queries()
    latest, quality = (ask(query) for query in asked.pop("Latest value and its age"))
    assert latest == {"meter-mains": [[now_ns - 10 * S, 150.0]], "meter-it": [[now_ns - 300 * S, 100.0]]}
    assert {device: rows[0][1] for device, rows in quality.items()} == {"meter-mains": 0, "meter-it": 4}

    of_due, of_hour = (ask(query) for query in asked.pop("Completeness in percent"))
    assert {device: rows[0][1] for device, rows in of_due.items()} == {"meter-mains": 100.0, "meter-it": 50.0}
    assert of_hour["meter-mains"][0][1] == pytest.approx(100 * 50 / 60)

    [counted] = (ask(query) for query in asked.pop("Energy of a day"))
    assert {device: rows[0][1] for device, rows in counted.items()} == {
        "meter-mains": pytest.approx(300), "meter-it": pytest.approx(200),
    }  # fmt: skip
    energy, power = (ask(query) for query in asked.pop("PUE"))
    assert energy[""][0][1] == pytest.approx(1.5)
    assert {pue for _, pue in power[""] if pue is not None} == {1.5}
    assert asked == {}


# --- docs/operations.md ----------------------------------------------------------------------------------------------

#: Calls whose text goes to the journal at WARNING or above.
LOUD = {"warning", "error", "exception", "critical", "log", "_tell_once", "_warn_once"}


def told(node: ast.expr | None, names: dict[str, ast.expr]) -> str:
    """The text of a message, each gap a %."""
    if isinstance(node, ast.Name):
        return told(names.get(node.id), {})
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "%" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(?:\.\d+)?[sdfg]", "%", node.value)
    return ""


def messages(package: str) -> set[str]:
    """Everything that the sources of `package` may say at WARNING or above."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            n.targets[0].id: n.value for n in ast.walk(tree) if isinstance(n, ast.Assign) and is_name(n.targets[0])
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if getattr(call.func, "attr", getattr(call.func, "id", "")) in LOUD:
                found.add(max((told(argument, names) for argument in call.args), key=len, default=""))
    return {text for text in found if " " in text}


def is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name)


def test_every_warning_in_the_journal_is_explained_and_nothing_else():
    chapter = re.split(r"^## ", text_of("operations.md"), flags=re.MULTILINE)
    [journal] = [section for section in chapter if section.startswith("What the journal says")]
    explained = {row[0].strip("`") for table in tables(journal) for row in table}
    explained.remove("spool %: cannot mark clean: %")  # the only one that is put together elsewhere
    assert explained == messages("collector") | messages("drivers")


def test_every_column_of_the_status_is_explained():
    [section] = re.findall(r"^## Reading `collector status`$(.*?)^## ", text_of("operations.md"), re.M | re.DOTALL)
    explained = {word for table in tables(section) for row in table for word in re.findall(r"`([^`]+)`", row[0])}
    speaks_for_itself = {"device", "bus", "unit", "state", "rtt ms", "asked"}
    assert {column.header for column in _devices([]).columns} - speaks_for_itself <= explained
    assert {state.value for state in Standing} <= explained


def commands_of_sqlite() -> list[str]:
    return re.findall(
        r"""^sudo -u collector sqlite3 '[^']+\?mode=ro' "(.*)"$""", text_of("operations.md"), re.MULTILINE
    )


def test_a_spool_at_work_can_be_looked_into_and_copied_as_the_page_says(tmp_path):
    spool = a_spool(tmp_path / "spool.db")
    rows = an_hour_of_readings(1_800_000_000 * S)
    assert spool.append(rows).result(20) == len(rows)
    ledger, list_, payload, copy = commands_of_sqlite()
    copy = copy.replace("/var/lib/collector/", f"{tmp_path}/")
    with closing(sqlite3.connect(f"file:{tmp_path}/spool.db?mode=ro", uri=True)) as look:
        assert json.loads(look.execute(ledger).fetchone()[0])["accepted_rows"] == len(rows)
        newest = look.execute(list_).fetchone()
        assert newest[:2] == (rows[-1].seq, rows[-1].category)
        assert look.execute(payload).fetchone()[0].encode() == rows[0].payload
        look.execute(copy)
    [rescue] = re.findall(r"sqlite3 'file:copy\.db\?mode=ro' \"(.*)\" >", text_of("operations.md"))
    with closing(sqlite3.connect(f"file:{tmp_path}/copy.db?mode=ro", uri=True)) as look:
        assert [text.encode() for (text,) in look.execute(rescue)] == [row.payload for row in rows]
    spool.close()


def two_minutes_of_twenty_meters() -> Iterator[tuple[Inventory, Samples]]:
    """What the example of the page decodes, second by second."""
    devices = [
        Device(name=f"row-{n:02}", bus="b", unit=n, profile="eastron/sdm630", tags={"room": "A"}) for n in range(1, 21)
    ]
    settings = Settings(
        bus=(Bus(name="b", url="tcp://192.0.2.1:502"),),
        device=tuple(devices),
        uplink=(UplinkSettings(centre="east"),),
    )
    inventory = Inventory(settings)
    rng = np.random.default_rng(1)
    for second in range(180):
        due = [p for b in inventory.blocks if second % round(b.interval_s) == 0 for p in b.points]
        ts_ns = 1_800_000_000 * S + second * S
        values = np.round(rng.uniform(100, 1000, len(due)), 3)
        yield inventory, samples([(p, ts_ns, v, Quality.GOOD) for p, v in zip(due, values, strict=True)])


def test_the_spool_lasts_as_long_as_the_page_says(tmp_path):
    spool = a_spool(tmp_path / "spool.db", max_bytes=1 << 30)
    encode = aggregate = None
    fields = first = 0
    for second, (inventory, batch) in enumerate(two_minutes_of_twenty_meters()):
        if encode is None or aggregate is None:
            names = {"city": "sz", "site": "ft1", "gateway": "ft1-a", "spool_id": spool.spool_id, "boot_id": "5f0c91aa"}
            encode, aggregate = Encode(inventory.points, **names), Aggregate(inventory.points, [60])
        rows = encode(batch, np.ones(len(batch), np.bool_), spool.next_seq)
        for window in aggregate(batch, int(batch.ts_ns[0]) + 1):
            rows += encode.windows(window, spool.next_seq + len(rows))
        spool.append(rows).result(20)
        if second < 60:  # the first minute tells every quality
            first = spool.stats().bytes
        else:
            fields += sum(row.points for row in rows)
    used = spool.stats().bytes - first
    spool.close()
    seconds = second - 59
    hours = Settings().spool.max_mb * (1 << 20) / (used / seconds) / 3600
    measured = {"fields": fields / seconds, "bytes": used / fields, "hours": hours}
    print(measured)
    claimed = {key: float(n) for key, n in re.findall(r"<!-- (\w+) -->([\d.]+)<!-- -->", text_of("operations.md"))}
    assert claimed == pytest.approx(measured, rel=0.05)
