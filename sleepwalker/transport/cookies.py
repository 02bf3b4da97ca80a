"""A cookie jar with a limit, and `Set-Cookie` lines in the form that http.cookiejar reads as browsers do."""

from __future__ import annotations

import re
import threading
from http.client import HTTPMessage
from http.cookiejar import Cookie, CookiePolicy, request_host  # type: ignore[attr-defined]
from typing import Any

import requests
from requests.cookies import MockRequest, RequestsCookieJar

from sleepwalker.transport.plain_headers import PlainHeaders
from sleepwalker.transport.url import NOT_IN_VALUE

#: The least that RFC 6265, section 6.1, asks of browsers; the most that is kept here.
MAX_COOKIES = 50
MAX_SIZE = 4096

#: Values of Max-Age that http.cookiejar can use. For others it drops the cookie, or all cookies of the response.
_seconds = re.compile(r"-?[0-9]{1,18}").fullmatch


def without_odd_attributes(message: HTTPMessage, request: requests.PreparedRequest) -> HTTPMessage:
    """The head of the response to `request`, with `Set-Cookie` lines that http.cookiejar can use.

    RFC 6265, section 5.2, ignores an attribute without a usable value; http.cookiejar ignores the whole cookie. And it
    stores a cookie with `Domain=localhost`, or another host without subdomains, where it does not look for it again.
    Such attributes are removed. Without a domain the cookie is for exactly this host, as section 5.3 says.
    """
    given, host = message.items(), request_host(MockRequest(request)).strip("[]")
    pairs = [(name, _plain_cookie(text, host) if name.lower() == "set-cookie" else text) for name, text in given]
    return message if pairs == given else PlainHeaders(pairs)


def _plain_cookie(text: str, host: str) -> str:
    first, *attributes = text.split(";")
    kept = [attribute for attribute in attributes if _is_usable(*_halves(attribute), host)]
    return text if len(kept) == len(attributes) else ";".join([first, *kept])


def _halves(attribute: str) -> tuple[str, str]:
    name, _, value = attribute.partition("=")
    return name.strip().lower(), value.strip()


def _is_usable(name: str, value: str, host: str) -> bool:
    if name == "domain":
        domain = value.removeprefix(".").lower()
        return domain != "" and (domain.strip("[]") != host or _has_hosts_below(domain))
    if name == "max-age":
        return _seconds(value) is not None
    return name != "path" or value != ""


def _has_hosts_below(domain: str) -> bool:
    """Whether the domain can have subdomains: an address and `localhost` cannot."""
    return "." in domain and ":" not in domain and not domain.replace(".", "").isdigit()


class _Lock:
    """The lock of a jar, which is taken by `with lock.mutex`.

    http.cookiejar calls `acquire` before its `try`. If a signal handler raised between the two, the lock would stay
    taken, and the calls of all other threads would hang.
    """

    def __init__(self) -> None:
        self.mutex = threading.RLock()

    def acquire(self) -> None:
        """Nothing to do."""

    def release(self) -> None:
        """Nothing to do."""

    def __enter__(self) -> None:
        """Nothing to do; a release of Python may take the lock this way."""

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""


class BoundedCookieJar(RequestsCookieJar):
    """Takes no cookie larger than `MAX_SIZE` or with a control character, and no new ones above `MAX_COOKIES`."""

    _cookies_lock: _Lock  # type: ignore[assignment]

    def __init__(self, policy: CookiePolicy | None = None) -> None:
        super().__init__(policy)
        self.renew_lock()

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.renew_lock()

    def renew_lock(self) -> None:
        """Use a lock that is free."""
        self._cookies_lock = _Lock()

    def add_cookie_header(self, request: Any) -> None:
        with self._cookies_lock.mutex:
            super().add_cookie_header(request)

    def extract_cookies(self, response: Any, request: Any) -> None:
        """As in the base class, but at once for a response without cookies."""
        if response.info().get("Set-Cookie") is not None:
            with self._cookies_lock.mutex:
                super().extract_cookies(response, request)

    def clear(self, domain: str | None = None, path: str | None = None, name: str | None = None) -> None:
        with self._cookies_lock.mutex:
            super().clear(domain, path, name)

    def clear_session_cookies(self) -> None:
        with self._cookies_lock.mutex:
            super().clear_session_cookies()

    def clear_expired_cookies(self) -> None:
        with self._cookies_lock.mutex:
            super().clear_expired_cookies()

    def __bool__(self) -> bool:
        """Whether it holds any. The base class goes through all domains, at each request."""
        return bool(self._cookies) and len(self) > 0  # type: ignore[attr-defined]

    def set_cookie(self, cookie: Cookie, *args: Any, **kwargs: Any) -> Any:
        value = cookie.value or ""
        if len(cookie.name) + len(value) > MAX_SIZE or NOT_IN_VALUE.search(cookie.name + value):
            return None
        with self._cookies_lock.mutex:
            known = cookie.name in self._cookies.get(cookie.domain, {}).get(cookie.path, {})  # type: ignore[attr-defined]
            if not known and len(self) >= MAX_COOKIES:
                return None
            return super().set_cookie(cookie, *args, **kwargs)
