"""What a process finds out about the libraries and files that it sends with."""

from __future__ import annotations

from typing import ClassVar, Literal

from sleepwalker.events.base import Event, Level, event_type

__all__ = ["FastPathOff", "TLSFilesNotLoaded"]


@event_type
class FastPathOff(Event):
    """The fast path is off, so each call of this process costs more: it gave another result than the ordinary path.

    Told once per process, at its first request; of asyncio's, at the first of those. Calls have the same results.
    """

    name = "transport.fast_path_off"
    level: ClassVar[Level] = "warning"

    reason: str
    """What differed, such as `HTTPResponse.headers`, or the type of an exception: the installed release of requests,
    urllib3 or, for asyncio, aiohttp is not as this release of sleepwalker knows it."""


@event_type
class TLSFilesNotLoaded(Event):
    """The files of `cert` or `verify` were replaced by some that cannot be used: new sockets go on with the old ones.

    Told once for each such change. The files are looked at again when the next socket is opened.
    """

    name = "tls.files_not_loaded"
    level: ClassVar[Level] = "warning"

    reason: Literal["missing", "unusable"]
    """missing: a file is gone. unusable: certificate and key do not belong together, or a file is not in PEM form. Both
    may be so for a moment, while they are being written."""
