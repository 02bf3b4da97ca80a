"""Writes the reference page of the exceptions from the exception classes and the rules that judge them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

import requests

from sleepwalker import Policy, exceptions
from sleepwalker.engine import Verdict, answered, failed
from sleepwalker.exceptions import base, calls, services, statuses

__all__ = ["NEVER_RAISED", "page"]

Kind = type[exceptions.SleepwalkerException]

#: Those that nothing in the package raises; a test compares this with the source.
NEVER_RAISED = frozenset({"MissingServiceDef"})

#: Errors whose flags are set for each case rather than for the class; the wire tests look at each case.
_CASES = {
    "ConnectError": "yes, any method",
    "ConnectTimeout": "yes, any method",
    "ConnectionError": "yes, unless raised because the connection is closed",
    "DeadlineExceeded": "`attempt`: yes, before anything was sent (`phase` queue, connect or tls) for any method; "
    "`total`: no time is left",
    "ProxyError": "over its certificate or a 4xx: no; else yes, before anything was sent for any method",
    "TLSError": "over a certificate: no; else yes, any method",
}

#: All of them in the order in which the package defines them.
_DEFINED = [value for part in (base, calls, statuses, services) for value in vars(part).values()]

_TREE = (exceptions.__doc__ or "").split("```")[1].strip("\n")

_HEAD = f"""\
# Exceptions

<!-- Generated from the exception classes: `make reference` writes this page. -->

All are in `sleepwalker.exceptions` and at `sleepwalker` itself.
[How to handle errors](../how-to/handle-errors.md) says which to catch.

```text
{_TREE}
```

