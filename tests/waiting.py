"""Waiting for something that happens elsewhere."""

import asyncio
import time
from collections.abc import Callable

import pytest


async def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Until the condition holds; fails loudly, since a slow machine is no excuse for that long."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            pytest.fail(f"did not happen within {seconds:g} s")
        await asyncio.sleep(0.01)
