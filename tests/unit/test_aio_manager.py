"""What is particular to a manager whose callers are tasks: flights, hooks of both kinds, loops, and their ends."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import gc
import logging
import random
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import aiohttp
import pytest

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, DeadlineExceeded, HostIsolatedError, Policy
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager
from sleepwalker.events import ConnectionEvicted, ConnectionHooked, Event, HookFailed, HookSlow
from tests import forks
from tests.unit.manager_driver import A, B, in_thread, until

T = TypeVar("T")
Manager = AsyncConnectionManager[Any]
Making = Callable[[str, Any], Any]


@pytest.fixture(autouse=True)
def _nothing_pending(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs what was left pending, and what nobody retrieved, once it is collected."""
    caplog.set_level(logging.WARNING, logger="asyncio")
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def go(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `main` returns. None of the library's tasks is left when it does."""

    async def watched() -> T:
        result = await main()
        assert {task.get_name() for task in asyncio.all_tasks()} == {"main"}
        return result

    async def named() -> T:
        me = asyncio.current_task()
        assert me is not None
        me.set_name("main")
        async with asyncio.timeout(20):
            return await watched()

    return asyncio.run(named())


class Coroutines(AsyncConnectionHook):
    """Asked in tasks. It makes connections once its gate is open."""

    def __init__(self, make: Making | None = None, *, shut: bool = False) -> None:
        self.make = make or (lambda host, auth: AsyncConnection(host, auth or ANONYMOUS))
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.cut: list[str] = []
        if not shut:
            self.gate.set()

    async def connect(self, host: str, auth: Any) -> Any:
        self.asked.append(host)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cut.append(host)
            raise
        return self.make(host, auth)

    def open(self) -> None:
        self.gate.set()


class Plain(AsyncConnectionHook):
    """Asked in threads."""

    def __init__(self, make: Making | None = None, *, shut: bool = False) -> None:
        self.make = make or (lambda host, auth: AsyncConnection(host, auth or ANONYMOUS))
        self.asked: list[str] = []
        self.threads: list[threading.Thread] = []
        self.gate = threading.Event()
        if not shut:
            self.gate.set()

    def connect(self, host: str, auth: Any) -> Any:
        self.asked.append(host)
        self.threads.append(threading.current_thread())
        assert self.gate.wait(20)
        return self.make(host, auth)

    def open(self) -> None:
        self.gate.set()


KINDS = pytest.mark.parametrize("kind", [Coroutines, Plain])


def manager_with(*hooks: Any, **options: Any) -> Manager:
    manager: Manager = AsyncConnectionManager(**options)
    for hook in hooks:
        manager.add_conn_hook(hook)
    return manager


async def eventually(fact: Callable[[], object]) -> None:
    while not fact():  # noqa: ASYNC110 - what it waits for knows no event
        await asyncio.sleep(0.001)


class Thing:
    """A connection that is none of ours."""


# -- flights


@KINDS
def test_a_hundred_tasks_that_look_for_one_host_ask_the_hook_once(kind: Any) -> None:
    async def main() -> None:
        hook = kind()
        async with manager_with(hook) as manager:
            found = await asyncio.gather(*(manager.find(A) for _ in range(100)))
            assert len(hook.asked) == 1
            assert len(set(map(id, found))) == 1
            assert [*manager] == [(A, found[0])]

    go(main)


@KINDS
def test_a_caller_that_is_cancelled_cuts_no_flight(kind: Any) -> None:
    """It is the one that had the hook asked; the others get what the hook gives."""

    async def main() -> None:
        hook = kind(shut=True)
        async with manager_with(hook) as manager:
            leader, *others = (asyncio.create_task(manager.find(A)) for _ in range(5))
            await eventually(lambda: hook.asked)
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            assert len(manager._lookup.flights.waiting) == 4
            hook.open()
            found = await asyncio.gather(*others)
            assert (len(hook.asked), len(set(map(id, found)))) == (1, 1)

    go(main)


@KINDS
def test_a_flight_that_nobody_waits_for_any_more_goes_on_and_its_connection_is_held(kind: Any) -> None:
    async def main() -> None:
        hook = kind(shut=True)
        async with manager_with(hook) as manager:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await manager.find(A)
            assert manager._lookup.flights.waiting == {}
            assert not manager._finder.nested()
            hook.open()
            await eventually(lambda: len(manager) == 1)
            assert manager.is_current(await manager.find(A), A)
            assert len(hook.asked) == 1

    go(main)


def test_a_connection_at_hand_is_found_without_a_turn_of_the_loop() -> None:
    async def main() -> None:
        async with manager_with(Coroutines()) as manager:
            conn = await manager.find(A)
            search = manager.find(A)
            with pytest.raises(StopIteration) as stop:
                search.send(None)
            assert stop.value.value is conn

    go(main)


def test_a_hook_that_looks_for_the_host_it_is_asked_for_is_told_so() -> None:
    async def main() -> None:
        manager = manager_with()

        class Circular(AsyncConnectionHook):
            async def connect(self, host: str, auth: Any) -> Any:
                return await manager.find(host)

        manager.add_conn_hook(Circular())
        async with manager:
            with pytest.raises(OurConnectionError, match="its own hooks call find for it"):
                await manager.find(A)

    go(main)


def test_hooks_find_other_hosts_on_the_way() -> None:
    async def main() -> None:
        manager = manager_with()

        class Through(AsyncConnectionHook):
            async def connect(self, host: str, auth: Any) -> Any:
                if host == A:
                    await manager.find(B)
                return AsyncConnection(host, ANONYMOUS)

        manager.add_conn_hook(Through())
        async with manager:
            await asyncio.gather(manager.find(A), manager.find(B))
            assert sorted(host for host, _ in manager) == [A, B]

    go(main)


def test_hooks_that_look_for_ever_new_hosts_take_a_hundred_threads_and_no_more() -> None:
    """They ask by way of the loop, from threads: the task that looks is none of theirs."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def go_on(host: str, auth: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(manager.find(f"{host}x"), loop).result(20)

        hook = Plain(go_on)
        manager = manager_with(hook)
        async with manager:
            with pytest.raises(OurConnectionError, match="100 hooks wait for one another"):
                await manager.find("a")
            assert len(hook.asked) == 100

    go(main)


# -- what hooks say


@KINDS
@pytest.mark.parametrize("error", [OurConnectionError("no login"), OSError("no route"), aiohttp.ClientError("cut")])
def test_a_hook_that_fails_as_connections_fail_passes_to_the_next(kind: Any, error: Exception) -> None:
    def fail(host: str, auth: Any) -> Any:
        raise error

    async def main() -> None:
        told: list[Event] = []
        async with manager_with(kind(fail), Coroutines(), observer=told.append) as manager:
            await manager.find(A)
        failed = [event for event in told if isinstance(event, HookFailed)]
        assert [(event.hook, event.error) for event in failed] == [(kind.__name__, type(error).__name__)]
        assert sum(isinstance(event, ConnectionHooked) for event in told) == 1

    go(main)


@KINDS
def test_another_exception_of_a_hook_reaches_each_waiter_as_an_object_of_its_own(kind: Any) -> None:
    def fail(host: str, auth: Any) -> Any:
        raise KeyError("a bug")

    async def main() -> None:
        async with manager_with(kind(fail)) as manager:
            errors = await asyncio.gather(*(manager.find(A) for _ in range(5)), return_exceptions=True)
            assert [type(error) for error in errors] == [KeyError] * 5
            assert len(set(map(id, errors))) == 5

    go(main)


@KINDS
def test_no_frame_of_ours_in_a_hooks_error_shows_the_credentials(kind: Any) -> None:
    def fail(host: str, auth: Any) -> Any:
        raise KeyError("a bug")

    async def main() -> None:
        async with manager_with(kind(fail)) as manager:
            with pytest.raises(KeyError) as caught:
                await manager.find(A, "canary")
            ours = [entry.frame.raw for entry in caught.traceback if "sleepwalker/" in str(entry.path)]
            assert len(ours) > 3
            assert [frame for frame in ours if any("canary" in repr(value) for value in frame.f_locals.values())] == []

    go(main)


def test_a_hook_that_knows_no_host_is_said_with_the_others() -> None:
    async def main() -> None:
        async with manager_with(Coroutines(lambda host, auth: None), Plain(lambda host, auth: None)) as manager:
            with pytest.raises(OurConnectionError, match="Coroutines does not know the host; Plain does not know"):
                await manager.find(A)

    go(main)


def test_without_a_hook_no_task_is_needed_to_say_so() -> None:
    async def main() -> None:
        async with manager_with() as manager:
            with pytest.raises(OurConnectionError, match="this manager has no hooks"):
                manager.find(A).send(None)

    go(main)


def test_a_base_hook_says_that_connect_is_missing() -> None:
    async def main() -> None:
        class Empty(AsyncConnectionHook):
            """Without a `connect`."""

        async with manager_with(Empty()) as manager:  # type: ignore[abstract]
            with pytest.raises(NotImplementedError, match=r"Empty must implement connect\(host, auth\)"):
                await manager.find(A)

    go(main)


def test_a_blocking_manager_refuses_a_hook_that_it_would_have_to_await() -> None:
    with ConnectionManager() as manager, pytest.raises(TypeError, match="AsyncConnectionManager"):
        manager.add_conn_hook(Coroutines())  # type: ignore[arg-type]


def test_a_plain_hook_runs_in_a_daemon_thread_with_the_callers_context() -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who")
    seen: list[str] = []

    def make(host: str, auth: Any) -> Any:
        seen.append(who.get())
        return Thing()

    async def main() -> None:
        who.set("the caller")
        hook, other = Plain(make), Coroutines(make)
        async with manager_with(hook) as manager:
            await manager.find(A)
        async with manager_with(other) as manager:
            await manager.find(A)
        [thread] = hook.threads
        assert thread.daemon
        assert thread is not threading.main_thread()

    go(main)
    assert seen == ["the caller"] * 2


def test_a_plain_function_around_a_coroutine_function_is_awaited_as_well() -> None:
    async def make(host: str, auth: Any) -> Any:
        await asyncio.sleep(0)
        return Thing()

    async def main() -> None:
        async with manager_with(Plain(make)) as manager:
            assert isinstance(await manager.find(A), Thing)

    go(main)


@KINDS
def test_what_a_late_hook_gives_is_held_all_the_same(kind: Any) -> None:
    async def main() -> None:
        told: list[Event] = []
        quick = Policy(timeout={"connect": 0.01, "read": 0.01, "attempt": 0.02, "total": 0.03}, retry=False)
        hook = kind(shut=True)
        async with manager_with(hook, policy=quick, observer=told.append) as manager:
            with pytest.raises(DeadlineExceeded, match="its hooks are still running"):
                await manager.find(A)

            def is_told() -> bool:
                manager.health()  # has a look at the time: the call may have ended a moment before the hook was late
                return sum(isinstance(event, HookSlow) for event in told) == 1

            await eventually(is_told)
            hook.open()
            await eventually(lambda: len(manager) == 1)
            await manager.find(A)
            assert len(hook.asked) == 1

    go(main)


# -- loops


def test_a_plain_hook_that_hangs_keeps_no_loop_from_ending_and_what_it_gives_later_is_closed() -> None:
    hook = Plain(shut=True)
    made: list[AsyncConnection] = []

    def make(host: str, auth: Any) -> Any:
        made.append(AsyncConnection(host, ANONYMOUS))
        return made[0]

    hook.make = make
    manager = manager_with(hook)

    async def main() -> None:
        search = asyncio.create_task(manager.find(A))
        await eventually(lambda: hook.asked)
        search.cancel()

    asyncio.run(main())
    assert not made
    hook.open()
    until(lambda: bool(made) and made[0].retired)
    assert len(manager) == 0


@KINDS
def test_a_manager_works_in_the_next_loop_though_its_hooks_were_at_work_when_the_first_one_ended(kind: Any) -> None:
    hook = kind(shut=True)
    manager = manager_with(hook)

    async def first() -> None:
        asyncio.create_task(manager.find(A), name="it is cancelled with the loop")  # noqa: RUF006
        await eventually(lambda: hook.asked)

    async def second() -> None:
        async with manager:
            hook.gate = type(hook.gate)()
            hook.open()
            await asyncio.gather(*(manager.find(A) for _ in range(5)))
            assert len(hook.asked) == 2

    asyncio.run(first())
    hook.open()
    go(second)


def test_another_loop_than_the_managers_is_told_so() -> None:
    async def main() -> None:
        async with manager_with(Coroutines()) as manager:
            await manager.find(A)
            other = in_thread(lambda: asyncio.run(manager.find(A)))
            with pytest.raises(RuntimeError, match="is in use in another event loop that is still open"):
                await asyncio.to_thread(other)
            await manager.find(A)

    go(main)


def test_a_forked_child_works_in_a_loop_of_its_own() -> None:
    """Though the parent's runs, with a hook at work, and a thread of it has the lock."""
    hook = Plain(shut=True)
    manager = manager_with(hook)
    begun, over = threading.Event(), threading.Event()

    async def parent() -> None:
        search = asyncio.create_task(manager.find(A))
        await eventually(lambda: hook.asked)
        with manager._finder.lock:
            begun.set()
            while not over.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        hook.open()
        await search
        await manager.close()

    def child() -> bool:
        async def look() -> bool:
            hook.gate = threading.Event()
            hook.open()
            async with asyncio.timeout(20), manager:
                found = await manager.find(A)
                return manager.is_current(found, A) and len(hook.asked) == 2

        return asyncio.run(look())

    wait_for_parent = in_thread(lambda: asyncio.run(parent()))
    assert begun.wait(20)
    code = forks.wait(forks.fork(child))
    over.set()
    wait_for_parent()
    assert code == 0


def test_a_manager_that_is_dropped_is_gone_at_once() -> None:
    async def main() -> None:
        manager = manager_with(Coroutines(lambda host, auth: Thing()))
        await manager.find(A)
        ref = weakref.ref(manager._finder)
        gc.disable()
        try:
            del manager
            await asyncio.sleep(0)
            assert ref() is None
        finally:
            gc.enable()

    go(main)


def test_methods_that_are_not_awaited_may_be_called_from_any_thread() -> None:
    """A connection that another thread adds is what the waiters get."""

    async def main() -> None:
        hook = Coroutines(shut=True)
        async with manager_with(hook) as manager:
            searches = [asyncio.create_task(manager.find(A)) for _ in range(3)]
            await eventually(lambda: hook.asked)
            added = Thing()
            await asyncio.to_thread(manager.add, A, None, added)
            assert await asyncio.gather(*searches) == [added] * 3
            assert await asyncio.to_thread(manager.evict, A) == 1
            assert len(manager) == 0

    go(main)


def test_what_needs_no_loop_works_without_one() -> None:
    manager = manager_with(Plain())
    conn = AsyncConnection(A, ANONYMOUS)
    manager.add(A, None, conn)
    assert manager.is_current(conn, A)
    assert manager.health(A).state == "unknown"
    manager.reset()
    assert conn.closed
    asyncio.run(manager.close())


# -- the end


class Closes:
    """As clients for asyncio are: closed by a coroutine function."""

    def __init__(self) -> None:
        self.closings: list[str] = []

    async def aclose(self) -> None:
        await asyncio.sleep(0.001)
        self.closings.append("aclose")


class ClosesToo(Closes):
    """It has both: an httpx client had a plain `close` for long."""

    def close(self) -> None:
        self.closings.append("close")


class ClosesByOne:
    """As an aiohttp session is: `close` is the coroutine function."""

    def __init__(self) -> None:
        self.closings: list[str] = []

    async def close(self) -> None:
        await asyncio.sleep(0.001)
        self.closings.append("close")
        raise OSError("it closes badly")


@pytest.mark.parametrize(("kind", "how"), [(Closes, "aclose"), (ClosesToo, "aclose"), (ClosesByOne, "close")])
@pytest.mark.parametrize("guard", [False, True])
def test_foreign_connections_are_closed_by_what_they_have_and_waited_for(kind: Any, how: str, guard: bool) -> None:
    async def main() -> None:
        conns = [kind(), kind(), kind()]
        async with manager_with(guard=guard) as manager:
            for number, conn in enumerate(conns):
                manager.add(A, str(number), conn)
            manager.evict(A, "0")
            manager.reset()
            assert conns[0].closings == []
            manager.add(A, None, conns[2])
        assert [conn.closings for conn in conns] == [[how]] * 2 + [conns[2].closings]
        assert set(conns[2].closings) == {how}

    go(main)


def test_without_a_loop_a_connection_that_would_have_to_be_awaited_is_dropped_without_a_warning() -> None:
    manager = manager_with()
    conn = Closes()
    manager.add(A, None, conn)
    manager.reset()
    assert (conn.closings, len(manager)) == ([], 0)


class LogsOut(AsyncConnection):
    """A subclass may have something to ask as it closes."""

    __slots__ = ()
    said: list[str] = []  # noqa: RUF012 - of one test at a time

    async def close(self) -> None:
        self.said.append("bye")
        await asyncio.sleep(0.001)
        await super().close()


def test_what_a_subclass_does_as_it_closes_is_awaited_where_there_is_a_loop() -> None:
    LogsOut.said.clear()
    without = manager_with()
    without.add(A, None, LogsOut(A, ANONYMOUS))
    [(_, conn)] = without
    without.reset()
    assert (LogsOut.said, conn.retired, conn.closed) == ([], True, False)

    async def main() -> None:
        conn = LogsOut(A, ANONYMOUS)
        async with manager_with() as manager:
            manager.add(A, None, conn)
        assert (LogsOut.said, conn.closed) == (["bye"], True)

    go(main)


def test_a_connection_of_ours_refuses_calls_as_soon_as_it_was_reset() -> None:
    async def main() -> None:
        async with manager_with(Coroutines()) as manager:
            conn = await manager.find(A)
            manager.reset()
            with pytest.raises(OurConnectionError, match="this connection is closed"):
                await conn.get("/")

    go(main)


def test_close_cuts_hooks_in_tasks_leaves_those_in_threads_and_tells_who_waits() -> None:
    async def main() -> None:
        hook, plain = Coroutines(shut=True), Plain(shut=True)
        manager, other = manager_with(hook), manager_with(plain)
        searches = [asyncio.create_task(one.find(A)) for one in (manager, other)]
        await eventually(lambda: hook.asked and plain.asked)
        await manager.close()
        await other.close()
        assert hook.cut == [A]
        for search in searches:
            with pytest.raises(OurConnectionError, match="this manager is closed"):
                await search
        with pytest.raises(OurConnectionError, match="this manager is closed"):
            await manager.find(A)
        plain.open()
        await eventually(lambda: not plain.threads[0].is_alive() or len(other) == 0)

    go(main)


def test_a_hook_may_close_the_manager() -> None:
    async def main() -> None:
        manager = manager_with()

        class Last(AsyncConnectionHook):
            async def connect(self, host: str, auth: Any) -> Any:
                await manager.close()
                return Thing()

        manager.add_conn_hook(Last())
        with pytest.raises(OurConnectionError, match="this manager is closed"):
            await manager.find(A)
        await eventually(lambda: len(asyncio.all_tasks()) == 1)

    go(main)


def test_a_task_of_the_manager_that_is_cancelled_from_outside_leaves_its_host_to_be_asked_for_again() -> None:
    async def main() -> None:
        hook = Coroutines(shut=True)
        async with manager_with(hook) as manager:
            search = asyncio.create_task(manager.find(A))
            await asyncio.sleep(0)
            [flight] = [task for task in asyncio.all_tasks() if task.get_name() == "sleepwalker hook"]
            flight.cancel()  # before it has begun
            await eventually(lambda: len(hook.asked) == 1)  # the caller asked anew
            hook.open()
            await search

    go(main)


# -- threads and tasks


def test_threads_and_tasks_of_one_process_see_one_circuit_and_one_isolation() -> None:
    policy = Policy(health={"rehook_initial": 100, "rehook_max": 100})

    async def main() -> None:
        blocking = ConnectionManager[Connection](policy=policy)
        blocking.add(A, None, Connection(A, ANONYMOUS))
        async with manager_with(Coroutines(), hosts=blocking.hosts) as manager:
            conn = await manager.find(A)
            assert conn._record is blocking.find(A)._record
            await asyncio.to_thread(blocking.isolate, A, reason="repairs")
            with pytest.raises(HostIsolatedError, match="repairs"):
                await manager.find(A)
            manager.restore(A)
            assert blocking.is_current(await asyncio.to_thread(blocking.find, A), A)
            manager.isolate(A)
            with pytest.raises(HostIsolatedError):
                await asyncio.to_thread(blocking.find, A)
            blocking.restore(A)
            assert manager.is_current(await manager.find(A), A)
        blocking.close()

    go(main)


def test_a_blocking_manager_takes_the_hosts_of_one_for_tasks() -> None:
    async def main() -> None:
        async with manager_with(Coroutines(), policy="careful") as manager:
            conn = await manager.find(A)
            with ConnectionManager[Connection](hosts=manager.hosts) as blocking:
                blocking.add(A, None, Connection(A, ANONYMOUS))
                assert blocking.find(A)._record is conn._record
                await asyncio.to_thread(blocking.reload, "batch")
            assert manager.hosts.policy == Policy.load("batch")

    go(main)


def test_a_connection_that_is_replaced_is_retired_and_told_of() -> None:
    async def main() -> None:
        told: list[Event] = []
        async with manager_with(Coroutines(), observer=told.append) as manager:
            first = await manager.find(A)
            manager.evict(A)
            assert await manager.find(A) is not first
            assert (first.retired, first.closed) == (True, False)
            manager.add(A, None, AsyncConnection(A, ANONYMOUS))
        evicted = [event.reason for event in told if isinstance(event, ConnectionEvicted)]
        assert evicted == ["by hand", "replaced"]

    go(main)


def test_the_manager_of_a_loop_that_was_never_entered_closes_in_another_one() -> None:
    manager = manager_with()
    manager.add(A, None, AsyncConnection(A, ANONYMOUS))
    with contextlib.suppress(OurConnectionError):
        go(manager.close)
    assert len(manager) == 0


# -- a storm


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_tasks_that_come_and_are_cancelled_leaves_nothing_behind(seed: int) -> None:
    """What they find is always of the host they asked for, and of one that was held."""
    dice = random.Random(seed)
    hosts = [f"https://h{number}.test" for number in range(5)]
    made: dict[str, list[Any]] = {}

    def make(host: str, auth: Any) -> Any:
        if dice.random() < 0.1:
            raise OSError("no")
        conn = AsyncConnection(host, ANONYMOUS)
        made.setdefault(host, []).append(conn)
        return conn

    class Slow(Coroutines):
        async def connect(self, host: str, auth: Any) -> Any:
            await asyncio.sleep(dice.random() * 0.003)
            return self.make(host, auth)

    async def ask(manager: Manager) -> str:
        host = dice.choice(hosts)
        try:
            found = await manager.find(host, timeout=dice.choice([None, 0.002, 5]))
        except OurConnectionError as error:
            return type(error).__name__
        assert any(found is conn for conn in made[host])
        return "found"

    async def change(manager: Manager) -> None:
        host = dice.choice(hosts)
        match dice.randrange(5):
            case 0:
                manager.evict(host)
            case 1:
                manager.add(host, None, make(host, None))
            case 2:
                manager.forget(host)
            case 3:
                manager.reset()
            case 4:
                manager.isolate(host)
                manager.restore(host)

    async def main() -> None:
        policy = Policy(health={"rehook_initial": 0.001, "rehook_max": 0.002})
        async with manager_with(Slow(make), policy=policy) as manager:
            said: collections.Counter[str] = collections.Counter()
            under_way: set[asyncio.Task[str]] = set()
            for turn in range(400):
                task = asyncio.create_task(ask(manager))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                task.add_done_callback(lambda one: said.update(["cut" if one.cancelled() else one.result()]))
                if under_way and dice.random() < 0.4:
                    dice.choice([*under_way]).cancel()
                if turn % 7 == 0:
                    with contextlib.suppress(OSError):
                        await change(manager)
                await asyncio.sleep(dice.random() * 0.001)
            await asyncio.gather(*under_way, return_exceptions=True)
            await eventually(lambda: not manager._lookup.flights.at_work())
            assert manager._lookup.flights.waiting == {}
            assert manager._lookup.flights._led == {}
            assert min(said["found"], said["cut"]) > 20, said
            for host, conn in manager:
                assert any(conn is one for one in made[host])
        held = [conn for conns in made.values() for conn in conns]
        assert all(conn.closed or conn.retired for conn in held)

    go(main)
