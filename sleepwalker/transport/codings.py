"""Encoded bodies (RFC 9110, section 8.4), decoded with a check that they are complete.

urllib3 takes what it could decode for the whole body. If an application dies behind a proxy that compresses, the
framing is intact, and half of the body would pass for the whole body.
"""

from __future__ import annotations

import contextlib
import sys
import zlib
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError, ProtocolError

_GZIP_BEGINS = b"\x1f\x8b"
#: As in urllib3: each coding may make the body a thousand times longer.
_MOST_CODINGS = 5
_AT_ONCE = 1 << 16
#: 206: a range of the encoded body, which may end anywhere.
_PART = 206


class TruncatedBody(ProtocolError):
    """The body arrived with its announced length, but its encoded data is incomplete."""


class Decoder(Protocol):
    """Decodes one coding step by step."""

    encoded: bytes
    """Input that was not decoded yet."""

    def decode(self, limit: int) -> bytes:
        """Up to about `limit` bytes of output; none where more input is needed."""
        ...

    def is_complete(self) -> bool:
        """Whether the data is complete, or empty."""
        ...


class _Gzip:
    """One or more members. Other data after them is ignored, as in urllib3 and gzip."""

    def __init__(self) -> None:
        self.encoded = b""
        self._member = zlib.decompressobj(31)
        self._begin = b""
        self._later = False
        self._over = False
        self._more = False

    def decode(self, limit: int) -> bytes:
        while (self.encoded or self._more) and not self._over:
            self._begin = self._begin or self.encoded[:2]
            try:
                data = self._member.decompress(self.encoded, limit)
            except zlib.error:
                if not self._later:
                    raise
                self._over = True
                break
            self._more = len(data) == limit
            self.encoded = self._member.unconsumed_tail
            if self._member.eof:
                self.encoded = self._member.unused_data
                self._member = zlib.decompressobj(31)
                self._begin, self._later, self._more = b"", True, False
            if data:
                return data
        if self._over:
            self.encoded = b""
        return b""

    def is_complete(self) -> bool:
        return self._over or not self._begin or (self._later and not _GZIP_BEGINS.startswith(self._begin))


class _Deflate:
    """With the zlib wrapper, as it should be, or without it."""

    def __init__(self) -> None:
        self.encoded = b""
        self._stream = zlib.decompressobj()
        self._first: bytes | None = b""
        self._more = False

    def decode(self, limit: int) -> bytes:
        while (self.encoded or self._more) and not self._stream.eof:
            try:
                data = self._stream.decompress(self.encoded, limit)
            except zlib.error:
                if self._first is None:
                    raise
                self.encoded, self._first = self._first + self.encoded, None
                self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
                continue
            if self._first is not None:
                self._first = None if data or len(self._first) > _AT_ONCE else self._first + self.encoded
            self._more = len(data) == limit
            self.encoded = self._stream.unconsumed_tail
            if data:
                return data
        if self._stream.eof:
            self.encoded = b""
        return b""

    def is_complete(self) -> bool:
        return self._stream.eof or self._first == b""


class _Brotli:
    def __init__(self) -> None:
        try:
            library = import_module("brotlicffi")
        except ModuleNotFoundError:
            library = import_module("brotli")
        self.encoded = b""
        self._stream: Any = library.Decompressor()
        self._began = False
        self._more = False

    def decode(self, limit: int) -> bytes:
        if not self.encoded and not self._more:
            return b""
        self._began = True
        if self._more:  # it takes no more input before its output was read
            data: bytes = self._stream.process(b"", output_buffer_limit=limit)
        else:
            encoded, self.encoded = self.encoded, b""
            try:
                data = self._stream.process(encoded, output_buffer_limit=limit)
            except TypeError:  # before 1.2.0
                return bytes(self._stream.process(encoded))
        self._more = not self._stream.can_accept_more_data()
        return data or self.decode(limit)

    def is_complete(self) -> bool:
        return not self._began or bool(self._stream.is_finished())


class _Zstandard:
    """One or more frames."""

    def __init__(self) -> None:
        self.encoded = b""
        self._library = import_module(_ZSTANDARD)
        self._frame: Any = self._library.ZstdDecompressor()
        self._began = False
        self._more = False

    def decode(self, limit: int) -> bytes:
        while self.encoded or self._more:
            self._began = True
            data: bytes = self._frame.decompress(self.encoded, limit)
            self.encoded = b""
            self._more = not (self._frame.needs_input or self._frame.eof)
            if self._frame.eof:
                self.encoded = self._frame.unused_data
                self._frame, self._began = self._library.ZstdDecompressor(), False
            if data:
                return data
        return b""

    def is_complete(self) -> bool:
        return not self._began


_DECODERS: dict[str, type[Decoder]] = {"gzip": _Gzip, "x-gzip": _Gzip, "deflate": _Deflate, "br": _Brotli}
_ZSTANDARD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
with contextlib.suppress(ImportError):  # urllib3 before 2.6 uses another library
    if "zstd" in HTTPResponse.CONTENT_DECODERS and find_spec(_ZSTANDARD):
        _DECODERS["zstd"] = _Zstandard


