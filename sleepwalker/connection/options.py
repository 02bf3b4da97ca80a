"""The options of a call: checked once on entry, then passed on as one value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple, TypedDict

from sleepwalker.connection.arguments import AsyncBody, Body, Files, HeaderValues, Params, Path
from sleepwalker.connection.retry_if import RetryIf, check_retry_if
from sleepwalker.connection.settings import Timeout, check_timeout, check_total
from sleepwalker.hosts.policies import load_policy
from sleepwalker.policy import Policy
from sleepwalker.transport.headers import Headers, checked_headers


class _Options(TypedDict, total=False):
    params: Params | None
    json: object
    files: Files | None
    headers: HeaderValues | None
    timeout: Timeout | None
    policy: Policy | Path | None
    total: float | None
    total_covers_body: bool
    retry_if: RetryIf | None
    idempotent: bool | None
    raise_for_status: bool


class RequestOptions(_Options, total=False):
    """The keyword arguments of `Connection.request` and its verbs, as callers pass them."""

    data: Body | None
    stream: bool


class AsyncRequestOptions(_Options, total=False):
    """The keyword arguments of `AsyncConnection.request` and its verbs."""

    data: AsyncBody | None


#: What `checked_options` takes.
_KNOWN = frozenset({*_Options.__annotations__, "data", "stream"})


class CallOptions(NamedTuple):
    """The checked options of one call. A tuple, because each call makes one and a tuple is the fastest to make."""

    params: Params | None = None
    data: AsyncBody | None = None
    json_bytes: bytes | None = None
    """The encoded body of `json=`."""
    files: Files | None = None
    headers: Headers | None = None
    """The call's own, besides the connection's."""
    timeout: tuple[float, float] | None = None
    """Seconds to connect, and to wait for each next byte; None for the policy's."""
    stream: bool = False
    policy: Policy | None = None
    """The call's own; None for the connection's."""
    total: float | None = None
    """Seconds that the whole call may take; None for the policy's."""
    total_covers_body: bool = False
    """Whether that bounds the body of a stream, too."""
    retry_if: RetryIf | None = None
    idempotent: bool | None = None
    """Whether the request may be sent twice once it may have been processed; None if its method decides."""
    raise_for_status: bool = True
    max_body: int | None = None
    """Bytes of decoded body above which a response is refused; None for no limit."""


#: The options of a call without arguments.
_USUAL = CallOptions()


def checked_options(
    given: RequestOptions | AsyncRequestOptions, encoder: json.JSONEncoder, *, awaits: bool = False
) -> CallOptions:
    """Check a caller's keyword arguments; `encoder` makes the body of `json`.

    If the call `awaits`, the names are checked as well, and `stream` is refused because it is a separate method.

    Raises TypeError, ValueError, URLError or PolicyError for an invalid argument. Each error names the argument, the
    value and what is allowed.
    """
    if not given:
        return _USUAL
    if awaits and ("stream" in given or not _KNOWN.issuperset(given)):
        _refuse_names(given)
    body, headers, policy, total = given.get("json"), given.get("headers"), given.get("policy"), given.get("total")
    return CallOptions(
        given.get("params"),
        given.get("data"),
        None if body is None else encoder.encode(body).encode(),
        given.get("files"),
        checked_headers(headers) if headers else None,
        check_timeout(given.get("timeout")),
        bool(given.get("stream", False)),
        None if policy is None else load_policy(policy),
        None if total is None else check_total(total),
        given.get("total_covers_body", False),
        check_retry_if(given.get("retry_if")),
        given.get("idempotent"),
        given.get("raise_for_status", True),
    )


def _refuse_names(given: Mapping[str, object]) -> None:
    """TypeError for arguments that an asyncio call does not have; `stream=False` is ignored."""
    if given.get("stream"):
        raise TypeError('stream: use `async with conn.stream("GET", uri) as response`, and read response.aiter_bytes()')
    unknown = sorted(given.keys() - _KNOWN)
    if unknown:
        known = ", ".join(sorted(_KNOWN - {"stream"}))
        raise TypeError(f"{unknown[0]!r} is not an argument of a request; arguments are {known}")
