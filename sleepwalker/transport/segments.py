"""Finds dot segments that the values of a template put into a URI: `/orders/{id}` must not mean `/orders` or `/`."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from urllib.parse import unquote

# An expression of a template (RFC 6570); it contains no braces.
_EXPRESSION = re.compile(r"\{[^{}]+\}")
_SEPARATORS = re.compile(r"[/\\]")
#: A proxy may decode once, and the server behind it again.
_DECODINGS = 2
#: Operators that expand to a query or fragment, so not to a part of the path.
_NO_PATH = ("{?", "{#", "{&")


def has_dots(segment: str) -> bool:
    """Whether a server may read a dot segment here: `.` or `..`, also encoded, and before a `;` (Tomcat).

    Also after an encoded `/`: nginx decodes a path before it resolves dot segments.
    """
    for _ in range(_DECODINGS + 1):
        if any(part.partition(";")[0] in (".", "..") for part in _SEPARATORS.split(segment)):
            return True
        decoded = unquote(segment)
        if decoded == segment:
            return False
        segment = decoded
    return False


def may_have_dots(uri: str) -> bool:
    """A quick check: False means that there are none."""
    return "." in uri or "%2" in uri


def dotted_by(template: str, uri: str, expand: Callable[[str], str]) -> str | None:
    """The expressions of the template whose values put a dot segment into the path of `uri`; None if none do.

    `expand` expands one expression. A literal dot segment of the template is allowed.
    """
    path = re.split(r"[?#]", uri, maxsplit=1)[0]
    if not has_dots(path):
        return None
    spans = deque(_spans(template, expand))
    start = 0
    for segment in path.split("/"):
        end = start + len(segment)
        while spans and spans[0][2] < start:  # linear: a template may have thousands of expressions
            spans.popleft()
        if spans and spans[0][1] <= end and has_dots(segment):
            return "".join(expression for expression, begins, _ in spans if begins <= end)
        start = end + 1
    return None


def _spans(template: str, expand: Callable[[str], str]) -> list[tuple[str, int, int]]:
    """Expressions that may expand to a part of the path, each with start and end of its expansion in the URI."""
    spans = []
    literal = at = 0
    for match in _EXPRESSION.finditer(template):
        at += match.start() - literal
        literal = match.end()
        size = len(expand(match[0]))
        if not match[0].startswith(_NO_PATH):
            spans.append((match[0], at, at + size))
        at += size
    return spans
