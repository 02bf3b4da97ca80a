"""Checksums as callers write them."""

from __future__ import annotations

import hashlib

import pytest

from sleepwalker.downloads.checksum import _SIZES, Checksum

EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("text", [f"sha256:{EMPTY}", f"SHA-256: {EMPTY.upper()} ", f"sha-256:{EMPTY}"])
def test_a_checksum_is_read_as_it_is_published(text: str) -> None:
    assert Checksum.of(text) == Checksum("sha256", EMPTY)


@pytest.mark.parametrize("algorithm", _SIZES)
def test_every_algorithm_that_is_allowed_makes_digests_of_its_length(algorithm: str) -> None:
    checksum = Checksum.of(f"{algorithm}:{hashlib.new(algorithm, b'a').hexdigest()}")
    hasher = checksum.hasher()
    assert not checksum.fits(hasher)
    hasher.update(b"a")
    assert checksum.fits(hasher)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (EMPTY, "an algorithm, a colon"),
        (f"sha257:{EMPTY}", "'sha257' is none of them"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "'md5' is broken"),
        (f"sha-1:{EMPTY[:40]}", "'sha-1' is broken"),
        ("sha256:abc", "sha256 has 64 hexadecimal digits, and 3 characters"),
        (f"sha256:{'g' * 64}", "sha256 has 64 hexadecimal digits"),
    ],
)
def test_a_checksum_that_cannot_be_is_refused_with_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Checksum.of(text)


def test_a_checksum_is_text() -> None:
    with pytest.raises(TypeError, match="checksum must be a str"):
        Checksum.of(b"sha256:")
