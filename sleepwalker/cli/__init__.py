"""The command `sleepwalker`.

Exit codes: 0 fine, 1 the call failed (or a policy file has faults, or a log has no event), 2 usage error, 3 trouble
found, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from importlib import metadata

from sleepwalker.cli import completion, demo, fleet, get, inspect, policy
from sleepwalker.cli.parser import Parser, UsageError, examples
from sleepwalker.cli.text import say, told

__all__ = ["main"]

EXIT_CODES = """

exit codes:
  0    fine
  1    the call failed, or there was nothing to look at
  2    usage error
  3    trouble was found
  130  ended by Ctrl-C"""

#: How writing the output to a disk fails. Any other `OSError` is raised.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(argv: list[str] | None = None) -> int:
    """Run one command (`sys.argv` by default) and return its exit code."""
    _open_outputs()
    # For people: a warning's text, without the line of code that warned.
    warnings.showwarning = lambda message, *_, **__: say(f"sleepwalker: {message}")
    try:
        args = _parser().parse_args(argv)
        code: int = args.run(args)
        sys.stdout.flush()
    except SystemExit as leave:  # --help and --version
        return int(leave.code or 0)
    except UsageError as error:
        for line in f"sleepwalker: {error}".splitlines():
            told(line, sys.stderr, indent="  ")
        return 2
    except KeyboardInterrupt:
        say("sleepwalker: interrupted")
        return 130
    except BrokenPipeError:
        # The reader of the output has gone. What is still buffered must not fail again at exit.
        _drop_output()
        return 0
    except OSError as error:
        if error.errno not in _FULL:
            raise
        say(f"sleepwalker: cannot write the output: {error.strerror}")
        _drop_output()
        return 1
    return code


def _open_outputs() -> None:
    """Replace missing outputs: a service manager may start a program with them closed, and Python then has None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the end


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> Parser:
    parser = Parser(
        prog="sleepwalker",
        description="HTTP calls that survive flaky servers: timeouts that\nhold, retries, breakers.",
        epilog=examples(
            "# traffic to flaky servers, with and without sleepwalker",
            "sleepwalker demo",
            "# one call under a policy, and many",
            "sleepwalker get https://example.net/",
            "sleepwalker get -n 200 -c 8 http://localhost:8080/",
            "# analyse an event log",
            "sleepwalker inspect events.jsonl",
            "# the numbers of a policy, with reasons",
            "sleepwalker policy show interactive",
            "# which hosts the workers of a service find broken",
            "sleepwalker fleet status --store file:///run/billing.fleet",
        )
        + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"sleepwalker {_version()}")
    commands = parser.add_commands()
    demo.add(commands)
    get.add(commands)
    inspect.add(commands)
    policy.add(commands)
    fleet.add(commands)
    completion.add(commands, parser)
    return parser


def _version() -> str:
    try:
        return metadata.version("sleepwalker")
    except metadata.PackageNotFoundError:
        return "(not installed: run from its source)"
