"""The table of the server's paths: each has its handler, and the sentence that the terminal shows."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sleepwalker.cli.demo.serve.http import Answer, Refused, Request
from sleepwalker.cli.demo.serve.state import State

#: Makes an answer. The variable parts of the path are keyword arguments.
Handler = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table."""

    shown: str
    """The path, with its variable parts in braces."""
    about: str
    methods: tuple[str, ...]
    """The allowed methods; empty for all."""
    handler: Handler

    def parts(self, path: str) -> dict[str, str] | None:
        """The variable parts of a path that fits the row; None for another path."""
        names = self.shown.split("/")
        # A last part `{path}` takes the whole rest, slashes included.
        given = path.split("/", len(names) - 1 if names[-1] == "{path}" else -1)
        if len(given) != len(names):
            return None
        pairs = list(zip(names, given, strict=True))
        if not all(part if name.startswith("{") else part == name for name, part in pairs):
            return None
        return {name[1:-1]: part for name, part in pairs if name.startswith("{")}


#: The group of the paths that control the server itself, without faults.
BY_HAND = "Control the server:"

#: Columns for the paths in the table.
_PATHS = 27

#: By group: the heading under which they are shown.
ROUTES: dict[str, list[Route]] = {BY_HAND: []}


def route(group: str, shown: str, about: str = "", *methods: str) -> Callable[[Handler], Handler]:
    """Add a row. A variable part ends at a slash, except for `{path}`.

    Without `about`, the path is answered but not shown: it is like the one above it.
    """

    def add(handler: Handler) -> Handler:
        ROUTES.setdefault(group, []).append(Route(shown, about, methods, handler))
        return handler

    return add


def by_hand(request: Request) -> bool:
    """Whether the request is to control the server itself."""
    return any(row.parts(request.path) is not None for row in ROUTES[BY_HAND])


async def answered(state: State, request: Request, otherwise: Handler) -> Answer:
    """The answer of the path's handler, or of `otherwise` if the path is not in the table."""
    for row in itertools.chain.from_iterable(ROUTES.values()):
        found = row.parts(request.path)
        if found is None:
            continue
        allowed = ("HEAD", *row.methods) if "GET" in row.methods else row.methods
        if allowed and request.method not in allowed:
            raise Refused(405, f"{row.shown} takes {', '.join(allowed)}", (("Allow", ", ".join(allowed)),))
        return await row.handler(state, request, **found)
    return await otherwise(state, request)


def shown_path(request: Request) -> str:
    """The path for people: without its query, and without a password in it."""
    masked = re.sub(r"^(/(?:hidden-)?basic-auth)/.*", r"\1/...", request.path)
    return masked if len(masked) <= 200 else masked[:197] + "..."


def table(width: int) -> str:
    """The table as lines of at most `width` columns."""
    lines: list[str] = []
    for group, rows in sorted(ROUTES.items(), key=lambda item: item[0] == BY_HAND):
        lines += ["", group]
        for row in rows:
            if row.about:
                filled = textwrap.wrap(row.about, max(20, width - _PATHS), break_on_hyphens=False)
                lines.append(f"  {row.shown:{_PATHS - 2}}" + f"\n{'':{_PATHS}}".join(filled))
    return "\n".join(lines[1:])
