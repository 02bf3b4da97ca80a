"""Sockets end in time, the next attempt of a call goes elsewhere, and no machine behind an address is favoured."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from servers import Exchange, FaultServer, Step, TlsMaterial, elapsed, reply, reset, timing_test, unanswered_port

from sleepwalker import ANONYMOUS, Connection, Policy
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.transport.addresses import FailedAddresses
from sleepwalker.transport.aio import sockets as aio_sockets
from sleepwalker.transport.blocking import connection_queue, fast_path, pool, sockets
from tests.both_drivers import threads_only

pytestmark = pytest.mark.both_drivers

POLICY = Policy(
    timeout={"connect": 5, "read": 5, "attempt": 5, "total": 20},
    retry={"wait_initial": 0, "wait_max": 0, "budget": False},
    breaker=False,
)
ONCE = POLICY.replace(retry=False)


class Ahead:
    """The clock of the pools, which can be put on."""

    def __init__(self) -> None:
        self.by = 0.0
        self.roll = 0.5

    def now(self) -> float:
        return time.monotonic() + self.by


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch, driver: str) -> Ahead:
    clock = Ahead()
    if driver == "asyncio":  # whose pools have their connection's clock
        monkeypatch.setattr(type(SYSTEM_CLOCK), "monotonic", lambda _: clock.now())
        monkeypatch.setattr(type(SYSTEM_CLOCK), "random", lambda _: clock.roll)
        return clock
    for module in (connection_queue, pool, sockets):
        monkeypatch.setattr(module, "_now", clock.now)
    monkeypatch.setattr(sockets, "_random", lambda: clock.roll)
    return clock


@pytest.fixture(params=["the short way", "the long way"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of sending over an open socket."""
    if request.param == "the long way":
        monkeypatch.setattr("sleepwalker.transport.aio.fast_path.is_open", lambda *_: False)
        monkeypatch.setattr(fast_path, "is_unpatched", lambda: False)


@pytest.fixture(autouse=True)
def nothing_failed_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_failed", FailedAddresses())


def connections(server: FaultServer) -> list[int]:
    """Over which of its sockets each request came."""
    return [request.connection for request in server.requests]


# -- age -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_a_socket_that_is_old_is_closed_however_busy_it_was(server: FaultServer, ahead: Ahead) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        for _ in range(20):
            conn.get("/")
            ahead.by += 20.0
        assert connections(server) == [1] * 15 + [2] * 5
        server.wait_for_open(1)


@pytest.mark.parametrize(("roll", "age"), [(0.0, 270.0), (0.5, 300.0), (0.999999, 330.0)])
def test_ages_differ_by_a_tenth_so_that_those_of_a_fleet_do_not_end_together(
    server: FaultServer, ahead: Ahead, roll: float, age: float
) -> None:
    ahead.roll = roll
    with Connection(server.url, ANONYMOUS, policy=POLICY.replace(pool={"idle": 1000})) as conn:
        conn.get("/")
        ahead.by += age - 1.0
        conn.get("/")
        assert server.accepted == 1
        ahead.by += 2.0
        conn.get("/")
        assert server.accepted == 2


def test_a_request_under_way_over_a_socket_that_grows_old_finishes(server: FaultServer, ahead: Ahead) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        server.script(reply(200, bytes(10_000_000)))  # not there whole before it is read
        with conn.get("/", stream=True) as held:
            ahead.by += 1000.0
            assert len(held.content) == 10_000_000
        server.wait_for_open(0)
        conn.get("/")
        assert connections(server) == [1, 2]


@pytest.mark.parametrize("policy", [POLICY.replace(pool={"idle": 1e6, "max_age": False}), Policy.load("off")])
def test_without_an_age_a_socket_is_used_for_as_long_as_it_works(
    server: FaultServer, ahead: Ahead, policy: Policy
) -> None:
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        for _ in range(50):
            conn.get("/")
            ahead.by += 45.0
        assert server.accepted == 1


@pytest.mark.parametrize(("pool_age", "sockets_used"), [(False, 2), (300.0, 2), (10.0, 3)])
def test_no_socket_is_older_than_a_connection_may_become(
    server: FaultServer, ahead: Ahead, pool_age: float | bool, sockets_used: int
) -> None:
    policy = POLICY.replace(pool={"max_age": pool_age}, health={"max_age": 20})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        for _ in range(3):
            conn.get("/")
            ahead.by += 11.5
        assert server.accepted == sockets_used


@threads_only("in asyncio all that lie idle take turns")
def test_what_a_burst_left_over_is_closed_while_calls_go_on(ahead: Ahead) -> None:
    warm = threading.Barrier(8)

    def behave(exchange: Exchange) -> Step:
        assert exchange.request is not None
        if exchange.request.path == "/warm":
            warm.wait(30)
        return reply(200, b"ok")

    with FaultServer(default=behave) as server, Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        burst(conn, 8)
        assert server.open == 8
        for _ in range(20):
            ahead.by += 4.0
            conn.get("/")
        server.wait_for_open(1)
        assert server.accepted == 8


