"""Packed bodies come out as urllib3 unpacks them, and one that breaks off is an error."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterable

import brotlicffi
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError

from sleepwalker.transport.codings import EncodedResponse, TruncatedBody


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]) + gzip.compress(b""),
    "deflate": zlib.compress,
    "DEFLATE": raw_deflate,
    "br": brotlicffi.compress,
    "gzip, br": lambda data: brotlicffi.compress(gzip.compress(data)),
    "deflate,gzip": lambda data: gzip.compress(zlib.compress(data)),
}
with contextlib.suppress(ImportError):
    zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    PACKERS["zstd"] = zstd.compress
codings = st.sampled_from(list(PACKERS))
#: Short ones, those that pack well, and some in between.
bodies = st.tuples(st.binary(max_size=300), st.sampled_from([1, 2, 700])).map(lambda drawn: drawn[0] * drawn[1])
sizes = st.sampled_from([1, 3, 1000, 65_536, None])


def _take(pieces: Iterable[bytes], came: bytearray) -> None:
    for piece in pieces:
        came += piece


class Wire(io.BytesIO):
    """Is closed at its end, as http.client's answers are."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data or size is None or size < 0:
            self.close()
        return data


def answer(coding: str, packed: bytes) -> HTTPResponse:
    return HTTPResponse(Wire(packed), {"Content-Encoding": coding}, preload_content=False, decode_content=True)


def ours(coding: str, packed: bytes) -> HTTPResponse:
    made = answer(coding, packed)
    made.__class__ = EncodedResponse
    return made


@settings(deadline=None)
@given(codings, bodies, sizes)
def test_a_body_comes_out_whole_in_the_pieces_that_urllib3_makes(coding: str, body: bytes, size: int | None) -> None:
    if size in (1, 3):
        body = body[:500]
    packed = PACKERS[coding](body)
    pieces = list(ours(coding, packed).stream(size))
    assert b"".join(pieces) == body
    assert size is None or all(len(piece) == size for piece in pieces[:-1])
    if size not in (1, 3):  # of which urllib3 may lose the last one
        assert list(answer(coding, packed).stream(size)) == pieces


@settings(deadline=None)
@given(codings, bodies, st.data())
def test_a_body_that_breaks_off_is_an_error(coding: str, body: bytes, data: st.DataObject) -> None:
    packed = PACKERS["gzip" if coding == "x-gzip" else coding](body)  # after a member a body may end
    assume(len(packed) > 1)
    cut = data.draw(st.integers(1, len(packed) - 1))
    response, came = ours(coding, packed[:cut]), bytearray()
    with pytest.raises(TruncatedBody):
        _take(response.stream(1000), came)
    assert body.startswith(came)


@pytest.mark.parametrize("coding", PACKERS)
def test_no_body_at_all_is_whole(coding: str) -> None:
    assert list(ours(coding, b"").stream()) == []


@pytest.mark.parametrize("rest", [b"\0", b"\0\0\0", b"garbage", b"x" * 100_000])
def test_what_follows_a_gzip_member_and_is_none_is_left_out(rest: bytes) -> None:
    packed = gzip.compress(b"body") + rest
    assert b"".join(ours("gzip", packed).stream(1000)) == b"body" == answer("gzip", packed).read()


def test_half_of_a_second_member_is_an_error() -> None:
    with pytest.raises(TruncatedBody):
        list(ours("gzip", gzip.compress(b"body") + gzip.compress(b"more")[:15]).stream())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, br"])
def test_what_is_not_packed_is_another_error(coding: str) -> None:
    with pytest.raises(DecodeError):
        list(ours(coding, b"not packed at all").stream())


@pytest.mark.parametrize(
    "coding", ["unknown", "identity", "gzip, unknown", "unknown, gzip", "gzip;q=1", "", ",", "x" * 99]
)
def test_a_body_in_an_unknown_coding_is_given_as_it_came(coding: str) -> None:
    """urllib3 takes an unknown coding in a list for deflate."""
    assert list(ours(coding, b"abc").stream()) == [b"abc"]


@pytest.mark.parametrize("coding", ["gzip, identity", "identity,gzip", "gzip,", ",,gzip, ", "Identity, GZIP"])
def test_identity_and_nothing_are_no_codings(coding: str) -> None:
    assert list(ours(coding, gzip.compress(b"abc")).stream()) == [b"abc"]


def test_more_than_five_codings_are_refused() -> None:
    """Each may make the body a thousand times longer."""
    assert list(ours(", ".join(["gzip"] * 5), b"").stream()) == []
    with pytest.raises(DecodeError, match="more than 5 codings"):
        list(ours(", ".join(["gzip"] * 6), b"").stream())


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_long_body_in_one_piece_takes_linear_time(coding: str) -> None:
    """Each 64 kB of it copied all that was left of the packed one: 60 MB took two minutes."""
    body = random.Random(1).randbytes(24_000_000)
    packed = zlib.compress(body, 0) if coding == "deflate" else gzip.compress(body, 0)
    began = time.process_time()
    (piece,) = ours(coding, packed).stream(None)
    assert piece == body
    assert time.process_time() - began < 2


def test_a_range_of_a_packed_body_ends_where_it_was_asked_to() -> None:
    packed = gzip.compress(random.Random(1).randbytes(10_000))
    response = HTTPResponse(
        Wire(packed[:5000]), {"Content-Encoding": "gzip"}, status=206, preload_content=False, decode_content=True
    )
    response.__class__ = EncodedResponse
    assert gzip.decompress(packed).startswith(b"".join(response.stream()))


def test_who_begins_a_second_time_goes_on_where_the_first_ended() -> None:
    response = ours("gzip", gzip.compress(bytes(range(256)) * 1000))
    came = [next(iter(response.stream(1000))) for _ in range(100)]
    assert b"".join(came) + b"".join(response.stream(64)) == bytes(range(256)) * 1000


def test_who_began_to_read_otherwise_goes_on_as_with_urllib3() -> None:
    packed = gzip.compress(bytes(range(256)) * 1000)
    response = ours("gzip", packed)
    assert response.read(1000) + b"".join(response.stream()) == bytes(range(256)) * 1000
    assert b"".join(ours("gzip", packed).stream(decode_content=False)) == packed
