"""What it costs to be seen: a call with event log, metrics and health, beside one without, and bare requests."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

import sleepwalker
import sleepwalker.otel
from benchmarks.environment import leave_out_the_environment
from benchmarks.figures import Spread, rows, spread
from benchmarks.machine import RESULTS, load, machine, versions
from benchmarks.report import as_json, as_markdown, write
from benchmarks.rounds import LEAD_IN, Case, Samples, function_calls, measure
from benchmarks.server import MissingProgramError, document, run_nginx

NAME = "observability"
SIZE = 100
GROUP = f"{SIZE} B"

# The names of the rows.
BARE = "requests"
CONTROL = "requests, again"
OFF = "sleepwalker, all of it off"
COUNTED = "metrics and health"
LOGGED = "metrics, health, JSON event log"
TRACED = "metrics, health, OpenTelemetry"

PACKAGES = ("sleepwalker", "requests", "urllib3", "prometheus-client", "opentelemetry-sdk", "structlog")
ROUNDS, CALLS, COUNTED_CALLS = 120, 100, 20
QUICK_ROUNDS, QUICK_CALLS = 8, 30
#: What the project promises, as a share of a bare requests call.
PROMISE = 0.05

NOTES = f"""\
One thread gets {SIZE} bytes of JSON from nginx on loopback, each row over a connection of its own that stays open.
The promise: event log, metrics and health together cost at most {PROMISE:.0%} of a bare requests call.

