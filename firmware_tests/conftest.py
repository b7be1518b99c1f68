from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser):
    group = parser.getgroup("hardware", "run the read-only part of the suite against a real device")
    group.addoption("--hardware", metavar="URL", help="tcp://host:port, serial:///dev/ttyUSB0?baud=9600, udp://...")
    group.addoption("--profile", metavar="P", help="profile of the device, e.g. eastron/sdm630 or a .toml file")
    group.addoption("--unit", type=int, default=1, help="unit id (default 1)")


def pytest_configure(config):
    config.conformance = []
    if config.getoption("--hardware") and not config.getoption("--profile"):
        raise pytest.UsageError("--hardware needs --profile: which device is it?")


def pytest_collection_modifyitems(config, items):
    """With --hardware only the hardware suite runs, without it only the simulators."""
    hardware = bool(config.getoption("--hardware"))
    here = [item for item in items if item.path.is_relative_to(HERE)]
    others = [item for item in here if (item.path.name == "test_hardware.py") != hardware]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def pytest_terminal_summary(terminalreporter, config):
    if config.conformance:
        terminalreporter.section("conformance report")
        for line in config.conformance:
            terminalreporter.write_line(line)
