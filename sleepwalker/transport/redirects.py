"""Where a redirect may lead, and what of the request goes along."""

from __future__ import annotations

import re
from functools import partial
from typing import Any
from urllib.parse import urldefrag, urljoin

import requests
from requests.cookies import get_cookie_header
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri

from sleepwalker.exceptions import RedirectError, URLError
from sleepwalker.transport.answer import SHORT, keep_body, read_chunks
from sleepwalker.transport.body import Body
from sleepwalker.transport.deadline import current_limits
from sleepwalker.transport.url import Origin, check_target, parse_hostname

#: As many as requests follows.
MAX_REDIRECTS = 30

#: What browsers and requests take for another host, and urllib.parse for a path of ours.
_TWO_READINGS = re.compile(r"[\x00-\x20]*(?:https?:)?(?:[/\\]{3}|/?\\)", re.IGNORECASE)
_STATUSES = frozenset({301, 302, 303, 307, 308})
#: The only headers that another origin gets to see.
_HARMLESS = ("Accept", "User-Agent")


class OwnSession(requests.Session):
    """A connection's own session. Most answers lead nowhere, and are not taken apart to find that out."""

    def resolve_redirects(self, resp: requests.Response, req: requests.PreparedRequest, *args: Any, **kw: Any) -> Any:
        return super().resolve_redirects(resp, req, *args, **kw) if resp.is_redirect else iter(())


class Hop:
    """The request as it goes out next."""

    __slots__ = ("foreign", "moved", "prepared", "target")

    def __init__(self, prepared: requests.PreparedRequest, target: str) -> None:
        self.prepared = prepared
        self.target = target
        """The origin that it goes to."""
        self.moved = False
        """True once our origin answered with a redirect: it got the request, whatever becomes of what follows."""
        self.foreign = False
        """True from the first hop that left the origin on: a way back may not carry credentials either."""

    @property
    def url(self) -> str:
        """Where it goes."""
        return self.prepared.url or ""


def is_redirect(response: requests.Response) -> bool:
    """Whether there is somewhere to go on to."""
    return response.status_code in _STATUSES and bool(response.headers.get("Location"))


def guard_redirects(prepared: requests.PreparedRequest, origin: Origin) -> None:
    """See each answer to `prepared` before `Session.send` does, which prepares the next request even if not asked to.

    It would read the whole body of a redirect, however long, and stumble over a `Location` that makes no sense.
    """
    hooks = prepared.hooks["response"]
    hooks.insert(0, note_answer)
    hooks.append(partial(hold_redirect, origin))


def note_answer(response: requests.Response, **_: Any) -> None:
    """Before all other hooks: from here on it is the caller's code that is at work."""
    limits = current_limits()
    if limits is not None:
        limits.answer = response
        limits.since_answer = limits.phase


def hold_redirect(origin: Origin, response: requests.Response, **_: Any) -> None:
    """Read a little of a redirect's body and no more; RedirectError where it leads nowhere that can be followed."""
    if not is_redirect(response):
        return
    limits = current_limits()
    if limits is not None:
        limits.since_answer = "over"
    if response._content is False:  # not read yet
        try:
            chunks = read_chunks(response, SHORT)[0]
        except (ChunkedEncodingError, ContentDecodingError):  # nobody needs it
            response.close()
            chunks = []
        keep_body(response, b"".join(chunks)[:SHORT])
    try:
        _target(response, origin)
    except RedirectError:
        response.close()
        raise


def next_hop(hop: Hop, response: requests.Response, origin: Origin, body: Body, cookies: Any) -> None:
    """Point `hop` at where the response leads.

    Another origin is followed for GET and HEAD only, without any header or cookie of ours. RedirectError
    for what may not be followed, which is everything from https to http.
    """
    method = hop.prepared.method or "GET"
    url, target = _target(response, origin)
    if response.url.lower().startswith("https:") and target.scheme == "http":
        raise RedirectError(f"{origin}: a redirect from https to http ({target}) is not followed")
    hop.moved = True
    if target != origin or hop.foreign:
        if method not in ("GET", "HEAD"):
            raise RedirectError(f"{origin}: a redirect of a {method} to another origin ({target}) is not followed")
        hop.prepared = _stripped(hop.prepared, method, url, origin)
        hop.foreign = True
        hop.target = target.text
        return
    hop.prepared = _moved(hop.prepared, method, url, response.status_code, origin, body)
    hop.prepared.headers.pop("Cookie", None)
    if (cookie := get_cookie_header(cookies, hop.prepared)) is not None:
        hop.prepared.headers["Cookie"] = cookie


def _target(response: requests.Response, origin: Origin) -> tuple[str, Origin]:
    """The URL that `Location` leads to, and its origin."""
    location = response.headers["Location"]
    try:
        if _TWO_READINGS.match(location):
            raise ValueError
        # Servers write UTF-8 or Latin-1 here, and mean the bytes; http.client reads all of it as Latin-1.
        location = re.sub("[\x80-\xff]", lambda byte: f"%{ord(byte[0]):02X}", location)
        if location != response.headers["Location"]:
            response.headers["Location"] = location  # requests takes UTF-8 only
        url = requote_uri(urljoin(response.url, urldefrag(location).url))
        scheme, _, rest = url.partition("://")
        authority = rest.replace("?", "/").partition("/")[0]
        _, target, _ = parse_hostname(f"{scheme}://{authority}")
        check_target(target, url)
    except (URLError, ValueError, requests.RequestException):
        pass
    else:
        return url, target
    raise RedirectError(f"{origin}: a redirect to something that is no http or https URL, or has credentials in it")


def _stripped(prepared: requests.PreparedRequest, method: str, url: str, origin: Origin) -> requests.PreparedRequest:
    bare = requests.PreparedRequest()
    bare.prepare(method=method, url=url)
    bare.headers = CaseInsensitiveDict({name: prepared.headers[name] for name in _HARMLESS if name in prepared.headers})
    guard_redirects(bare, origin)
    return bare


def _moved(
    prepared: requests.PreparedRequest, method: str, url: str, status: int, origin: Origin, body: Body
) -> requests.PreparedRequest:
    """The request at its new place. As browsers do, 303 (and 302, and 301 for POST) become a GET without a body."""
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
