"""Resilient HTTP connections to many hosts: each request under a policy, each host with a health record."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from typing import TYPE_CHECKING, Any

from sleepwalker import exceptions, logging
from sleepwalker.attempt import Attempt
from sleepwalker.connection import Connection, ConnectionHook, ConnectionManager
from sleepwalker.engine.health import HostHealth
from sleepwalker.exceptions import *  # noqa: F403 - all of them are public; the list is in that module
from sleepwalker.policy import (
    BreakerPolicy,
    BulkheadPolicy,
    HealthPolicy,
    HedgePolicy,
    LogPolicy,
    Policy,
    PoolPolicy,
    RateLimitPolicy,
    RetryBudget,
    RetryPolicy,
    TimeoutPolicy,
)
from sleepwalker.transport.credentials import ANONYMOUS

__all__ = [
    "ANONYMOUS",
    "Attempt",
    "BreakerPolicy",
    "BulkheadPolicy",
    "Connection",
    "ConnectionHook",
    "ConnectionManager",
    "HealthPolicy",
    "HedgePolicy",
    "HostHealth",
    "LogPolicy",
    "Policy",
    "PoolPolicy",
    "RateLimitPolicy",
    "RetryBudget",
    "RetryPolicy",
    "TimeoutPolicy",
    "exceptions",
    "logging",
]
__all__ += exceptions.__all__

if TYPE_CHECKING:
    from sleepwalker import datarep, service
    from sleepwalker.datarep import DataRep, Schema
    from sleepwalker.definitions import ServiceDefManager
    from sleepwalker.service import Service, ServiceManager

    mgr: ServiceManager

#: What needs the extra `services`, and the module that has it: loaded when it is first asked for.
_SERVICES = {
    "DataRep": "sleepwalker.datarep",
    "Schema": "sleepwalker.datarep",
    "Service": "sleepwalker.service",
    "ServiceDefManager": "sleepwalker.definitions",
    "ServiceManager": "sleepwalker.service",
    "datarep": "sleepwalker.datarep",
    "mgr": "sleepwalker.service",
    "service": "sleepwalker.service",
}

# For `import *` and for `dir`, which without the extra would fail over these. What a test put there has no spec.
if sys.modules.get("reschema") or importlib.util.find_spec("reschema") is not None:
    __all__ += ["DataRep", "Schema", "Service", "ServiceDefManager", "ServiceManager", "datarep", "mgr", "service"]

_making = threading.RLock()


def __getattr__(name: str) -> Any:
    if name not in _SERVICES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_SERVICES[name])  # which says what to install
    if name in ("datarep", "service"):
        return module  # and importing it made it an attribute
    if name != "mgr":
        value = getattr(module, name)
        globals()[name] = value
        return value
    with _making:  # two threads get the same one
        if name not in globals():
            definitions = importlib.import_module("sleepwalker.definitions")
            globals()[name] = module.ServiceManager(definitions.ServiceDefManager(), ConnectionManager())
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
