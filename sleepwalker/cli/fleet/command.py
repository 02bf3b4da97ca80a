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
The store is the one that the workers have as fleet=. It is
told by --store, or else by SLEEPWALKER_FLEET in the
environment: a password in --store can be read by others on
this machine (ps shows it), there it cannot. None is ever
shown."""

_ABOUT = f"""\
What the workers of a service found out together, and orders
to all of them.

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
Which hosts are in trouble, how many workers say so, since
when and why; whether they are broken for all, or how many
workers must say so; and which hosts are isolated.

{_STORE}"""

_STATUS = (
    examples(
        "sleepwalker fleet status",
        "sleepwalker fleet status --store file:///run/billing.fleet",
        "sleepwalker fleet status --service billing --watch",
        "sleepwalker fleet status --json | jq .hosts",
    )
    + "\n\nexit codes: 0 fine, 1 the store cannot be used, or no"
    + "\n  worker is there, 2 used wrongly, 3 trouble found: a"
    + "\n  worker finds a host broken, or one is isolated"
)

_ISOLATE_ABOUT = f"""\
Take a host out of use for all workers: calls to it are
refused at once, until it is restored or its time is over.
Isolating it again replaces reason and time.

{_STORE}"""

_ISOLATE = (
    examples(
        "sleepwalker fleet isolate https://example.net",
        "sleepwalker fleet isolate https://example.net --for 2h",
        "sleepwalker fleet isolate pay --for 3d --reason 'it moves'",
        "# a part of it that has a scope of its own",
        "sleepwalker fleet isolate 'https://example.net#reports'",
    )
    + "\n\ntimes: 90s, 15m, 2h, 1h30m, 3d from now on, or a moment"
    + "\n  with its time zone, 2026-12-01T08:00+01:00; at most a year"
)

_RESTORE_ABOUT = f"""\
End the isolation of a host for all workers.

{_STORE}"""

_RESTORE = examples("sleepwalker fleet restore https://example.net")

_RESET_ABOUT = f"""\
Close the circuits of a host in all workers, as when a fault
was repaired: each counts it as healthy from now on. An
isolation stays.

{_STORE}"""

_RESET = examples("sleepwalker fleet reset https://example.net")


def add(commands: Commands) -> None:
    """Add `fleet` and its commands to the command line."""
    parser = commands.add_parser(
        "fleet", help="what workers found out together; orders to all", description=_ABOUT, epilog=_EXAMPLES
    )
    below = parser.add_commands()

    showing = below.add_parser(
        "status", help="hosts in trouble, and who says so", description=_STATUS_ABOUT, epilog=_STATUS
    )
    _add_store(showing)
    showing.add_argument("--watch", action="store_true", help="go on until Ctrl-C, once a second")
    showing.add_argument(
        "--quorum", metavar="SHARE", type=_share, default=_DEFAULTS.share,
        help="more than this share of the reports make a host broken for all, as the workers have it (%(default)s)",
    )  # fmt: skip
    showing.add_argument(
        "--min-reporters", metavar="N", type=whole(1), default=_DEFAULTS.min_reporters,
        help="and at least so many (%(default)s)",
    )  # fmt: skip
    showing.set_defaults(run=status.run)

    isolating = below.add_parser("isolate", help="take a host out of use", description=_ISOLATE_ABOUT, epilog=_ISOLATE)
    _add_host(isolating)
    isolating.add_argument("--reason", metavar="TEXT", help="why, for all who meet the refusals; no secrets")
    end = isolating.add_mutually_exclusive_group()
    end.add_argument("--for", dest="for_", metavar="TIME", type=orders.span, help="how long: 90s, 15m, 2h, 1h30m, 3d")
    end.add_argument(
        "--until", metavar="TIME", type=orders.moment, help="until when, with a time zone: 2026-12-01T08:00+01:00"
    )
    isolating.set_defaults(run=orders.isolate)

    restoring = below.add_parser("restore", help="end an isolation", description=_RESTORE_ABOUT, epilog=_RESTORE)
    _add_host(restoring)
    restoring.set_defaults(run=orders.restore)

    resetting = below.add_parser("reset", help="close a host's circuits", description=_RESET_ABOUT, epilog=_RESET)
    _add_host(resetting)
    resetting.set_defaults(run=orders.reset)


def _add_host(parser: Parser) -> None:
    parser.add_argument("host", metavar="HOST", help="its URL, or a name that hooks know; a scope as https://host#name")
    _add_store(parser)


def _add_store(parser: Parser) -> None:
    parser.add_argument("--store", metavar="URL", help="redis://, rediss://, unix:// or file:///; or SLEEPWALKER_FLEET")
    parser.add_argument(
        "--service", metavar="NAME", help=f"whose workers, as they have it; or {SERVICE_VARIABLE} ({DEFAULT_SERVICE})"
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
