import socket

import pytest


@pytest.fixture
def first_free_port():
    """A function that finds the first of `count` ports in a row that are free now."""

    def find(count):
        for first in range(21500, 32000, 100):
            try:
                for port in range(first, first + count):
                    with socket.create_server(("127.0.0.1", port)):
                        pass
            except OSError:
                continue
            return first
        pytest.fail("no free ports in a row")

    return find
