"""Code of connections, credentials and host objects runs while the manager holds no lock.

Each kind of it does here, whenever it is called, what a slow one and one that asks the manager do at once: it goes on
only when another thread has found another host, and that thread gets nowhere while a lock is held.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from requests.auth import AuthBase

from sleepwalker import ANONYMOUS, Connection, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection.guard import unguarded
from tests.unit.manager_driver import A, B, Bed, Hook, in_thread

ROOMY = Policy(health={"max_age": 1000})


class Asking:
    """What all this code does: nothing, until it is told."""

    def __init__(self) -> None:
        self.act: Callable[[], Any] | None = None
        self.times = 0

    def __call__(self) -> None:
        if (act := self.act) is not None:
            self.times += 1
            self.act = None  # what it asks may come by here again
            try:
                act()
            finally:
                self.act = act


ask = Asking()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    ask.act, ask.times = None, 0


# -- connections


class Says:
    """Says whether it is closed, at length."""

    @property
    def closed(self) -> bool:
        ask()
        return False

    def close(self) -> None:
        ask()


class Dynamic:
    """Has no attributes of its own, and makes them up."""

    def __getattr__(self, name: str) -> Any:
        ask()
        raise AttributeError(name)


class Disguised:
    """Says what it is in a property, as proxies do."""

    @property
    def __class__(self) -> Any:
        ask()
        return float

    def __eq__(self, other: object) -> bool:
        ask()
        return False

    def __hash__(self) -> int:
        ask()
        return 1


class Listing(type):
    """Of a type that says what it has, and which type it is."""

    def __dir__(cls) -> list[str]:
        ask()
        return ["get", "__len__"]

    def __hash__(cls) -> int:
        ask()
        return 1

    def __eq__(cls, other: object) -> bool:
        ask()
        return cls is other


class Listed(metaclass=Listing):
    def get(self) -> None:
        """Of no use."""


class Own(Connection):
    """A `Connection` whose subclass has things to say."""

    @property
    def closed(self) -> bool:
        ask()
        return super().closed

    @property
    def origin(self) -> Any:
        ask()
        return super().origin

    def attach(self, host: Any) -> None:
        ask()
        super().attach(host)

    def retire(self) -> None:
        ask()
        super().retire()

    def close(self) -> None:
        ask()
        super().close()


class Proxy:
    """Stands before a `Connection`."""

    def __init__(self, target: Connection) -> None:
        object.__setattr__(self, "target", target)

    @property
    def __class__(self) -> Any:
        ask()
        return Connection

    def __getattr__(self, name: str) -> Any:
        ask()
        return getattr(object.__getattribute__(self, "target"), name)


CONNECTIONS: dict[str, Callable[[], Any]] = {
    "closed and close": Says,
    "made-up attributes": Dynamic,
    "disguised": Disguised,
    "dir of the type": Listed,
    "subclass of Connection": lambda: Own(A, ANONYMOUS),
    "proxy of a Connection": lambda: Proxy(Connection(A, ANONYMOUS)),
}


# -- credentials, and what else `find` is given


class Unhashable:
    """Equal ones are one, which a comparison must tell: all of the type share a hash."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        ask()
        return isinstance(other, Unhashable) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]


class Hashable(AuthBase):
    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        ask()
        return isinstance(other, Hashable) and self.name == other.name

    def __hash__(self) -> int:
        ask()
        return 1


class Copied:
    """Copied at length, in a dict."""

    def __deepcopy__(self, memo: Any) -> Copied:
        ask()
        return self

    def __eq__(self, other: object) -> bool:
        ask()
        return self is other

    __hash__ = None  # type: ignore[assignment]


COPIED, DISGUISED = Copied(), {name: Disguised() for name in ("anna", "bob")}
AUTHS: dict[str, Callable[[str], Any]] = {
    "no hash": Unhashable,
    "hash": Hashable,
    "disguised": lambda name: DISGUISED[name],
    "a dict": lambda name: {"name": name, "more": COPIED},
}


class Word(str):
    """A host's name that has ideas of its own."""

    def lower(self) -> str:
        ask()
        return Word(super().lower())

    def rstrip(self, *args: Any) -> str:
        ask()
        return Word(super().rstrip(*args))

    def __eq__(self, other: object) -> bool:
        ask()
        return str.__eq__(self, other) is True

    def __hash__(self) -> int:
        ask()
        return 1


HOSTS: dict[str, Callable[[], Any]] = {"a subclass of str": lambda: Word("Place")}


