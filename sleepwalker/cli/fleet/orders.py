"""`sleepwalker fleet isolate`, `restore` and `reset`: an operator's orders to all workers."""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
from datetime import datetime
from typing import Literal

from sleepwalker.cli.fleet.opening import Unusable, nobody, store_of
from sleepwalker.cli.fleet.words import iso, lasting, moment_of
from sleepwalker.cli.parser import UsageError
from sleepwalker.cli.text import count, safe_line, told
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.connection.settings import check_isolation
from sleepwalker.fleet.store import KEPT_FOR, Order, Overview
from sleepwalker.hosts.isolations import isolation_key
from sleepwalker.hosts.names import checked_record_key, is_marked
from sleepwalker.transport.url import parse_hostname

_PART = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_STORE = re.compile(r"(?:rediss?(?:\+\w+)?|unix|file):", re.IGNORECASE)


def span(text: str) -> float:
    """A type for `add_argument`: a duration such as `90s`, `15m`, `2h`, `1h30m` or `3d`, in seconds."""
    parts = _PART.findall(text.lower())
    if not parts or "".join(map("".join, parts)) != text.lower():
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time: use 90s, 15m, 2h, 1h30m or 3d")
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


def moment(text: str) -> datetime:
    """A type for `add_argument`: a date and time with a time zone."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not a date and time: use 2026-12-01T08:00+01:00, or 2026-12-01T07:00Z"
        ) from None
    if found.utcoffset() is None:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} has no time zone: add Z for UTC, or one such as +01:00; or use --for"
        )
    return found


def isolate(args: argparse.Namespace) -> int:
    """Isolate a host in all workers."""
    key = _key(args)
    ends = args.for_ if args.for_ is not None else args.until
    try:
        isolation = check_isolation(args.reason, ends, SYSTEM_CLOCK)
    except ValueError as error:
        text = str(error)
        raise UsageError(f"--reason: {text}" if text.startswith("reason ") else _too_far(args)) from None
    left = isolation.left(SYSTEM_CLOCK.monotonic(), SYSTEM_CLOCK.wall()) if ends is not None else None
    return _give(args, key, Order("isolate", reason=isolation.reason, left=left, by=_name()))


def restore(args: argparse.Namespace) -> int:
    """End the isolation of a host in all workers."""
    return _give(args, _key(args), Order("restore", by=_name()))


def reset(args: argparse.Namespace) -> int:
    """Close the circuits of a host in all workers."""
    return _give(args, _key(args), Order("reset", by=_name()))


def _key(args: argparse.Namespace) -> str:
    """The name by which workers know the host. Sets `args.is_url` to whether HOST is a URL."""
    host: str = args.host
    if _STORE.match(host):
        raise UsageError("HOST is the URL of a store (not shown): pass it as --store URL")
    try:
        name, origin, scope = checked_record_key(host)
    except ValueError as error:
        raise UsageError(f"HOST: {error}") from None
    args.is_url = origin is not None
    key = isolation_key(name, origin, scope)
    if is_marked(key):
        raise UsageError(
            "HOST is a name with ? or #, or is too long: each process has its own mark for such a name, so an order "
            "cannot name it. For a scope, give its host's URL: https://host#name"
        )
    return key


def _too_far(args: argparse.Namespace) -> str:
    return f"{'--until' if args.until is not None else '--for'} must end in the future and within a year"


def _name() -> str:
    """Who gives the order, for the store: the machine, not the user's name."""
    return f"the command line on {socket.gethostname()}"[:100]


def _give(args: argparse.Namespace, key: str, order: Order) -> int:
    """Give the order. Returns the exit code: 1 if the store could not take it."""
    try:
        with store_of(args) as store:
            before = store.overview()
            number = store.order(key, order)
    except Unusable as error:
        told(f"sleepwalker: {safe_line(str(error))}", sys.stderr, indent="  ")
        return 1
    workers = len(before.workers)
    until = None if order.left is None else before.now + order.left
    if args.json:
        print(json.dumps({
            "order": order.kind, "host": key, "reason": order.reason, "until": iso(until), "number": number,
            "workers": workers, "was_isolated": _is_isolated(before, key),
        }, indent=2))  # fmt: skip
    else:
        told(_done(key, order, before, until), sys.stdout, indent="  ")
    if not args.is_url:
        _note(_no_url(safe_line(key)))
    if not workers:
        _note(f"{nobody(args.service)}. {_LATER[order.kind]}")
    return 0


def _note(text: str) -> None:
    told(f"sleepwalker: {text}", sys.stderr, indent="  ")


def _no_url(name: str) -> str:
    """The note about a HOST without a scheme: it may be a name that a hook knows, or a mistake."""
    try:
        parse_hostname(f"http://{name}")
        meant = f"http://{name} or https://{name}"
    except ValueError:
        meant = "https://example.net"
    return f"{name} is treated as a name that a hook knows; for a host, give its URL, such as {meant}"


_LATER: dict[Literal["isolate", "restore", "reset"], str] = {
    "isolate": f"Workers that start within {KEPT_FOR / 86_400:.0f} days carry it out",
    "restore": "No worker had it isolated",
    "reset": "Only a worker that starts within a minute will carry it out",
}


def _is_isolated(before: Overview, key: str) -> bool:
    return key in before.orders and before.orders[key].kind == "isolate"


def _done(key: str, order: Order, before: Overview, until: float | None) -> str:
    """A sentence about the order that was given."""
    workers = count(len(before.workers), "worker")
    host = safe_line(key)
    if order.kind == "isolate":
        end = "until it is restored" if until is None else f"until {moment_of(until)}, {lasting(order.left or 0.0)}"
        why = "" if order.reason is None else f": {safe_line(order.reason)}"
        again = "; this replaces its earlier isolation" if _is_isolated(before, key) else ""
        return f"{host} is isolated for {workers}, {end}{why}{again}"
    if order.kind == "restore":
        was = "" if _is_isolated(before, key) else "; it was not isolated in this store"
        return f"{host} is restored for {workers}{was}"
    still = "; it stays isolated" if _is_isolated(before, key) else ""
    return f"{host}: {workers} will close its circuits{still}"
