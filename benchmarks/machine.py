"""Where and with what a run was made: a figure without that cannot be compared with anything."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Where results are committed.
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, str | int]:
    """The processor, how many of its cores this process may use, the system and the interpreter."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed versions, and the commit where this is a checkout: a release's number is not exact before it."""
    found = {name: version(name) for name in packages}
    if commit := _git("rev-parse", "--short=10", "HEAD"):
        changed = _git("status", "--porcelain", "--", "sleepwalker", "policies")
        found["commit"] = f"{commit}, with changes" if changed else commit
    return found


def load() -> float:
    """How many processes wanted a core in the last minute, on average: well above 1, others are measured too."""
    return round(os.getloadavg()[0], 2)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown")


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
