"""Where text for people goes: a terminal of some width, or a pipe or file that has none."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Columns of a pipe: wider than any table gets. A table takes only what it needs, so nothing is padded to it.
PIPE_WIDTH = 10_000


def console(*, highlight: bool = True) -> "Console":
    """As wide as the terminal; in a pipe as wide as needed, so that nothing is folded or cut, unless COLUMNS is set."""
    from rich.console import Console

    of_any_width = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=highlight, width=PIPE_WIDTH if of_any_width else None)
