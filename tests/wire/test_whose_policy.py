"""Whose limits hold on real sockets, where a manager, its patterns and its hooks each say something of a host."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers import FaultServer, reply

import sleepwalker.logging
from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    Connection,
    ConnectionHook,
    ConnectionManager,
    HTTPServiceUnavailable,
    Policy,
    RateLimitedError,
    SleepwalkerException,
)
from sleepwalker.cli import main
from sleepwalker.events import PolicyIgnored

pytestmark = pytest.mark.both_drivers

#: In earnest: a circuit that opens at the second failure, at once, and stays open.
TWO = Policy(retry=False, breaker={"consecutive_for": 0, "consecutive": 2, "open_for": 60, "open_max": 60})


class Hook(ConnectionHook):
    """Connects to the server behind a name, or to a URL, with a policy of its own if one is given."""

    def __init__(self, policy: Any = None, **names: str) -> None:
        self.policy = policy
        self.names = names

    def connect(self, host: str, auth: Any) -> Connection:
        return Connection(self.names.get(host, host), auth or ANONYMOUS, policy=self.policy)


def manager_of(hook: ConnectionHook, **options: Any) -> ConnectionManager:
    manager = ConnectionManager(**options)
    manager.add_conn_hook(hook)
    return manager


def calls(work: Callable[[], Any], count: int) -> list[str]:
    """What each call came to, by the name of its exception."""
    came = []
    for _ in range(count):
        try:
            work()
            came.append("answered")
        except SleepwalkerException as error:
            came.append(type(error).__name__)
    return came


def test_the_breaker_that_a_hook_gives_its_connection_is_the_one_that_opens(server: FaultServer) -> None:
    server.default = reply(503)
    with manager_of(
        Hook(TWO), policy=Policy(breaker={"consecutive_for": 0, "consecutive": 50, "min_calls": 500})
    ) as manager:
        came = calls(lambda: manager.find(server.url).get("/"), 4)
    assert came == ["HTTPServiceUnavailable"] * 2 + ["CircuitOpenError"] * 2
    assert len(server.requests) == 2


def test_a_policy_file_of_a_hook_brings_its_bulkhead_and_rate_limit_too(server: FaultServer, tmp_path: Path) -> None:
    file = tmp_path / "payments.toml"
    file.write_text("retry = false\n[rate_limit]\nrate = 0.01\nburst = 2\n[bulkhead]\nmax_concurrent = 3\n")
    with manager_of(Hook(file, payments=server.url)) as manager:
        conn = manager.find("payments")
        assert calls(lambda: conn.get("/"), 3) == ["answered", "answered", "RateLimitedError"]
        assert conn.health.limit == 3
        with pytest.raises(RateLimitedError):
            manager.find("payments", ("another", "user")).get("/")


def test_one_file_says_what_each_service_gets(tmp_path: Path) -> None:
    with FaultServer(default=reply(503)) as billing, FaultServer(default=reply(503)) as stock:
        file = tmp_path / "services.toml"
        file.write_text(
            f"""
            retry = false
            [breaker]
            consecutive = 4
            consecutive_for = 0
            open_for = 60
            open_max = 60
            [[host]]
            match = "billing"
            breaker.consecutive = 2
            [[host]]
            match = "{stock.url}/"
            breaker = false
            """
        )
        assert main(["policy", "check", str(file)]) == 0
        hook = Hook(Policy(retry=False), billing=billing.url)
        with manager_of(hook, policy=file) as manager:
            for host in ("billing", stock.url):
                calls(lambda host=host: manager.find(host).get("/"), 8)  # type: ignore[misc]
            assert (len(billing.requests), len(stock.requests)) == (2, 8)
            file.write_text("retry = false\n")
            manager.reload(file)
            assert manager.health(billing.url).breaker == "open"  # what is known stays


def test_a_pattern_binds_what_was_found_by_url_before(server: FaultServer) -> None:
    with manager_of(Hook(Policy(bulkhead={"max_concurrent": 9}), shop=server.url), policies={"shop": TWO}) as manager:
        conn = manager.find(server.url)
        assert (conn.get("/").status_code, conn.health.limit) == (200, 9)
        manager.find("shop")
        assert conn.health.limit == 1000
        server.default = reply(503)
        assert calls(lambda: conn.get("/", policy="off"), 2) == ["HTTPServiceUnavailable"] * 2
        assert calls(lambda: conn.get("/", policy=TWO), 3) == ["HTTPServiceUnavailable"] * 2 + ["CircuitOpenError"]


def test_threads_that_find_a_new_host_at_the_same_time_settle_whose_policy_it_is_once(server: FaultServer) -> None:
    told: list[Any] = []

    class Each(ConnectionHook):
        """Gives each user a policy of their own."""

        def connect(self, host: str, auth: Any) -> Connection:
            policy = Policy(bulkhead={"max_concurrent": int(auth[0])})
            return Connection(host, ANONYMOUS, policy=policy)

    with manager_of(Each(), observer=told.append) as manager, ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(manager.find, server.url, (str(number), "pw")) for number in range(1, 9)]
        limits = {job.result().health.limit for job in jobs}
        assert limits == {manager.health(server.url).limit} <= set(range(1, 9))
        assert [type(event) for event in told if isinstance(event, PolicyIgnored)] == [PolicyIgnored]


def test_what_is_not_followed_is_logged_once_and_without_secrets(server: FaultServer, tmp_path: Path) -> None:
    sleepwalker.logging.configure(tmp_path / "log.jsonl")
    try:
        with manager_of(Hook(TWO)) as manager:
            manager.find(server.url).get("/")
            for number in range(3):
                own = TWO.replace(
                    breaker={"consecutive_for": 0, "consecutive": 7}, bulkhead=False, health={"probe": "/s3cr3t"}
                )
                manager.add(server.url, ("user", f"s3cr3t {number}"), Connection(server.url, ANONYMOUS, policy=own))
    finally:
        sleepwalker.logging.reset()
    text = (tmp_path / "log.jsonl").read_text()
    (line,) = [entry for entry in map(json.loads, text.splitlines()) if entry["event"] == "policy.ignored"]
    assert (line["level"], line["host"], line["followed"]) == ("warning", server.url, "connection")
    assert line["ignored"] == "breaker.consecutive, health.probe"
    assert "s3cr3t" not in text


def test_hosts_are_probed_by_the_policy_of_their_own_pattern() -> None:
    def probes(server: FaultServer, path: str) -> int:
        return sum(request.path == path for request in server.requests)

    quick, slow = (
        TWO.replace(health={"probe": path, "probe_interval": interval, "rehook_initial": 100, "rehook_max": 100})
        for path, interval in (("/quick", 0.05), ("/slow", 0.2))
    )
    with (
        FaultServer(default=reply(503)) as a,
        FaultServer(default=reply(503)) as b,
        FaultServer(default=reply(503)) as c,
        manager_of(Hook(Policy(retry=False)), policies={a.url: quick, b.url: slow, c.url: TWO}) as manager,
    ):
        for server in (a, b, c):
            calls(lambda server=server: manager.find(server.url).get("/"), 2)  # type: ignore[misc]
        end = time.monotonic() + 20
        while probes(b, "/slow") < 3 and time.monotonic() < end:
            time.sleep(0.01)
        assert probes(b, "/slow") >= 3
        assert probes(a, "/quick") > probes(b, "/slow")
        assert (len(c.requests), probes(a, "/slow"), probes(b, "/quick")) == (2, 0, 0)
        a.default = reply(200)
        while manager.health(a.url).breaker != "closed" and time.monotonic() < end:
            time.sleep(0.01)
        assert manager.health(a.url).breaker == "closed"
        assert manager.health(c.url).breaker == "open"


def test_a_connection_by_itself_takes_the_table_for_its_host_and_so_does_a_call(server: FaultServer) -> None:
    table = {"match": server.url, "breaker": {"consecutive_for": 0, "consecutive": 2, "open_for": 60, "open_max": 60}}
    policy = Policy(retry=False, bulkhead={"max_concurrent": 1}, host=[table])
    server.default = reply(503)
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        for _ in range(2):
            with pytest.raises(HTTPServiceUnavailable):
                conn.get("/")
        with pytest.raises(CircuitOpenError):
            conn.get("/")
        off = Policy(host=[{"match": server.url, "breaker": False, "retry": False}])
        with pytest.raises(HTTPServiceUnavailable):
            conn.get("/", policy=off)
    assert len(server.requests) == 3
