"""An application for gunicorn whose workers call several hosts, by their names, and log what happens.

Half of the workers write one file together, the others one each: both are ways that docs/how-to/logging.md allows.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sleepwalker.logging
from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, Policy, SleepwalkerException

FOLDER = Path(os.environ["WORKERS_FOLDER"])
#: Seconds between the begins of two calls of a worker to a host, and to one of those that only the network cuts off.
PACE, SELDOM = 0.5, 1.0

POLICY = Policy(
    timeout={"connect": 2, "read": 5, "attempt": 5, "total": 10},
    retry={"attempts": 2, "wait_initial": 0.02, "wait_max": 0.05, "budget": False},
    # It looks often, so that an outage is over for callers when it is for the host.
    breaker={"open_for": 0.2, "open_max": 0.2, "close_after": 1, "ramp": 0},
    health={"rehook_initial": 0.2, "rehook_max": 0.2},
)


class Directory(ConnectionHook):
    """Knows where each name is at the moment."""

    def connect(self, host: str, auth: object) -> Connection | None:
        address = json.loads((FOLDER / "directory.json").read_text()).get(host)
        return Connection(address, ANONYMOUS, policy=POLICY) if address else None


def _call(manager: ConnectionManager, name: str, number: int, of: int) -> None:
    """Call the host again and again, beside the other workers and not in step with them."""
    pace = SELDOM if name in ("search", "mail") else PACE
    time.sleep(pace * number / of)
    due = time.monotonic()
    while not (FOLDER / "stop").exists():
        with contextlib.suppress(SleepwalkerException):
            manager.find(name, ANONYMOUS).get("/things")
        due = max(due + pace, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _start() -> None:
    shared = os.getpid() % 2
    sleepwalker.logging.configure(FOLDER / ("shared.jsonl" if shared else f"worker-{os.getpid()}.jsonl"))
    manager = ConnectionManager(policy=POLICY)
    manager.add_conn_hook(Directory())
    names = list(json.loads((FOLDER / "directory.json").read_text()))
    for number, name in enumerate(names):
        threading.Thread(target=_call, args=(manager, name, number, len(names)), daemon=True).start()


_start()


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "0")])
    return [b""]
