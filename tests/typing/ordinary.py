"""Ordinary code of a service that calls others, as a user writes it. No checker may find fault with any of it.

`test_checkers.py` has mypy and pyright read it, both strict. It is never run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from wsgiref.simple_server import make_server

import prometheus_client
import requests
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

import sleepwalker
import sleepwalker.connection
import sleepwalker.otel
from sleepwalker import (
    ANONYMOUS,
    Attempt,
    BreakerPolicy,
    Connection,
    ConnectionHook,
    ConnectionManager,
    HedgePolicy,
    HostHealth,
    Policy,
    RateLimitPolicy,
    Response,
    RetryBudget,
    RetryPolicy,
    ServiceDefManager,
    ServiceManager,
    TimeoutPolicy,
    events,
    status,
)
from sleepwalker.datarep import DictDataRep, ListDataRep
from sleepwalker.links import Link, follow, links, pages
from sleepwalker.prometheus import Collector

logger = logging.getLogger(__name__)


# --- Policies


def standard_policies() -> dict[str, Policy]:
    """Each in one of the ways in which policies are written."""
    patient = Policy(
        timeout={"total": 60, "attempt": 20},
        retry=RetryPolicy(attempts=5, statuses=[429, "5xx"], budget=RetryBudget(ratio=0.1)),
        breaker=BreakerPolicy(consecutive=3, statuses={500, 503}, max_wait=20),
        bulkhead={"max_concurrent": 20, "max_wait": 1},
        rate_limit=RateLimitPolicy(rate=5, burst=False, per="credentials"),
        hedge=False,
        log={"finished": "debug", "sample": 0.1},
    )
    hedged = Policy.load("interactive").replace(hedge=HedgePolicy(percentile=95))
    plain = Policy(retry=False, breaker=None, bulkhead=False, rate_limit=None)
    limits: dict[str, Any] = {"total": 5.0, "attempt": 2.0}
    quick = Policy.from_dict({"timeout": limits}).replace(timeout={"connect": 1}, pool={"max_age": False})
    configured = Policy(timeout=TimeoutPolicy(**limits), health={"probe": "/health", "max_age": False})
    return {"patient": patient, "hedged": hedged, "plain": plain, "quick": quick, "configured": configured}


def describe(policy: Policy) -> str:
    retry = policy.retry
    attempts = retry.attempts if retry is not None else 1
    opens = "never" if policy.breaker is None else f"after {policy.breaker.consecutive}"
    longest: float = policy.timeout.total
    statuses = sorted(retry.statuses) if retry else []
    return f"{attempts} attempts for {statuses} in {longest:.0f} s, opens {opens}; {policy.to_toml().count('=')} lines"


def checked(path: Path) -> Policy | None:
    try:
        return Policy.load(path)
    except sleepwalker.PolicyError as error:
        for fault in error.faults:
            logger.error("%s: %s", path, fault)
        return None


# --- Credentials and hooks


class BearerAuth(AuthBase):
    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class Directory(Protocol):
    def __call__(self, name: str) -> str | None: ...


class Login(ConnectionHook):
    """Knows the token of each host."""

    def __init__(self, tokens: Mapping[str, str], policy: Policy | str = "standard") -> None:
        self._tokens = dict(tokens)
        self._policy = policy

    def connect(self, host: str, auth: Any) -> Connection | None:
        if host not in self._tokens:
            return None
        return Connection(host, BearerAuth(self._tokens[host]), policy=self._policy, observer=alarm)


class Named(ConnectionHook):
    """Looks names up."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def connect(self, host: str, auth: Any) -> Connection | None:
        address = self._directory(host)
        if address is None:
            raise sleepwalker.ConnectionError(f"{host} is not in the directory")
        conn = Connection(address, auth, timeout=(3.05, 30))
        conn.get("/health", policy="off", timeout=2)
        return conn


