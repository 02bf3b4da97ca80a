"""The command `sleepwalker fleet`: its options."""

from __future__ import annotations

import argparse

from sleepwalker.cli.fleet import orders, status
from sleepwalker.cli.fleet.opening import SERVICE_VARIABLE
from sleepwalker.cli.parser import Commands, Parser, examples, whole
from sleepwalker.fleet.stores import DEFAULT_SERVICE
from sleepwalker.fleet.verdicts import Quorum

_DEFAULTS = Quorum()

_STORE = """\
Name the workers' store (their fleet=) with --store, or in
the environment variable SLEEPWALKER_FLEET. Other users of
this machine can read a password in --store (ps shows it),
but not in the variable. Passwords are never shown."""

_ABOUT = f"""\
Show what the workers of a service found out about hosts,
and send orders to all of them.

{_STORE}"""

_EXAMPLES = examples(
    "sleepwalker fleet status --store redis://localhost",
    "# with SLEEPWALKER_FLEET set",
    "sleepwalker fleet status",
    "sleepwalker fleet isolate https://example.net --for 2h",
    "sleepwalker fleet restore https://example.net",
    "sleepwalker fleet reset https://example.net",
)

_STATUS_ABOUT = f"""\
Show the hosts in trouble: how many workers report it, since
when and why, and whether the host is broken for all workers
or how many must agree. Also show the isolated hosts.

{_STORE}"""

_STATUS = (
    examples(
        "sleepwalker fleet status",
        "sleepwalker fleet status --store file:///run/billing.fleet",
        "sleepwalker fleet status --service billing --watch",
        "sleepwalker fleet status --json | jq .hosts",
    )
    + "\n\nexit codes: 0 fine, 1 the store cannot be used, or it has"
    + "\n  no workers, 2 usage error, 3 trouble found: a worker"
    + "\n  finds a host broken or failing, or one is isolated"
)

_ISOLATE_ABOUT = f"""\
Take a host out of use for all workers. Calls to it fail at
once until it is restored or the given time is over.
Isolating it again replaces reason and time.

{_STORE}"""

_ISOLATE = (
    examples(
        "sleepwalker fleet isolate https://example.net",
        "sleepwalker fleet isolate https://example.net --for 2h",
        "sleepwalker fleet isolate pay --for 3d --reason 'it moves'",
        "# only one scope of the host",
        "sleepwalker fleet isolate 'https://example.net#reports'",
    )
    + "\n\n--for: 90s, 15m, 2h, 1h30m, 3d. --until: a date and time"
    + "\n  with a time zone, 2026-12-01T08:00+01:00. At most a year"
)

_RESTORE_ABOUT = f"""\
End the isolation of a host for all workers.

{_STORE}"""

_RESTORE = examples("sleepwalker fleet restore https://example.net")

_RESET_ABOUT = f"""\
Close the circuits of a host in all workers, after a fault
was repaired. Each worker treats the host as healthy from
now on. An isolation stays.

{_STORE}"""

_RESET = examples("sleepwalker fleet reset https://example.net")


def add(commands: Commands) -> None:
    """Add `fleet` and its commands to the command line."""
    parser = commands.add_parser(
        "fleet", help="show what workers know; isolate, restore hosts", description=_ABOUT, epilog=_EXAMPLES
    )
    below = parser.add_commands()

    showing = below.add_parser("status", help="show hosts in trouble", description=_STATUS_ABOUT, epilog=_STATUS)
    _add_store(showing)
    showing.add_argument("--watch", action="store_true", help="refresh every second until Ctrl-C")
    showing.add_argument(
        "--quorum", metavar="SHARE", type=_share, default=_DEFAULTS.share,
        help="a host is broken for all if more than this share of the reporting workers say so; give the workers' "
        "value (%(default)s)",
    )  # fmt: skip
    showing.add_argument(
        "--min-reporters", metavar="N", type=whole(1), default=_DEFAULTS.min_reporters,
        help="and if at least this many workers say so; give the workers' value (%(default)s)",
    )  # fmt: skip
    showing.set_defaults(run=status.run)

    isolating = below.add_parser("isolate", help="take a host out of use", description=_ISOLATE_ABOUT, epilog=_ISOLATE)
    _add_host(isolating)
    isolating.add_argument("--reason", metavar="TEXT", help="the reason, shown in errors and logs; no secrets")
    end = isolating.add_mutually_exclusive_group()
    end.add_argument("--for", dest="for_", metavar="TIME", type=orders.span, help="how long: 90s, 15m, 2h, 1h30m, 3d")
    end.add_argument(
        "--until", metavar="TIME", type=orders.moment, help="date and time with a time zone: 2026-12-01T08:00+01:00"
    )
    isolating.set_defaults(run=orders.isolate)

    restoring = below.add_parser("restore", help="end an isolation", description=_RESTORE_ABOUT, epilog=_RESTORE)
    _add_host(restoring)
    restoring.set_defaults(run=orders.restore)

    resetting = below.add_parser("reset", help="close a host's circuits", description=_RESET_ABOUT, epilog=_RESET)
    _add_host(resetting)
    resetting.set_defaults(run=orders.reset)


def _add_host(parser: Parser) -> None:
    parser.add_argument("host", metavar="HOST", help="a URL, or a name that hooks know; a scope: https://host#name")
    _add_store(parser)


def _add_store(parser: Parser) -> None:
    parser.add_argument(
        "--store", metavar="URL", help="redis://, rediss://, unix:// or file:/// (or set SLEEPWALKER_FLEET)"
    )
    parser.add_argument(
        "--service",
        metavar="NAME",
        help=f"the workers' service= (or set {SERVICE_VARIABLE}); else '{DEFAULT_SERVICE}'",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def _share(text: str) -> float:
    """A type for `add_argument`: a share above 0, up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 1")
    return value
