"""An error's traceback shows no value of the library's own frames, and all of the caller's."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import sleepwalker
from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, ServiceManager
from sleepwalker.aio import AsyncConnection
from sleepwalker.datarep import DataRep
from sleepwalker.frames import without_locals
from sleepwalker.links import pages
from sleepwalker.service import Service

SECRET = "canary-7d1f"
PACKAGE = str(Path(sleepwalker.__file__).parent)


def shown(error: BaseException) -> str:
    """A traceback as error trackers take it; source lines are the test's own, so without them."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    return repr([(frame.filename, frame.name, frame.locals) for frame in whole.stack])


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as if it were written in the module `name`."""
    return type(function)(function.__code__, {**function.__globals__, "__name__": name}, None, None, None)


def inner(secret: str) -> None:
    raise KeyError("inner")


def test_frames_of_ours_are_emptied_and_those_of_others_are_not() -> None:
    ours, alike, others = (named(name, inner) for name in ("sleepwalker.x", "sleepwalker_plugin", "theirs"))
    for function, hidden in ((ours, True), (alike, False), (others, False)):
        with pytest.raises(KeyError) as caught:
            without_locals(function)(SECRET)
        assert (SECRET in shown(caught.value)) is not hidden
        assert "inner" in shown(caught.value), "which frames they were is still told"


def test_a_coroutine_function_is_emptied_as_well_and_stays_one() -> None:
    async def outer(secret: str) -> None:
        await asyncio.sleep(0)
        named("sleepwalker.x", inner)(secret)

    wrapped = without_locals(named("sleepwalker.x", outer))
    assert inspect.iscoroutinefunction(wrapped)
    coroutine = wrapped(SECRET)
    assert coroutine.__qualname__ == outer.__qualname__, "as a warning of one that is never awaited names it"
    with pytest.raises(KeyError) as caught:
        asyncio.run(coroutine)
    ours = [frame for frame in traceback.walk_tb(caught.value.__traceback__) if frame[0].f_code.co_name == "outer"]
    assert len(ours) == 1, "which frames they were is still told"
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert SECRET not in repr([frame.locals for frame in frames if frame.name in ("outer", "inner", "call")])


def test_a_coroutine_that_is_cancelled_is_emptied_and_the_caller_is_told() -> None:
    async def outer(secret: str) -> None:
        await asyncio.sleep(60)

    async def main() -> BaseException:
        task = asyncio.ensure_future(without_locals(named("sleepwalker.x", outer))(SECRET))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    assert SECRET not in shown(asyncio.run(main()))


def test_what_an_error_was_raised_from_is_looked_at_too() -> None:
    def outer(function: Callable[..., Any]) -> None:
        try:
            function(SECRET)
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as caught:
        without_locals(outer)(named("sleepwalker.x", inner))
    assert caught.value.__cause__ is not None
    assert SECRET not in shown(caught.value.__cause__)


def test_a_generator_that_is_at_rest_goes_on() -> None:
    """Clearing its frame would close it."""

    def pages() -> Iterator[Any]:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            yield error
        yield "the next"

    resting = named("sleepwalker.x", pages)()
    kept = next(resting)

    def fails() -> None:
        raise ValueError("other") from kept

    with pytest.raises(ValueError, match="other"):
        without_locals(fails)()
    assert next(resting) == "the next"


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = KeyError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first

    def fails() -> None:
        raise first

    with pytest.raises(KeyError):
        without_locals(fails)()


def test_a_checker_and_a_help_text_see_what_is_wrapped() -> None:
    assert list(inspect.signature(Connection.get).parameters) == ["self", "uri", "kwargs"]
    assert list(inspect.signature(Connection).parameters)[:3] == ["hostname", "auth", "port"]
    assert (Connection.get.__doc__ or "").startswith("`request` with GET")


CONSTRUCTORS: list[dict[str, Any]] = [
    {"hostname": f"https://anna:{SECRET}@host"},
    {"hostname": f"https://host/?{SECRET}"},
    {"port": SECRET},
    {"policy": f"https://anna:{SECRET}@host/x.toml"},
    {"timeout": SECRET},
    {"headers": {"X-A": f"{SECRET}\n"}},
    {"headers": {f"X: {SECRET}": "1"}},
    {"max_body": SECRET},
    {"observer": SECRET},
    {"session": SECRET},
    {"proxies": {"https": f"ftp://anna:{SECRET}@proxy"}},
    {"verify": b"/" + SECRET.encode()},
    {"cert": ("/no/such/file", SECRET.encode())},
    {"auth": SECRET},
    {"auth": ("anna", f"{SECRET}\n")},
    {"auth": ["anna", SECRET, SECRET]},
    {"hostname": "http://host", "auth": ("anna", SECRET)},
    {"hostname": "http://host", "headers": {"Authorization": f"Basic {SECRET}"}},
    {"clock": SECRET},
]


@pytest.mark.parametrize("arguments", CONSTRUCTORS, ids="-".join)
def test_a_constructor_that_fails_shows_no_argument_and_the_half_made_object_can_be_shown(
    arguments: dict[str, Any],
) -> None:
    made: list[Connection] = []

    class Mine(Connection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            made.append(self)
            super().__init__(*args, **kwargs)

    with pytest.raises((ValueError, TypeError, AttributeError)) as caught:
        Connection(**{"hostname": "https://host", "auth": ANONYMOUS, **arguments})
    text = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    assert SECRET not in text
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    assert ours
    assert SECRET not in repr([frame.locals for frame in ours])
    with pytest.raises(type(caught.value)):
        Mine(**{"hostname": "https://host", "auth": ANONYMOUS, **arguments})
    assert repr(made[0]) == str(made[0]) == "<Mine, not made>"


PASSWORD = ("anna", SECRET)
HOST = f"https://anna:{SECRET}@host"
MANAGER = ConnectionManager()


class Unknown:
    """Definitions that are not there."""

    def find_by_id(self, *words: str) -> Any:
        raise LookupError(len(words))

    find_by_name = find_by_id


@pytest.mark.parametrize(
    "call",
    [
        lambda: ConnectionManager(policy=SECRET),
        lambda: MANAGER.forget(HOST),
        lambda: MANAGER.isolate(HOST),
        lambda: MANAGER.reset_circuit(HOST),
        lambda: MANAGER.restore(HOST),
        lambda: MANAGER.health(HOST),
        lambda: MANAGER.conns["host", PASSWORD],
        lambda: Service(None, HOST, auth=PASSWORD),
        lambda: ServiceManager(Unknown(), MANAGER, allow=[HOST]),
        lambda: ServiceManager(Unknown(), MANAGER).find_by_id(HOST, "shop", auth=PASSWORD),
        lambda: ServiceManager(Unknown(), MANAGER).find_by_name(HOST, "shop", "1.0", auth=PASSWORD),
        lambda: Connection("https://host", ANONYMOUS).get_url(f"//[{SECRET}"),
        lambda: pages(requests.Response(), max_pages=0, auth=PASSWORD, headers={"X-A": SECRET}),
    ],
)
def test_all_that_is_given_a_host_or_credentials_shows_none(call: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, LookupError, sleepwalker.SleepwalkerException)) as caught:
        call()
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    assert ours
    assert SECRET not in repr([frame.locals for frame in ours])


def test_a_walk_that_breaks_off_shows_nothing_of_what_goes_with_each_step() -> None:
    """Its frames are emptied, and what it is asked anew with is not shown by it."""

    class Hook(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Any:
            raise OSError("there is none")

    manager = ConnectionManager()
    manager.add_conn_hook(Hook())
    first = requests.Response()
    first.status_code, first.url, first._content = 200, "https://host/", b""
    first.headers["Link"] = f"</2?token={SECRET}>; rel=next"
    walk = pages(first, manager=manager, auth=PASSWORD, headers={"X-A": SECRET}, params={"key": SECRET})
    assert next(walk) is first
    with pytest.raises(sleepwalker.ConnectionError) as caught:
        next(walk)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    assert "__next__" in [frame.name for frame in ours]
    assert SECRET not in repr([frame.locals for frame in ours])


@pytest.mark.parametrize("kind", [Connection, ConnectionManager, Service, DataRep])
def test_an_object_that_is_not_made_yet_can_be_shown(kind: type) -> None:
    """As a traceback with locals does, of a constructor that failed."""
    assert repr(kind.__new__(kind)) == f"<{kind.__name__}, not made>"


def test_the_callers_own_frames_are_left_to_them() -> None:
    """What an auth object did before it failed is for its author to see."""

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        theirs = "what the author looks for"
        raise LookupError(len(theirs))

    with Connection("http://127.0.0.1:1", sign) as conn, pytest.raises(LookupError) as caught:
        conn.get(f"/?token={SECRET}", headers={"X-A": SECRET})
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    (signing,) = [frame for frame in frames if frame.name == "sign"]
    assert "what the author looks for" in repr(signing.locals)
    assert SECRET not in repr([frame.locals for frame in frames if frame.filename.startswith(PACKAGE)])


def test_calls_that_are_awaited_show_nothing_either() -> None:
    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        raise LookupError(request.method)

    async def main() -> None:
        errors: list[BaseException] = []
        async with AsyncConnection("http://127.0.0.1:1", sign, policy="off") as conn:

            async def streamed() -> None:
                async with conn.stream("GET", f"/?{SECRET}", headers={"X-A": SECRET}):
                    pass

            for call in (
                lambda: conn.get(f"/?token={SECRET}", headers={"X-A": SECRET}),
                lambda: conn.put("/", data=SECRET.encode(), params={"key": SECRET}),
                lambda: conn.json_request("POST", f"/?{SECRET}", {"a": SECRET}, {"b": SECRET}, {"X-A": SECRET}),
                lambda: conn.request("GET", "/", timeout=SECRET),
                lambda: conn.get(f"//{SECRET}/"),
                streamed,
            ):
                with pytest.raises((LookupError, ValueError)) as caught:
                    await call()  # type: ignore[no-untyped-call]
                errors.append(caught.value)
        for error in errors:
            frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
            ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
            assert ours
            assert SECRET not in repr([frame.locals for frame in ours])

    asyncio.run(main())


def test_a_program_that_dies_of_an_error_shows_it_whole() -> None:
    script = "from sleepwalker import ANONYMOUS, Connection\nConnection('http://127.0.0.1:9', ANONYMOUS).get('//x')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "in request" in done.stderr
    assert "URLError: uri leads to http://x" in done.stderr
