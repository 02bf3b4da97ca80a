"""Reads the command line: help pages with examples, and errors that say what may have been meant and where help is."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from sleepwalker import files
from sleepwalker.policy.wording import closest

#: The type that `add_subparsers` returns.
Commands = Any
#: How a shell completes an argument: with files, or with the shipped policies and files.
Completion = Literal["file", "policy"]

#: A line of a help page that names options: `  -X METHOD, --method METHOD`. argparse has no public list of options.
_OPTION_LINE = re.compile(r"^ {2}-.*$", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")
#: A word that may be repeated in an error: it holds no header, password or URL.
_SHOWN = re.compile(r"[\w.-]{1,40}")


class UsageError(Exception):
    """A usage error. Its text goes to stderr, and the exit code is 2."""


class Parser(argparse.ArgumentParser):
    """argparse with examples as written, no abbreviated options, and errors that name what may have been meant.

    argparse passes the words of a command to the parser of that command, so each parser checks its own words: whether
    it has such a command and such options.
    """

    commands: Commands = None
    """Its commands, if it has any. Their parsers by name are in `commands.choices`."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(**kwargs)
        self.completions: Final[list[tuple[argparse.Action, Completion]]] = []
        """Its arguments that a shell completes with more than fixed words."""

    def add_commands(self) -> Commands:
        """Take the first word as a command, and the rest as its arguments."""
        self.commands = self.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
        return self.commands

    def completed(self, action: argparse.Action, completion: Completion) -> None:
        """Let shells complete an argument in this way."""
        self.completions.append((action, completion))

    def parsers(self) -> Iterator[Parser]:
        """This parser and those of its commands, at all levels."""
        yield self
        for parser in self.commands.choices.values() if self.commands else ():
            yield from parser.parsers()

    def parse_known_args(  # type: ignore[override]  # as argparse calls it
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """The arguments, with nothing left over. Raises `UsageError` for words that this parser does not know.

        Words that are left over are not repeated: they may be half of a header without its quotes.
        """
        words = sys.argv[1:] if args is None else args
        self._check_words(words)
        found, rest = super().parse_known_args(words, namespace)
        if rest:
            self.error(f"{len(rest)} unknown argument(s); a value with spaces needs quotes")
        return found, []

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` with where help is. Without argparse's usage lines, which would hide the error."""
        raise UsageError(f"{message}\nSee: {self.prog} --help")

    def _check_words(self, words: Sequence[str]) -> None:
        """Find the option or command that does not exist, and name what may have been meant."""
        if not {"-h", "--help"}.isdisjoint(words):
            return  # help was asked for
        known = self._options()
        for word in words:
            if word == "--":
                return
            if word.startswith("-") and word != "-":
                self._check_option(word, known)
            elif self.commands:
                self._check_command(word)
                return  # the other words are for the command's own parser

    def _options(self) -> set[str]:
        return set(_OPTION.findall("\n".join(_OPTION_LINE.findall(self.format_help()))))

    def _check_option(self, word: str, known: set[str]) -> None:
        name = word.partition("=")[0]
        if name in known or word[:2] in known or " " in word or re.fullmatch(r"-[\d.]+", word):
            return  # argparse judges values, such as a negative number
        for parser in self.parsers():
            if name in parser._options():
                self.error(f"{name} belongs after a command: did you mean {parser.prog} {name}?")
        close = closest("--" + name.lstrip("-").lower(), known)
        # Only the name: a value that follows it without a blank may be a secret.
        named = f" {name}" if name.startswith("--") and _SHOWN.fullmatch(name) else ""
        self.error(f"unknown option{named}{_meant(close)}")

    def _check_command(self, word: str) -> None:
        names = list(self.commands.choices)
        if word in names:
            return
        if "://" in word:
            self.error(f"a URL is not a command; did you mean {self.prog.split()[0]} get URL?")
        named = f" {word!r}" if _SHOWN.fullmatch(word) else ""
        close = closest(word.lower(), names)
        self.error(f"unknown command{named}{_meant(close)}" + ("" if close else f"; commands: {', '.join(names)}"))


def _meant(close: Sequence[str]) -> str:
    return f": did you mean {close[0]}?" if close else ""


def examples(*lines: str) -> str:
    """The examples at the end of a help page. Each line is a command as it is typed, or a comment."""
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """A type for `add_argument`: one of these words."""
    allowed = list(names)

    def parse(text: str) -> str:
        if text in allowed:
            return text
        named = f"{text!r} is none of" if _SHOWN.fullmatch(text) else "it must be one of"
        raise argparse.ArgumentTypeError(f"{named} {', '.join(allowed)}{_meant(closest(text, allowed))}")

    return parse


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
    """A type for `add_argument`: a file that exists."""
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
    """A type for `add_argument`: a file for a log or a report. A pipe or a device is refused."""
    path = new_file(text)
    try:
        files.check_writable(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write to {text!r}: {error.strerror}") from None
    return path
