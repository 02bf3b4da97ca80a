"""Packed bodies (RFC 9110, section 8.4), unpacked up to their end.

urllib3 takes whatever could be unpacked for the whole body. Where an application dies while something between it and us
packs what came, the framing is intact, and half of the body would pass for all of it.
"""

from __future__ import annotations

import contextlib
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError, ProtocolError

_GZIP_BEGINS = b"\x1f\x8b"
#: As urllib3 has it: each coding may make the body a thousand times as long.
_MOST_CODINGS = 5
_AT_ONCE = 1 << 16
#: 206: a range of the packed body, which ends wherever it was asked to.
_PART = 206


class Unfinished(ProtocolError):
    """The body arrived as announced, and what is packed in it goes on."""


class Unpacker(Protocol):
    """One coding undone, step by step."""

    packed: bytes
    """What was not unpacked yet."""

    def unpack(self, limit: int) -> bytes:
        """Some of the body, up to about `limit` bytes; none where that takes more of the packed one."""
        ...

    def is_whole(self) -> bool:
        """Whether it is at its end, or never began."""
        ...


class _Gzip:
    """One or more members; what follows them and is none is left out, as urllib3 and gzip do."""

    def __init__(self) -> None:
        self.packed = b""
        self._member = zlib.decompressobj(31)
        self._begin = b""
        self._later = False
        self._over = False
        self._more = False

    def unpack(self, limit: int) -> bytes:
        while (self.packed or self._more) and not self._over:
            self._begin = self._begin or self.packed[:2]
            try:
                data = self._member.decompress(self.packed, limit)
            except zlib.error:
                if not self._later:
                    raise
                self._over = True
                break
            self._more = len(data) == limit
            self.packed = self._member.unconsumed_tail
            if self._member.eof:
                self.packed = self._member.unused_data
                self._member = zlib.decompressobj(31)
                self._begin, self._later, self._more = b"", True, False
            if data:
                return data
        if self._over:
            self.packed = b""
        return b""

    def is_whole(self) -> bool:
        return self._over or not self._begin or (self._later and not _GZIP_BEGINS.startswith(self._begin))


class _Deflate:
    """With zlib's wrapping, as it should have, or without it."""

    def __init__(self) -> None:
        self.packed = b""
        self._stream = zlib.decompressobj()
        self._first: bytes | None = b""
        self._more = False

    def unpack(self, limit: int) -> bytes:
        while (self.packed or self._more) and not self._stream.eof:
            try:
                data = self._stream.decompress(self.packed, limit)
            except zlib.error:
                if self._first is None:
                    raise
                self.packed, self._first = self._first + self.packed, None
                self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
                continue
            if self._first is not None:
                self._first = None if data or len(self._first) > _AT_ONCE else self._first + self.packed
            self._more = len(data) == limit
            self.packed = self._stream.unconsumed_tail
            if data:
                return data
        if self._stream.eof:
            self.packed = b""
        return b""

    def is_whole(self) -> bool:
        return self._stream.eof or self._first == b""


class _Brotli:
    def __init__(self) -> None:
        try:
            library = import_module("brotlicffi")
        except ModuleNotFoundError:
            library = import_module("brotli")
        self.packed = b""
        self._stream: Any = library.Decompressor()
        self._began = False
        self._more = False

    def unpack(self, limit: int) -> bytes:
        if not self.packed and not self._more:
            return b""
        self._began = True
        if self._more:  # takes no more of the packed body until it is rid of what it has
            data: bytes = self._stream.process(b"", output_buffer_limit=limit)
        else:
            packed, self.packed = self.packed, b""
            try:
                data = self._stream.process(packed, output_buffer_limit=limit)
            except TypeError:  # before 1.2.0
                return bytes(self._stream.process(packed))
        self._more = not self._stream.can_accept_more_data()
        return data or self.unpack(limit)

    def is_whole(self) -> bool:
        return not self._began or bool(self._stream.is_finished())