# -- the server's word ---------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("says", "lasts"),
    [("timeout=5", 4.0), ("timeout=20, max=100", 19.0), ("timeout=500", 50.0), ("timeout=x", 50.0)],
)
def test_a_socket_is_not_used_again_once_the_server_may_hang_up(
    ahead: Ahead, says: str, lasts: float, chunked: bool
) -> None:
    with (
        FaultServer(default=reply(200, b"ok", {"Keep-Alive": says}, chunked=chunked)) as server,
        Connection(server.url, ANONYMOUS, policy=POLICY) as conn,
    ):
        conn.get("/")
        for _ in range(3):
            ahead.by += lasts - 0.5
            conn.get("/")
        assert server.accepted == 1
        ahead.by += lasts + 0.001
        conn.post("/")
        assert connections(server) == [1, 1, 1, 1, 2]
        server.wait_for_open(1)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("says", ["timeout=0", "timeout=5, max=0"])
def test_a_socket_that_the_server_does_not_keep_is_closed_at_once(server: FaultServer, says: str) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/")
        server.script(reply(200, b"ok", {"Keep-Alive": says}))
        conn.get("/")
        server.wait_for_open(0)
        conn.get("/")
        assert connections(server) == [1, 1, 2]


def test_two_headers_are_both_heard(server: FaultServer, ahead: Ahead) -> None:
    server.default = reply(200, b"ok", [("Keep-Alive", "max=9"), ("Keep-Alive", "timeout=5")])
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/")
        ahead.by += 4.5
        conn.get("/")
        assert server.accepted == 2


def test_over_tls_the_servers_word_counts_as_well(tls: TlsMaterial, ahead: Ahead) -> None:
    with (
        FaultServer(default=reply(200, b"ok", {"Keep-Alive": "timeout=5"}), tls=tls.server_context()) as server,
        Connection(server.url, ANONYMOUS, policy=POLICY, verify=tls.client_context()) as conn,
    ):
        for wait in (0.0, 3.5, 4.5):
            ahead.by += wait
            conn.get("/")
        assert connections(server) == [1, 1, 2]


# -- failed --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("statuses", "status", "used_again"),
    [
        (["5xx"], 500, False),
        (["5xx"], 501, True),
        ([502, 503], 500, True),
        ([502, 503], 503, False),
        ([404, 503], 404, False),
        ([], 503, True),
    ],
)
def test_a_socket_is_used_again_unless_its_answer_is_a_failure_by_the_policy(
    server: FaultServer, statuses: list[Any], status: int, used_again: bool
) -> None:
    policy = ONCE.replace(breaker={"statuses": statuses, "mode": "observe"})
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")
        server.script(reply(status, b"no"))
        conn.get("/", raise_for_status=False)
        conn.get("/")
        assert connections(server) == [1, 1, 1 if used_again else 2]


# -- the next attempt ----------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("status", [408, 429, 503])
@pytest.mark.parametrize("size", [{"size": 1}, {"size": 1, "block": True}, {"size": 8}], ids=str)
def test_the_next_attempt_goes_over_another_socket(status: int, size: dict[str, Any]) -> None:
    """Behind one address are many machines, and the one that said no says no again."""

    def bound(exchange: Exchange) -> Step:
        assert exchange.request is not None
        said_no = exchange.request.connection <= 2 and exchange.request.path == "/"
        return reply(status, b"no") if said_no else reply(200, b"ok")

    policy = POLICY.replace(pool=size)
    with FaultServer(default=bound) as server, Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/first")
        assert len(conn.get("/").attempts) == 3  # type: ignore[attr-defined]
        assert connections(server) == [1, 1, 2, 3]


def test_the_next_attempt_takes_an_idle_socket_that_the_call_has_not_used() -> None:
    warm = threading.Barrier(3)

    def bound(exchange: Exchange) -> Step:
        assert exchange.request is not None
        if exchange.request.path == "/warm":
            warm.wait(30)
            return reply(200, b"ok")
        return reply(429, b"no") if exchange.request.connection != 3 else reply(200, b"ok")

    with FaultServer(default=bound) as server, Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        burst(conn, 3)
        conn.get("/")
        assert server.accepted == 3


# -- addresses -----------------------------------------------------------------------------------


