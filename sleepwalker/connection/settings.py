"""A connection's constructor arguments, checked and worked out once."""

from __future__ import annotations

import math
import os
import sys
from datetime import datetime
from typing import Any

import requests

from sleepwalker.clock import Clock
from sleepwalker.engine.isolation import Isolation
from sleepwalker.policy import Policy
from sleepwalker.transport.url import shown_number

Timeout = float | tuple[float, float]
#: As long as a policy's: more than about 23 days the operating system cannot wait for a socket. In seconds.
_LONGEST = 2_000_000
_LONGEST_REASON = 200
#: A year, in seconds.
_LONGEST_ISOLATION = 366 * 86_400


def load_policy(policy: Any) -> Policy:
    """A `Policy` from itself, the name of a shipped one, or the path of a TOML file."""
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, str | os.PathLike):
        return Policy.load(policy)
    raise TypeError(
        f"policy must be a Policy, the name of a shipped one ({', '.join(Policy.names())}) or the path of a TOML file, "
        f"not {type(policy).__name__}"
    )


def check_timeout(timeout: Any) -> tuple[float, float] | None:
    """`(connect, read)` in seconds from a float (which sets both, as in requests) or a pair; ValueError otherwise."""
    if timeout is None:
        return None
    parts = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    if len(parts) != 2 or not all(map(_can_be_waited, parts)):
        raise ValueError(
            f"timeout must be a positive number of seconds, at most {_LONGEST}, or a tuple (connect, read) of two, "
            f"not {_shown(timeout)}; leave it out to use the policy's"
        )
    return float(parts[0]), float(parts[1])


def check_total(total: Any) -> float:
    """The most that a call may take, in seconds; ValueError for what cannot be."""
    if not _can_be_waited(total):
        raise ValueError(
            f"total must be a positive number of seconds, at most {_LONGEST}, not {_shown(total)}; "
            "leave it out to use the policy's timeout.total"
        )
    return float(total)


def _can_be_waited(seconds: Any) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= _LONGEST


def check_wait(timeout: Any) -> None:
    """How long to wait, in seconds, for ever included; ValueError otherwise."""
    fits = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
    if not fits or sys.float_info.max < timeout < math.inf:  # whole numbers may be as large as they like
        raise ValueError(
            f'timeout must be a positive number of seconds, or float("inf") for no bound, not {_shown(timeout)}; '
            "leave it out to use the policy's timeout.total"
        )


def _shown(value: Any) -> str:
    return f"({', '.join(map(shown_number, value[:5]))})" if isinstance(value, tuple) else shown_number(value)


def check_reason(reason: Any) -> str | None:
    """Why a host is isolated: a short line of text that can be shown anywhere."""
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {type(reason).__name__}; leave it out to give none")
    if not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable():
        shown = f"{reason[:40]!r}{' ...' if len(reason) > 40 else ''}"
        raise ValueError(
            f"reason must be one line of 1 to {_LONGEST_REASON} printable characters, not {shown}; "
            "leave it out to give none"
        )
    return reason.strip()


def check_isolation(reason: Any, until: Any, clock: Clock) -> Isolation:
    """An isolation for that reason, and until that moment, or for so many seconds."""
    reason, wall = check_reason(reason), clock.wall()
    if until is None:
        return Isolation(reason)
    seconds = _check_until(until, wall)
    if isinstance(until, datetime):
        return Isolation(reason, until.timestamp())
    return Isolation(reason, wall + seconds, clock.monotonic() + seconds)


def _check_until(until: Any, wall: float) -> float:
    """In how many seconds an isolation ends; `wall` is the present, in seconds since 1970 (UTC)."""
    ways = "pass a datetime with a time zone or a number of seconds from now, or leave it out for no end"
    if isinstance(until, datetime):
        if until.utcoffset() is None:
            raise ValueError(
                f"until must say which time zone it is in, as {until.isoformat(' ', 'seconds')} does not: "
                "pass until.astimezone() if it is this machine's local time, or until.replace(tzinfo=...)"
            )
        seconds, shown = until.timestamp() - wall, until.isoformat(" ", "seconds")
    elif isinstance(until, int | float) and not isinstance(until, bool):
        seconds, shown = until, f"{shown_number(until)} s from now"
    else:
        raise TypeError(f"until must be a datetime or a number, not {type(until).__name__}; {ways}")
    if not 0 < seconds <= _LONGEST_ISOLATION:
        raise ValueError(f"until must be in the future, and within a year, not {shown}; {ways}")
    return float(seconds)


def check_max_body(max_body: Any) -> int:
    """A positive number of bytes; ValueError otherwise."""
    if not isinstance(max_body, int) or isinstance(max_body, bool) or max_body < 1:
        raise ValueError(f"max_body must be a positive number of bytes, not {_shown(max_body)}")
    return max_body


def check_session(session: Any) -> requests.Session | None:
    """A session to send through, if one was given."""
    if session is not None and not isinstance(session, requests.Session):
        raise TypeError(f"session must be a requests.Session, not {type(session).__name__}")
    return session
