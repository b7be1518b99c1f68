"""Fixtures for all tests, and coroutine tests without a plugin."""

import asyncio
import inspect

import pytest

from tests.certificates import authority
from tests.servers import influxd, mosquitto, new_mosquitto, victoria_metrics

__all__ = ["authority", "influxd", "mosquitto", "new_mosquitto", "victoria_metrics"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test written as `async def` runs in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True
