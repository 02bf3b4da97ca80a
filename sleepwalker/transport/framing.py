"""How a response is framed (RFC 9112): what is read of its head and its chunks, what is left out, and what is refused.

Where a response ends must not depend on who reads it: a proxy that saw another end would pass a part of its body on as
the next response. So lengths, codings and sizes that are not plainly right are refused, as in other careful clients.
Any other malformed line is left out.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable, Sequence

#: Bytes of one line, and lines of one head: http.client's own limits.
LONGEST_LINE = 65536
MOST_LINES = 100
#: Interim responses (1xx) before the final one. `102 Processing` may come every second of a long job.
MOST_INTERIM = 1000
#: Bytes of a whole head. http.client allows six million, which take seconds to read, past any deadline.
LONGEST_HEAD = 1 << 20
#: The longest line, in bytes, with a chunk's size and its extensions, which are not used in practice.
LONGEST_SIZE_LINE = 4096
#: The most bytes that Content-Length or a chunk may announce: the longest possible file.
_LONGEST_BODY = (1 << 63) - 1

_STATUS_LINE = re.compile(r"HTTP/(0\.9|1\.[0-9])[ \t]++([1-9][0-9][0-9])(?:[ \t]++(.*))?", re.DOTALL).fullmatch
_NAME = re.compile(r"[!-9;-~]++").fullmatch
_NO_LETTERS = re.compile(r"[^a-z-]++")
_WHITESPACE = " \t"
#: Not allowed in a value: some readers take them for the end of the line (RFC 9110, section 5.5).
_ENDS_FOR_SOME = re.compile(r"[\r\0]")
_NUMBER = re.compile(r"[0-9]++").fullmatch
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]++)[ \t]*+(?:;[^\r\n]*+)?\r\n").fullmatch
#: The size of a first chunk, and of a later one after the line end of the chunk before, in their usual form.
FIRST_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n").match
NEXT_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n").match

#: The error's text for a body that ended with its TLS connection, if that ended without close_notify.
UNANNOUNCED = (
    "the connection ended without TLS's close_notify, so the body may be incomplete (pool.require_close_notify)"
)
#: The fields that say where a body ends.
_FRAMING = ("content-length", "transfer-encoding")


class MalformedResponse(http.client.HTTPException):
    """A response that is refused. The text says why, and quotes nothing of the response."""


class ClosedByReader(MalformedResponse):
    """A body is read on after its reader closed it or was interrupted: no part may pass for the whole body."""


def parse_status_line(line: str) -> tuple[int, int, str]:
    """The version (10 or 11, as in http.client), the status and the reason."""
    match = _STATUS_LINE(line)
    if match is None:
        raise MalformedResponse("not HTTP/1: the first line of the response is not a status line")
    return 10 if match[1] in ("0.9", "1.0") else 11, int(match[2]), _reason(match[3] or "")


def _reason(text: str) -> str:
    """A reason. It was decoded as Latin-1, but servers whose reasons are not ASCII mostly write UTF-8."""
    text = _ENDS_FOR_SOME.sub(" ", text).strip(_WHITESPACE)
    try:
        return text if text.isascii() else text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text


def parse_fields(lines: Sequence[str]) -> tuple[list[tuple[str, str]], bool]:
    """Name and value of each header, from lines without their ends, and whether all lines were well-formed.

    Whitespace before a colon is dropped, and a folded value is joined (RFC 9112, sections 5.1 and 5.2). A line that is
    not a header is left out together with the lines folded onto it, as in browsers. If it may be meant as a header that
    frames the body, MalformedResponse is raised.
    """
    pairs: list[tuple[str, str]] = []
    well_formed = True
    for first, *folded in _unfolded(lines):
        name, colon, value = first.partition(":")
        bare = name.rstrip(_WHITESPACE)
        if not colon or not _NAME(bare):
            if any(map(_may_frame, (first, *folded))):
                raise MalformedResponse("a malformed header line that may be Content-Length or Transfer-Encoding")
            well_formed = False
            continue
        value = value.lstrip(_WHITESPACE)
        if folded:
            value = " ".join(filter(None, (part.strip(_WHITESPACE) for part in (value, *folded))))
        if _ENDS_FOR_SOME.search(value):
            if bare.lower() in _FRAMING:
                raise MalformedResponse(f"a control character in the response's {bare.title()}")
            value, well_formed = _ENDS_FOR_SOME.sub(" ", value), False
        well_formed = well_formed and bare == name
        pairs.append((bare, value))
    return pairs, well_formed


def _unfolded(lines: Iterable[str]) -> list[list[str]]:
    """Each line with those that are folded onto it: they begin with whitespace."""
    groups: list[list[str]] = []
    for line in lines:
        if groups and line.startswith((" ", "\t")):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _may_frame(line: str) -> bool:
    """Whether a malformed line may be meant as Content-Length or Transfer-Encoding, by its letters."""
    return _NO_LETTERS.sub("", line.partition(":")[0].lower()).startswith(_FRAMING)


def content_length(values: Iterable[str]) -> int:
    """The length that all values name. Some servers repeat it, also as a list (RFC 9110, section 8.6)."""
    numbers = {part.strip(_WHITESPACE) for value in values for part in value.split(",")}
    if not all(map(_NUMBER, numbers)):
        raise MalformedResponse("the response's Content-Length is not a number")
    numbers = {number.lstrip("0") or "0" for number in numbers}
    if len(numbers) > 1:
        raise MalformedResponse("the response has several Content-Lengths, which differ")
    return _bounded("the response's Content-Length", numbers.pop(), 10)


def times_chunked(values: Iterable[str]) -> int:
    """How often Transfer-Encoding says `chunked`. `identity` (RFC 2616) means no coding; others are refused.

    Some servers behind proxies say `chunked` twice and mean it once, since no body may be chunked twice (RFC 9112,
    section 6.1).
    """
    names = [name.strip(_WHITESPACE).lower() for value in values for name in value.split(",")]
    codings = [name for name in names if name]
    if codings == ["identity"]:
        return 0
    if any(coding != "chunked" for coding in codings):
        raise MalformedResponse("the response's Transfer-Encoding is not `chunked`, the only supported one")
    return len(codings)


def chunk_size(line: bytes) -> int:
    """The size that the line before a chunk announces."""
    if len(line) > LONGEST_SIZE_LINE:
        raise MalformedResponse(f"the line with a chunk's size is longer than {LONGEST_SIZE_LINE} bytes")
    match = _SIZE_LINE(line)
    if match is None:
        raise MalformedResponse("a chunk of the response does not begin with a size in hexadecimal digits")
    return _bounded("a chunk's size", match[1].decode("ascii").lstrip("0") or "0", 16)


def _bounded(what: str, digits: str, base: int) -> int:
    """The number, at most `_LONGEST_BODY`. More digits are not parsed: for thousands, Python takes quadratic time."""
    number = int(digits, base) if len(digits) < 20 else _LONGEST_BODY + 1
    if number > _LONGEST_BODY:
        raise MalformedResponse(f"{what} is above {_LONGEST_BODY}")
    return number
