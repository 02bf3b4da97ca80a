"""Policies: what a connection does to survive, as frozen values that are valid by construction."""

from __future__ import annotations

from sleepwalker.policy.model import Policy
from sleepwalker.policy.parts import (
    IDEMPOTENT_METHODS,
    SAFE_METHODS,
    BreakerPolicy,
    BulkheadPolicy,
    HealthPolicy,
    HedgePolicy,
    LogPolicy,
    PoolPolicy,
    RateLimitPolicy,
    RetryBudget,
    RetryPolicy,
    TimeoutPolicy,
)
from sleepwalker.policy.statuses import SERVER_FAILURES

__all__ = [
    "IDEMPOTENT_METHODS",
    "SAFE_METHODS",
    "SERVER_FAILURES",
    "BreakerPolicy",
    "BulkheadPolicy",
    "HealthPolicy",
    "HedgePolicy",
    "LogPolicy",
    "Policy",
    "PoolPolicy",
    "RateLimitPolicy",
    "RetryBudget",
    "RetryPolicy",
    "TimeoutPolicy",
]
