"""The workers of all sides of a setting, each a process of its own: `python -m benchmarks.fleet.crew`.

It reads the plan as a line of JSON, forks, prints `ready` once each worker has its manager, and reads on which second
of the machine's monotonic clock the plan begins. In the end it prints what each worker saw.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NoReturn

import structlog

import sleepwalker
from benchmarks.children import BUSY
from benchmarks.environment import leave_out_the_environment
from benchmarks.fleet.load import TooBusyError, moments, offer
from benchmarks.fleet.setting import ISOLATED, ISOLATIONS, Setting, from_dict

#: Seconds after the plan's end in which calls may still end: as long as an attempt takes at most.
PATIENCE = 12.0
#: The events that a worker writes down, by how they begin.
_KEPT = ("breaker.", "host.", "fleet.")


class _Network:
    """Every connect to the host, counted; and what fails where this worker's own network is cut."""

    def __init__(self, port: int) -> None:
        self.connects: list[float] = []
        self.cut: tuple[float, float] | None = None
        """From when until when, on the monotonic clock."""
        self._port = port
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.connect" or arguments[1][1:2] != (self._port,):
            return
        now = time.monotonic()
        if self.cut is not None and self.cut[0] <= now < self.cut[1]:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        self.connects.append(now)
        self._open.add(arguments[0])

    def sever(self) -> None:
        """End the connections that are open: they would outlive the cut."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Hook(sleepwalker.ConnectionHook):
    """Knows every host."""

    def connect(self, host: str, auth: Any) -> sleepwalker.Connection:
        return sleepwalker.Connection(host, sleepwalker.ANONYMOUS)


class Events:
    """What sleepwalker said: the moments of some of its events, kept through structlog."""

    def __init__(self) -> None:
        self.found: list[tuple[float, str, dict[str, Any]]] = []
        structlog.configure(processors=[self._note], cache_logger_on_first_use=True)

    def _note(self, _: object, level: str, event: MutableMapping[str, Any]) -> NoReturn:
        name = event["event"]
        if name.startswith(_KEPT):
            kept = {
                key: value for key, value in event.items() if isinstance(value, (str, int, float)) and key != "event"
            }
            self.found.append((time.monotonic(), name, {**kept, "level": level}))
        raise structlog.DropEvent


def manager_of(fleet: Mapping[str, Any] | None) -> sleepwalker.ConnectionManager:
    """One with the `standard` policy, in the fleet that `fleet` gives the arguments of."""
    joined: dict[str, Any] = {}
    if fleet is not None:
        from sleepwalker.fleet import Fleet  # noqa: PLC0415 - those alone need none

        joined["fleet"] = Fleet(**fleet)
    manager = sleepwalker.ConnectionManager(policy="standard", **joined)
    manager.add_conn_hook(_Hook())
    return manager


def _work(
    setting: Setting, number: int, url: str, fleet: Mapping[str, Any] | None, ready: int, go: int
) -> dict[str, Any]:
    """One worker: make its calls, and tell what came of them."""
    threading.stack_size(256 * 1024)  # a host that hangs makes hundreds of them
    events, network = Events(), _Network(int(url.rpartition(":")[2]))
    crashed: list[str] = []
    threading.excepthook = lambda thrown: crashed.append(repr(thrown.exc_value))
    manager = manager_of(fleet)

    def call() -> object:
        return manager.find(url).json_request("GET", f"/orders/{number}")

    call()  # a worker that has never called a host has nothing to lose; and the first call takes long
    os.write(ready, b".")
    begins = float(os.read(go, 64).strip())
    if number < setting.cut:
        network.cut = begins + setting.fault[0], begins + setting.fault[1]

    dues = moments(setting.rate, setting.seconds, f"{setting.seed} {number}")
    beside: dict[float, Callable[[], object]] = {}
    if network.cut is not None:
        beside[network.cut[0]] = network.sever
    if setting.beside == "isolate" and number == 0 and fleet is not None:
        order_at = begins + setting.fault[0] + dict(ISOLATIONS)["worker"]
        beside[order_at] = lambda: manager.isolate(url, reason="drill")
        beside[order_at + ISOLATED] = lambda: manager.restore(url)
    offered = offer(call, dues, begins, PATIENCE, beside)
    # A worker whose last call is over stays, with what it says of the host.
    time.sleep(max(0.0, begins + setting.seconds - time.monotonic()))
    used = time.process_time()
    manager.close()
    if crashed:
        raise RuntimeError(f"a thread of worker {number} ended with {crashed[0]}")
    return {
        "calls": [
            [round(due, 4), round(duration, 5), outcome]
            for due, duration, outcome in zip(dues, offered.durations, offered.outcomes, strict=True)
        ],
        "late": round(max(offered.late, default=0.0), 4),
        "connects": [round(moment - begins, 4) for moment in network.connects],
        "events": [[round(moment - begins, 4), name, fields] for moment, name, fields in events.found],
        "cpu": round(used, 3),
    }


def _end_with_the_crew(life: int) -> None:
    """Where the process that forked this worker is gone, nobody wants to know any more."""
    os.read(life, 1)
    os._exit(1)


def _end_with_the_benchmark() -> None:
    """Where the process that started this one is gone, its pipe is closed."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    # A line that some library prints must not get between the figures.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    wanted = json.loads(sys.stdin.readline())
    setting = from_dict(wanted["setting"])
    with tempfile.TemporaryDirectory(prefix="sleepwalker-fleet-") as scratch:
        folder = Path(scratch)
        leave_out_the_environment(folder)
        children, is_ready, gos, life = set[int](), os.pipe(), [], os.pipe()

        def end(*_: object) -> None:
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise SystemExit(1)

        signal.signal(signal.SIGTERM, end)
        gc.collect()
        gc.freeze()  # the pages that all of them share stay shared
        for side in setting.sides:
            for number in range(setting.workers):
                go = os.pipe()
                gos.append(go[1])
                file = folder / f"{side}-{number}.json"
                fleet = wanted["fleets"].get(side)
                pid = os.fork()
                if pid:
                    os.close(go[0])
                    children.add(pid)
                    continue
                try:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    os.close(life[1])
                    threading.Thread(target=_end_with_the_crew, args=(life[0],), daemon=True).start()
                    found = _work(setting, number, wanted["urls"][side], fleet, is_ready[1], go[0])
                    file.write_text(json.dumps(found), encoding="utf-8")
                except TooBusyError:
                    os._exit(BUSY)
                except BaseException:
                    traceback.print_exc()
                    os.write(is_ready[1], b"!")
                    os._exit(1)
                os._exit(0)  # not after calls that never end

        for _ in children:
            if os.read(is_ready[0], 1) != b".":
                end()
        print('"ready"', file=output, flush=True)
        begins = sys.stdin.readline()
        if not begins:
            end()
        threading.Thread(target=_end_with_the_benchmark, daemon=True).start()
        for go_on in gos:
            os.write(go_on, begins.encode())
        for _ in range(len(children)):
            pid, status = os.wait()
            children.discard(pid)
            if status != 0:
                for other in children:
                    os.kill(other, signal.SIGKILL)
                raise SystemExit(BUSY if os.waitstatus_to_exitcode(status) == BUSY else 1)
        found = {
            side: [json.loads((folder / f"{side}-{number}.json").read_text()) for number in range(setting.workers)]
            for side in setting.sides
        }
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left to do takes a moment
        print(json.dumps(found), file=output)
        output.flush()


if __name__ == "__main__":
    main()
