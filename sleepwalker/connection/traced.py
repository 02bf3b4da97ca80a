"""Traces a call from the outside, for blocking and asyncio calls alike."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from sleepwalker.clock import Clock
from sleepwalker.engine import Request
from sleepwalker.events import Observer
from sleepwalker.telemetry.tracing import TracedCall
from sleepwalker.transport.url import Origin

_Work = TypeVar("_Work")


def traced(
    origin: Origin,
    request: Request,
    headers: MutableMapping[str, Any],
    clock: Clock,
    observe: Observer,
    work: Callable[[Observer], _Work],
) -> TracedCall[_Work]:
    """The call to `origin` that `work` makes. Its events go to the observer that `work` is given."""
    return TracedCall(
        scheme=origin.scheme,
        server=origin.host,
        port=origin.port,
        method=request.method,
        url=f"{origin}{request.path}",
        headers=headers,
        clock=clock,
        observe=observe,
        work=work,
        name=request.name,
    )
