"""The ways to get a JSON document that are compared, each as plain as its own documentation writes it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import requests
import structlog
import urllib3

import sleepwalker
from benchmarks.outage import clients

Call = Callable[[], object]
#: Gives for a path what gets its JSON.
Getting = Callable[[str], Call]

BARE = "requests"
CONTROL = "requests, again"
RETRY = "requests + urllib3.Retry"
STACK = "requests + tenacity + pybreaker + structlog"
POOL = "urllib3.PoolManager"
HTTPX = "httpx"
STAMINA = "httpx + stamina"
HTTPX_RETRIES = "httpx-retries"
ELASTIC = "elastic-transport"
LOGGED = "sleepwalker, JSON event log"
SILENT = "sleepwalker, no logging"

#: What these are, for the page.
WORDS: Mapping[str, str] = {
    BARE: "`session.get(url).json()` with one `requests.Session`: no timeout, no retries",
    CONTROL: "the same with a second session: as far as its ratios are from 1, others may be off by chance",
    POOL: '`pool.request("GET", url).json()` with one `urllib3.PoolManager`, which is the floor under requests',
    HTTPX: "`client.get(url).json()` with one `httpx.Client`",
    RETRY: "a session whose adapter has a `Retry`",
    STACK: "tenacity around pybreaker around a session, and a line of structlog per call",
    STAMINA: "stamina's decorator around an `httpx.Client`",
    HTTPX_RETRIES: "an `httpx.Client` with httpx-retries' transport",
    ELASTIC: "elastic-transport with one node",
    LOGGED: '`connection.json_request("GET", path)` under the `standard` policy, each call\'s event written to a file',
    SILENT: "the same without any logging configured",
}
#: Peers that the benchmark of outages has as well: written once, there.
_SHARED = {
    RETRY: clients.urllib3_retry,
    STACK: clients.tenacity_pybreaker,
    STAMINA: clients.httpx_stamina,
    HTTPX_RETRIES: clients.httpx_and_retries,
    ELASTIC: clients.elastic,
}


def peers(url: str, ca: str, running: contextlib.ExitStack) -> dict[str, Getting]:
    """Each with a connection of its own. What is put around a client does not depend on TLS and is left out there."""
    verify: Any = ca or True
    first, second = (running.enter_context(requests.Session()) for _ in range(2))
    first.verify = second.verify = verify
    pool = running.enter_context(urllib3.PoolManager(ca_certs=ca or None))
    client = running.enter_context(httpx.Client(verify=ssl.create_default_context(cafile=ca) if ca else True))
    logged, silent = (
        running.enter_context(sleepwalker.Connection(url, sleepwalker.ANONYMOUS, verify=verify)) for _ in range(2)
    )
    return {
        BARE: lambda path: lambda: first.get(url + path).json(),
        CONTROL: lambda path: lambda: second.get(url + path).json(),
        POOL: lambda path: lambda: pool.request("GET", url + path).json(),
        HTTPX: lambda path: lambda: client.get(url + path).json(),
        LOGGED: lambda path: lambda: logged.json_request("GET", path),
        SILENT: lambda path: lambda: silent.json_request("GET", path),
    }


def shared_peers(url: str, folder: Path) -> dict[str, Getting]:
    """Those of the benchmark of outages; what they log goes to a file in the folder, from their first call on."""

    def getting(name: str) -> Getting:
        def get(path: str) -> Call:
            try:
                call = _SHARED[name](url + path, folder / "peers.jsonl")
                call()  # the logger that it keeps is made now
            finally:
                structlog.reset_defaults()  # else the rows without logging would write to that file, too
            return call

        return get

    return {name: getting(name) for name in _SHARED}


@contextlib.contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Within, sleepwalker's events are written to the file, if there is one."""
    if path is None:
        yield
        return
    sleepwalker.logging.configure(path=path)
    try:
        yield
    finally:
        sleepwalker.logging.reset()
