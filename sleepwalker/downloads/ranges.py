"""What a download requests next, and what a response means: ranges of bytes, by RFC 9110, section 14.

Nothing here reads or writes. A driver keeps what `Take` says, requests what `ask` says, and passes the response's head
to `answer`.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

#: This many more bytes are progress, even if several attempts in a row brought them. A server that sends a few bytes
#: each time is given up after `retry.attempts`, instead of getting millions of requests.
STEP = 64 * 1024
#: How many of the last stored bytes are requested again, and must be the same. That finds another file with the same
#: validator (of other credentials, of a server without If-Range), and a part that a power cut has damaged.
OVERLAP = 4096
#: A validator is written beside the file and sent back: longer ones are of no use.
_LONGEST_VALIDATOR = 1024
#: RFC 9110, section 8.8.3: weak ones begin with W/.
_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_DIGITS = r"([0-9]{1,18})"
#: RFC 9110, section 14.4.
_CONTENT_RANGE = re.compile(rf"bytes {_DIGITS}-{_DIGITS}/(?:{_DIGITS}|\*)", re.IGNORECASE)

Headers = Mapping[str, str]


class Kept(NamedTuple):
    """What is known of a file whose beginning is stored."""

    validator: str | None
    """The value of `If-Range`: a strong entity tag, or a date. Without one the file cannot be continued."""
    total: int | None
    """The size of the whole file in bytes; None if that is not known."""


class Ask(NamedTuple):
    """A request for the rest of a file, or for the whole file."""

    start: int | None = None
    """The first byte to request; None for the whole file."""
    kept: Kept = Kept(None, None)
    size: int = 0
    """How many bytes are stored: more than `start`."""

    def headers(self) -> dict[str, str]:
        """The header fields for it."""
        if self.start is None or self.kept.validator is None:
            return {}
        return {"Range": f"bytes={self.start}-", "If-Range": self.kept.validator}


#: The request for the whole file.
ALL = Ask()


@dataclass(frozen=True, slots=True)
class Take:
    """The body is to be kept."""

    start: int
    """The position of its first byte in the file. Stored bytes from there on must be the same."""
    length: int | None
    """How many bytes it has; None for as many as arrive."""
    kept: Kept
    """What is known of the file now."""
    encoded: bool = False
    """Whether its bytes must be decoded first: a range would not count the decoded bytes."""
    partial: bool = False
    """Whether it is a range."""

    def is_whole(self, size: int) -> bool:
        """Whether the file is complete with `size` bytes, after the body ended properly."""
        return size == self.kept.total if self.partial else True


class Answer(Enum):
    """A response whose body is not kept."""

    ANEW = "anew"
    """The server does not send the rest: request the whole file."""
    REFUSED = "refused"
    """The status is that of an error."""
    NO_FILE = "no file"
    """It is neither a file nor an error."""


def ask(kept: Kept | None, size: int) -> Ask:
    """What to request if `size` bytes are stored."""
    if kept is None or kept.validator is None or size <= OVERLAP or (kept.total is not None and size > kept.total):
        return ALL
    return Ask(size - OVERLAP, kept, size)


def answer(asked: Ask, status: int, headers: Headers) -> Take | Answer:
    """What to do with a response, by its head; `headers` are looked up without regard to case."""
    if status == 206 or (status in (200, 203) and _is_some_of_it(headers)):
        if asked.start is None:
            return Answer.NO_FILE
        return _rest(asked, asked.start, headers) if status == 206 else Answer.ANEW
    if status in (200, 203):
        return _all_of_it(headers)
    if status == 416 and asked.start is not None:
        return Answer.ANEW
    return Answer.REFUSED if status >= 400 else Answer.NO_FILE


def validator_of(headers: Headers) -> str | None:
    """The `If-Range` value for a later request for the rest (RFC 9110, section 13.1.5); None for none."""
    if headers.get("Accept-Ranges", "").strip().lower() == "none":
        return None
    tag = headers.get("ETag", "").strip()
    if tag:  # if there is a tag, even a weak one, a date may not replace it
        return tag if len(tag) <= _LONGEST_VALIDATOR and _STRONG.fullmatch(tag) else None
    modified = headers.get("Last-Modified", "").strip()
    then, now = _moment(modified), _moment(headers.get("Date", "").strip())
    # Section 8.8.2.2: within the same second the file may have changed twice.
    return modified if then is not None and now is not None and now >= then + 1 else None


def _all_of_it(headers: Headers) -> Take:
    if _is_encoded(headers):
        return Take(0, None, Kept(None, None), encoded=True)
    length = None if headers.get("Transfer-Encoding") else _length(headers)
    return Take(0, length, Kept(validator_of(headers), length))


def _rest(asked: Ask, start: int, headers: Headers) -> Take | Answer:
    """What a 206 means: it must be the requested range, of the file that is stored."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None or _is_encoded(headers) or _is_multipart(headers):
        return Answer.ANEW
    first, last, total = int(found[1]), int(found[2]), None if found[3] is None else int(found[3])
    length = None if headers.get("Transfer-Encoding") else _length(headers)
    known = asked.kept.total
    if (
        first != start
        or last < first
        or (total is not None and (last >= total or total < asked.size))
        or (total is not None and known is not None and total != known)
        or (total is None and known is not None and last >= known)
        or (length is not None and length != last - first + 1)
        or not _is_the_same(asked.kept.validator, headers)
    ):
        return Answer.ANEW
    kept = Kept(asked.kept.validator, known if total is None else total)
    return Take(first, last - first + 1, kept, partial=True)


def _is_the_same(validator: str | None, headers: Headers) -> bool:
    """False if a 206 says itself that it is of another file: some servers do not know `If-Range`."""
    tag, modified = headers.get("ETag"), headers.get("Last-Modified")
    if validator is not None and validator.startswith('"'):
        return tag is None or tag.strip() == validator
    return modified is None or modified.strip() == validator


def _is_encoded(headers: Headers) -> bool:
    return headers.get("Content-Encoding", "").strip().lower() not in ("", "identity")


def _is_some_of_it(headers: Headers) -> bool:
    """Whether a response says that it is a range of less than the whole file: some servers do so with a 200."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    return found is not None and (int(found[1]) > 0 or found[3] is None or int(found[2]) + 1 < int(found[3]))


def _is_multipart(headers: Headers) -> bool:
    return headers.get("Content-Type", "").strip().lower().startswith("multipart/byteranges")


def _length(headers: Headers) -> int | None:
    text = headers.get("Content-Length", "").strip()
    return int(text) if re.fullmatch(_DIGITS, text) else None


def _moment(text: str) -> float | None:
    """An HTTP date in seconds since 1970; None for anything else, and for what cannot be sent back."""
    if not re.fullmatch(r"[ -~]{1,64}", text):  # the parser ignores what comes after a date
        return None
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


class Advance:
    """How far the attempts of one call have brought a file, and which of them were progress."""

    __slots__ = ("_mark",)

    def __init__(self, size: int) -> None:
        """`size` bytes were there before."""
        self._mark = size

    def is_progress(self, reached: int) -> bool:
        """Whether the file has grown by `STEP` since this was last true.

        A restarted download must pass its earlier size: otherwise a server without ranges would be called for ever.
        """
        if reached < self._mark + STEP:
            return False
        self._mark = reached
        return True
