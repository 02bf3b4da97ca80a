"""One exchange, by plain requests and by both paths of sleepwalker, and all that a caller can see of it."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock
from urllib.parse import urljoin

import requests
import urllib3

from sleepwalker import ANONYMOUS, Connection, Policy
from sleepwalker.transport.blocking import fast_path
from tests.wire.differential.server import PROBE

#: One plain send, whatever comes. Nothing here waits for a timeout; these bound what hangs.
POLICY = Policy(retry=False, breaker=False, timeout={"connect": 5, "read": 5, "attempt": 8, "total": 8})
TIMEOUT = (5, 5)
Outcome = dict[str, Any]


class Client:
    """Sends through a session of requests, or a connection of ours around one."""

    def __init__(self, url: str, session: requests.Session, send: Any) -> None:
        self._url = url
        self.session = session
        self._send = send

    def exchange(
        self, method: str, path: str, describe: Callable[[requests.Response], Outcome] | None = None, **arguments: Any
    ) -> Outcome:
        """All that comes of a request. Afterwards the cookies are gone, and a connection is open."""
        outcome: Outcome = {}
        try:
            response = self._send(method, path, **arguments)
        except Exception as error:
            outcome["error"] = kind(error)
        else:
            outcome |= {"error": None, **(describe or described)(response)}
        outcome["jar"] = sorted(
            (cookie.name, cookie.value, cookie.domain, cookie.path, cookie.secure, cookie.expires is None)
            for cookie in self.session.cookies
        )
        self.session.cookies.clear()
        with contextlib.suppress(Exception):
            outcome["reused"] = self._send("GET", PROBE).text == path
        self.session.cookies.clear()
        return outcome


@contextlib.contextmanager
def plain(url: str, verify: Any = True) -> Iterator[Client]:
    """requests, as it is."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = verify
        session.headers["User-Agent"] = "test"

        def send(method: str, path: str, **arguments: Any) -> requests.Response:
            return session.request(method, urljoin(url, path), timeout=TIMEOUT, **arguments)

        client = Client(url, session, send)
        client.exchange("GET", PROBE)
        yield client


@contextlib.contextmanager
def ours(url: str, *, fast: bool, verify: Any = True) -> Iterator[Client]:
    """A connection, whose requests take the fast path where they can; or never do."""
    with Connection(url, ANONYMOUS, policy=POLICY, verify=verify) as conn:
        conn.conn.trust_env = False
        conn.conn.headers["User-Agent"] = "test"

        def send(method: str, path: str, **arguments: Any) -> requests.Response:
            with contextlib.nullcontext() if fast else mock.patch.object(fast_path, "is_unpatched", _never):
                return conn.request(method, path, raise_for_status=False, **arguments)

        client = Client(url, conn.conn, send)
        client.exchange("GET", PROBE)
        yield client


def _never() -> bool:
    return False


def described(response: requests.Response) -> Outcome:
    """All that a caller can see of a response."""
    return {
        "status": response.status_code,
        "version": response.raw.version,
        "reason": response.reason,
        "headers": list(response.headers.items()),
        "lines": list(response.raw.headers.iteritems()),
        "body": response.content,
        "encoding": response.encoding,
        "cookies": sorted(response.cookies.items()),
    }


#: The kinds of errors, the most specific first.
_KINDS: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("timeout", (requests.Timeout, TimeoutError)),
    ("decoding", (requests.exceptions.ContentDecodingError, requests.exceptions.JSONDecodeError)),
    ("redirect", (requests.TooManyRedirects,)),
    ("url", (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema)),
    ("header", (requests.exceptions.InvalidHeader,)),
    ("broken", (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)),
)


def kind(error: BaseException) -> str:
    """What kind of error it is; with its class where it is none of requests'."""
    for name, classes in _KINDS:
        if isinstance(error, classes):
            # requests' error for a read timeout while a body is read is none of its timeouts.
            return "timeout" if "timed out" in str(error) else name
    home = "urllib3's" if isinstance(error, urllib3.exceptions.HTTPError) else "Python's"
    home = "http.client's" if isinstance(error, http.client.HTTPException) else home
    return f"{home} {type(error).__name__}"


def difference(theirs: Outcome, mine: Outcome) -> frozenset[str]:
    """The fields in which two outcomes differ; after an error there is only that, and the cookies."""
    if theirs.get("error") != mine.get("error"):
        return frozenset({"error"})
    return frozenset(name for name in theirs.keys() | mine.keys() if theirs.get(name) != mine.get(name))
