"""What a `ConnectionManager` costs: `find` at 10 to 10,000 hosts, from eight threads, and the memory of the records."""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import random
import shlex
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from requests.auth import HTTPBasicAuth

import sleepwalker
from benchmarks.environment import leave_out_the_environment
from benchmarks.figures import Row, Spread, ratio, rows, spread
from benchmarks.machine import load, machine, versions
from benchmarks.report import as_json, as_markdown, write
from benchmarks.rounds import LEAD_IN, Case, Samples, function_calls, measure
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.engine import CompiledPolicy, Outcome, Request, Send, answered, run

NAME = "manager"
COMMAND = "python -m benchmarks.manager"
RESULTS = Path(__file__).parent / "results"

#: What the project promises: microseconds of a find, and megabytes of 10,000 hosts with their records.
MOST_MICROSECONDS, MOST_MEGABYTES = 3.0, 60.0

SIZES = (10, 100, 1_000, 10_000)
QUICK_SIZES = (10, 100)
AUTHS: dict[str, Any] = {
    "auth=None": None,
    "auth=(user, password)": ("user", "password"),
    # Another object than the one that was added: what counts is what is in it.
    "auth=HTTPBasicAuth": HTTPBasicAuth("user", "password"),
}
FIND = "find of a healthy pair"
CONTROL = "A plain dict of the same connections"
BROKEN, MAKING = "While the host is down", "Making a connection"
#: Finds per timed call, all of different hosts: one alone would be lost in the clock's own cost.
BLOCK = 100
THREADS, EACH = 8, 20_000
ROUNDS, CALLS = 40, 20
QUICK_ROUNDS, QUICK_CALLS = 6, 2
PACKAGES = ("sleepwalker", "requests", "urllib3", "pybreaker", "structlog", "pydantic")

#: With fewer hosts what is allocated once would count too much.
FEWEST = 400

Find = Callable[[str, Any], Any]

NOTES = f"""\
No server takes part. Hosts are looked for in random order, {BLOCK} of them per timed block; figures are for one `find`.
All connections are real ones that have not opened a socket; credentials are looked for by equal ones, not by the same
object. The policy is `standard`.

Trust CPU time: a find waits for nothing, so what wall time says beyond it is other processes' doing.
`{CONTROL}` is what memory itself costs: with more hosts than the processor's caches
hold, each object that is looked at has to be fetched from further away."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured, and written down."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    rounds, calls = (QUICK_ROUNDS, QUICK_CALLS) if options.quick else (ROUNDS, CALLS)
    rounds = options.rounds or rounds
    sizes = QUICK_SIZES if options.quick else SIZES
    facts: dict[str, object] = {
        "command": shlex.join([*COMMAND.split(), *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    before = load()
    with tempfile.TemporaryDirectory(prefix="sleepwalker-bench-") as home:
        leave_out_the_environment(Path(home))
        memory = _memory(max(sizes[-1], FEWEST))  # first, while the heap has no holes
        hosts = _hosts(sizes[-1])
        conns = [sleepwalker.Connection(host, sleepwalker.ANONYMOUS) for host in hosts]
        managers = {size: _manager(hosts[:size], conns[:size]) for size in sizes}
        gc.collect()
        gc.freeze()  # each block begins with a collection, which would go through all of that again and again
        with contextlib.ExitStack() as stack:
            found = _rows(_cases(managers, hosts, stack), rounds, calls)
        threads = _threads(managers[min(1_000, sizes[-1])], hosts[: min(1_000, sizes[-1])], rounds)
    facts |= {
        "method": f"{rounds} rounds of {calls} timed blocks of each row, after {LEAD_IN} that are not; "
        f"{THREADS} threads made {EACH} finds each in every round",
        "load": f"{before} before, {load()} after: processes that wanted a core, this one included",
        "gil switch interval": f"{sys.getswitchinterval() * 1000:g} ms",
    }
    notes = "\n\n".join([NOTES, _thread_table(threads), _memory_table(memory), _verdict(found, threads, memory)])
    page = as_markdown("What a ConnectionManager costs", notes, facts, found)
    print(page)
    folder = options.output or (None if options.quick else RESULTS)
    if folder is not None:
        extra = {"threads": {name: sorted(samples) for name, samples in threads.items()}, "memory": memory}
        for path in write(folder, NAME, page, as_json({"benchmark": NAME, **facts, **extra}, found)):
            print(f"wrote {path}", file=sys.stderr)
    return 0


# -- what is timed -------------------------------------------------------------------------------


def _hosts(count: int) -> list[str]:
    return [f"https://host-{number}.example.net:8443" for number in range(count)]


def _manager(hosts: Sequence[str], conns: Sequence[sleepwalker.Connection]) -> sleepwalker.ConnectionManager:
    """A manager with a connection per host for each kind of credentials."""
    manager = sleepwalker.ConnectionManager(max_connections=len(AUTHS) * len(hosts))
    for host, conn in zip(hosts, conns, strict=True):
        for auth in AUTHS.values():
            manager.add(host, HTTPBasicAuth("user", "password") if isinstance(auth, HTTPBasicAuth) else auth, conn)
    return manager


def _block(find: Find, hosts: Sequence[str], auth: Any) -> Callable[[], object]:
    """A call that finds the next `BLOCK` hosts; True if the last one was found."""
    order = list(hosts)
    random.Random(1).shuffle(order)
    endless = itertools.cycle(order)

    def call() -> bool:
        conn = None
        for host in itertools.islice(endless, BLOCK):
            conn = find(host, auth)
        return isinstance(conn, sleepwalker.Connection)

    return call


def _cases(
    managers: dict[int, sleepwalker.ConnectionManager], hosts: Sequence[str], stack: contextlib.ExitStack
) -> list[Case]:
    cases = [
        Case(f"{FIND}, {words}", f"{size:,} hosts", _block(manager.find, hosts[:size], auth))
        for words, auth in AUTHS.items()
        for size, manager in managers.items()
    ]
    cases += [
        Case(CONTROL, f"{size:,} hosts", _block(_plain(manager, hosts[:size]), hosts[:size], None))
        for size, manager in managers.items()
    ]
    cases += [Case(BROKEN, name, call) for name, call in _while_down(stack).items()]
    cases += [Case(MAKING, name, call) for name, call in _making().items()]
    for case in cases:
        if case.call() is not True:
            raise RuntimeError(f"{case.group}, {case.name}: it does not do what its name says")
    return cases


def _plain(manager: sleepwalker.ConnectionManager, hosts: Sequence[str]) -> Find:
    """What no manager can be faster than, and what also gets slower where the processor's caches end."""
    table = {(host, None): manager.find(host) for host in hosts}

    def find(host: str, auth: Any) -> Any:
        conn = table[host, auth]
        return None if conn.closed or conn._record.verdict.suspect else conn

    return find


