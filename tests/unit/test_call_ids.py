"""The events of one call can be told from those of all other calls, and the processes that log to one file apart."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sleepwalker.logging
from sleepwalker import Policy
from sleepwalker.events import (
    AttemptFailed,
    BreakerOpened,
    CallEvent,
    CooldownBegan,
    HostBroken,
    HostIsolated,
    RequestFailed,
    RequestFinished,
    RetryScheduled,
    Transition,
)
from sleepwalker.process import THIS_PROCESS, Process
from sleepwalker.telemetry import emit
from tests.unit.engine_driver import HOST, World, answer


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    sleepwalker.logging.reset()


def test_attempts_of_two_calls_at_the_same_time_can_be_told_apart() -> None:
    here = World()
    one, two = here.begin(), here.begin()
    one.reply(answer(503))
    two.reply(answer(503))
    two.reply(False).reply(answer(200))
    one.reply(False).reply(answer(200))
    told = defaultdict(list)
    for event in here.events:
        assert isinstance(event, CallEvent)
        told[event.call].append(type(event))
    assert list(told.values()) == [[AttemptFailed, RetryScheduled, RequestFinished]] * 2
    assert one.final is not None
    assert two.final is not None
    assert list(told) == [one.final.call, two.final.call]


def test_a_call_that_is_refused_has_one_id_in_both_of_its_events() -> None:
    here = World()
    here.host.isolate()
    here.call(answer(200))
    rejected, failed = here.all(CallEvent)
    assert rejected.call == failed.call


def test_a_transition_says_which_call_brought_it_about() -> None:
    here = World(Policy(breaker={"consecutive_for": 0, "consecutive": 2}, retry=False))
    calls = [here.call(answer(503)).final, here.call(answer(503)).final]
    assert here.only(BreakerOpened).call == here.only(HostBroken).call == (calls[1] and calls[1].call)
    cooled = World(Policy(retry={"after_binds": "host"}))
    cooled.begin().reply(answer(429, "20"))
    assert cooled.only(CooldownBegan).call == cooled.only(AttemptFailed).call


def test_a_transition_that_no_call_brought_about_has_none() -> None:
    here = World()
    here.trip()
    events = here.host.reset_circuit()
    assert events
    assert all(isinstance(event, Transition) and event.call is None for event in events)


def test_the_ids_of_a_process_are_those_of_no_other() -> None:
    one, two = Process(), Process()
    assert one.prefix != two.prefix
    before = (one.prefix, next(one.calls), next(one.calls))
    one.renew()
    assert (before[1:], next(one.calls)) == ((1, 2), 1)
    assert one.prefix != before[0]


def test_ids_are_given_to_one_thread_each() -> None:
    ids: list[str] = []
    go = threading.Barrier(8)

    def calls() -> None:
        here = World()
        go.wait()
        for _ in range(200):
            final = here.call(answer(200)).final
            assert final is not None
            ids.append(final.call)

    threads = [threading.Thread(target=calls) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == len(set(ids)) == 1600


def _in_child(path: str) -> None:
    sleepwalker.logging.configure(path)
    _one_call()


def _one_call() -> None:
    here = World()
    here.call(answer(200))
    emit(here.only(RequestFinished))


@pytest.mark.filterwarnings("ignore:This process")  # a test's threads are not ours to end
def test_a_forked_child_logs_its_own_pid_and_ids_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sleepwalker.logging.configure(path)
    _one_call()
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(str(path),))
    child.start()
    child.join(30)
    _one_call()
    first, forked, last = map(json.loads, path.read_text().splitlines())
    assert (first["pid"], forked["pid"], last["pid"]) == (os.getpid(), child.pid, os.getpid())
    prefixes = [line["call"].partition("-")[0] for line in (first, forked, last)]
    assert prefixes[0] == prefixes[2] == THIS_PROCESS.prefix
    assert prefixes[1] != prefixes[0]


def test_pid_is_not_asked_of_the_kernel_for_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: pytest.fail("asked"))
    fields = HostIsolated(HOST).fields()
    assert fields == {"host": HOST, "pid": HostIsolated(HOST).pid}


def test_a_finished_call_is_written_alike_with_and_without_call_and_name(tmp_path: Path) -> None:
    sleepwalker.logging.configure(tmp_path / "e")
    usual: dict[str, Any] = {
        "host": HOST, "method": "GET", "path": "/", "status": 200, "attempts": 1, "duration": 0.5, "waited": 0.0
    }  # fmt: skip
    names = {"call": "a-1", "name": 'billing "eu"'}
    emit(RequestFinished(**usual))
    emit(RequestFinished(**usual, call="a-1", asked_for='billing "eu"'))
    emit(RequestFailed(**usual, error=None, detail=None, call="a-1", asked_for='billing "eu"'))
    plain, named, failed = map(json.loads, (tmp_path / "e").read_text().splitlines())
    head = {"level": "info", "event": "request.finished", "pid": os.getpid()}
    assert plain == {**usual, **head, "timestamp": plain["timestamp"]}
    assert named == {**usual, **head, **names, "timestamp": named["timestamp"]}
    assert failed == named | {"level": "error", "event": "request.failed", "timestamp": failed["timestamp"]}
