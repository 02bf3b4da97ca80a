"""Reads a call of a foreign connection object: its request, its response, or its exception."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests

from sleepwalker.engine import CompiledPolicy, Host, Outcome, Request, Send, Verdict, answered, asked_wait, failed
from sleepwalker.transport.error_context import ErrorContext, Phase
from sleepwalker.transport.errors import translate
from sleepwalker.transport.url import safe_path

VERBS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})
#: The methods that send a request; a program may name more.
REQUEST_METHODS = VERBS | {"request", "json_request"}
#: How deep values are searched for parts that cannot be read twice.
_DEPTH = 4
#: How many exceptions in a chain of causes are searched for a status.
_MOST_CAUSES = 4

#: The names of the status in responses: those of requests and httpx, and those of http.client, urllib3 and aiohttp.
_OF_A_RESPONSE = ("status_code", "status")
#: Additional names in exceptions: version 2.0's, OpenStack's and Stripe's, and those of urllib and Tornado.
_OF_AN_ERROR = (*_OF_A_RESPONSE, "http_code", "http_status", "code")

#: The errors of httpx by name, because it may not be installed: the equivalent in requests, and the phase.
_HTTPX = ("httpx", "httpx2")
_OF_HTTPX: dict[str, tuple[type[requests.RequestException], Phase | None]] = {
    "ConnectError": (requests.exceptions.ChunkedEncodingError, "connect"),
    "ConnectTimeout": (requests.ConnectTimeout, "connect"),
    "NetworkError": (requests.exceptions.ChunkedEncodingError, None),
    "ProxyError": (requests.exceptions.ProxyError, None),
    "ReadTimeout": (requests.ReadTimeout, None),
    "RemoteProtocolError": (requests.exceptions.ChunkedEncodingError, None),
    "WriteTimeout": (requests.ReadTimeout, None),
}

Translate = Callable[[Exception, ErrorContext], Exception]


class Raised:
    """Stands for a response: the object's own exception. Its text is not trusted, so no record keeps it."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error: Exception = error


def outcome_of_value(value: Any, failures: frozenset[int], wall: Callable[[], float]) -> Outcome:
    """The outcome for a method's return value: a success if it has no status under a name that known libraries use.

    Args:
        value: Kept in the outcome.
        failures: The statuses that are failures of the host.
        wall: Returns the present, in seconds since 1970 (UTC). Dates count from it.
    """
    status = _status(value)
    if status is None:
        return Outcome(Verdict.SUCCESS, response=value)
    return answered(status, value, _asked_wait(status, value, wall), failures)


def outcome_of_error(
    error: Exception,
    handled: BaseException | None,
    host: Host,
    compiled: CompiledPolicy,
    wall: Callable[[], float],
    translate: Translate = translate,
) -> Outcome:
    """The outcome for an exception of a method, raised while `handled` was being handled.

    The outcome holds the exception as a `Raised`. `translate` knows the errors of the libraries that such objects use.
    """
    status, teller = _told_by(error)
    if status is not None:  # the server did answer
        return answered(status, Raised(error), _asked_wait(status, teller, wall), host.failures)
    if isinstance(error, OSError) and error.filename is not None:  # about a file here, not about the host
        return Outcome(Verdict.NEUTRAL, error=error)
    known, phase = _as_of_requests(error)
    if _refused(error):
        phase = "connect"
    context = ErrorContext(
        host.origin, phase, False, "attempt", compiled.attempt, compiled.connect, compiled.read, handled
    )
    told = failed(translate(known, context))
    return Outcome(
        told.verdict,
        error=told.error,
        response=Raised(error),
        retryable=told.retryable,
        never_sent=told.never_sent,
    )


def outcome_of_deadline(
    error: TimeoutError, step: Send, host: Host, compiled: CompiledPolicy, handled: BaseException | None
) -> Outcome:
    """The outcome of a method that was cancelled with this error because its attempt ran out of time."""
    context = ErrorContext(
        host.origin, "head", True, step.limit, step.seconds, compiled.connect, compiled.read, handled
    )
    return failed(translate(error, context))


