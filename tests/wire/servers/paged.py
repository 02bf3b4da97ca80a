"""One long list of pages over three services: each wants a login of its own, tokens wear out, answers fail by count."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .fault import Exchange, FaultServer, Step
from .steps import json_reply, reply, reset

#: The service of each page, over and over: two steps within a host, and three from one host to another.
ROUND = ("orders", "orders", "stock", "stock", "bills")
#: Pages that a token is good for, and answers of a machine of which the last is a fault.
WORN, FAULTY = 10, 10


class Answer(NamedTuple):
    """One response to a request for a page."""

    service: str
    machine: str
    page: int
    token: str | None
    status: int
    """0 for a reset."""


class Written(NamedTuple):
    """A page as it goes out: the document's type and members, and headers."""

    kind: str
    members: dict[str, Any]
    headers: dict[str, str]


@dataclass
class Token:
    """What a login gave."""

    service: str
    tenant: str
    left: int = WORN


@dataclass(eq=False)
class Machine:
    """One machine of a service. Every tenth of its answers is a fault: a 503 or, turn about, a reset."""

    name: str
    service: PagedService
    answers: int = 0
    server: FaultServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = FaultServer(default=self._answer)

    @property
    def url(self) -> str:
        return self.server.url

    def _answer(self, exchange: Exchange) -> Step:
        assert exchange.request is not None
        world, request = self.service.world, exchange.request
        with world.lock:
            self.answers += 1
            if self.answers % FAULTY == 0:
                kind = "503" if self.answers // FAULTY % 2 else "reset"
                world.faults[self.service.name, kind] += 1
                return reply(503) if kind == "503" else reset()
            if request.path == "/login":
                return self._login(json.loads(request.body))
            said = request.header("Authorization")
            token = None if said is None else said.removeprefix("Bearer ")
            page = int(request.path.rpartition("/")[2])
            step, status = self._page(page, token)
            world.answers.append(Answer(self.service.name, self.name, page, token, status))
            return step

    def _login(self, asked: dict[str, str]) -> Step:
        world, service = self.service.world, self.service
        if asked["secret"] != service.secret:
            world.trespasses.append(f"a login at {service.name} with the secret {asked['secret']}")
            return reply(403)
        world.logins[service.name, asked["tenant"]] += 1
        token = f"{service.name}-{next(world.numbers)}"
        world.tokens[token] = Token(service.name, asked["tenant"])
        return json_reply({"token": token})

    def _page(self, page: int, token: str | None) -> tuple[Step, int]:
        world, service = self.service.world, self.service
        known = world.tokens.get(token or "")
        if known is None or known.service != service.name:
            world.trespasses.append(f"page {page} of {service.name} with the token {token}")
            return reply(403), 403
        if service is not world.home(page):
            world.trespasses.append(f"page {page} at {service.name}")
            return reply(404), 404
        if known.left == 0:
            return json_reply({"error_text": "this token is worn out"}, 401), 401
        known.left -= 1
        document = {"page": page, "tenant": known.tenant, "machine": self.name}
        kind, members, headers = world.write(page)
        return reply(200, json.dumps(document | members), {"Content-Type": kind, **headers}), 200


class PagedService:
    """A service: its name, the secret that a login needs, and its machines, of which the first is its address."""

    def __init__(self, world: PagedWorld, name: str, machines: int = 1) -> None:
        self.world, self.name, self.secret = world, name, f"{name}-secret"
        self.machines = [Machine(f"{name}-{number}", self) for number in range(1, machines + 1)]

    @property
    def url(self) -> str:
        return self.machines[0].url


class PagedWorld:
    """Three services with the pages 1 to `last`; the one called `spared` has a second machine.

    `write` says how a page tells where to go on.
    """

    def __init__(self, last: int, write: Callable[[PagedWorld, int], Written], spared: str) -> None:
        self.last = last
        self.spared = spared
        self._write = write
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)
        self.services = {name: PagedService(self, name, machines=1 + (name == spared)) for name in dict.fromkeys(ROUND)}
        self.tokens: dict[str, Token] = {}
        self.logins: Counter[tuple[str, str]] = Counter()
        """How many there were, by service and tenant."""
        self.answers: list[Answer] = []
        """All answers that were meant, those about pages only."""
        self.faults: Counter[tuple[str, str]] = Counter()
        """How many there were, by service and kind."""
        self.trespasses: list[str] = []
        """What was sent to a service that it is not for."""

    def write(self, page: int) -> Written:
        return self._write(self, page)

    def home(self, page: int) -> PagedService:
        """The service that has a page."""
        return self.services[ROUND[(page - 1) % len(ROUND)]]

    def href(self, page: int) -> str | None:
        """Where a page's successor is: relative within a host, else absolute; None after the last."""
        if page >= self.last:
            return None
        here, there = self.home(page), self.home(page + 1)
        return f"./{page + 1}" if here is there else f"{there.url}/pages/{page + 1}"

    def known_as(self, host: str) -> PagedService | None:
        """The service of this name or address; no other address of a machine is known to anybody."""
        return next((one for one in self.services.values() if host in (one.name, one.url)), None)

    def served(self, service: str | None = None) -> list[Answer]:
        """The pages that were handed out, in order."""
        return [one for one in self.answers if one.status == 200 and service in (None, one.service)]


@contextmanager
def paged_world(
    last: int, write: Callable[[PagedWorld, int], Written], *, spared: str = ROUND[0]
) -> Iterator[PagedWorld]:
    """The three services, running."""
    world = PagedWorld(last, write, spared)
    with ExitStack() as stack:
        for service in world.services.values():
            for machine in service.machines:
                stack.enter_context(machine.server)
        yield world