class _Hook(sleepwalker.ConnectionHook):
    def connect(self, host: str, auth: Any) -> Any:
        return sleepwalker.Connection(host, sleepwalker.ANONYMOUS)


class _Failing(_Hook):
    """Makes one connection per host, and fails from then on."""

    def __init__(self) -> None:
        self.fails = False

    def connect(self, host: str, auth: Any) -> Any:
        if self.fails:
            raise sleepwalker.ConnectionError("the login failed")
        return super().connect(host, auth)


def _while_down(stack: contextlib.ExitStack) -> dict[str, Callable[[], object]]:
    """Finds of a host whose circuit is open, once with a connection in hand and once without one."""
    policy = sleepwalker.Policy(
        breaker=sleepwalker.BreakerPolicy(consecutive_for=0, open_for=3600, open_max=3600),
        health=sleepwalker.HealthPolicy(rehook_initial=3600, rehook_max=3600),
    )
    host = "https://down.example.net"
    kept, refused = (stack.enter_context(sleepwalker.ConnectionManager(policy=policy)) for _ in range(2))
    failing = _Failing()
    kept.add_conn_hook(_Hook())
    refused.add_conn_hook(failing)
    for manager in (kept, refused):
        conn = manager.find(host)
        drive(conn, [200])
        drive(conn, [503] * policy.breaker.consecutive if policy.breaker else [])
    failing.fails = True

    def in_hand() -> bool:
        return all(isinstance(kept.find(host), sleepwalker.Connection) for _ in range(BLOCK))

    def rejected() -> bool:
        for _ in range(BLOCK):
            try:
                refused.find(host)
            except sleepwalker.ConnectionError as error:
                if error.retry_after is None:
                    return False
            else:
                return False
        return True

    return {"find gives the connection in hand": in_hand, "find raises, for no hook succeeded": rejected}


def _making() -> dict[str, Callable[[], object]]:
    """Blocks of `BLOCK` new connections, without a manager and through one."""
    numbers = itertools.count()

    def alone() -> bool:
        for number in itertools.islice(numbers, BLOCK):
            conn = sleepwalker.Connection(f"https://new-{number}.example.net", sleepwalker.ANONYMOUS)
            conn.close()
        return conn.closed

    def hooked() -> bool:
        manager = sleepwalker.ConnectionManager()
        manager.add_conn_hook(_Hook())
        for number in itertools.islice(numbers, BLOCK):
            conn = manager.find(f"https://new-{number}.example.net")
        manager.close()
        return bool(conn.closed)

    return {"Connection(…), and close": alone, "find of a new pair through a hook, and close": hooked}


