"""What one thread is timed at: documents of three sizes, parts of the policy, many hosts, rejections, `find`."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import sleepwalker
from benchmarks.environment import variables
from benchmarks.rounds import Case
from benchmarks.server import Server, document
from benchmarks.speed.peers import BARE, HTTPX, LOGGED, POOL, SILENT, Call, logging_to, peers, shared_peers

#: Bytes of a document, and the share of a round's calls that are made for it.
SIZES = {"100 B": (100, 1.0), "10 KB": (10_000, 0.5), "1 MB": (1_000_000, 0.04)}
TLS = ", TLS"
GROUPS = [*SIZES, *(size + TLS for size in SIZES)]
PARTS = "100 B, one part of the policy at a time"
HOSTS = "100 B, from one host of many"
#: By the number of variables; a shell has some 35, and a container 20 and more: Kubernetes sets seven for each service.
ENVIRONMENTS = {number: f"100 B, {number} environment variables" for number in (2, 20, 35, 60)}
REJECTED = "Rejected by an open circuit"
FIND = "ConnectionManager.find"

OFF = "policy `off`"
_ON: dict[str, dict[str, Any]] = {
    OFF: {},
    "retries": {"retry": {"budget": False}},
    "retries with a budget": {"retry": {}},
    "breaker": {"breaker": {}},
    "bulkhead": {"bulkhead": {}},
    "bulkhead, adaptive": {"bulkhead": {"adaptive": True}},
    "rate limit": {"rate_limit": {"rate": 1_000_000, "burst": 1_000_000}},
    "hedging": {"hedge": {"percentile": 99}, "retry": {}},
    "event log": {"log": {"finished": "info"}},
}
STANDARD = "policy `standard`, no logging"
STANDARD_LOGGED = "policy `standard`, event log"
HOST_COUNTS = (1, 100, 10_000)
#: Of many hosts so many are called, in turn: each has a socket that is open, and the others a record.
CALLED = 100


def documents() -> dict[str, dict[str, object]]:
    """The files that the server has."""
    return {f"{size}.json": document(size) for size, _ in SIZES.values()}


def cases(server: Server, groups: list[str], folder: Path, running: contextlib.ExitStack) -> list[Case]:
    """The rows of the groups wanted, each of which has shown that it does what it says."""
    log = folder / "events.jsonl"
    made: list[Case] = []
    plain, tls = peers(server.url, "", running), peers(server.tls_url, server.ca, running)
    plain |= shared_peers(server.url, folder)
    for group in GROUPS:
        if group not in groups:
            continue
        size, share = SIZES[group.removesuffix(TLS)]
        for name, getting in (tls if group.endswith(TLS) else plain).items():
            around = partial(logging_to, log if name == LOGGED else None)
            made.append(Case(group, name, getting(f"/{size}.json"), around, share))
            verify(made[-1], document(size), log, logs=name == LOGGED)
    for number, group in ENVIRONMENTS.items():
        if group in groups:
            for name in (BARE, POOL, HTTPX, LOGGED, SILENT):
                around = partial(_around, number, log if name == LOGGED else None)
                made.append(Case(group, name, plain[name]("/100.json"), around))
                verify(made[-1], document(100), log, logs=name == LOGGED)
    if PARTS in groups:
        made += _parts(server, log, running)
    if HOSTS in groups:
        made += [_of_many(server, count, log, running) for count in HOST_COUNTS]
    if REJECTED in groups:
        call = running.enter_context(open_circuit())
        for name in (LOGGED, SILENT):
            made.append(Case(REJECTED, name, call, partial(logging_to, log if name == LOGGED else None)))
            verify(made[-1], True, log, logs=name == LOGGED)
    if FIND in groups:
        made.append(Case(FIND, "a healthy pair, among 100", _find()))
        verify(made[-1], True, log, logs=False)
    return made


@contextlib.contextmanager
def _around(number: int, log: Path | None) -> Iterator[None]:
    with variables(number), logging_to(log):
        yield


def verify(case: Case, expected: object, log: Path, *, logs: bool) -> None:
    """RuntimeError unless the call returns what it should, and writes events exactly where it is said to."""
    before = log.stat().st_size if log.exists() else 0
    with case.around():
        answer = case.call()
    written = (log.stat().st_size if log.exists() else 0) - before
    if answer != expected:
        raise RuntimeError(f"{case.group}, {case.name}: the answer is not what the server has")
    if bool(written) != logs:
        raise RuntimeError(f"{case.group}, {case.name}: one call wrote {written} bytes of events")


@contextlib.contextmanager
def open_circuit() -> Iterator[Call]:
    """A call to a host that refuses connections and whose circuit is open; True where the circuit rejected it."""
    # Open for longer than the benchmark takes; what a rejection costs does not depend on that.
    breaker = sleepwalker.BreakerPolicy(consecutive_for=0, open_for=3600, open_max=3600)
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(socket.socket())
        holder.bind(("127.0.0.1", 0))  # bound, and never listening
        url = f"http://127.0.0.1:{holder.getsockname()[1]}"
        policy = sleepwalker.Policy(breaker=breaker, retry=False)
        connection = stack.enter_context(sleepwalker.Connection(url, sleepwalker.ANONYMOUS, policy=policy))

        def rejected() -> bool:
            try:
                connection.json_request("GET", "/")
            except sleepwalker.CircuitOpenError:
                return True
            except sleepwalker.ConnectionError:
                return False
            return False

        for _ in range(breaker.consecutive):
            rejected()
        yield rejected


def _parts(server: Server, log: Path, running: contextlib.ExitStack) -> list[Case]:
    off = sleepwalker.Policy.load("off").replace(log={"finished": "info"})
    policies = {name: off.replace(**changes) for name, changes in _ON.items()}
    policies |= {STANDARD: sleepwalker.Policy(), STANDARD_LOGGED: sleepwalker.Policy()}
    made = []
    for name, policy in policies.items():
        conn = running.enter_context(sleepwalker.Connection(server.url, sleepwalker.ANONYMOUS, policy=policy))
        logs = name in ("event log", STANDARD_LOGGED)
        call = partial(conn.json_request, "GET", "/100.json")
        made.append(Case(PARTS, name, call, partial(logging_to, log if logs else None)))
        verify(made[-1], document(100), log, logs=logs)
    return made


class _Hook(sleepwalker.ConnectionHook):
    def connect(self, host: str, auth: Any) -> Any:
        return sleepwalker.Connection(host, auth)


def _of_many(server: Server, count: int, log: Path, running: contextlib.ExitStack) -> Case:
    """`find`, and a GET through what it finds, in a manager that holds so many hosts."""
    port = server.url.rpartition(":")[2]
    hosts = [f"http://127.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}:{port}" for number in range(count)]
    manager = running.enter_context(sleepwalker.ConnectionManager(max_connections=count + 1))
    manager.add_conn_hook(_Hook())
    for host in hosts:
        manager.find(host, sleepwalker.ANONYMOUS)
    called = hosts[:: max(1, count // CALLED)][:CALLED]
    for host in called:
        manager.find(host, sleepwalker.ANONYMOUS).json_request("GET", "/100.json")
    turns = itertools.cycle(called)

    def call() -> object:
        return manager.find(next(turns), sleepwalker.ANONYMOUS).json_request("GET", "/100.json")

    case = Case(HOSTS, f"{count:,} {'host' if count == 1 else 'hosts'}", call, partial(logging_to, log))
    verify(case, document(100), log, logs=True)
    return case


#: A `find` is timed so many at a time: one alone would be lost in the clock's own cost.
FINDS = 100


def _find() -> Call:
    manager = sleepwalker.ConnectionManager()
    hosts = [f"https://host-{number}.example.net:8443" for number in range(100)]
    for host in hosts:
        manager.add(host, None, sleepwalker.Connection(host, sleepwalker.ANONYMOUS))

    def call() -> bool:
        conn = None
        for host in hosts:
            conn = manager.find(host)
        return isinstance(conn, sleepwalker.Connection)

    return call
