"""Resilient HTTP connections to many hosts: each request under a policy, each host with a health record."""

from __future__ import annotations

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
