"""Generated exchanges come out as with plain requests, but for the differences in the table, and as on both paths."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import requests
import trustme

from sleepwalker.transport.blocking import fast_path
from tests.ranges import whole
from tests.wire.differential import differences, grammar, redirects, uploads
from tests.wire.differential.clients import Client, Outcome, difference, ours, plain
from tests.wire.differential.differences import Difference
from tests.wire.differential.server import ScriptedServer

#: Of requests: a cookie with `Max-Age` and no value.
pytestmark = pytest.mark.filterwarnings("ignore:http.cookiejar bug!:UserWarning")

#: Other exchanges than those that CI looks at: DIFFERENTIAL_SEED=anything.
SEED = os.environ.get("DIFFERENTIAL_SEED", "0")
#: Exchanges in a part; a part takes about two seconds. CI compares half of the parts; the others are there for
#: rare differences, each of which is looked for by itself.
SIZE = 300
PARTS = 10
#: Of the exchanges that fail.
MOST_TOLD = int(os.environ.get("DIFFERENTIAL_MOST", "5"))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="sleepwalker")
    caplog.set_level(logging.CRITICAL, logger="urllib3")


class Clients(NamedTuple):
    """The three that are compared."""

    plain: Client
    fast: Client
    ordinary: Client


@contextlib.contextmanager
def clients(url: str, verify: Any = True) -> Iterator[Clients]:
    with (
        plain(url, verify) as one,
        ours(url, fast=True, verify=verify) as two,
        ours(url, fast=False, verify=verify) as three,
    ):
        yield Clients(one, two, three)


class Bench:
    """Sends generated exchanges, and says what of their outcomes no row of the table explains."""

    def __init__(self, make: Callable[..., Any], rows: tuple[Difference, ...], outcomes: Callable[[Any], Any]) -> None:
        self.make = make
        self.outcomes = outcomes
        """What comes of a case: with requests, on the fast path, on the ordinary one."""
        self.rows = rows

    def fault(self, case: Any) -> str | None:
        """None where all is as it should be."""
        theirs, fast, ordinary = self.outcomes(case)
        if between := difference(ordinary, fast):
            return told(between, "ordinary path", ordinary, "fast path", fast)
        if left := differences.unexplained(case, self.rows, difference(theirs, fast)):
            return told(left, "requests", theirs, "sleepwalker", fast)
        return None

    def smaller(self, case: Any) -> Any:
        """A case that fails as well, with as few oddities as can be."""
        for oddity in case.oddities:
            without = self.make(case.seed, {*case.without, oddity})
            if set(without.oddities) < set(case.oddities) and self.fault(without):
                return self.smaller(without)
        return case

    def check(self, seeds: Iterable[str]) -> None:
        """Fail with the smallest cases that show what no row explains."""
        faults = []
        for seed in seeds:
            case = self.make(seed)
            if self.fault(case):
                case = self.smaller(case)
                faults.append(f"{self.fault(case)}\n{case.shown():.2000}")
        assert not faults, f"{len(faults)} differ\n\n" + "\n\n".join(faults[:MOST_TOLD])

    def find(self, row: Difference, seeds: Iterable[str]) -> None:
        """Fail unless one of the cases shows the row and no other one: one that is not needed would hide a fault."""
        others = tuple(other for other in self.rows if other is not row)
        tried = 0
        for case in map(self.make, seeds):
            if row.applies(case):
                theirs, mine, _ = self.outcomes(case)
                if differences.unexplained(case, others, difference(theirs, mine)) & row.fields:
                    return
                tried += 1
                assert tried < 50, "none of 50 exchanges shows it"
        pytest.fail(f"no exchange shows it; it could have been in {tried}")


def told(fields: frozenset[str], name: str, theirs: Outcome, other: str, mine: Outcome) -> str:
    width = max(len(name), len(other))
    return "\n".join(
        f"{field}\n  {name:{width}} {theirs.get(field)!r:.300}\n  {other:{width}} {mine.get(field)!r:.300}"
        for field in sorted(fields)
    )


# -- responses -----------------------------------------------------------------------------------


def on_responses(server: ScriptedServer, three: Clients) -> Bench:
    def outcomes(case: grammar.Case) -> list[Outcome]:
        path = f"/{case.seed}"
        server.replies[path] = (case.data, case.closes)
        data = b"body" if case.method == "POST" else None
        try:
            return [client.exchange(case.method, path, data=data) for client in three]
        finally:
            del server.replies[path]

    return Bench(grammar.make, differences.RESPONSES, outcomes)


@pytest.fixture
def responses() -> Iterator[Bench]:
    with ScriptedServer() as server, clients(server.url) as three:
        yield on_responses(server, three)


RESPONSES = [f"{SEED}-{number}" for number in range(SIZE * PARTS)]


@pytest.mark.parametrize("part", [0, *map(whole, range(1, 3))])
def test_responses_are_read_as_requests_reads_them(responses: Bench, part: int) -> None:
    responses.check(RESPONSES[part * SIZE : (part + 1) * SIZE])


def test_plain_responses_come_by_the_fast_path_on_one_client_only(responses: Bench) -> None:
    """Or the ordinary path would be compared with itself, as where a process finds at its start that they differ."""
    ways: list[Any] = []
    send = fast_path.send_and_read_head

    def noted(*arguments: Any) -> Any:
        ways.append(send(*arguments))
        return ways[-1]

    with mock.patch.object(fast_path, "send_and_read_head", noted):
        responses.outcomes(next(case for case in map(grammar.make, RESPONSES) if not case.oddities))
    assert len(ways) == 2  # the case and its probe
    assert None not in ways


@pytest.mark.parametrize("row", differences.RESPONSES, ids=lambda row: row.name)
def test_each_difference_in_how_responses_are_read_is_there(responses: Bench, row: Difference) -> None:
    responses.find(row, RESPONSES)


def test_responses_have_everything_odd_that_the_grammar_knows() -> None:
    made = {oddity for seed in RESPONSES for oddity in grammar.make(seed).oddities}
    assert made == grammar.all_oddities()


@pytest.mark.parametrize("part", [0, *map(whole, range(1, 2))])
def test_responses_over_tls_are_read_as_requests_reads_them(tmp_path: Path, part: int) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with ScriptedServer(tls=context) as server, clients(server.url, str(bundle)) as three:
        on_responses(server, three).check(f"{SEED}-tls-{number}" for number in range(part * 100, (part + 1) * 100))


# -- requests ------------------------------------------------------------------------------------


@pytest.fixture
def requested() -> Iterator[Bench]:
    """Where what leaves is compared."""

    def outcomes(case: uploads.Upload) -> list[Outcome]:
        return [outcome(case, number, client) for number, client in enumerate(three)]

    def outcome(case: uploads.Upload, number: int, client: Client) -> Outcome:
        mark = f"{case.seed}/{number}"
        client.session.headers["X-Mark"] = mark
        found = client.exchange(case.method, case.path, lambda answer: {"url": answer.url}, **case.arguments())
        if found["error"] is None:
            line = f"X-Mark: {mark}\r\n".encode()
            while line not in (sent := server.seen.get(timeout=10)):
                pass  # of an exchange that ended in an error
            found["sent"] = sent.replace(line, b"")
        return found

    with (
        ScriptedServer(default=(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True)) as server,
        clients(server.url) as three,
        mock.patch("urllib3.filepost.choose_boundary", return_value="boundary"),
    ):
        yield Bench(uploads.make, differences.UPLOADS, outcomes)


UPLOADS = [f"{SEED}-up-{number}" for number in range(1200)]


@pytest.mark.parametrize("part", [0, *map(whole, range(1, 2))])
def test_what_leaves_is_what_requests_sends(requested: Bench, part: int) -> None:
    requested.check(UPLOADS[part * 300 : (part + 1) * 300])


@pytest.mark.parametrize("row", differences.UPLOADS, ids=lambda row: row.name)
def test_each_difference_in_what_leaves_is_there(requested: Bench, row: Difference) -> None:
    requested.find(row, UPLOADS)


def test_requests_have_everything_odd_that_the_grammar_knows() -> None:
    assert {oddity for seed in UPLOADS for oddity in uploads.make(seed).oddities} == uploads.all_oddities()


# -- redirects -----------------------------------------------------------------------------------


@pytest.fixture
def redirected() -> Iterator[Bench]:
    seen: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def outcomes(case: redirects.Chain) -> list[Outcome]:
        for (origin, path), data in case.replies.items():
            (here, there)[origin].replies[path] = (data, False)
        return [outcome(case, client) for client in three]

    def outcome(case: redirects.Chain, client: Client) -> Outcome:
        found = client.exchange(case.method, case.path, described, headers=case.headers, data=case.body)
        del found["reused"]  # asks which path came before, and the last one was another
        return {**found, "sent": [seen.get() for _ in range(seen.qsize())]}

    def described(answer: requests.Response) -> Outcome:
        history = [(hop.status_code, hop.url) for hop in answer.history]
        return {"status": answer.status_code, "url": answer.url, "history": history, "body": answer.content}

    with ScriptedServer(seen=seen) as here, ScriptedServer(seen=seen) as there, clients(here.url) as three:
        yield Bench(partial(redirects.make, origins=(here.url, there.url)), differences.REDIRECTS, outcomes)


REDIRECTS = [f"{SEED}-to-{number}" for number in range(800)]


@pytest.mark.parametrize("part", [0, *map(whole, range(1, 2))])
def test_redirects_are_followed_as_requests_follows_them(redirected: Bench, part: int) -> None:
    redirected.check(REDIRECTS[part * 200 : (part + 1) * 200])


@pytest.mark.parametrize("row", differences.REDIRECTS, ids=lambda row: row.name)
def test_each_difference_in_how_redirects_are_followed_is_there(redirected: Bench, row: Difference) -> None:
    redirected.find(row, REDIRECTS)


def test_redirects_lead_everywhere_that_the_grammar_knows(redirected: Bench) -> None:
    made = [redirected.make(seed) for seed in REDIRECTS]
    assert {form for case in made for form in case.forms} == set(redirects.FORMS)


# -- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", differences.ELSEWHERE, ids=lambda row: row.name)
def test_a_difference_that_no_exchange_shows_names_its_test(row: Difference) -> None:
    path, _, test = row.tested.partition("::")
    source = (Path(__file__).parents[2] / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE)


def test_the_names_of_rows_are_their_own() -> None:
    names = [row.name for row in differences.TABLE]
    assert len(set(names)) == len(names)
