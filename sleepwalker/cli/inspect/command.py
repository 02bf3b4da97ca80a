"""`sleepwalker inspect`: which host, since when, what was done about it, is it over?"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sleepwalker import files
from sleepwalker.cli import signals
from sleepwalker.cli.inspect import follow
from sleepwalker.cli.parser import Commands, UsageError, examples, new_regular_file
from sleepwalker.cli.text import count, safe_line, safe_text, say
from sleepwalker.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from sleepwalker.inspect import Filter, QueryResult, Report, Session

_DESCRIPTION = """\
Read event logs (JSON lines, also gzipped) and report which
hosts failed, since when, what sleepwalker did about it and
whether it is over. Then: counts, durations, latencies,
retries and circuits."""

_EXAMPLES = (
    examples(
        "sleepwalker inspect events.jsonl",
        "sleepwalker inspect 'logs/*.jsonl' old.jsonl.gz --since 2h",
        "sleepwalker inspect events.jsonl --host payments",
        "# half an hour of today, UTC",
        "sleepwalker inspect app.jsonl --since 14:00 --until 14:30",
        "sleepwalker inspect events.jsonl --follow",
        "sleepwalker inspect events.jsonl --html report.html",
        "sleepwalker inspect events.jsonl --json | jq .findings",
        "sleepwalker inspect app.jsonl --sql 'FROM calls LIMIT 5'",
        "zcat logs/*.gz | sleepwalker inspect -",
    )
    + "\n\ntables for --sql: events, calls, attempts, transitions"
    + "\n  (DESCRIBE calls lists its columns)"
    + "\ntimes: 2025-11-22T14:03:07Z, 2025-11-22, 14:03 (UTC),"
    + "\n  1763820187, or how long ago: 15m, 2h, 1h30m"
    + "\n\n--check finds trouble if the report has TROUBLE or OVER: a"
    + "\n  host failed, was slow or isolated, or our own limits"
    + "\n  refused its calls, in the chosen time (--since), even if"
    + "\n  it is over. Without events in that time it finds none"
    + "\n\nexit codes: 0 fine, 1 no event could be read or none"
    + "\n  matches --host, --since and --until (0 with --check),"
    + "\n  2 usage error, 3 trouble found (--check)"
)

#: From this many bytes of logs on, a progress bar is shown.
_BIG = 20_000_000
#: The exit code of `--check`.
_TROUBLE = 3
#: How many hosts are named if none matches.
_SOME_HOSTS = 5
#: The most rows of a table.
_MOST_ROWS = 1_000


def add(commands: Commands) -> None:
    """Add `inspect` to the command line."""
    parser = commands.add_parser("inspect", help="analyse event logs", description=_DESCRIPTION, epilog=_EXAMPLES)
    logs = parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a log file, a pattern of files, or - for standard input"
    )
    parser.add_argument(
        "--host", action="append", default=[], metavar="TEXT",
        help="only hosts with TEXT in their origin, or matching a pattern with *; repeatable",
    )  # fmt: skip
    parser.add_argument("--since", metavar="TIME", help="only events from this time on")
    parser.add_argument("--until", metavar="TIME", help="only events before this time")
    parser.add_argument("--follow", action="store_true", help="follow the growing files until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print the report, or the rows of --sql, as JSON")
    parser.add_argument("--sql", metavar="QUERY", help="print the rows of your own query instead")
    parser.add_argument("--check", action="store_true", help="exit with 3 if there was trouble, even if it is over")
    parser.add_argument(
        "--runbook",
        metavar="URL",
        help="your runbook, with a section for each kind of trouble, such as #broken or #slow",
    )
    page = parser.add_argument(
        "--html", metavar="FILE", type=new_regular_file, help="also write a page with charts to FILE"
    )
    for action in (logs, page):
        parser.completed(action, "file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: a report or rows were printed; 1: there was no event for a report; 3: `--check` found trouble."""
    from sleepwalker import inspect  # noqa: PLC0415 - only this needs it

    if isinstance(sys.stdout, io.TextIOWrapper):  # hosts and paths can have characters that a terminal lacks
        sys.stdout.reconfigure(errors="replace")
    # Report wrong options and missing packages before reading gigabytes.
    window(args)
    if args.follow:
        follow.check(args)
    if args.check and (args.follow or args.sql is not None):
        raise UsageError(f"--check needs a complete report; leave out --{'follow' if args.follow else 'sql'}")
    if args.html and args.sql is not None:
        raise UsageError("--sql prints rows, and --html needs a report; leave out one of them")
    try:
        with signals.as_exits(), inspect.Session() as session:
            if not args.json:
                importlib.import_module("sleepwalker.cli.display")  # its import says what it needs
            sources = session.find(args.files, getattr(sys.stdin, "buffer", None), pipes=not args.follow)
            if args.html and args.html.exists() and any(args.html.samefile(source.path) for source in sources):
                raise UsageError(f"--html: {args.html} is one of the logs to read; name another file")
            if args.follow:
                followed = follow.follow(
                    session,
                    sources,
                    args,
                    make=lambda: inspect.make(session, window(args), args.runbook),
                    show=lambda report: _show(report, args, compact=True),
                )
                return 0 if followed is not None else _nothing(session, args)
            with _bar(sum(source.size for source in sources)) as progress:
                session.load(sources, progress)
            if args.sql is not None:
                return _answer(session, args)
            report = inspect.make(session, window(args), args.runbook)
            if report is None:
                return _nothing(session, args)
            _keep(report, args)
            _show(report, args)
            return _TROUBLE if args.check and report.trouble else 0
    except inspect.InspectError as error:
        raise UsageError(str(error)) from None
    return 0


