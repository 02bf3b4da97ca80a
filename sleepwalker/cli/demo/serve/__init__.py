"""`sleepwalker demo --serve`: a small server on loopback that echoes, and that fails where it is asked to."""

from __future__ import annotations

from sleepwalker.cli.demo.serve.command import run, serving

__all__ = ["run", "serving"]
