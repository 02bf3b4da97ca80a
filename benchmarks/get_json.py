"""What a GET of JSON costs: sleepwalker with everything on, beside bare requests, urllib3 and httpx."""

from __future__ import annotations

import argparse
import contextlib
import pstats
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import requests
import urllib3

import sleepwalker
from benchmarks.environment import MANY, leave_out_the_environment, many_variables
from benchmarks.figures import rows
from benchmarks.machine import load, machine, versions
from benchmarks.report import as_json, as_markdown, write
from benchmarks.rounds import LEAD_IN, Case, function_calls, measure, profile
from benchmarks.server import MissingProgramError, Server, document, run_nginx

NAME = "get_json"
RESULTS = Path(__file__).parent / "results"
CROWDED = f"100 B, with {MANY} more environment variables"
#: The groups of rows that get a document, and how many bytes that has. The first is what rejections are compared with.
SIZES = {"100 B": 100, CROWDED: 100, "10 KB": 10_000}
REJECTED = "Rejected by an open circuit"

# The names of the rows.
BARE = "requests"
CONTROL = "requests, again"
POOL = "PoolManager"
HTTPX = "httpx"
LOGGED = "sleepwalker, JSON event log"
SILENT = "sleepwalker, nobody listening"

PACKAGES = ("sleepwalker", "requests", "urllib3", "httpx", "tenacity", "pybreaker", "structlog", "pydantic")
ROUNDS, CALLS = 60, 100
QUICK_ROUNDS, QUICK_CALLS = 6, 30
PROFILED_CALLS, PROFILED_LINES = 1000, 40
COUNTED_CALLS = 20

NOTES = f"""\
One thread; one connection that stays open for each row; nginx on loopback; the answer decoded from JSON.
Sleepwalker follows its `standard` policy: deadlines, retries with a budget, circuit breaker.

`of {BARE}` and `of {POOL}` are the medians of the ratios within each round, wall time with its quartiles;
less is faster. `{CONTROL}` is a second session that does what the first does: as far as its ratios are
from 1.00, the others may be off by chance.

The environment holds two variables, which is as fast as bare requests gets: it reads all of them at every call."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured, and written down. 2: nginx is missing."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    facts: dict[str, object] = {
        "command": shlex.join(["python", "-m", "benchmarks", *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    with tempfile.TemporaryDirectory(prefix="sleepwalker-bench-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        leave_out_the_environment(folder)
        documents = {f"{size}.json": document(size) for size in SIZES.values()}
        try:
            server = running.enter_context(run_nginx(documents))
        except MissingProgramError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2
        cases = _cases(server, running, folder / "events.jsonl")
        if options.profile:
            _show_profile(cases, options.calls or PROFILED_CALLS)
        else:
            _run(options, facts, server, cases, terminated)
    return 0


def _run(
    options: argparse.Namespace,
    facts: dict[str, object],
    server: Server,
    cases: Sequence[Case],
    terminated: threading.Event,
) -> None:
    rounds, calls = (QUICK_ROUNDS, QUICK_CALLS) if options.quick else (ROUNDS, CALLS)
    rounds, calls = options.rounds or rounds, options.calls or calls
    accepted, load_before = server.connections(), load()
    samples = measure(cases, rounds, calls, _progress(rounds, terminated))
    facts |= {
        "nginx": server.version,
        "method": f"{rounds} rounds of {calls} timed calls of each row, after {LEAD_IN} that are not",
        "load": f"{load_before} before, {load()} after: processes that wanted a core, this one and nginx included",
        "connections opened meanwhile": server.connections() - accepted - 1,
    }
    counts = {case: function_calls(case, COUNTED_CALLS) for case in cases}
    smallest = next(iter(SIZES))
    references = {
        group: [case for case in cases if case.group == compared and case.name in (BARE, POOL)]
        for group, compared in [*((size, size) for size in SIZES), (REJECTED, smallest)]
    }
    result = rows(samples, counts, references)
    page = as_markdown("What a GET of JSON costs", NOTES, facts, result)
    print(page)
    folder = options.output or (None if options.quick else RESULTS)
    if folder is not None:
        for path in write(folder, NAME, page, as_json({"benchmark": NAME, **facts}, result)):
            print(f"wrote {path}", file=sys.stderr)


def _cases(server: Server, clients: contextlib.ExitStack, log: Path) -> list[Case]:
    """All rows, each of which has shown that it does what it says."""

    def case(group: str, name: str, call: Callable[[], object], expected: object) -> Case:
        @contextlib.contextmanager
        def around() -> Iterator[None]:
            with contextlib.ExitStack() as stack:
                if group == CROWDED:
                    stack.enter_context(many_variables())
                if name == LOGGED:
                    sleepwalker.logging.configure(path=log)
                    stack.callback(sleepwalker.logging.reset)
                yield

        made = Case(group, name, call, around)
        _verify(made, expected, log)
        return made

    getting = _peers(server.url, clients)
    cases = [
        case(group, name, call, document(size))
        for group, size in SIZES.items()
        for name, call in getting(f"/{size}.json").items()
    ]
    rejected = clients.enter_context(_open_circuit())
    return cases + [case(REJECTED, name, rejected, True) for name in (LOGGED, SILENT)]


def _peers(url: str, clients: contextlib.ExitStack) -> Callable[[str], dict[str, Callable[[], object]]]:
    """What gives, for a path, each peer's way to get its JSON."""
    first, second = (clients.enter_context(requests.Session()) for _ in range(2))
    pool = clients.enter_context(urllib3.PoolManager())
    client = clients.enter_context(httpx.Client())
    logged, silent = (
        clients.enter_context(sleepwalker.Connection(url, auth=sleepwalker.ANONYMOUS, policy="standard"))
        for _ in range(2)
    )

    def getting(path: str) -> dict[str, Callable[[], object]]:
        whole = url + path
        return {
            BARE: lambda: first.get(whole).json(),
            CONTROL: lambda: second.get(whole).json(),
            POOL: lambda: pool.request("GET", whole).json(),
            HTTPX: lambda: client.get(whole).json(),
            LOGGED: lambda: logged.json_request("GET", path),
            SILENT: lambda: silent.json_request("GET", path),
        }

    return getting


