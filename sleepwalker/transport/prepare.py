"""Makes a checked request, without its body, from the arguments of a call."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import requests
from requests.cookies import get_cookie_header

from sleepwalker.exceptions import URLError
from sleepwalker.transport.body import NO_BODY, Body, Fixed, prepare_body
from sleepwalker.transport.headers import Fields, Headers, headers_of, merged, store_of
from sleepwalker.transport.url import Origin, plain_path, resolve

#: The usual methods, accepted at once; others are accepted as well.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
#: How many requests are remembered, and the most characters of their URIs.
_MOST, _LONGEST = 256, 200
_TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

_NOT_IN_URLS = re.compile(r"[^!-~]+")
_CODING = "Transfer-Encoding"


def check_method(method: Any) -> str:
    """`method` in upper case, as requests sends it; URLError if it is not a token."""
    if isinstance(method, str) and method in METHODS:
        return str(method)
    if not isinstance(method, str) or not method or not _TOKEN_CHARACTERS.issuperset(method):
        raise URLError(f"method must be a word such as 'GET', not {method!r:.40}")
    return method.upper()


def mend(prepared: requests.PreparedRequest) -> None:
    """Correct a request that an auth object, or its hook, may have changed, so that it can be sent.

    Characters that a URL may not contain are percent-encoded, and a body without a length is sent in chunks: on the
    blocking side urllib3 and requests do that. URLError if the method is not a token.
    """
    if prepared.method not in METHODS:
        check_method(prepared.method)
    url = prepared.url or ""
    if _NOT_IN_URLS.search(url):
        prepared.url = _NOT_IN_URLS.sub(lambda match: quote(match[0]), url)
    headers = prepared.headers
    if not isinstance(prepared.body, bytes | str | None) and not ("Content-Length" in headers or _CODING in headers):
        headers[_CODING] = "chunked"


class Base(NamedTuple):
    """What all requests of a connection start from."""

    session: requests.Session
    hostname: str
    """The base that URIs are joined to, as given."""
    prefix: str
    """What requests would write before a path."""
    origin: Origin
    awaits: bool
    """Whether bodies may be asynchronous."""


class Content(Protocol):
    """The options of a call that go into the request."""

    @property
    def params(self) -> Any:
        """The call's own parameters, besides the session's."""

    @property
    def data(self) -> Any:
        """A body, or the fields of a form."""

    @property
    def files(self) -> Any:
        """Files to upload."""

    @property
    def json_bytes(self) -> bytes | None:
        """A body that is JSON."""


def prepare(
    base: Base, method: str, uri: str, content: Content, headers: tuple[Headers | None, ...]
) -> tuple[requests.PreparedRequest, Body]:
    """A request to this origin, and its body. `headers` are the connection's and the call's.

    Does what `requests.Session.prepare_request` does, apart from credentials, and skips most of it for a URI that needs
    no quoting and a session without cookies.
    """
    session, hostname, prefix, origin, _ = base
    params = content.params
    prepared = requests.PreparedRequest()
    prepared.method = method
    if params or session.params:
        _put_url(prepared, resolve(origin, hostname, uri), session.params, params)
    elif plain_path(uri):
        prepared.url = prefix + uri
    else:
        prepared.prepare_url(resolve(origin, hostname, uri), None)
    prepared.headers = all_headers = merged(session.headers, *headers)
    body = prepare_body(prepared, content.data, content.files, content.json_bytes, awaits=base.awaits)
    store = store_of(all_headers)
    told: MutableMapping[str, Any] = all_headers if store is None else store
    if body is NO_BODY or (isinstance(body, Fixed) and not body.payload()):
        # There is no body. With these headers of the caller's, a server would wait for one, or misread what follows.
        told.pop("content-length", None)
        told.pop("transfer-encoding", None)
    elif "content-length" in told:
        told.pop("transfer-encoding", None)  # the caller's: with both, servers differ in which one they use
    if "content-length" not in told and "transfer-encoding" not in told and method not in ("GET", "HEAD"):
        all_headers["Content-Length"] = "0"
    if "cookie" not in told and session.cookies and (cookie := get_cookie_header(session.cookies, prepared)):
        all_headers["Cookie"] = cookie
    if hasattr(prepared, "_cookies"):
        prepared._cookies = session.cookies  # what digest auth and redirects start from
    else:
        prepared.prepare_cookies(session.cookies)
    if session.hooks and any(session.hooks.values()):  # None is fine with requests
        prepared.prepare_hooks(session.hooks)
    return prepared, body


class Remembered:
    """Remembers a connection's requests that were made from a method and a URI alone, for the next equal ones.

    Only for a session that nothing but the connection can see: then all else in a request, except cookies, is always
    the same. `kind` is None, or the call's own headers if these are one mapping that never changes.
    """

    __slots__ = ("_headers", "_made", "_session")

    def __init__(self, session: requests.Session) -> None:
        self._session = session
        self._headers: Headers | None = None
        self._made: dict[tuple[str, str, bool], tuple[dict[str, Any], Fields]] = {}

    def request(self, method: str, uri: str, headers: Headers, kind: Headers | None) -> requests.PreparedRequest | None:
        """A request as `prepare` makes it of the connection's headers and `kind`; None if no equal one is known."""
        if headers is not self._headers:  # they were added to
            self._headers, self._made = headers, {}
            return None
        known = self._made.get((method, uri, kind is None)) if uri.__class__ is str else None
        if known is None or self._session.cookies:
            return None
        made = requests.PreparedRequest.__new__(requests.PreparedRequest)
        own = made.__dict__
        own.update(known[0])
        own["headers"], own["hooks"] = headers_of(known[1]), {"response": []}
        return made

    def keep(self, method: str, uri: str, prepared: requests.PreparedRequest, kind: Headers | None) -> None:
        """Remember a request that `prepare` made. One with a query is not: it may hold a secret."""
        store = store_of(prepared.headers)
        if store is None or uri.__class__ is not str or "?" in uri or len(uri) > _LONGEST or self._session.cookies:
            return
        if len(self._made) >= _MOST:
            self._made = {}
        if prepared.hooks == {"response": []}:
            self._made[method, uri, kind is None] = (dict(vars(prepared)), dict(store))


def _put_url(prepared: requests.PreparedRequest, url: str, common: Any, params: Any) -> None:
    try:
        prepared.prepare_url(url, _merged_params(common, params))
        return
    except (TypeError, ValueError) as error:
        kind = URLError if isinstance(error, ValueError) else TypeError
    # Raised here, outside of `except`, because the original text may quote a value.
    raise kind("params must be a mapping, pairs or text, with values that UTF-8 can hold")


def _merged_params(common: Any, params: Any) -> Any:
    """The session's parameters and the call's, which win."""
    if not common or not isinstance(common, Mapping):  # as in requests
        return params
    if isinstance(params, Mapping):
        both = {**common, **params}
        return {name: value for name, value in both.items() if value is not None}
    return [*common.items(), *(params or [])] if not isinstance(params, str | bytes) else params