Metrics and health cannot be switched off: a host always counts. For `{OFF}` this benchmark puts
objects that do nothing in the place of a host's counters, histograms and windows. `{COUNTED}` is a
connection as it is by default, no logging. `{LOGGED}` also writes each call's event to
a file. `{TRACED}` instead makes a span and a duration for each call with OpenTelemetry's SDK,
which then throws them away; no promise was made about that."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured, and written down. 2: nginx is missing."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    facts: dict[str, object] = {
        "command": shlex.join(["python", "-m", "benchmarks.observability", *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    with tempfile.TemporaryDirectory(prefix="sleepwalker-bench-") as name, contextlib.ExitStack() as running:
        leave_out_the_environment(Path(name))
        try:
            server = running.enter_context(run_nginx({f"{SIZE}.json": document(SIZE)}))
        except MissingProgramError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2
        cases = _cases(server.url, running, Path(name) / "events.jsonl")
        _run(options, facts, cases)
    return 0


def _run(options: argparse.Namespace, facts: dict[str, object], cases: Sequence[Case]) -> None:
    rounds, calls = (QUICK_ROUNDS, QUICK_CALLS) if options.quick else (ROUNDS, CALLS)
    rounds, calls = options.rounds or rounds, options.calls or calls
    load_before = load()
    samples = measure(cases, rounds, calls)
    facts |= {
        "method": f"{rounds} rounds of {calls} timed calls of each row, after {LEAD_IN} that are not",
        "load": f"{load_before} before, {load()} after: processes that wanted a core, this one and nginx included",
    }
    counts = {case: function_calls(case, COUNTED_CALLS) for case in cases}
    result = rows(samples, counts, {GROUP: [case for case in cases if case.name == BARE]})
    by_name = {case.name: its for case, its in samples.items()}
    costs = {name: added(by_name, name) for name in (COUNTED, LOGGED, TRACED)}
    page = as_markdown("What it costs to be seen", f"{NOTES}\n\n{_cost_table(costs)}", facts, result)
    print(page)
    folder = options.output or (None if options.quick else RESULTS)
    if folder is not None:
        extra = {"added": {name: {key: _as_dict(one) for key, one in its.items()} for name, its in costs.items()}}
        for path in write(folder, NAME, page, as_json({"benchmark": NAME, **facts, **extra}, result)):
            print(f"wrote {path}", file=sys.stderr)


def added(samples: Mapping[str, Samples], name: str) -> dict[str, Spread]:
    """What a row takes more than `OFF`, as a share of bare requests, round by round, by wall and CPU time."""
    on, off, bare = samples[name], samples[OFF], samples[BARE]
    return {
        kind: spread(
            [
                (mine - its) / whole
                for mine, its, whole in zip(getattr(on, kind), getattr(off, kind), getattr(bare, kind), strict=True)
            ]
        )
        for kind in ("wall", "cpu")
    }


def _as_dict(one: Spread) -> dict[str, float]:
    """A spread as JSON has it."""
    return {"median": one.median, "low": one.low, "high": one.high}


def _cost_table(costs: Mapping[str, Mapping[str, Spread]]) -> str:
    lines = ["| what is added to a call | of a bare requests call, wall | CPU |", "| --- | ---: | ---: |"]
    for name, its in costs.items():
        cells = (f"{its[kind].median:.1%} ({its[kind].low:.1%} to {its[kind].high:.1%})" for kind in ("wall", "cpu"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    kept = costs[LOGGED]["cpu"].median <= PROMISE
    lines += [
        "",
        f"By CPU time, the less disturbed of the two, the promise is {'kept' if kept else 'broken'}.",
    ]
    return "\n".join(lines)


def _cases(url: str, clients: contextlib.ExitStack, log: Path) -> list[Case]:
    """All rows, each of which has shown that it does what it says."""
    path = f"/{SIZE}.json"
    first, second = (clients.enter_context(requests.Session()) for _ in range(2))
    off, counted, logged, traced = (
        clients.enter_context(sleepwalker.Connection(url, auth=sleepwalker.ANONYMOUS)) for _ in range(4)
    )
    _blind(off)
    tracers, meters = TracerProvider(), MeterProvider()
    tracers.add_span_processor(SpanProcessor())
    clients.callback(tracers.shutdown)
    clients.callback(meters.shutdown)

    @contextlib.contextmanager
    def logging() -> Iterator[None]:
        sleepwalker.logging.configure(path=log)
        try:
            yield
        finally:
            sleepwalker.logging.reset()

    @contextlib.contextmanager
    def tracing() -> Iterator[None]:
        sleepwalker.otel.instrument(tracers, meters)
        try:
            yield
        finally:
            sleepwalker.otel.uninstrument()

    cases = [
        Case(GROUP, BARE, lambda: first.get(url + path).json()),
        Case(GROUP, CONTROL, lambda: second.get(url + path).json()),
        Case(GROUP, OFF, lambda: off.json_request("GET", path)),
        Case(GROUP, COUNTED, lambda: counted.json_request("GET", path)),
        Case(GROUP, LOGGED, lambda: logged.json_request("GET", path), logging),
        Case(GROUP, TRACED, lambda: traced.json_request("GET", path), tracing),
    ]
    _verify(cases, {OFF: off, COUNTED: counted, LOGGED: logged, TRACED: traced}, log)
    return cases


class _Nothing:
    """Stands in for counters: takes everything, keeps nothing."""

    calls = attempts = failures = retries = hedges = rejections = 0
    answered = failed = rejected = cancelled = 0
    add = attempt = end = reject = count = count_transitions = staticmethod(lambda *_: None)


def _blind(connection: Any) -> None:
    """Have the connection's host count nothing."""
    host, nothing = connection._record, _Nothing()
    host.counters = host.admission._counters = host.outcomes._counters = host.verdict._counters = nothing
    host.history.latencies = host.history.verdicts = nothing


def _verify(cases: Sequence[Case], connections: Mapping[str, Any], log: Path) -> None:
    """RuntimeError unless each row gets the document, and is seen exactly as its name says."""
    for case in cases:
        before = log.stat().st_size if log.exists() else 0
        with case.around():
            if case.call() != document(SIZE):
                raise RuntimeError(f"{case.name}: the answer is not what the server has")
        written = (log.stat().st_size if log.exists() else 0) - before
        if bool(written) != (case.name == LOGGED):
            raise RuntimeError(f"{case.name}: one call wrote {written} bytes of events")
        if case.name in connections:
            seen = getattr(connections[case.name]._record.counters, "answered", 0)
            if seen != (case.name != OFF):
                raise RuntimeError(f"{case.name}: {seen} calls were counted")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough look in seconds; writes no files by itself")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"{ROUNDS} by default")
    parser.add_argument("--calls", type=_positive, metavar="N", help=f"of each row in each round; {CALLS} by default")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the files go; benchmarks/results by default")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
