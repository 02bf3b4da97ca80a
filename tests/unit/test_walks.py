"""Walks with a manager: each step asks it for the pair that the walk knows for that host, and for no other."""

from __future__ import annotations

import copy
import gc
import json
import pickle
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from requests.auth import HTTPBasicAuth

from sleepwalker import ANONYMOUS, Connection, HTTPError, HTTPUnauthorized, LinkError, Policy, URLError
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection.came_from import CameFrom, came_from, note_came_from
from sleepwalker.links import Link, follow, pages
from tests.unit.manager_driver import A, B, Bed, Hook, Thing, in_thread

SECRET = "canary-60be"
C = "https://c.test"


class Net:
    """Hosts whose pages lead on by a `next` each, and the connections to them."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.links: dict[str, str] = {}
        """The target of each page's link, by the page's URL; for all others it is the next number."""
        self.sent: list[tuple[str, Any]] = []
        """The URL of each request, and whose it was."""
        self.troubles: dict[str, list[Exception]] = {}

    def page(self, url: str) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url = 200, url
        head, _, number = url.rpartition("/")
        target = self.links.get(url, f"/{int(number.partition('?')[0] or 0) + 1}")
        response._content = json.dumps({"links": {"next": target}, "at": head}).encode()
        response.headers["Content-Type"] = "application/json"
        return response


class Told(Connection):
    """A connection that is asked nothing over the network. `who` is whose it is."""

    def __init__(self, net: Net, url: str, who: Any) -> None:
        super().__init__(url, ANONYMOUS, clock=net.bed.clock)
        self.net, self.who = net, who

    def request(self, method: str, uri: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        if self.closed:
            raise OurConnectionError("this connection is closed")
        url = uri if "://" in uri else f"{self.origin}{uri}"
        assert url.startswith(f"{self.origin}/")
        if troubles := self.net.troubles.get(self.origin.text):
            trouble = troubles.pop(0)
            self.usage.unauthorized = isinstance(trouble, HTTPUnauthorized)
            self.net.bed.clock.advance(2)  # so that the hooks may be asked
            raise trouble
        self.net.sent.append((url, self.who))
        self.usage.accepted = True
        response = self.net.page(url)
        note_came_from(response, self._part.came_from)
        return response


@pytest.fixture
def bed() -> Bed:
    return Bed(policy=Policy(health={"rehook_initial": 1, "rehook_max": 1}))


@pytest.fixture
def net(bed: Bed) -> Net:
    net = Net(bed)
    bed.hook.act = lambda host, auth: Told(net, host, auth)
    return net


def take(walk: Iterator[requests.Response], count: int) -> list[str]:
    return [str(next(walk).url) for _ in range(count)]


def unauthorized() -> HTTPUnauthorized:
    response = requests.Response()
    response.status_code = 401
    return HTTPUnauthorized(response)


# -- as whom --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", [None, "acme", HTTPBasicAuth("user", SECRET), ("user", SECRET), ["a", "list"]])
def test_each_step_asks_for_the_pair_that_the_first_answer_was_found_by(bed: Bed, net: Net, auth: Any) -> None:
    first = bed.manager.find(A, auth).get("/0")
    walk = pages(first, manager=bed.manager)
    take(walk, 2)
    bed.manager.evict(A)
    take(walk, 1)
    bed.clock.advance(2)
    bed.unauthorized(bed.manager.find(A, auth))
    take(walk, 1)
    assert bed.hook.asked == [(A, auth)] * 3
    assert [who for _, who in net.sent] == [auth] * 4


def test_a_401_is_raised_once_and_the_next_try_logs_in_again(bed: Bed, net: Net) -> None:
    walk = pages(bed.manager.find(A, "acme").get("/0"), manager=bed.manager)
    take(walk, 2)
    net.troubles[A] = [unauthorized()]
    with pytest.raises(HTTPUnauthorized):
        next(walk)
    assert len(bed.hook.asked) == 1  # and nothing was sent a second time behind the caller's back
    assert take(walk, 2) == [f"{A}/2", f"{A}/3"]
    assert bed.hook.asked == [(A, "acme")] * 2


def test_an_answer_whose_connection_was_given_up_and_is_gone_still_knows_its_pair(bed: Bed, net: Net) -> None:
    first = bed.manager.find(A, "acme").get("/0")
    bed.manager.evict(A)
    gc.collect()
    assert came_from(first).connection is None
    follow(first, "next", manager=bed.manager, headers={"X-Request-Id": "7"}, params={"a": 1})
    assert bed.hook.asked == [(A, "acme")] * 2


def test_a_name_that_only_a_hook_understands_is_asked_for_again(bed: Bed, net: Net) -> None:
    places = [A, B]
    bed.hook.act = lambda host, auth: Told(net, places[0], auth) if host == "billing" else None
    walk = pages(bed.manager.find("billing", "acme").get("/0"), manager=bed.manager, params={"key": SECRET})
    take(walk, 2)
    bed.manager.evict("billing")
    places.pop(0)
    assert take(walk, 2) == [f"{B}/2", f"{B}/3"]
    bed.manager.evict("billing")
    places[0] = A
    assert take(walk, 2) == [f"{A}/4", f"{A}/5"]
    assert bed.hook.asked == [("billing", "acme")] * 3


def test_a_walk_that_began_on_a_stand_in_goes_home_with_its_host(bed: Bed, net: Net) -> None:
    """What the caller passes is for both: to the caller they are one host."""
    there = [B]

    def hooked(host: str, auth: Any) -> Any:
        if host != A:
            return None
        return Told(net, there[0], auth)

    bed.hook.act = hooked
    walk = pages(bed.manager.find(A, "acme").get("/0"), manager=bed.manager, params={"key": "k"})
    net.links[f"{B}/1"] = f"{A}/2"  # the service's links have its own name, whichever machine responds
    assert take(walk, 3) == [f"{B}/0", f"{B}/1", f"{B}/2"]
    bed.manager.evict(A)
    there[0] = A
    assert take(walk, 2) == [f"{A}/3", f"{A}/4"]
    net.links[f"{A}/4"] = f"{B}/5"
    assert take(walk, 2) == [f"{A}/5", f"{A}/6"]
    assert {who for _, who in net.sent} == {"acme"}


def test_a_walk_that_began_on_a_stand_in_of_a_name_knows_the_first_machine(bed: Bed, net: Net) -> None:
    """Another host's link to it leads home, and not to a stranger with another tenant's data."""
    ill: list[str] = []

    def first_choice(host: str, auth: Any) -> Any:
        if A in ill and host in ("billing", A):
            raise OurConnectionError("refused")
        return Told(net, A, auth) if host == "billing" else Told(net, host, auth) if host == C else None

    bed.hook.act = first_choice
    bed.manager.add_conn_hook(Hook(lambda host, auth: Told(net, B, auth) if host == "billing" else None))
    bed.manager.find("billing", "acme")
    bed.clock.advance(2)
    bed.unreachable(A)
    ill.append(A)
    net.links[f"{B}/1"], net.links[f"{C}/2"] = f"{C}/2", f"{A}/3"
    walk = pages(bed.manager.find("billing", "acme").get("/0"), manager=bed.manager)
    assert take(walk, 4) == [f"{B}/0", f"{B}/1", f"{C}/2", f"{B}/3"]
    assert [who for _, who in net.sent] == ["acme", "acme", None, "acme"]


def test_a_walk_that_comes_back_is_who_it_was(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/1": f"{B}/2", f"{B}/3": f"{A}/4", f"{A}/4": f"{B}/5", f"{B}/5": f"{C}/6", f"{C}/6": f"{A}/7"}
    walk = pages(bed.manager.find(A, "acme").get("/0"), manager=bed.manager)
    take(walk, 8)
    assert net.sent == [
        (f"{A}/0", "acme"),
        (f"{A}/1", "acme"),
        (f"{B}/2", None),
        (f"{B}/3", None),
        (f"{A}/4", "acme"),
        (f"{B}/5", None),
        (f"{C}/6", None),
        (f"{A}/7", "acme"),
    ]


def test_a_host_that_is_allowed_is_found_as_the_one_where_the_walk_began(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/0": f"{B}/1", f"{B}/1": f"{C}/2", f"{C}/2": f"{B}/3", f"{B}/3": f"{A}/4"}
    walk = pages(bed.manager.find(A, "acme").get("/0"), manager=bed.manager, allow=[B])
    take(walk, 5)
    assert [who for _, who in net.sent] == ["acme", "acme", None, "acme", "acme"]


def test_a_host_stays_who_it_was_when_a_later_step_does_not_allow_it(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/0": f"{B}/1", f"{B}/1": f"{A}/2", f"{A}/2": f"{B}/3"}
    answer = bed.manager.find(A, "acme").get("/0")
    for allow in ([B], [], []):
        answer = follow(answer, "next", manager=bed.manager, allow=allow)
    assert [who for _, who in net.sent] == ["acme", "acme", "acme", "acme"]


def test_an_auth_that_the_caller_passes_counts_at_home_and_where_it_is_allowed(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/1": f"{B}/2", f"{B}/2": f"{C}/3", f"{C}/3": f"{A}/4"}
    walk = pages(bed.manager.find(A, "acme").get("/0"), manager=bed.manager, auth="other", allow=[C])
    take(walk, 5)
    assert [who for _, who in net.sent] == ["acme", "other", None, "other", "other"]
    answer = follow(bed.manager.find(A, "acme").get("/7"), "next", manager=bed.manager, auth="other")
    follow(answer, "next", manager=bed.manager)
    assert [who for _, who in net.sent][-2:] == ["other", "other"]


def test_an_auth_that_the_caller_passes_counts_for_all_places_of_a_host(bed: Bed, net: Net) -> None:
    """For the one that stands in, too, when the walk comes back to that."""
    bed.hook.act = lambda host, auth: Told(net, B if host == A else host, auth)
    net.links = {f"{B}/0": f"{A}/1", f"{B}/1": f"{C}/2", f"{C}/2": f"{B}/3"}
    answer = follow(bed.manager.find(A, "acme").get("/0"), "next", manager=bed.manager, auth="other")
    for _ in range(2):
        answer = follow(answer, "next", manager=bed.manager)
    assert net.sent == [(f"{B}/0", "acme"), (f"{B}/1", "other"), (f"{C}/2", None), (f"{B}/3", "other")]


def test_an_error_says_that_the_auth_of_the_first_host_was_not_passed_on(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/0": f"{B}/1"}
    first = bed.manager.find(A, ("user", SECRET)).get("/0")
    net.troubles[B] = [unauthorized(), unauthorized()]
    with pytest.raises(HTTPUnauthorized) as caught:
        follow(first, "next", manager=bed.manager)
    (note,) = caught.value.__notes__
    assert note.startswith(f"the auth of {A} was not sent to {B}")
    assert SECRET not in note
    with pytest.raises(HTTPUnauthorized) as caught:
        follow(first, "next", manager=bed.manager, allow=[B])
    assert not hasattr(caught.value, "__notes__")


def test_that_a_host_is_anonymous_is_not_handed_on_to_another(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/0": f"{B}/1"}
    follow(bed.manager.find(A, ANONYMOUS).get("/0"), "next", manager=bed.manager)
    assert bed.hook.asked == [(A, ANONYMOUS), (B, None)]


def test_branches_of_a_walk_know_nothing_of_each_other(bed: Bed, net: Net) -> None:
    first = bed.manager.find(A, "acme").get("/0")
    net.links = {f"{A}/1": f"{B}/2", f"{B}/2": f"{A}/3"}
    second = follow(first, "next", manager=bed.manager)
    follow(second, "next", manager=bed.manager, auth="one", allow=[B])
    back = follow(follow(second, "next", manager=bed.manager), "next", manager=bed.manager)
    assert [who for _, who in net.sent] == ["acme", "acme", "one", None, "acme"]
    assert back.url == f"{A}/3"


def test_the_answer_that_an_error_holds_is_one_of_the_walk(bed: Bed, net: Net) -> None:
    """Its links are those of the other host, and what the caller passes is not for that."""
    net.links = {f"{A}/0": f"{B}/1", f"{B}/9": f"{A}/3"}
    failure = HTTPError.of(net.page(f"{B}/8"))
    net.troubles[B] = [failure]
    with pytest.raises(HTTPError):
        follow(bed.manager.find(A, "acme").get("/0"), "next", manager=bed.manager)
    assert failure.response is not None
    with pytest.raises(URLError, match="params="):
        follow(failure.response, "next", manager=bed.manager, params={"key": SECRET})
    page = follow(failure.response, "next", manager=bed.manager)
    assert follow(page, "next", manager=bed.manager, params={"key": "1"}).url == f"{A}/3"
    assert [who for _, who in net.sent] == ["acme", None, "acme"]


def test_a_hostile_page_has_each_host_asked_with_its_own_credentials_and_no_others(bed: Bed, net: Net) -> None:
    """It names hosts that the walk has been at, one that stands in for another, and strangers."""
    stands_in = "https://stand-in.test"
    bed.hook.act = lambda host, auth: Told(net, stands_in if host == B else host, (host, auth))
    net.links = {f"{A}/0": f"{B}/1", f"{stands_in}/1": f"{C}/2"}
    page = bed.manager.find(A, "acme").get("/0")
    for _ in range(2):
        page = follow(page, "next", manager=bed.manager)
    assert page.url == f"{C}/2"
    for target, who in [
        (f"{stands_in}/3", (B, None)),
        (f"{B}/3", (B, None)),
        (f"{A}/3", (A, "acme")),
        (f"{C}/3", (C, None)),
        ("https://d.test/3", ("https://d.test", None)),
    ]:
        link = Link("next", target, str(page.url), "links")
        came = follow(page, link, manager=bed.manager)
        assert net.sent[-1][1] == who
        if who[0] != A:
            with pytest.raises(URLError, match="params="):
                follow(page, link, manager=bed.manager, params={"key": SECRET})
        assert came.url in (target, target.replace(B, stands_in))


def test_a_host_that_leads_to_where_the_walk_began_does_not_get_what_is_for_that(bed: Bed, net: Net) -> None:
    """A hook may connect another name to the same place, with credentials of its own."""
    net.links = {f"{A}/0": f"{B}/1", f"{A}/2": f"{C}/3", f"{C}/3": f"{A}/4"}
    bed.hook.act = lambda host, auth: Told(net, A if host == B else host, (host, auth))
    own = Told(net, A, "own")
    walk = pages(own.get("/0"), manager=bed.manager)
    take(walk, 5)
    assert [who for _, who in net.sent] == ["own", (B, None), (B, None), (C, None), "own"]
    alias = follow(own.get("/0"), "next", manager=bed.manager)
    with pytest.raises(URLError, match="params="):
        follow(alias, "next", manager=bed.manager, params={"key": SECRET})


def test_a_page_of_a_host_that_leads_to_where_the_walk_began_is_gone_on_from_as_that_host(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/0": f"{B}/1", f"{A}/2": f"{A}/3"}
    bed.hook.act = lambda host, auth: Told(net, A, (host, auth))
    walk = pages(bed.manager.find(A, "acme").get("/0"), manager=bed.manager)
    take(walk, 4)
    assert [who for _, who in net.sent] == [(A, "acme"), (B, None), (B, None), (B, None)]


def test_a_walk_over_ever_new_hosts_remembers_only_so_many_of_them_and_its_own(bed: Bed, net: Net) -> None:
    count = 400
    for number in range(count):
        net.links[f"https://h{number}.test/{number}"] = f"https://h{number + 1}.test/{number + 1}"
    net.links[f"https://h{count}.test/{count}"] = f"{A}/1000"
    net.links[f"{A}/0"] = "/1"
    net.links[f"{A}/1"] = "https://h0.test/0"
    answer = follow(bed.manager.find(A, "acme").get("/0"), "next", manager=bed.manager, auth="other")
    for _ in range(count + 2):
        answer = follow(answer, "next", manager=bed.manager)
    assert net.sent[-1] == (f"{A}/1000", "other")
    assert len(answer._sleepwalker_trail.known) <= 256  # type: ignore[attr-defined]


# -- connections that are held for several pairs, or for none ---------------------------------------------


def test_a_connection_of_several_tenants_goes_on_while_it_is_held_and_is_no_guess_afterwards(
    bed: Bed, net: Net
) -> None:
    shared = Told(net, A, "shared")
    bed.hook.act = lambda host, auth: shared
    first = bed.manager.find(A, "acme").get("/0")
    assert bed.manager.find(A, "other") is shared
    walk = pages(first, manager=bed.manager)
    take(walk, 2)
    bed.manager.evict(A, "acme")
    take(walk, 1)
    bed.hook.act = lambda host, auth: Told(net, host, auth)
    bed.manager.evict(A)
    asked = len(bed.hook.asked)
    for _ in range(2):
        with pytest.raises(URLError, match=r"held for several credentials and no longer exists.*pass auth="):
            next(walk)
    assert len(bed.hook.asked) == asked
    follow(first, "next", manager=bed.manager, auth="other")
    follow(first, "next", manager=bed.manager, auth="a third")
    assert [who for _, who in net.sent] == ["shared"] * 3 + ["other", "a third"]


def test_a_stand_in_of_several_tenants_is_no_guess_by_its_hosts_own_name(bed: Bed, net: Net) -> None:
    shared = Told(net, B, "shared")
    bed.hook.act = lambda host, auth: shared
    first = bed.manager.find(A, "acme").get("/0")
    bed.manager.find(A, "other")
    bed.manager.evict(A)
    net.links[f"{B}/0"] = f"{A}/1"
    with pytest.raises(URLError, match="pass auth="):
        follow(first, "next", manager=bed.manager)


def shared_by_names(bed: Bed, net: Net) -> dict[str, str]:
    """Hooks that know hosts by name, and have one connection for each place; returns where the names are."""
    places = {"orders": A, "stock": A}
    conns: dict[str, Connection] = {}

    def hooked(host: str, auth: Any) -> Connection:
        conn = conns.get(places[host])
        if conn is None or conn.closed or conn.usage.retired:
            conn = conns[places[host]] = Told(net, places[host], (host, auth))
        return conn

    bed.hook.act = hooked
    return places


def test_a_walk_does_not_go_on_at_another_host_that_was_in_the_same_place(bed: Bed, net: Net) -> None:
    places = shared_by_names(bed, net)
    bed.manager.find("orders", "acme")
    walk = pages(bed.manager.find("stock", "acme").get("/0"), manager=bed.manager)
    take(walk, 2)
    places["orders"] = B
    bed.manager.evict("orders")
    bed.manager.evict("stock")
    assert take(walk, 2) == [f"{A}/2", f"{A}/3"]
    places["stock"] = C
    bed.manager.evict("stock")
    with pytest.raises(URLError, match=r"hosts \('orders', 'stock'\) and no longer exists.*different addresses"):
        next(walk)
    bed.manager.evict("stock")
    places["stock"] = B
    assert take(walk, 1) == [f"{B}/4"]  # wherever it was meant to be, it is there


def test_a_host_in_the_same_place_that_cannot_be_had_now_may_be_the_one(bed: Bed, net: Net) -> None:
    places = shared_by_names(bed, net)
    bed.manager.find("orders", "acme")
    walk = pages(bed.manager.find("stock", "acme").get("/0"), manager=bed.manager)
    take(walk, 2)
    places["orders"] = B
    usual = bed.hook.act

    def out(host: str, auth: Any) -> Any:
        if host == "stock":
            raise OurConnectionError("not now")
        return usual(host, auth)

    bed.hook.act = out
    bed.manager.evict("orders")
    bed.manager.evict("stock")
    with pytest.raises(OurConnectionError, match="no connection to stock"):
        next(walk)
    bed.hook.act = usual
    bed.clock.advance(2)
    assert take(walk, 1) == [f"{A}/2"]


def test_a_connection_that_a_hook_gives_again_and_again_is_of_one_pair(bed: Bed, net: Net) -> None:
    one = Told(net, A, "one")
    bed.hook.act = lambda host, auth: one
    for spelling in (A, f"{A}/", A.upper(), f"{A}:443") * 25:
        first = bed.manager.find(spelling, ("user", "pw")).get("/0")
        bed.manager.evict(A)
    bed.hook.act = lambda host, auth: Told(net, host, auth)
    follow(first, "next", manager=bed.manager)
    assert bed.hook.asked[-1] == (A, ("user", "pw"))
    assert len(one.usage.held) == 1


def test_what_is_remembered_of_a_connection_for_very_many_pairs_is_bounded(bed: Bed, net: Net) -> None:
    one = Told(net, A, "one")
    bed.hook.act = lambda host, auth: one
    for number in range(100):
        bed.manager.find(A, number)
    assert len(one.usage.held) < 20


def test_equal_hashes_are_no_equal_credentials(bed: Bed, net: Net) -> None:
    assert hash(-1) == hash(-2)
    one = Told(net, A, "one")
    bed.hook.act = lambda host, auth: one
    first = bed.manager.find(A, -1).get("/0")
    bed.manager.find(A, -2)
    bed.manager.evict(A)
    with pytest.raises(URLError, match="pass auth="):
        follow(first, "next", manager=bed.manager)


@pytest.mark.parametrize(
    "harm",
    [
        lambda bed, conn: conn.close(),
        lambda bed, conn: setattr(conn.usage, "unauthorized", True),
        lambda bed, conn: bed.manager.add(C, None, conn) or bed.trip(A),
    ],
    ids=["closed", "401", "circuit open"],
)
@pytest.mark.parametrize("foreign", [False, True])
def test_a_connection_of_the_callers_own_is_used_for_as_long_as_it_is_good(
    bed: Bed, net: Net, harm: Callable[[Bed, Any], Any], foreign: bool
) -> None:
    asked: list[Any] = []
    manager = SimpleNamespace(find=lambda host, auth: asked.append((host, auth)) or Told(net, host, "found"))
    own = Told(net, A, "own")
    walk = pages(own.get("/0"), manager=manager if foreign else bed.manager, auth="acme")
    take(walk, 3)
    harm(bed, own)
    if own.usage.held:  # only to have its circuit opened
        own.usage.held = ()
    take(walk, 1)
    assert [who for _, who in net.sent][:3] == ["own"] * 3
    assert (asked if foreign else bed.hook.asked) == [(A, "acme")]


def test_a_walk_comes_back_to_the_callers_own_connection(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/0": f"{B}/1", f"{B}/1": f"{A}/2"}

    class Last(Told):
        @property
        def response(self) -> requests.Response:
            return self.get("/0")

    walk = pages(Last(net, A, "own"), manager=bed.manager)
    net.sent.clear()
    gc.collect()
    take(walk, 3)
    assert [who for _, who in net.sent] == [None, "own"]


def test_without_a_manager_the_walk_stays_with_its_connection_and_says_so_when_that_is_closed(
    bed: Bed, net: Net
) -> None:
    conn = bed.manager.find(A, "acme")
    walk = pages(conn.get("/0"))
    take(walk, 2)
    bed.manager.evict(A)
    take(walk, 1)
    conn.close()
    for _ in range(2):
        with pytest.raises(OurConnectionError, match=r"leads to https://a.test, .* is closed: pass manager=") as caught:
            next(walk)
        assert (caught.value.never_sent, caught.value.retryable) == (True, False)


def test_a_walk_without_a_manager_can_be_gone_on_with_by_one(bed: Bed, net: Net) -> None:
    conn = bed.manager.find(A, "acme")
    page = follow(conn.get("/0"), "next")
    bed.manager.evict(A)
    del conn
    gc.collect()
    follow(page, "next", manager=bed.manager)
    assert bed.hook.asked == [(A, "acme")] * 2


def test_a_manager_that_is_gone_is_not_used(net: Net) -> None:
    """A walk without a manager is not one with a manager that was collected."""
    bed = Bed()
    bed.hook.act = lambda host, auth: Told(net, host, auth)
    conn = bed.manager.find(A, "acme")
    del bed
    gc.collect()
    assert conn.usage.held[0].holder() is None
    other = Bed()
    other.manager.add(A, "other", conn)
    page = follow(conn.get("/0"), "next")
    other.hook.act = lambda host, auth: Told(net, host, auth)
    other.manager.evict(A)
    follow(page, "next", manager=other.manager)
    assert other.hook.asked == [(A, "other")]


# -- managers of other kinds --------------------------------------------------------------------------------


class Wrapper:
    """A user's manager around a `ConnectionManager`."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.asked: list[Any] = []

    def find(self, host: Any, auth: Any) -> Any:
        self.asked.append((host, auth))
        return self.bed.manager.find(host, auth)


