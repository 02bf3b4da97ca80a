"""Receives the bodies of a download in its caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sleepwalker.connection.downloading import Receiving
from sleepwalker.downloads import Take
from sleepwalker.engine import Outcome, Received
from sleepwalker.transport.blocking.attempt import discard
from sleepwalker.transport.blocking.stream import StreamedResponse

#: The most bytes read at a time.
_AT_ONCE = 1 << 18


def receive(receiving: Receiving, head: Outcome) -> Received:
    """Write the body of a response to its file, as far as it comes."""
    transfer, response = receiving.transfer, head.response
    try:
        take = transfer.begin(head)
        if not isinstance(take, Take):
            return receiving.ended(take)
        receiving.watch(response)
        pieces = _pieces(response, take)
        while True:
            try:
                data = pieces()
            except Exception as error:  # noqa: BLE001 - one that is not about the body is raised again
                return transfer.broke(receiving.one_of_ours(error))
            if not data:
                return receiving.ended(transfer.end(head))
            if not transfer.write(data):
                return receiving.ended(transfer.end(head))
            receiving.tell()
    finally:
        discard(response)


def _pieces(response: Any, take: Take) -> Callable[[], bytes]:
    """Return a function that returns the bytes that arrive next, and none at the end."""
    raw = response.raw
    if isinstance(raw, StreamedResponse):
        return partial(raw.read1, _AT_ONCE, take.encoded)
    pieces: Iterator[bytes] = response.iter_content(_AT_ONCE)  # of a mock or a caching session
    return lambda: next(pieces, b"")
