"""Whether a label in punycode, as in `xn--bcher-kva.example`, means a name."""

from __future__ import annotations

import unicodedata

#: Control characters, surrogates, private and unassigned ones, blanks, and signs that only shape others.
_NOT_ALLOWED = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_JOINERS = ("\u200c", "\u200d")
#: The combining class of a virama, which a joiner may follow (RFC 5892, A.1).
_VIRAMA = 9


def means_a_name(label: str) -> bool:
    """Whether a label that begins with `xn--` is what a name in other letters becomes (UTS 46, 4.1, as browsers check).

    If it is not, resolvers and proxies may read different names.
    """
    try:
        text = label[4:].encode("ascii").decode("punycode")
        again = text.encode("punycode").decode("ascii")
    except (ValueError, OverflowError):
        return False
    if text.isascii() or again != label[4:] or unicodedata.normalize("NFKC", text.lower()) != text:
        return False
    if unicodedata.category(text[0]).startswith("M") or not all(map(_is_allowed, " " + text, text)):
        return False
    directions = set(map(unicodedata.bidirectional, text))
    return not ("L" in directions and directions & {"R", "AL"})  # RFC 5893


def _is_allowed(before: str, character: str) -> bool:
    if character in _JOINERS:
        return unicodedata.combining(before) == _VIRAMA or unicodedata.bidirectional(before) == "AL"
    return character != "\ufffd" and unicodedata.category(character) not in _NOT_ALLOWED
