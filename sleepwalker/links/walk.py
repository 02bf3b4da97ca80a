"""The walk of `pages`: its position, its next page, and its end."""

from __future__ import annotations

from typing import Any, NamedTuple

from sleepwalker.connection.response import Response
from sleepwalker.exceptions import LinkError
from sleepwalker.links.destination import destination_of, normal
from sleepwalker.links.finding import base_of, one
from sleepwalker.links.going import begun, send
from sleepwalker.links.link import shown_link, shown_name, shown_place, warn_if_deprecated
from sleepwalker.links.performing import Steps
from sleepwalker.links.trail import Trail, trail_of
from sleepwalker.links.way import Way
from sleepwalker.transport.loaded import loaded_body


class Page(NamedTuple):
    """The position of a walk."""

    response: Response
    conn: Any
    trail: Trail
    number: int
    """Counts from 1; 0 before the first was handed over."""
    place: int
    """The hash of the requested URL. URLs themselves are not kept, as they may be long."""
    by_body: bool = False
    """Whether the link to it was found in a body."""


class Walk:
    """Decides how a walk continues. Its driver takes a turn for each page: `begin`, `onward`, then `rest`."""

    def __init__(self, response: Response, conn: object, relation: str, max_pages: int, way: Way) -> None:
        trail = begun(trail_of(response, conn), way)
        self._page = Page(response, conn, trail, 0, hash(normal(base_of(response))))
        # Keeps the first connection alive if no manager could find it again: the walk may come back to its host.
        self._began_with = conn if trail.own is None else None
        self._relation = relation
        self._max_pages = max_pages
        self._way = way
        self._seen: set[int] = set()
        self._over = False
        self._at_work: dict[str, object] = {}

    def begin(self, who: object, kind: str) -> Page:
        """The page to continue from, for the thread or task `who`. ValueError while another one has its turn."""
        if self._at_work.setdefault(kind, who) != who:  # as generators do; otherwise both could get the same page
            raise ValueError(f"another {kind} uses this iterator: make one iterator per {kind}")
        return self._page

    def rest(self, page: Page) -> None:
        """End a turn. `page` is where the next one continues: the new page if the caller gets it, else the old one."""
        self._page = page
        self._at_work.clear()

    def onward(self, page: Page, level: int) -> Steps[Page | None]:
        """The page after this one; None at the end. `level` leads from a warning to the caller's line."""
        if page.number == 0:
            return page._replace(number=1)
        if self._over:
            return None
        link = one(page.response, self._relation)
        if link is None:
            _check_seen(page, self._relation)
            self._over = True
            return None
        warn_if_deprecated(link, level)
        to = destination_of(link, self._way, link.base)
        shown = f"{shown_link(link)}, page {page.number},"
        self._seen.add(page.place)  # not the target's: a step that fails is no visit
        place = hash(to.url)
        if place in self._seen:
            raise LinkError(
                f"{shown} leads back to {shown_place(to.url)}, which this walk has already visited: it would never end"
            )
        if page.number >= self._max_pages:
            raise LinkError(
                f"{shown} leads to more than max_pages={self._max_pages} pages: pass a larger number to go on"
            )
        step = yield from send(link, page.conn, to, self._way, page.trail)
        return Page(*step, page.number + 1, place, by_body=link.place != "Link")


def _check_seen(page: Page, relation: str) -> None:
    """LinkError if the page's body was not read and the link to this page was in a body: the next link may be there."""
    asked: Any = page.response.request
    where = shown_place(page.response.url or "")
    if page.by_body and (loaded_body(page.response) is None or getattr(asked, "method", None) == "HEAD"):
        raise LinkError(
            f"{where} may not be the last page: its body, which may have a link {shown_name(relation)} as the page "
            "before, was not read; leave out stream=True, and do not use HEAD"
        )
