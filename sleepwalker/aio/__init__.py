"""Connections for asyncio, through the same engine: the names and policies of `sleepwalker`, awaited."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

try:
    import aiohttp as _aiohttp  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "aiohttp":
        raise
    raise ModuleNotFoundError('sleepwalker.aio needs aiohttp: pip install "sleepwalker[aio]"', name="aiohttp") from None

from sleepwalker.aio.connection import AsyncConnection
from sleepwalker.aio.hook import AsyncConnectionHook
from sleepwalker.aio.manager import AsyncConnectionManager
from sleepwalker.engine.host import machine as _machine  # noqa: F401 - see below
from sleepwalker.policy import Policy as _Policy
from sleepwalker.transport.aio.stream import AsyncResponse

__all__ = ["AsyncConnection", "AsyncConnectionHook", "AsyncConnectionManager", "AsyncResponse"]

# What takes long when it is first used, as an import does, is done here: the first use may be in a loop, and would stop
# all its tasks. Circuits load much, and the first policy that is checked builds what checks it.
_Policy.from_dict(_Policy().to_dict())

try:
    from sleepwalker.aio.links import follow, pages

    __all__ += ["follow", "pages"]
except ModuleNotFoundError as error:
    if error.name not in ("uritemplate", "weblinking"):
        raise

    # Not for checkers: to them a module with `__getattr__` has every name, the misspelt ones too.
    if not TYPE_CHECKING:

        def __getattr__(name: str) -> object:
            if name in ("follow", "pages"):
                importlib.import_module("sleepwalker.aio.links")  # raises, and says what to install
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