def drive(conn: sleepwalker.Connection, statuses: Sequence[int]) -> None:
    """Have the connection's host record see a call per status, through all policies, without a socket."""
    host = conn._record
    compiled = CompiledPolicy(sleepwalker.Policy(retry=None, log={"finished": "off"}), SYSTEM_CLOCK)
    for status in statuses:
        steps = run(host, compiled, Request("GET", "/", True, True), SYSTEM_CLOCK, lambda *_: None)
        reply: Outcome | None = None
        with contextlib.suppress(StopIteration):
            while True:
                step = steps.send(reply)
                if not isinstance(step, Send):
                    raise RuntimeError("a call without retries does not wait")
                reply = answered(status, None, None)


def _rows(cases: Sequence[Case], rounds: int, calls: int) -> list[Row]:
    """Rows whose figures are for one find, or one connection, of each block."""
    raw = measure(cases, rounds, calls)
    samples = {
        case: Samples([wall / BLOCK for wall in its.wall], [cpu / BLOCK for cpu in its.cpu])
        for case, its in raw.items()
    }
    counts = {case: function_calls(case, 5) / BLOCK for case in cases}
    firsts: dict[str, Case] = {}
    for case in cases:
        firsts.setdefault(case.group, case)
    return rows(samples, counts, {group: [case] for group, case in firsts.items()})


# -- eight threads -------------------------------------------------------------------------------

FREE = "ConnectionManager.find"
LOCKED_TABLE = "a dict and the same checks under one lock"
LOCKED_FIND = "the same find under one lock"