def window(args: argparse.Namespace) -> Filter:
    """The filter that the options ask for, relative to now."""
    from sleepwalker.inspect import Filter, moment  # noqa: PLC0415

    now = SYSTEM_CLOCK.wall()
    times: list[float | None] = []
    for option in ("since", "until"):
        try:
            text = getattr(args, option)
            times.append(None if text is None else moment(text, now))
        except ValueError as error:
            raise UsageError(f"--{option}: {error}") from None
    since, until = times
    if since is not None and until is not None and since >= until:
        raise UsageError(f"--since {args.since} is not before --until {args.until}: no time lies between them")
    return Filter(since, until, tuple(args.host))


def _answer(session: Session, args: argparse.Namespace) -> int:
    """Print the answer to `--sql`: JSON objects, or a table."""
    session.use(window(args))
    with session.ask(args.sql) as result:
        if args.json:
            _print_objects(result)
            return 0
        from sleepwalker.cli import display  # noqa: PLC0415
        from sleepwalker.cli.inspect import view  # noqa: PLC0415

        screen = display.console()
        rows = list(itertools.islice(result.rows(), _MOST_ROWS + 1))
        if result.names == ["explain_key", "explain_value"]:  # a drawing of several lines
            print(*(safe_text(str(plan)) for _, plan in rows), sep="\n")
            return 0
        view.print_rows(screen, result.names, rows[:_MOST_ROWS])
        if len(rows) > _MOST_ROWS:
            say(f"the first {_MOST_ROWS:,} rows; --json prints all, LIMIT sets the number")
    return 0


def _print_objects(result: QueryResult) -> None:
    """Print a JSON list with an object per line."""
    names: list[str] = []
    for name in result.names:  # two columns of a query may have the same name
        names.append(name if name not in names else f"{name}_{result.names[: len(names)].count(name)}")
    before = "["
    for row in result.rows():
        print(before + json.dumps(dict(zip(names, map(_plain, row), strict=True)), allow_nan=False), end="")
        before = ",\n "
    print("]" if before != "[" else "[]")


