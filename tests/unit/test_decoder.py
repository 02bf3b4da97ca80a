"""JSON bodies come out as from the standard library, whatever Unicode they are written in."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from sleepwalker.connection.json import decoded
from sleepwalker.exceptions import DecodeError
from sleepwalker.transport.url import parse_hostname

_, ORIGIN, _ = parse_hostname("https://api.example.net", None)

texts = st.text(st.characters(), max_size=8)  # halves of surrogate pairs included, which JavaScript and Java write
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def answer(content: bytes, status: int = 200, encoding: str | None = "ISO-8859-1") -> requests.Response:
    response: Any = requests.Response()
    response.status_code, response._content, response.encoding = status, content, encoding
    response.url, response.attempts = "https://api.example.net/orders?token=secret", ()
    return response  # type: ignore[no-any-return]


@given(values, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]))
@example(["\ud83d"], "utf-8")
@example({}, "utf-16-le")
@example([], "utf-32-le")
def test_a_value_comes_out_as_it_went_in(value: Any, encoding: str) -> None:
    body = json.dumps(value, ensure_ascii=False).encode(encoding, "surrogatepass")
    assert decoded(answer(body), ORIGIN) == json.loads(body)


@given(st.binary(max_size=12).map(b"[".__add__))
def test_bytes_of_any_kind_are_a_value_or_a_clear_error(body: bytes) -> None:
    try:
        expected = json.loads(body)
    except UnicodeDecodeError:
        return  # the answer's own encoding has its say then
    except ValueError:
        with pytest.raises(DecodeError, match=f"{len(body)} bytes of body that are not JSON"):
            decoded(answer(body), ORIGIN)
    else:
        assert decoded(answer(body), ORIGIN) == expected


def test_what_is_no_utf_8_is_read_as_the_answer_says() -> None:
    assert decoded(answer(b'["\xe4"]'), ORIGIN) == ["ä"]
    with pytest.raises(DecodeError, match=r"^https://api\.example\.net/orders: 200 with 5 bytes"):
        decoded(answer(b'["\xe4"]', encoding=None), ORIGIN)


@pytest.mark.parametrize(("content", "status"), [(b"", 200), (b"", 204), (b"{", 204)])
def test_no_content_is_none(content: bytes, status: int) -> None:
    assert decoded(answer(content, status), ORIGIN) is None
