"""A plugin of pytest for scripts/test: what was not checked here, and why, so that no skip is silent."""

import os
from collections import defaultdict
from pathlib import Path

import pytest

from collector.wording import counted

#: Tools that scripts/test has not found, for our closing words.
MISSING_TOOLS = "MISSING_TOOLS"


def not_checked(skipped: list[pytest.TestReport], missing_tools: str) -> list[str]:
    """Lines for people: each reason once, with the number of checks and their files."""
    files: dict[str, list[str]] = defaultdict(list)
    for report in skipped:
        _, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, str(report.longrepr))
        files[reason.removeprefix("Skipped: ")].append(report.nodeid.partition("::")[0])
    lines = [f"missing: {tool}: run scripts/setup-apt" for tool in missing_tools.split()]
    for reason, where in sorted(files.items()):
        lines.append(
            f"{counted(len(where), 'check')}: {reason} ({', '.join(sorted({Path(file).name for file in where}))})"
        )
    return lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Before the closing line; also when there is nothing to tell."""
    lines = not_checked(terminalreporter.getreports("skipped"), os.environ.get(MISSING_TOOLS, ""))
    terminalreporter.section("not checked here" if lines else "nothing was skipped", sep="=")
    for line in lines:
        terminalreporter.line(line)
