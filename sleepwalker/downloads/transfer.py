"""One download from beginning to end: what the blocking and the asyncio driver share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import requests

from sleepwalker.clock import Clock
from sleepwalker.downloads.checksum import Checksum
from sleepwalker.downloads.download import Download
from sleepwalker.downloads.progress import OnProgress, Progress, checked
from sleepwalker.downloads.ranges import ALL, Advance, Answer, Ask, Kept, Take, answer, ask
from sleepwalker.engine import Outcome, Received, failed
from sleepwalker.exceptions import ChecksumError, DownloadError, ReadError
from sleepwalker.transport.url import safe_path

if TYPE_CHECKING:
    from sleepwalker.downloads.part import Part

#: The header fields that say which part of a file is wanted, and in which form: a download's own.
OWN_HEADERS = frozenset(
    {"accept-encoding", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"}
)


class Wanted:
    """A caller's request, checked before anything is sent or opened."""

    __slots__ = ("checksum", "path", "progress")

    def __init__(self, path: str | os.PathLike[str], progress: OnProgress | None, checksum: str | None) -> None:
        given: object = path
        if not isinstance(given, str | os.PathLike) or not isinstance(os.fspath(given), str):
            raise TypeError(f"path must be a str or a path, not {type(given).__name__}")
        self.path = Path(path)
        self.progress: OnProgress | None = checked(progress)
        self.checksum: Checksum | None = None if checksum is None else Checksum.of(checksum)


class Transfer:
    """A running download. `open` first and `close` last; both use the disk, as do `begin`, `write` and `end`."""

    def __init__(self, wanted: Wanted, origin: str, prepared: requests.PreparedRequest, clock: Clock) -> None:
        self._wanted = wanted
        self._origin = origin
        self._prepared = prepared
        self._progress = Progress(wanted.progress, clock)
        self._part: Part | None = None
        self._advance = Advance(0)
        self._asked: Ask = ALL
        self._take: Take | None = None
        self._left: int | None = None
        self._proof = b""
        self._fault: Literal["surplus", "another"] | None = None
        self._resumed = 0

    @property
    def part(self) -> Part:
        """Its part, once it is open."""
        if self._part is None:
            raise AssertionError("not open")  # pragma: no cover
        return self._part

    def open(self) -> None:
        """Open the part, or create one. OSError if that fails."""
        from sleepwalker.downloads.part import Part  # noqa: PLC0415 - few programs download, and it is of POSIX

        self._part = Part(self._wanted.path, self._prepared.url or "", self._wanted.checksum)
        self._resumed = self._part.size
        self._advance = Advance(self._part.size)
        self._ask(ask(self._part.kept, self._part.size))

    def close(self) -> None:
        """Release the part. It stays if a later download can continue it."""
        if self._part is not None:
            self._part.close()

    def begin(self, head: Outcome) -> Take | Received:
        """Begin with a response. Returns a `Take` if its body is to be written, else a `Received`."""
        response = head.response
        meant = answer(self._asked, response.status_code, response.headers)
        if isinstance(meant, Take):
            part = self.part
            start = part.size if meant.partial else 0
            self._take, self._left, self._fault = meant, meant.length, None
            self._proof = part.read(meant.start, start)
            self._resumed = min(self._resumed, start)
            part.begin(start, meant.kept)
            return meant
        match meant:
            case Answer.ANEW:
                return self._anew(head)
            case Answer.REFUSED:
                return Received(head, over=True, forward=False, reached=None)
            case Answer.NO_FILE:
                said = "a range, and none was asked for" if response.status_code in (200, 203, 206) else "not a file"
                error = DownloadError(f"{self._where}: {response.status_code} is {said}", response=response)
                return Received(failed(error), over=True, forward=False, reached=None)

    def write(self, data: bytes) -> bool:
        """Store some bytes of the body. False if no more of it are wanted, because they are wrong: then `end` it."""
        if self._left is not None:
            if len(data) > self._left:
                self._fault = "surplus"
                return False
            self._left -= len(data)
        if proof := self._proof:
            there, data = data[: len(proof)], data[len(proof) :]
            if not proof.startswith(there):
                self._fault = "another"
                return False
            self._proof = proof[len(there) :]
        self.part.write(data)
        return True

    def tell(self) -> None:
        """Report the progress to the caller. Separate from `write`, because it may happen in another thread."""
        self._progress.reached(self.part.size, self.part.kept.total if self.part.kept else None)

    def end(self, head: Outcome) -> Received:
        """The body ended properly, or its bytes are wrong."""
        take, part = self._take, self.part
        if take is None:
            raise AssertionError("not begun")  # pragma: no cover
        if self._fault == "another":  # another file than the stored one, whatever its validator says
            return self._anew(head)
        if self._fault == "surplus":
            return self.broke(ReadError(f"{self._origin}: the response is longer than it says"), keep=False)
        if self._left:
            return self.broke(ReadError(f"{self._origin}: the response ended {self._left} bytes early"))
        if take.is_whole(part.size) and not self._proof:
            return self._finished(head)
        if self._advance.is_progress(part.size):  # the server sends a limited range at a time
            self._ask(ask(part.kept, part.size))
            return Received(head, over=False, forward=True, reached=part.size)
        return self.broke(ReadError(f"{self._origin}: the server sends only a few bytes per response"))

    def broke(self, error: Exception, *, keep: bool = True) -> Received:
        """The body broke off."""
        part = self.part
        reached = part.size
        if not keep:
            part.begin(0, Kept(None, None))
        self._ask(ask(part.kept, part.size))
        # It was raised where the body was read; from here on it is a value, and frames in it would keep the response.
        broke = failed(error.with_traceback(None))
        return Received(broke, over=False, forward=self._advance.is_progress(reached), reached=reached)

    def told_all(self) -> None:
        """Report to the caller that the file is complete."""
        self._progress.ended(self.part.size)

    def result(self, response: Any) -> Download:
        """The result of the call."""
        return Download(self._wanted.path, self.part.size, self._resumed, response.attempts, response)

    def _anew(self, head: Outcome) -> Received:
        """The rest is not available: request the whole file next."""
        self._ask(ALL)
        return Received(head, over=False, forward=False, reached=None)

    def _finished(self, head: Outcome) -> Received:
        """The file is complete: check its checksum, then put it at its path."""
        part = self.part
        if not part.has_checksum():
            part.remove()
            checksum = self._wanted.checksum
            name = "" if checksum is None else f"{checksum.algorithm} "
            text = f"{self._where}: all {part.size} bytes arrived, but the file has another {name}checksum than given"
            error = ChecksumError(text, response=head.response)
            return Received(failed(error), over=True, forward=False, reached=part.size)
        part.finish()
        return Received(head, over=True, forward=True, reached=part.size)

    @property
    def _where(self) -> str:
        """The URL for errors: without its query, and not the target of a redirect, whose path may be signed."""
        return f"{self._origin}{safe_path(self._prepared.url or '')}"

    def _ask(self, asked: Ask) -> None:
        """Make the next attempt request that."""
        self._asked = asked
        headers: Any = self._prepared.headers
        for name in ("Range", "If-Range"):
            headers.pop(name, None)
        headers.update(asked.headers())


def check_own(headers: Mapping[Any, Any] | None) -> None:
    """ValueError for header fields that a download sets itself."""
    names = [name for name in headers or () if str(name).lower() in OWN_HEADERS]
    if names:
        raise ValueError(
            f"headers: {names[0]!s} is set by the download itself, as are {', '.join(sorted(OWN_HEADERS))}: "
            "leave it out"
        )
