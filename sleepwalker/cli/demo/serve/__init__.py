"""`sleepwalker demo --serve`: a small server on loopback that echoes requests, and fails on request."""

from __future__ import annotations

from sleepwalker.cli.demo.serve.command import run, serving

__all__ = ["run", "serving"]
