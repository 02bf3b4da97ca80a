"""What blocking and asyncio downloads share: the checked arguments, the transfer, and the errors of a body."""

from __future__ import annotations

import math
import os
from typing import Any, TypedDict, Unpack

from sleepwalker.clock import Clock
from sleepwalker.connection.arguments import HeaderValues, Params, Path
from sleepwalker.connection.handover import Streams
from sleepwalker.connection.options import CallOptions, RequestOptions, checked_options
from sleepwalker.connection.outgoing import PreparedCall
from sleepwalker.connection.settings import Timeout
from sleepwalker.downloads import OnProgress, Transfer, Wanted, check_own
from sleepwalker.engine import Received, Steps, download
from sleepwalker.events import Observer
from sleepwalker.exceptions import SleepwalkerException
from sleepwalker.policy import Policy
from sleepwalker.transport.error_context import ErrorContext
from sleepwalker.transport.headers import checked_headers, merged
from sleepwalker.transport.redirects import HARMLESS_OF_A_DOWNLOAD
from sleepwalker.transport.url import Origin

#: How many of the latest attempts are remembered with their sockets: a download may have hundreds.
_LATEST = 4


class DownloadOptions(TypedDict, total=False):
    """Further keyword arguments of `download`: those of `request` that a download can have."""

    params: Params | None
    headers: HeaderValues | None
    timeout: Timeout | None
    policy: Policy | Path | None
    total: float | None


_KNOWN = frozenset(DownloadOptions.__annotations__)


class DownloadCall:
    """What a caller of `download` asked for, checked."""

    __slots__ = ("options", "total", "wanted")

    def __init__(
        self,
        path: str | os.PathLike[str],
        progress: OnProgress | None,
        checksum: str | None,
        encoder: Any,
        **options: Unpack[DownloadOptions],
    ) -> None:
        """TypeError, ValueError, URLError or PolicyError for an invalid argument."""
        if unknown := sorted(options.keys() - _KNOWN):
            known = ", ".join(("progress", "checksum", *sorted(_KNOWN)))
            raise TypeError(f"{unknown[0]!r} is not an argument of a download; there are {known}")
        self.wanted = Wanted(path, progress, checksum)
        check_own(options.get("headers"))
        given: RequestOptions = {**options, "stream": True}  # type: ignore[typeddict-item]  # all of them have the rest
        checked = checked_options(given, encoder)
        # A range counts bytes of the file itself, not of an encoded one.
        headers = merged(checked.headers, checked_headers({"Accept-Encoding": "identity"}))
        self.total: float | None = checked.total
        """Seconds for the whole download, including the bodies."""
        self.options: CallOptions = checked._replace(headers=headers, total=None)


class Receiving:
    """The transfer of one download, and the errors that break off a body of it."""

    __slots__ = ("_call", "_clock", "_origin", "_streams", "_total", "transfer")

    def __init__(self, call: PreparedCall, asked: DownloadCall, origin: Origin, streams: Streams, clock: Clock) -> None:
        self._call = call
        self._clock = clock
        self._origin = origin.text
        self._streams = streams
        outgoing = call.outgoing
        outgoing.harmless = HARMLESS_OF_A_DOWNLOAD
        self._total = call.compiled.total
        if asked.total is not None:
            self._total = asked.total
            outgoing.body_ends_at = clock.monotonic() + asked.total
            if asked.total < call.compiled.total:
                call.compiled = call.compiled.within(asked.total)
        self.transfer: Transfer = Transfer(asked.wanted, origin.text, outgoing.prepared, clock)

    def steps(self, observe: Observer) -> Steps:
        """The steps of the call."""
        call, clock = self._call, self._clock
        ends_at = math.inf if call.outgoing.body_ends_at is None else call.outgoing.body_ends_at
        return download(call.host, call.compiled, call.request, clock, observe, ends_at)

    def watch(self, response: Any) -> None:
        """Make reads of a broken body raise errors of ours."""
        self._call.outgoing.deadlines = self._call.outgoing.deadlines[-_LATEST:]
        self._streams.watch(response, self._error_of)

    def tell(self) -> None:
        """Some bytes arrived: tell the caller, and note that the connection is not idle."""
        if (usage := self._call.came_from.usage) is not None:
            usage.last_used = self._clock.monotonic()
        self.transfer.tell()

    def ended(self, received: Received) -> Received:
        """A response was received. If the file is complete, tell the caller."""
        if received.over and received.outcome.error is None and received.reached is not None:
            self.transfer.told_all()
        return received

    def one_of_ours(self, error: Exception) -> Exception:
        """Our error for one that broke a body off. Raises an error that is not about the body."""
        ours = error if isinstance(error, SleepwalkerException) else self._error_of(error, None, False)
        if not isinstance(ours, SleepwalkerException):
            raise error
        return ours

    def _error_of(self, error: Exception, handled: BaseException | None, deadline_hit: bool) -> Exception:
        """The error to raise instead of one that broke a body."""
        compiled = self._call.compiled
        times = (self._total, compiled.connect, compiled.read)
        context = ErrorContext(self._origin, "body", deadline_hit, "total", *times, handled)
        return self._streams.translate(error, context)
