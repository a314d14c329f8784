"""Each test here runs on the plain loop and on uvloop: they call buffered protocols differently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"plain": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
