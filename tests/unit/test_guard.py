"""A guard looks and behaves as what it wraps, and puts the policy around its requests."""

from __future__ import annotations

import copy
import http
import threading
import urllib.error
from collections.abc import Callable, Iterator
from email.message import Message
from io import BytesIO
from types import SimpleNamespace
from typing import Any, Self

import pytest
import requests

from sleepwalker import (
    BulkheadFullError,
    CircuitOpenError,
    ConnectError,
    Connection,
    ConnectionManager,
    HostIsolatedError,
    HTTPServiceUnavailable,
    Policy,
    ReadError,
)
from sleepwalker.connection.guard import Guard, is_guard, unguarded
from sleepwalker.drivers.threads.clock import Wake
from sleepwalker.events import AttemptFailed, RequestFailed, RequestFinished, RetryAbandoned, RetryScheduled
from tests.unit.engine_driver import FakeClock
from tests.unit.manager_driver import A, Bed, Hook, in_thread

#: Retries cost no time, and the host is never given up.
POLICY = Policy(
    retry={"attempts": 3, "wait_initial": 0, "wait_max": 0}, breaker={"consecutive_for": 0, "consecutive": 1000}
)


class Api:
    """A foreign connection: it responds by its script, once each, and then with `ok`."""

    colour = "red"

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._host = "its own"
        self.closings = 0

    def _answer(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append((name, args, kwargs))
        for value in [*args, *kwargs.values()]:
            if isinstance(value, Iterator):
                list(value)
        came = self.script.pop(0) if self.script else "ok"
        if isinstance(came, BaseException):
            raise came
        return came() if callable(came) else came

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Gets it."""
        return self._answer("get", args, kwargs)

    def post(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("post", args, kwargs)

    def request(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("request", args, kwargs)

    def json_request(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("json_request", args, kwargs)

    def fetch(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("fetch", args, kwargs)

    def inner(self) -> Any:
        return self.get("/inner")

    def close(self) -> None:
        self.closings += 1


class Impatient(FakeClock):
    """Sleeps by moving on."""

    def sleep(self, seconds: float, wake: Wake | None = None) -> bool:
        self.advance(seconds)
        return wake is not None and wake.is_set()


class World(Bed):
    """A manager whose hook makes guarded `Api`s."""

    def __init__(self, *script: Any, policy: Policy = POLICY, guard: Any = True, target: Any = None) -> None:
        self.clock = Impatient()
        self.events = []
        self.manager = ConnectionManager(policy=policy, clock=self.clock, observer=self.observe, guard=guard)
        self.api = Api(*script) if target is None else target
        self.manager.add_conn_hook(Hook(lambda host, auth: self.api))
        self.conn = self.manager.find(A)
        self.events.clear()

    @property
    def health(self) -> Any:
        return self.manager.health(A)


def response(status: int, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    made.url = A + "/?token=geheim"
    return made


def http_error(status: int) -> requests.HTTPError:
    return requests.HTTPError("for url: /?token=geheim", response=response(status))


def outcome_of(call: Callable[[], Any]) -> Any:
    """What is returned, or raised."""
    try:
        return call()
    except Exception as error:
        return error


RESET = requests.ConnectionError("Max retries exceeded with url: /?token=geheim")


# -- it is what it wraps -------------------------------------------------------------------------


def test_without_guard_find_returns_the_very_object() -> None:
    api = Api()
    manager = ConnectionManager()
    manager.add(A, None, api)
    assert type(manager.find(A)) is Api


def test_a_guarded_object_looks_like_itself() -> None:
    world = World()
    assert is_guard(world.conn)
    assert isinstance(world.conn, Api)
    assert world.conn.__class__ is Api
    assert world.conn.colour == "red"
    assert world.conn.get.__name__ == "get"
    assert world.conn.get.__doc__ == "Gets it."
    assert dir(world.conn) == dir(world.api)
    assert vars(world.conn) is vars(world.api)
    assert hasattr(world.conn, "closings")
    assert not hasattr(world.conn, "no such thing")
    with pytest.raises(AttributeError, match="nothing"):
        _ = world.conn.nothing


def test_no_attribute_of_the_guard_hides_one_of_the_object() -> None:
    world = World()
    assert world.conn._host == "its own"
    for name in dir(Guard):
        if not name.startswith("__") and not name.startswith("_Guard__"):
            raise AssertionError(name)


def test_attributes_are_set_and_deleted_on_the_object() -> None:
    world = World()
    world.conn.colour = "blue"
    assert world.api.colour == "blue"
    del world.conn.colour
    assert world.conn.colour == "red"


def test_the_repr_shows_type_and_host() -> None:
    world = World()
    assert repr(world.conn) == f"<guarded Api of {A}>"
    assert str(world.conn) == str(world.api)


def test_a_guard_equals_what_it_wraps() -> None:
    world = World()
    assert world.conn == world.api
    assert world.api == world.conn
    assert world.conn == world.conn
    assert world.conn != Api()
    assert hash(world.conn) == hash(world.api)
    assert world.conn in {world.api}


class Box(list[int]):
    def __call__(self, word: str) -> str:
        return word

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> bool:
        return error[0] is KeyError


def test_special_methods_are_those_of_the_object() -> None:
    box = World(target=Box([1, 2])).conn
    assert len(box) == 2
    assert list(box) == [1, 2]
    assert 2 in box
    assert box[0] == 1
    box[0] = 7
    del box[1]
    assert box == [7]
    assert box * 2 == [7, 7]
    assert box < [8]
    assert box("x") == "x"
    assert copy.copy(box) == [7]
    with pytest.raises(TypeError):
        hash(box)
    with box as entered:
        assert entered is box
        raise KeyError
    box.clear()
    assert not box


def test_special_methods_that_the_object_lacks_are_lacking() -> None:
    conn = World().conn
    assert conn
    assert not callable(conn)
    for act in (len, iter, next, lambda one: one[0], lambda one: 1 in one, lambda one: one < 1, int):
        with pytest.raises(TypeError):
            act(conn)
    with pytest.raises(TypeError), conn:
        pass


def test_with_gives_what_the_object_gives() -> None:
    inside = object()

    class Session(Api):
        def __enter__(self) -> object:
            return inside

        def __exit__(self, *error: object) -> None:
            self.close()

    world = World(target=Session())
    with world.conn as entered:
        assert entered is inside
    assert world.api.closings == 1


def test_a_connection_of_ours_is_not_guarded() -> None:
    bed = Bed(guard=True)
    assert type(bed.manager.find(A)) is Connection


def test_coroutines_are_passed_through() -> None:
    class Async:
        async def get(self, uri: str) -> str:
            return uri

    world = World(target=Async())
    coroutine = world.conn.get("/x")
    with pytest.raises(StopIteration, match="/x"):
        coroutine.send(None)
    assert world.health.calls == 0


# -- requests go through the policy --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "method", "path"),
    [
        ("get", ("/x?token=geheim",), {}, "GET", "/x"),
        ("get", (), {"url": "/y"}, "GET", "/y"),
        ("post", ("/x", {"a": 1}), {}, "POST", "/x"),
        ("request", ("put", "/x"), {}, "PUT", "/x"),
        ("request", ("/x",), {"method": "GET"}, "GET", "/x"),
        ("json_request", ("GET", "/x", None), {}, "GET", "/x"),
        ("json_request", (), {"uri": "/z", "method": "DELETE"}, "DELETE", "/z"),
        ("request", (), {}, "", "/"),
        ("get", (3,), {}, "GET", "/"),
    ],
)
def test_requests_are_counted_and_announced(name: str, args: Any, kwargs: Any, method: str, path: str) -> None:
    world = World()
    assert getattr(world.conn, name)(*args, **kwargs) == "ok"
    assert world.api.calls == [(name, args, kwargs)]
    (event,) = world.events
    assert isinstance(event, RequestFinished)
    assert (event.method, event.path, event.host) == (method, path, A)
    assert (world.health.calls, world.health.attempts, world.health.in_flight) == (1, 1, 0)
    assert "geheim" not in repr(world.events)


def test_other_methods_are_guarded_by_name() -> None:
    plain, named = World(), World(guard={"fetch"})
    assert plain.conn.fetch("/x") == named.conn.fetch("/x") == "ok"
    assert (plain.health.calls, named.health.calls) == (0, 1)
    assert named.conn.get("/x") == "ok"
    assert named.health.calls == 2


def test_what_the_object_calls_itself_is_its_own_business() -> None:
    world = World(guard={"inner"})
    assert world.conn.inner() == "ok"
    assert world.health.calls == 1


def test_a_failure_is_retried_and_the_last_real_outcome_is_the_objects_own() -> None:
    world = World(RESET, response(503), "third")
    assert world.conn.get("/x") == "third"
    assert len(world.api.calls) == 3
    assert len(world.all(RetryScheduled)) == len(world.all(AttemptFailed)) == 2
    assert world.health.failures == 2
    world = World(RESET, RESET, RESET)
    with pytest.raises(requests.ConnectionError) as caught:
        world.conn.get("/x")
    assert caught.value is RESET
    (failed,) = world.all(RequestFailed)
    assert failed.attempts == 3


def test_no_text_of_the_object_reaches_a_record() -> None:
    world = World(RESET, http_error(503), RESET)
    with pytest.raises(requests.ConnectionError):
        world.conn.get("/x?token=geheim")
    assert "geheim" not in repr(world.events) + repr(world.manager.health()) + repr(world.conn)
    assert world.health.last_error is not None


@pytest.mark.parametrize("came", [RESET, response(503), http_error(503)])
def test_what_may_have_been_processed_is_not_sent_twice(came: Any) -> None:
    world = World(came)
    assert outcome_of(lambda: world.conn.post("/x", "body")) is came
    assert len(world.api.calls) == 1
    assert [event.reason for event in world.all(RetryAbandoned)] == ["not idempotent"]


def never_sent() -> Exception:
    import urllib3

    return requests.ConnectionError(urllib3.exceptions.NewConnectionError(Any, "refused"))  # type: ignore[arg-type]


def test_what_never_left_is_sent_again() -> None:
    world = World(never_sent())
    assert world.conn.post("/x", "body") == "ok"
    assert len(world.api.calls) == 2


@pytest.mark.parametrize("before", [[], [ReadError("closed without an answer")]])
def test_the_objects_own_error_says_never_sent_only_of_a_call_that_never_was(before: list[Exception]) -> None:
    error = ConnectError("refused")
    error.never_sent = True
    world = World(*before, error, policy=POLICY.replace(retry={"attempts": len(before) + 1}))
    assert outcome_of(lambda: world.conn.get("/x")) is error
    assert error.never_sent is (not before)


def test_what_its_caller_is_handling_is_no_part_of_an_error() -> None:
    refused = ConnectError("the primary refused")
    refused.never_sent = True
    world = World(policy=POLICY.replace(retry=False), target=SimpleNamespace(post=broken_off))
    try:
        raise refused
    except ConnectError:
        with pytest.raises(requests.ConnectionError):
            world.conn.post("/x", "body")
    assert [event.error for event in world.all(AttemptFailed)] == ["ConnectionError"]


def broken_off(*_: Any) -> None:
    raise requests.ConnectionError("reset")


@pytest.mark.parametrize("word", ["headers", "extra_headers"])
def test_an_idempotency_key_allows_a_second_send(word: str) -> None:
    world = World(response(503))
    assert world.conn.post("/x", "body", **{word: {"idempotency-key": "1"}}) == "ok"


@pytest.mark.parametrize("kwargs", [{"json": {"Idempotency-Key": "1"}}, {"params": {"Idempotency-Key": "1"}}])
def test_a_body_with_such_a_member_is_no_idempotency_key(kwargs: Any) -> None:
    """It would be posted twice."""
    world = World(http_error(503))
    with pytest.raises(requests.HTTPError):
        world.conn.post("/x", {"Idempotency-Key": "1"}, **kwargs)
    assert len(world.api.calls) == 1


def test_a_method_guarded_by_name_counts_as_not_idempotent() -> None:
    world = World(RESET, guard={"fetch"})
    with pytest.raises(requests.ConnectionError):
        world.conn.fetch("GET")
    assert len(world.api.calls) == 1


@pytest.mark.parametrize(
    "body",
    [
        lambda: iter([b"a"]),
        lambda: (part for part in [b"a"]),
        lambda: BytesIO(b"a"),
        lambda: {"file": BytesIO(b"a")},
        lambda: {"file": ("name", BytesIO(b"a"), "text/plain")},
        lambda: [("file", ("name", iter([b"a"])))],
        lambda: SimpleNamespace(read=lambda size=-1: b"a"),
    ],
)
def test_a_body_that_can_be_read_once_is_sent_once(body: Callable[[], Any]) -> None:
    """A second attempt would send an empty one, and be told that all is well."""
    for world, send in ((World(RESET), lambda conn: conn.request("PUT", "/x", body())),
                        (World(RESET), lambda conn: conn.request("PUT", "/x", files=body()))):  # fmt: skip
        with pytest.raises(requests.ConnectionError):
            send(world.conn)
        assert len(world.api.calls) == 1
        assert [event.reason for event in world.all(RetryAbandoned)] == ["not replayable"]


def test_a_body_that_can_be_read_again_is_sent_again() -> None:
    world = World(RESET)
    assert world.conn.request("PUT", "/x", {"a": [1, "b", b"c", None, {"d": 2.5}]}, data="text") == "ok"


# -- what an outcome says about the host ---------------------------------------------------------


@pytest.mark.parametrize("status", [200, 301, 401, 404, 408, 429, 500, 501, 503])
@pytest.mark.parametrize("shape", ["status_code", "status", "raised", "raised status", "urllib"])
def test_a_status_is_judged_however_it_comes(status: int, shape: str) -> None:
    came: Any = {
        "status_code": SimpleNamespace(status_code=status),
        "status": SimpleNamespace(status=status),
        "raised": http_error(status),
        "raised status": type("Theirs", (Exception,), {"status_code": status})(),
        "urllib": urllib.error.HTTPError("/?token=geheim", status, "geheim", Message(), BytesIO()),
    }[shape]
    world = World(came, policy=POLICY.replace(retry=False))
    assert outcome_of(lambda: world.conn.get("/x")) is came
    verdict = (world.health.failures, world.health.success_ratio)
    failed, neutral = status in (500, 503), status in (408, 429, 501)
    assert verdict == (int(failed), None if neutral else float(not failed))
    (event,) = (event for event in world.events if isinstance(event, RequestFinished | RequestFailed))
    assert isinstance(event, RequestFailed) == failed
    assert event.status == status
    if shape == "urllib":
        came.close()


def test_a_404_that_is_raised_is_not_retried_and_proves_the_host_alive() -> None:
    error = http_error(404)
    world = World(error)
    with pytest.raises(requests.HTTPError) as caught:
        world.conn.get("/x")
    assert caught.value is error
    assert world.health.success_ratio == 1.0


def test_an_answer_without_a_status_is_a_success() -> None:
    for came in ({"data": 1}, None, 0, SimpleNamespace(status="fine"), SimpleNamespace(status_code=True)):
        world = World(lambda came=came: came)
        assert world.conn.get("/x") is came
        assert world.health.success_ratio == 1.0


def test_retry_after_is_heeded() -> None:
    world = World(response(503, Retry_After="7"), SimpleNamespace(status=503, headers={"Retry-After": "5"}))
    began = world.clock.now
    assert world.conn.get("/x") == "ok"
    assert world.clock.now - began == 12
    assert all(event.server_directed for event in world.all(RetryScheduled))


@pytest.mark.parametrize("headers", [{"Retry-After": 5}, {"retry-after": "5"}, {"retry-after": 5.0}])
def test_retry_after_is_heeded_in_the_headers_of_a_plain_dict(headers: dict[str, Any]) -> None:
    world = World(SimpleNamespace(status=503, headers=headers))
    began = world.clock.now
    assert world.conn.get("/x") == "ok"
    assert world.clock.now - began == 5


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("k"), FileNotFoundError(2, "No such file", "/ca.pem"),
                                   type("Theirs", (Exception,), {"response": None})()])  # fmt: skip
def test_an_exception_that_is_not_about_the_exchange_moves_nothing(error: Exception) -> None:
    world = World(error)
    with pytest.raises(type(error)) as caught:
        world.conn.get("/x")
    assert caught.value is error
    assert len(world.api.calls) == 1
    assert (world.health.failures, world.health.success_ratio, world.health.in_flight) == (0, None, 0)
    assert len(world.all(RequestFailed)) == 1


class Rude(Exception):
    @property
    def response(self) -> Any:
        raise RuntimeError("not now")


def test_an_exception_that_cannot_be_asked_is_raised_as_it_is() -> None:
    world = World(Rude())
    with pytest.raises(Rude):
        world.conn.get("/x")


def test_an_error_of_ours_keeps_its_type_and_lists_the_attempts() -> None:
    error = HTTPServiceUnavailable(response(503))
    world = World(error, error, error)
    with pytest.raises(HTTPServiceUnavailable) as caught:
        world.conn.get("/x")
    assert caught.value is error
    assert [attempt.status for attempt in caught.value.attempts] == [503, 503, 503]


def test_an_open_circuit_fails_at_once_and_the_connection_is_made_anew() -> None:
    world = World(*[RESET] * 5, policy=Policy(retry=False, breaker={"consecutive_for": 0, "open_for": 5}))
    for _ in range(5):
        with pytest.raises(requests.ConnectionError):
            world.conn.get("/x")
    with pytest.raises(CircuitOpenError):
        world.conn.get("/x")
    assert len(world.api.calls) == 5
    old, world.api = world.api, Api()
    world.clock.advance(1)
    assert world.manager.find(A) == world.api
    assert old.closings == 1


def test_an_isolated_host_and_a_full_bulkhead_reject() -> None:
    world = World(policy=POLICY.replace(bulkhead={"max_concurrent": 1}))
    entered, go = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        assert go.wait(10)
        return "slow"

    world.api.script.append(slow)
    job = in_thread(lambda: world.conn.get("/x"))
    assert entered.wait(10)
    with pytest.raises(BulkheadFullError):
        world.conn.get("/x")
    go.set()
    assert job() == "slow"
    world.manager.isolate(A)
    with pytest.raises(HostIsolatedError):
        world.conn.get("/x")
    assert len(world.api.calls) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_ctrl_c_gives_the_permit_back(stop: type[BaseException]) -> None:
    world = World(
        RESET, stop(), policy=POLICY.replace(breaker={"consecutive_for": 0, "consecutive": 1, "ramp": 0}, retry=False)
    )
    with pytest.raises(requests.ConnectionError):
        world.conn.get("/x")
    world.clock.advance(6)
    with pytest.raises(stop):
        world.conn.get("/x")
    assert world.health.in_flight == 0
    assert world.health.failures == 1
    assert world.conn.get("/x") == "ok", "the probe's permit is back"
    assert len(world.all(RequestFailed)) == 2


def test_no_attempt_begins_after_the_deadline() -> None:
    world = World(policy=POLICY.replace(timeout={"total": 30}))

    def slow() -> Any:
        world.clock.advance(31)
        raise RESET

    world.api.script = [slow]
    with pytest.raises(requests.ConnectionError):
        world.conn.get("/x")
    assert len(world.api.calls) == 1


class Endless(Api):
    close = None  # type: ignore[assignment]


def when_it_waits(world: World, act: Callable[[], Any]) -> None:
    """Have `act` called while a call of the guard waits for a retry."""

    def sleep(seconds: float, wake: Wake | None = None) -> bool:
        act()
        return wake is not None and wake.is_set()

    world.clock.sleep = sleep  # type: ignore[method-assign]


@pytest.mark.parametrize(("end", "kind"), [("manager", Api), ("reset", Api), ("reset", Endless), ("close", Api)])
def test_closing_ends_a_wait_with_the_outcome_in_hand(end: str, kind: type[Api]) -> None:
    world = World(target=kind(RESET))
    ends = {"manager": world.manager.close, "reset": world.manager.reset, "close": world.conn.close}
    when_it_waits(world, ends[end])
    with pytest.raises(requests.ConnectionError) as caught:
        world.conn.get("/x")
    assert caught.value is RESET
    assert len(world.api.calls) == 1
    assert world.api.closings == (kind is Api)
    assert [event.reason for event in world.all(RetryAbandoned)] == ["closed"]


@pytest.mark.parametrize("give_up", ["evict", "add"])
def test_a_call_goes_on_when_its_object_is_given_up_which_is_closed_after_it(give_up: str) -> None:
    world = World(RESET)
    seen: list[int] = []

    def act() -> None:
        world.manager.evict(A) if give_up == "evict" else world.manager.add(A, None, Api())
        seen.append(world.api.closings)

    when_it_waits(world, act)
    assert world.conn.get("/x") == "ok"
    assert len(world.api.calls) == 2
    assert (seen, world.api.closings) == ([0], 1)


def test_an_object_behind_two_guards_is_closed_after_the_calls_of_both() -> None:
    world = World(RESET)
    second = world.manager.find(A, ("u", "p"))
    seen: list[int] = []

    def act() -> None:
        world.manager.evict(A, None)
        assert second.get("/y") == "ok"
        world.manager.evict(A)
        seen.append(world.api.closings)

    when_it_waits(world, act)
    assert world.conn.get("/x") == "ok"
    assert (seen, world.api.closings) == ([0], 1)


def test_the_answer_of_a_failed_attempt_is_let_go_before_the_wait() -> None:
    held = response(503)
    closed: list[bool] = []
    held.close = lambda: closed.append(True)  # type: ignore[method-assign]
    world = World(held)
    assert world.conn.get("/x") == "ok"
    assert closed


def test_guards_of_one_object_are_two_and_close_it_once() -> None:
    world = World()
    second = world.manager.find(A, ("u", "p"))
    assert unguarded(second) is world.api
    world.manager.evict(A, None)
    assert world.api.closings == 0
    assert second.get("/x") == "ok"
    world.manager.reset()
    assert world.api.closings == 1


def test_an_object_without_close_stays_without() -> None:
    world = World(target=SimpleNamespace(get=lambda uri: uri))
    assert not hasattr(world.conn, "close")
    assert world.conn.get("/x") == "/x"
    world.manager.close()


# -- a 401 has the hooks asked anew --------------------------------------------------------------


class Logins(Bed):
    """A manager whose hook logs in anew each time: the objects that it made, each with the script of its turn."""

    def __init__(self, *scripts: tuple[Any, ...], policy: Policy = POLICY) -> None:
        self.clock = Impatient()
        self.events = []
        self.manager = ConnectionManager(policy=policy, clock=self.clock, observer=self.observe, guard=True)
        self.hook = Hook(self.log_in)
        self.manager.add_conn_hook(self.hook)
        self.scripts = list(scripts)
        self.made: list[Api] = []

    def log_in(self, host: Any, auth: Any) -> Api:
        self.made.append(Api(*(self.scripts.pop(0) if self.scripts else ())))
        return self.made[-1]

    def call(self) -> Any:
        self.clock.advance(0.01)
        return outcome_of(lambda: self.manager.find(A).get("/x"))


def theirs(cause: Exception | None = None, **fields: Any) -> Exception:
    """An exception of an unknown library."""
    error = type("Theirs", (Exception,), fields)("geheim")
    error.__cause__ = cause
    return error


#: However the libraries tell of a status: returned, or raised as an exception that has it, or wraps one that has.
SAYS = {
    "requests": response,
    "http.client": lambda status: SimpleNamespace(status=status),
    "raised by requests": http_error,
    "raised by httpx": lambda status: theirs(response=SimpleNamespace(status_code=status)),
    "raised with a urllib3 response": lambda status: theirs(response=SimpleNamespace(status=status)),
    "raised by aiohttp": lambda status: theirs(status=status),
    "raised by version 2.0": lambda status: theirs(http_code=status),
    "raised by OpenStack": lambda status: theirs(http_status=status),
    "raised by Tornado": lambda status: theirs(code=status),
    "raised by Google": lambda status: theirs(code=http.HTTPStatus(status)),
    "raised by botocore": lambda status: theirs(
        response={"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    ),
    "wrapped": lambda status: theirs(theirs(http_error(status))),
}


@pytest.mark.parametrize("shape", SAYS)
def test_a_401_evicts_the_object_however_it_is_told(shape: str) -> None:
    refused = SAYS[shape](401)
    bed = Logins(("ok", refused))
    assert [bed.call(), bed.call(), bed.call(), bed.call()] == ["ok", refused, "ok", "ok"]
    assert len(bed.made) == 2
    assert bed.reasons() == ["unauthorized"]
    assert bed.made[0].closings == 1
    assert bed.manager.health(A).state == "healthy"
    assert "geheim" not in repr(bed.events)


@pytest.mark.parametrize("shape", SAYS)
def test_a_503_is_a_failure_however_it_is_told(shape: str) -> None:
    bed = Logins((SAYS[shape](503),), policy=POLICY.replace(retry=False))
    bed.call()
    assert bed.manager.health(A).failures == 1
    (event,) = bed.all(RequestFailed)
    assert event.status == 503


def test_urllibs_own_error_is_a_401() -> None:
    with urllib.error.HTTPError("/?token=geheim", 401, "geheim", Message(), BytesIO()) as refused:
        bed = Logins(("ok", refused))
        assert [bed.call(), bed.call(), bed.call()] == ["ok", refused, "ok"]


@pytest.mark.parametrize("came", [
    theirs(code="401"), theirs(code=True), theirs(code=1401), theirs(code=4.01), theirs(status="401 Unauthorized"),
    theirs(response={"ResponseMetadata": {"HTTPStatusCode": "401"}}), theirs(response={"ResponseMetadata": None}),
    theirs(response={}), theirs(response=401), SimpleNamespace(code=401), {"status": 401}, response(403),
    http_error(403), ValueError(401), Rude(),
])  # fmt: skip
def test_what_is_no_401_leaves_the_object_where_it_is(came: Any) -> None:
    bed = Logins(("ok", came))
    assert [bed.call(), bed.call(), bed.call()] == ["ok", came, "ok"]
    assert len(bed.made) == 1


def test_a_401_that_was_met_on_the_way_to_another_error_does_not_count() -> None:
    """The object may have asked a login server, or another host, and got on."""
    error = theirs()
    error.__context__ = http_error(401)
    bed = Logins(("ok", error))
    assert [bed.call(), bed.call(), bed.call()] == ["ok", error, "ok"]
    assert len(bed.made) == 1


def test_causes_in_a_circle_come_to_an_end() -> None:
    first, second = theirs(), theirs()
    first.__cause__, second.__cause__ = second, first
    assert Logins((first,)).call() is first


def test_only_the_final_outcome_of_a_call_counts() -> None:
    policy = POLICY.replace(retry={"statuses": [401], "attempts": 2, "wait_initial": 0, "wait_max": 0})
    bed = Logins((response(401), "ok"), policy=policy)
    assert [bed.call(), bed.call()] == ["ok", "ok"]
    assert len(bed.made) == 1


def test_unauthorized_evicts_switches_it_off_for_guards_too() -> None:
    refused = http_error(401)
    bed = Logins(("ok", refused, refused), policy=POLICY.replace(health={"unauthorized_evicts": False}))
    assert [bed.call(), bed.call(), bed.call(), bed.call()] == ["ok", refused, refused, "ok"]
    assert len(bed.made) == 1


def test_logins_that_go_on_being_refused_are_a_growing_back_off_apart() -> None:
    """Each of the callers gets its 401 meanwhile, and the login server is left alone."""
    refused = http_error(401)
    bed = Logins(*[(refused,) * 10_000] * 20)
    began, times = bed.clock.now, []
    while bed.clock.now < began + 40:
        before = len(bed.made)
        assert bed.call() is refused
        if len(bed.made) > before:
            times.append(round(bed.clock.now - began))
        bed.clock.advance(0.1)
    assert times == [0, 1, 3, 7, 15, 31]


def test_a_login_that_is_accepted_again_ends_the_back_off() -> None:
    refused = http_error(401)
    bed = Logins((refused,) * 100, ("ok", refused), ("ok", refused), ("ok",))
    while bed.call() is refused:
        bed.clock.advance(0.1)
    assert [bed.call() for _ in range(5)] == [refused, "ok", refused, "ok", "ok"]
    assert len(bed.made) == 4


def test_a_guard_of_an_object_that_the_hook_gives_again_starts_afresh() -> None:
    """As where the hook logs in anew with the object that it keeps."""
    refused = http_error(401)
    api = Api("ok", refused)
    bed = Logins()
    bed.hook.act = lambda host, auth: api
    assert [bed.call(), bed.call(), bed.call(), bed.call()] == ["ok", refused, "ok", "ok"]
    assert len(bed.hook.asked) == 2


def test_each_pair_logs_in_for_itself() -> None:
    bed = Logins(("ok",), ("ok", http_error(401)))
    other = bed.manager.find(A, ("u", "p"))
    bed.call()
    bed.call()
    assert bed.manager.find(A, ("u", "p")) is other
    assert bed.manager.find(A) == bed.made[2]


def test_a_guard_that_was_evicted_no_longer_speaks_for_its_pair() -> None:
    """A 401 that comes late, to a call that began with the old token, costs no second login."""
    refused = http_error(401)
    bed = Logins(("ok", refused, refused))
    old = bed.manager.find(A)
    assert [bed.call(), bed.call(), bed.call()] == ["ok", refused, "ok"]
    assert outcome_of(lambda: old.get("/late")) is refused
    assert bed.call() == "ok"
    assert len(bed.made) == 2


def test_calls_in_flight_go_on_when_another_one_met_a_401() -> None:
    bed = Logins(("ok",))
    bed.call()
    entered, go = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        assert go.wait(10)
        return "slow"

    (api,) = bed.made
    api.script.append(slow)
    held = bed.manager.find(A)
    job = in_thread(lambda: held.get("/slow"))
    assert entered.wait(10)
    api.script.append(http_error(401))
    bed.call()
    assert bed.call() == "ok"
    assert (len(bed.made), api.closings) == (2, 0)
    go.set()
    assert job() == "slow"
    assert api.closings == 1


def test_a_guard_in_use_is_not_idle_without_a_find() -> None:
    bed = Logins()
    held = bed.manager.find(A)
    for _ in range(10):
        bed.clock.advance(100)
        assert held.get("/x") == "ok"
    bed.manager.find("https://other.test")  # which also looks for what is overdue
    assert bed.made[0].closings == 0
    assert bed.manager.find(A) == bed.made[0]
    bed.clock.advance(301)
    assert bed.manager.find(A) == bed.made[2]
    assert bed.reasons() == ["idle"] * len(bed.reasons())


def test_a_guarded_primary_that_refuses_is_given_up_for_what_the_hook_gives_next() -> None:
    refused = ConnectionRefusedError(111, "refused")
    bed = Logins(("ok", *[refused] * 100), policy=POLICY.replace(retry=False))
    bed.call()
    bed.clock.advance(1)
    assert [bed.call() for _ in range(6)] == [refused] * 3 + ["ok"] * 3
    assert bed.reasons() == ["connect"]
    assert bed.manager.health(A).broken_since is None
