"""Which proxy applies to an origin: what NO_PROXY lists, and what of the environment is looked at."""

from __future__ import annotations

import ipaddress
import os
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from sleepwalker.exceptions import URLError
from sleepwalker.transport import proxies
from sleepwalker.transport.proxies import Proxies, bypassed
from sleepwalker.transport.url import Origin

SECRET = "geheim"
PROXY = "http://proxy:3128"

LABELS = st.lists(st.sampled_from(["a", "ab", "b", "x-1", "com", "localhost"]), min_size=1, max_size=4)
ADDRESSES = st.ip_addresses()
SEPARATORS = st.sampled_from([",", " ", ", ", " , ", ",,", "\t", ",\n"])


def origin(host: str, port: int = 80) -> Origin:
    return Origin("http", host, port)


def spellings(address: Any) -> list[str]:
    """How an address can be written."""
    if address.version == 4:
        return [str(address)]
    words = [address.compressed, address.exploded, address.exploded.upper()]
    return [*words, *(f"[{word}]" for word in words)]


# What an entry of NO_PROXY means


@given(LABELS, LABELS, st.sampled_from(["", "."]), st.sampled_from(["", "."]), st.booleans(), st.booleans())
def test_a_name_stands_for_itself_and_for_what_is_below_it(
    host: list[str], entry: list[str], before: str, behind: str, upper: bool, dotted: bool
) -> None:
    written = before + ".".join(entry) + behind
    found = bypassed(written.upper() if upper else written, origin(".".join(host) + ("." if dotted else "")))
    assert found is (host[-len(entry) :] == entry)


@given(ADDRESSES, ADDRESSES, st.data())
def test_an_address_may_be_written_in_any_way(address: Any, other: Any, data: st.DataObject) -> None:
    here = origin(str(address))
    assert bypassed(data.draw(st.sampled_from(spellings(address))), here)
    assert bypassed(data.draw(st.sampled_from(spellings(other))), here) is (address == other)


@given(ADDRESSES, st.integers(1, 128), st.integers(0, 2**128 - 1))
def test_a_network_covers_what_shares_its_first_bits(address: Any, bits: int, noise: int) -> None:
    """Whatever the other bits are: people write the address of a machine that is in it."""
    size = address.max_prefixlen
    bits = min(bits, size)
    inside = type(address)(int(address) ^ (noise & ((1 << (size - bits)) - 1)))
    outside = type(address)(int(address) ^ (1 << (size - bits)))
    assert inside in ipaddress.ip_network((address, bits), strict=False)
    for written in (f"{address}/{bits}", f"[{address}]/{bits}" if size == 128 else f"{address}/{bits:03}"):
        assert bypassed(written, origin(str(inside)))
        assert not bypassed(written, origin(str(outside)))


@given(st.one_of(LABELS.map(".".join), ADDRESSES.map(str)), st.integers(1, 65535), st.integers(1, 65535))
def test_a_port_limits_an_entry_to_it(host: str, port: int, other: int) -> None:
    for written in [f"[{host}]"] if ":" in host else [host, f".{host}"] if host[-1].isalpha() else [host]:
        assert bypassed(f"{written}:{port}", origin(host, port))
        assert bypassed(f"{written}:{other}", origin(host, port)) is (port == other)
        assert bypassed(written, origin(host, port))


@given(st.lists(st.sampled_from(["localhost", ".a", "b:81", "127.0.0.0/8", "::1", "*.a", "%", "x.a."])), st.data())
def test_a_list_means_what_its_entries_mean(entries: list[str], data: st.DataObject) -> None:
    written = "".join(entry + data.draw(SEPARATORS) for entry in entries)
    here = origin(data.draw(st.sampled_from(["localhost", "x.a", "b", "127.3.2.1", "::1", "a"])), 81)
    assert bypassed(written, here) is any(bypassed(entry, here) for entry in entries)


@pytest.mark.parametrize("host", ["a.b", "localhost", "10.0.0.1", "::1"])
def test_an_asterisk_stands_for_everything_only_where_it_stands_alone(host: str) -> None:
    assert bypassed("*", origin(host))
    assert bypassed(" * ", origin(host))
    for written in ("", " ", "*.b", "*,x", "x *", "**", "*:80"):
        assert not bypassed(written, origin(host))


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        # Not at a dot; not the name of an address; not an address that the name may have.
        ("xexample.com", ["example.com", ".example.com", "ample.com", ".", "..", "example", "[xexample.com]"]),
        ("example.com", ["a.example.com", "example.com:http", "example.com:443", "http://example.com", "example.com/"]),
        ("localhost", ["127.0.0.1", "::1", "127.0.0.0/8", "0.0.0.0/0"]),
        ("10.1.2.3", ["2.3", ".3", "10.1.2", "10.1.2.0/33", "10.1.2.0/-1", "10.1.2.0/x", "10.1.2.0/", "10.1.0.0/0"]),
        ("10.1.2.3", ["10.0.0.0/255.0.0.0", "10.0.0.0/8:81", "10.0.0.0/8;x", "::ffff:10.1.2.3", "010.1.2.3"]),
        ("::1", ["127.0.0.1", "::1/129", "[::1", "::1]:81", "[::1]:81", "[::1]x", "::/0", "0.0.0.1/1", "1"]),
    ],
)
def test_what_is_no_entry_for_a_host_is_not_taken_for_one(host: str, entries: list[str]) -> None:
    assert [entry for entry in entries if bypassed(entry, origin(host))] == (["[::1"] if host == "::1" else [])


