"""Follows links: from a response to the next, once or page by page."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from sleepwalker.connection.response import Response
from sleepwalker.frames import without_locals
from sleepwalker.links import deciding
from sleepwalker.links.performing import Steps, by, perform
from sleepwalker.links.walk import Walk


class _Pages(Iterator[Response]):
    """The walk of `pages`. Not a generator, which would end with its first error."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    @without_locals
    def __next__(self) -> Response:
        walk = self._walk
        page = walk.begin(threading.get_ident(), "thread")
        try:
            following = perform(walk.onward(page, 6))
            if following is None:
                raise StopIteration
            walk.rest(following)
            return following.response
        except BaseException:
            walk.rest(page)  # also if a Ctrl-C came after the response: the caller has not seen it
            raise


def _followed(steps: Steps[Response]) -> Response:
    return perform(steps)


def _paged(walk: Walk) -> Iterator[Response]:
    return _Pages(walk)


follow = by(_followed)(deciding.follow)
pages = by(_paged)(deciding.pages)
