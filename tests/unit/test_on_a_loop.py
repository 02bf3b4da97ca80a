"""The event loop under tests for both drivers: calls are as if made by the caller, and what is left behind fails."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading

import pytest

from tests import on_a_loop
from tests.on_a_loop import running_loop

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_a_loop, "_GRACE", 0.01)


def test_a_task_that_is_left_fails_the_test() -> None:
    tasks = []

    async def leave() -> None:
        tasks.append(asyncio.ensure_future(asyncio.Event().wait()))

    with pytest.raises(AssertionError, match=r"left.*Event\.wait"), running_loop() as loop:
        loop.run(leave)
    assert tasks[0].cancelled()


def test_a_socket_that_is_left_fails_the_test() -> None:
    one, other = socket.socketpair()

    async def leave() -> None:
        asyncio.get_running_loop().add_reader(one, print)

    with one, other, pytest.raises(AssertionError, match=r"left.*SelectorKey"), running_loop() as loop:
        loop.run(leave)


def test_what_the_loop_is_told_fails_the_test() -> None:
    async def say() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "never retrieved"})

    with pytest.raises(AssertionError, match="never retrieved"), running_loop() as loop:
        loop.run(say)


def test_what_a_call_raises_and_its_context_are_the_callers() -> None:
    mine = LookupError("mine")

    async def fail() -> None:
        WORD.set(WORD.get() + " and more")
        raise mine

    with running_loop() as loop:
        WORD.set("some")
        with pytest.raises(LookupError) as caught:
            loop.run(fail)
        assert caught.value is mine
        assert WORD.get() == "some and more"


def test_a_call_sees_what_its_caller_is_handling() -> None:
    async def fail() -> None:
        raise LookupError

    first, caught = KeyError("first"), list[BaseException]()
    with running_loop() as loop:
        try:
            try:
                raise first
            except KeyError:
                loop.run(fail)
        except LookupError as error:
            caught.append(error)
    assert [type(error) for error in caught] == [LookupError]
    assert caught[0].__context__ is first


def test_calls_of_many_threads_are_tasks_of_one_loop() -> None:
    seen: set[int] = set()
    all_there = threading.Barrier(4)

    async def note() -> None:
        seen.add(threading.get_ident())

    with running_loop() as loop:

        def call() -> None:
            all_there.wait()
            loop.run(note)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen) == 1
    assert threading.get_ident() not in seen
