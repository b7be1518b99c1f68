"""Rules of the tree itself: who imports whom, what --help may load, how long things get, what must not exist at all."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from collector.bridge.settings import Settings as BridgeSettings
from collector.cli import COMMANDS
from collector.config_file import Secret
from collector.settings import Settings
from drivers.base import Request
from drivers.modbus.pdu import encode_read

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for package in ("collector", "drivers") for path in (ROOT / package).rglob("*.py"))

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 80
CLOCKS = {"time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime"}
READS = (1, 2, 3, 4)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- imports ---------------------------------------------------------------------------------------------------------


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []


def test_numba_is_imported_in_one_file() -> None:
    importers = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(tree(path))
        if any(module.split(".")[0] in ("numba", "llvmlite") for module in imported(node))
    }
    assert importers == {"collector/kernels/_jit.py"}


#: Runs the command line in a fresh interpreter and prints which of the heavy modules it loaded.
HELP = """
import sys
from collector.cli import main
sys.argv = ["collector", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sorted({"numpy", "numba", "llvmlite", "pymodbus", "influxdb_client", "rich"} & set(sys.modules)))
"""


def helped(*arguments: str) -> tuple[str, list[str]]:
    """(help text, heavy modules loaded) of `collector ARGUMENTS --help`."""
    command = [sys.executable, "-c", HELP, *arguments, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    text, _, loaded = done.stdout.rpartition("LOADED")
    return text, loaded.split()


def test_the_list_of_commands_loads_nothing_heavy() -> None:
    text, loaded = helped()
    assert loaded == []
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example_and_without_numba(command: str) -> None:
    text, loaded = helped(command)
    assert "numba" not in loaded
    assert "numpy" not in loaded
    assert f"collector {command}" in text
    assert "Example" in text or "Commands" in text


# --- size ------------------------------------------------------------------------------------------------------------


def test_no_module_is_too_long_to_read() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: n for name, n in lengths.items() if n > MAX_MODULE_LINES} == {}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines of the body): a typed signature and its contract are not what makes a function hard to read."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield f"{name_of(path)}:{node.name}", (node.end_lineno or 0) - body[0].lineno + 1


def test_no_function_is_too_long_to_read() -> None:
    assert {name: n for path in SOURCES for name, n in functions(path) if n > MAX_FUNCTION_LINES} == {}


# --- read only -------------------------------------------------------------------------------------------------------

WRITES = re.compile(
    r"write_?(single|multiple)?_?(coil|register|file)|mask_?write|read_?write_?multiple|readwrite_registers",
    re.IGNORECASE,
)


def write_names(source: str) -> set[str]:
    """Names in `source` under which Modbus libraries and the standard know their write functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.alias | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
    return {name for name in names if WRITES.search(name)}


def test_nothing_in_the_tree_can_write_to_a_device() -> None:
    assert {name_of(p): found for p in SOURCES if (found := write_names(p.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "client.write_register(1, 2)",
        "client.write_coils(1, [True])",
        "client.readwrite_registers()",
        "from pymodbus.pdu.register_message import WriteMultipleRegistersRequest",
        "WRITE_SINGLE_COIL = 5",
        "client.mask_write_register()",
    ],
)
def test_a_write_would_be_seen(source: str) -> None:
    assert write_names(source)


def test_no_request_but_a_read_can_be_encoded() -> None:
    for function in range(256):
        request = Request(unit=1, function=function, address=0, count=1)
        if function in READS:
            assert encode_read(request)[0] == function
        else:
            with pytest.raises(ValueError, match="not a read"):
                encode_read(request)


# --- clocks ----------------------------------------------------------------------------------------------------------


def clock_readings(source: str) -> list[str]:
    """Calls in `source` that read a clock directly. Naming one without a call is how the default is injected."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [
                f"{node.lineno}: from time import {a.name}" for a in node.names if a.name.removesuffix("_ns") in CLOCKS
            ]
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        call = ast.unparse(node.func)
        owner, _, function = call.rpartition(".")
        if owner == "time" and function.removesuffix("_ns") in CLOCKS:
            found.append(f"{node.lineno}: {call}")
        if function in ("now", "utcnow", "today") and owner.split(".")[-1] in ("datetime", "date"):
            found.append(f"{node.lineno}: {call}")
    return found


def test_only_one_file_reads_a_clock() -> None:
    readers = {name_of(path): clock_readings(path.read_text(encoding="utf-8")) for path in SOURCES}
    readers.pop("collector/clock.py")
    assert {name: found for name, found in readers.items() if found} == {}


@pytest.mark.parametrize(
    "source", ["time.time()", "time.monotonic_ns()", "from time import time", "datetime.datetime.now()", "date.today()"]
)
def test_a_clock_read_elsewhere_would_be_seen(source: str) -> None:
    assert clock_readings(source)


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|^[^#\n]*\b(?:password|passwd|token|api_?key)\b[\"']?\s*[=:]\s*[\"'][^\"'{$<]+[\"']",
    re.IGNORECASE | re.MULTILINE,
)
SUFFIXES = {".toml", ".conf", ".service", ".yaml", ".yml", ".json", ".pem", ".key", ".env", ".sh", ".ini", ".cfg"}


def shipped() -> Iterator[Path]:
    for folder in ("collector", "drivers", "config", "systemd", "scripts", "docs", ".ci"):
        yield from (p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix in SUFFIXES)


def test_no_shipped_file_holds_a_secret() -> None:
    assert [name_of(p) for p in shipped() if SECRET.search(p.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("text", ['password = "hunter2"', 'x = 1\n"token": "abc"', "-----BEGIN EC PRIVATE KEY-----"])
def test_a_secret_in_a_file_would_be_seen(text: str) -> None:
    assert SECRET.search(text)


@pytest.mark.parametrize("text", ['password = { credential = "mqtt.password" }', '# password = "not this"'])
def test_a_reference_to_a_secret_is_none(text: str) -> None:
    assert not SECRET.search(text)


def models(annotation: object) -> Iterator[type[BaseModel]]:
    """Every settings model reachable from `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for argument in getattr(annotation, "__args__", ()):
        yield from models(argument)


@pytest.mark.parametrize("settings", [Settings, BridgeSettings])
def test_settings_take_secrets_by_reference_only(settings: type[BaseModel]) -> None:
    fields = {
        f"{model.__name__}.{name}": field.annotation
        for model in models(settings)
        for name, field in model.model_fields.items()
        if re.search("password|token|secret", name)
    }
    assert fields, "the search itself must find something"
    assert all(annotation == Secret | None for annotation in fields.values()), fields
