"""`sleepwalker.aio` as blocking code sees it: each call runs in an event loop of another thread, and its caller waits.

So one set of tests is for both drivers (see `tests.both_drivers`). Nothing is decided or caught here: arguments,
returned values and errors pass as they are.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import selectors
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Self

import sleepwalker.aio
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager, AsyncResponse

#: Seconds until a call counts as hanging.
_HANGS = 40.0
#: Seconds for what was cancelled, or goes on in the background, to come to its end when all is closed.
_GRACE = 1.0


class Loop:
    """An event loop in a thread of its own, which tells at its end what was left behind."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._own_sockets = len(self._selector.get_map())
        self._said: list[str] = []
        self._ended = False
        self._blocks: list[contextlib.AbstractAsyncContextManager[Any]] = []
        self._made: weakref.WeakSet[Any] = weakref.WeakSet()
        self._loop.set_exception_handler(lambda _, context: self._said.append(_told(context)))
        self._thread = threading.Thread(target=self._serve, name="loop of a test", daemon=True)
        self._thread.start()

    def made(self, thing: AsyncConnection | AsyncConnectionManager[Any]) -> None:
        """It is closed at the end, if the test does not."""
        self._made.add(thing)

    def call(self, conn: AsyncConnection, call: Callable[[], Any]) -> Any:
        """As `run`, of a connection whose last response is that of the caller's thread from now on."""

        latest: list[Any] = []
        try:
            return self.run(partial(_with_latest, conn, call, latest))
        finally:
            if latest and latest[0] is not None:
                is_stream = isinstance(latest[0], AsyncResponse)
                _latest_of(conn).response = weakref.ref(latest[0]) if is_stream else latest[0]
            del latest

    def latest(self, conn: AsyncConnection) -> Any:
        """The last response of a connection in the caller's thread."""
        latest = getattr(_latest_of(conn), "response", None)
        return latest() if isinstance(latest, weakref.ref) else latest

    def entered(self, conn: AsyncConnection, block: contextlib.AbstractAsyncContextManager[Any]) -> Any:
        """What a stream's block gives. It is left at the end, if the test does not."""
        self._blocks.append(block)
        return self.call(conn, block.__aenter__)

    def is_here(self) -> bool:
        """Whether the calling thread is the loop's."""
        return threading.get_ident() == self._thread.ident

    def run(self, call: Callable[[], Any]) -> Any:
        """What `call()` returns, or what that comes to if it is awaited: in a task of the loop.

        The task sees the caller's context variables, the caller those that the task sets, as if both were one. So it is
        with an exception that the caller is handling. An exception that a signal handler raises cancels the task.
        """
        if self.is_here():
            raise AssertionError("blocking code in the loop's own thread: such a test is for threads only")
        context = contextvars.copy_context()
        under_way = _UnderWay(call, sys.exception())
        self._loop.call_soon_threadsafe(under_way.begin, self._loop, context)
        try:
            return under_way.done.result(_HANGS)
        except BaseException:
            if not under_way.done.done():
                self._loop.call_soon_threadsafe(under_way.cancel)
                concurrent.futures.wait([under_way.done], _GRACE)
            raise
        finally:
            del under_way  # it has the error, whose traceback has this frame
            for variable, value in context.items():
                if variable.get(_MISSING) is not value:
                    variable.set(value)

    def _serve(self) -> None:
        while not self._ended:
            with contextlib.suppress(KeyboardInterrupt, SystemExit):  # of a task, whose caller gets it, too
                self._loop.run_forever()

    def end(self) -> None:
        """Close what is open, then fail where a task, a socket or a message of the loop is left."""
        try:
            for block in self._blocks:
                with contextlib.suppress(StopAsyncIteration, RuntimeError):
                    self.run(partial(block.__aexit__, None, None, None))
            for thing in list(self._made):
                self.run(thing.close)
            left = self.run(self._left)
        finally:
            self._ended = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_HANGS)
        self._loop.close()
        assert not self._said, f"the loop's exception handler was told: {self._said}"
        assert left == ([], []), f"tasks and sockets that were left: {left}"

    def open_sockets(self) -> list[str]:
        """What the loop watches beside the pipe that wakes it."""
        return [str(key) for key in list(self._selector.get_map().values())[self._own_sockets :]]

    async def _left(self) -> tuple[list[str], list[str]]:
        ends = self._loop.time() + _GRACE
        while True:
            tasks = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            sockets = self.open_sockets()
            if not (tasks or sockets) or self._loop.time() > ends:
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
                await self._loop.shutdown_asyncgens()
                return tasks, sockets
            await asyncio.sleep(0.005)