class EncodedResponse(HTTPResponse):
    """urllib3's response, whose `stream` raises `TruncatedBody` at the end of an incomplete body.

    It is made by changing the class of a response, so it has no attributes of its own before its body is read.
    """

    _links: list[Decoder] | None = None
    """The decoders, in the order in which they are applied."""
    _ready = b""

    def stream(self, amt: int | None = _AT_ONCE, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]
        wanted = self.decode_content if decode_content is None else decode_content
        links = self._known_links() if wanted else None
        if not links:
            # With an empty list, nothing is decoded. urllib3 would take an unknown coding for deflate.
            yield from super().stream(amt, decode_content if links is None else False)
            return
        # A chunked body may pause between chunks, so what has arrived is passed on.
        exact = None if self.in_chunks else amt
        yield from self._decoded_pieces(links, amt, exact)
        for data in super().stream(amt, decode_content=False):
            links[0].encoded += data
            yield from self._decoded_pieces(links, amt, exact)
            if self._ready and self.is_late():
                ready, self._ready = self._ready, b""
                yield ready
        if self._ready:
            data, self._ready = self._ready, b""
            yield data
        self._check_end(links)

    @property
    def in_chunks(self) -> bool:
        """Whether the body comes in chunks, seen here or by what reads from the socket."""
        return self.chunked or getattr(getattr(self, "_original_response", None), "in_chunks", False)

    def _known_links(self) -> list[Decoder] | None:
        """The decoders; an empty list if there is nothing to decode, None if urllib3 has begun to decode."""
        if self._links is None and not self.tell():  # else a part was read in another way
            self._links = _decoders(self.headers.get("Content-Encoding", ""))
        return self._links

    def _check_end(self, links: list[Decoder]) -> None:
        """Raise `TruncatedBody` if the body ended before its encoded data did."""
        if self.status != _PART and not all(link.is_complete() for link in links):
            raise TruncatedBody("the encoded body is incomplete")

    def is_late(self) -> bool:
        """Whether to pass on now what has been decoded, though it is less than was asked for."""
        return False

    def _decoded_pieces(self, links: list[Decoder], amt: int | None, exact: int | None) -> Iterator[bytes]:
        """What can be decoded by now: in pieces of `exact` bytes, or as it comes."""
        if amt is None:
            # All of the encoded body is here, and each step copies the rest of it.
            at_once = max(_AT_ONCE, len(links[0].encoded))
            if data := b"".join(iter(lambda: next_piece(links, at_once), b"")):
                yield data
            return
        while data := next_piece(links, amt):
            if exact is None:
                yield data
                continue
            data = self._ready + data
            while len(data) >= exact:
                self._ready = data[exact:]
                yield data[:exact]
                data = self._ready
            self._ready = data


class Decoding:
    """Decodes a body as it comes in. One whose codings are not known stays as it is."""

    def __init__(self, codings: str, status: int) -> None:
        """DecodeError if there are too many codings."""
        self._links = _decoders(codings)
        self._part = status == _PART

    def decoded(self, data: bytes) -> Iterator[bytes]:
        """Add the next bytes of the body, and yield what can be decoded. DecodeError if they are not encoded so."""
        links = self._links
        if not links:
            yield data
            return
        links[0].encoded += data
        while piece := next_piece(links, _AT_ONCE):
            yield piece

    def check_end(self) -> None:
        """The body has ended. Raises `TruncatedBody` if its encoded data is incomplete."""
        if not self._part and not all(link.is_complete() for link in self._links):
            raise TruncatedBody("the encoded body is incomplete")


def is_cut_off(codings: str, status: int, pieces: Iterable[bytes], most: int) -> bool:
    """Whether a body ends before its encoded data does, as far as its first `most` decoded bytes tell.

    A body that is not encoded as it says does not count as cut off.
    """
    try:
        decoding = Decoding(codings, status)
        for piece in pieces:
            for decoded in decoding.decoded(piece):
                most -= len(decoded)
                if most < 0:
                    return False
        decoding.check_end()
    except DecodeError:
        return False
    except TruncatedBody:
        return True
    return False


def next_piece(links: list[Decoder], limit: int) -> bytes:
    """The next piece of output of the last decoder."""
    *others, link = links
    try:
        while not (data := link.decode(limit)) and others and (more := next_piece(others, limit)):
            link.encoded += more
    except HTTPResponse.DECODER_ERROR_CLASSES as error:
        raise DecodeError("the body is not what its Content-Encoding says", error) from error
    return data


def _decoders(codings: str) -> list[Decoder]:
    """The decoders for a Content-Encoding; none if a coding is unknown: then the body is returned as it came.

    `identity` and empty members of the list are ignored (RFC 9110, sections 5.6.1 and 8.4.1).
    """
    names = [name for part in codings.lower().split(",") if (name := part.strip()) not in ("", "identity")]
    if not all(name in _DECODERS and name in HTTPResponse.CONTENT_DECODERS for name in names):
        return []
    if len(names) > _MOST_CODINGS:
        raise DecodeError(f"more than {_MOST_CODINGS} codings in Content-Encoding")
    return [_DECODERS[name]() for name in reversed(names)]
