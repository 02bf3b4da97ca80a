"""Reading the command line: help that shows examples, and errors that name the way out."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sleepwalker import files

#: What `add_subparsers` returns.
Commands = Any


class UsageError(Exception):
    """The command was used wrongly: its text goes to stderr, and the exit code is 2."""


class Parser(argparse.ArgumentParser):
    """argparse with examples as they were typed, no abbreviated options, and errors in two lines."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(**kwargs)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; the usage lines of argparse would hide it."""
        raise UsageError(f"{message}\nTry '{self.prog} --help'.")

    def parse(self, argv: list[str] | None) -> argparse.Namespace:
        """The arguments. What is left over is not repeated: it may be half of a header that lacked its quotes."""
        args, rest = self.parse_known_args(argv)
        if rest:
            options = [word.partition("=")[0] for word in rest if word.startswith("--")]
            named = f" ({', '.join(options)})" if options else ""
            self.error(f"{len(rest)} argument(s) not understood{named}; a value with spaces needs quotes")
        return args


def examples(*lines: str) -> str:
    """The end of a help page."""
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def whole(at_least: int) -> Callable[[str], int]:
    """A type for `add_argument`: an integer of `at_least` or more."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = at_least - 1
        if value < at_least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {at_least} or more")
        return value

    return parse


def duration(text: str) -> float:
    """A type for `add_argument`: seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def existing_file(text: str) -> Path:
    """A type for `add_argument`: a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return path


def new_file(text: str) -> Path:
    """A type for `add_argument`: a file that can be written to."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"cannot write to {text!r}: it is a folder, or its folder does not exist")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write to {text!r}: permission denied")
    return path


def new_regular_file(text: str) -> Path:
    """A type for `add_argument`: a log or a report, which no pipe and no device can be."""
    path = new_file(text)
    try:
        files.check_writable(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write to {text!r}: {error.strerror}") from None
    return path
