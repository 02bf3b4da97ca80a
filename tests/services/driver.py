"""Services to test with: definitions, doubles without a network, and the same over real servers on this machine."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from reschema import ServiceDefManager
from reschema.servicedef import ServiceDef

from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, HTTPError, Policy
from sleepwalker.service import Service, ServiceManager
from tests.wire.servers import Exchange, FaultServer, Step, hang_up, reply

HERE = Path(__file__).parent
HARBOR, STAFF = "http://specs.example.net/harbor/1.4", "http://specs.example.net/staff/1.0"
#: Where the harbour's resources are.
U = "/api/harbor/1.4"
BERTH = {"num": 3, "note": "n", "tags": ["a", "b", "c"], "spot": {"lat": 1.5}}
VISIT = {"id": 5, "pilot": "kim", "host": "http://q2", "zone": "", "cargo": [{"sku": "x1"}, {"sku": "y 2"}]}

#: Retries at once, and also what may have been processed: these servers do not mind being asked twice. Where servers
#: do, POST and PATCH stay out of `methods`, and the caller of a link says for each body with a key of its own whether
#: it may be sent again.
PATIENT = Policy(
    retry={
        "attempts": 4,
        "wait_initial": 0.001,
        "wait_max": 0.002,
        "budget": False,
        "methods": ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "PATCH"],
    },
    breaker=False,
    timeout={"connect": 1, "read": 3, "attempt": 3, "total": 10},
)


def definition(name: str) -> ServiceDef:
    """One of the definitions in this folder, new."""
    return ServiceDef.create_from_text((HERE / f"{name}.yaml").read_text(), format="yaml")


def parsed(resources: str, types: str = "{}", version: str = "1.0") -> ServiceDef:
    """A definition with these resources, in YAML's one-line form."""
    text = f"""
        $schema: 'http://support.riverbed.com/apis/service_def/2.2'
        id: 'http://specs.example.net/{next(_numbers)}/{version}'
        provider: acme
        name: own
        version: '{version}'
        types: {types}
        resources: {resources}
    """
    return ServiceDef.create_from_text(text, format="yaml")


_numbers = itertools.count()


def definitions() -> ServiceDefManager:
    """A manager that knows both."""
    manager = ServiceDefManager()
    for name in ("harbor", "staff"):
        manager.add(definition(name))
    return manager


class Reply:
    """What an HTTPError is made of."""

    def __init__(self, code: int, body: Any) -> None:
        self.status_code, self.body, self.headers, self.reason = code, body, {}, "Why"

    def json(self) -> Any:
        return self.body


