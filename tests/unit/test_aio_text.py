"""The text of a stream, whatever encoding its server names."""

from __future__ import annotations

import random
from encodings.aliases import aliases

import pytest

from sleepwalker.transport.aio.stream import _TextDecoder

ENCODINGS = sorted(
    {*aliases, *aliases.values(), "idna", "undefined", "punycode", "unicode_escape", "no-such", "", "\0"}
)


def text_of(data: bytes, encoding: str | None, size: int) -> str:
    decoder = _TextDecoder(encoding)
    pieces = [decoder.decode(data[begin : begin + size]) for begin in range(0, len(data), size)]
    return "".join(pieces) + decoder.decode(b"", final=True)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # unicode_escape says so
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_no_encoding_that_a_server_may_name_raises(size: int) -> None:
    """`charset=no-such`, or `hex`, was a LookupError or an AssertionError in the middle of a stream."""
    chance = random.Random(1)
    for encoding in ENCODINGS:
        for data in (b"", b"plain text", b"\\", b"\\u12", chance.randbytes(300)):
            assert isinstance(text_of(data, encoding, size), str), encoding


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "shift_jis"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_text_is_that_of_its_encoding_however_its_bytes_arrive(encoding: str, size: int) -> None:
    text = "ä line\nand another " if encoding == "latin-1" else "日本 line\nand another "
    assert text_of(text.encode(encoding), encoding, size) == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_wide_encodings_without_a_mark_begin_with_the_low_byte(encoding: str, size: int) -> None:
    assert text_of("日本 line".encode(f"{encoding}-le"), encoding, size) == "日本 line"


@pytest.mark.parametrize("encoding", [None, "no-such", "hex", "idna", "undefined"])
def test_what_names_no_encoding_of_texts_is_read_as_utf_8(encoding: str | None) -> None:
    assert text_of("ä line".encode(), encoding, 1) == "ä line"