@given(st.text(), st.sampled_from(["localhost", "a.b.", "10.1.2.3", "fe80::1"]))
@example("[", "::1")
@example("/" * 9, "::1")
@example("²/²", "10.1.2.3")
@example("10.0.0.0/²", "10.1.2.3")
def test_no_text_breaks_the_reading(written: str, host: str) -> None:
    assert bypassed(written, origin(host)) in (True, False)


@pytest.mark.parametrize("piece", ["a", ".", ":", "[", "]", "/", "1", "1.", "1:", "::", "%", "*", ",", " ", "a,", "a."])
@pytest.mark.parametrize("host", ["a.b", "10.1.2.3", "::1"])
def test_a_long_list_is_read_once(piece: str, host: str) -> None:
    """Anything that looks twice at what it has seen would not end in a test's time."""
    assert not bypassed(piece * 100_000, origin(host))


# What is looked at


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


def proxy_for(url: str, given: Any = None) -> str | None:
    """The proxy for a URL, as things are."""
    scheme, _, host = url.partition("://")
    here = Origin(scheme, host, {"http": 80, "https": 443}[scheme])
    found = Proxies(given or {}, trust_env=True).for_origin(here)
    assert set(found) <= {scheme}
    return found.get(scheme)


@pytest.mark.parametrize(
    ("variables", "given", "url", "expected"),
    [
        ({}, {}, "http://h", None),
        ({"http_proxy": "http://p"}, {}, "http://h", "http://p"),
        ({"http_proxy": "http://p"}, {}, "https://h", None),
        ({"HTTPS_PROXY": "http://p"}, {}, "https://h", "http://p"),
        ({"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower"}, {}, "https://h", "http://lower"),
        ({"HTTPS_PROXY": "http://upper", "https_proxy": ""}, {}, "https://h", None),
        ({"all_proxy": "socks5h://p"}, {}, "https://h", "socks5h://p"),
        ({"ALL_PROXY": "socks5h://p", "http_proxy": "http://p"}, {}, "http://h", "http://p"),
        # A web server hands a request's header `Proxy:` on to CGI programs as HTTP_PROXY.
        ({"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}, {}, "http://h", None),
        ({"http_proxy": "http://p", "REQUEST_METHOD": "GET"}, {}, "http://h", "http://p"),
        # NO_PROXY
        ({"http_proxy": "http://p", "NO_PROXY": "h"}, {}, "http://h", None),
        ({"http_proxy": "http://p", "NO_PROXY": "h", "no_proxy": "x"}, {}, "http://h", "http://p"),
        ({"http_proxy": "http://p", "NO_PROXY": "h", "no_proxy": ""}, {}, "http://h", None),
        ({"http_proxy": "http://p", "NO_PROXY": "h"}, {"no_proxy": "x"}, "http://h", "http://p"),
        ({"http_proxy": "http://p", "NO_PROXY": "x"}, {"no_proxy": "h"}, "http://h", None),
        # What is given goes before the environment, and NO_PROXY is not about it.
        ({"http_proxy": "http://p"}, {"http": "http://given"}, "http://h", "http://given"),
        ({"http_proxy": "http://p", "NO_PROXY": "*"}, {"http": "http://given"}, "http://h", "http://given"),
        ({}, {"http": "http://given", "no_proxy": "h"}, "http://h", "http://given"),
        ({"http_proxy": "http://p"}, {"http": None}, "http://h", None),
        ({"http_proxy": "http://p"}, {"http": ""}, "http://h", None),
        ({"http_proxy": "http://p", "all_proxy": "http://all"}, {"http": None}, "http://h", "http://all"),
        ({"http_proxy": "http://p"}, {"http://h": "http://given"}, "http://h", "http://given"),
        ({"http_proxy": "http://p"}, {"all": "http://given"}, "http://h", "http://p"),
        ({"all_proxy": "http://p"}, {"all://h": "http://given"}, "http://h", "http://given"),
    ],
)
def test_the_proxy_is_the_one_that_requests_would_take(
    environ: pytest.MonkeyPatch, variables: dict[str, str], given: Any, url: str, expected: str | None
) -> None:
    environ.delenv("REQUEST_METHOD", raising=False)
    for name, value in variables.items():
        environ.setenv(name, value)
    assert proxy_for(url, given) == expected


@pytest.mark.parametrize("proxy", ["p", "p:3128", "p.example.com:3128", "u:pw@p:3128", "[::1]:3128", "10.0.0.1:3128"])
def test_a_proxy_without_a_scheme_is_one_of_http(environ: pytest.MonkeyPatch, proxy: str) -> None:
    """So curl has it, and most who write one without."""
    assert proxy_for("http://h", {"http": proxy}) == f"http://{proxy}"
    assert proxy_for("http://h", {"http": f"//{proxy}"}) == f"http://{proxy}"
    environ.setenv("https_proxy", proxy)
    assert proxy_for("https://h") == f"http://{proxy}"


@pytest.mark.parametrize(
    "variables",
    [
        {"NO_PROXY": "localhost,127.0.0.1,::1"},
        {"NO_PROXY": "fd00::/8;10.0.0.0/8 metadata:80 %"},
        {"ENVOY_PROXY": "unix:///run/envoy.sock"},
        {"CLOUD_SQL_PROXY": "project:region:db=tcp:3306"},
        {"HTTPS_PROXY": "quic://x", "FTP_PROXY": "?"},
        {"ALL_PROXY": "quic://x"},
    ],
    ids=str,
)
def test_variables_that_are_not_for_the_origin_are_not_looked_at(
    environ: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        environ.setenv(name, value)
    environ.setenv("http_proxy", PROXY)
    assert proxy_for("http://api.example.com") == PROXY
    everything = proxies.getproxies()  # as some hand it on
    assert proxy_for("http://api.example.com", everything) == PROXY


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value", [f"ftp://u:{SECRET}@p", f"http://u:{SECRET}@", f"u:{SECRET}@p:x", f"unix:///{SECRET}"]
)
def test_a_variable_that_applies_and_is_no_proxy_is_named_with_a_way_out(
    environ: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environ.setenv(name, value)
    with pytest.raises(URLError) as caught:
        proxy_for("https://api.example.com")
    assert str(caught.value) == (
        f"{name}: the proxy for https://api.example.com must be a URL with a host and one of the schemes "
        "http, https, socks4, socks4a, socks5, socks5h, such as "
        "'http://proxy:3128': correct it, or add api.example.com to NO_PROXY"
    )
    environ.setenv("NO_PROXY", "api.example.com")
    assert proxy_for("https://api.example.com") is None
    assert proxy_for("https://other", {"https": PROXY}) == PROXY


def test_a_proxy_that_is_given_and_applies_is_named() -> None:
    with pytest.raises(URLError, match=r"^proxies: the proxy for 'all://h' must be a URL .* leave it out$") as caught:
        proxy_for("http://h", {"all://h": f"ftp://u:{SECRET}@p", "https": "also wrong"})
    assert SECRET not in str(caught.value)


def test_an_environment_that_is_not_trusted_is_not_looked_at(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("all_proxy", "wrong://")
    assert Proxies({}, trust_env=False).for_origin(origin("h")) == {}
    assert Proxies({"all": PROXY}, trust_env=False).for_origin(origin("h")) == {"http": PROXY}


def test_the_environment_is_read_once(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("http_proxy", PROXY)
    environ.setenv("no_proxy", "a")
    made = Proxies({}, trust_env=True)
    environ.setenv("http_proxy", "http://other")
    environ.setenv("no_proxy", "b")
    assert made.for_origin(origin("a")) == {}
    assert made.for_origin(origin("b")) == {"http": PROXY}


def test_without_proxies_in_the_environment_the_systems_settings_count(environ: pytest.MonkeyPatch) -> None:
    """Those of macOS and Windows, which have a list of exceptions of their own."""

    def listed(host: str) -> Any:
        if host == "unknown":
            raise OSError("no such name")
        return 1 if host == "intranet" else 0

    environ.setattr(proxies, "getproxies", lambda: {"http": PROXY, "https": "ftp://x"})
    environ.setattr(proxies, "proxy_bypass", listed)
    assert proxy_for("http://h") == proxy_for("http://unknown") == PROXY
    assert proxy_for("http://intranet") is None
    assert proxy_for("http://intranet", {"http": PROXY}) == PROXY
    assert proxy_for("http://h", {"no_proxy": "h"}) is None
    with pytest.raises(URLError, match=r"^the system's proxy settings: the proxy for https://h "):
        proxy_for("https://h")
    environ.setenv("http_proxy", "http://environment")
    assert proxy_for("http://intranet") == "http://environment"
    assert proxy_for("https://h") is None