def test_another_kind_of_manager_is_asked_for_what_the_walk_knows(bed: Bed, net: Net) -> None:
    wrapper = Wrapper(bed)
    net.links = {f"{A}/1": f"{B}/2", f"{B}/3": f"{A}/4"}
    walk = pages(wrapper.find(A, "acme").get("/0"), manager=wrapper)
    take(walk, 6)
    assert wrapper.asked == [
        (A, "acme"),
        (A, "acme"),
        (B, None),
        (B, None),
        (A, "acme"),
        (A, "acme"),
    ]


# -- secrets ---------------------------------------------------------------------------------------


def test_no_repr_shows_what_an_answer_knows(bed: Bed, net: Net) -> None:
    first = bed.manager.find(f"{A}/", ("user", SECRET)).get("/0")
    page = follow(first, "next", manager=bed.manager)
    walk = pages(page, manager=bed.manager, auth=SECRET)
    shown = [repr(vars(page)), repr(page), repr(walk), repr(came_from(first).held)]
    shown += [repr(value) for value in vars(page).values()] + [repr(vars(page)["_sleepwalker_trail"])]
    assert came_from(first).held[0].auth == ("user", SECRET)
    assert SECRET not in "".join(shown)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda page: pickle.loads(pickle.dumps(page))])
def test_copies_of_an_answer_know_nothing(bed: Bed, net: Net, copied: Any) -> None:
    page = follow(bed.manager.find(A, ("user", SECRET)).get("/0"), "next", manager=bed.manager)
    twin = copied(page)
    assert not [name for name in vars(twin) if "sleepwalker" in name]
    follow(twin, "next", manager=bed.manager)
    assert bed.hook.asked[-1] == (A, None)