def _plain(value: object) -> object:
    """The value in JSON: times in ISO 8601, null for NaN and infinity, and the text of any other type."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {str(_plain(name)): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _nothing(session: Session, args: argparse.Namespace) -> int:
    """Say why there is no report. Returns the exit code."""
    files = session.files()
    read = sum(file.events for file in files)
    if read:
        _filtered(session, args, read)
        return 0 if args.check and _quiet(session, args) else 1
    others, malformed, unfinished = (
        sum(getattr(file, name) for file in files) for name in ("other", "malformed", "unfinished")
    )
    if not others + malformed + unfinished and not any(file.cut for file in files):
        names = ", ".join(file.name for file in files)
        say(f"sleepwalker: {names} {'is' if len(files) == 1 else 'are'} empty")
        return 1
    lines = f"{count(others, 'other JSON line')}, {count(malformed, 'line')} that could not be read"
    lines += f", {count(unfinished, 'unfinished line')}" if unfinished else ""
    lines += "; cut off or damaged" if any(file.cut for file in files) else ""
    say(f"sleepwalker: no event of sleepwalker in {', '.join(file.name for file in files)} ({lines})")
    for bad in session.bad_lines()[:3]:
        say(f"  {bad.file}:{bad.line}: {bad.fault}: {safe_line(bad.excerpt)}")
    return 1


def _quiet(session: Session, args: argparse.Namespace) -> bool:
    """Whether the log has events of the chosen hosts, only not in that time: for `--check`, that is no trouble."""
    if args.host:
        session.use(replace(window(args), since=None, until=None))
        if not session.rows("SELECT 1 FROM events LIMIT 1"):
            return False
    say("sleepwalker: no events in that time, so --check found no trouble")
    return True


def _filtered(session: Session, args: argparse.Namespace, read: int) -> None:
    """Say which options left out all events, and what the log has."""
    given = " and ".join(
        f"--{name} {' '.join(value) if isinstance(value, list) else value}"
        for name in ("since", "until", "host")
        if (value := getattr(args, name))
    )
    say(f"sleepwalker: none of {count(read, 'event')} is within {given}")
    ((first, last, hosts),) = session.rows("""
        SELECT strftime(min(time), '%Y-%m-%dT%H:%M:%SZ'), strftime(max(time), '%Y-%m-%dT%H:%M:%SZ'),
            count(DISTINCT host) FROM everything""")
    some = [host for (host,) in session.rows(f"SELECT DISTINCT host FROM everything ORDER BY host LIMIT {_SOME_HOSTS}")]
    more = f" and {hosts - _SOME_HOSTS} more" if hosts > _SOME_HOSTS else ""
    say(f"  they are from {first} to {last}, of {', '.join(map(safe_line, some))}{more}")


def _keep(report: Report, args: argparse.Namespace) -> None:
    """Write the page if `--html` asks for it."""
    if not args.html:
        return
    from sleepwalker.inspect import page  # noqa: PLC0415

    try:
        files.write_report(args.html, page(report))
    except OSError as error:
        raise UsageError(f"--html: {error}") from None


def _show(report: Report, args: argparse.Namespace, *, compact: bool = False) -> None:
    if args.json:
        from sleepwalker.inspect import document  # noqa: PLC0415

        print(json.dumps(document(report), indent=None if compact else 2), flush=True)
        return
    from sleepwalker.cli import display  # noqa: PLC0415
    from sleepwalker.cli.inspect import view  # noqa: PLC0415

    screen = display.console()
    screen.print(view.render(report, screen))
    if args.html:
        screen.print(f"\nthe same with charts: {args.html}", soft_wrap=True)


@contextlib.contextmanager
def _bar(size: int) -> Iterator[Callable[[float], None]]:
    """A context with a progress bar, if stderr is a terminal and there is much to read."""
    if size < _BIG or not sys.stderr.isatty():
        yield lambda _: None
        return
    from sleepwalker.cli import display  # noqa: PLC0415

    share, begin = 0.0, SYSTEM_CLOCK.monotonic()

    def picture() -> display.RenderableType:
        return display.progress(f"reading {size / 1e6:,.0f} MB", share, 1.0, SYSTEM_CLOCK.monotonic() - begin)

    def progress(now: float) -> None:
        nonlocal share
        share = now

    with display.live(display.console(sys.stderr), picture):
        yield progress