Exceptions under `ConnectionError` and `HTTPError` also derive from requests' exceptions, so `except
requests.RequestException` still catches them. All can be pickled. No text of an exception holds a credential, a header,
a query string or a body, with one exception: the text of an `HTTPError` is the server's: the `error_text` of its JSON,
or else the reason phrase of its status line.

## What each has

| exceptions | attribute | meaning |
|---|---|---|
| all | `attempts` | a tuple of [`Attempt`](connection.md#attempt), one for each send; empty if nothing was sent |
| `ConnectionError` and below | `never_sent` | True if no attempt of the call can have reached the server |
| | `retryable` | False if the same request would fail again in the same way |
| | `retry_after` | seconds after which another try makes sense; None if unknown |
| `CircuitOpenError`, `BulkheadFullError`, `RateLimitedError`, `HostIsolatedError` | `host` | the origin |
| `HostIsolatedError` | `reason`, `until` | why, and when it ends (a `datetime` in UTC), if given |
| `CircuitOpenError` | `cause` | the failure that opened the circuit: a status or an exception's name |
| `RateLimitedError` | `cause` | the status by which the server asked to wait; None if the policy's own rate limit was \
reached |
| `DeadlineExceeded` | `limit` | `attempt` or `total` |
| | `phase` | the phase of the call: queue, connect, tls, send, head, body or wait; from \
[`find`](connection-manager.md#how-long-find-waits) always wait: hooks ran too long, and nothing was sent |
| `DecodeError` | `response` | the response; None if its body was not what its Content-Encoding says |
| `DownloadError`, `ChecksumError` | `response` | what arrived; its body is not kept |
| `RedirectError` | `response` | the redirect that was not followed; its `history` has the earlier ones |
| `HTTPError` and below | `response`, `http_code`, `headers` | the response, its status and headers |
| | `json_data`, `text` | its decoded body if it is JSON (`text` is then None); else its text. \
If the body is not what its Content-Encoding says, the error's text says so, `text` is empty, and \
`response.content` is the raw body |
| | `datarep` | for a request of a [`DataRep`](services.md#datarep): a representation of `json_data`; else None |
| `PolicyError` | `faults` | every fault: path, value, what is allowed |

Other invalid arguments than URLs and policies (`timeout=0`, `verify=3`) raise plain `ValueError` or `TypeError`.
Exceptions of the caller's own auth object, body or hook are passed on unchanged.

## Connection errors

*Against the host* says whether the [breaker and the health record](../explanation/how-a-call-travels.md#verdicts)
count it. *Retried* says whether another attempt makes sense; the method, the body, the deadline and the budget may
still prevent it. Unless said otherwise, only idempotent requests are retried.

| exception | meaning | also a | against the host | retried |
|---|---|---|---|---|
"""

_STATUSES = """\

## Responses

`raise_for_status=False` returns these responses instead. A status without its own class raises `ClientHTTPError` or
`ServerHTTPError`. *Retried* is for the policy `standard` ([`retry.statuses`](policies.md#retry)), for idempotent
requests.

| status | exception | meaning | against the host | retried |
|---|---|---|---|---|
"""

_OTHERS = """\

## Others

| exception | meaning | also a |
|---|---|---|
"""

_LATER = """\

Nothing raises these. They are there for `except` clauses that were written for version 2.0:

| exception | meaning |
|---|---|
"""


def page() -> str:
    """The page `docs/reference/exceptions.md`. Raises `LookupError` for an exception that no table would have."""
    kinds = [getattr(exceptions, name) for name in exceptions.__all__]
    now = [kind for kind in kinds if kind.__name__ not in NEVER_RAISED]
    later = [kind for kind in kinds if kind.__name__ in NEVER_RAISED]
    connection = [kind for kind in now if issubclass(kind, exceptions.ConnectionError)]
    by_status = {kind: status for status, kind in exceptions.HTTPError.code_map.items()}
    others = [kind for kind in now if kind not in connection and kind not in by_status]
    return "".join(
        [
            _HEAD,
            *_rows(map(_connection_row, _in_tree_order(connection))),
            _STATUSES,
            *_rows(_status_row(kind, status) for kind, status in sorted(by_status.items(), key=lambda pair: pair[1])),
            _OTHERS,
            *_rows((_name(kind), _meaning(kind), _bases(kind)) for kind in _in_tree_order(others)),
            _LATER,
            *_rows((_name(kind), _meaning(kind)) for kind in _in_tree_order(later)),
        ]
    )


def _rows(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    return (f"| {' | '.join(cells)} |\n" for cells in rows)


def _connection_row(kind: Kind) -> tuple[str, ...]:
    outcome = failed(kind())
    against = {Verdict.FAILURE: "yes", Verdict.SUCCESS: "no, it answered", Verdict.NEUTRAL: "no"}[outcome.verdict]
    retried = _CASES.get(kind.__name__) or ("yes" if outcome.retryable else "no")
    return _name(kind), _meaning(kind), _bases(kind), against, retried


def _status_row(kind: Kind, status: int) -> tuple[str, ...]:
    verdict = answered(status, None, None).verdict
    against = {Verdict.FAILURE: "yes", Verdict.SUCCESS: "no, it answered", Verdict.NEUTRAL: "no"}[verdict]
    retry = Policy().retry
    retried = "yes" if retry is not None and status in retry.statuses else "no"
    return str(status), _name(kind), _meaning(kind).partition(": ")[2], against, retried


def _in_tree_order(kinds: Iterable[Kind]) -> list[Kind]:
    """As the tree is drawn in the package: by definition, which puts parents first."""
    return sorted(kinds, key=_DEFINED.index)


def _name(kind: Kind) -> str:
    return f"`{kind.__name__}`"


def _meaning(kind: Kind) -> str:
    """The first paragraph of the docstring."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    if not text:
        raise LookupError(f"{kind.__name__} has no docstring")
    return " ".join(text.split())


def _bases(kind: Kind) -> str:
    """What else catches it: the nearest of ours above it, requests' classes and Python's own."""
    bases = [base for base in kind.__bases__ if base.__module__.partition(".")[0] != "sleepwalker"]
    shown = [base for base in kind.__mro__[1:] if not base.__name__.startswith("_") and _is_ours(base)][:1] + bases
    return ", ".join(f"`{_qualified(base)}`" for base in shown if base is not Exception)


def _is_ours(base: type) -> bool:
    return base.__module__.partition(".")[0] == "sleepwalker"


def _qualified(base: type) -> str:
    """As users write it: requests hands most of its exceptions on at the top, but not all."""
    if base.__module__ != "requests.exceptions":
        return base.__name__
    return f"requests.{base.__name__}" if hasattr(requests, base.__name__) else f"requests.exceptions.{base.__name__}"
