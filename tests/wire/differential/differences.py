"""The table of deliberate differences from requests.

The differential tests take it for the only differences there are, and fail for a row that is never seen;
docs/reference/differences.md is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.wire.differential.grammar import Case
from tests.wire.differential.redirects import Chain
from tests.wire.differential.uploads import Upload

Kind = Literal["responses", "uploads", "redirects"]


@dataclass(frozen=True)
class Difference:
    """One row."""

    name: str
    """For tests."""
    what: str
    requests: str
    sleepwalker: str
    why: str
    of: Kind | None = None
    """Which generated exchanges show it; None where another test does."""
    fields: frozenset[str] = frozenset()
    """What may differ of their outcomes."""
    applies: Callable[[Any], bool] = field(default=lambda case: False, repr=False)
    """Whether it may be seen in a generated exchange."""
    tested: str = ""
    """The test that shows it, where no generated exchange does: `tests/wire/test_x.py::test_y`."""


def _responses(*fields: str) -> dict[str, Any]:
    return {"of": "responses", "fields": frozenset(fields)}


_ALL = ("error", "status", "version", "reason", "headers", "lines", "body", "encoding", "cookies", "jar", "reused")
_UNUSABLE = ("empty domain", "dot as domain", "domain without value", "path without value", "max age odd")
_TRUNCATED = (
    "coding: gzip cut",
    "coding: deflate cut",
    "coding: deflate without wrapper cut",
    "coding: br cut",
)

_REST = tuple(field for field in _ALL if field not in ("status", "version", "reason"))
_MALFORMED = (
    "no colon",
    "empty name",
    "space before colon",
    "space in name",
    "control in name",
    "latin-1 in name",
    "fold first",
    "from line",
)
_NO_STATUSES = (
    "four digits",
    "two digits",
    "leading zero",
    "below 100",
    "negative",
    "plus",
    "underscore",
    "fraction",
    "letters",
    "empty",
)
_NO_VERSIONS = ("1.10", "1.", "1", "2.0", "0.9", "lower case", "another protocol", "none")
_OTHER_TRANSFER = ("identity, chunked", "two lines", "chunked, identity", "parameter", "vertical tab", "unknown")
_DOUBTFUL_TRANSFER = ("twice", "a list", "with a length", "with a length after it")
_MALFORMED_CHUNKS = (
    "bare lf",
    "space first",
    "prefix",
    "plus",
    "underscore",
    "negative",
    "letters",
    "empty size",
    "no crlf after data",
    "other bytes after data",
    "size too small",
    "long line",
    "beyond measure",
)
_NO_LENGTHS = (
    "plus",
    "underscore",
    "negative",
    "hexadecimal",
    "empty",
    "words",
    "fraction",
    "digits of latin-1",
    "endless",
    "two that differ",
    "a list that differs",
)

RESPONSES: tuple[Difference, ...] = (
    Difference(
        "head cut",
        "The connection closes before the empty line that ends the head",
        "treats the partial head as a whole response with an empty body",
        "`ReadError`",
        "The missing rest of the head may say anything, and a missing body is not an empty body.",
        **_responses("error", "jar"),
        applies=lambda case: case.head_cut,
    ),
    Difference(
        "interim",
        "An interim response other than 100 and 101 (102, 103) comes first",
        "returns it as the response; the real one stays on the socket",
        "reads on to the final response",
        "RFC 9110, 15.2: a client must be able to parse any number of them.",
        **_responses(*_ALL),
        applies=lambda case: case.has("interim: 102", "interim: 103", "interim: 199", "interim: 100 and 103"),
    ),
    Difference(
        "chunked without body",
        "`Transfer-Encoding: chunked` in a 204 or 304",
        "waits for chunks, and raises `ChunkedEncodingError` when the server closes",
        "expects no body",
        "RFC 9112, 6.3: these responses end with their head.",
        **_responses("error", "reused", "body"),
        applies=lambda case: (
            case.status in (101, 204, 304) and case.method != "HEAD" and b"chunked" in case.data.lower()
        ),
    ),
    Difference(
        "reuse after a failure",
        "The next request after a 5xx on a connection that stays open",
        "goes over the same connection",
        "goes over another one",
        "There may be many machines behind one address, and the one at this socket is broken.",
        **_responses("reused"),
        applies=lambda case: case.status is not None and case.status >= 500,
    ),
    Difference(
        "bytes after the body",
        "More bytes than the body has",
        "drops the ones it has read, and treats the rest as the beginning of the next response",
        "closes the connection",
        "They may belong to another request, or may have been smuggled in.",
        **_responses("reused"),
        applies=lambda case: case.has("extra", "body where none may be"),
    ),
    Difference(
        "undecodable error",
        "The body of a 4xx or 5xx is not what its `Content-Encoding` says, or is incomplete",
        "`ContentDecodingError`, or a part of the body",
        "the error of the status, or the response; its `content` is the raw body",
        "The status matters more.",
        **_responses("error", "body"),
        applies=lambda case: case.status is not None and case.status >= 400 and case.has("coding"),
    ),
    Difference(
        "truncated coding",
        "A body in gzip, deflate or another coding ends before its data is complete",
        "returns the decoded part as if it were complete",
        "`ReadError`",
        "The application behind a compressing proxy died: the framing is intact, but data is missing.",
        **_responses("error"),
        applies=lambda case: case.has("coding") and case.has("cut", "extra", *_TRUNCATED),
    ),
    Difference(
        "malformed header lines",
        "A header line without a colon, without a name, with a blank before the colon, or with a name that is not "
        "visible ASCII; a folded line before all headers",
        "loses it and all later lines, including those about the body",
        "leaves out the line (or only the blank before the colon), reads the others, and closes the connection after "
        "the response",
        "RFC 9112, 2.2 and 5.1, and what browsers do.",
        **_responses(*_REST),
        applies=lambda case: case.has(*(f"breaking line: {name}" for name in _MALFORMED)),
    ),
    Difference(
        "controls in a value",
        "A bare carriage return or a NUL in a header's value",
        "ends the line at the carriage return, so that a value can add headers; passes on the NUL",
        "reads each as a blank, and closes the connection after the response",
        "RFC 9110, 5.5.",
        **_responses(*_REST),
        applies=lambda case: case.has("line: null", "breaking line: bare cr", "breaking line: cr cr lf"),
    ),
    Difference(
        "folded values",
        "A folded header value whose first line is empty or whose lines end with bare line feeds",
        "leaves a blank or the line feed in the value",
        "joins the parts with single blanks",
        "RFC 9112, 5.2; and a value with a line feed cannot be sent on.",
        **_responses("headers", "lines"),
        applies=lambda case: (
            case.has("line: fold to nothing") or (case.has("line: fold") and case.has("bare lf everywhere"))
        ),
    ),
    Difference(
        "status lines",
        "A status that is not three digits (`2_00`, `+200`), or a version that is not that of HTTP/1",
        "accepts whatever Python parses as a number, and any version that begins with `HTTP/1.`",
        "`ReadError`",
        "It is not HTTP.",
        **_responses("error", "jar"),
        applies=lambda case: case.has(
            *(f"status: {name}" for name in _NO_STATUSES), *(f"version: {name}" for name in _NO_VERSIONS)
        ),
    ),
    Difference(
        "reasons",
        "A reason phrase in UTF-8 (`Größe`), or with a NUL",
        "has it as Latin-1 (`GrÃ¶Ã\x9fe`), and the NUL as it is",
        "has it as UTF-8, or else as Latin-1, and a blank for the NUL",
        "requests intends this in `raise_for_status`, but never gets the bytes.",
        **_responses("reason"),
        applies=lambda case: case.has("reason: utf-8", "reason: null"),
    ),
    Difference(
        "long status lines",
        "A status line of more than 65,536 bytes",
        "`ConnectionError`",
        "reads it: the limit is 1 MB for the whole head",
        "It does no harm.",
        **_responses("error", "jar", "reused"),
        applies=lambda case: case.has("reason: endless"),
    ),
    Difference(
        "lengths that are none",
        "A `Content-Length` that is not decimal digits up to 2⁶³ - 1 (`+5`, `1_0`, empty), or several that differ",
        "accepts whatever Python parses as a number; else reads until the connection closes; raises `InvalidHeader` "
        "for different ones",
        "`ReadError`",
        "RFC 9112, 6.3: a truncated body would pass for a whole one.",
        **_responses("error", "jar"),
        applies=lambda case: case.has(*(f"length: {name}" for name in _NO_LENGTHS)),
    ),
    Difference(
        "lengths told twice",
        "The same `Content-Length` twice (`5, 5`)",
        "reads until the connection closes if it is one line; `headers` has `5, 5`",
        "reads so many bytes; `headers` has `5`",
        "RFC 9110, 8.6; `int()` can read it.",
        **_responses("headers", "lines", "error", "body"),
        applies=lambda case: case.has("length: twice", "length: a list"),
    ),
    Difference(
        "other codings of the transfer",
        "A `Transfer-Encoding` other than `chunked` or `identity` alone (`gzip, chunked`, `chunked;q=1`)",
        "reads chunks, or returns them with their sizes in it",
        "`ReadError`",
        "No other coding was requested.",
        **_responses("error", "jar"),
        applies=lambda case: case.has(*(f"transfer: {name}" for name in _OTHER_TRANSFER)),
    ),
    Difference(
        "chunked in doubt",
        "`Transfer-Encoding: chunked` twice, beside a `Content-Length`, or in HTTP/1.0",
        "reads chunks, and may use the connection again",
        "reads chunks, and closes the connection",
        "RFC 9112, 6.1 and 6.3: it may be an attack, and another program may read it differently.",
        **_responses("reused"),
        applies=lambda case: (
            case.has(*(f"transfer: {name}" for name in _DOUBTFUL_TRANSFER))
            or (case.has("version: 1.0") and b"chunked" in case.data.lower())
        ),
    ),
    Difference(
        "malformed chunks",
        "A chunk's size that is not hexadecimal digits (`+5`, `0x5`, `-5`), with a bare line feed or with more than "
        "4 kB of extensions; a chunk that does not end with CRLF; a trailer that is cut or has more than 100 lines",
        "accepts whatever Python parses as a number, and skips two bytes after a chunk; raises `ValueError` for `-5`",
        "`ReadError`",
        "RFC 9112, 7.1: wrong sizes shift the body.",
        **_responses("error"),
        applies=lambda case: (
            case.has(
                *(f"chunk: {name}" for name in _MALFORMED_CHUNKS), "last chunk: bare lf", "last chunk: many trailers"
            )
            or (case.has("bare lf everywhere", "cut") and b"chunked" in case.data.lower())
        ),
    ),
    Difference(
        "two lines of Connection",
        "`close` in the second of two `Connection` headers",
        "keeps the connection",
        "closes it",
        "RFC 9110, 5.3: a list may span several lines.",
        **_responses("reused"),
        applies=lambda case: case.has("connection: two lines"),
    ),
    Difference(
        "identity",
        "`Content-Encoding: gzip, identity`",
        "`ContentDecodingError`",
        "decodes it as gzip",
        "`identity` is not a coding (RFC 9110, 8.4.1).",
        **_responses("error"),
        applies=lambda case: case.has("coding: gzip, identity"),
    ),
    Difference(
        "unknown among codings",
        "`Content-Encoding: gzip, rot13`, with an unknown coding",
        "treats it as deflate: `ContentDecodingError`",
        "returns the raw body",
        "Both do this if it is the only coding.",
        **_responses("error"),
        applies=lambda case: case.has("coding: gzip, unknown"),
    ),
    Difference(
        "cookie attributes",
        "A cookie with `Domain`, `Path` or `Max-Age` without a usable value (`Domain=`, `Max-Age=soon`)",
        "loses the cookie; for a bare `Max-Age`, all cookies of the response, with a warning",
        "ignores the attribute",
        "RFC 6265, 5.2, and what browsers do.",
        **_responses("cookies", "jar"),
        applies=lambda case: case.has("cookie: max age without value", *(f"cookie: {name}" for name in _UNUSABLE)),
    ),
    Difference(
        "cookie of an address",
        "A cookie whose `Domain` is the host itself, where that is an address or has no dot (`Domain=localhost`)",
        "is stored under another name, and never sent for `localhost`",
        "belongs to this host",
        "RFC 6265, 5.3: such a host has no subdomains.",
        **_responses("jar"),
        applies=lambda case: case.has("cookie: own domain"),
    ),
    Difference(
        "cookies bounded",
        "Cookies above 50 of a connection, of more than 4096 bytes, or with a control character",
        "are kept and sent",
        "are not kept in the connection's own jar",
        "A hostile server could fill the memory, or make servers refuse each later request.",
        **_responses("jar"),
        applies=lambda case: case.has("cookie: sixty", "cookie: large", "cookie: control"),
    ),
    Difference(
        "punycode",
        "`Content-Type` with `charset=punycode`",
        "`response.encoding` is punycode",
        "`response.encoding` is None",
        "Its decoder takes time quadratic in the body's length.",
        **_responses("encoding"),
        applies=lambda case: case.has("line: punycode"),
    ),
)

_BODILESS = ("body: no bytes", "body: no text", "body: no form")


def _uploads(*fields: str) -> dict[str, Any]:
    return {"of": "uploads", "fields": frozenset(fields)}


def _has_no_body(case: Upload) -> bool:
    return not case.has("body") or case.has(*_BODILESS)


UPLOADS: tuple[Difference, ...] = (
    Difference(
        "odd header names",
        "A header whose name is not a token, or whose value has a control character",
        "sends it",
        "`URLError`, and nothing is sent",
        "RFC 9110, 5.1 and 5.5: servers and proxies read such lines in different ways.",
        **_uploads("error"),
        applies=lambda case: case.has("headers: control", "headers: odd name"),
    ),
    Difference(
        "headers that cannot be sent",
        "A header's value that is not a str or bytes (`5`), begins with a blank, or has a line break or a character "
        "outside Latin-1",
        "`InvalidHeader` or `UnicodeEncodeError`, which quote the value",
        "`URLError`, which names the header and does not quote its value",
        "A header may hold a credential, and one kind of error is easier to handle.",
        **_uploads("error"),
        applies=lambda case: case.has(
            "headers: number", "headers: line break", "headers: blank before", "headers: beyond latin-1"
        ),
    ),
    Difference(
        "methods",
        "A method that is empty or not a token",
        "sends it, or raises http.client's `ValueError`",
        "`URLError`, and nothing is sent",
        "RFC 9110, 9.1.",
        **_uploads("error"),
        applies=lambda case: case.has("method: empty", "method: with a space", "method: not ascii"),
    ),
    Difference(
        "json nan",
        "`json=` with NaN or infinity",
        "`InvalidJSONError`",
        "`ValueError`",
        "It is a mistake in the call. A handler of network errors should not catch it.",
        **_uploads("error"),
        applies=lambda case: case.has("body: json nan"),
    ),
    Difference(
        "length without a body",
        "The caller's `Content-Length` or `Transfer-Encoding` in a request without a body",
        "sends it; the server waits for a body",
        "leaves it out, or sends 0",
        "RFC 9112, 6.3: the next request on the connection would be read as the body.",
        **_uploads("sent", "error", "reused"),
        applies=lambda case: case.has("headers: length", "headers: chunked") and _has_no_body(case),
    ),
    Difference(
        "length and chunks",
        "The caller's `Content-Length` or `Transfer-Encoding`, if requests sets the other one for the body",
        "sends both",
        "sends one: the length if known, else chunks",
        "RFC 9112, 6.2: with both, servers and proxies disagree about where the request ends.",
        **_uploads("sent"),
        applies=lambda case: case.has("headers: length", "headers: chunked") and not _has_no_body(case),
    ),
    Difference(
        "empty file",
        "An empty file, or one at its end",
        "`Transfer-Encoding: chunked`",
        "`Content-Length: 0`",
        "Some servers refuse chunks (411, 501), and the length is known.",
        **_uploads("sent"),
        applies=lambda case: case.has("body: empty file"),
    ),
    Difference(
        "text file",
        "A file that was opened as text",
        "counts its characters, and announces too few bytes",
        "sends it in chunks, in UTF-8",
        "Only reading shows the number of bytes.",
        **_uploads("sent", "error"),
        applies=lambda case: case.has("body: text file"),
    ),
)


def _redirects(*fields: str) -> dict[str, Any]:
    return {"of": "redirects", "fields": frozenset(fields)}


def _leaves(case: Chain) -> bool:
    return case.leads("other origin", "no scheme, other origin")


REDIRECTS: tuple[Difference, ...] = (
    Difference(
        "headers elsewhere",
        "A GET or HEAD is redirected to another origin (scheme, host or port)",
        "sends all headers but `Authorization` and `Cookie`, and a client certificate",
        "sends `Accept` and `User-Agent`, and nothing else of the caller's; also after a redirect back",
        "`X-Api-Key` is a credential too, and any header may be one.",
        **_redirects("sent", "jar"),
        applies=_leaves,
    ),
    Difference(
        "bodies elsewhere",
        "A request of another method is redirected to another origin",
        "sends it there, on 307 and 308 with its body",
        "`RedirectError`",
        "The body was meant for this host.",
        **_redirects("error"),
        applies=lambda case: _leaves(case) and case.method not in ("GET", "HEAD"),
    ),
    Difference(
        "two readings",
        "A `Location` that browsers and Python read as different hosts (`/\\host/`, `///path`), or with a user's name",
        "follows one of them",
        "`RedirectError`",
        "The checked host must be the requested host.",
        **_redirects("error", "jar", "sent"),
        applies=lambda case: case.leads(
            "slash and backslash", "backslashes", "three slashes", "no host", "one slash", "userinfo"
        ),
    ),
    Difference(
        "unusable location",
        "A `Location` that is not an http or https URL",
        "`InvalidSchema`, `InvalidURL`, `ValueError` or `ConnectionError`",
        "`RedirectError`",
        "It is the server's fault, not the caller's, and one kind of error is easier to handle.",
        **_redirects("error", "jar", "sent"),
        applies=lambda case: case.leads(
            "another scheme", "a script", "open bracket", "port out of range", "port of letters", "no host", "userinfo"
        ),
    ),
    Difference(
        "latin-1 location",
        "A `Location` with bytes that are not UTF-8",
        "`UnicodeDecodeError`",
        "requests them percent-encoded",
        "Browsers do the same.",
        **_redirects("error"),
        applies=lambda case: case.leads("latin-1"),
    ),
    Difference(
        "bodies moved",
        "A 301 for a PUT, PATCH or DELETE",
        "keeps the method, but drops the body, or the `Content-Length: 0` of an empty one",
        "sends the same request to the new URL",
        "RFC 9110, 15.4.2; an empty PUT would empty the resource.",
        **_redirects("sent"),
        applies=lambda case: 301 in case.statuses and case.method in ("PUT", "DELETE"),
    ),
)

ELSEWHERE: tuple[Difference, ...] = (
    Difference(
        "close_notify",
        "A body without a length that ends with its TLS connection, without TLS's announcement of the end "
        "(`close_notify`)",
        "treats it as the whole body",
        "`ReadError`, unless `pool.require_close_notify` is off",
        "RFC 9112, 9.8: anyone in between can cut it.",
        tested="tests/wire/test_ends_of_tls.py::test_a_body_that_is_cut_below_tls_is_a_read_error",
    ),
    Difference(
        "memory",
        "A chunk or `Content-Length` of many gigabytes that does not come",
        "allocates memory for all of it if it is read at once: `MemoryError`",
        "allocates memory for received bytes, 1 MB at a time; `iter_content(None)` returns a longer chunk in pieces "
        "of 1 MB",
        "A server must not fill the memory by announcing a size.",
        tested="tests/wire/test_framing.py::test_no_memory_is_taken_on_the_servers_word",
    ),
    Difference(
        "interim without end",
        "More than 1,000 interim responses, or a head of more than 1 MB",
        "reads on",
        "`ReadError`, which names the limit",
        "A server must not hold up a call by sending headers.",
        tested="tests/wire/test_framing.py::test_too_many_interim_answers_are_refused",
    ),
    Difference(
        "switching protocols",
        "The next request after a 101",
        "goes over the same connection",
        "goes over another one",
        "After a 101 the connection speaks another protocol.",
        tested="tests/wire/test_framing.py::test_a_switch_of_protocols_ends_the_connection",
    ),
    Difference(
        "max_body",
        "A body that is longer than the caller wants (`max_body`)",
        "has no such limit",
        "`DecodeError`, before reading any of it, if its length was announced",
        "If a short document was requested, a gigabyte is an attack or a mistake.",
        tested="tests/wire/test_framing.py::test_a_body_announced_above_max_body_is_refused_before_it_is_read",
    ),
    Difference(
        "refused uploads",
        "A server that answers an upload with a status of 300 or more, and stops reading",
        "continues to send, until its connect timeout, if it has one, or a `ConnectionError`; sometimes returns the "
        "response, if the server closes in time",
        "the response; the rest is not sent, and the connection is closed",
        "RFC 9112, 9.5: a client should watch for it and stop.",
        tested="tests/wire/test_uploads.py::test_a_server_that_refuses_a_body_and_reads_no_further_is_heard",
    ),
    Difference(
        "refused certificates",
        "A client certificate that the server refuses after the handshake (TLS 1.3)",
        "`ConnectionError` or `SSLError` with OpenSSL's text",
        "`TLSError`, which names the certificate and is not retried",
        "The server does not read the request, and a retry would fail too.",
        tested="tests/wire/test_tls_errors.py::"
        "test_a_client_certificate_that_is_refused_after_the_handshake_is_no_broken_answer",
    ),
    Difference(
        "renewed certificates",
        "A client certificate or CA bundle that was renewed in its file",
        "the old one is used as long as the pool lives",
        "new sockets use the new one; a file that cannot be used changes nothing",
        "Certificates may be valid for only a few hours.",
        tested="tests/wire/test_tls_errors.py::test_a_renewed_client_certificate_is_shown_by_new_sockets",
    ),
    Difference(
        "texts of errors",
        "The text of an error of TLS, a proxy or a socket",
        "OpenSSL's and urllib3's, with the URL and its query",
        "says what happened and to which host or proxy; no query, header or body is in it",
        "Texts of other libraries may quote secrets.",
        tested="tests/wire/test_canary.py::test_a_fault_of_the_server",
    ),
    Difference(
        "contexts and proxies",
        "A proxy over TLS, and an `ssl.SSLContext`",
        "applies to the proxy only with an adapter's `proxy_ssl_context`",
        "`verify=` applies to both",
        "One setting decides who is trusted.",
        tested="tests/wire/test_proxy_errors.py::test_the_ca_settings_count_for_the_proxy_as_for_the_server",
    ),
    Difference(
        "SOCKS",
        "A SOCKS proxy without the package that it needs",
        "`InvalidSchema` at the first request",
        "`URLError`, which names the package to install",
        "The call itself is not wrong.",
        tested="tests/wire/test_proxy_errors.py::test_the_package_that_a_socks_proxy_needs_is_named",
    ),
    Difference(
        "broken proxies",
        "A proxy that breaks off",
        "`ProxyError` for an http host, `ConnectionError` for an https one",
        "`ProxyError` while opening a tunnel to an https host; else `ReadError`, which names the proxy",
        "After that, it is unknown whether the proxy or the server broke off.",
        tested="tests/wire/test_proxy_errors.py::test_where_it_may_have_been_either_both_are_named",
    ),
    Difference(
        "proxies without a scheme",
        "A proxy named as `proxy:3128`",
        "`InvalidProxyURL`",
        "an http proxy",
        "curl reads it the same way.",
        tested="tests/unit/test_proxies.py::test_a_proxy_without_a_scheme_is_one_of_http",
    ),
    Difference(
        "broken streams",
        "A stream whose body breaks, read through `response.raw`",
        "urllib3's errors; a second read may return an empty body, as at the end",
        "`ReadError`, `ReadTimeout` or `DecodeError`, as from `iter_content`, at each further read, too",
        "There is one kind of error for every way to read, and half a body never passes for the whole.",
        tested="tests/wire/test_streams.py::test_a_body_that_broke_stays_broken_and_counts_once",
    ),
    Difference(
        "pieces of chunks",
        "The pieces of a chunked stream that is read with a size (`iter_content(1024)`), and `raw.chunked`",
        "none is longer than a chunk; `raw.chunked` is True",
        "several short chunks that have arrived make one piece; `raw.chunked` is False; `iter_content(None)` gives "
        "each chunk by itself, as in requests",
        "Chunk framing is removed when the socket is read, once and strictly. Fewer pieces cost less.",
        tested="tests/wire/test_streams.py::test_without_a_size_each_piece_is_a_chunk_as_in_requests",
    ),
    Difference(
        "silent streams",
        "A read of a stream from a server that sends a byte at a time",
        "continues as long as each byte arrives in time",
        "ends within `timeout.read`, with a shorter piece, or `ReadTimeout` if nothing arrived",
        "The caller's loop gets control, and can stop.",
        tested="tests/wire/test_streams.py::test_one_read_takes_no_longer_than_read_says",
    ),
    Difference(
        "pieces of a stream",
        "`iter_content(None)`",
        "gives a body with a length in one piece",
        "gives pieces as they arrive",
        "Lines of an event stream arrive as they are sent.",
        tested="tests/wire/test_streams.py::test_one_read_takes_no_longer_than_read_says",
    ),
    Difference(
        "histories",
        "`history` of a response that is itself in a `history`",
        "has that response in it",
        "is empty",
        "A response that refers to itself keeps its socket, and the entry is useless.",
        tested="tests/wire/test_redirects.py::test_a_response_in_a_history_has_none_itself",
    ),
    Difference(
        "copies of sessions",
        "A pickle or deep copy of a session whose connection has an `ssl.SSLContext`",
        "has no such setting",
        "`TypeError`, which says why",
        "A context cannot be copied, and a copy without it would verify otherwise.",
        tested="tests/wire/test_session_copies.py::test_a_session_with_a_context_says_why_it_cannot_be_copied",
    ),
    Difference(
        "statuses raise",
        "A status from 400 on",
        "is returned; `raise_for_status()` raises `HTTPError`",
        "raises the exception of that status, an `HTTPError` of requests', unless `raise_for_status=False`",
        "Without a check, an error page would be read as data.",
        tested="tests/wire/test_connection.py::test_a_status_raises_its_error_unless_the_caller_says_not_to",
    ),
    Difference(
        "time",
        "A call without `timeout=`",
        "waits without end",
        "ends by its policy's deadlines, which limit the whole call, however slowly bytes arrive",
        "A socket's timeout limits only one read.",
        tested="tests/wire/test_deadlines.py::test_the_total_deadline_holds_while_the_server_drips",
    ),
    Difference(
        "no credentials",
        "A host for which no credentials were given, and netrc has no entry",
        "gets the request without any",
        "`AuthenticationError`, unless `auth=ANONYMOUS`",
        "A forgotten credential should not show up as a 401, or as public data only.",
        tested="tests/wire/test_credentials.py::test_without_an_entry_the_first_request_fails_and_names_the_ways_out",
    ),
    Difference(
        "netrc default",
        "A `default` entry in a netrc file",
        "is sent to every host",
        "does not count",
        "A password must not go to a host that it was not meant for.",
        tested="tests/unit/test_credentials.py::test_only_an_entry_for_the_very_host_answers",
    ),
    Difference(
        "netrc and the caller",
        "An `Authorization` header of the caller's, and an entry in netrc",
        "sends the entry",
        "sends the header",
        "The call's own header takes precedence.",
        tested="tests/wire/test_credentials.py::test_an_explicit_authorization_header_is_credentials_enough",
    ),
    Difference(
        "passwords in the clear",
        "Basic credentials over plain http to another machine",
        "are sent",
        "`InsecureAuthError`",
        "Anyone on the network path can read them.",
        tested="tests/wire/test_credentials.py::"
        "test_basic_credentials_over_plain_http_are_refused_unless_they_stay_on_this_machine",
    ),
    Difference(
        "other origins",
        "An absolute URL of another host",
        "gets the request, with the session's headers",
        "`URLError`, which names `ConnectionManager.find`",
        "The connection's credentials are for its host.",
        tested="tests/wire/test_connection.py::test_an_absolute_uri_of_another_origin_is_refused_and_names_the_way_out",
    ),
    Difference(
        "long redirects",
        "A redirect with a body of more than 64 KB",
        "reads all of it before it follows",
        "reads 64 KB, and closes the connection",
        "The body is not used, and it may be endless.",
        tested="tests/wire/test_redirects.py::test_the_body_of_a_redirect_is_not_swallowed_whole",
    ),
    Difference(
        "downgrades",
        "A redirect from https to http",
        "is followed",
        "`RedirectError`",
        "Anyone on the network path could have written it.",
        tested="tests/wire/test_redirects.py::test_from_https_to_http_nothing_is_followed",
    ),
    Difference(
        "hosts",
        "A host in a form that resolvers and parsers read differently: `0x7f.1`, `a%2eb`, a name that is not ASCII",
        "is used as one of them reads it",
        "`URLError`",
        "Credentials must only go to the host that was checked.",
        tested="tests/conformance/test_hostnames.py::test_what_is_refused_though_a_browser_takes_it",
    ),
    Difference(
        "malformed challenges",
        "A Digest challenge without a realm or nonce",
        "`KeyError`, now and for each later request of the thread",
        "the 401, as for one with an unknown algorithm",
        "The server's mistake is not an error in the caller's code.",
        tested="tests/wire/test_credentials.py::"
        "test_a_digest_challenge_that_cannot_be_answered_leaves_the_401_as_it_is",
    ),
    Difference(
        "long errors",
        "The body of a status from 400 on that is raised",
        "is read whole",
        "is kept up to 1 MB",
        "A 200 MB error body does not help, and would take longer than the call's deadline.",
        tested="tests/wire/test_hostile.py::test_an_error_of_200_mb_is_kept_in_part",
    ),
    Difference(
        "environment",
        "Proxies and CA bundles named by the environment",
        "are looked up for each request",
        "are read when the connection is made",
        "A call goes the way its connection was made for, and the look-up would cost more than the rest of the call.",
        tested="tests/unit/test_proxies.py::test_the_environment_is_read_once",
    ),
    Difference(
        "user agent",
        "`User-Agent` where none is given",
        "`python-requests/…`",
        "`sleepwalker/… python-requests/…`",
        "A server's operator can see which client retries.",
        tested="tests/wire/test_connection.py::test_the_servers_operator_sees_who_retries",
    ),
)
TABLE = (*RESPONSES, *UPLOADS, *REDIRECTS, *ELSEWHERE)


def unexplained(case: Case, rows: tuple[Difference, ...], differ: frozenset[str]) -> frozenset[str]:
    """What differs for no reason that the table has."""
    allowed = frozenset().union(*(row.fields for row in rows if row.applies(case)))
    return differ - allowed
