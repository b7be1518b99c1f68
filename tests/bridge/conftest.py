"""Fixtures of the bridge's tests."""

import pytest

from tests.bridge.stub_http import StubDatabase


@pytest.fixture
def stub():
    database = StubDatabase()
    yield database
    database.close()
