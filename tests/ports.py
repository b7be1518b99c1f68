"""Port numbers for tests that need several in a row."""

import socket

import pytest


def free_ports_in_a_row(count: int) -> int:
    """The first of `count` consecutive TCP ports that are free now, below the system's own range."""
    for first in range(21500, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.create_server(("127.0.0.1", port)):
                    pass
        except OSError:
            continue
        return first
    pytest.fail(f"no {count} free ports in a row")
