"""The fields of a policy that show only on sockets: two values of each lead to two behaviours."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trustme

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, Policy, SleepwalkerException
from tests.policy_fields import Case, case, with_field
from tests.wire.servers import Exchange, FaultServer, Step, reply, stall, unanswered_port

QUIET: dict[str, Any] = {"retry": False, "breaker": False}
#: An attempt that is over soon, so that what lasts longer than it ends in another error.
SHORT = {**QUIET, "timeout": {"connect": 0.8, "read": 0.8, "attempt": 0.8, "total": 2}}
PROBING = {
    "retry": False,
    "breaker": {"consecutive_for": 0, "open_for": 5},
    "health": {"probe": "/up", "probe_interval": 0.05},
}


def error_of(url: str, policy: Policy) -> str:
    with Connection(url, ANONYMOUS, policy=policy) as conn, pytest.raises(SleepwalkerException) as caught:
        conn.get("/")
    return type(caught.value).__name__


def not_connected(policy: Policy) -> str:
    """The result of a call whose connection is never accepted."""
    with unanswered_port() as port:
        return error_of(f"http://127.0.0.1:{port}", policy)


def not_answered(policy: Policy) -> str:
    """The result of a call that never gets a response."""
    with FaultServer(default=stall()) as server:
        return error_of(server.url, policy)


def told(policy: Policy) -> list[str]:
    """Which headers with the deadline a server gets."""
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")
        return [name for name in ("X-Time-Left", "X-Other") if server.requests[0].header(name) is not None]


def posts(policy: Policy) -> int:
    """How often a POST is sent that a server answers with 503 each time."""
    with FaultServer(default=reply(503)) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.post("/", raise_for_status=False)
        return len(server.requests)


@contextmanager
def three_at_once(policy: Policy) -> Iterator[FaultServer]:
    """Three calls have been made at the same time."""
    needed = policy.pool.size if policy.pool.block else 3  # at once, for no answer comes before
    with (
        FaultServer(default=Step(lambda one: one.server.wait_for_requests(needed) or reply(200, delay=0.1))) as server,
        Connection(server.url, ANONYMOUS, policy=policy) as conn,
    ):
        threads = [threading.Thread(target=conn.get, args=("/",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield server


def sockets_kept(policy: Policy) -> int:
    with three_at_once(policy) as server:
        server.wait_for_open(policy.pool.size)
        return server.open


def most_sockets(policy: Policy) -> int:
    with three_at_once(policy) as server:
        return server.most_open


def sockets_of_two_calls(policy: Policy) -> int:
    """How many sockets two calls use that come a tenth of a second apart."""
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")
        time.sleep(0.1)
        conn.get("/")
        return server.accepted


def cut_below_tls(policy: Policy) -> str:
    """What comes of a body that ends with its connection, and that without TLS's close_notify."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def cut(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\nrows")
        exchange.link.linger(farewell=False)

    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with (
        FaultServer(default=cut, tls=context) as server,
        Connection(server.url, ANONYMOUS, policy=policy.replace(retry=False), verify=trusting) as conn,
    ):
        try:
            return conn.get("/").text
        except SleepwalkerException as error:
            return type(error).__name__


def asked_while_broken(policy: Policy) -> set[str]:
    """For what a server is asked within half a second after its circuit opened."""
    with FaultServer(default=reply(503)) as server, ConnectionManager(policy=policy) as manager:
        conn = Connection(server.url, ANONYMOUS, policy=policy)
        manager.add(server.url, None, conn)
        for _ in range(5):
            conn.get("/call", raise_for_status=False)
        time.sleep(0.5)
        if policy.health.probe and policy.health.probe_interval < 0.5:
            server.wait_for_requests(6)  # on a busy machine the first probe is late
        return {request.path for request in server.requests}


CASES = [
    case("timeout.connect", SHORT, not_connected, (0.1, "ConnectTimeout"), (0.8, "DeadlineExceeded")),
    case("timeout.read", SHORT, not_answered, (0.1, "ReadTimeout"), (0.8, "DeadlineExceeded")),
    case("timeout.propagate", {}, told, (None, []), ("X-Time-Left", ["X-Time-Left"]), ("X-Other", ["X-Other"])),
    case("retry.methods", {"retry": {"wait_initial": 0}}, posts, (("GET",), 1), (("GET", "POST"), 3)),
    case("pool.size", {}, sockets_kept, (1, 1), (2, 2)),
    case("pool.block", {"pool": {"size": 1}}, most_sockets, (True, 1), (False, 3)),
    case("pool.idle", {}, sockets_of_two_calls, (50.0, 1), (0.05, 2)),
    case("pool.max_age", {}, sockets_of_two_calls, (300.0, 1), (0.05, 2)),
    case("pool.require_close_notify", {}, cut_below_tls, (True, "ReadError"), (False, "rows")),
    case("health.probe", PROBING, asked_while_broken, (None, {"/call"}), ("/up", {"/call", "/up"})),
    case("health.probe_interval", PROBING, asked_while_broken, (0.05, {"/call", "/up"}), (5.0, {"/call"})),
]


@pytest.mark.parametrize(
    ("one", "value", "seen"),
    [pytest.param(one, value, seen, id=f"{one.field}={value}") for one in CASES for value, seen in one.seen],
)
def test_the_field_decides(one: Case, value: Any, seen: object) -> None:
    assert one.watch(with_field(one.rest, one.field, value)) == seen
