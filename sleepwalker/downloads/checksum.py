"""The checksum of a file, as a caller writes it: `sha256:9f86d0…`."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple, Protocol

#: Collision-resistant algorithms, and the bytes of their digests.
_SIZES = {
    "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64, "sha3_224": 28, "sha3_256": 32, "sha3_384": 48,
    "sha3_512": 64, "blake2b": 64, "blake2s": 32,
}  # fmt: skip
_BROKEN = ("md5", "sha1")


class Hasher(Protocol):
    """A running hash."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class Checksum(NamedTuple):
    """An algorithm, and the digest that a file must have, in lower-case hexadecimal digits."""

    algorithm: str
    digest: str

    @classmethod
    def of(cls, text: object) -> Checksum:
        """From `sha256:9f86d0…`. ValueError or TypeError says what is allowed."""
        if not isinstance(text, str):
            raise TypeError(f'checksum must be a str such as "sha256:9f86d0...", not {type(text).__name__}')
        name, colon, digest = text.partition(":")
        algorithm, digest = name.strip().lower().replace("-", "_"), digest.strip().lower()
        if algorithm.startswith("sha_"):  # as in SHA-256
            algorithm = algorithm.replace("_", "", 1)
        if not colon or algorithm not in _SIZES:
            why = " is broken: files can be made to fit it" if algorithm in _BROKEN else " is none of them"
            named = "" if not colon else f"; {name[:20]!r}{why}"
            raise ValueError(
                f"checksum must be an algorithm, a colon and hexadecimal digits{named}: {', '.join(_SIZES)}"
            )
        size = 2 * _SIZES[algorithm]
        if len(digest) != size or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(
                f"checksum: {algorithm} has {size} hexadecimal digits, and {len(digest)} characters were given: "
                f"{digest[:20]!r}"
            )
        return cls(algorithm, digest)

    def hasher(self) -> Hasher:
        """A new hash."""
        return hashlib.new(self.algorithm)

    def fits(self, hasher: Hasher) -> bool:
        """Whether the hashed bytes have it."""
        return hmac.compare_digest(hasher.hexdigest(), self.digest)
