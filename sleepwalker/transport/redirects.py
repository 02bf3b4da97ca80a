"""Where a redirect may lead, and which parts of the request go along."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import urldefrag, urljoin

import requests
from requests.cookies import get_cookie_header
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri

from sleepwalker.engine import Outcome, Verdict
from sleepwalker.exceptions import ConnectionError, RedirectError, URLError
from sleepwalker.transport.body import Body
from sleepwalker.transport.url import Origin, check_target, parse_hostname

#: As many as requests follows.
MAX_REDIRECTS = 30

#: URLs that browsers and requests read as another host, and urllib.parse as a path of this host.
_TWO_READINGS = re.compile(r"[\x00-\x20]*(?:https?:)?(?:[/\\]{3}|/?\\)", re.IGNORECASE)
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: The only headers sent to another origin.
HARMLESS = ("Accept", "User-Agent")
#: The same of a download, which sets the others itself.
HARMLESS_OF_A_DOWNLOAD = (*HARMLESS, "Accept-Encoding", "Range", "If-Range")


class Hop:
    """The next request of an attempt."""

    __slots__ = ("foreign", "harmless", "moved", "prepared", "target")

    def __init__(self, prepared: requests.PreparedRequest, target: str, harmless: tuple[str, ...] = HARMLESS) -> None:
        self.prepared: requests.PreparedRequest = prepared
        self.target: str = target
        """The origin it goes to."""
        self.harmless: tuple[str, ...] = harmless
        """The headers that go along to another origin."""
        self.moved: bool = False
        """True once our origin responded with a redirect: it got the request, even if the redirect fails."""
        self.foreign: bool = False
        """True from the first hop to another origin on, even after a redirect back: no more credentials are sent."""

    @property
    def url(self) -> str:
        """Where the request goes."""
        return self.prepared.url or ""


def is_redirect(response: requests.Response) -> bool:
    """Whether the response is a redirect with a `Location`."""
    return response.status_code in REDIRECTS and bool(response.headers.get("Location"))


def next_hop(hop: Hop, response: requests.Response, origin: Origin, body: Body, cookies: Any) -> None:
    """Point `hop` at the target of the redirect.

    Another origin is followed for GET and HEAD only, without our headers and cookies. RedirectError for a redirect that
    may not be followed; from https to http none may.
    """
    method = hop.prepared.method or "GET"
    url, target, fragment = target_of(response, origin)
    # RFC 9110, section 10.2.2: a Location without a fragment has that of the URL before.
    if fragment or (fragment := urldefrag(hop.url).fragment):
        url = f"{url}#{fragment}"
    if response.url.lower().startswith("https:") and target.scheme == "http":
        raise RedirectError(f"{origin}: a redirect from https to http ({target}) is not followed")
    hop.moved = True
    if target != origin or hop.foreign:
        if method not in ("GET", "HEAD"):
            raise RedirectError(f"{origin}: a redirect of a {method} to another origin ({target}) is not followed")
        hop.prepared = _stripped(hop.prepared, method, url, hop.harmless)
        hop.foreign = True
        hop.target = target.text
        return
    hop.prepared = _moved(hop.prepared, method, url, response.status_code, origin, body)
    hop.prepared.headers.pop("Cookie", None)
    if (cookie := get_cookie_header(cookies, hop.prepared)) is not None:
        hop.prepared.headers["Cookie"] = cookie


def target_of(response: requests.Response, origin: Origin) -> tuple[str, Origin, str]:
    """The URL of `Location` without its fragment, its origin, and the fragment."""
    location = response.headers["Location"]
    try:
        if _TWO_READINGS.match(location):
            raise ValueError
        # Servers write raw UTF-8 or Latin-1 bytes here; http.client decodes all of them as Latin-1.
        location = re.sub("[\x80-\xff]", lambda byte: f"%{ord(byte[0]):02X}", location)
        if location != response.headers["Location"]:
            response.headers["Location"] = location  # requests takes UTF-8 only
        location, fragment = urldefrag(location)
        url = requote_uri(urljoin(response.url, location))
        scheme, _, rest = url.partition("://")
        authority = rest.replace("?", "/").partition("/")[0]
        _, target, _ = parse_hostname(f"{scheme}://{authority}")
        check_target(target, url)
    except (URLError, ValueError, requests.RequestException):
        pass
    else:
        return url, target, requote_uri(fragment)
    raise RedirectError(f"{origin}: a redirect to a URL that is not http or https, or has credentials in it")


def _stripped(
    prepared: requests.PreparedRequest, method: str, url: str, harmless: tuple[str, ...]
) -> requests.PreparedRequest:
    bare = requests.PreparedRequest()
    bare.prepare(method=method, url=url)
    bare.headers = CaseInsensitiveDict({name: prepared.headers[name] for name in harmless if name in prepared.headers})
    return bare


def _moved(
    prepared: requests.PreparedRequest, method: str, url: str, status: int, origin: Origin, body: Body
) -> requests.PreparedRequest:
    """The request to the new URL. As in browsers, 303 (and 302, and 301 for POST) become a GET without a body."""
    moved = prepared.copy()
    moved.prepare_url(url, None)
    if (status in (302, 303) and method != "HEAD") or (status == 301 and method == "POST"):
        moved.method = "GET"
        for name in ("Content-Length", "Content-Type", "Transfer-Encoding"):
            moved.headers.pop(name, None)
        moved.body = None
    elif prepared.body is not None:
        if not body.replayable:
            raise RedirectError(f"{origin}: {status} for a {method} whose body can be sent only once is not followed")
        moved.body = body.payload()
    return moved


def after_redirect(outcome: Outcome, hop: Hop) -> Outcome:
    """The outcome after our host responded with a redirect: another host's failure does not count against ours."""
    verdict = Verdict.NEUTRAL if hop.foreign and outcome.verdict is Verdict.FAILURE else outcome.verdict
    if isinstance(outcome.error, ConnectionError):
        outcome.error.never_sent = False
    return replace(outcome, verdict=verdict, never_sent=False, elsewhere=hop.foreign)