@contextlib.contextmanager
def addresses(monkeypatch: pytest.MonkeyPatch, *ports: int) -> Iterator[list[int]]:
    """Let `many.test` have several addresses, loopback at these ports; gives those that are connected to."""
    tried: list[int] = []
    real, really_open = socket.getaddrinfo, sockets.BoundedConnection._open_address
    opens = aio_sockets._open

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "many.test":
            return real(host, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

    def open_address(self: Any, address: Any, *args: Any) -> Any:
        tried.append(address[4][1])
        return really_open(self, address, *args)

    def opened(info: Any) -> socket.socket:
        tried.append(info[4][1])
        return opens(info)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", getaddrinfo)
        patched.setattr(aio_sockets, "_open", opened)
        patched.setattr(sockets.BoundedConnection, "_open_address", open_address)
        yield tried


@pytest.mark.parametrize("wrong", [reply(503, b"no"), reply(429, b"no"), reset()], ids=["503", "429", "reset"])
def test_the_next_attempt_goes_to_another_address(monkeypatch: pytest.MonkeyPatch, wrong: Step) -> None:
    with (
        FaultServer(routes={"/": wrong}) as ill,
        FaultServer() as well,
        addresses(monkeypatch, ill.port, well.port) as tried,
        Connection("http://many.test", ANONYMOUS, policy=POLICY) as conn,
    ):
        assert len(conn.get("/").attempts) == 2  # type: ignore[attr-defined]
        assert tried == [ill.port, well.port]


def test_the_next_attempt_goes_to_another_address_though_a_socket_to_the_first_lies_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = threading.Barrier(2)

    def warm(_: Exchange) -> Step:
        both.wait(30)
        return reply(200, b"ok")

    routes = {"/": reply(429, b"no"), "/warm": Step(warm)}
    with (
        FaultServer(routes=routes) as ill,
        FaultServer() as well,
        addresses(monkeypatch, ill.port, well.port) as tried,
        Connection("http://many.test", ANONYMOUS, policy=POLICY) as conn,
    ):
        burst(conn, 2)
        assert tried == [ill.port] * 2
        assert len(conn.get("/").attempts) == 2  # type: ignore[attr-defined]
        assert tried == [ill.port, ill.port, well.port]


@threads_only("aiohttp tries the next address after a quarter of a second, and which one was dead is not remembered")
def test_a_dead_address_is_tried_last_for_a_while(monkeypatch: pytest.MonkeyPatch, ahead: Ahead) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]
    policy = ONCE.replace(pool={"idle": 0})
    with FaultServer() as server, addresses(monkeypatch, dead, server.port) as tried:
        for wait, expected in [
            (0.0, [dead, server.port]),
            (1.0, [server.port]),
            (28.0, [server.port]),
            (2.0, [dead, server.port]),
        ]:
            ahead.by += wait
            tried.clear()
            with Connection("http://many.test", ANONYMOUS, policy=policy) as conn:  # a new one each time
                conn.get("/")
            assert tried == expected


@threads_only("aiohttp tries the next address after a quarter of a second, and which one was dead is not remembered")
def test_an_address_that_never_answers_costs_its_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = ONCE.replace(pool={"idle": 0}, timeout={"connect": 0.8})
    with (
        unanswered_port() as dead,
        FaultServer() as server,
        addresses(monkeypatch, dead, server.port) as tried,
        Connection("http://many.test", ANONYMOUS, policy=policy) as conn,
    ):
        for _ in range(3):
            conn.get("/")
        assert tried == [dead, server.port, server.port, server.port]


@threads_only("aiohttp tries the next address after a quarter of a second, and which one was dead is not remembered")
@timing_test
def test_one_that_did_not_answer_before_is_hardly_waited_for_while_there_are_others(
    monkeypatch: pytest.MonkeyPatch, ahead: Ahead
) -> None:
    policy = ONCE.replace(pool={"idle": 0})
    with unanswered_port() as dead, FaultServer() as server:
        sockets._failed.note(("127.0.0.1", dead), TimeoutError(), ahead.now())
        ahead.by += 31.0
        with (
            addresses(monkeypatch, dead, server.port) as tried,
            Connection("http://many.test", ANONYMOUS, policy=policy) as conn,
            elapsed() as took,
        ):
            for _ in range(2):
                conn.get("/")
        assert tried == [dead, server.port, server.port]
        assert 0.29 < took.seconds < 1.5


@threads_only("aiohttp tries the next address after a quarter of a second, and which one was dead is not remembered")
@timing_test
def test_each_address_gets_its_share_of_the_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = ONCE.replace(pool={"idle": 0}, timeout={"connect": 2})
    with (
        unanswered_port() as dead,
        FaultServer() as server,
        addresses(monkeypatch, dead, *[server.port] * 3),
        Connection("http://many.test", ANONYMOUS, policy=policy) as conn,
        elapsed() as took,
    ):
        conn.get("/")
    assert 0.49 < took.seconds < 0.99


