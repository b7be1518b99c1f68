"""Text for people is as wide as their terminal; a pipe gets all of it."""

import pytest
from rich.table import Table

from collector.cli.terminal import console

WIDE = "x" * 500


@pytest.fixture
def table():
    made = Table(box=None)
    made.add_column("long", no_wrap=True)
    made.add_row(WIDE)
    return made


def test_a_pipe_gets_a_table_whole(table, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    console().print(table)
    assert WIDE in capsys.readouterr().out.splitlines()[1].rstrip()


def test_a_pipe_whose_width_is_known_is_not_wider(table, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")  # as `watch` does
    console().print(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) == 60
