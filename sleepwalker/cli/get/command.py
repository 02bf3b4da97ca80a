"""The command `sleepwalker get`: its options, and whether it makes one call or many."""

from __future__ import annotations

import argparse
from pathlib import Path

from sleepwalker.cli.get.target import read_body, read_header
from sleepwalker.cli.parser import (
    Commands,
    UsageError,
    duration,
    examples,
    existing_file,
    new_file,
    new_regular_file,
    whole,
)
from sleepwalker.downloads.checksum import Checksum

_DESCRIPTION = """\
Call a URL under a policy. For one call, failed attempts and
a summary go to stderr, and the body to stdout. For many
calls (-n), a table of results is printed.

Without --auth, credentials come from the netrc files; if
they have none for the host, none are sent. Other users of
this machine can read a password in --auth USER:PASSWORD (ps
shows it): use netrc, or --auth USER, which asks for it.
Credentials and query strings are never shown or logged."""

_EXAMPLES = examples(
    "sleepwalker get https://example.net/",
    "# a body from the command line, or from a file",
    "sleepwalker get -X PUT -d '{}' https://example.net/",
    "sleepwalker get -d @in.bin -o out.bin https://example.net/",
    "# a large file: run it again to resume",
    "sleepwalker get -o app.iso https://example.net/app.iso",
    "# ask for anna's password",
    "sleepwalker get --auth anna https://example.net/",
    "# under another policy; with a log to inspect",
    "sleepwalker get --policy batch https://example.net/",
    "sleepwalker get --log events.jsonl https://example.net/",
    "# many calls, 16 at a time",
    "sleepwalker get -n 500 -c 16 --json http://localhost:8080/",
)


def add(commands: Commands) -> None:
    """Add `get` to the command line."""
    parser = commands.add_parser("get", help="call a URL under a policy", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("url", metavar="URL", help="http:// or https://, the host, optional path and query")
    request = parser.add_argument_group("the request")
    request.add_argument("-X", "--method", metavar="METHOD", help="default: GET, or POST with -d")
    request.add_argument(
        "-d", "--data", metavar="TEXT", type=read_body, help="the body; @FILE reads a file, @- reads stdin"
    )
    request.add_argument(
        "-H", "--header", metavar="'NAME: VALUE'", type=read_header, action="append", default=[], help="repeatable"
    )
    request.add_argument("--auth", metavar="USER[:PASSWORD]", help="basic authentication; asks for a missing password")
    request.add_argument("--timeout", metavar="SECONDS", type=duration, help="limit to connect, and between two bytes")
    tls = request.add_mutually_exclusive_group()
    tls.add_argument("-k", "--insecure", action="store_true", help="accept any certificate")
    files = [tls.add_argument("--cacert", metavar="FILE", type=existing_file, help="CA certificates to trust, PEM")]
    files += [
        request.add_argument("--cert", metavar="FILE", type=existing_file, help="a client's certificate, PEM"),
        request.add_argument(
            "--key", metavar="FILE", type=existing_file, help="its private key, if not in the --cert file"
        ),
    ]
    calls = parser.add_argument_group("the calls")
    policy = calls.add_argument(
        "--policy", metavar="NAME|FILE", default="standard", help="a shipped policy or a TOML file (%(default)s)"
    )
    parser.completed(policy, "policy")
    calls.add_argument("-n", "--number", metavar="N", type=whole(1), default=1, help="number of calls (%(default)s)")
    calls.add_argument(
        "-c", "--concurrency", metavar="N", type=whole(1), default=1, help="calls at the same time (%(default)s)"
    )
    output = parser.add_argument_group("the output")
    files.append(
        output.add_argument(
            "-o",
            "--output",
            metavar="FILE",
            type=_file,
            help="write the body to FILE",
        )
    )
    output.add_argument(
        "--checksum", metavar="sha256:HEX", type=_checksum, help="checksum of the -o file; also sha512 and others"
    )
    output.add_argument("--json", action="store_true", help="print the outcome as JSON, without the body")
    files.append(
        output.add_argument(
            "--log", metavar="FILE", type=new_regular_file, help="append all events to FILE, as JSON lines"
        )
    )
    for action in files:
        parser.completed(action, "file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the calls."""
    from sleepwalker.cli import logs  # noqa: PLC0415 - these need rich, parsing does not
    from sleepwalker.cli.get import download, many, one, target  # noqa: PLC0415

    if args.number > 1 and args.output:
        raise UsageError("--output writes one body, and -n makes several: leave out one of them")
    aim = target.Target.of(args)
    single = args.number == 1
    downloads = single and aim.is_for_a_file(args.output)
    if args.checksum and not downloads:
        raise UsageError("--checksum is of a file: give -o FILE, too, and neither -X, -d, -n nor a header for a range")
    with logs.events_to(args.log), aim.connection(args, one.show_event if single else None) as connection:
        if downloads:
            checksum, as_json = args.checksum, args.json
            return download.run(connection, aim, output=args.output, checksum=checksum, as_json=as_json)
        if single:
            return one.run(connection, aim, output=args.output, as_json=args.json)
        return many.run(connection, aim, number=args.number, concurrency=args.concurrency, as_json=args.json)


def _file(text: str) -> Path | None:
    """A type for `add_argument`: a file that can be written to, or `-` for stdout."""
    return None if text == "-" else new_file(text)


def _checksum(text: str) -> str:
    """A type for `add_argument`: an algorithm and a digest."""
    try:
        Checksum.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