def _threads(manager: sleepwalker.ConnectionManager, hosts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Millions of finds a second that eight threads make together, per round, by who finds."""
    finders: dict[str, Find] = {FREE: manager.find, LOCKED_TABLE: _locked_table(manager, hosts)}
    finders[LOCKED_FIND] = _under_a_lock(manager.find)
    found: dict[str, list[float]] = {name: [] for name in finders}
    names = list(finders)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(_race(finders[name], hosts))
    return found


def _locked_table(manager: sleepwalker.ConnectionManager, hosts: Sequence[str]) -> Find:
    """What a careful person writes: a lock, a dict, and the checks that `find` makes of what it holds."""
    lock = threading.Lock()
    table = {(host, None): [manager.find(host), 0.0] for host in hosts}

    def find(host: str, auth: Any) -> Any:
        with lock:
            entry = table[host, auth]
            conn = entry[0]
            if conn.closed or conn.unauthorized or conn._record.verdict.suspect:
                raise RuntimeError("no such connection was added")
            entry[1] = time.monotonic()
            return conn

    return find


def _under_a_lock(unlocked: Find) -> Find:
    lock = threading.Lock()

    def find(host: str, auth: Any) -> Any:
        with lock:
            return unlocked(host, auth)

    return find


def _race(find: Find, hosts: Sequence[str]) -> float:
    """Millions of finds a second of `THREADS` threads that begin together."""
    start = threading.Barrier(THREADS + 1)

    def work(number: int) -> None:
        order = list(hosts)
        random.Random(number).shuffle(order)
        wanted = itertools.islice(itertools.cycle(order), EACH)
        start.wait()
        for host in wanted:
            find(host, None)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return THREADS * EACH / (time.perf_counter() - begun) / 1e6


def _thread_table(threads: dict[str, list[float]]) -> str:
    lines = [
        f"## {THREADS} threads finding at once",
        "",
        "|  | million finds a second | half of the rounds | find is so many times as fast |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, samples in threads.items():
        times = "1" if name == FREE else _words(ratio(threads[FREE], samples))
        lines.append(f"| {name} | {spread(samples).median:.2f} | {_range(spread(samples))} | {times} |")
    return "\n".join(lines)


# -- memory --------------------------------------------------------------------------------------


def _memory(count: int) -> dict[str, float]:
    """Megabytes (10^6 bytes) of `count` hosts. What each of the figures is, `_memory_table` says."""
    hosts = _hosts(count)
    resident, traced = {}, {}
    shared = sleepwalker.Connection("https://shared.example.net", sleepwalker.ANONYMOUS)._record
    for figures, reading in ((resident, _resident), (traced, _traced)):
        tracing = reading is _traced
        start = _start_reading(reading, tracing)
        conns = []
        for host in hosts:
            conns.append(conn := sleepwalker.Connection(host, sleepwalker.ANONYMOUS))
            conn.attach(shared)  # at once, so that its own record leaves no hole for another's
        bare = _read(reading)
        manager = sleepwalker.ConnectionManager(max_connections=count)
        for host, conn in zip(hosts, conns, strict=True):
            manager.add(host, None, conn)
        for host in hosts:
            # Failures too, so that everything that is made when it is needed has been made.
            drive(manager.find(host), [200] * 20 + [503, 200, 503, 503, 200])
        full = _read(reading)
        health = manager.health(hosts[0])
        if len(manager) != count or (health.attempts, health.failures, health.connections) != (25, 3, 1):
            raise RuntimeError("the records have not seen the traffic")
        figures |= {"connections": (bare - start) / 1e6, "manager": (full - bare) / 1e6}
        manager.close()
        del manager, conns, conn, health
        if tracing:
            tracemalloc.stop()
    return {
        "hosts": count,
        "connections_traced": traced["connections"],
        "manager_traced": traced["manager"],
        "connections_resident": resident["connections"],
        "manager_resident": resident["manager"],
        "bytes_per_host": traced["manager"] * 1e6 / count,
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]


def _start_reading(reading: Callable[[], int], tracing: bool) -> int:
    if tracing:
        tracemalloc.start()
    return _read(reading)


def _read(reading: Callable[[], int]) -> int:
    gc.collect()
    return reading()


def _memory_table(memory: dict[str, float]) -> str:
    return f"""\
## Memory of {memory["hosts"]:,.0f} hosts

|  | allocated, MB | resident, MB |
| --- | ---: | ---: |
| the connections with their sessions, without records | {memory["connections_traced"]:.1f} | \
{memory["connections_resident"]:.1f} |
| what a manager and its host records add | {memory["manager_traced"]:.1f} | {memory["manager_resident"]:.1f} |

A manager holds one connection to each host; each record has seen 25 calls through all policies, three of which failed.
The first row is a list of the same connections, whose own records (each has one while no manager holds it) have been
taken away. Allocated is what tracemalloc counts, {memory["bytes_per_host"]:,.0f} bytes per host; resident is what the
process grew by when the same was done before that, without tracemalloc. 1 MB is 10^6 bytes."""


# -- words ---------------------------------------------------------------------------------------


def _verdict(found: Sequence[Row], threads: dict[str, list[float]], memory: dict[str, float]) -> str:
    finds = [row for row in found if row.group.startswith(FIND)]
    control = [row for row in found if row.group == CONTROL]
    slowest = max(finds, key=lambda row: row.cpu.median)
    grown, its = (max(next(iter(row.cpu_ratios.values())).median for row in rows) for rows in (finds, control))
    table, same = (ratio(threads[FREE], threads[name]).median for name in (LOCKED_TABLE, LOCKED_FIND))
    allocated, resident = memory["manager_traced"], memory["manager_resident"]
    promises = [
        (
            f"a find takes less than {MOST_MICROSECONDS:g} µs",
            f"{slowest.cpu.median:.2f} µs at most: {slowest.group.rpartition(', ')[2]}, {slowest.name}",
            slowest.cpu.median < MOST_MICROSECONDS,
        ),
        (
            f"and gets no slower from {finds[0].name} to {finds[-1].name} than memory does",
            f"{grown:.2f} times as long at most; looking into a plain dict: {its:.2f} times",
            grown < its * 1.25,
        ),
        (
            f"{memory['hosts']:,.0f} hosts take less than {MOST_MEGABYTES:g} MB beyond their connections' sessions",
            f"{allocated:.1f} MB allocated, {resident:.1f} MB resident",
            max(allocated, resident) < MOST_MEGABYTES,
        ),
        (
            f"{THREADS} threads find faster than one lock would allow",
            f"{same:.2f} times as fast as the same find under a lock, {table:.2f} times as fast as {LOCKED_TABLE}",
            min(same, table) > 1,
        ),
    ]
    lines = ["## What is promised", "", "| promise | measured, CPU time | kept |", "| --- | --- | --- |"]
    lines += [f"| {promise} | {measured} | {_yes(kept)} |" for promise, measured, kept in promises]
    return "\n".join(lines)


def _yes(fact: bool) -> str:
    return "yes" if fact else "**no**"


def _range(of: Spread) -> str:
    return f"{of.low:.2f} to {of.high:.2f}"


def _words(of: Spread) -> str:
    return f"{of.median:.2f} ({_range(of)})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough look in seconds; writes no files by itself")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"{ROUNDS} by default")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the files go; benchmarks/results by default")
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


if __name__ == "__main__":
    sys.exit(main())