def request_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], compiled: CompiledPolicy) -> Request:
    """The request as the policies need it, read from the usual signatures of such methods."""
    if name in VERBS:
        method, uri = name.upper(), kwargs.get("uri", kwargs.get("url", args[0] if args else ""))
    elif name in REQUEST_METHODS:
        given = [*args, "", ""] if "method" not in kwargs else [kwargs["method"], *args, ""]
        method, uri = given[0], kwargs.get("uri", kwargs.get("url", given[1]))
        method = method.upper() if isinstance(method, str) else ""
    else:
        method, uri = name, ""
    # Only an argument named headers counts: a body may have a member of that name.
    given = [kwargs.get("headers"), kwargs.get("extra_headers")]
    names = [header for headers in given if isinstance(headers, Mapping) for header in headers]
    keyed = any(isinstance(header, str) and header.lower() == "idempotency-key" for header in names)
    once = read_once([*args, *kwargs.values()])
    return Request(
        method, safe_path(uri if isinstance(uri, str) else ""), keyed or method in compiled.methods, not once
    )


def read_once(value: Any, depth: int = _DEPTH) -> bool:
    """Whether an argument can be read only once (an iterator or an open file), so that a retry would find it empty."""
    if value is None or isinstance(value, str | bytes | int | float):
        return False
    if isinstance(value, Mapping):
        return depth > 0 and any(read_once(item, depth - 1) for item in value.values())
    if isinstance(value, list | tuple):
        return depth > 0 and any(read_once(item, depth - 1) for item in value)
    return isinstance(value, Iterator) or hasattr(value, "read")


def _as_of_requests(error: Exception) -> tuple[Exception, Phase | None]:
    """For an error of httpx: the error of requests that means the same, with it as the cause, and the phase, if known.

    Any other error is returned as it is, including those of httpx that say nothing about a host, such as for an invalid
    URL.
    """
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] in _HTTPX and (known := _OF_HTTPX.get(kind.__name__)) is not None:
            stands_in = known[0]()
            stands_in.__cause__ = error
            return stands_in, known[1]
    return error, None


def _refused(error: Exception) -> bool:
    """Whether the connection was refused, by the standard library's error: itself, its cause or, in urllib, its reason.

    Its `__context__` does not count: the object may have tried another server since.
    """
    return any(
        isinstance(link, ConnectionRefusedError) for link in (error, error.__cause__, attribute_of(error, "reason"))
    )


def _status(thing: Any, names: tuple[str, ...] = _OF_A_RESPONSE) -> int | None:
    """The HTTP status of a response, by the names that the known libraries give it."""
    return next(filter(None, (_as_status(attribute_of(thing, name)) for name in names)), None)


def _as_status(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and 100 <= value <= 599 else None


def _told_by(error: BaseException) -> tuple[int | None, Any]:
    """The status that an exception, or a cause of it, carries; and the object that may have the headers.

    Its `__context__` does not count, as for a refused connection.
    """
    link: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if link is None:
            break
        response = attribute_of(link, "response")
        if isinstance(response, Mapping):  # botocore's
            with contextlib.suppress(Exception):
                if (status := _as_status(response["ResponseMetadata"]["HTTPStatusCode"])) is not None:
                    return status, None
        if (status := _status(response)) is not None:
            return status, response
        if (status := _status(link, _OF_AN_ERROR)) is not None:
            return status, link
        link = link.__cause__
    return None, None


def _header(headers: Any, name: str) -> str | None:
    """The text of a header, also of a plain dict that has its name in small letters, or a number in it."""
    value = None
    with contextlib.suppress(Exception):  # the object may treat headers in its own way
        value = headers.get(name)
        if value is None:
            value = headers.get(name.lower())
    if type(value) in (int, float):
        return str(value)
    return value if isinstance(value, str) else None


def attribute_of(thing: Any, name: str) -> Any:
    """An attribute of a foreign object. None if it is missing or reading it fails.

    Such a failure must not hide the error that is being examined: httpx raises RuntimeError when its error has no
    request.
    """
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001
        return None


def _asked_wait(status: int, teller: Any, wall: Callable[[], float]) -> float | None:
    return asked_wait(status, functools.partial(_header, attribute_of(teller, "headers")), wall)
