"""Generates chains of redirects over two origins, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.wire.differential.grammar import Draw

METHODS = ("GET", "GET", "HEAD", "POST", "PUT", "DELETE")
STATUSES = (301, 302, 303, 307, 308)
#: What `Location` says. `own` and `other` are origins, `path` is where the next hop is.
FORMS: dict[str, Callable[[str, str, str], bytes]] = {
    "path": lambda own, other, path: path.encode(),
    "url": lambda own, other, path: f"{own}{path}".encode(),
    "other origin": lambda own, other, path: f"{other}{path}".encode(),
    "last segment": lambda own, other, path: path.rpartition("/")[2].encode(),
    "dot segments": lambda own, other, path: f"/a/./b/../..{path}".encode(),
    "no scheme": lambda own, other, path: f"{own[5:]}{path}".encode(),
    "no scheme, other origin": lambda own, other, path: f"{other[5:]}{path}".encode(),
    "upper case": lambda own, other, path: f"HTTP{own[4:]}{path}".encode(),
    "query": lambda own, other, path: f"{path}?a=1&b=%20".encode(),
    "fragment": lambda own, other, path: f"{path}#part".encode(),
    "query and fragment": lambda own, other, path: f"{path}?q#part".encode(),
    "space": lambda own, other, path: f"{path}?a b".encode(),
    "latin-1": lambda own, other, path: f"{path}?\xe4".encode("latin-1"),
    "utf-8": lambda own, other, path: f"{path}?ä✓".encode(),
    "half an escape": lambda own, other, path: f"{path}?%zz%".encode(),
    "signs": lambda own, other, path: f'{path}?a|b^`{{}}"<>'.encode(),
    "blanks around": lambda own, other, path: f"  {path} \t".encode(),
    "userinfo": lambda own, other, path: f"http://user:password@{own[7:]}{path}".encode(),
    "one slash": lambda own, other, path: f"http:{path}".encode(),
    "three slashes": lambda own, other, path: f"//{path}".encode(),
    "backslashes": lambda own, other, path: f"\\\\{other[7:]}{path}".encode(),
    "slash and backslash": lambda own, other, path: f"/\\{other[7:]}{path}".encode(),
    "another scheme": lambda own, other, path: f"ftp://127.0.0.1{path}".encode(),
    "a script": lambda own, other, path: b"javascript:alert(1)",
    "open bracket": lambda own, other, path: f"http://[::1{path}".encode(),
    "port out of range": lambda own, other, path: f"http://127.0.0.1:99999{path}".encode(),
    "port of letters": lambda own, other, path: f"http://127.0.0.1:http{path}".encode(),
    "no host": lambda own, other, path: f"http:///{path}".encode(),
    "empty": lambda own, other, path: b"",
    "only a fragment": lambda own, other, path: b"#part",
    "control": lambda own, other, path: f"{path}?a\x01b".encode(),
    "only a query": lambda own, other, path: b"?again",
}
PLAIN = ("path", "path", "path", "url", "url", "last segment", "query", "other origin")
BODIES = {
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "broken chunks": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "coding that is not": b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "long": b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000,
}
HEADERS: dict[str, dict[str, str]] = {
    "authorization": {"Authorization": "Bearer secret"},
    "key": {"X-Api-Key": "secret"},
    "cookie": {"Cookie": "own=secret"},
    "accept": {"Accept": "application/json"},
}


@dataclass(frozen=True)
class Chain:
    """A request, and the responses that it meets: by origin (0 or 1) and path."""

    seed: str
    without: frozenset[str]
    """Oddities that it was not to have."""
    method: str
    headers: dict[str, str]
    body: bytes | None
    oddities: tuple[str, ...]
    forms: tuple[str, ...]
    statuses: tuple[int, ...]
    replies: dict[tuple[int, str], bytes] = field(repr=False)

    @property
    def path(self) -> str:
        """Where it begins, at the first origin."""
        return f"/{self.seed}/0"

    def leads(self, *forms: str) -> bool:
        """Whether one of its `Location` lines has one of these forms."""
        return not set(self.forms).isdisjoint(forms)

    def shown(self) -> str:
        """For the text of a failure."""
        lines = "".join(f"\n{origin}{path}: {data!r:.300}" for (origin, path), data in self.replies.items())
        return f"seed {self.seed}, {self.method} {self.headers}, {self.oddities}{lines}"


def make(seed: str, without: Iterable[str] = (), *, origins: tuple[str, str]) -> Chain:
    """The chain of a seed."""
    draw = Draw(seed, without)
    method = draw.plain("method", METHODS)
    headers = dict(draw.odd("headers", 0.4, HEADERS) or {})
    replies: dict[tuple[int, str], bytes] = {}
    forms: list[str] = []
    statuses: list[int] = []
    at, hops = 0, draw.plain("hops", [1, 1, 1, 2, 3])
    for hop in range(hops):
        form = draw.odd(f"location {hop}", 0.35, {name: name for name in FORMS}) or draw.plain(f"form {hop}", PLAIN)
        status = draw.plain(f"status {hop}", STATUSES)
        path = f"/{seed}/{hop + 1}"
        location = FORMS[form](origins[at], origins[1 - at], path)
        cookie = b"Set-Cookie: c%d=1; Path=/\r\n" % hop if draw.happens(f"cookie {hop}", 0.15) else b""
        body = draw.odd(f"body {hop}", 0.1, BODIES) or b"Content-Length: 0\r\n\r\n"
        if method == "HEAD":
            body = body[: body.index(b"\r\n\r\n") + 4]
        replies[at, f"/{seed}/{hop}"] = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\n%b%b" % (status, location, cookie, body)
        forms.append(form)
        statuses.append(status)
        if "other origin" in form:
            at = 1 - at
    replies[at, f"/{seed}/{hops}"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (
        (3, b"") if method == "HEAD" else (3, b"end")
    )
    body = b"payload" if method in ("POST", "PUT") else None
    return Chain(
        seed, frozenset(without), method, headers, body, tuple(draw.oddities), tuple(forms), tuple(statuses), replies
    )
