"""Connections for asyncio, with the engine, names and policies of `sleepwalker`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

try:
    import aiohttp as _aiohttp  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "aiohttp":
        raise
    raise ModuleNotFoundError('sleepwalker.aio needs aiohttp: pip install "sleepwalker[aio]"', name="aiohttp") from None

import requests

from sleepwalker.aio.connection import AsyncConnection
from sleepwalker.aio.hook import AsyncConnectionHook
from sleepwalker.aio.manager import AsyncConnectionManager
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.engine import CompiledPolicy
from sleepwalker.policy import Policy
from sleepwalker.transport.aio.stream import AsyncResponse
from sleepwalker.transport.route import dress

__all__ = ["AsyncConnection", "AsyncConnectionHook", "AsyncConnectionManager", "AsyncResponse"]

# The first connection is most likely made while a loop runs. What would block that for a tenth of a second is done
# here: the libraries of the engine are imported, the standard policy is read and checked, and the package's version is
# looked up.
CompiledPolicy(Policy.load("standard"), SYSTEM_CLOCK)
dress(requests.Session())

try:
    from sleepwalker.aio.links import follow, pages

    __all__ += ["follow", "pages"]
except ModuleNotFoundError as error:
    if error.name not in ("uritemplate", "weblinking"):
        raise

    # Not for checkers: to them a module with `__getattr__` has every name, including misspelt ones.
    if not TYPE_CHECKING:

        def __getattr__(name: str) -> object:
            if name in ("follow", "pages"):
                importlib.import_module("sleepwalker.aio.links")  # raises, and says what to install
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
