"""Decisions about calls. Nothing here waits, uses a socket or a thread, or reads a clock that it was not given.

A driver imports what it needs from here. It makes a `Host` per host and a `CompiledPolicy` per policy. It starts a call
with `run`, performs each step that `run` yields, and sends the result back, until `run` returns a `Final`:

    Send          perform an attempt; send its `Outcome`, made by `answered` or `failed`
    Wait, Queue   wait for so many seconds, or until `waiter` is woken; send whether the connection had been closed
    Receive       of `download` alone: receive the body; send a `Received`
    Ask           call the caller's `retry_if`; send what it returned

A `Send` with `hedge_in` may be hedged; its docstring says how. An exception that ends a wait or an attempt is thrown
in.
"""

from sleepwalker.engine.call import run
from sleepwalker.engine.compiled import CompiledPolicy, passes_rate_limit
from sleepwalker.engine.download import download
from sleepwalker.engine.host import Host, fleet
from sleepwalker.engine.host.fleet import Standing
from sleepwalker.engine.host.holdings import Waiter
from sleepwalker.engine.host.isolation import FOR_GOOD, Isolation, Restorer
from sleepwalker.engine.host.permits import Permit, State
from sleepwalker.engine.host.snapshot import (
    Fellows,
    Gauges,
    HealthState,
    HostHealth,
    Latency,
    Recent,
    RejectedBy,
    Routes,
)
from sleepwalker.engine.outcome import Head, Outcome, Verdict, answered, failed
from sleepwalker.engine.retry_after import asked_wait
from sleepwalker.engine.steps import (
    DUE,
    LATE,
    Ask,
    Completed,
    Final,
    Hold,
    Queue,
    Receive,
    Received,
    Reply,
    Request,
    Send,
    Signal,
    Step,
    Steps,
    Wait,
)

__all__ = [
    "DUE",
    "FOR_GOOD",
    "LATE",
    "Ask",
    "CompiledPolicy",
    "Completed",
    "Fellows",
    "Final",
    "Gauges",
    "Head",
    "HealthState",
    "Hold",
    "Host",
    "HostHealth",
    "Isolation",
    "Latency",
    "Outcome",
    "Permit",
    "Queue",
    "Receive",
    "Received",
    "Recent",
    "RejectedBy",
    "Reply",
    "Request",
    "Restorer",
    "Routes",
    "Send",
    "Signal",
    "Standing",
    "State",
    "Step",
    "Steps",
    "Verdict",
    "Wait",
    "Waiter",
    "answered",
    "asked_wait",
    "download",
    "failed",
    "fleet",
    "passes_rate_limit",
    "run",
]
