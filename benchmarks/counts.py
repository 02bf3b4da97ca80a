"""Counts the functions that a protected call calls: a figure without noise, which a test holds to its bounds.

`python -m benchmarks.counts --write` writes down what the running interpreter counts. Counts differ between versions
of Python, so there is a table for each. A function is one of Python's or of C's, as `sys.setprofile` tells them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import sleepwalker

RESULTS = Path(__file__).parent / "results" / "function_calls.json"
#: How many calls are made before they are counted, so that sockets are open and caches full.
LEAD_IN = 50
#: The smallest count of so many calls: once in a while one meets the end of a second, or a garbage collection.
CALLS = 20
_BODY = b'{"id": 4711, "name": "host-4711", "up": true, "load": 0.25, "pad": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 18:00:00 GMT\r\nContent-Type: application/json"
    b'\r\nContent-Length: %d\r\nConnection: keep-alive\r\nETag: "5f-1"\r\nAccept-Ranges: bytes\r\n\r\n%b'
) % (len(_BODY), _BODY)


def count(call: Callable[[], object]) -> Counter[str]:
    """How often each function is called by one call, by `file:function`; the cheapest of several calls counts."""
    for _ in range(LEAD_IN):
        call()
    counted = [_once(call) for _ in range(CALLS)]
    return min(counted, key=lambda calls: calls.total())


def grown(now: Mapping[str, int], before: Mapping[str, int]) -> str:
    """What is called more often than before, and what less, the largest change first; a line for each function."""
    changes = {name: now.get(name, 0) - before.get(name, 0) for name in {*now, *before}}
    ordered = sorted(changes.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join(f"{change:+4} {name}" for name, change in ordered if change)


@contextlib.contextmanager
def calls() -> Iterator[dict[str, Callable[[], object]]]:
    """What is counted, by name."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sleepwalker-counts-")))
        url = stack.enter_context(_server())
        conn = stack.enter_context(sleepwalker.Connection(url, sleepwalker.ANONYMOUS, policy="standard"))
        down = stack.enter_context(_down())
        manager = stack.enter_context(sleepwalker.ConnectionManager())
        for number in range(100):
            host = f"https://host-{number}.example.net:8443"
            manager.add(host, None, sleepwalker.Connection(host, sleepwalker.ANONYMOUS))
        sleepwalker.logging.configure(path=folder / "events.jsonl")
        stack.callback(sleepwalker.logging.reset)
        yield {
            "a GET of 100 bytes of JSON, its event logged": lambda: conn.json_request("GET", "/100.json"),
            "a call that an open circuit rejects, told with others later": lambda: _rejected(down),
            "find": lambda: manager.find("https://host-50.example.net:8443"),
        }


def read() -> dict[str, dict[str, dict[str, int]]]:
    """The counts written down, by version of Python, call and function."""
    return dict(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.exists() else {}


def version() -> str:
    """`3.11`: the version of Python as the table has it."""
    return ".".join(map(str, sys.version_info[:2]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print them for a program")
    parser.add_argument("--write", action="store_true", help=f"write them to {RESULTS.name}")
    options = parser.parse_args(arguments)
    with calls() as counted:
        now = {name: dict(sorted(count(call).items())) for name, call in counted.items()}
    if options.json:
        print(json.dumps(now))
        return 0
    before = read().get(version(), {})
    for name, found in now.items():
        print(f"{sum(found.values()):5} function calls ({sum(before.get(name, {}).values())} before): {name}")
        print(grown(found, before.get(name, {})))
    if options.write:
        table = dict(sorted({**read(), version(): now}.items()))
        RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


def _once(call: Callable[[], object]) -> Counter[str]:
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, function: Any) -> None:
        if event == "call":
            found[f"{_shown(frame.f_code.co_filename)}:{frame.f_code.co_qualname}"] += 1
        elif event == "c_call":
            found[f"C:{getattr(function, '__qualname__', function.__name__)}"] += 1

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    del found["C:setprofile"]
    return found


def _shown(filename: str) -> str:
    """The end of a file's path that names it on every machine: `sleepwalker/events.py`."""
    return "/".join(Path(filename).parts[-2:])


def _rejected(conn: sleepwalker.Connection) -> None:
    with contextlib.suppress(sleepwalker.CircuitOpenError):
        conn.json_request("GET", "/100.json")


@contextlib.contextmanager
def _down() -> Iterator[sleepwalker.Connection]:
    """A connection whose circuit is open, to a port that refuses."""
    # That one of them is told each second must not make the count depend on how fast this machine is.
    policy = sleepwalker.Policy(
        breaker={"consecutive_for": 0, "open_for": 3600, "open_max": 3600}, log={"rejections": 0.0001}
    )
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{holder.getsockname()[1]}"
        with sleepwalker.Connection(url, sleepwalker.ANONYMOUS, policy=policy) as conn:
            while conn.health.breaker != "open":
                with contextlib.suppress(sleepwalker.ConnectionError):
                    conn.request("POST", "/")
            yield conn


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """A thread that answers every request alike, as nginx does; what it calls is not counted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        while sock.recv(65536):
                            sock.sendall(_ANSWER)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
