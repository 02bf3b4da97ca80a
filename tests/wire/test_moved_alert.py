"""A host that moved is exported as broken for as long as it is one: then its series end, and with them its alert."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import prometheus_client
import pytest
from servers import FaultServer, refused_port

from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, Policy, SleepwalkerException
from sleepwalker.prometheus import Collector

POLICY = Policy(
    timeout={"connect": 1, "attempt": 1, "total": 2},
    retry=False,
    health={"rehook_initial": 0.2, "rehook_max": 1},
    breaker={"open_for": 0.1, "open_max": 0.1},
)


class Directory(ConnectionHook):
    """Says where a service is."""

    def __init__(self, address: str) -> None:
        self.address = address

    def connect(self, host: str, auth: Any) -> Connection:
        return Connection(self.address, auth, policy=POLICY)


class Service:
    """A service that calls another one by its name, and what it exports."""

    def __init__(self, manager: ConnectionManager[Connection], address: str) -> None:
        self.manager = manager
        self.directory = Directory(address)
        manager.add_conn_hook(self.directory)
        self.registry = prometheus_client.CollectorRegistry()
        self.registry.register(Collector(manager))

    def broken(self, host: str) -> float | None:
        """What is exported about it: None where there is no such series."""
        found = [
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "sleepwalker_host_state"
            if (sample.labels["host"], sample.labels["state"]) == (host, "broken")
        ]
        return found[0] if found else None

    def calls_until(self, fact: Callable[[], bool]) -> None:
        """Call, as a service does all the time, until something is so."""
        end = time.monotonic() + 60
        while not fact():
            assert time.monotonic() < end
            with contextlib.suppress(SleepwalkerException):
                self.manager.find("orders", ANONYMOUS).get("/")
            time.sleep(0.02)


@pytest.fixture
def service() -> Iterator[Service]:
    with refused_port() as port, ConnectionManager[Connection](policy=POLICY) as manager:
        yield Service(manager, f"http://127.0.0.1:{port}")


def test_the_series_of_a_host_that_moved_end_by_themselves(service: Service, server: FaultServer) -> None:
    old = service.directory.address
    service.calls_until(lambda: service.broken(old) == 1)
    service.directory.address = server.url
    service.calls_until(lambda: service.broken(old) is None)
    service.calls_until(lambda: service.broken(server.url) == 0)


def test_an_operator_who_forgets_the_old_address_ends_them_at_once(service: Service, server: FaultServer) -> None:
    old = service.directory.address
    service.calls_until(lambda: service.broken(old) == 1)
    service.directory.address = server.url
    service.manager.forget(old)
    assert service.broken(old) is None
    service.calls_until(lambda: service.broken(server.url) == 0)
    assert service.broken(old) is None