async def _with_latest(conn: AsyncConnection, call: Callable[[], Any], latest: list[Any]) -> Any:
    try:
        return await call()
    finally:
        latest.append(conn.response)


def _latest_of(conn: AsyncConnection) -> Any:
    """The last responses by thread, in what a connection and its scopes share."""
    return vars(conn).setdefault("_latest_in_tests", threading.local())


class _UnderWay:
    """A call in a task of the loop. What it comes to is known when the task has ended, also where it was cancelled."""

    def __init__(self, call: Callable[[], Any], handled: BaseException | None) -> None:
        self.done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._call, self._handled = call, handled
        self._task: asyncio.Task[Any] | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        self._task = loop.create_task(_work(self._call, self._handled), context=context)
        self._handled = None
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._task = None
        if task.cancelled():
            self.done.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(task.result())


async def _work(call: Callable[[], Any], handled: BaseException | None) -> Any:
    """Await a call. This frame is in the traceback of what it raises, and so must not have what that ends up in."""
    if handled is None:
        result = call()
        return await result if inspect.isawaitable(result) else result
    traceback = handled.__traceback__
    try:
        raise handled
    except BaseException:
        handled.__traceback__ = traceback
        return await _work(call, None)
    finally:
        del handled


def _told(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context.get('message')}: {error!r} {context.get('task') or context.get('future') or ''}"


_MISSING: Any = object()
_running: Loop | None = None


@contextlib.contextmanager
def running_loop() -> Iterator[Loop]:
    """The loop of all connections and managers that are made meanwhile."""
    global _running
    _running = loop = Loop()
    try:
        yield loop
        loop.end()
    finally:
        _running = None


def _loop() -> Loop:
    assert _running is not None, "made for a test that is over"
    return _running


#: The facade of each inner object, for as long as the test has it.
_facades: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def _outer(inner: Any) -> Any:
    """What stands for `inner` in a test."""
    if not isinstance(inner, AsyncConnection):
        return inner
    facade = _facades.get(id(inner))
    if facade is None or facade._inner is not inner:
        facade = object.__new__(Connection)
        facade._stand_for(inner)
    return facade


def _inner(outer: Any) -> Any:
    return outer._inner if isinstance(outer, _Facade) else outer


