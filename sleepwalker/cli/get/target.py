"""The target of `get`: makes a connection and a request from the arguments."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import sleepwalker
from sleepwalker.cli.parser import UsageError
from sleepwalker.cli.traffic import Response
from sleepwalker.connection.arguments import Credentials
from sleepwalker.downloads import OWN_HEADERS
from sleepwalker.events import Observer
from sleepwalker.transport.credentials import netrc_auth
from sleepwalker.transport.prepare import check_method
from sleepwalker.transport.url import Origin, check_headers, is_loopback, parse_hostname, safe_path

_AUTHORITY = re.compile(r"https?://[^/?#\\]*", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


@dataclass(frozen=True, slots=True)
class Target:
    """One request, to be sent once or many times."""

    method: str
    origin: Origin
    url: str
    """The URL without its fragment."""
    data: bytes | None
    headers: dict[str, str]

    @classmethod
    def of(cls, args: argparse.Namespace) -> Self:
        """The target from the arguments. Raises `UsageError`, whose texts show no query and no user information."""
        url: str = args.url.partition("#")[0]
        if "@" in url.partition("?")[0]:
            raise UsageError("URL: it has an @ in it; credentials go to --auth USER, and a path writes an @ as %40")
        headers: dict[str, str] = {}
        for name, value in args.header:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        match = _AUTHORITY.match(url)
        try:
            _, origin, _ = parse_hostname(match[0] if match else url.partition("?")[0])
            method = check_method(args.method or ("GET" if args.data is None else "POST"))
            check_headers(headers)
        except ValueError as error:
            here = _on_this_machine(url) if "://" not in url else None
            raise UsageError(f"URL: it has no scheme: begin with {here}" if here else str(error)) from None
        return cls(method, origin, url, args.data, headers)

    @property
    def shown(self) -> str:
        """The request in words, without its query."""
        return f"{self.method} {self.origin}{safe_path(self.url)}"

    def is_for_a_file(self, output: Path | None) -> bool:
        """Whether it is a download: a GET into a regular or a new file, without headers that downloads set."""
        plain = self.method == "GET" and self.data is None and OWN_HEADERS.isdisjoint(map(str.lower, self.headers))
        return plain and output is not None and (not output.exists() or output.is_file())

    def connection(self, args: argparse.Namespace, observer: Observer | None) -> sleepwalker.Connection:
        """A connection to the target. Raises `UsageError` for unusable arguments."""
        if args.insecure:  # the user asked for it, so it needs no warning at every call
            warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        try:
            return sleepwalker.Connection(
                self.origin.text,
                auth=self._auth(args.auth),
                verify=False if args.insecure else str(args.cacert) if args.cacert else True,
                cert=_certificate(args),
                timeout=args.timeout,
                policy=args.policy,
                observer=observer,
            )
        except sleepwalker.PolicyError as error:
            raise UsageError(f"--policy: {error}") from None
        except (ValueError, OSError) as error:  # InsecureAuthError, an invalid CA bundle, …
            raise UsageError(str(error)) from None

    def request(self, connection: sleepwalker.Connection) -> Response:
        """Send it. Returns the response, also if its status is 400 or more."""
        response = connection.request(
            self.method, self.url, data=self.data, headers=self.headers, raise_for_status=False
        )
        return cast(Response, response)

    def _auth(self, given: str | None) -> Credentials:
        if given is not None:
            user, colon, password = given.partition(":")
            return user, password if colon else _ask_for_password()
        if any(name.lower() == "authorization" for name in self.headers):
            return sleepwalker.ANONYMOUS
        return netrc_auth(self.origin) or sleepwalker.ANONYMOUS


def _certificate(args: argparse.Namespace) -> str | tuple[str, str] | None:
    """The client's certificate, and its key if that is in a file of its own."""
    if args.key and not args.cert:
        raise UsageError("--key belongs to a certificate: give --cert FILE, too")
    return (str(args.cert), str(args.key)) if args.key else str(args.cert) if args.cert else None


def _on_this_machine(url: str) -> str | None:
    """`http://localhost:8080` for `localhost:8080/path`; None if the host is not on loopback."""
    try:
        _, origin, _ = parse_hostname("http://" + re.split(r"[/?\\]", url, maxsplit=1)[0])
    except ValueError:
        return None
    return origin.text if is_loopback(origin.host) else None


def read_body(text: str) -> bytes:
    """A type for `add_argument`: the text, or the content of `@FILE` or `@-` (stdin)."""
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text[1:]!r}: {error.strerror}") from None


def read_header(text: str) -> tuple[str, str]:
    """A type for `add_argument`: `Name: value`. Neither appears in an error, because either could be a token."""
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise argparse.ArgumentTypeError("a header is written as 'Name: value'")
    return name, value.strip(" \t")


def _ask_for_password() -> str:
    if not sys.stdin.isatty():
        raise UsageError("--auth: there is no terminal to ask for the password; use USER:PASSWORD or a netrc file")
    try:
        return getpass.getpass("Password: ")
    except EOFError:
        raise UsageError("--auth: no password was given") from None