def everything(bed: Bed, host: Any, auth: Callable[[], Any], other: Any) -> Iterator[Callable[[], Any]]:
    """All that a manager is asked, so that each of its ways is gone."""
    manager = bed.manager
    yield lambda: manager.find(host, auth())
    yield lambda: manager.find(host, auth())
    yield lambda: manager.find(host, other)
    yield lambda: manager.is_current(manager.find(host, auth()), host, auth())
    bed.clock.advance(500)  # idle: the long way, and swept
    yield lambda: manager.find(host, auth())
    bed.clock.advance(500)
    yield lambda: manager.find(host, auth())
    yield lambda: dict(manager.conns)
    yield lambda: (host, auth()) in manager.conns
    yield lambda: list(manager)
    yield lambda: manager.add(host, auth(), manager.find(host, auth()))
    yield lambda: manager.add(host, auth(), bed.hook.act(host, None))
    yield lambda: manager.evict(host, auth())
    yield lambda: manager.find(host, auth())
    yield lambda: (manager.isolate(host), manager.restore(host), manager.reset_circuit(host))
    yield lambda: manager.find(host, auth())
    yield lambda: manager.health(host)
    yield manager.health
    yield lambda: manager.reload(ROOMY)
    bed.clock.advance(2000)  # over-age
    yield lambda: manager.find(host, auth())
    yield lambda: manager.evict(host)
    yield lambda: manager.find(host, auth())
    yield lambda: manager.forget(host)
    yield lambda: manager.find(host, auth())
    yield manager.reset
    yield lambda: manager.find(host, auth())


CASES = [
    *[
        (guard, A, "none", kind)
        for kind in CONNECTIONS
        for guard in (False, True)
        if guard or kind != "dir of the type"
    ],
    *[(False, A, kind, "closed and close") for kind in AUTHS],
    *[(False, kind, "none", "closed and close") for kind in HOSTS],
]


def world(guard: bool, host: str, auth: str, conn: str) -> tuple[Bed, Any, Callable[[], Any], Any]:
    bed = Bed(guard=guard)
    bed.hook.act = lambda host, auth: "another host's" if host == B else CONNECTIONS[conn]()
    make = AUTHS.get(auth, lambda name: None)
    return bed, HOSTS.get(host, lambda: host)(), lambda: make("anna"), make("bob")


@pytest.mark.parametrize(("guard", "host", "auth", "conn"), CASES)
def test_slow_foreign_code_does_not_delay_find_of_another_host(guard: bool, host: str, auth: str, conn: str) -> None:
    bed, given, make, other = world(guard, host, auth, conn)

    def act() -> None:
        def look() -> None:
            assert unguarded(bed.manager.find(B)) == "another host's"
            bed.manager.add("a new one", None, "thing")  # the long way, and a change of the tables
            bed.manager.evict("a new one")
            bed.manager.health(B)

        assert not bed.manager._finder.lock._is_owned()  # type: ignore[attr-defined]
        in_thread(look)()

    ask.act = act
    for step in everything(bed, given, make, other):
        step()
        bed.manager.find(B)  # it is not to be idle
    assert ask.times > 0


@pytest.mark.parametrize(("guard", "host", "auth", "conn"), CASES)
def test_code_of_others_may_ask_the_manager_for_the_very_same(guard: bool, host: str, auth: str, conn: str) -> None:
    bed, given, make, other = world(guard, host, auth, conn)

    def act() -> None:
        with contextlib.suppress(OurConnectionError):  # within a round of the pair, another one is refused
            bed.manager.find(given, make())
        bed.manager.health()
        list(bed.manager)

    ask.act = act
    for step in everything(bed, given, make, other):
        in_thread(step)()
    assert ask.times > 0


@pytest.mark.parametrize("raised", [LookupError("a bug"), KeyboardInterrupt()], ids=["raises", "Ctrl-C"])
@pytest.mark.parametrize(("guard", "host", "auth", "conn"), CASES)
def test_code_of_others_that_raises_leaves_the_manager_as_it_was(
    guard: bool, host: str, auth: str, conn: str, raised: BaseException
) -> None:
    bed, given, make, other = world(guard, host, auth, conn)

    def act() -> None:
        raise raised

    for step in everything(bed, given, make, other):
        ask.act = act
        with contextlib.suppress(LookupError, KeyboardInterrupt):
            step()
        ask.act = None
        found = in_thread(lambda: bed.manager.find(given, make()))()
        assert in_thread(lambda: bed.manager.find(given, make()))() is found
        assert any(conn is found for _, conn in bed.manager)
        assert len(bed.manager) == len(list(bed.manager)) == len(bed.manager.conns)
        assert bed.manager._lookup.flights.waiting == {}
        assert all(pair.flight is None for pair in bed.manager._lookup.table.slots())


def test_a_comparison_that_outlasts_a_change_of_the_tables_is_made_again() -> None:
    """What it compared with may be gone by then, and what it did not may have come."""
    bed = Bed()
    first = bed.manager.find(A, Unhashable("bob"))
    mine = bed.conn(A)
    done = []

    def act() -> None:
        if not done:
            done.append(True)
            bed.manager.add(A, Unhashable("anna"), mine)

    ask.act = act
    assert bed.manager.find(A, Unhashable("anna")) is mine
    assert bed.manager.find(A, Unhashable("bob")) is first
    assert len(bed.manager) == 2


def test_hooks_are_asked_for_exactly_what_find_was_given() -> None:
    bed = Bed(hooked=False)
    hook = Hook(lambda host, auth: "thing")
    bed.manager.add_conn_hook(hook)
    word, auth = Word("Place"), Unhashable("anna")
    bed.manager.find(word, auth)
    ((host, given),) = hook.asked
    assert host is word
    assert given is auth
