"""What urllib3 and requests make of an answer, made of a plain one without their detours."""

from __future__ import annotations

import functools
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.response import BytesQueueBuffer

from sleepwalker.transport.codings import Packed
from sleepwalker.transport.head import PlainHeaders, Response

#: An answer with nothing in it: what a new one has in common with all others.
_BLANK_RAW = dict(vars(HTTPResponse(body=b"", preload_content=False, decode_content=False)))
_BLANK_ANSWER = dict(vars(requests.Response()))


class _RawHeaders(HTTPHeaderDict):
    """urllib3's headers of an answer, filled when somebody asks: requests has its own."""

    def __init__(self, pairs: Any = None) -> None:
        self._pairs = pairs

    def __getattr__(self, name: str) -> Any:
        if name != "_container":
            raise AttributeError(name)
        HTTPHeaderDict.__init__(self, self._pairs)
        return vars(self)[name]

    def __repr__(self) -> str:
        return repr(HTTPHeaderDict(self))

    def __reduce__(self) -> Any:
        return HTTPHeaderDict, (list(self.iteritems()),)


def raw_answer(pool: Any, conn: Any, response: Response, method: str, path: str) -> HTTPResponse:
    """What urllib3 makes of an answer whose body is yet to be read, and that `conn` goes back to `pool` after."""
    head = response.headers
    store = head.store if isinstance(head, PlainHeaders) else None
    length = None if store is None else store.get("content-length")
    shutdown = getattr(conn.sock, "shutdown", None)
    version = getattr(conn, "_http_vsn_str", "HTTP/?")
    if store is None or "transfer-encoding" in store or not (length is None or length[1].isdecimal()):
        return HTTPResponse(
            body=response,
            headers=HTTPHeaderDict(head.items()),
            status=response.status,
            version=response.version,
            version_string=version,
            reason=response.reason,
            preload_content=False,
            decode_content=False,
            original_response=response,
            request_method=method,
            request_url=path,
            sock_shutdown=shutdown,
            pool=pool,
            connection=conn,
        )
    raw = HTTPResponse.__new__(HTTPResponse)
    vars(raw).update(
        _BLANK_RAW,
        headers=_RawHeaders(head.items()),
        status=response.status,
        version=response.version,
        version_string=version,
        reason=response.reason,
        length_remaining=response.length,
        _fp=response,
        _original_response=response,
        _request_url=path,
        _decoded_buffer=BytesQueueBuffer(),
        _sock_shutdown=shutdown,
        _pool=pool,
        _connection=conn,
    )
    return raw


def answer(adapter: HTTPAdapter, request: requests.PreparedRequest, raw: Any) -> requests.Response:
    """What requests makes of an answer, as `HTTPAdapter.build_response` does."""
    head = raw._original_response.headers
    store = head.store if isinstance(head, PlainHeaders) else None
    if store is None or "set-cookie" in store:
        return adapter.build_response(request, raw)
    if "content-encoding" in store:
        raw.__class__ = Packed
    made = requests.Response.__new__(requests.Response)
    vars(made).update(
        _BLANK_ANSWER,
        status_code=raw.status,
        headers=_AnswerHeaders.of(store),
        encoding=_encoding(store["content-type"][1]) if "content-type" in store else None,
        raw=raw,
        reason=raw.reason,
        url=request.url,
        request=request,
        connection=adapter,
        history=[],
        cookies=_NoCookies(),
    )
    return made


class _AnswerHeaders(CaseInsensitiveDict[str]):
    """requests' own headers, of which each call asks for some ten, mostly in vain: there it takes five steps."""

    @classmethod
    def of(cls, store: dict[str, tuple[str, str]]) -> Self:
        """Headers by name in lower case, each with its name as it was written."""
        made = cls.__new__(cls)
        made._store = store.copy()  # type: ignore[assignment]
        return made

    def __contains__(self, key: Any) -> bool:
        return key.lower() in self._store

    def get(self, key: Any, default: Any = None) -> Any:
        pair = self._store.get(key.lower())
        return default if pair is None else pair[1]

    def __reduce__(self) -> Any:
        return CaseInsensitiveDict, (list(self._store.values()),)  # what is kept on disk knows nothing of us


class _NoCookies(RequestsCookieJar):
    """The jar of an answer that sets no cookies, furnished when somebody opens it."""

    def __init__(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name not in ("_cookies", "_cookies_lock", "_policy"):
            raise AttributeError(name)
        vars(self).update({**vars(RequestsCookieJar()), **vars(self)})  # a policy may have been set before
        return vars(self)[name]

    def __repr__(self) -> str:
        return repr(self.copy())

    def __reduce__(self) -> Any:
        return RequestsCookieJar, (), self.copy().__getstate__()


def read_all(raw: HTTPResponse) -> bytes:
    """A body without any coding, of which nothing was read yet: as `raw.read()`, without its detours."""
    body = raw._fp
    if type(body) is not Response or not body.came_straight or raw._fp_bytes_read:
        return raw.read()
    data = body.take_body()
    if data is not None:
        raw.release_conn()
    else:
        with raw._error_catcher():
            data = body.read()
    raw._fp_bytes_read = len(data)
    if raw.length_remaining is not None:
        raw.length_remaining -= len(data)
    return data


@functools.lru_cache(maxsize=256)
def _encoding(content_type: str) -> str | None:
    return usable_encoding(get_encoding_from_headers(CaseInsensitiveDict({"content-type": content_type})))


def usable_encoding(name: str | None) -> str | None:
    """The encoding, None where its decoder is none for a server's bytes: punycode's takes quadratic time."""
    return None if name is not None and "punycode" in name.lower() else name
