"""A request that each attempt can send, and the first hop of an attempt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import requests

from sleepwalker.transport.addresses import Peer
from sleepwalker.transport.body import Body
from sleepwalker.transport.credentials import Auth
from sleepwalker.transport.digest import guard_challenges
from sleepwalker.transport.redirects import HARMLESS, Hop
from sleepwalker.transport.url import Origin


class UsedSockets(Protocol):
    """What an attempt, under way or over, knows of its sockets."""

    peer: Peer | None
    """The other end of the latest one."""

    def release(self) -> None:
        """Close all that were not given back. Calling it twice does no harm."""
        ...


@dataclass(slots=True)
class OutgoingRequest:
    """A prepared request, and how to read its response."""

    prepared: requests.PreparedRequest
    """Without its body, which each attempt adds."""
    body: Body
    auth: Auth | None
    """Applied to each attempt, since some sign the time or the body."""
    stream: bool
    max_body: int | None
    """Bytes of decoded body above which a response is refused; None for no limit."""
    raise_for_status: bool
    failures: frozenset[int]
    """The statuses that count as failures of the host."""
    deadline_header: str | None = None
    """The header that tells the server how many seconds are left; None for none."""
    body_ends_at: float | None = None
    """When the whole body of a stream must be read, on the connection's clock; None for no such time."""
    harmless: tuple[str, ...] = HARMLESS
    """The headers that a redirect to another origin takes along."""
    deadlines: tuple[UsedSockets, ...] = ()
    """The deadlines of its attempts, which know the sockets that were used."""

    def copy(self) -> OutgoingRequest:
        """A copy for a concurrent attempt: attempts change their request."""
        prepared = self.prepared.copy()
        prepared.hooks = {event: list(hooks) for event, hooks in prepared.hooks.items()}
        return replace(self, prepared=prepared)


def first_hop(outgoing: OutgoingRequest, origin: Origin) -> Hop:
    """The first request of an attempt, with its body and credentials."""
    prepared = outgoing.prepared
    if outgoing.auth is None:
        prepared.body = outgoing.body.payload()
    else:
        prepared = prepared.copy()  # the auth object changes it, hooks included, for each attempt
        prepared.hooks = {event: list(hooks) for event, hooks in prepared.hooks.items()}
        prepared.body = outgoing.body.payload()
        prepared = outgoing.auth(prepared)
        if not isinstance(prepared, requests.PreparedRequest):
            kind = type(prepared).__name__
            raise TypeError(f"auth: a {type(outgoing.auth).__name__} must return the request it was given, not {kind}")
        guard_challenges(prepared, outgoing.auth)
        # As in requests: an auth object may have changed the body, and so its length, or have given a GET one.
        if isinstance(prepared.body, bytes | str) and "Transfer-Encoding" not in prepared.headers:
            prepared.prepare_content_length(prepared.body)
    return Hop(prepared, origin.text, outgoing.harmless)
