"""A service that lives long: when it keeps its connection, and when it asks the manager for another."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from sleepwalker import ANONYMOUS, Connection, HostIsolatedError
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.service import Service
from tests.unit.manager_driver import A, B, Bed, nothing


class Told(Connection):
    """A connection that is asked nothing over the network."""

    def json_request(self, *args: Any, **kwargs: Any) -> Any:
        if self.closed:
            closed = OurConnectionError("closed")
            closed.never_sent = True
            raise closed
        return id(self)


class Plain:
    """A connection of another library."""

    closed = False

    def json_request(self, *args: Any) -> Any:
        return id(self)


class Finder:
    """A connection manager of another library."""

    def __init__(self, *conns: Any) -> None:
        self.conns = list(conns)
        self.finds: list[Any] = []

    def find(self, *args: Any) -> Any:
        self.finds.append(args)
        return self.conns[min(len(self.finds), len(self.conns)) - 1]


@pytest.fixture
def bed() -> Bed:
    bed = Bed()
    bed.conn = lambda url: Told(url, ANONYMOUS, clock=bed.clock)  # type: ignore[method-assign]
    return bed


def _service(manager: Any, auth: Any = None) -> Service:
    return Service(None, A, servicepath="/s", connection_manager=manager, auth=auth)


def _used(service: Service) -> Any:
    """The connection that a request goes through."""
    service.request("GET", "/")
    return service.connection


def test_a_good_connection_is_kept_without_asking(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    service = _service(bed.manager)
    conn = _used(service)
    monkeypatch.setattr(bed.manager._finder, "find", None)  # the ordinary path
    finds = []
    monkeypatch.setattr(bed.manager, "find", lambda *args: finds.append(args))
    assert _used(service) is conn
    assert finds == []


def test_the_service_counts_as_use_of_the_connection(bed: Bed) -> None:
    service = _service(bed.manager)
    conn = _used(service)
    for _ in range(10):
        bed.clock.advance(200)
        assert _used(service) is conn


@pytest.mark.parametrize(
    "harm",
    [
        lambda bed, conn: bed.manager.evict(A),
        lambda bed, conn: bed.manager.reset(),
        lambda bed, conn: conn.close(),
        lambda bed, conn: bed.unauthorized(conn),
        lambda bed, conn: bed.trip(A),
        lambda bed, conn: bed.unreachable(A),
        lambda bed, conn: bed.clock.advance(301),
        lambda bed, conn: bed.manager.add(A, None, bed.conn(A)),
    ],
    ids=["evicted", "reset", "closed", "401", "circuit open", "not reachable", "idle", "replaced"],
)
def test_a_connection_that_is_no_longer_good_is_asked_for_again(bed: Bed, harm: Any) -> None:
    service = _service(bed.manager)
    conn = _used(service)
    bed.clock.advance(1)
    harm(bed, conn)
    assert _used(service) is not conn
    assert service.connection is bed.manager.find(A)


def test_an_evicted_connection_without_any_attribute_of_ours_is_asked_for_again() -> None:
    class Bare:
        __slots__ = ()

        def json_request(self, *args: Any) -> None:
            return None

    bed = Bed(hooked=False)
    first, second = Bare(), Bare()
    bed.manager.add(A, None, first)
    service = _service(bed.manager)
    assert _used(service) is first
    bed.manager.add(A, None, second)
    assert _used(service) is second


def test_while_there_is_no_connection_the_managers_error_is_raised_and_then_it_goes_on(bed: Bed) -> None:
    service = _service(bed.manager)
    conn = _used(service)
    bed.manager.evict(A)
    bed.hook.act = nothing
    with pytest.raises(OurConnectionError):
        service.request("GET", "/")
    bed.hook.act = lambda host, auth: bed.conn(B)
    assert _used(service) is not conn


def test_an_isolated_host_is_not_asked(bed: Bed) -> None:
    service = _service(bed.manager)
    conn = _used(service)
    bed.manager.isolate(A)
    with pytest.raises(HostIsolatedError):
        service.request("GET", "/")
    bed.manager.restore(A)
    assert _used(service) is conn


@pytest.mark.parametrize("closed", [True, False])
def test_a_connection_that_the_caller_assigned_is_left_alone(bed: Bed, closed: bool) -> None:
    own = Plain()
    own.closed = closed
    passed = Service(None, A, servicepath="", connection=own, connection_manager=bed.manager)
    assert _used(passed) is own
    assigned = _service(bed.manager)
    _used(assigned)
    assigned.connection = own
    assert _used(assigned) is own
    assigned.connection = None
    assert isinstance(_used(assigned), Told)


def test_another_kind_of_manager_is_asked_again_when_the_connection_says_that_it_is_closed() -> None:
    first, second = Plain(), Plain()
    finder = Finder(first, second)
    service = _service(finder, auth="tok")
    assert _used(service) is _used(service) is first
    assert finder.finds == [(A, "tok")]
    first.closed = True
    assert _used(service) is second
    assert finder.finds == [(A, "tok")] * 2


@pytest.mark.parametrize("closed", [1, "yes", SimpleNamespace(), None])
def test_a_connection_that_means_something_else_by_closed_is_kept(closed: Any) -> None:
    conn = Plain()
    conn.closed = closed
    finder = Finder(conn)
    service = _service(finder)
    assert _used(service) is _used(service) is conn
    assert len(finder.finds) == 1


def test_another_kind_of_manager_is_asked_again_for_a_connection_of_ours_that_is_not_good(bed: Bed) -> None:
    first, second, third = bed.conn(A), bed.conn(A), bed.conn(A)
    finder = Finder(first, second, third)
    service = _service(finder)
    assert _used(service) is _used(service) is first
    first.usage.unauthorized = True
    assert _used(service) is second
    bed.manager.add(A, None, second)
    bed.trip(A)
    assert _used(service) is third


def test_a_connection_that_another_thread_had_closed_just_now_is_replaced_once(bed: Bed) -> None:
    """Between the look at the connection and the request there is time for a reset."""
    service = _service(bed.manager)
    first = _used(service)
    looked = bed.manager.is_current

    def late(*args: Any) -> bool:
        good = looked(*args)
        bed.manager.reset()
        return good

    bed.manager.is_current = late  # type: ignore[method-assign]
    assert service.request("GET", "/") != id(first)
    assert len(bed.hook.asked) == 2


def test_an_error_of_a_request_that_may_have_been_sent_is_not_hidden_by_another_try(bed: Bed) -> None:
    class Breaks(Told):
        def json_request(self, *args: Any, **kwargs: Any) -> Any:
            self.close()
            raise OurConnectionError("reset")

    bed.hook.act = lambda host, auth: Breaks(A, ANONYMOUS, clock=bed.clock)
    with pytest.raises(OurConnectionError, match="reset"):
        _service(bed.manager).request("POST", "/")
    assert len(bed.hook.asked) == 1


def test_the_response_of_this_thread_stays_when_another_thread_gets_a_new_connection() -> None:
    class Answered(Plain):
        def __init__(self) -> None:
            self.latest = threading.local()

        @property
        def response(self) -> Any:
            return getattr(self.latest, "response", None)

        def json_request(self, *args: Any) -> None:
            self.latest.response = args[1]

    first, second = Answered(), Answered()
    service = _service(Finder(first, second))
    service.request("GET", "/mine")
    first.closed = True
    thread = threading.Thread(target=service.request, args=("GET", "/theirs"))
    thread.start()
    thread.join(10)
    assert service.connection is second
    assert service.response == "/mine"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_service_has_answers_of_its_own(copied: Any) -> None:
    first, second = (SimpleNamespace(response=number, json_request=lambda *args: None) for number in (1, 2))
    service = _service(Finder(first))
    service.request("GET", "/")
    twin = copied(service)
    twin.connection, twin.connection_manager = None, Finder(second)
    twin.request("GET", "/")
    assert (service.response, twin.response) == (1, 2)


def test_a_subclass_may_set_what_it_needs_by_itself() -> None:
    class Fake(Service):
        def __init__(self, conn: Any) -> None:
            self.headers: Any = {}
            self.connection = conn

    own = Plain()
    assert Fake(own).request("GET", "/") == id(own)
    assert Fake(own).response is None


def test_is_current_says_whether_find_gives_this_very_connection(bed: Bed) -> None:
    conn = bed.manager.find(A, ["a", "list"])
    assert bed.manager.is_current(conn, A, ["a", "list"])
    assert not bed.manager.is_current(conn, A)
    assert not bed.manager.is_current(bed.conn(A), A, ["a", "list"])
    bed.manager.evict(A)
    assert not bed.manager.is_current(conn, A, ["a", "list"])


# -- headers ---------------------------------------------------------------------------------------------


class InAnAttribute(Mapping[str, str]):
    """Keeps its items in an attribute and has no `copy`, so that a plain copy of it has the same items."""

    def __init__(self, items: dict[str, str]) -> None:
        self.items_of_mine = items

    def __getitem__(self, name: str) -> str:
        return self.items_of_mine[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.items_of_mine)

    def __len__(self) -> int:
        return len(self.items_of_mine)

    def update(self, more: Mapping[str, str]) -> None:
        self.items_of_mine.update(more)


class OfItsOwn(dict[str, str]):
    """Its `copy` gives a plain dict."""


class ReadOnly(Mapping[str, str]):
    """A mapping and no more."""

    def __init__(self, items: Any) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> str:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class Uncopied(dict[str, str]):
    def copy(self) -> Uncopied:
        return self

    def __deepcopy__(self, memo: object) -> Uncopied:
        raise TypeError("not this one")


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (dict, True),
        (OrderedDict, True),
        (UserDict, True),
        (CaseInsensitiveDict, True),
        (InAnAttribute, True),
        (OfItsOwn, True),
        (Uncopied, False),
        (lambda items: MappingProxyType(dict(items)), False),
        (ReadOnly, False),
    ],
    ids=[
        "dict",
        "OrderedDict",
        "UserDict",
        "requests'",
        "in an attribute",
        "a dict's",
        "uncopied",
        "proxy",
        "read-only",
    ],
)
def test_a_callers_headers_collect_nothing_of_the_services(kind: Callable[[Any], Any], kept: bool) -> None:
    sent: list[Any] = []
    services = []
    for token in ("one", "two"):
        conn = SimpleNamespace(json_request=lambda *args: sent.append(args[4]))
        services.append(Service(None, A, servicepath="/s", connection=conn))
        services[-1].add_headers({f"X-{token}": token})
    given = kind({"X-Call": "1"})
    for service in services:
        service.request("GET", "/", headers=given)
    assert [dict(headers) for headers in sent] == [{"X-Call": "1", "X-one": "one"}, {"X-Call": "1", "X-two": "two"}]
    assert dict(given) == {"X-Call": "1"}
    assert [type(headers) is type(given) for headers in sent] == [kept, kept]


@pytest.mark.parametrize("kind", [dict, CaseInsensitiveDict, UserDict])
def test_headers_that_were_added_are_as_they_were_then(kind: Callable[[Any], Any]) -> None:
    """Code that fills in the mapping later, for another service, does not change what this one sends."""
    sent: list[Any] = []
    service = Service(
        None, A, servicepath="/s", connection=SimpleNamespace(json_request=lambda *args: sent.append(dict(args[4])))
    )
    given = kind({"X-Call": "1"})
    service.add_headers(given)
    given["X-Call"], given["Authorization"] = "2", "another's"
    service.request("GET", "/")
    assert sent == [{"X-Call": "1"}]
