"""Read by the type checker, never run: all that a user writes with `Connection`, and what the checker says it is."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, assert_type

import requests
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

import sleepwalker
from sleepwalker import (
    ANONYMOUS,
    Attempt,
    AuthenticationError,
    BreakerPolicy,
    BulkheadFullError,
    BulkheadPolicy,
    CircuitOpenError,
    Connection,
    ConnectionHook,
    ConnectionManager,
    DeadlineExceeded,
    DecodeError,
    Download,
    HealthPolicy,
    HedgePolicy,
    HostHealth,
    HostIsolatedError,
    HTTPError,
    HTTPNotFound,
    LogPolicy,
    Policy,
    PolicyError,
    PoolPolicy,
    RateLimitPolicy,
    Response,
    RetryBudget,
    RetryPolicy,
    SleepwalkerException,
    TimeoutPolicy,
    URLError,
    connection,
)
from sleepwalker.events import Event, Level


def scopes(conn: Connection, own: Subclass, manager: ConnectionManager) -> None:
    assert_type(conn.scope("reports"), Connection)
    assert_type(own.scope("reports"), Subclass)
    assert_type(conn.scope("reports").get("/"), Response)
    assert_type(conn.scope("reports").health, HostHealth)
    conn.scope("reports", "batch")
    conn.scope("reports", policy=Policy(rate_limit={"rate": 1, "per": "host"}))
    conn.scope("reports", policy=Path("reports.toml"))
    conn.scope("reports").policy = "careful"
    manager.add("https://host.com", None, conn.scope("reports"))
    conn.scope()  # type: ignore[call-arg]
    conn.scope(7)  # type: ignore[arg-type]
    conn.scope("reports", policy=7)  # type: ignore[arg-type]
    RateLimitPolicy(rate=5, per="tenant")  # type: ignore[arg-type]


def constructors(context: ssl.SSLContext, auth: AuthBase, session: requests.Session) -> None:
    assert_type(Connection("https://host.com"), Connection)
    Connection("https://host.com", ("user", "pass"), 443, True, 5)
    Connection("https://host.com", auth, "443", "/ca.pem", (3.05, 60))
    Connection("https://host.com", HTTPBasicAuth("user", "pass"), verify=context, timeout=0.5)
    Connection("https://host.com", HTTPDigestAuth("user", "pass"), verify=False)
    Connection("https://host.com", auth=lambda request: request, port=None, verify=Path("/ca.pem"), timeout=None)
    Connection(
        hostname="https://host.com",
        auth=ANONYMOUS,
        policy="batch",
        cert=("cert.pem", "key.pem"),
        proxies={"https": "http://proxy:3128"},
        headers={"X-A": "1", "X-B": b"2"},
        session=session,
        max_body=1_000_000,
        retry_if=not_ready,
        observer=observer,
    )
    Connection("https://host.com", policy=Policy())
    Connection("https://host.com", policy=Path("policy.toml"))

    Connection()  # type: ignore[call-arg]
    Connection(b"https://host.com")  # type: ignore[arg-type]
    Connection("https://host.com", timeout="5")  # type: ignore[arg-type]
    Connection("https://host.com", timeout=(1, 2, 3))  # type: ignore[arg-type]
    Connection("https://host.com", policy=7)  # type: ignore[arg-type]
    Connection("https://host.com", None, None, True, None, "batch")  # type: ignore[call-arg]
    Connection("https://host.com", no_such_argument=1)  # type: ignore[call-arg]


def not_ready(came: requests.Response | sleepwalker.ConnectionError) -> bool:
    return isinstance(came, requests.Response) and came.status_code == 202


def of_answers_only(came: requests.Response) -> bool:
    return came.status_code == 202


def observer(event: Event, level: Level | None = None, /) -> None:
    assert_type(event.host, str)
    assert_type(event.fields(), dict[str, Any])


def downloads(conn: Connection, path: Path) -> None:
    done = conn.download("/big", path)
    assert_type(done, Download)
    assert_type((done.path, done.size, done.resumed), tuple[Path, int, int])
    assert_type(done.attempts, tuple[Attempt, ...])
    assert_type(done.attempts[0].reached, int | None)
    assert_type(done.response, requests.Response)

    def far(done: int, total: int | None) -> None:
        print(done, total)

    conn.scope("files").download("/big", "big", progress=far, checksum="sha256:00", total=60)
    conn.download("/big", "big", params={"a": 1}, headers={"X-A": "1"}, timeout=(1, 2), policy="batch")
    done.size = 5  # type: ignore[misc]
    conn.download("/big")  # type: ignore[call-arg]
    conn.download("/big", b"big")  # type: ignore[arg-type]
    conn.download("/big", "big", json={})  # type: ignore[call-arg]
    conn.download("/big", "big", progress=lambda done: None)  # type: ignore[arg-type, misc]


def calls(conn: Connection) -> None:
    assert_type(conn.json_request("GET", "/"), Any)
    conn.json_request("POST", "/", {"a": 1}, {"q": "1"}, {"X-A": "1"})
    conn.json_request(method="POST", uri="/", body=None, params=None, extra_headers=None)
    assert_type(conn.request("GET", "/"), Response)
    assert_type(conn.get("/"), Response)
    assert_type(conn.head("/", headers={"X-A": None}), Response)
    assert_type(conn.post("/", json={"a": 1}, idempotent=True), Response)
    assert_type(conn.put("/", data=b"x", timeout=5), Response)
    assert_type(conn.patch("/", data=lambda: b"x", timeout=(1, 2)), Response)
    assert_type(conn.delete("/", raise_for_status=False), Response)
    assert_type(conn.options("/", policy="off"), Response)
    assert_type(conn.get("/", total=0.5), Response)
    assert_type(conn.request("GET", "/", total=2, timeout=1, policy="batch"), Response)
    conn.get("/", params={"q": "1"}, stream=True, total=5, total_covers_body=True, policy=Policy(retry=False))
    conn.post("/", files={"file": b"x"}, data={"a": "1"})
    conn.get("/", retry_if=not_ready)
    conn.request("GET", "/", retry_if=lambda came: isinstance(came, sleepwalker.ConnectionError) and came.retryable)
    conn.get("/", retry_if=None)

    conn.get("/", no_such_argument=1)  # type: ignore[call-arg]
    conn.get("/", timeout="5")  # type: ignore[arg-type]
    conn.get("/", total="5")  # type: ignore[arg-type]
    conn.get("/", total=(1, 2))  # type: ignore[arg-type]
    conn.get("/", stream="yes")  # type: ignore[arg-type]
    conn.get("/", retry_if=503)  # type: ignore[arg-type]
    conn.get("/", retry_if=of_answers_only)  # type: ignore[arg-type]
    conn.get("/", retry_if=lambda came: came.status_code == 202)  # type: ignore[union-attr]
    conn.request("GET", "/", {"q": "1"})  # type: ignore[call-arg]


def the_rest(conn: Connection) -> None:
    assert_type(conn.hostname, str)
    assert_type(conn.get_url("/a"), str)
    conn.add_headers({"X-A": "1"})
    assert_type(conn.response, Response | None)
    assert_type(conn.conn, requests.Session)
    assert_type(conn.policy, Policy)
    assert_type(conn.closed, bool)
    conn.close()
    with conn as same:
        assert_type(same, Connection)
    Connection.JsonEncoder(sort_keys=True, indent=2, encoding="latin-1", default=str).encode({1, 2})

    conn.policy = Policy()
    conn.policy = "batch"
    conn.policy = 3  # type: ignore[assignment]
    conn.closed = True  # type: ignore[misc]


class Subclass(Connection):
    """Subclassing keeps its type through `with`."""

    def ping(self) -> bool:
        return self.get("/ping").ok


def subclass() -> None:
    with Subclass("https://host.com") as conn:
        assert_type(conn, Subclass)
        assert_type(conn.ping(), bool)


def health(conn: Connection) -> None:
    assert_type(conn.health, HostHealth)
    health = conn.health
    assert_type(health.host, str)
    assert_type(health.state, Literal["unknown", "healthy", "degraded", "broken", "isolated"])
    assert_type(health.breaker, Literal["closed", "open", "half-open"])
    assert_type(health.calls, int)
    assert_type(health.success_ratio, float | None)
    assert_type(health.latency.p99, float | None)
    assert_type(health.to_dict(), dict[str, Any])
    assert_type(health.isolated_reason, str | None)
    assert_type(health.share, float)
    assert_type(health.isolated_until, float | None)
    health.calls = 1  # type: ignore[misc]


def operating(conn: Connection, manager: ConnectionManager, error: HostIsolatedError) -> None:
    conn.reset_circuit()
    manager.reset_circuit("https://host.com")
    manager.isolate("https://host.com")
    manager.isolate("https://host.com", reason="maintenance", until=60)
    manager.isolate("https://host.com", until=datetime.now(UTC) + timedelta(hours=1))
    manager.restore("https://host.com")
    assert_type(error.reason, str | None)
    assert_type(error.until, datetime | None)
    assert_type(error.host, str | None)

    conn.reset_circuit("https://host.com")  # type: ignore[call-arg]
    manager.reset_circuit()  # type: ignore[call-arg]
    manager.isolate("https://host.com", "maintenance")  # type: ignore[call-arg]
    manager.isolate("https://host.com", reason=5)  # type: ignore[arg-type]
    manager.isolate("https://host.com", until="14:05")  # type: ignore[arg-type]
    manager.isolate("https://host.com", until=timedelta(hours=1))  # type: ignore[arg-type]


def errors(conn: Connection) -> None:
    try:
        conn.get("/")
    except HTTPNotFound as error:
        code: int = error.http_code
        del code
        assert_type(error.attempts, tuple[Attempt, ...])
    except HTTPError as error:
        text: str | None = error.text
        del text
    except CircuitOpenError as error:
        assert_type(error.host, str | None)
        assert_type(error.retry_after, float | None)
        assert_type(error.cause, str | None)
    except BulkheadFullError as error:
        assert_type(error.retry_after, float | None)
    except DeadlineExceeded as error:
        assert_type(error.limit, Literal["attempt", "total"])
    except DecodeError as error:
        assert_type(error.msg, str)
    except (URLError, AuthenticationError) as error:
        assert_type(error.never_sent, bool)
    except sleepwalker.ConnectionError as error:
        assert_type(error.retryable, bool)
        as_requests: requests.ConnectionError = error
        del as_requests
    except SleepwalkerException as error:
        first = error.attempts[0]
        assert_type(first.number, int)
        assert_type(first.status, int | None)
        assert_type(first.error, str | None)
        assert_type(first.wait, float)


def errors_from_where_version_2_had_them(conn: Connection) -> None:
    try:
        conn.get("/")
    except connection.URLError as error:
        assert_type(error, URLError)
    except connection.ConnectionError as error:
        assert_type(error, sleepwalker.ConnectionError)
    except connection.HTTPError as error:
        assert_type(error, HTTPError)


def policies() -> None:
    policy = Policy(
        timeout=TimeoutPolicy(connect=1, read=2, attempt=3, total=4),
        retry=RetryPolicy(attempts=5, statuses={503}, budget=RetryBudget(ratio=0.1)),
        breaker=BreakerPolicy(consecutive=3),
        bulkhead=BulkheadPolicy(max_concurrent=10),
        rate_limit=RateLimitPolicy(rate=5, per="credentials"),
        hedge=HedgePolicy(delay=0.1),
        health=HealthPolicy(window=30),
        log=LogPolicy(finished="off"),
        pool=PoolPolicy(size=5),
    )
    Policy(retry=False, breaker=None, timeout={"total": 60})
    RetryPolicy(statuses=[202, "5xx"], after_binds="pair")
    RetryPolicy(after_binds="everybody")  # type: ignore[arg-type]
    BreakerPolicy(statuses=["5xx", 429], slow_ratio=False, slow_call=None)
    BreakerPolicy(statuses=["4xx"])  # type: ignore[list-item]
    BreakerPolicy(consecutive="3")  # type: ignore[arg-type]
    assert_type(BreakerPolicy().statuses, frozenset[int])
    assert_type(policy.timeout.connect, float)
    assert_type(policy.retry, RetryPolicy | None)
    assert_type(policy.breaker, BreakerPolicy | None)
    assert_type(policy.replace(retry=False), Policy)
    assert_type(Policy.load("standard"), Policy)
    assert_type(Policy.from_dict({}), Policy)
    assert_type(policy.to_dict(), dict[str, Any])
    assert_type(policy.to_toml(), str)
    try:
        Policy.load(os.fspath("none.toml"))
    except PolicyError as error:
        assert_type(error.faults, tuple[str, ...])


class Hook(ConnectionHook):
    """As users write them."""

    def connect(self, host: str, auth: Any) -> Connection | None:
        return Connection(host, auth) if host.startswith("https://") else None


def logs() -> None:
    sleepwalker.logging.configure()
    sleepwalker.logging.configure("log.jsonl", level="debug")
    sleepwalker.logging.configure(Path("log.jsonl"), "warning")
    sleepwalker.logging.configure(level="loud")  # type: ignore[arg-type]
    sleepwalker.logging.reset()


def choosing(policy: Policy) -> None:
    in_force = connection.defaults(guard=True, policy="batch")
    assert_type(in_force.policy, Policy)
    assert_type(in_force.guard, bool | frozenset[str])
    connection.defaults(guard=["fetch"], policy=policy)
    connection.defaults(policy=Path("policy.toml"))
    connection.defaults(policy=in_force.policy, guard=in_force.guard)
    connection.defaults(guard=None, policy=None)
    connection.defaults("batch")  # type: ignore[call-arg]
    connection.defaults(guard=3)  # type: ignore[arg-type]
    connection.defaults(policy=3)  # type: ignore[arg-type]
    in_force.guard = False  # type: ignore[misc]
    Connection("https://host.com", policy=None)
    ConnectionManager(guard=None)


def whose_policy(manager: ConnectionManager, policy: Policy, named: dict[str, str], made: dict[str, Policy]) -> None:
    ConnectionManager(policies={"https://*.host.com": "batch", "billing": policy, "stock": Path("stock.toml")})
    ConnectionManager(policy="services.toml", policies=named)
    ConnectionManager(policies=made)
    ConnectionManager(policies=None)
    manager.reload("batch")
    manager.reload(policy, policies=named)
    manager.reload(policies={})
    Policy(host=[{"match": "billing", "retry": False}, {"match": ["a", "b"], "breaker": BreakerPolicy()}])
    assert_type(policy.for_host("https://host.com", "billing"), Policy)
    assert_type(policy.table_for("https://host.com", "billing"), int | None)
    assert_type([table.policy for table in policy.hosts], list[Policy])
    assert_type([table.match for table in policy.hosts], list[tuple[str, ...]])

    ConnectionManager(policies=["batch"])  # type: ignore[arg-type]
    ConnectionManager(policies={"billing": 3})  # type: ignore[dict-item]
    ConnectionManager("batch")  # type: ignore[call-arg]
    manager.reload("batch", named)  # type: ignore[call-arg]
    manager.reload(3)  # type: ignore[arg-type]
    Policy(host={"match": "billing"})  # type: ignore[arg-type]
    policy.for_host()  # type: ignore[call-arg]
    policy.for_host(Path("a"))  # type: ignore[arg-type]


def finding(manager: ConnectionManager, events: list[Event]) -> None:
    manager.find("billing", ("user", "password"), timeout=2.5)
    manager.find("billing", timeout=None)
    manager.find("billing", None, 2.5)  # type: ignore[call-arg]
    manager.find("billing", timeout="2")  # type: ignore[arg-type]
    manager.find(None)  # type: ignore[arg-type]
    assert_type(manager.held_as(manager.find("billing")), tuple[tuple[str, Any], ...])
    assert_type(manager.health("billing").hooks_since, float | None)
    assert_type(manager.health(), dict[str, HostHealth])
    ConnectionManager(observer=events.append)
    ConnectionManager(observer=observer)
