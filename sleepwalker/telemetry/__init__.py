"""Where events go: to log lines now, to metrics later."""

from __future__ import annotations

from sleepwalker.telemetry.log import emit, listening

__all__ = ["emit", "listening"]
