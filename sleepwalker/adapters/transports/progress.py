"""The progress of an attempt: the library's `trace` extension reports it, and a failure asks for it."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from sleepwalker.transport.error_context import Phase

#: What begins with each event of httpcore that ends in `.started`.
_PHASES: dict[str, Phase] = {
    "connect_tcp": "connect",
    "connect_unix_socket": "connect",
    "setup_socks5_connection": "connect",
    "start_tls": "tls",
    "send_request_headers": "send",
    "send_request_body": "send",
    "receive_response_headers": "head",
}


class Progress(Protocol):
    """The progress of an attempt."""

    phase: Phase | None
    at_proxy: bool

    def begin_connect(self) -> None:
        """A socket is being opened from now on."""


class Phases:
    """The progress of an attempt whose deadline is kept elsewhere."""

    __slots__ = ("at_proxy", "phase")

    def __init__(self, phase: Phase) -> None:
        self.phase: Phase | None = phase
        self.at_proxy: bool = False

    def begin_connect(self) -> None:
        """A socket is being opened from now on."""
        self.phase = "connect"


def note_progress(progress: Progress, extensions: MutableMapping[str, Any]) -> None:
    """Make a request's `trace` extension note the progress. An existing extension is called as before."""
    behind: Callable[[str, Any], Any] | None = extensions.get("trace")

    def trace(name: str, info: Any) -> None:
        _note(progress, name, info)
        if behind is not None:
            behind(name, info)

    extensions["trace"] = trace


def note_progress_async(progress: Progress, extensions: MutableMapping[str, Any]) -> None:
    """The same for the asyncio interface."""
    behind: Callable[[str, Any], Any] | None = extensions.get("trace")

    async def trace(name: str, info: Any) -> None:
        _note(progress, name, info)
        if behind is not None:
            await behind(name, info)

    extensions["trace"] = trace


def _note(progress: Progress, name: str, info: Any) -> None:
    if not name.endswith(".started"):
        return
    phase = _PHASES.get(name.split(".")[1])
    if phase is None:
        return
    # The tunnel through a proxy is asked for by a request of its own, before ours.
    if phase in ("send", "head"):
        progress.at_proxy = getattr(info.get("request"), "method", None) == b"CONNECT"
        progress.phase = "connect" if progress.at_proxy else phase
    elif phase == "connect":
        progress.begin_connect()
    else:
        progress.phase, progress.at_proxy = phase, False
