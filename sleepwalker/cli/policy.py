"""`sleepwalker policy`: the shipped policies, and whether others are sound."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sleepwalker import files
from sleepwalker.cli.parser import Commands, Parser, UsageError, examples
from sleepwalker.cli.text import count, safe_line, say
from sleepwalker.exceptions import PolicyError, URLError
from sleepwalker.hosts.names import checked_host_key
from sleepwalker.policy import Policy
from sleepwalker.policy.load import shipped_text

_LIST = examples("sleepwalker policy list", "sleepwalker policy list --json")
_SHOW = examples(
    "sleepwalker policy show interactive",
    "sleepwalker policy show standard > mine.toml   # a start for your own",
    "sleepwalker policy show mine.toml              # with all defaults",
    "sleepwalker policy show mine.toml --host https://a.example.com",
)
_CHECK = examples("sleepwalker policy check mine.toml", "sleepwalker policy check --json deploy/*.toml")
#: Of the patterns of a table.
_SHOWN = 5
_SCHEMA = examples("sleepwalker policy schema > policy.schema.json   # for editors")


def add(commands: Commands) -> None:
    """Add `policy` and its commands to the command line."""
    epilog = examples("sleepwalker policy list", "sleepwalker policy show batch", "sleepwalker policy check mine.toml")
    parser = commands.add_parser("policy", help="show and check policies", epilog=epilog)
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)

    listing = below.add_parser("list", help="the shipped policies, and when to use which", epilog=_LIST)
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=list_shipped)

    showing = below.add_parser("show", help="one policy, with the reasons for its numbers", epilog=_SHOW)
    showing.add_argument("policy", metavar="NAME|FILE", help="a shipped policy, or a TOML file")
    showing.add_argument(
        "--host",
        metavar="HOST",
        action="append",
        default=[],
        help="what one host gets, by the tables of the file: its URL, or a name that hooks know; both by two --host",
    )
    showing.add_argument("--json", action="store_true", help="all its fields as JSON")
    showing.set_defaults(run=show)

    checking = below.add_parser(
        "check",
        help="find every fault in policy files",
        description="Exit code 0: all are sound, 1: one has faults, 2: one cannot be read.",
        epilog=_CHECK,
    )
    checking.add_argument("files", metavar="FILE", nargs="+", type=Path, help="TOML files")
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
        print(f"{name:<{width}}  {text}")
    return 0


def show(args: argparse.Namespace) -> int:
    """Print one policy: a shipped one as its file, with its comments; another one with all its fields."""
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
        print((shipped_text(name) if name in Policy.names() else policy.to_toml()).rstrip("\n"))
    return 0


def _show_for_host(policy: Policy, args: argparse.Namespace) -> int:
    """Print what one host gets, and which table says so."""
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
    """A host as a manager knows it."""
    try:
        return checked_host_key(text)[0]
    except URLError as error:
        raise UsageError(f"--host: {error}") from None


def check(args: argparse.Namespace) -> int:
    """Check all files, also where the first one has faults."""
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
    """What is wrong with one file."""
    try:
        files.open_regular(path).close()
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return {"file": str(path), "sound": False, "unreadable": reason, "faults": []}
    try:
        Policy.load(path)
    except PolicyError as error:
        return {"file": str(path), "sound": False, "unreadable": None, "faults": list(error.faults)}
    return {"file": str(path), "sound": True, "unreadable": None, "faults": []}


def _print_result(result: dict[str, Any]) -> None:
    name = safe_line(result["file"])
    if result["unreadable"]:
        say(f"{name}: {result['unreadable']}")
    elif result["faults"]:
        say(f"{name}: {count(len(result['faults']), 'fault')}", sys.stdout)
        for fault in result["faults"]:
            say(f"  {safe_line(fault)}", sys.stdout)
    else:
        say(f"{name}: sound", sys.stdout)