class _Zstandard:
    """One or more frames."""

    def __init__(self) -> None:
        self.packed = b""
        self._library = import_module(_ZSTANDARD)
        self._frame: Any = self._library.ZstdDecompressor()
        self._began = False
        self._more = False

    def unpack(self, limit: int) -> bytes:
        while self.packed or self._more:
            self._began = True
            data: bytes = self._frame.decompress(self.packed, limit)
            self.packed = b""
            self._more = not (self._frame.needs_input or self._frame.eof)
            if self._frame.eof:
                self.packed = self._frame.unused_data
                self._frame, self._began = self._library.ZstdDecompressor(), False
            if data:
                return data
        return b""

    def is_whole(self) -> bool:
        return not self._began


_UNPACKERS: dict[str, type[Unpacker]] = {"gzip": _Gzip, "x-gzip": _Gzip, "deflate": _Deflate, "br": _Brotli}
_ZSTANDARD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
with contextlib.suppress(ImportError):  # urllib3 before 2.6 has another one
    if "zstd" in HTTPResponse.CONTENT_DECODERS and find_spec(_ZSTANDARD):
        _UNPACKERS["zstd"] = _Zstandard


class Packed(HTTPResponse):
    """urllib3's answer, whose `stream` raises `Unfinished` at the end of a body that is not all there.

    It is made of one by changing its class, and has nothing of its own before its body is read.
    """

    _links: list[Unpacker] | None = None
    """Undo the codings, the outermost one first."""
    _ready = b""

    def stream(self, amt: int | None = _AT_ONCE, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]
        wanted = self.decode_content if decode_content is None else decode_content
        if wanted and self._links is None and not self.tell():  # of a body that was begun otherwise, we lack a part
            self._links = _unpackers(self.headers.get("Content-Encoding", ""))
        links = self._links
        if not wanted or not links:
            yield from super().stream(amt, decode_content)
            return
        # A body with chunks may stand still between two of them, and what came is not held back.
        exact = None if self.chunked else amt
        yield from self._unpacked(links, amt, exact)
        for data in super().stream(amt, decode_content=False):
            links[0].packed += data
            yield from self._unpacked(links, amt, exact)
        if self._ready:
            data, self._ready = self._ready, b""
            yield data
        if self.status != _PART and not all(link.is_whole() for link in links):
            raise Unfinished("the packed body broke off")

    def _unpacked(self, links: list[Unpacker], amt: int | None, exact: int | None) -> Iterator[bytes]:
        """What can be had of the body by now: in pieces of `exact` bytes each, or as it comes."""
        if amt is None:
            # All of the packed body is here at once, and each step copies what is left of it.
            at_once = max(_AT_ONCE, len(links[0].packed))
            if data := b"".join(iter(lambda: self._unpack(links, at_once), b"")):
                yield data
            return
        while data := self._unpack(links, amt):
            if exact is None:
                yield data
                continue
            data = self._ready + data
            while len(data) >= exact:
                self._ready = data[exact:]
                yield data[:exact]
                data = self._ready
            self._ready = data

    def _unpack(self, links: list[Unpacker], limit: int) -> bytes:
        """The next piece that the last of the links gives."""
        *others, link = links
        try:
            while not (data := link.unpack(limit)) and others and (more := self._unpack(others, limit)):
                link.packed += more
        except self.DECODER_ERROR_CLASSES as error:
            raise DecodeError("the body is not what its Content-Encoding says", error) from error
        return data


def _unpackers(codings: str) -> list[Unpacker]:
    """None for what is not packed, or not in a way that we know: urllib3 may."""
    names = [name.strip() for name in codings.lower().split(",")]
    known = len(names) <= _MOST_CODINGS and all(
        name in _UNPACKERS and name in HTTPResponse.CONTENT_DECODERS for name in names
    )
    return [_UNPACKERS[name]() for name in reversed(names)] if known else []