class Api(Connection):
    """A connection with methods of its own."""

    def item(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.json_request("GET", f"/items/{number}")
        return found


class ApiHook:
    """A hook need not be a subclass."""

    def connect(self, host: str, auth: object) -> Api:
        return Api(host, ANONYMOUS)


class Ftp:
    """Something else that a manager can hold."""

    def listing(self) -> list[str]:
        return []


class FtpHook(ConnectionHook):
    def connect(self, host: str, auth: Any) -> Ftp | None:
        return Ftp() if host.startswith("ftp.") else None


# --- Observers


alarms: list[str] = []
seen: list[events.Event] = []
kinds: Counter[str] = Counter()


def alarm(event: events.Event, level: events.Level | None = None) -> None:
    if isinstance(event, events.BreakerOpened):
        alarms.append(f"{event.host} is left alone for {event.open_for:.0f} s after {event.cause}")
    elif isinstance(event, events.RequestFailed) and (level or event.level) == "error":
        alarms.append(f"{event.method} {event.path}: {event.error or event.status}")


def count(event: events.Event) -> None:
    kinds[event.name] += 1


@dataclass
class Audit:
    """An observer that is an object."""

    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __call__(self, event: events.Event, level: events.Level | None) -> None:
        self.lines.append({"event": event.name, **event.fields()})


def managers(directory: Directory) -> Iterator[ConnectionManager]:
    yield ConnectionManager()
    yield ConnectionManager(policy="batch", max_connections=500, observer=alarm)
    yield ConnectionManager(observer=count, guard=["fetch", "store"])
    yield ConnectionManager(observer=seen.append, guard=True)
    yield ConnectionManager(observer=Audit())
    yield ConnectionManager(observer=lambda event: print(event.name))
    yield ConnectionManager(observer=lambda event, _: seen.append(event))
    yield ConnectionManager(policies={"https://*.example.com": "batch", "billing": standard_policies()["quick"]})
    manager = ConnectionManager(policy=Path("services.toml"))
    manager.add_conn_hook(Login({"https://api.example.com": os.environ["TOKEN"]}))
    manager.add_conn_hook(Named(directory))
    yield manager


# --- A service


class Shop:
    """What most services look like: it finds a connection, calls, and makes something of the errors."""

    def __init__(self, manager: ConnectionManager, tenant: str) -> None:
        self.manager = manager
        self.tenant = tenant
        self._lock = threading.Lock()
        self._last: Response | None = None

    def _conn(self) -> Connection:
        return self.manager.find("billing", ("user", "password"), timeout=2.5).scope(self.tenant)

    def price(self, item: str) -> float | None:
        try:
            response = self._conn().get(f"/items/{item}", params={"currency": "EUR"}, timeout=5, total=8.0)
        except sleepwalker.HTTPNotFound:
            return None
        except sleepwalker.HTTPTooManyRequests as error:
            logger.warning("slow down: %s", error.retry_after)
            raise
        except sleepwalker.HTTPError as error:
            logger.warning("status %d after %d attempts: %s", error.http_code, len(error.attempts), error.text)
            raise
        except sleepwalker.CircuitOpenError as error:
            wait = error.retry_after if error.retry_after is not None else 1.0
            raise RuntimeError(f"{error.host} is away, back in {wait:.1f} s: {error.cause}") from error
        except (sleepwalker.BulkheadFullError, sleepwalker.RateLimitedError) as error:
            raise RuntimeError(f"busy, {error.retry_after}") from error
        except sleepwalker.DeadlineExceeded as error:
            raise TimeoutError(f"{error.limit}: {last_error(error.attempts)}") from error
        except sleepwalker.ConnectionError as error:
            if error.never_sent:
                return self.price(item)
            raise
        with self._lock:
            self._last = response
        if response.attempts[-1].number > 1:
            logger.info("%d attempts, waited %.1f s", len(response.attempts), sum(a.wait for a in response.attempts))
        price: float = response.json()["price"]
        return price

    def order(self, items: Iterable[str], key: str) -> str:
        response = self._conn().post(
            "/orders", json={"items": list(items)}, headers={"Idempotency-Key": key}, retry_if=not_ready
        )
        return response.headers["Location"]

    def upload(self, path: Path) -> int:
        with path.open("rb") as file:
            return self._conn().put("/files", data=file, idempotent=True, policy="batch").status_code

    def download(self, path: Path) -> None:
        with self._conn().get("/report", stream=True) as response, path.open("wb") as file:
            for chunk in response.iter_content(65_536):
                file.write(chunk)

    def fetched(self, path: Path, digest: str) -> int:
        def show(done: int, total: int | None) -> None:
            logger.info("%d of %s bytes", done, total)

        return self._conn().download("/report", path, progress=show, checksum=f"sha256:{digest}", total=3600).size

    def exists(self, item: str) -> bool:
        return self._conn().head(f"/items/{item}", raise_for_status=False).ok

    def names(self) -> list[str]:
        rows: list[dict[str, str]] = self._conn().json_request("GET", "/items", params={"limit": 10})
        return [row["name"] for row in rows]

    def send(self, method: str, uri: str, **options: Any) -> requests.Response:
        return self._conn().request(method, uri, **options)


def not_ready(came: requests.Response | sleepwalker.ConnectionError) -> bool:
    return isinstance(came, requests.Response) and came.status_code == 202


def last_error(attempts: tuple[Attempt, ...]) -> str:
    return next((a.error for a in reversed(attempts) if a.error is not None), "no attempt")


def retried(work: Callable[[Connection], Response], manager: ConnectionManager, host: str) -> Response:
    try:
        return work(manager.find(host, ANONYMOUS))
    except (sleepwalker.ConnectionError, sleepwalker.HTTPUnauthorized):
        return work(manager.find(host, ANONYMOUS))


def connections(session: requests.Session, context: ssl.SSLContext) -> None:
    with Connection("https://api.example.com", ("user", "password"), port=8443) as conn:
        conn.add_headers({"Accept-Language": "de"})
        text: str = conn.get("/motd").text
        print(text, conn.hostname, conn.policy.timeout.read, conn.closed)
    Connection("https://api.example.com", HTTPBasicAuth("user", "password"), verify="/etc/ca.pem", timeout=5)
    Connection("https://api.example.com", HTTPDigestAuth("user", "password"), verify=context, port="8443")
    Connection("https://api.example.com", lambda request: request, verify=False, cert=("cert.pem", "key.pem"))
    Connection("https://api.example.com", session=session, headers={"X-Tenant": "1"}, proxies={"https": "http://p:1"})
    api = Api("https://api.example.com", ANONYMOUS, policy=Policy(breaker=False))
    print(api.item(7)["name"], api.scope("reports", policy="batch").item(8))
    if api.response is not None:
        print(api.response.attempts, api.response.elapsed)
    api.policy = "careful"


def typed_managers(host: str) -> None:
    apis = ConnectionManager[Api]()
    apis.add_conn_hook(ApiHook())
    print(apis.find(host).item(7))
    servers: ConnectionManager[Ftp] = ConnectionManager(guard=["listing"])
    servers.add_conn_hook(FtpHook())
    servers.add("ftp.example.com", None, Ftp())
    print(servers.find("ftp.example.com").listing())
    anything: ConnectionManager[Any] = ConnectionManager()
    anything.add_conn_hook(FtpHook())
    anything.add_conn_hook(Login({}))
    anything.find("ftp.example.com").whatever()


# --- What an operator sees and does


def report(manager: ConnectionManager) -> dict[str, Any]:
    health = manager.health()
    ill = [name for name, host in health.items() if host.state in ("broken", "degraded")]
    one = manager.health("billing")
    if one.latency.p95 is not None and one.latency.p95 > 1 and one.breaker == "closed":
        logger.warning("slow: %.1f s, %s of %d calls", one.latency.p95, one.success_ratio, one.calls)
    print(len(manager), [key for key, conn in manager.conns.items() if conn.closed])
    return {"ill": ill, "hosts": [host.to_dict() for host in health.values()], "worst": worst(health.values())}


def worst(hosts: Iterable[HostHealth]) -> str | None:
    return min(hosts, key=lambda host: host.success_ratio if host.success_ratio is not None else 1.0).last_error


def operate(manager: ConnectionManager, host: str) -> None:
    manager.isolate(host, reason="maintenance", until=datetime.now(UTC) + timedelta(hours=1))
    manager.isolate(host, until=600)
    try:
        manager.find(host)
    except sleepwalker.HostIsolatedError as error:
        print(error.reason, error.until.isoformat() if error.until else "for good")
    manager.restore(host)
    manager.reset_circuit(host)
    if manager.evict(host) == 0:
        manager.forget(host)
    manager.reload("batch")
    with contextlib.closing(manager):
        manager.reset()


def export(manager: ConnectionManager, conn: Connection) -> None:
    prometheus_client.REGISTRY.register(Collector(manager, conn, max_hosts=200))
    sleepwalker.otel.instrument()
    sleepwalker.logging.configure("events.jsonl", level="info")
    sleepwalker.connection.defaults(policy="standard", guard=True)
    make_server("127.0.0.1", 8080, status.app(manager, title="shop")).serve_forever()


# --- Links and services


def walk(manager: ConnectionManager, conn: Connection) -> list[str]:
    found: list[str] = []
    for page in pages(conn.get("/orders"), "next", manager=manager, max_pages=100):
        found += [order["id"] for order in page.json()["orders"]]
    parcel = follow(conn, "parcel", variables={"id": 7}, manager=manager, allow=["https://parcels.example.com"])
    targets: list[Link] = [link for link in links(parcel) if link.relation != "self"]
    return [*found, *(target.title or target.relation for target in targets), str(parcel.attempts[0].status)]


def services(connections: ConnectionManager) -> None:
    manager = ServiceManager(ServiceDefManager(), connections, allow=["https://parcels.example.com"])
    shop = manager.find_by_name("https://api.example.com", "shop", "1.0", "acme", auth=("user", "password"))
    shop.add_headers({"Idempotency-Key": "import-1"})
    order = shop.bind("order", id=7).pull()
    order.data["item"] = "lamp"
    order.push()
    print(order["item"].data, len(order["tags"]), [tag.data for tag in order["tags"]])
    parcels = order.follow("parcels").pull()
    if isinstance(parcels, ListDataRep):
        print([parcel["id"] for parcel in parcels])
    elif isinstance(parcels, DictDataRep):
        print(parcels["id"], sleepwalker.__version__)
