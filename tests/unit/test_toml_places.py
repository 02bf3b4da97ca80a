"""Where the keys of a TOML file stand, beside tomllib, which tells what they hold."""

from __future__ import annotations

import random
import re
import signal
import time
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepwalker.cli.toml_places import Place, place_of, places

#: Texts that look like something else: headers, keys, comments, ends.
_TRICKY = (
    '"# [x]"',
    "'a = 1'",
    '"""\n[x]\na = 7 # "\n"""',
    "'''\n'a' = [\n'''",
    '"\\"]}"',
    "'}'",
    '""',
    "''''''",
    '"""a"""""',
)
_OTHER = ("1979-05-27 07:32:00Z", "true", "[]", "{}", "[ # ]\n]", "inf", "1_000", *_TRICKY)
_NAMES = ("a", "b", "c-d", "E_f", "1", "match")


class _Writer:
    """Writes tables in all ways that TOML has. Each number in them is another one, and so tells its place."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.numbers = 0

    def document(self) -> str:
        return self.table([], 3, headed=True) + self.blank()

    def table(self, path: list[str], depth: int, *, headed: bool) -> str:
        """The lines of a table; what has a header comes last, for it ends what was before."""
        first, last = "", ""
        for name in self.chance.sample(_NAMES, self.chance.randint(0, 4)):
            style = self.chance.choice(("number", "other", "inline", "dotted", "list", "header", "tables"))
            if depth == 0 or (style in ("header", "tables") and not headed):
                style = "number"
            if style == "header":
                # A table that only its own tables' headers name is one as well.
                title = f"{self.blank()}[{self.spaced('.'.join([*path, name]))}]{self.end()}"
                last += title + self.table([*path, name], depth - 1, headed=True)
            elif style == "tables":
                for _ in range(self.chance.randint(1, 3)):
                    last += f"[[{'.'.join([*path, name])}]]{self.end()}"
                    last += self.table([*path, name], depth - 1, headed=True)
            elif style == "dotted":
                for inner in self.chance.sample(_NAMES, 2):
                    first += f"{self.quoted(name)} . {inner} ={self.value(depth - 1)}{self.end()}"
            else:
                first += f"{self.blank()}{self.quoted(name)}={self.value(depth - 1, style)}{self.end()}"
        return first + last

    def value(self, depth: int, style: str = "number") -> str:
        if style == "other":
            return self.spaced(self.chance.choice(_OTHER))
        if style == "inline" and depth > 0:
            names = self.chance.sample(_NAMES, self.chance.randint(0, 3))
            return " {" + ", ".join(f"{name} = {self.value(depth - 1)}" for name in names) + "}"
        if style == "list" and depth > 0:
            styles = [self.chance.choice(("number", "other", "inline", "list")) for _ in range(3)]
            items = [f"{self.blank()}{self.value(depth - 1, each)}{self.blank()}" for each in styles]
            return "[" + ",".join(items) + self.chance.choice((",", "")) + self.blank() + "]"
        self.numbers += 1
        return f" {self.numbers + 1000}"

    def quoted(self, name: str) -> str:
        return self.chance.choice((name, name, f'"{name}"', f"'{name}'"))

    def spaced(self, text: str) -> str:
        return self.chance.choice(("", " ", "\t")) + text + self.chance.choice(("", " "))

    def blank(self) -> str:
        return self.chance.choice(("", "", "\n", ' # a = 1, ]} "\n', "\r\n\t"))

    def end(self) -> str:
        return self.chance.choice(("\n", " \n", " # [[a]]\n", "\r\n"))


def _paths(value: Any, path: str = "") -> dict[str, Any]:
    """All that a document holds, by its path."""
    found: dict[str, Any] = {}
    if isinstance(value, dict):
        for name, inner in value.items():
            below = f"{path}.{name}" if path else name
            found |= {below: inner, **_paths(inner, below)}
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found |= {f"{path}[{number}]": inner, **_paths(inner, f"{path}[{number}]")}
    return found


@given(st.integers(min_value=0))
def test_every_key_that_tomllib_reads_is_found_where_its_number_stands(seed: int) -> None:
    text = _Writer(seed).document()
    held = _paths(tomllib.loads(text))
    found = places(text)
    assert found.keys() == held.keys()
    lines = text.split("\n")
    for path, (line, column) in found.items():
        assert column is not None
        rest = lines[line - 1][column - 1 :]
        if path.endswith("]"):
            assert rest[0] not in " \t,#=\r", (path, rest)
        else:
            name = path.rpartition(".")[2]
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", rest), (path, rest)
        if isinstance(held[path], int) and held[path] > 1000:
            number = rest if path.endswith("]") else rest.partition("=")[2]
            assert number.strip().startswith(str(held[path])), (path, rest)


def test_each_way_to_write_a_key_is_found() -> None:
    text = (
        "timeout.read = 1\n"
        "[retry]\n"
        "  attempts = 2\n"
        "  budget = { ratio = 3, window = 4 }\n"
        "[[host]]\n"
        'match = ["a", "b"]\n'
        "[host.timeout]\n"
        "read = 5\n"
        "[[host]]\n"
        "breaker = { mode = 'x' }\n"
    )
    assert places(text) == {
        "timeout": Place(1, 1),
        "timeout.read": Place(1, 1),
        "retry": Place(2, 2),
        "retry.attempts": Place(3, 3),
        "retry.budget": Place(4, 3),
        "retry.budget.ratio": Place(4, 14),
        "retry.budget.window": Place(4, 25),
        "host": Place(5, 3),
        "host[0]": Place(5, 3),
        "host[0].match": Place(6, 1),
        "host[0].match[0]": Place(6, 10),
        "host[0].match[1]": Place(6, 15),
        "host[0].timeout": Place(7, 2),
        "host[0].timeout.read": Place(8, 1),
        "host[1]": Place(9, 3),
        "host[1].breaker": Place(10, 1),
        "host[1].breaker.mode": Place(10, 13),
    }


@pytest.mark.parametrize(
    "text",
    [
        '[timeout]\nread = 1\n"timeout.read" = 2\n[other]\n"timeout.read" = 3\n',
        '"timeout.read" = 3\n[timeout]\nread = 1\n',
        '"timeout.read: unknown" = 3\n[timeout]\nread = 1\n',
        '"\\u0074imeout.read" = 3\n[timeout]\nread = 1\n',
    ],
)
def test_a_key_in_quotes_that_reads_like_a_path_takes_that_paths_place_away(text: str) -> None:
    """A fault names either by the same words."""
    found = places(text)
    if text.startswith("[timeout]"):
        assert found["timeout.read"] == Place(2, 1)  # the one in quotes is `timeout.timeout.read` in a fault
    else:
        assert place_of("timeout.read: unknown", found) is None


def test_a_fault_has_the_place_of_its_key_and_what_is_missing_that_of_its_table() -> None:
    found = places("[retry]\nattempts = 0\n[[host]]\n")
    assert place_of("retry.attempts: 0 is not allowed; must be more", found) == Place(2, 1)
    assert place_of("host[0].match: missing; must be a text", found) == Place(3, 3)


def test_where_a_default_does_not_fit_what_the_file_says_the_place_is_that_of_what_it_says() -> None:
    found = places("[timeout]\ntotal = 5\n")
    fault = "timeout.attempt: 10 is too much; must be at most timeout.total (5): lower attempt or raise total"
    assert place_of(fault, found) == Place(2, 1)
    assert place_of(fault, places("[timeout]\nattempt = 10\ntotal = 5\n")) == Place(2, 1)


@pytest.mark.parametrize(
    "fault",
    [
        "timeout.connect: 5 is too much; must be at most timeout.attempt (3)",  # two defaults
        "retry.*: 7 more are unknown: is this a policy?",
        "a text of 70 characters: unknown",
        "retry has no colon",
        "timeout.read: missing; must be a number",
        "cannot be read: Permission denied",
    ],
)
def test_a_fault_whose_key_is_not_in_the_file_has_no_place(fault: str) -> None:
    assert place_of(fault, places("[retry]\nattempts = 0\n")) is None


@pytest.mark.parametrize(
    ("fault", "place"),
    [
        ("not TOML: Invalid value (at line 3, column 5)", Place(3, 5)),
        ("not TOML: Unclosed array (at the end, line 4)", Place(4, None)),
        ("not TOML: byte 7 is not UTF-8 (line 2)", Place(2, None)),
        ("not TOML for a policy: nested too deeply", None),
    ],
)
def test_the_reader_of_toml_says_itself_where_it_stopped(fault: str, place: Place | None) -> None:
    assert place_of(fault, {}) == place


@pytest.mark.parametrize("text", ["", "\n", "[", "a", "a = [1, ", "a = {b = ", '"""', "[[a]", "a = 'x", "= 3"])
def test_what_is_no_toml_has_no_wrong_place_and_ends(text: str) -> None:
    assert places(text) in ({}, {"a": Place(1, 1)})


@pytest.mark.parametrize(
    "text",
    [
        "a = [" + "1, " * 150_000 + "]",
        "[" + "a" * 250_000 + "]\n" + "".join(f"k{number} = 1\n" for number in range(20_000)),
        "".join(f"[a{number}.{'b.' * 200}c]\nd = 1\n" for number in range(1_000)),
        'a = """' + '""x' * 150_000 + '"""',
        "#" * 250_000 + "\n" + " " * 250_000 + "a = 1",
        "[[a]]\n" * 75_000,
        "a = '" + "x" * 450_000 + "'",
        "a = 1" + " " * 450_000,
        "\n" * 450_000 + "a = 1\n",
    ],
    ids=lambda text: f"{text[:8]!r}",
)
def test_half_a_megabyte_of_anything_takes_seconds_at_most(text: str) -> None:
    def stop(*_: object) -> None:
        raise AssertionError("more than 5 s of CPU")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, 5)
    try:
        begin = time.process_time()
        places(text)
        assert time.process_time() - begin < 5
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_tables_too_deep_to_follow_have_no_places() -> None:
    assert places("a = " + "[" * 5_000 + "]" * 5_000) == {}
