"""Resilient HTTP connections to many hosts: each request under a policy, each host with a health record."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from typing import TYPE_CHECKING

from sleepwalker import exceptions, logging
from sleepwalker.attempt import Attempt
from sleepwalker.connection import Connection, ConnectionHook, ConnectionManager
from sleepwalker.connection.response import Response
from sleepwalker.downloads import Download
from sleepwalker.engine import HostHealth
from sleepwalker.exceptions import *  # noqa: F403 - all of them are public
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
from sleepwalker.version import installed_version

__all__ = [
    "ANONYMOUS",
    "Attempt",
    "AuthenticationError",
    "BreakerPolicy",
    "BulkheadFullError",
    "BulkheadPolicy",
    "ChecksumError",
    "CircuitOpenError",
    "ClientHTTPError",
    "ConnectError",
    "ConnectTimeout",
    "Connection",
    "ConnectionError",
    "ConnectionHook",
    "ConnectionManager",
    "DataNotSetError",
    "DataPullError",
    "DeadlineExceeded",
    "DecodeError",
    "Download",
    "DownloadError",
    "FragmentError",
    "HTTPBadGateway",
    "HTTPBadRequest",
    "HTTPConflict",
    "HTTPError",
    "HTTPExpectationFailed",
    "HTTPForbidden",
    "HTTPGatewayTimeout",
    "HTTPGone",
    "HTTPImATeapot",
    "HTTPInternalServerError",
    "HTTPLengthRequired",
    "HTTPMethodNotAllowed",
    "HTTPNetworkAuthenticationRequired",
    "HTTPNotAcceptable",
    "HTTPNotExtended",
    "HTTPNotFound",
    "HTTPNotImplemented",
    "HTTPPaymentRequired",
    "HTTPPreconditionFailed",
    "HTTPPreconditionRequired",
    "HTTPProxyAuthenticationRequired",
    "HTTPRequestEntityTooLarge",
    "HTTPRequestHeaderFieldsTooLarge",
    "HTTPRequestTimeout",
    "HTTPRequestURITooLong",
    "HTTPRequestedRangeNotSatisfiable",
    "HTTPServiceUnavailable",
    "HTTPTooManyRequests",
    "HTTPUnauthorized",
    "HTTPUnsupportedMediaType",
    "HTTPUpgradeRequired",
    "HTTPVariantAlsoNegotiates",
    "HTTPVersionNotSupported",
    "HealthPolicy",
    "HedgePolicy",
    "HostHealth",
    "HostIsolatedError",
    "InsecureAuthError",
    "InvalidParameter",
    "LinkError",
    "LogPolicy",
    "MissingServiceDef",
    "MissingVariable",
    "Policy",
    "PolicyError",
    "PoolPolicy",
    "ProxyError",
    "RateLimitPolicy",
    "RateLimitedError",
    "ReadError",
    "ReadTimeout",
    "RedirectError",
    "RelationError",
    "ResourceException",
    "Response",
    "RetryBudget",
    "RetryPolicy",
    "ServerHTTPError",
    "ServiceException",
    "SleepwalkerException",
    "TLSError",
    "TimeoutPolicy",
    "TypeException",
    "URLError",
    "exceptions",
    "logging",
]

if TYPE_CHECKING:
    from sleepwalker import datarep, service
    from sleepwalker.datarep import DataRep, Schema
    from sleepwalker.definitions import ServiceDefManager
    from sleepwalker.service import Service, ServiceManager

    mgr: ServiceManager
    """The manager of services that code shares which makes none of its own: made when it is first asked for, with a
    `ServiceDefManager` and a `ConnectionManager` of its own. It needs the extra `services`."""
    __version__: str
    """The version that is installed, such as `3.0.0`."""

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

# Not for checkers: to them a module with `__getattr__` has every name, the misspelt ones too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return installed_version()
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
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
