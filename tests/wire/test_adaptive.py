"""The adaptive bulkhead before a real server that has fewer workers than callers."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from servers import TooLate, timing_test

from sleepwalker import ANONYMOUS, BulkheadFullError, Connection, Policy

pytestmark = pytest.mark.both_drivers

WORKERS, CALLERS, SERVICE = 4, 32, 0.02


class Desk:
    """A server that works on four requests at a time, 20 ms each; the others queue in it."""

    def __init__(self) -> None:
        places, lock = threading.Semaphore(WORKERS), threading.Lock()
        desk = self
        self.inside, self.queues = 0, list[int]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                with lock:
                    desk.inside += 1
                    desk.queues.append(max(0, desk.inside - WORKERS))
                with places:
                    time.sleep(SERVICE)
                with lock:
                    desk.inside -= 1
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def load(adaptive: bool, warm_up: float, seconds: float) -> tuple[float, float, float, int | None]:
    """Answers per second, p95 of an attempt, mean queue in the server, and the limit in the end; after a warm-up."""
    desk = Desk()
    policy = Policy(retry=False, breaker=False, bulkhead={"adaptive": adaptive, "max_wait": 5}, log={"finished": "off"})
    took: list[tuple[float, float]] = []
    stop = threading.Event()
    with Connection(desk.url, ANONYMOUS, policy=policy) as conn:

        def call() -> None:
            while not stop.is_set():
                try:
                    attempt = conn.get("/").attempts[0]
                except BulkheadFullError:
                    continue
                took.append((time.monotonic(), attempt.duration))

        threads = [threading.Thread(target=call) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        time.sleep(warm_up)
        begin, seen = time.monotonic(), len(desk.queues)
        time.sleep(seconds)
        end, queues = time.monotonic(), desk.queues[seen:]
        stop.set()
        for thread in threads:
            thread.join()
        limit = conn.health.limit
    desk.close()
    durations = sorted(duration for when, duration in took if begin <= when <= end)
    if not (durations and queues):
        raise TooLate("nothing was answered, or nothing came, in all of the time that is measured")
    return (
        len(durations) / (end - begin),
        durations[int(0.95 * len(durations))],
        sum(queues) / len(queues),
        limit,
    )


@timing_test
def test_the_queue_in_the_server_goes_and_the_throughput_stays() -> None:
    plain_rate, plain_p95, plain_queue, plain_limit = load(adaptive=False, warm_up=0.3, seconds=1.0)
    rate, p95, queue, limit = load(adaptive=True, warm_up=1.5, seconds=2.0)
    said = f"{plain_rate:.0f}/s {plain_p95:.3f} s {plain_queue:.1f} → {rate:.0f}/s {p95:.3f} s {queue:.1f} ({limit})"
    assert plain_limit == 1000
    assert limit is not None
    assert limit >= 1
    if not (limit <= 4 * WORKERS and rate >= 0.8 * plain_rate and p95 <= plain_p95 / 2 and queue <= plain_queue / 4):
        raise TooLate(said)
