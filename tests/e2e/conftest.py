"""A chain for each test, and the databases as the tests compare them."""

import pytest

from tests.e2e.chain import Chain


@pytest.fixture
def new_chain(tmp_path):
    """Makes a chain in a directory of its own: `new_chain(mosquitto, store, confirm="bridge")`."""
    made = []

    def make(mosquitto, store, **options) -> Chain:
        directory = tmp_path / f"chain{len(made)}"
        directory.mkdir()
        made.append(Chain(directory, mosquitto, store, **options))
        return made[-1]

    yield make
    for chain in made:
        chain.close()
