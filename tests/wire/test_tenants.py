"""Several credentials at one host, over real sockets: with `rate_limit.per = "credentials"` each has its own quota."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth
from servers import FaultServer

from sleepwalker import ANONYMOUS, Connection, ConnectionHook, ConnectionManager, Policy, RateLimitedError
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

SECRET = "sesame-open-9f3a"
QUOTA = Policy(rate_limit={"rate": 0.01, "burst": 3, "per": "credentials"})


class Key(AuthBase):
    """An API key. Equal ones are equal, as a hook that logs in anew makes another object of the same key."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-Api-Key"] = self.key
        return request

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


class Direct(ConnectionHook):
    def connect(self, host: Any, auth: Any) -> Connection:
        return Connection(host, auth)


def managed(policy: Policy = QUOTA) -> ConnectionManager:
    manager = ConnectionManager(policy=policy)
    manager.add_conn_hook(Direct())
    return manager


def answered(conn: Connection, calls: int = 10, **options: Any) -> int:
    """How many of so many calls are answered, the others being over the rate."""
    count = 0
    for _ in range(calls):
        try:
            conn.get("/", **options)
        except RateLimitedError:
            continue
        count += 1
    return count


@pytest.mark.parametrize("kind", [Key, lambda name: (name, SECRET), lambda name: HTTPDigestAuth(name, SECRET)])
def test_a_tenant_that_used_up_its_quota_leaves_the_others_theirs(kind: Callable[[str], Any]) -> None:
    with FaultServer() as server, managed() as manager:
        assert [answered(manager.find(server.url, kind(name))) for name in ("ann", "bob")] == [3, 3]
        assert len(server.requests) == 6
        assert answered(manager.find(server.url, ANONYMOUS)) == 3
        with pytest.raises(RateLimitedError, match="for these credentials is reached"):
            manager.find(server.url, kind("ann")).get("/")


def test_by_default_all_of_a_host_are_counted_together() -> None:
    with FaultServer() as server, managed(Policy(rate_limit={"rate": 0.01, "burst": 3})) as manager:
        assert [answered(manager.find(server.url, Key(name))) for name in ("ann", "bob")] == [3, 0]


def test_a_connection_that_is_made_anew_does_not_begin_a_quota_anew() -> None:
    with FaultServer() as server, managed() as manager:
        first = manager.find(server.url, Key("ann"))
        assert answered(first, 2) == 2
        manager.evict(server.url)
        second = manager.find(server.url, Key("ann"))
        assert second is not first
        assert answered(second) == 1


def test_a_header_of_a_call_is_its_credentials_where_there_are_no_others() -> None:
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=QUOTA) as conn:
        for name in ("ann", "bob"):
            assert answered(conn, headers={"Authorization": f"Bearer {name} {SECRET}"}) == 3
        assert answered(conn) == 3


def test_what_is_kept_of_credentials_holds_nothing_of_them() -> None:
    with FaultServer() as server, managed() as manager:
        answered(manager.find(server.url, ("ann", SECRET)))
        answered(manager.find(server.url, Key(SECRET)))
        (record,) = manager.hosts.hosts()
        assert record.admission.rate_limit is not None
        kept = record.admission.rate_limit._buckets
        assert len(kept) == 2
        assert not [word for word in (SECRET, "ann", "Basic", "Key") if word in repr(kept)]
        assert Counter(map(type, kept)) == {str: 2}


class Foreign:
    """A client of another library."""

    def __init__(self, url: str, auth: Any) -> None:
        self.url, self.auth = url, auth

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, auth=self.auth, timeout=5)


@threads_only("a blocking client behind a guard")
def test_guarded_connections_are_told_apart_by_what_they_are_found_with() -> None:
    class Hook(ConnectionHook):
        def connect(self, host: Any, auth: Any) -> Foreign:
            return Foreign(host, auth)

    with FaultServer() as server, ConnectionManager(policy=QUOTA, guard=True) as manager:
        manager.add_conn_hook(Hook())
        assert [answered(manager.find(server.url, Key(name))) for name in ("ann", "bob", "ann")] == [3, 3, 0]