def test_what_an_answer_knows_of_a_connection_keeps_neither_it_nor_its_manager() -> None:
    bed = Bed()
    known = bed.manager.find(A)._part.came_from
    assert isinstance(known, CameFrom)
    holder = known.held[0].holder
    del bed
    gc.collect()
    assert (known.connection, holder()) == (None, None)


def test_what_is_no_connection_at_all_is_told(bed: Bed, net: Net) -> None:
    net.links = {f"{A}/0": f"{B}/1"}
    bed.hook.act = lambda host, auth: Thing() if host == B else Told(net, host, auth)
    with pytest.raises(TypeError, match="this is a Thing"):
        follow(bed.manager.find(A).get("/0"), "next", manager=bed.manager)


def test_a_loop_is_found_also_where_a_stand_in_changes_in_between(bed: Bed, net: Net) -> None:
    there = [B]
    bed.hook.act = lambda host, auth: Told(net, there[0], auth)
    net.links = {f"{B}/1": "/0", f"{A}/1": "/0"}
    walk = pages(bed.manager.find(A).get("/0"), manager=bed.manager)
    take(walk, 2)
    bed.manager.evict(A)
    there[0] = A
    with pytest.raises(LinkError, match="leads back"):
        list(walk)


def test_a_pair_that_is_noted_while_another_one_is_looked_at_is_not_lost(net: Net) -> None:
    """Credentials are compared while no lock is held, and a walk that knew one tenant of two would go on as that."""
    one, other = Bed(), Bed()
    conn = Told(net, A, "shared")

    class Sly:
        def __init__(self, number: int) -> None:
            self.number = number

        def __hash__(self) -> int:
            return self.number

        def __eq__(self, there: object) -> bool:
            if len(conn.usage.held) == 1:
                other.manager.add(A, "meanwhile", conn)
            return self is there

    first, second = Sly(1), Sly(2)
    one.manager.add(A, first, conn)
    one.manager.add(A, second, conn)
    assert {id(held.auth) for held in conn.usage.held} >= {id(first), id(second)}
    assert "meanwhile" in [held.auth for held in conn.usage.held]


def test_two_threads_cannot_take_a_step_at_a_time(bed: Bed, net: Net) -> None:
    """Both would give the same page. Afterwards either may go on."""
    walk = pages(bed.manager.find(A).get("/0"), manager=bed.manager)
    take(walk, 1)
    refused: list[Exception] = []

    def meanwhile(host: str, auth: Any) -> Any:
        def other() -> None:
            with pytest.raises(ValueError, match="another thread uses this iterator") as caught:
                next(walk)
            refused.append(caught.value)

        in_thread(other)()
        return Told(net, host, auth)

    bed.hook.act = meanwhile
    bed.manager.evict(A)
    assert take(walk, 1) == [f"{A}/1"]
    assert len(refused) == 1
    assert in_thread(lambda: take(walk, 1))() == [f"{A}/2"]
