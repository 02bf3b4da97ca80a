"""The status page as a WSGI application (PEP 3333)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.status.site import Request, Site, Source

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def app(
    *sources: Source, title: str = "Hosts", runbook: str | None = None, clock: Clock = SYSTEM_CLOCK
) -> WSGIApplication:
    """A WSGI application that shows the health of the hosts of `sources`: `/` for people, `/hosts.json` for programs.

    Args:
        sources: Managers, and connections outside any manager.
        title: The heading of the page, such as the service's name.
        runbook: The URL of a runbook, linked from hosts in trouble. `{kind}` in it stands for the kind of trouble:
            `broken`, `degraded`, `dry-run`, `hooks`, `isolated`, `moved` or `together`.
        clock: The source of time; for tests.

    It is read-only, responds to GET and HEAD, sets no cookie, and works below any prefix. The status is always 200,
    whatever the state of the hosts. It has no password: mount it where only people who may see host names can reach it.

    Raises TypeError without a source, and for a source that is neither a manager nor a connection. ValueError for an
    invalid `runbook`.
    """
    site = Site(sources, title, runbook, clock)

    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response = site.respond(
            Request(
                method=environ["REQUEST_METHOD"],
                path=environ.get("PATH_INFO", ""),
                query=environ.get("QUERY_STRING", ""),
                # WSGI passes the bytes as if they were Latin-1.
                mounted=environ.get("SCRIPT_NAME", "").encode("latin-1", "replace").decode("utf-8", "replace"),
                accept_encoding=environ.get("HTTP_ACCEPT_ENCODING", ""),
                if_none_match=environ.get("HTTP_IF_NONE_MATCH", ""),
            )
        )
        start_response(f"{response.status.value} {response.status.phrase}", response.headers)
        return [response.body] if response.body else []

    return respond
