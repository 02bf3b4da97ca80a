"""A cookie jar that a server cannot fill without end, nor with what cannot be sent back."""

from __future__ import annotations

from http.cookiejar import Cookie
from typing import Any

from requests.cookies import RequestsCookieJar

from sleepwalker.transport.url import NOT_IN_VALUE

#: What RFC 6265, section 6.1, asks of browsers at least, and what is kept here at most.
MAX_COOKIES = 50
MAX_SIZE = 4096


class BoundedCookieJar(RequestsCookieJar):
    """Takes no cookie larger than `MAX_SIZE` or with a control character, and no new ones above `MAX_COOKIES`."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """As in the base class, which does all its work also for an answer that sets none."""
        if response.info().get("Set-Cookie") is not None:
            super().extract_cookies(response, request)

    def __bool__(self) -> bool:
        """Whether it holds any. The base class goes through all domains to say so, at each request."""
        return bool(self._cookies) and len(self) > 0  # type: ignore[attr-defined]

    def set_cookie(self, cookie: Cookie, *args: Any, **kwargs: Any) -> Any:
        value = cookie.value or ""
        if len(cookie.name) + len(value) > MAX_SIZE or NOT_IN_VALUE.search(cookie.name + value):
            return None
        known = cookie.name in self._cookies.get(cookie.domain, {}).get(cookie.path, {})  # type: ignore[attr-defined]
        if not known and len(self) >= MAX_COOKIES:
            return None
        return super().set_cookie(cookie, *args, **kwargs)
