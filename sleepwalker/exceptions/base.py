"""The root of the tree, and what an error keeps of a response when it is pickled or copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict

if TYPE_CHECKING:
    from sleepwalker.attempt import Attempt

__all__ = ["PolicyError", "SleepwalkerException", "portable"]

#: Of a response's headers, those that are credentials or made from them, or a URL, which may have some in it.
_SECRET = frozenset(
    {"location"}
    | {"set-cookie", "set-cookie2", "www-authenticate", "authentication-info"}
    | {"proxy-authenticate", "proxy-authentication-info"}
)


class SleepwalkerException(Exception):
    """The base of all exceptions of sleepwalker.

    Example:
        ```python
        try:
            conn.get("/items")
        except SleepwalkerException as error:
            print(len(error.attempts), "attempts; try again in", error.retry_after, "s")
        ```
    """

    attempts: tuple[Attempt, ...] = ()
    """What was tried before this was raised; empty for a call that was rejected."""
    retry_after: float | None = None
    """Seconds after which another try makes sense, where that is known: the server said so, or a policy of ours."""


class PolicyError(SleepwalkerException, ValueError):
    """An invalid policy. `faults` lists every fault with its path, the value and what is allowed.

    Example:
        ```python
        try:
            Policy(timeout={"total": -1})
        except PolicyError as error:
            for fault in error.faults:
                print(fault)
        ```
    """

    def __init__(self, message: str = "", *, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


def portable(response: object) -> Any:
    """The response for a pickle or a copy: without cookies, challenges and hooks, and with a bare request.

    The original request had credentials in it, and its body may be a file or a generator.
    """
    if not isinstance(response, Response):
        return response
    twin = Response()
    twin.status_code, twin.reason = response.status_code, response.reason
    twin.encoding, twin.elapsed = response.encoding, response.elapsed
    twin.url = _bare(response.url)
    kept = {name: value for name, value in response.headers.items() if name.lower() not in _SECRET}
    twin.headers = CaseInsensitiveDict(kept)
    twin._content = response._content if isinstance(response._content, bytes) else b""
    twin._content_consumed = True
    if getattr(response, "undecoded", False):
        twin.undecoded = True  # type: ignore[attr-defined]
    twin.request = PreparedRequest()
    twin.request.headers = CaseInsensitiveDict()
    if response.request is not None:
        twin.request.method, twin.request.url = response.request.method, _bare(response.request.url)
    if hasattr(response, "attempts"):
        twin.attempts = response.attempts  # type: ignore[attr-defined]
        twin.__attrs__ = response.__attrs__
    return twin


def _bare(url: str | None) -> str:
    """A URL without userinfo, query and fragment."""
    scheme, mark, rest = (url or "").partition("?")[0].partition("#")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"
