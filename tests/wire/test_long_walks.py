"""Walks of a hundred pages over three hosts: logins wear out, answers fail, a machine dies and comes back."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from reschema import ServiceDefManager
from reschema.servicedef import ServiceDef
from servers.paged import WORN, PagedWorld, Written, paged_world

from sleepwalker import (
    ANONYMOUS,
    Connection,
    ConnectionHook,
    ConnectionManager,
    HTTPUnauthorized,
    Policy,
    RelationError,
    ServiceManager,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.datarep import DataRep
from sleepwalker.drivers.threads.clock import BlockingSystemClock
from sleepwalker.links import follow, pages
from tests.both_drivers import threads_only
from tests.ranges import whole

#: What a walk decides is our own: no release of Python or of a library tells it apart.
pytestmark = [pytest.mark.once, pytest.mark.both_drivers]

LAST = 100
#: The page after which the first machine of a service dies, and the one after which it is back. Of both the successor
#: is at the same service, by a relative link.
OUT = {"orders": (31, 66), "stock": (33, 68)}
DIES, BACK = OUT["orders"]
#: The user that hooks have for whom says nothing of a tenant.
HOUSE = "house"
#: How often a caller tries one step.
MOST_TRIES = 200
#: As standard, but for short waits, and that a machine is given up within one call.
POLICY = Policy(
    timeout={"connect": 1, "read": 5, "attempt": 5, "total": 20},
    retry={"wait_initial": 0.001, "wait_max": 0.002},
    health={"broken_after": 2, "rehook_initial": 10, "rehook_max": 10},
)


class Ahead(BlockingSystemClock):
    """The machine's clock, which a test puts forward where its caller would wait."""

    def __init__(self) -> None:
        self.by = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.by


class LogsIn(ConnectionHook):
    """Logs in at one machine of the service that a name or an address stands for, as the first one or as a spare."""

    def __init__(self, world: PagedWorld, machine: int, policy: Policy, clock: BlockingSystemClock) -> None:
        self.world, self.machine, self.policy, self.clock = world, machine, policy, clock
        self.asked: list[tuple[str, str | None]] = []

    def connect(self, host: str, auth: str | None) -> Any:
        self.asked.append((host, auth))
        service = self.world.known_as(host)
        if service is None or self.machine >= len(service.machines):
            return None
        url = service.machines[self.machine].url
        with Connection(url, ANONYMOUS, policy=self.policy, clock=self.clock) as desk:
            asked = {"tenant": auth or HOUSE, "secret": service.secret}
            token = desk.post("/login", json=asked, idempotent=True).json()["token"]
        return self.connection(url, token)

    def connection(self, url: str, token: str) -> Any:
        return Connection(url, Bearer(token), policy=self.policy, clock=self.clock)


class Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class Caller:
    """Goes on where it was after a login that wore out or a host that cannot be had; nothing else may come through.

    It waits where going on at once was of no use.
    """

    def __init__(self, wait: Callable[[], None], meanwhile: dict[int, Callable[[], None]]) -> None:
        self.wait, self.meanwhile = wait, meanwhile
        self.met: Counter[str] = Counter()

    def walk(self, step: Callable[[], dict[str, Any] | None]) -> list[dict[str, Any]]:
        """The documents that `step` gives one by one, None being the end."""
        got: list[dict[str, Any]] = []
        while (page := self.tried(step)) is not None:
            got.append(page)
            self.meanwhile.get(page["page"], lambda: None)()
        return got

    def tried(self, step: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """What the step gives in the end."""
        for times in count(1):
            try:
                return step()
            except (HTTPUnauthorized, OurConnectionError) as error:
                self.met[type(error).__name__] += 1
                if times == MOST_TRIES:
                    raise
            if times > 1:
                self.wait()
        return None


def each(walk: Iterator[requests.Response]) -> Callable[[], dict[str, Any] | None]:
    """One page of the iterator after the other."""

    def step() -> dict[str, Any] | None:
        page = next(walk, None)
        return None if page is None else document_of(page)

    return step


def document_of(page: requests.Response) -> dict[str, Any]:
    document: dict[str, Any] = page.json()
    return document


class Trip:
    """A world, a manager that knows it, and a caller; a machine that has a spare is out for a third of the pages."""

    def __init__(self, world: PagedWorld) -> None:
        self.world, self.clock = world, Ahead()
        self.manager = ConnectionManager(policy=POLICY, clock=self.clock)
        self.hook, spare = (LogsIn(world, machine, POLICY, self.clock) for machine in (0, 1))
        self.manager.add_conn_hook(self.hook)
        self.manager.add_conn_hook(spare)
        self.first = world.services[world.spared].machines[0]
        dies, back = OUT[world.spared]
        self.caller = Caller(self._wait, {dies: self.first.server.stop, back: self.back})

    def _wait(self) -> None:
        self.clock.by += POLICY.health.rehook_max

    def back(self) -> None:
        self.first.server.start()
        self._wait()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")


@pytest.fixture
def trip(request: pytest.FixtureRequest) -> Iterator[Trip]:
    written, spared = request.param if isinstance(request.param, tuple) else (request.param, "orders")
    with paged_world(LAST, written, spared=spared) as world:
        trip = Trip(world)
        with trip.manager:
            yield trip


def machine_of(world: PagedWorld, page: int) -> str:
    """The machine that is to have served a page."""
    return f"{world.home(page).name}-{1 + (moves_of(world, page) == 1)}"


def moves_of(world: PagedWorld, page: int) -> int:
    """How often the service of a page has moved to another machine before it."""
    service = world.home(page).name
    return sum(page > moved for moved in OUT[service]) if service == world.spared else 0


def all_pages_came(trip: Trip, got: list[dict[str, Any]]) -> None:
    """Once each and in order, from the machines that were there, each with its own host's login, none too many."""
    world = trip.world
    assert [page["page"] for page in got] == list(range(1, LAST + 1))
    assert [one.page for one in world.served()] == list(range(1, LAST + 1))
    assert world.trespasses == []
    assert [page["machine"] for page in got] == [machine_of(world, number) for number in range(1, LAST + 1)]
    needed = logins_needed(world, got)
    assert world.logins == {who: sum(logins) for who, logins in needed.items()}
    worn_out = sum(sum(logins) - len(logins) for logins in needed.values())
    # While a spare stands in, hooks are asked only so often: a login that wears out then may be refused twice.
    while_out = sum(page["machine"].endswith("2") for page in got) // WORN
    assert trip.caller.met.keys() == {"HTTPUnauthorized", "ConnectError"}
    assert trip.caller.met["ConnectError"] == 1
    assert worn_out <= trip.caller.met["HTTPUnauthorized"] <= worn_out + while_out
    for service in world.services:
        assert min(world.faults[service, kind] for kind in ("503", "reset")) > 0


def logins_needed(world: PagedWorld, *walks: list[dict[str, Any]]) -> dict[tuple[str, str], list[int]]:
    """By service and tenant: the logins that their pages take, for each time between moves of the service."""
    taken: Counter[tuple[str, str, int]] = Counter()
    for page in chain(*walks):
        taken[world.home(page["page"]).name, page["tenant"], moves_of(world, page["page"])] += 1
    needed: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (service, tenant, _), times in sorted(taken.items()):
        needed[service, tenant].append(math.ceil(times / WORN))
    return needed


# -- links ---------------------------------------------------------------------------------------


def in_the_header(world: PagedWorld, page: int) -> Written:
    href = world.href(page)
    return Written("application/json", {}, {} if href is None else {"Link": f'<{href}>; rel="next"'})


def in_hal(world: PagedWorld, page: int) -> Written:
    held = {"self": {"href": f"/pages/{page}"}}
    if (href := world.href(page)) is not None:
        held["next"] = {"href": href}
    return Written("application/hal+json", {"_links": held}, {})


def in_hal_beside_its_items(world: PagedWorld, page: int) -> Written:
    """Items have a `next` of their own, which is not the page's."""
    kind, members, _ = in_hal(world, page)
    own = {"self": {"href": f"/items/{page}"}, "next": {"href": f"/items/{page + 1}"}}
    items = [{"number": number, "_links": own} for number in range(3)]
    return Written(kind, members | {"_embedded": {"items": items}}, {})


def in_an_item_of_hal(world: PagedWorld, page: int) -> Written:
    href = world.href(page)
    own = {"self": {"href": f"/items/{page}"}} | ({} if href is None else {"continued": {"href": href}})
    return Written("application/hal+json", {"_embedded": {"items": [{"_links": own}]}}, {})


def in_json_api(world: PagedWorld, page: int) -> Written:
    """Items have a `next` of their own, which is not the page's."""
    own = {"self": f"/items/{page}", "next": f"/items/{page + 1}"}
    links = {"self": f"/pages/{page}", "next": world.href(page)}
    document = {"links": links, "data": [{"type": "item", "id": str(page), "links": own}]}
    return Written("application/vnd.api+json", document, {})


def in_an_item_of_json_api(world: PagedWorld, page: int) -> Written:
    relationships = {"continued": {"links": {"self": f"/items/{page}", "related": world.href(page)}}}
    document = {"data": {"type": "item", "id": str(page), "relationships": relationships}}
    return Written("application/vnd.api+json", document, {})


def in_odata(world: PagedWorld, page: int) -> Written:
    href = world.href(page)
    members: dict[str, Any] = {"value": [page]} | ({} if href is None else {"@odata.nextLink": href})
    return Written("application/json;odata.metadata=minimal", members, {})


def at_the_top(world: PagedWorld, page: int) -> Written:
    return Written("application/json", {"results": [page], "next": world.href(page)}, {})


FORMATS = [
    (in_the_header, "next"),
    (in_hal, "next"),
    (in_hal_beside_its_items, "next"),
    (in_an_item_of_hal, "continued"),
    (in_json_api, "next"),
    (in_an_item_of_json_api, "continued"),
    (in_odata, "@odata.nextLink"),
    (in_odata, "next"),
    (at_the_top, "next"),
]


def formats(here: Sequence[int], in_ci: Sequence[int]) -> pytest.MarkDecorator:
    """Each format is walked in one way at least. tests/unit/test_link_shapes.py tells where links are found."""
    return pytest.mark.parametrize(
        ("trip", "relation"),
        [FORMATS[at] for at in here] + [whole(*FORMATS[at]) for at in in_ci],
        indirect=["trip"],
        ids=[f"{relation} {written.__name__}" for written, relation in (FORMATS[at] for at in (*here, *in_ci))],
    )


@formats([0, 5], [1, 3])
def test_a_walk_comes_to_all_pages_once_each_with_each_hosts_own_login(trip: Trip, relation: str) -> None:
    """The tenant stays who it was at the host that the walk began with; others are asked as the hook has it."""
    first = trip.manager.find("orders", "acme").get("/pages/1")
    got = trip.caller.walk(each(pages(first, relation, manager=trip.manager)))
    all_pages_came(trip, got)
    expected = ["acme" if trip.world.home(number).name == "orders" else HOUSE for number in range(1, LAST + 1)]
    assert [page["tenant"] for page in got] == expected
    assert {host for host, auth in trip.hook.asked if auth == "acme"} == {"orders"}


@formats([1], [0, 4])
def test_a_walk_is_the_same_tenant_at_all_hosts_that_may_know_it(trip: Trip, relation: str) -> None:
    allow = [trip.world.services[name].url for name in ("stock", "bills")]
    first = trip.manager.find("orders", "acme").get("/pages/1")
    got = trip.caller.walk(each(pages(first, relation, manager=trip.manager, auth="acme", allow=allow)))
    all_pages_came(trip, got)
    assert {page["tenant"] for page in got} == {"acme"}
    assert set(trip.hook.asked) == {("orders", "acme"), *((url, "acme") for url in allow)}


@formats([6], [2, 7, 8])
def test_a_loop_over_follow_comes_to_all_pages_as_well(trip: Trip, relation: str) -> None:
    at: requests.Response | None = None

    def step() -> dict[str, Any] | None:
        nonlocal at
        if at is None:
            at = trip.manager.find("orders", "acme").get("/pages/1")
        else:
            try:
                at = follow(at, relation, manager=trip.manager)
            except RelationError:
                return None
        return document_of(at)

    got = trip.caller.walk(step)
    all_pages_came(trip, got)
    expected = ["acme" if trip.world.home(number).name == "orders" else HOUSE for number in range(1, LAST + 1)]
    assert [page["tenant"] for page in got] == expected


@pytest.mark.parametrize(
    "trip", [(in_the_header, "stock"), whole((at_the_top, "stock"))], indirect=True, ids=["header", "top"]
)
def test_a_host_on_the_way_may_be_out_for_a_time_as_well(trip: Trip) -> None:
    first = trip.manager.find("orders", "acme").get("/pages/1")
    got = trip.caller.walk(each(pages(first, manager=trip.manager)))
    all_pages_came(trip, got)
    assert {page["tenant"] for page in got if trip.world.home(page["page"]).name == "stock"} == {HOUSE}


@pytest.mark.parametrize("trip", [in_the_header, whole(in_hal)], indirect=True)
def test_a_walk_that_begins_at_a_stand_in_goes_home_as_who_it_was(trip: Trip) -> None:
    address = trip.world.services["orders"].url
    trip.manager.find(address, "acme")
    trip.first.server.stop()
    trip.caller.meanwhile = {BACK: trip.back}
    start = trip.caller.tried(lambda: {"answer": trip.manager.find(address, "acme").get("/pages/1")})
    assert start is not None
    got = trip.caller.walk(each(pages(start["answer"], manager=trip.manager)))
    assert [page["page"] for page in got] == list(range(1, LAST + 1))
    homes = [page for page in got if trip.world.home(page["page"]).name == "orders"]
    assert {page["tenant"] for page in homes} == {"acme"}
    assert {page["machine"] for page in homes if page["page"] <= BACK} == {"orders-2"}
    assert {page["machine"] for page in homes if page["page"] > BACK} == {"orders-1"}
    assert {host for host, auth in trip.hook.asked if auth == "acme"} == {address}
    assert trip.world.trespasses == []


class Client:
    """As hooks of version 2.0's users give: a client of their own, that knows nothing of policies and managers."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.response: requests.Response | None = None

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        self.response = self.session.request(method, urljoin(self.url, url), **options)
        return self.response

    def close(self) -> None:
        self.session.close()


class GivesClients(LogsIn):
    def connection(self, url: str, token: str) -> Client:
        return Client(url, token)


@threads_only("clients that block")
@pytest.mark.parametrize("written", [in_the_header, whole(in_odata)])
def test_a_walk_through_guarded_clients_comes_to_all_pages_as_well(
    written: Callable[[PagedWorld, int], Written],
) -> None:
    """No machine dies here: clients do not say where they go, so for them there is no way back."""
    with paged_world(LAST, written) as world, ConnectionManager(policy=POLICY, guard=True) as manager:
        manager.add_conn_hook(GivesClients(world, 0, POLICY, BlockingSystemClock()))
        caller = Caller(lambda: time.sleep(0.01), {})
        client = manager.find("orders", "acme")
        client.request("GET", "/pages/1")
        got = caller.walk(each(pages(client, manager=manager)))
        assert [page["page"] for page in got] == list(range(1, LAST + 1))
        assert world.trespasses == []
        assert world.logins == {("orders", "acme"): 4, ("stock", HOUSE): 4, ("bills", HOUSE): 2}
        assert caller.met == {"HTTPUnauthorized": 7}


# -- services ------------------------------------------------------------------------------------

BOOK, ANNEX = "http://specs.example.net/book/1.0", "http://specs.example.net/annex/1.0"
_DEFINITION = """
$schema: 'http://support.riverbed.com/apis/service_def/2.2'
id: '{id}'
provider: acme
name: {name}
version: '1.0'
resources:
  page:
    type: object
    properties: {{page: {{type: integer}}, tenant: {{type: string}}, machine: {{type: string}},
      relation: {{type: string}}, following: {{type: integer}}, where: {{type: string}}}}
    relations:
      beside: {{resource: '#/resources/page', vars: {{id: '0/following'}}}}
      onward: {{resource: '#/resources/page', vars: {{id: '0/following', $host: '0/where'}}}}
      across: {{resource: '{other}#/resources/page', vars: {{id: '0/following', $host: '0/where'}}}}
    links:
      self: {{path: '$/pages/{{id}}'}}
      get: {{method: GET, response: {{$ref: '#/resources/page'}}}}
"""


def related(named: Callable[[PagedWorld, int], str]) -> Callable[[PagedWorld, int], Written]:
    """Pages as services have them: `orders` is of the one definition, the others are of the other."""

    def write(world: PagedWorld, page: int) -> Written:
        if page == world.last:
            return Written("application/json", {}, {})
        here, there = world.home(page), world.home(page + 1)
        members: dict[str, Any] = {"following": page + 1}
        if here is there:
            members["relation"] = "beside"
        else:
            crosses = "orders" in (here.name, there.name)
            members |= {"relation": "across" if crosses else "onward", "where": named(world, page + 1)}
        return Written("application/json", members, {})

    return write


def by_name(world: PagedWorld, page: int) -> str:
    return world.home(page).name


def by_address(world: PagedWorld, page: int) -> str:
    return world.home(page).url


def definitions() -> ServiceDefManager:
    manager = ServiceDefManager()
    for name, id, other in (("book", BOOK, ANNEX), ("annex", ANNEX, BOOK)):
        manager.add(ServiceDef.create_from_text(_DEFINITION.format(name=name, id=id, other=other), format="yaml"))
    return manager


def relations_of(services: ServiceManager) -> Callable[[], dict[str, Any] | None]:
    """One page after the other, by the relation that each has."""
    at: DataRep = services.find_by_id("orders", BOOK, auth="acme").bind("page", id=1)
    here = False

    def step() -> dict[str, Any] | None:
        nonlocal at, here
        if here:
            if "relation" not in at.data:
                return None
            at, here = at.follow(at.data["relation"]), False
        data: dict[str, Any] = at.pull().data
        here = True
        return data

    return step


@threads_only("services block")
@pytest.mark.parametrize(
    "trip", [(related(by_name), spared) for spared in OUT], indirect=True, ids=[f"{spared} moves" for spared in OUT]
)
def test_relations_come_to_all_pages_as_one_tenant_at_all_hosts_that_may_know_it(trip: Trip) -> None:
    services = ServiceManager(definitions(), trip.manager, allow=["orders", "stock", "bills"])
    got = trip.caller.walk(relations_of(services))
    all_pages_came(trip, got)
    assert {page["tenant"] for page in got} == {"acme"}
    assert set(trip.hook.asked) == {(name, "acme") for name in ("orders", "stock", "bills")}


@threads_only("services block")
@pytest.mark.parametrize(
    "trip", [(related(by_address), spared) for spared in OUT], indirect=True, ids=[f"{spared} moves" for spared in OUT]
)
def test_relations_come_to_all_pages_with_what_the_hooks_have_for_hosts_that_data_names(trip: Trip) -> None:
    got = trip.caller.walk(relations_of(ServiceManager(definitions(), trip.manager)))
    all_pages_came(trip, got)
    assert {page["tenant"] for page in got if trip.world.home(page["page"]).name != "orders"} == {HOUSE}
    assert {host for host, auth in trip.hook.asked if auth == "acme"} == {"orders"}


# -- threads -------------------------------------------------------------------------------------


def test_walks_of_two_tenants_at_one_time_see_their_own_pages_only() -> None:
    policy = POLICY.replace(
        # What four callers meet at one time opens the circuit, too.
        breaker={"consecutive_for": 0, "open_for": 0.05, "open_max": 0.05, "ramp": 0},
        health={"broken_after": 2, "rehook_initial": 0.05, "rehook_max": 0.05},
    )
    tenants = ("acme", "bolt", "acme", "bolt")
    together = threading.Barrier(len(tenants) + 1, timeout=20)

    def meet() -> None:
        together.wait()  # what happens then is done between this
        together.wait()  # and this

    def begun(manager: ConnectionManager, tenant: str, allow: list[str]) -> Callable[[], dict[str, Any] | None]:
        walk: Callable[[], dict[str, Any] | None] | None = None

        def step() -> dict[str, Any] | None:
            nonlocal walk
            if walk is None:
                first = manager.find("orders", tenant).get("/pages/1")
                walk = each(pages(first, manager=manager, auth=tenant, allow=allow))
            return walk()

        return step

    with paged_world(LAST, in_hal) as world, ConnectionManager(policy=policy) as manager:
        hook, spare = (LogsIn(world, machine, policy, BlockingSystemClock()) for machine in (0, 1))
        manager.add_conn_hook(hook)
        manager.add_conn_hook(spare)
        allow = [world.services[name].url for name in ("stock", "bills")]
        first = world.services["orders"].machines[0]

        def walk(tenant: str) -> list[dict[str, Any]]:
            met = 0

            def met_once_more() -> None:
                nonlocal met
                met += 1
                meet()

            caller = Caller(lambda: time.sleep(0.01), {DIES: met_once_more, BACK: met_once_more})
            try:
                return caller.walk(begun(manager, tenant, allow))
            finally:
                if met < 2:
                    together.abort()  # so that no thread waits for one that failed

        with ThreadPoolExecutor(len(tenants)) as pool:
            walks = [pool.submit(walk, tenant) for tenant in tenants]
            try:
                together.wait()
                first.server.stop()
                together.wait()
                together.wait()
                first.server.start()
                end = time.monotonic() + 20
                while {manager.find("orders", tenant).hostname for tenant in tenants} != {first.url}:
                    assert time.monotonic() < end, "the manager did not come home"
                    time.sleep(0.01)
                together.wait()
            except threading.BrokenBarrierError:
                pass  # the walk that ended too early says why
            except BaseException:
                together.abort()
                raise
            got = [walk.result(60) for walk in walks]
    for tenant, seen in zip(tenants, got, strict=True):
        assert [page["page"] for page in seen] == list(range(1, LAST + 1))
        assert {page["tenant"] for page in seen} == {tenant}
        assert {page["machine"] for page in seen if page["page"] <= DIES} == {"orders-1", "stock-1", "bills-1"}
        assert {page["machine"] for page in seen if DIES < page["page"] <= BACK} == {"orders-2", "stock-1", "bills-1"}
        assert {page["machine"] for page in seen if page["page"] > BACK} == {"orders-1", "stock-1", "bills-1"}
    assert world.trespasses == []
    needed = {who: sum(logins) for who, logins in logins_needed(world, *got).items()}
    assert world.logins.keys() == needed.keys()
    for (service, tenant), logins in world.logins.items():
        # While the first machine of `orders` is out, the spare is logged in at each time that it is asked for.
        asked = spare.asked.count((service, tenant)) if service == "orders" else 0
        assert needed[service, tenant] <= logins <= needed[service, tenant] + asked
