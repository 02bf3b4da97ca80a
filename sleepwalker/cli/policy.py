"""`sleepwalker policy`: shows policies, and checks policy files."""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sleepwalker import files
from sleepwalker.cli.parser import Commands, UsageError, examples
from sleepwalker.cli.text import count, safe_line, say, told, width_of, with_narrow_comments
from sleepwalker.cli.toml_places import Place, place_of, places
from sleepwalker.exceptions import PolicyError, URLError
from sleepwalker.hosts.names import checked_host_key
from sleepwalker.policy import Policy
from sleepwalker.policy.load import MOST_BYTES, shipped_text

_LIST = examples("sleepwalker policy list", "sleepwalker policy list --json")
_SHOW = examples(
    "sleepwalker policy show interactive",
    "# start your own policy",
    "sleepwalker policy show standard > mine.toml",
    "# your policy with all defaults, and for one host",
    "sleepwalker policy show mine.toml",
    "sleepwalker policy show mine.toml --host a.example.com",
)
_CHECK = examples("sleepwalker policy check mine.toml", "sleepwalker policy check --json deploy/*.toml")
_CHECK_ABOUT = """\
Find every fault in each file, with line and column.
Exit code 0: no faults, 1: a file has faults, 2: a file
cannot be read."""
#: How many patterns of a table are shown.
_SHOWN = 5
_SCHEMA = examples("# for editors", "sleepwalker policy schema > policy.schema.json")


def add(commands: Commands) -> None:
    """Add `policy` and its commands to the command line."""
    epilog = examples("sleepwalker policy list", "sleepwalker policy show batch", "sleepwalker policy check mine.toml")
    parser = commands.add_parser("policy", help="show and check policies", epilog=epilog)
    below = parser.add_commands()

    listing = below.add_parser("list", help="list the shipped policies, and when to use each", epilog=_LIST)
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=list_shipped)

    showing = below.add_parser("show", help="show a policy, with the reasons for its numbers", epilog=_SHOW)
    named = showing.add_argument("policy", metavar="NAME|FILE", help="a shipped policy, or a TOML file")
    showing.completed(named, "policy")
    showing.add_argument(
        "--host",
        metavar="HOST",
        action="append",
        default=[],
        help="apply the file's tables for one host: its URL, or a name that hooks know; repeat it for both",
    )
    showing.add_argument("--json", action="store_true", help="print all fields as JSON")
    showing.set_defaults(run=show)

    checking = below.add_parser(
        "check",
        help="find every fault in policy files",
        description=_CHECK_ABOUT,
        epilog=_CHECK,
    )
    checking.completed(checking.add_argument("files", metavar="FILE", nargs="+", type=Path, help="TOML files"), "file")
    checking.add_argument("--json", action="store_true", help="as JSON")
    checking.set_defaults(run=check)

    schema = below.add_parser("schema", help="the JSON schema of policy files", epilog=_SCHEMA)
    schema.set_defaults(run=show_schema)


def list_shipped(args: argparse.Namespace) -> int:
    """Print the shipped policies."""
    about = {name: _about(name, shipped_text(name)) for name in Policy.names()}
    if args.json:
        print(json.dumps([{"name": name, "about": text} for name, text in about.items()], indent=2))
        return 0
    width = max(map(len, about))
    for name, text in about.items():
        told(f"{name:<{width}}  {text}", sys.stdout, indent=" " * (width + 2))
    return 0


def show(args: argparse.Namespace) -> int:
    """Print one policy: a shipped one as its file with comments, any other one with all its fields."""
    name: str = args.policy
    try:
        policy = Policy.load(name)
    except PolicyError as error:
        raise UsageError(str(error)) from None
    if args.host:
        return _show_for_host(policy, args)
    if args.json:
        print(json.dumps(policy.to_dict(), indent=2))
    else:
        text = shipped_text(name) if name in Policy.names() else policy.to_toml()
        print(with_narrow_comments(text, width_of(sys.stdout) if sys.stdout.isatty() else None).rstrip("\n"))
    return 0


def _show_for_host(policy: Policy, args: argparse.Namespace) -> int:
    """Print the policy that one host gets, and the table that it comes from."""
    hosts = [_host(text) for text in args.host]
    number = policy.table_for(*hosts)
    found = policy.for_host(*hosts)
    match = [] if number is None else list(policy.hosts[number].match)
    if args.json:
        print(json.dumps({"hosts": hosts, "table": number, "match": match, "policy": found.to_dict()}, indent=2))
        return 0
    table = "none of its tables fits" if policy.hosts else "it has no tables for hosts"
    if number is not None:
        more = f" and {len(match) - _SHOWN:,} more" if len(match) > _SHOWN else ""
        table = f"host[{number}], which is for {', '.join(match[:_SHOWN])}{more}"
    print(f"# {safe_line(args.policy)} for {', '.join(hosts)}: {table}")
    print(found.to_toml().rstrip("\n"))
    return 0


def _host(text: str) -> str:
    """The name by which a manager knows the host."""
    try:
        return checked_host_key(text)[0]
    except URLError as error:
        raise UsageError(f"--host: {error}") from None


def check(args: argparse.Namespace) -> int:
    """Check all files, even if the first one has faults."""
    results = [_checked(path) for path in args.files]
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        for result in results:
            _print_result(result)
    return max(2 if result["unreadable"] else 1 if result["faults"] else 0 for result in results)


def show_schema(_args: argparse.Namespace) -> int:
    """Print the JSON schema."""
    print(json.dumps(Policy.json_schema(), indent=2))
    return 0


def _about(name: str, text: str) -> str:
    """The summary in a policy file's first line: `# batch: no user waits; …`."""
    return text.partition("\n")[0].lstrip("# ").removeprefix(f"{name}:").strip()


def _checked(path: Path) -> dict[str, Any]:
    """The faults of one file, with their places."""
    result: dict[str, Any] = {"file": str(path), "sound": False, "unreadable": None, "faults": []}
    try:
        files.open_regular(path).close()
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return {**result, "unreadable": reason}
    try:
        Policy.load(path)
    except PolicyError as error:
        found = _places(path)
        faults = [_fault(text, place_of(text, found)) for text in error.faults]
        return {**result, "faults": sorted(faults, key=lambda fault: fault["line"] or 0)}  # as they stand in the file
    return {**result, "sound": True}


def _places(path: Path) -> Mapping[str, Place]:
    """The places of a file's keys; empty if it is not TOML."""
    try:
        text = files.read_regular(path, MOST_BYTES).decode("utf-8-sig")
        tomllib.loads(text)
    except (OSError, ValueError, RecursionError):  # `Policy.load` has reported that as a fault
        return {}
    return places(text)


def _fault(text: str, place: Place | None) -> dict[str, Any]:
    return {"line": place and place.line, "column": place and place.column, "fault": text}


def _print_result(result: dict[str, Any]) -> None:
    name = safe_line(result["file"])
    if result["unreadable"]:
        say(f"{name}: {result['unreadable']}")
    elif result["faults"]:
        say(f"{name}: {count(len(result['faults']), 'fault')}", sys.stdout)
        for fault in result["faults"]:
            place = ":".join(str(part) for part in (name, fault["line"], fault["column"]) if part is not None)
            told(f"{place}: {safe_line(fault['fault'])}", sys.stdout, indent="  ")
    else:
        say(f"{name}: sound", sys.stdout)
