"""A session can be pickled and copied, also after a connection put its adapter into it: frameworks do so."""

from __future__ import annotations

import copy
import pickle
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import requests
from servers import FaultServer, TlsMaterial

from sleepwalker import ANONYMOUS, Connection, Policy

POLICY = Policy(retry=False, pool={"size": 3, "block": True, "idle": 7})


def through_a_pickle(session: Any) -> Any:
    return pickle.loads(pickle.dumps(session))


ways = pytest.mark.parametrize("way", [through_a_pickle, copy.deepcopy], ids=["pickle", "deepcopy"])


@ways
@pytest.mark.parametrize("passed", [False, True], ids=["own", "passed"])
def test_a_copy_works_and_shares_no_socket(server: FaultServer, passed: bool, way: Callable[[Any], Any]) -> None:
    theirs = requests.Session() if passed else None
    with Connection(server.url, ANONYMOUS, policy=POLICY, session=theirs) as conn:
        conn.get("/")
        conn.conn.headers["X-Kept"] = "yes"
        conn.conn.cookies.set("kept", "1")
        twin = way(conn.conn)
        assert server.accepted == 1
        assert twin.get(server.url, timeout=5).content == b"ok"
        assert server.accepted == 2
        assert server.requests[-1].header("X-Kept") == "yes"
        assert "kept=1" in (server.requests[-1].header("Cookie") or "")
        conn.get("/")
        assert server.accepted == 2
        twin.close()
        conn.get("/")
        assert server.accepted == 2, "its pools are its own"


@ways
def test_a_copy_may_be_given_to_a_connection(server: FaultServer, way: Callable[[Any], Any]) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        twin = way(conn.conn)
    with Connection(server.url, ANONYMOUS, policy=POLICY, session=twin) as conn:
        for _ in range(3):
            assert conn.get("/").content == b"ok"
        pool = conn.conn.get_adapter(server.url).get_connection_with_tls_context(conn.get("/").request, True)
        assert (pool.max_idle, pool.block, pool.pool.maxsize) == (7, True, 3)
    assert server.accepted == 1


@ways
def test_a_copy_verifies_as_the_connection_did(
    tls: TlsMaterial, tls_server: FaultServer, way: Callable[[Any], Any]
) -> None:
    url = tls_server.url
    with Connection(url, ANONYMOUS, policy=POLICY, verify=str(tls.ca)) as conn:
        twin = way(conn.conn)
    adapter = twin.get_adapter(url)
    request = requests.Request("GET", url + "/").prepare()
    assert adapter.send(request, verify=str(tls.ca), timeout=5).content == b"ok"
    with pytest.raises(requests.exceptions.SSLError):
        twin.get(url, timeout=5)  # by hand a session goes by its own `verify`, as before


@ways
def test_a_session_with_a_context_says_why_it_cannot_be_copied(
    tls: TlsMaterial, tls_server: FaultServer, way: Callable[[Any], Any]
) -> None:
    context = ssl.create_default_context(cafile=str(tls.ca))
    with Connection(tls_server.url, ANONYMOUS, policy=POLICY, verify=context) as conn:
        conn.get("/")
        with pytest.raises(TypeError, match=r"cannot be copied or pickled: .* path of a CA bundle"):
            way(conn.conn)
        assert conn.get("/").content == b"ok"
