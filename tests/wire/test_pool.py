"""Sockets: how many there are, who waits for one, and what happens to them when the connection is closed."""

from __future__ import annotations

import contextlib
import gc
import signal
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from servers import Exchange, FaultServer, Nginx, Step, TlsMaterial, TooLate, elapsed, reply, timing_test

from sleepwalker import ANONYMOUS, Connection, ConnectionError, DeadlineExceeded, HTTPServiceUnavailable, Policy
from sleepwalker.events import Event, RequestFailed
from sleepwalker.transport.blocking.connection_queue import ConnectionQueue
from tests.both_drivers import threads_only
from tests.interrupts import forget, strike
from tests.ranges import some

pytestmark = pytest.mark.both_drivers

POLICY = Policy(timeout={"connect": 5, "read": 5, "attempt": 5, "total": 10}, retry=False, breaker=False)
ONE = POLICY.replace(pool={"size": 1, "block": True})


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised, all of them begun at once in threads of their own."""
    results: list[Any] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = calls[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@timing_test
def test_eight_threads_wait_side_by_side() -> None:
    """One after the other they would take 400 ms."""
    with FaultServer(default=reply(200, b"ok", delay=0.05)) as server:
        with Connection(server.url, ANONYMOUS) as conn:
            for _ in range(2):  # the second time on sockets that are open
                with elapsed() as time:
                    answers = together(*[lambda: conn.get("/").content] * 8)
                assert answers == [b"ok"] * 8
                time.assert_within(0.05, 0.05)
        assert server.accepted <= 16
        assert server.most_open == 8


def test_calls_one_after_the_other_share_one_socket(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        for number in range(20):
            conn.request(["GET", "POST", "PUT", "DELETE", "HEAD"][number % 5], f"/{number}")
    assert {request.connection for request in server.requests} == {1}


def test_a_real_server_sees_one_connection_too(nginx: Nginx) -> None:
    with Connection(nginx.http, ANONYMOUS, policy=POLICY) as conn:
        seen = {conn.get(path).headers["X-Connection"] for path in ["/100b.json", "/10kb.json", "/1mb.json"] * 5}
    assert len(seen) == 1


def test_no_more_sockets_stay_than_the_policy_keeps() -> None:
    all_at_once = Step(lambda exchange: exchange.server.wait_for_requests(6) or reply(200, b"ok"))
    with (
        FaultServer(default=all_at_once) as server,
        Connection(server.url, ANONYMOUS, policy=POLICY.replace(pool={"size": 2})) as conn,
    ):
        assert together(*[lambda: conn.get("/").status_code] * 6) == [200] * 6
        server.wait_for_open(2)
        assert server.most_open == 6


def test_a_blocking_pool_opens_no_more_sockets_than_its_size() -> None:
    both = Step(lambda exchange: exchange.server.wait_for_requests(2) or reply(200, b"ok", delay=0.05))
    with FaultServer(default=both) as server:
        with Connection(server.url, ANONYMOUS, policy=POLICY.replace(pool={"size": 2, "block": True})) as conn:
            assert together(*[lambda: conn.get("/").status_code] * 6) == [200] * 6
        assert server.accepted == server.most_open == 2


@timing_test
def test_a_call_waits_for_a_socket_no_longer_than_its_deadline() -> None:
    events: list[Event] = []

    def observe(event: Event, level: object = None, /) -> None:
        events.append(event)

    policy = ONE.replace(timeout={"connect": 0.1, "read": 5, "attempt": 0.3, "total": 0.3})
    with (
        FaultServer(default=reply(200, b"slow", delay=0.6)) as server,
        Connection(server.url, ANONYMOUS, policy=policy, observer=observe) as conn,
    ):
        first = threading.Thread(target=lambda: conn.get("/", policy=ONE))
        first.start()
        server.wait_for_requests(1)
        with elapsed() as time, pytest.raises(DeadlineExceeded) as caught:
            conn.post("/")
        if not first.is_alive():
            raise TooLate("the answer of 0.6 s was there before the one who was to wait had begun")
        first.join()
        time.assert_within(0.3)  # and so before the answer of 0.6 s
        assert (caught.value.phase, caught.value.never_sent) == ("queue", True)
        assert [event.error for event in events if isinstance(event, RequestFailed)] == ["DeadlineExceeded"]
        assert len(server.requests) == 1
        assert conn.get("/", policy=ONE).content == b"slow"


@threads_only("Ctrl-C reaches a thread; a task is cancelled instead")
def test_a_ctrl_c_of_one_who_waits_for_a_socket_is_no_fault_of_the_one_who_has_it() -> None:
    """urllib3 gives a place back then that was never taken, and the holder of the only one would find no room."""
    began, go_on = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        began.set()
        go_on.wait(30)
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def wait() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.1)  # a Ctrl-C before we are in here would end the whole run of the tests
        conn.get("/")

    with FaultServer(routes={"/slow": slow}) as server, Connection(server.url, ANONYMOUS, policy=ONE) as conn:
        conn.get("/")
        answers: list[bytes] = []
        thread = threading.Thread(target=lambda: answers.append(conn.get("/slow").content))
        thread.start()
        began.wait(30)
        before = signal.signal(signal.SIGALRM, stop)
        try:
            with pytest.raises(KeyboardInterrupt):
                wait()
        finally:
            signal.signal(signal.SIGALRM, before)
        go_on.set()
        thread.join()
        assert answers == [b"slow"]
        assert [conn.get("/").content for _ in range(3)] == [b"ok"] * 3


@threads_only("a short body has come with its head, and gives the socket back")
def test_a_streamed_answer_holds_its_socket_until_it_is_read_or_closed(server: FaultServer) -> None:
    server.default = reply(200, b"x" * 100)
    with Connection(server.url, ANONYMOUS, policy=ONE) as conn:
        for let_go in (lambda answer: answer.content, lambda answer: answer.close()):
            answer = conn.get("/", stream=True)
            with pytest.raises(DeadlineExceeded, match="before it was sent"):
                conn.get("/", policy=ONE.replace(timeout={"connect": 0.1, "attempt": 0.2}))
            let_go(answer)
            assert conn.get("/").content == b"x" * 100


# -- close ---------------------------------------------------------------------------------------


def test_close_closes_idle_sockets_at_once_though_answers_are_still_held(server: FaultServer) -> None:
    conn = Connection(server.url, ANONYMOUS, policy=POLICY)
    answer = conn.get("/")
    server.wait_for_open(1)
    conn.close()
    conn.close()
    server.wait_for_open(0)
    assert answer.content == b"ok"
    assert conn.closed
    with pytest.raises(ConnectionError, match="closed"):
        conn.get("/")
    assert len(server.requests) == 1


def test_leaving_the_block_closes_too(server: FaultServer) -> None:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        conn.get("/")
    server.wait_for_open(0)
    assert conn.closed


def test_calls_in_flight_when_the_connection_is_closed_finish() -> None:
    def close(exchange: Exchange) -> Step:
        exchange.server.wait_for_requests(4)
        conn.close()
        return reply(200, b"late", delay=0.1)

    with FaultServer(default=close) as server:
        conn = Connection(server.url, ANONYMOUS, policy=POLICY)
        assert together(*[lambda: conn.get("/").content] * 4) == [b"late"] * 4
        server.wait_for_open(0)


def test_calls_that_wait_for_a_socket_when_the_connection_is_closed_finish() -> None:
    """No socket comes back to a closed pool, so waiters have to be told."""

    def late(exchange: Exchange) -> Step:
        while not conn.closed:
            exchange.pause(0.01)
        return reply(200, b"late")

    with FaultServer(default=late) as server:
        conn = Connection(server.url, ANONYMOUS, policy=ONE)

        def close() -> None:
            while conn.health.in_flight < 4:
                time.sleep(0.01)
            conn.close()

        *answers, _ = together(*[lambda: conn.get("/").content] * 4, close)
        assert answers == [b"late"] * 4
        server.wait_for_open(0)


def test_a_stream_can_be_read_to_its_end_after_close() -> None:
    def slow(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
        for piece in (b"b", b"c"):
            exchange.pause(0.1)
            exchange.send(piece)

    with FaultServer(default=slow) as server:
        conn = Connection(server.url, ANONYMOUS, policy=POLICY)
        answer = conn.get("/", stream=True)
        conn.close()
        assert answer.content == b"abc"
        server.wait_for_open(0)


@threads_only("an adapter of requests")
@pytest.mark.parametrize("policy", [POLICY, ONE], ids=["free", "blocking"])
def test_a_call_finishes_though_the_connection_is_closed_just_before_it_takes_a_socket(
    monkeypatch: pytest.MonkeyPatch, server: FaultServer, policy: Policy
) -> None:
    with Connection(server.url, ANONYMOUS, policy=policy) as conn:
        conn.get("/")
        adapter: Any = conn.conn.get_adapter(server.url)
        target = adapter.request_url

        def close_first(*given: Any) -> Any:
            """An adapter asks for the target after it has chosen a pool, and before it takes a socket from it."""
            conn.close()
            return target(*given)

        monkeypatch.setattr(adapter, "request_url", close_first)
        answer = conn.post("/")
        assert (answer.content, len(answer.attempts)) == (b"ok", 1)  # type: ignore[attr-defined]
        server.wait_for_open(0)


def test_closing_while_calls_begin_loses_none_of_those_that_began() -> None:
    """A call either finds the connection closed, or finishes."""
    with FaultServer() as server:
        for _ in range(30):
            conn = Connection(server.url, ANONYMOUS, policy=POLICY)

            def calls(conn: Connection = conn) -> int:
                answered = 0
                while True:
                    try:
                        conn.get("/")
                    except ConnectionError as error:
                        if "this connection is closed" in str(error):
                            return answered
                        raise
                    answered += 1

            def close(conn: Connection = conn) -> None:
                time.sleep(0.005)
                conn.close()

            first, second, _ = together(calls, calls, close)
            assert isinstance(first, int), first
            assert isinstance(second, int), second
            assert conn.health.failures == 0
        server.wait_for_open(0)


# -- streams -------------------------------------------------------------------------------------


def pieces(*texts: bytes, asked: threading.Semaphore) -> Callable[[Exchange], None]:
    """A chunked body of these texts, each of which waits until it is asked for."""

    def act(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for text in texts:
            while not asked.acquire(blocking=False):
                exchange.pause(0.01)
            exchange.send(b"%x\r\n%b\r\n" % (len(text), text))
        exchange.send(b"0\r\n\r\n")

    return act


def test_lines_of_a_stream_come_as_the_server_sends_them() -> None:
    asked = threading.Semaphore(1)
    with FaultServer(default=pieces(b"one\ntw", b"o\n", b"three", asked=asked)) as server:
        with Connection(server.url, ANONYMOUS, policy=POLICY) as conn, conn.get("/", stream=True) as answer:
            seen = []
            for line in answer.iter_lines(chunk_size=None):
                seen.append(line)
                asked.release()  # only now is the next piece sent: a line kept back would be waited for in vain
            assert seen == [b"one", b"two", b"three"]
            asked.release(3)
            assert conn.get("/").content == b"one\ntwo\nthree"
        assert server.accepted == 1
        assert conn.health.failures == 0


def test_a_stream_that_was_read_to_its_end_gives_its_socket_back(server: FaultServer) -> None:
    server.default = reply(200, b"x" * 1000, chunked=True)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        for read in (
            lambda answer: answer.content,
            lambda answer: b"".join(answer.iter_content(7)),
            lambda answer: b"".join(answer.iter_lines()),
            b"".join,
            lambda answer: answer.text.encode(),
        ):
            assert read(conn.get("/", stream=True)) == b"x" * 1000
    assert server.accepted == 1


@threads_only("a stream of requests; the asynchronous one has a block")
def test_a_stream_that_is_let_go_of_is_freed_at_once(server: FaultServer) -> None:
    """Held by its own wrapper it would keep its socket until the garbage collector comes by."""
    server.default = reply(200, b"x" * 100_000)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        stream = conn.get("/", stream=True)
        next(stream.iter_content(10))
        freed = weakref.ref(stream)
        conn._handover._latest.response = None
        gc.disable()
        try:
            del stream
            assert freed() is None
        finally:
            gc.enable()


def test_leaving_the_block_of_a_stream_half_read_drops_its_socket(server: FaultServer) -> None:
    server.default = reply(200, b"x" * 1_000_000)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        with conn.get("/", stream=True) as answer:
            assert next(answer.iter_content(10)) == b"x" * 10
        server.wait_for_open(0)
        assert conn.get("/").content == b"x" * 1_000_000
        assert conn.health.failures == 0


@threads_only("an asynchronous stream is read once, which it says")
def test_a_stream_that_the_caller_breaks_is_no_fault_of_the_host(server: FaultServer) -> None:
    server.default = reply(200, b"x" * 1000)
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        with conn.get("/", stream=True) as answer:
            chunks = answer.iter_content(10)
            next(chunks)
            with pytest.raises(KeyError):
                chunks.throw(KeyError)  # type: ignore[attr-defined]
        with conn.get("/", stream=True) as answer:
            list(answer.iter_content(100))
            with pytest.raises(TypeError):
                next(iter(answer.iter_content(100)))  # requests: it was consumed
        with conn.get("/", stream=True) as answer, pytest.raises(TypeError):
            next(iter(answer.iter_content("10")))  # type: ignore[arg-type]
        assert conn.health.failures == 0


@threads_only("aiohttp wants the end of the trailer")
@pytest.mark.parametrize("warm", [False, True])
def test_a_socket_whose_tls_has_ended_is_not_used_again_though_it_is_open(tls: TlsMaterial, warm: bool) -> None:
    """The last line of the chunks is missing, which http.client takes for their end."""

    def ends(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
        sock = exchange.link.socket
        assert isinstance(sock, ssl.SSLSocket)
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # nothing is read yet, or the client has hung up in reply
            sock.unwrap()
        sock.setblocking(True)

    with (
        FaultServer(tls=tls.server_context()) as server,
        Connection(server.url, ANONYMOUS, policy=POLICY, verify=str(tls.ca)) as conn,
    ):
        if warm:
            conn.get("/")
        server.script(ends)
        assert conn.get("/").content == b"ok"
        assert conn.get("/").ok
        assert server.accepted == 2


def test_a_503_as_a_stream_raises_with_its_body(server: FaultServer) -> None:
    server.default = reply(503, b'{"error_text": "busy"}')
    with Connection(server.url, ANONYMOUS, policy=POLICY) as conn:
        with pytest.raises(HTTPServiceUnavailable, match="busy") as caught:
            conn.get("/", stream=True)
        assert caught.value.json_data == {"error_text": "busy"}


# -- exceptions from signal handlers -----------------------------------------------------------------

_FILES = tuple(
    f"sleepwalker/transport/blocking/{name}.py"
    for name in ("connection_queue", "pool", "sockets", "fast_path", "deadline")
)
_FILES += ("urllib3/connectionpool.py",)
IMPATIENT = ONE.replace(timeout={"connect": 1, "read": 1, "attempt": 1, "total": 1})


def places_of(conn: Connection) -> ConnectionQueue:
    (pool,) = conn._route._adapter._pools.values()
    return pool.pool  # type: ignore[no-any-return]


def free_places(conn: Connection) -> int:
    return places_of(conn).qsize()


@threads_only("signal handlers strike a thread")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a socket that was torn away before anyone had it
@pytest.mark.parametrize(
    ("socket", "answer"),
    [
        ("open", reply(200, b"ok")),
        ("open", reply(503, b"no")),
        ("open", reply(200, b"ok", chunked=True)),
        ("new", reply(200, b"ok")),
    ],
)
def test_an_exception_of_a_signal_handler_costs_no_place_wherever_it_strikes(socket: str, answer: Step) -> None:
    """The exception, and so all that its frames hold, is still there when the next call begins."""
    at, struck = 0, True
    with FaultServer() as server:
        while struck:
            server.default = reply(200, b"fine")
            with Connection(server.url, ANONYMOUS, policy=IMPATIENT) as conn:
                if socket == "open":
                    conn.get("/")
                server.default = answer
                where = strike(lambda conn=conn: conn.get("/", raise_for_status=False), files=_FILES, at=at)
                server.default = reply(200, b"fine")
                try:
                    assert conn.get("/").content == b"fine"
                    assert free_places(conn) == 1
                except (AssertionError, DeadlineExceeded) as error:
                    raise AssertionError(f"a place was lost at {at}, {where}") from error
            at, struck = at + some(4, 1, with_each=True), where is not None
    forget()  # so that a warning of an unclosed socket comes here, and not during a later test
    assert at > 50


@threads_only("signal handlers strike a thread")
def test_one_who_waits_for_a_place_and_is_struck_leaves_nothing_in_the_way(server: FaultServer) -> None:
    at, struck = 0, True
    short = ONE.replace(timeout={"connect": 0.01, "read": 1, "attempt": 0.02, "total": 0.02})
    with Connection(server.url, ANONYMOUS, policy=IMPATIENT) as conn:
        while struck:

            def wait() -> None:
                with contextlib.suppress(DeadlineExceeded):
                    conn.get("/", policy=short)

            with conn.get("/", stream=True):
                where = strike(wait, files=("sleepwalker/transport/blocking/connection_queue.py",), at=at)
            assert (free_places(conn), places_of(conn)._waiting) == (1, []), where
            assert conn.get("/").content == b"ok"
            at, struck = at + 1, where is not None
    assert at > 10


@threads_only("the queue for blocking sockets")
def test_places_are_given_first_come_first_served() -> None:
    """And who comes while others wait does not overtake them, though the socket be idle for a moment."""
    with FaultServer() as server, Connection(server.url, ANONYMOUS, policy=ONE) as conn:
        stream = conn.get("/", stream=True)
        line = places_of(conn)._waiting
        threads = []
        for number in range(5):
            threads.append(threading.Thread(target=conn.get, args=(f"/{number}",)))
            threads[-1].start()
            while len(line) <= number:
                time.sleep(0.001)
        stream.close()
        conn.get("/last")
        for thread in threads:
            thread.join()
        assert [request.path for request in server.requests][1:] == ["/0", "/1", "/2", "/3", "/4", "/last"]
