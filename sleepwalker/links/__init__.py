"""Links of plain hypermedia: `Link` headers, HAL and JSON:API, followed from one service to another."""

from __future__ import annotations

from sleepwalker.links.finding import links
from sleepwalker.links.following import follow, pages
from sleepwalker.links.link import Link

__all__ = ["Link", "follow", "links", "pages"]
