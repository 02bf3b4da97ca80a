"""The runbook that the page links to for a host in trouble."""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from sleepwalker.engine import HostHealth
from sleepwalker.status.view import hooks_hang
from sleepwalker.status.words import text

#: The anchors of the runbook in docs/operations.
Kind = Literal["broken", "degraded", "dry-run", "hooks", "isolated", "moved", "together"]
_PLACE = "{kind}"


class Runbook(NamedTuple):
    """The URL of a runbook. `{kind}` in it stands for the kind of trouble."""

    url: str

    def link(self, kind: Kind) -> str:
        """A link to the section for one kind of trouble, as HTML."""
        url = text(self.url.replace(_PLACE, kind))
        return f'<a class="runbook" href="{url}" target="_blank" rel="noopener noreferrer">runbook</a>'


def check_runbook(url: object) -> Runbook | None:
    """The runbook at a URL; None for None. TypeError for anything but a text.

    ValueError for a URL that is not http or https, or has a password in it.
    """
    if url is None:
        return None
    if not isinstance(url, str):
        raise TypeError(f"runbook must be a URL, not {type(url).__name__}")
    try:
        parts = urlsplit(url.replace(_PLACE, "kind"))
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        fits = False
    if not fits or not url.isprintable() or " " in url:
        raise ValueError(
            "runbook (not shown) is not the URL of a page: pass an http or https URL without credentials, such as "
            "'https://wiki.example.com/hosts#{kind}'"
        )
    return Runbook(url)


def kind_of(health: HostHealth, taken: float) -> Kind | None:
    """The kind of trouble that a runbook has a section about; None for a host without trouble."""
    if health.state == "isolated":
        return "isolated"
    if not health.used and health.state in ("broken", "degraded"):
        return "moved"
    if health.state == "broken":
        return "broken"
    if hooks_hang(health, taken):
        return "hooks"
    if health.state == "degraded":
        return "degraded"
    return "dry-run" if health.breaker_mode == "observe" and health.breaker != "closed" else None
