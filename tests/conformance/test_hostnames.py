"""Hosts as the WHATWG's URL standard reads them: what it fails is refused, and all else means the same host.

What is refused here although a browser takes it is listed with its reason. The hosts were written down from a browser's
engine.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from sleepwalker import URLError
from sleepwalker.transport.url import parse_hostname

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "hostnames.json").read_text(encoding="utf-8"))
REFUSED = [(reason, text) for reason, texts in DATA["refused here"].items() for text in texts]


def shown(value: object) -> str:
    return ascii(value)[:60]


@pytest.mark.parametrize(("text", "scheme", "host", "port"), DATA["same"], ids=shown)
def test_what_is_taken_means_the_same_host(text: str, scheme: str, host: str, port: int) -> None:
    origin = parse_hostname(text)[1]
    assert (origin.scheme, origin.port) == (scheme, port)
    if ":" in host:  # an address of IPv6 may be written in two ways
        assert ipaddress.ip_address(origin.host) == ipaddress.ip_address(host)
    else:
        assert origin.host == host


@pytest.mark.parametrize("text", DATA["refused by both"], ids=shown)
def test_what_a_browser_fails_is_refused(text: str) -> None:
    with pytest.raises(URLError):
        parse_hostname(text)


@pytest.mark.parametrize(("reason", "text"), REFUSED, ids=shown)
def test_what_is_refused_though_a_browser_takes_it(reason: str, text: str) -> None:
    with pytest.raises(URLError):
        parse_hostname(text)


@pytest.mark.parametrize(
    "label",
    [
        *("xn--bcher-kva", "xn--n3h", "xn--ls8h", "xn--fiqs8s", "xn--4dbc", "xn--h2brj9c", "xn--3e0b707e", "xn--p1ai"),
        *("xn--fa-hia", "xn--hxarsa0b", "xn--o3cw4h", "xn--mgba3gch31f060k", "xn--10cl1a0b660p"),
    ],
)
def test_a_name_of_other_letters_is_taken_in_its_ascii_form(label: str) -> None:
    """Two of them with joiners, which these scripts need."""
    assert parse_hostname(f"https://{label.upper()}.example")[1].host == f"{label}.example"