@threads_only("aiohttp tries the next address after a quarter of a second, and which one was dead is not remembered")
def test_an_address_that_was_given_no_time_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller in a hurry says nothing of it, and others would be led elsewhere for half a minute."""
    with (
        unanswered_port() as slow,
        FaultServer() as server,
        addresses(monkeypatch, slow, server.port) as tried,
        Connection("http://many.test", ANONYMOUS, policy=ONCE.replace(pool={"idle": 0})) as conn,
    ):
        for _ in range(2):
            conn.get("/", total=0.4)
        assert tried == [slow, server.port] * 2


def test_where_all_addresses_have_failed_all_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]
    with FaultServer() as server:
        port = server.port
    with addresses(monkeypatch, dead, port), Connection("http://many.test", ANONYMOUS, policy=ONCE) as conn:
        with pytest.raises(Exception, match="refused"):
            conn.get("/")
        with FaultServer(port=port):
            assert conn.get("/").content == b"ok"


# -- turns ---------------------------------------------------------------------------------------


def burst(conn: Connection, size: int) -> None:
    """So many calls at once, each on a socket of its own."""
    threads = [threading.Thread(target=conn.get, args=("/warm",)) for _ in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Machines:
    """Four machines behind one address: each socket leads to one of them, in turn. The first one is ill."""

    def __init__(self, ill: Step, well: Step) -> None:
        self.ill, self.well = ill, well
        self.asked: Counter[int] = Counter()
        self._warm = threading.Barrier(8)

    def __call__(self, exchange: Exchange) -> Step:
        assert exchange.request is not None
        if exchange.request.path == "/warm":
            self._warm.wait(30)
            return reply(200, b"ok")
        machine = (exchange.request.connection - 1) % 4
        self.asked[machine] += 1
        return self.ill if machine == 0 else self.well


@contextlib.contextmanager
def four_machines(ill: Step, well: Step) -> Iterator[tuple[Machines, Connection]]:
    machines = Machines(ill, well)
    with FaultServer(default=machines) as server, Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        burst(conn, 8)
        assert server.accepted == 8
        yield machines, conn


@pytest.mark.usefixtures("way")
def test_calls_one_after_the_other_reach_all_machines_alike() -> None:
    with four_machines(reply(200, b"ok"), reply(200, b"ok")) as (machines, conn):
        for _ in range(80):
            conn.get("/")
        assert machines.asked == dict.fromkeys(range(4), 20)


@pytest.mark.parametrize("status", [500, 503, 429, 404, 200])
def test_a_machine_that_fails_fast_gets_no_more_than_its_share(status: int, driver: str) -> None:
    """Its sockets are back first. With the one used last taken first, it got 58 % of the calls that it refused."""
    with four_machines(reply(status, b"no"), reply(200, b"ok", delay=0.02)) as (machines, conn):
        calls = iter(range(160))
        answers: Counter[int] = Counter()

        def work() -> None:
            for _ in calls:
                answers[conn.get("/", raise_for_status=False).status_code] += 1

        spread(work, 3)  # as many sockets again lie idle
        share = machines.asked[0] / sum(machines.asked.values())
        assert share <= (0.27 if driver == "threads" else 0.35)  # the facade's threads take their turns as they come
        if status in (429, 503):
            assert answers == {200: 160}


def spread(work: Callable[[], None], threads: int) -> None:
    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


class Handshake(requests.auth.AuthBase):
    """As NTLM: the answer to the first request has a number of its socket's, which the second one brings back."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = "Begin"
        request.register_hook("response", self.again)
        return request

    def again(self, response: requests.Response, **options: Any) -> requests.Response:
        if response.status_code != 401 or response.request.headers["Authorization"] != "Begin":
            return response
        assert response.content == b"begun"
        response.raw.release_conn()
        request = response.request.copy()
        request.headers["Authorization"] = f"Socket {response.headers['X-Socket']}"
        return response.connection.send(request, **options)  # type: ignore[attr-defined, no-any-return]


@threads_only("response.raw, which is urllib3's")
@pytest.mark.usefixtures("way")
def test_what_is_sent_within_an_attempt_takes_the_socket_that_the_attempt_had() -> None:
    """What an auth object agreed upon there is the socket's."""
    warm = threading.Barrier(4)

    def behave(exchange: Exchange) -> Step:
        assert exchange.request is not None
        if exchange.request.path == "/warm":
            warm.wait(30)
            return reply(200, b"ok")
        said, socket_number = exchange.request.header("authorization"), str(exchange.request.connection)
        if said == "Begin":
            return reply(401, b"begun", {"X-Socket": socket_number})
        return reply(200 if said == f"Socket {socket_number}" else 401, b"ok")

    with FaultServer(default=behave) as server, Connection(server.url, Handshake(), policy=ONCE) as conn:
        burst(conn, 4)
        assert [conn.get("/", raise_for_status=False).status_code for _ in range(9)] == [200] * 9
        assert server.accepted == 4
