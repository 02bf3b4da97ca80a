"""A program under gevent or eventlet: does what threads do elsewhere, and prints as JSON what came of it.

`python green.py gevent URL TLS_URL SCENARIO…` asks servers that run in another process: here only greenlets take turns.
A scenario is a function below, which returns whether all is right, and what it saw.
"""

from __future__ import annotations

import sys

if sys.argv[1] == "gevent":
    from gevent import monkey

    monkey.patch_all()
else:
    import eventlet

    eventlet.monkey_patch()

import json
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, Policy

URL, TLS_URL = sys.argv[2:4]
POLICY = Policy(timeout={"connect": 5, "read": 5, "attempt": 5, "total": 10}, retry={"budget": False}, breaker=False)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised, all of them at the same time."""
    results: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        try:
            results[number] = calls[number]()
        except Exception as error:
            results[number] = repr(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def calls_of_a_pool(**pool: Any) -> Any:
    """Eight calls of 0.2 s each, at the same time, twice: the second time on open sockets."""
    with Connection(URL, ANONYMOUS, policy=POLICY.replace(pool=pool)) as conn:
        began = time.monotonic()
        answers = [together(*[lambda: conn.get("/slow").status_code] * 8) for _ in range(2)]
        return answers, time.monotonic() - began


def an_open_pool() -> Any:
    answers, seconds = calls_of_a_pool()
    return answers == [[200] * 8] * 2 and seconds < 8 * 0.2, (answers, seconds)


def a_pool_that_blocks() -> Any:
    """Two places: eight calls take four rounds."""
    answers, seconds = calls_of_a_pool(size=2, block=True)
    return answers == [[200] * 8] * 2 and seconds < 2 * 8 * 0.2, (answers, seconds)


def a_wait_for_a_retry_lets_others_go_on() -> Any:
    with Connection(URL, ANONYMOUS, policy=POLICY) as conn:
        meanwhile = 0

        def count() -> None:
            nonlocal meanwhile
            for _ in range(20):
                conn.get("/")
                meanwhile += 1

        answers = together(lambda: conn.get("/busy-once").status_code, count)
        return answers == [200, None] and meanwhile == 20, answers


def close_ends_a_wait() -> Any:
    conn = Connection(URL, ANONYMOUS, policy=POLICY.replace(retry={"attempts": 2, "wait_initial": 4, "jitter": "none"}))

    def close() -> None:
        time.sleep(0.3)
        conn.close()

    began = time.monotonic()
    raised, _ = together(lambda: conn.get("/busy"), close)
    return "HTTPServiceUnavailable" in raised and time.monotonic() - began < 3.5, raised


def one_hook_is_asked_for_all_who_find() -> Any:
    asked = []

    class Hook(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Any:
            asked.append(host)
            time.sleep(0.2)
            return Connection(host, ANONYMOUS, policy=POLICY)

    with ConnectionManager(policy=POLICY) as manager:
        manager.add_conn_hook(Hook())
        answers = together(*[lambda: manager.find(URL).get("/").status_code] * 5)
    return answers == [200] * 5 and len(asked) == 1, (answers, asked)


def a_slow_attempt_is_hedged() -> Any:
    with Connection(URL, ANONYMOUS, policy=POLICY.replace(hedge={"delay": 0.1})) as conn:
        began = time.monotonic()
        answer = conn.get("/slow-once")
        return answer.status_code == 200 and time.monotonic() - began < 2, answer.attempts


def a_name_is_looked_up() -> Any:
    with Connection(URL.replace("127.0.0.1", "localhost"), ANONYMOUS, policy=POLICY) as conn:
        answers = together(*[lambda: conn.get("/").status_code] * 3)
        return answers == [200] * 3, answers


def a_full_bulkhead_is_queued_for() -> Any:
    policy = POLICY.replace(bulkhead={"max_concurrent": 1, "max_wait": 5})
    with Connection(URL, ANONYMOUS, policy=policy) as conn:
        answers = together(*[lambda: conn.get("/").status_code] * 5)
        return answers == [200] * 5, answers


def uploads_are_sent_whole_or_refused() -> Any:
    pieces = [bytes(100_000)] * 100
    answers = []
    for url in (URL, TLS_URL):
        with Connection(url, ANONYMOUS, policy=POLICY, verify=False) as conn:
            for body in (b"".join(pieces), lambda: iter(pieces)):
                answers.append(conn.put("/refused", data=body, raise_for_status=False).status_code)
                answers.append(int(conn.put("/counted", data=body).text))
    return answers == [413, 10_000_000] * 4, answers


if __name__ == "__main__":
    came: dict[str, str] = {}
    for name in sys.argv[4:]:
        try:
            right, seen = globals()[name]()
            came[name] = "right" if right else repr(seen)
        except Exception:
            came[name] = traceback.format_exc()
    print(json.dumps(came))
