"""The facts of an exchange that the translation of its error needs, and the form of the translation's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sleepwalker.exceptions import ConnectionError

Phase = Literal["queue", "connect", "tls", "send", "head", "body", "wait"]
_BEFORE_SENDING = ("queue", "connect", "tls")
#: What a call was doing in each phase, in words.
DOING: dict[Phase, str] = {
    "queue": "before it was sent",
    "connect": "connecting",
    "tls": "during the TLS handshake",
    "send": "sending the request",
    "head": "waiting for the response",
    "body": "reading the body",
    "wait": "waiting to retry",
}


@dataclass(slots=True)
class ErrorContext:
    """Where and when an error happened."""

    origin: str
    phase: Phase | None
    """None if the request went through another adapter than ours."""
    deadline_hit: bool
    limit: Any
    """Which deadline applied: attempt or total."""
    seconds: float
    """How long that deadline is."""
    connect: float
    read: float
    handled: BaseException | None = None
    """The exception that the caller was handling, as a fallback does. Python makes it the context of each error raised
    meanwhile, but it is not a part of them."""
    proxy: str | None = None
    """Host and port of the proxy on the way."""
    at_proxy: bool = False
    """Whether the proxy was being connected to, or asked for a tunnel."""
    first: bool = False
    """Whether the socket was a new one, which had brought no response."""

    @property
    def unsent(self) -> bool:
        """Whether the request was provably not sent."""
        return self.phase in _BEFORE_SENDING


Maker = Callable[[BaseException, ErrorContext], ConnectionError]


#: Gets the error that broke a streamed body, the exception that its reader was handling (or None), and whether the
#: deadline for the whole body ran out. Returns the error to raise.
OnBreak = Callable[[Exception, BaseException | None, bool], BaseException]


class Table(NamedTuple):
    """How to translate the errors of one HTTP library."""

    exchange: tuple[type[BaseException], ...]
    """The library's errors that are about an exchange."""
    rules: tuple[tuple[tuple[type[BaseException], ...], Maker], ...]
    """The first rule that matches any error of the chain makes the new one, so the most specific come first."""
