"""The command `sleepwalker demo`: its options, and the run from the first server to the last line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import requests

import sleepwalker
from sleepwalker.cli.demo import end
from sleepwalker.cli.demo.fleet import DIRECTORY, Fleet
from sleepwalker.cli.demo.move import MOVING, DirectoryHook
from sleepwalker.cli.demo.plan import FULL, HOSTS, PLAIN_TIMEOUT, QUICK, SEEDS, SIDES, WORKERS, Side
from sleepwalker.cli.logs import events_to
from sleepwalker.cli.parser import Commands, UsageError, examples, new_regular_file, whole
from sleepwalker.cli.summary import Call, Outcome
from sleepwalker.cli.text import say
from sleepwalker.cli.traffic import Lane, Response, measured
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK

if TYPE_CHECKING:
    from sleepwalker.cli.demo.report import Report

_DESCRIPTION = """\
Start six real HTTP servers on this machine, four of which
misbehave and one of which moves, and send them the same
traffic twice, side by side: through sleepwalker with the
shipped policies, and through requests with timeout=10.
Ends by itself, with a table of what was measured.

With --serve: run a server for experiments until Ctrl-C.
It listens on this machine only, answers every path with
the request as JSON, and prints which paths fail, and how."""

_EXAMPLES = examples(
    "sleepwalker demo",
    "# append the events to your own file",
    "sleepwalker demo --log events.jsonl",
    "# repeat the random faults of an earlier run",
    "sleepwalker demo --seed 1234",
    "# eight seconds, for programs",
    "sleepwalker demo --quick --json",
    "# a server for experiments",
    "sleepwalker demo --serve",
    "# two servers; 30 % of the requests fail",
    "sleepwalker demo --serve --hosts 2 --fail 0.3",
)

#: The port of `--serve`, which the docs name.
PORT = 8765

#: Seconds between two lines of progress if lines cannot be overwritten.
_LINE_EVERY = 3.0


def add(commands: Commands) -> None:
    """Add `demo` to the command line."""
    parser = commands.add_parser(
        "demo", help="call flaky servers, with and without sleepwalker", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.add_argument("--quick", action="store_true", help="about 8 seconds instead of about 20")
    parser.add_argument(
        "--seed", metavar="N", type=int, help="repeat the random faults of an earlier run (each run prints its seed)"
    )
    log = parser.add_argument(
        "--log", metavar="FILE", type=new_regular_file, help="append the events to FILE (default: a new file)"
    )
    page = parser.add_argument(
        "--html", metavar="FILE", type=new_regular_file, help="write a page with charts of the log to FILE"
    )
    for action in (log, page):
        parser.completed(action, "file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    server = parser.add_argument_group("with --serve")
    server.add_argument("--serve", action="store_true", help="answer requests until Ctrl-C")
    server.add_argument("--port", metavar="N", type=_port, help=f"listen at this port ({PORT}); 0: any free port")
    server.add_argument("--hosts", metavar="N", type=whole(1), help="number of servers, at this and the next ports (1)")
    server.add_argument("--fail", metavar="P", type=_share, help="answer 503 to this share of all requests (0)")
    server.add_argument("--quiet", action="store_true", help="no line on the terminal for each request")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    """A type for `add_argument`: a port, or 0."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _share(text: str) -> float:
    """A type for `add_argument`: a share from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1, such as 0.3")
    return value


def run(args: argparse.Namespace) -> int:
    """Run the demo, or with --serve the server. The exit code is 0 whatever the numbers, or 1 if it cannot start."""
    _check(args)
    if args.serve:
        from sleepwalker.cli.demo import serve  # noqa: PLC0415 - needs nothing that the demo needs, and asyncio

        return serve.run(
            args.port if args.port is not None else PORT, args.hosts or 1, args.seed, args.fail or 0.0, quiet=args.quiet
        )
    return _demo(args)


def _check(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that do not go together."""
    of_server = ("port", "hosts", "fail", "quiet")
    of_demo = ("quick", "log", "html", "json")
    for name in of_demo if args.serve else of_server:
        if getattr(args, name) not in (None, False):
            wrong = "does not go with --serve" if args.serve else f"needs --serve: sleepwalker demo --serve --{name}"
            raise UsageError(f"--{name} {wrong}\nSee: sleepwalker demo --help")