class _Facade:
    """All attributes are those of the inner object."""

    _inner: Any

    def _stand_for(self, inner: Any) -> None:
        vars(self)["_inner"] = inner
        _facades[id(inner)] = self
        _loop().made(inner)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self._inner), name, None), property):
            setattr(self._inner, name, value)
        else:
            vars(self)[name] = value

    def close(self) -> None:
        _loop().run(self._inner.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def __class__(self) -> Any:
        """For `isinstance`, that of the inner object."""
        return type(vars(self).get("_inner", self))

    def __repr__(self) -> str:
        return repr(self._inner).replace("Async", "", 1) if "_inner" in vars(self) else "<not made>"

    def __reduce__(self) -> Any:
        return self._inner.__reduce__()


class Connection(_Facade):
    """An `AsyncConnection` for blocking code."""

    JsonEncoder = AsyncConnection.JsonEncoder

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._stand_for(AsyncConnection(*args, **kwargs))

    @property
    def conn(self) -> Any:
        """What has the common headers and the cookies."""
        return self._inner._route.session

    @property
    def response(self) -> Any:
        return _loop().latest(self._inner)

    def request(self, method: str, uri: str, **options: Any) -> Any:
        if options.pop("stream", False):
            return self._streamed(method, uri, options)
        return _loop().call(self._inner, lambda: self._inner.request(method, uri, **options))

    def json_request(self, *args: Any, **kwargs: Any) -> Any:
        return _loop().call(self._inner, lambda: self._inner.json_request(*args, **kwargs))

    def download(self, *args: Any, **kwargs: Any) -> Any:
        return _loop().call(self._inner, lambda: self._inner.download(*args, **kwargs))

    def get(self, uri: str, **options: Any) -> Any:
        return self._verb("GET", uri, options)

    def head(self, uri: str, **options: Any) -> Any:
        return self._verb("HEAD", uri, options)

    def post(self, uri: str, **options: Any) -> Any:
        return self._verb("POST", uri, options)

    def put(self, uri: str, **options: Any) -> Any:
        return self._verb("PUT", uri, options)

    def patch(self, uri: str, **options: Any) -> Any:
        return self._verb("PATCH", uri, options)

    def delete(self, uri: str, **options: Any) -> Any:
        return self._verb("DELETE", uri, options)

    def options(self, uri: str, **options: Any) -> Any:
        return self._verb("OPTIONS", uri, options)

    def _verb(self, method: str, uri: str, options: dict[str, Any]) -> Any:
        if options.get("stream"):
            return self.request(method, uri, **options)
        return _loop().call(self._inner, lambda: getattr(self._inner, method.lower())(uri, **options))

    def _streamed(self, method: str, uri: str, options: dict[str, Any]) -> Any:
        block = self._inner.stream(method, uri, **options)
        response = _loop().entered(self._inner, block)
        response.__class__ = Streamed
        response._block = block
        return response

    def until_its_sockets_are_closed(self) -> None:
        """Wait until no socket is left of this test's connections."""
        ends = time.monotonic() + 20
        while _loop().open_sockets():
            assert time.monotonic() < ends, "they were not closed"
            time.sleep(0.01)

    def probe(self, path: str, seconds: float) -> Any:
        return _loop().run(lambda: self._inner.probe(path, seconds))

    def retire(self) -> None:
        _loop().run(self._inner.retire)

    def scope(self, *args: Any, **kwargs: Any) -> Any:
        return _outer(self._inner.scope(*args, **kwargs))


class Streamed(AsyncResponse):
    """A streamed response that is read as one of requests; made by changing the class of what a block gives."""

    _block: Any

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        assert not decode_unicode
        pieces = self.aiter_bytes(chunk_size)
        while (piece := _loop().run(lambda: anext(pieces, None))) is not None:
            yield piece

    @property
    def content(self) -> Any:
        return _loop().run(self.aread)

    def close(self) -> None:
        if _loop().is_here():
            super().close()
        else:
            _loop().run(lambda: self._block.__aexit__(None, None, None))


class ConnectionManager(_Facade):
    """An `AsyncConnectionManager` for blocking code."""

    def __init__(self, **kwargs: Any) -> None:
        self._stand_for(AsyncConnectionManager(**kwargs))

    def __class_getitem__(cls, _: Any) -> Any:
        return cls

    def add_conn_hook(self, hook: Any) -> None:
        kind = type(hook)
        if hasattr(kind, "connect"):
            hook = type(kind.__name__, (_Hook,), {})(hook)
        self._called("add_conn_hook", hook)

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        if name.startswith("_") or not inspect.ismethod(value):
            return value
        return lambda *args, **kwargs: self._called(name, *args, **kwargs)

    @property
    def conns(self) -> Mapping[Any, Any]:
        return _Conns(self._inner.conns)

    def _called(self, name: str, *args: Any, **kwargs: Any) -> Any:
        args = tuple(map(_inner, args))
        kwargs = {name: _inner(value) for name, value in kwargs.items()}
        return _outer(_loop().run(lambda: getattr(self._inner, name)(*args, **kwargs)))

    def __len__(self) -> int:
        return len(self._inner)

    def __bool__(self) -> bool:
        return bool(self._inner)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter([(host, _outer(conn)) for host, conn in self._inner])


class _Conns(Mapping[Any, Any]):
    def __init__(self, inner: Mapping[Any, Any]) -> None:
        self._inner = inner

    def __getitem__(self, key: Any) -> Any:
        return _outer(self._inner[key])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)

    def __repr__(self) -> str:
        return repr(self._inner)


class _Hook:
    """A test's hook, a plain function for the manager: it runs in a thread, where blocking code may be."""

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def connect(self, host: str, auth: Any) -> Any:
        return _inner(self._hook.connect(host, auth))

    def __repr__(self) -> str:
        return repr(self._hook)


def follow(source: Any, *args: Any, **kwargs: Any) -> Any:
    """`sleepwalker.aio.follow` for blocking code."""
    source, kwargs = _inner(source), {name: _inner(value) for name, value in kwargs.items()}
    return _loop().run(lambda: sleepwalker.aio.follow(source, *args, **kwargs))


class pages(Iterator[Any]):  # noqa: N801 - it stands for a function
    """`sleepwalker.aio.pages` for blocking code."""

    def __init__(self, source: Any, *args: Any, **kwargs: Any) -> None:
        source, kwargs = _inner(source), {name: _inner(value) for name, value in kwargs.items()}
        self._walk = _loop().run(lambda: sleepwalker.aio.pages(source, *args, **kwargs))

    def __next__(self) -> Any:
        page = _loop().run(lambda: anext(self._walk, _MISSING))
        if page is _MISSING:
            raise StopIteration
        return page