class Log:
    """What a connection was asked for."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.sent: Any = None

    def note(self, method: str, uri: str, body: Any, params: Any, headers: Any) -> None:
        self.log.append((method, uri, deepcopy(body), params))
        self.sent = headers

    def net(self) -> list[tuple[Any, ...]]:
        """The requests since the last look."""
        seen, self.log = self.log, []
        return seen


class Stub(Log):
    """A connection without a network: answers what it was told to, else nothing."""

    response: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.can: dict[tuple[str, str], Any] = {}

    def on(self, method: str, uri: str, answer: Any) -> Stub:
        self.can[method, uri] = answer
        return self

    def json_request(self, method: str, uri: str, body: Any, params: Any, headers: Any, /) -> Any:
        self.note(method, uri, body, params, headers)
        answer = self.can.get((method, uri))
        if isinstance(answer, Exception):
            raise answer
        return deepcopy(answer)


class Hub:
    """A connection manager without a network."""

    def __init__(self) -> None:
        self.conns: dict[tuple[Any, Any], Stub] = {}
        self.finds: list[tuple[Any, Any]] = []

    def find(self, host: Any, auth: Any, /) -> Any:
        self.finds.append((host, auth))
        return self.conns.setdefault((host, auth), Stub())


class World:
    """Where services are: here, without a network."""

    real = False
    manager: Any = ServiceManager
    """Makes a service manager."""

    def hub(self) -> Any:
        """A connection manager that finds all hosts."""
        return Hub()

    def on(self, *canned: tuple[str, str, Any], servicedef: Any = None) -> tuple[Service, Any]:
        """A harbour, and its connection, which answers these."""
        conn = Stub()
        for method, path, answer in canned:
            conn.on(method, U + path, answer)
        return Service(servicedef or definition("harbor"), "http://q1", connection=conn), conn

    def close(self) -> None:
        """Nothing is open."""


class Site:
    """A real server that answers what it was told to, else 204."""

    def __init__(self, flaky: bool) -> None:
        self.flaky = flaky
        self.turns: Counter[tuple[str, str]] = Counter()
        self.can: dict[tuple[str, str], Any] = {}
        self.faults = 0
        self.server = FaultServer(default=self._answer)

    def _answer(self, exchange: Exchange) -> Step:
        assert exchange.request is not None
        asked = (exchange.request.method, exchange.request.target)
        self.turns[asked] += 1  # for each target by itself, so that threads do not take each other's turns
        if self.flaky and self.turns[asked] % 2:
            self.faults += 1
            return reply(503) if self.faults % 2 else hang_up()
        answer = self._canned(*asked)
        if answer is None:
            return reply(204)
        status = 200
        if isinstance(answer, HTTPError):
            status, answer = answer.http_code, answer.json_data
        return reply(status, json.dumps(answer), {"Content-Type": "application/json"})

    def _canned(self, method: str, target: str) -> Any:
        """What was said for this target, for it without what `params` added, or for its path."""
        for uri in (target, target.rpartition("&")[0], target.partition("?")[0]):
            if (method, uri) in self.can:
                return self.can[method, uri]
        return None


class Wire(Log, Connection):
    """A real connection that remembers what it was asked for, and tells its server what to answer."""

    def __init__(self, site: Site) -> None:
        Log.__init__(self)
        Connection.__init__(self, site.server.url, ANONYMOUS, policy=PATIENT)
        self.site = site

    def on(self, method: str, uri: str, answer: Any) -> Wire:
        self.site.can[method, uri] = answer
        return self

    def json_request(
        self, method: str, uri: str, body: Any = None, params: Any = None, extra_headers: Any = None
    ) -> Any:
        self.note(method, uri, body, params, extra_headers)
        return Connection.json_request(self, method, uri, body, params, extra_headers)


class Sites(ConnectionHook):
    """Knows the hosts by names that only it knows."""

    def __init__(self, sites: dict[str, Site]) -> None:
        self.sites = sites
        self.asked: list[Any] = []

    def connect(self, host: Any, auth: Any) -> Any:
        self.asked.append(host)
        return Wire(self.sites[host]) if host in self.sites else None


class RealWorld(World):
    """Where services are: behind real servers, one for each host, reached through real connections and managers."""

    real = True
    # In these definitions' data one host names the other. A `ConnectionManager` asks for the caller's word then.
    manager: Any = staticmethod(partial(ServiceManager, allow=["http://q2"]))

    def __init__(self, *, flaky: bool) -> None:
        self.sites = {host: Site(flaky) for host in ("http://q1", "http://q2")}
        self._stack = ExitStack()
        for site in self.sites.values():
            self._stack.enter_context(site.server)
        self._managers: list[ConnectionManager] = []

    def hub(self) -> Any:
        manager = ConnectionManager(policy=PATIENT)
        manager.add_conn_hook(Sites(self.sites))
        self._managers.append(manager)
        return manager

    def on(self, *canned: tuple[str, str, Any], servicedef: Any = None) -> tuple[Service, Any]:
        hub = self.hub()
        conn = hub.find("http://q1", None)
        for method, path, answer in canned:
            conn.on(method, U + path, answer)
        return Service(servicedef or definition("harbor"), "http://q1", connection_manager=hub), conn

    def reset(self) -> None:
        """As new, for the next test."""
        for manager in self._managers:
            manager.close()
        self._managers = []
        for site in self.sites.values():
            site.can = {}
            site.turns.clear()

    def close(self) -> None:
        self.reset()
        self._stack.close()


def examples() -> Iterator[tuple[str, list[str]]]:
    """The worked examples: title and lines."""
    for text in (HERE / "examples.txt").read_text().split("\n\n"):
        title, *lines = text.strip().splitlines()
        yield title.removeprefix("# "), lines
