"""Packed answers: whole, cut short in framing that is intact, and none at all."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import brotlicffi
import pytest
from servers import FaultServer, reply

from sleepwalker import ANONYMOUS, Connection, HTTPServiceUnavailable, Policy, ReadError

pytestmark = pytest.mark.both_drivers

POLICY = Policy(retry=False, breaker=False, timeout={"connect": 5, "read": 10, "attempt": 10, "total": 20})
NUMBERS = json.dumps(list(range(10_000))).encode()


@pytest.fixture
def conn(server: FaultServer) -> Iterator[Connection]:
    with Connection(server.url, ANONYMOUS, policy=POLICY) as connection:
        yield connection


def _take(pieces: Iterable[bytes], came: bytearray) -> None:
    for piece in pieces:
        came += piece


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(NUMBERS),
    "gzip ": gzip.compress(NUMBERS[:99]) + gzip.compress(NUMBERS[99:]),
    "deflate": zlib.compress(NUMBERS),
    "deflate ": raw_deflate(NUMBERS),
    "br": brotlicffi.compress(NUMBERS, quality=5),
    "gzip, br": brotlicffi.compress(gzip.compress(NUMBERS), quality=5),
}
FRAMING: dict[str, dict[str, Any]] = {"length": {}, "chunked": {"chunked": True}, "close": {"close": True}}


@pytest.mark.parametrize("framing", FRAMING)
@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("warm", [False, True], ids=["first", "second"])
def test_half_of_a_packed_body_is_no_answer(server: FaultServer, coding: str, framing: str, warm: bool) -> None:
    """Its framing is intact: what died was behind whatever packs. It used to be a 200 with half of the rows."""
    packed, headers = PACKED[coding], {"Content-Encoding": coding.strip()}
    for half in (len(packed) // 2, len(packed) - 1, 5):
        policy = POLICY.replace(retry={"attempts": 2, "wait_initial": 0, "jitter": "none"})
        with Connection(server.url, ANONYMOUS, policy=policy) as conn:
            if warm:
                conn.get("/")
            server.script(*(reply(200, body, headers, **FRAMING[framing]) for body in (packed[:half], packed)))
            answer = conn.get("/")
            assert answer.content == NUMBERS
            first, second = answer.attempts  # type: ignore[attr-defined]
            assert (first.error.partition(":")[0], second.error) == ("ReadError", None)
            assert conn.health.failures == 1


@pytest.mark.parametrize("framing", FRAMING)
def test_a_stream_of_half_a_packed_body_ends_with_an_error(server: FaultServer, conn: Connection, framing: str) -> None:
    packed, came = PACKED["gzip"], bytearray()
    server.script(reply(200, packed[: len(packed) // 2], {"Content-Encoding": "gzip"}, **FRAMING[framing]))
    pieces = conn.get("/", stream=True).iter_content(100)
    with pytest.raises(ReadError):
        _take(pieces, came)
    assert NUMBERS.startswith(came)
    assert len(came) > 1000
    assert conn.health.failures == 1


@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_body_needs_no_end(server: FaultServer, conn: Connection, method: str, status: int) -> None:
    server.script(*[reply(status, b"", {"Content-Encoding": "gzip"})] * 2)
    for _ in range(2):
        answer = conn.request(method, "/", raise_for_status=False)
        assert (answer.status_code, answer.content) == (status, b"")


def test_an_error_with_half_a_packed_body_is_its_status(server: FaultServer, conn: Connection) -> None:
    packed = PACKED["gzip"]
    server.script(reply(503, packed[: len(packed) // 2], {"Content-Encoding": "gzip"}))
    with pytest.raises(HTTPServiceUnavailable):
        conn.get("/")


@pytest.mark.parametrize("body", [PACKED["gzip"][:100], b"no gzip"], ids=["cut off", "no gzip"])
def test_a_redirect_is_followed_whatever_its_body_is(server: FaultServer, conn: Connection, body: bytes) -> None:
    server.script(reply(302, body, {"Content-Encoding": "gzip", "Location": "/there"}), reply(200, b"here"))
    assert conn.get("/").content == b"here"


# -- errors whose body is not what it says -------------------------------------------------------------

BAD = {
    "no gzip": ("gzip", b'{"error_text": "plain"}'),
    "half of gzip": ("gzip", PACKED["gzip"][:5000]),
    "no br": ("br", b"\xff\xfe not packed"),
    "no deflate": ("deflate", b"\x00" * 100),
    "gzip, once": ("gzip, br", PACKED["gzip"]),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", BAD)
def test_an_error_body_that_cannot_be_decoded_is_kept_as_it_came(
    server: FaultServer, conn: Connection, kind: str, chunked: bool, stream: bool
) -> None:
    coding, body = BAD[kind]
    server.default = reply(503, body, {"Content-Encoding": coding, "Content-Type": "text/plain"}, chunked=chunked)
    with pytest.raises(HTTPServiceUnavailable) as caught:
        conn.get("/", stream=stream)
    error = caught.value
    assert str(error) == f"Service Unavailable (its body could not be decoded: it is incomplete or not {coding})"
    assert (error.json_data, error.text, error.response.content) == (None, "", body)
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.json_data, twin.text, twin.response.content) == (str(error), None, "", body)
    answer = conn.get("/", raise_for_status=False)
    assert (answer.status_code, answer.content) == (503, body)


def test_what_an_error_says_of_its_coding_is_a_coding(server: FaultServer, conn: Connection) -> None:
    """The rest of the header may be anything."""
    server.default = reply(503, b"x" * 100, {"Content-Encoding": "gzip, canary"})
    with pytest.raises(HTTPServiceUnavailable) as caught:
        conn.get("/")
    assert "canary" not in str(caught.value)


def test_a_long_error_body_is_decoded_as_far_as_it_is_kept(server: FaultServer, conn: Connection) -> None:
    body = random.Random(5).randbytes(3_000_000)
    for packed in (gzip.compress(body), gzip.compress(bytes(3_000_000))):
        server.script(reply(503, packed, {"Content-Encoding": "gzip"}))
        with pytest.raises(HTTPServiceUnavailable) as caught:
            conn.get("/")
        content = caught.value.response.content
        assert str(caught.value) == "Service Unavailable"
        assert 900_000 < len(content) <= 1 << 20
        assert content in (body[: len(content)], bytes(len(content)))
