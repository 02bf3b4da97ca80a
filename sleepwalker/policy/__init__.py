"""Policies: what a connection does to survive, as frozen values that are valid by construction."""

from __future__ import annotations

from sleepwalker.policy.model import Policy, PolicyFields
from sleepwalker.policy.parts.breaker import BreakerFields, BreakerPolicy
from sleepwalker.policy.parts.bulkhead import BulkheadFields, BulkheadPolicy
from sleepwalker.policy.parts.health import HealthFields, HealthPolicy
from sleepwalker.policy.parts.hedge import HedgeFields, HedgePolicy
from sleepwalker.policy.parts.log import LogFields, LogPolicy
from sleepwalker.policy.parts.pool import PoolFields, PoolPolicy
from sleepwalker.policy.parts.rate_limit import RateLimitFields, RateLimitPolicy
from sleepwalker.policy.parts.retry import BudgetFields, RetryBudget, RetryFields, RetryPolicy
from sleepwalker.policy.parts.timeout import TimeoutFields, TimeoutPolicy
from sleepwalker.policy.statuses import SERVER_FAILURES
from sleepwalker.policy.values import IDEMPOTENT_METHODS, SAFE_METHODS

__all__ = [
    "IDEMPOTENT_METHODS",
    "SAFE_METHODS",
    "SERVER_FAILURES",
    "BreakerFields",
    "BreakerPolicy",
    "BudgetFields",
    "BulkheadFields",
    "BulkheadPolicy",
    "HealthFields",
    "HealthPolicy",
    "HedgeFields",
    "HedgePolicy",
    "LogFields",
    "LogPolicy",
    "Policy",
    "PolicyFields",
    "PoolFields",
    "PoolPolicy",
    "RateLimitFields",
    "RateLimitPolicy",
    "RetryBudget",
    "RetryFields",
    "RetryPolicy",
    "TimeoutFields",
    "TimeoutPolicy",
]