@contextlib.contextmanager
def _open_circuit() -> Iterator[Callable[[], bool]]:
    """A call to a host that refuses connections and whose circuit is open; True where the circuit rejected it."""
    # Open for longer than the benchmark takes; what a rejection costs does not depend on that.
    breaker = sleepwalker.BreakerPolicy(open_for=3600, open_max=3600)
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(socket.socket())
        holder.bind(("127.0.0.1", 0))  # bound, and never listening
        connection = stack.enter_context(
            sleepwalker.Connection(
                f"http://127.0.0.1:{holder.getsockname()[1]}",
                auth=sleepwalker.ANONYMOUS,
                policy=sleepwalker.Policy(breaker=breaker),
            )
        )

        def rejected() -> bool:
            try:
                connection.json_request("GET", "/")
            except sleepwalker.CircuitOpenError:
                return True
            except sleepwalker.ConnectionError:
                return False
            return False

        for _ in range(breaker.consecutive):
            rejected()
        yield rejected


def _verify(case: Case, expected: object, log: Path) -> None:
    """RuntimeError unless the call returns what it should, and writes events exactly where the row says so."""
    before = log.stat().st_size if log.exists() else 0
    with case.around():
        answer = case.call()
    written = (log.stat().st_size if log.exists() else 0) - before
    if answer != expected:
        raise RuntimeError(f"{case.group}, {case.name}: the answer is not what the server has")
    if bool(written) != (case.name == LOGGED):
        raise RuntimeError(f"{case.group}, {case.name}: one call wrote {written} bytes of events")


def _show_profile(cases: Sequence[Case], calls: int) -> None:
    """Print how many functions a call of each row calls, and where the time of a logged call goes."""
    for case in cases:
        print(f"{function_calls(case, COUNTED_CALLS):7.1f} function calls: {case.group}, {case.name}")
    logged = next(case for case in cases if case.name == LOGGED)
    print(f"\n{logged.group}, {LOGGED}, {calls} calls:")
    pstats.Stats(profile(logged, calls)).sort_stats("tottime").print_stats(PROFILED_LINES)


def _progress(rounds: int, terminated: threading.Event) -> Callable[[int], None]:
    """What shows, where somebody watches, how far the run is, and ends it where it was told to end.

    Only here, between rounds: an exception out of a signal handler comes up anywhere, also inside of starting nginx,
    which nobody would end then.
    """
    watched = sys.stderr.isatty()
    begun = time.monotonic()

    def done(number: int) -> None:
        if watched:
            left = (time.monotonic() - begun) / number * (rounds - number)
            text = f"round {number} of {rounds}, {left:.0f} s left" if number < rounds else ""
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
        if terminated.is_set():
            raise SystemExit(143)

    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough look in seconds; writes no files by itself")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"{ROUNDS} by default")
    parser.add_argument("--calls", type=_positive, metavar="N", help=f"of each row in each round; {CALLS} by default")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the files go; benchmarks/results by default")
    parser.add_argument(
        "--profile", action="store_true", help="do not time: count function calls, and show where a call's time goes"
    )
    return parser


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number
