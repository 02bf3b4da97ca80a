"""The types of the arguments of a `Connection` and its calls, for type checkers and editors."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Protocol

from sleepwalker.transport.credentials import Anonymous, Auth

__all__ = ["AsyncBody", "Body", "Certificate", "Credentials", "Files", "HeaderValues", "Params", "Path", "Verify"]


class Readable(Protocol):
    """A file, or any object that can be read like one."""

    def read(self, size: int = ..., /) -> str | bytes: ...


#: `(user, password)`, any requests auth object or callable, or `ANONYMOUS`.
Credentials = tuple[str | bytes, str | bytes] | Auth | Anonymous
Path = str | os.PathLike[str]
#: True, False, the path of a CA bundle, or a context.
Verify = bool | Path | ssl.SSLContext
#: The path of a client certificate with its key, or a pair of paths (certificate, key).
Certificate = Path | tuple[Path, Path | None]
#: Header values by name. In a call, None removes a header of the connection.
HeaderValues = Mapping[str, str | bytes | None]
#: What the query is made of.
Params = Mapping[str, object] | Iterable[tuple[str | bytes, object]] | str | bytes
#: A body: text, bytes, a form, a file, an iterable of pieces, or a function that returns a new body for each attempt.
Body = str | bytes | Iterable[object] | Readable | Callable[[], object]
#: The same of an asynchronous call, which takes asynchronous iterables as well.
AsyncBody = Body | AsyncIterable[object]
#: Files of a form, by name: contents, or tuples (file name, contents, type, headers), as in requests.
Files = Mapping[str, object] | Iterable[tuple[str, object]]
