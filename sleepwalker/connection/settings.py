"""The constructor arguments of a connection: checked and converted once."""

from __future__ import annotations

import math
import re
import sys
from datetime import datetime
from typing import TypeGuard

import requests

from sleepwalker.clock import Clock
from sleepwalker.engine import Isolation
from sleepwalker.policy import Policy, PoolPolicy
from sleepwalker.transport.keep_alive import AGE_JITTER
from sleepwalker.transport.url import shown_number

Timeout = float | tuple[float, float]
#: The same limit as a policy's, in seconds: the operating system cannot wait for a socket longer than about 23 days.
_LONGEST = 2_000_000
_LONGEST_REASON = 200
_WORD = re.compile(r"\S+")
#: What follows the `//` of a URL without credentials.
_HOST = re.compile(r"[\w.-]+(?::\d*)?[/?#]")
#: A year, in seconds.
_LONGEST_ISOLATION = 366 * 86_400


def check_timeout(timeout: object) -> tuple[float, float] | None:
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


def check_total(total: object) -> float:
    """The longest duration of a call, in seconds; ValueError for an invalid value."""
    if not _can_be_waited(total):
        raise ValueError(
            f"total must be a positive number of seconds, at most {_LONGEST}, not {_shown(total)}; "
            "leave it out to use the policy's timeout.total"
        )
    return float(total)


def _can_be_waited(seconds: object) -> TypeGuard[float]:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= _LONGEST


def check_wait(timeout: object) -> None:
    """The longest wait, in seconds; infinity is allowed. ValueError for an invalid value."""
    number = timeout if isinstance(timeout, int | float) and not isinstance(timeout, bool) else 0
    if not number > 0 or sys.float_info.max < number < math.inf:  # NaN is not above 0; an int may be of any size
        raise ValueError(
            f'timeout must be a positive number of seconds, or float("inf") for no bound, not {_shown(timeout)}; '
            "leave it out to use the policy's timeout.total"
        )


def _shown(value: object) -> str:
    return f"({', '.join(map(shown_number, value[:5]))})" if isinstance(value, tuple) else shown_number(value)


def check_reason(reason: object) -> str | None:
    """The reason of an isolation: a short line that can be shown anywhere, without the userinfo of URLs in it."""
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {type(reason).__name__}; leave it out to give none")
    if not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable():
        shown = f"{reason[:40]!r}{' ...' if len(reason) > 40 else ''}" if "@" not in reason else "one with an @"
        raise ValueError(
            f"reason must be one line of 1 to {_LONGEST_REASON} printable characters, not {shown}; "
            "leave it out to give none"
        )
    return _WORD.sub(_without_credentials, reason.strip())


def _without_credentials(word: re.Match[str]) -> str:
    """Replace what stands before a URL's host, up to the last @ of the word: a password may contain an @ and a slash.

    An @ in the path after a complete host, as in the URL of a chat, does not count.
    """
    text = word[0]
    last, begin = text.rfind("@"), text.find("//")
    while 0 <= begin < last:
        if _HOST.match(text, begin + 2) is None:
            return f"{text[:begin]}//***{text[last:]}"
        begin = text.find("//", begin + 2)
    return text


def check_isolation(reason: object, until: object, clock: Clock) -> Isolation:
    """An isolation with that reason, until that moment or for that many seconds."""
    reason, wall = check_reason(reason), clock.wall()
    if until is None:
        return Isolation(reason)
    seconds = _check_until(until, wall)
    if isinstance(until, datetime):
        return Isolation(reason, until.timestamp())
    return Isolation(reason, wall + seconds, clock.monotonic() + seconds)


def check_seconds(seconds: float) -> float:
    """The duration of an isolation, in seconds; ValueError for an invalid value."""
    if not 0 < seconds <= _LONGEST_ISOLATION:
        raise ValueError(f"an isolation must last more than 0 seconds and at most a year, not {seconds!r}")
    return seconds


def _check_until(until: object, wall: float) -> float:
    """In how many seconds an isolation ends; `wall` is the present, in seconds since 1970 (UTC)."""
    ways = "pass a datetime with a time zone or a number of seconds from now, or leave it out for no end"
    if isinstance(until, datetime):
        if until.utcoffset() is None:
            raise ValueError(
                f"until must have a time zone, and {until.isoformat(' ', 'seconds')} has none: "
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


def check_max_body(max_body: object) -> int:
    """A positive number of bytes; ValueError otherwise."""
    if not isinstance(max_body, int) or isinstance(max_body, bool) or max_body < 1:
        raise ValueError(f"max_body must be a positive number of bytes, not {_shown(max_body)}")
    return max_body


def check_session(session: object) -> requests.Session | None:
    """The session to send through, if one was given."""
    if session is not None and not isinstance(session, requests.Session):
        raise TypeError(f"session must be a requests.Session, not {type(session).__name__}")
    return session


def pool_for(policy: Policy) -> PoolPolicy:
    """The socket policy of a connection: no socket lives much longer than its connection, or closes long before it."""
    pool, oldest = policy.pool, policy.health.max_age
    if oldest is None or oldest >= (pool.max_age or math.inf):
        return pool
    return pool.replace(max_age=oldest / (1 - AGE_JITTER))
