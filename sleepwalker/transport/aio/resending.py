"""Lets the hooks of an auth object answer a response with another request, as Digest answers a challenge."""

from __future__ import annotations

from typing import Any

import requests
from requests.hooks import dispatch_hook

from sleepwalker.transport.aio.deadline import AttemptDeadline

#: How often a hook may send again within one attempt. Digest needs one.
MOST = 2


class _Again(Exception):
    """A hook sends another request. The rest of the hook does not run."""

    def __init__(self, prepared: requests.PreparedRequest) -> None:
        super().__init__()
        self.prepared = prepared


class _Resend:
    """Stands for the adapter that a hook sends through."""

    def send(self, prepared: requests.PreparedRequest, **_: Any) -> requests.Response:
        """Note the request; it is sent after the hook has ended."""
        raise _Again(prepared)


def asked_again(
    response: requests.Response, prepared: requests.PreparedRequest, deadline: AttemptDeadline
) -> requests.PreparedRequest | None:
    """The request with which the hooks of an auth object answer a response, if any."""
    asked: Any = response
    asked.connection = _Resend()
    deadline.in_hook = True
    try:
        dispatch_hook("response", prepared.hooks, response)
    except _Again as again:
        deadline.in_hook = False
        return again.prepared
    finally:
        del asked.connection
    deadline.in_hook = False
    return None
