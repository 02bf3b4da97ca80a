"""A client library that knows nothing of guards, protected by one line of the application that uses it."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers import Exchange, FaultServer, Step, hang_up, json_reply, reply

from sleepwalker import CircuitOpenError, Policy
from sleepwalker.connection import defaults

AUTH = ("anna", "geheim")
KINDS = pytest.mark.parametrize("kind", ["RequestsConnection", "HttpConnection", "WrappingConnection"])


class Shop:
    """A server whose tokens are good for so many calls; a new login ends the one before."""

    def __init__(self, name: str, calls: int) -> None:
        self.name = name
        self.logins = 0
        self._calls = calls
        self._left = 0
        self._lock = threading.Lock()
        self.server = FaultServer(default=self._answer)

    def _answer(self, exchange: Exchange) -> Step:
        request = exchange.request
        assert request is not None
        with self._lock:
            if request.path == "/login":
                self.logins += 1
                self._left = self._calls
                return json_reply({"token": f"{self.name} {self.logins}"})
            if request.header("X-Token") != f"{self.name} {self.logins}" or self._left == 0:
                return reply(401)
            self._left -= 1
            return json_reply({"from": self.name})


@pytest.fixture(autouse=True)
def _put_back(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")
    yield
    defaults(policy=None, guard=None)


@pytest.fixture
def shops() -> Iterator[list[Shop]]:
    """A primary and a stand-in, whose tokens are good for ten calls."""
    primary, spare = Shop("primary", 10), Shop("spare", 10)
    with primary.server, spare.server:
        yield [primary, spare]


def imported(kind: str, shops: list[Shop]) -> Any:
    """The client library, as it is when it has just been imported for the first time, with its settings made."""
    path = Path(__file__).with_name("foreign_client.py")
    spec = importlib.util.spec_from_file_location("foreign_client_anew", path)
    assert spec is not None
    assert spec.loader is not None
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    library.hook.kind = getattr(library, kind)
    library.hook.servers = [shop.server.url for shop in shops]
    return library


def call(library: Any) -> Any:
    """Which shop answers, or the status or the exception that the caller sees."""
    try:
        return library.manager.find("shop", AUTH).json_request("GET", "/items", params={"page": 1})["from"]
    except CircuitOpenError as error:
        time.sleep(error.retry_after or 0)
        return "CircuitOpenError"
    except Exception as error:  # the status is where each library has it
        for link in (error, error.__cause__):
            status = getattr(link, "http_code", getattr(getattr(link, "response", None), "status_code", None))
            if status is not None:
                return status
        return type(error).__name__


def calls(library: Any, answered: int) -> list[Any]:
    """Call until so many got a response, as a caller does that calls again after a failure."""
    seen: list[Any] = []
    while sum(one in ("primary", "spare") for one in seen) < answered:
        seen.append(call(library))
        assert len(seen) < 10 * answered, Counter(seen)
    return seen


@KINDS
@pytest.mark.parametrize("first", ["library", "application"])
def test_a_token_that_expires_every_ten_calls_costs_one_login_each(kind: str, first: str, shops: list[Shop]) -> None:
    if first == "library":  # which makes its manager when it is imported
        library = imported(kind, shops)
        defaults(guard=True)
    else:
        defaults(guard=True)
        library = imported(kind, shops)
    with library.manager:
        assert calls(library, 100) == (["primary"] * 10 + [401]) * 9 + ["primary"] * 10
        assert [shop.logins for shop in shops] == [10, 0]
        assert len(shops[0].server.requests) == 100 + 9 + 10
        health = library.manager.health("shop")
        assert (health.state, health.calls, health.failures) == ("healthy", 109, 0)


@KINDS
def test_without_the_guard_it_never_logs_in_again(kind: str, shops: list[Shop]) -> None:
    library = imported(kind, shops)
    with library.manager:
        assert [call(library) for _ in range(30)] == ["primary"] * 10 + [401] * 20
        assert shops[0].logins == 1


@pytest.mark.parametrize("kind", ["RequestsConnection", "WrappingConnection"])  # http.client is for one thread
def test_four_threads_cost_no_more_logins_than_one(kind: str, shops: list[Shop]) -> None:
    defaults(guard=True)
    library = imported(kind, shops)
    with library.manager, ThreadPoolExecutor(4) as pool:
        seen = list(itertools.chain(*pool.map(lambda _: calls(library, 25), range(4))))
        assert Counter(seen)["primary"] == 100
        assert set(seen) == {"primary", 401}
        assert shops[0].logins == 10


@KINDS
def test_a_stand_in_takes_over_when_the_primary_dies(kind: str, shops: list[Shop]) -> None:
    """The circuit is the name's, since the objects do not show where they connect: it may be open a moment longer."""
    defaults(guard=True, policy=Policy(breaker={"consecutive_for": 0, "open_for": 0.2, "ramp": 0}))
    library = imported(kind, shops)
    with library.manager:
        assert calls(library, 5) == ["primary"] * 5
        shops[0].server.stop()
        seen = calls(library, 50)
        over = seen.index("spare")
        assert sum(one != "CircuitOpenError" for one in seen[:over]) <= 2, "three connections were refused before"
        assert over <= 4, "and the circuit that they may have opened let a call through when it had said"
        assert seen[over:] == (["spare"] * 10 + [401]) * 4 + ["spare"] * 10
        assert library.manager.health("shop").broken_since is None


@KINDS
def test_without_the_guard_a_dead_primary_is_asked_for_ever(kind: str, shops: list[Shop]) -> None:
    library = imported(kind, shops)
    with library.manager:
        assert calls(library, 5) == ["primary"] * 5
        shops[0].server.stop()
        assert "spare" not in {call(library) for _ in range(50)}
        assert shops[1].logins == 0


@KINDS
def test_a_login_whose_token_is_refused_is_not_tried_at_each_call(kind: str) -> None:
    """Also the policy reaches the manager that the library made before."""
    shop = Shop("primary", 0)
    library = imported(kind, [shop])
    defaults(guard=True, policy=Policy(health={"rehook_initial": 100, "rehook_max": 100}))
    with shop.server, library.manager:
        library.hook.servers = [shop.server.url]
        assert [call(library) for _ in range(30)] == [401] * 30
        assert shop.logins == 1


@KINDS
def test_what_is_lost_on_the_way_is_sent_again(kind: str, shops: list[Shop]) -> None:
    defaults(guard=True)
    library = imported(kind, shops)
    with library.manager:
        assert call(library) == "primary"
        shops[0].server.script(hang_up(), reply(503))
        assert call(library) == "primary"
        assert library.manager.health("shop").retries == 2
