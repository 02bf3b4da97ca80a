"""What a process finds out about the libraries and files that it sends with."""

from __future__ import annotations

from typing import ClassVar, Literal

from sleepwalker.events.base import Event, Level, event_type

__all__ = ["FastPathOff", "TLSFilesNotLoaded"]


@event_type
class FastPathOff(Event):
    """The fast path is off, so each call of this process costs more: it gave another result than the ordinary path.

    Logged once per process, at the first request; separately for asyncio. Calls have the same results.
    """

    name = "transport.fast_path_off"
    level: ClassVar[Level] = "warning"

    reason: str
    """What differed, such as `HTTPResponse.headers`, or the type of an exception. The installed requests, urllib3 or
    (for asyncio) aiohttp differs from the releases that this sleepwalker knows."""


@event_type
class TLSFilesNotLoaded(Event):
    """The files of `cert` or `verify` were replaced by unusable ones. New sockets use the old ones.

    Logged once per change. The files are checked again when the next socket is opened.
    """

    name = "tls.files_not_loaded"
    level: ClassVar[Level] = "warning"

    reason: Literal["missing", "unusable"]
    """missing: a file is gone. unusable: certificate and key do not match, or a file is not in PEM form. Either may be
    true for a moment while the files are being written."""