def _demo(args: argparse.Namespace) -> int:
    from sleepwalker.cli import display  # noqa: PLC0415 - this needs rich, parsing does not
    from sleepwalker.cli.demo.report import Report  # noqa: PLC0415

    course = QUICK if args.quick else FULL
    seed = int(BLOCKING_CLOCK.random() * SEEDS) if args.seed is None else args.seed
    log = args.log or _new_log()
    # Otherwise a proxy of the environment would stand between both sides and the fleet.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    screen = display.console(sys.stderr if args.json else sys.stdout)
    speak = not args.json and not display.can_move(screen)
    try:
        fleet = Fleet(
            sets=2,
            seed=seed,
            down_at=course.down_at,
            down_for=course.down_for,
            move_at=course.move_at,
            drip=course.drip,
        )
    except (OSError, RuntimeError) as error:
        say(f"sleepwalker: the demo's servers did not start: {error}")
        return 1
    with fleet, contextlib.ExitStack() as connections:
        lanes: dict[Side, dict[str, Lane]] = {side: {} for side in SIDES}
        report = Report(course, lanes)
        manager = connections.enter_context(_manager(fleet, report))
        for host in HOSTS:
            plain = f"http://127.0.0.1:{fleet.ports[1][host.name]}"
            for side, send in zip(SIDES, (_managed(host.name, manager, report), _plain(plain)), strict=True):
                total = round(course.traffic * host.rate)
                lanes[side][host.name] = Lane(send, total=total, workers=WORKERS, rate=host.rate)
        if not args.json:
            screen.print(report.introduction())
        with events_to(log), display.live(screen, report.picture):
            fleet.go()
            report.begin()
            _drive(report, fleet, connections, screen.print if speak else None)
    last = list(end.closing_lines(log, args.html))
    if args.json:
        print(json.dumps({**report.to_dict(), "seed": seed, "log": str(log)}, indent=2))
        return 0
    if speak:
        screen.print()  # below the lines of progress
    screen.print(report.result())
    for line in ("", *end.again(seed, quick=args.quick), *last):
        screen.print(line, soft_wrap=True)
    return 0


def _drive(
    report: Report, fleet: Fleet, connections: contextlib.ExitStack, speak: Callable[[str], object] | None
) -> None:
    """Wait until all calls are done or the time is up. In any case, no thread is left waiting for a server."""
    spoken = 0.0
    try:
        for lane in report.lanes():
            lane.start()
        while report.running() and report.elapsed() < report.course.limit:
            BLOCKING_CLOCK.sleep(0.1)
            # No line of progress at the end: the table follows at once.
            if speak is not None and report.elapsed() >= spoken + _LINE_EVERY and report.running():
                spoken = report.elapsed()
                speak(report.line())
    finally:
        for lane in report.lanes():
            lane.stop()
        connections.close()  # ends every wait between two attempts
        fleet.close()  # ends every read that still waits
    for lane in report.lanes():
        lane.join(5)
        if lane.crash is not None:
            raise lane.crash
    report.end()


def _manager(fleet: Fleet, report: Report) -> sleepwalker.ConnectionManager[sleepwalker.Connection]:
    """A manager that knows only the directory's address, and finds all other hosts by name."""
    policies = {host.name: host.policy for host in HOSTS}
    manager = sleepwalker.ConnectionManager[sleepwalker.Connection](policies=policies, observer=report.observe)
    url = f"http://127.0.0.1:{fleet.ports[0][DIRECTORY]}"
    manager.add(DIRECTORY, sleepwalker.ANONYMOUS, sleepwalker.Connection(url, sleepwalker.ANONYMOUS))
    manager.add_conn_hook(DirectoryHook(manager, policies, report.observe))
    return manager


def _managed(
    name: str, manager: sleepwalker.ConnectionManager[sleepwalker.Connection], report: Report
) -> Callable[[], Call]:
    """A call as users of a manager write it: find the connection, then use it."""

    def find_and_get() -> Response:
        connection = manager.find(name, sleepwalker.ANONYMOUS)
        response = connection.get("/")
        if name == MOVING:
            report.move.answered(connection.hostname)
        return cast(Response, response)

    return lambda: measured(find_and_get)


def _plain(url: str) -> Callable[[], Call]:
    """Calls as a careful user of requests writes them: a session per thread, a timeout and a check of the status."""
    threads = threading.local()

    def send() -> Call:
        if not hasattr(threads, "session"):
            threads.session = requests.Session()
        begin = BLOCKING_CLOCK.monotonic()
        try:
            response = threads.session.get(f"{url}/", timeout=PLAIN_TIMEOUT)
        except requests.RequestException as error:
            return Call("failed", BLOCKING_CLOCK.monotonic() - begin, type(error).__name__)
        outcome: Outcome = "answered" if response.ok else "failed"
        return Call(outcome, BLOCKING_CLOCK.monotonic() - begin, str(response.status_code))

    return send


def _new_log() -> Path:
    handle, name = tempfile.mkstemp(prefix="sleepwalker-demo-", suffix=".jsonl")
    os.close(handle)
    return Path(name)
