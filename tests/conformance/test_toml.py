"""TOML 1.0: documents of every kind that it allows and forbids, as policy files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sleepwalker import Policy, PolicyError

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "toml_documents.json").read_text(encoding="utf-8"))
#: Bytes that are no UTF-8, which no text of a table can hold.
NOT_UTF_8 = {
    "latin-1": (b"a = 1\nb = '\xe4'\n", 2),
    "utf-16": ("a = 1\n".encode("utf-16"), 1),
    "surrogate": (b"\n\na = '\xed\xa0\x80'", 3),
    "cut": (b"a = '\xc3", 1),
    "overlong": (b"# \xc0\xaf", 1),
}


def refused(tmp_path: Path, data: bytes) -> str:
    """What is said of a policy file with this in it."""
    path = tmp_path / "policy.toml"
    path.write_bytes(data)
    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize("name", DATA["valid"])
def test_a_valid_document_is_read(name: str, tmp_path: Path) -> None:
    """Its keys are no policy's, which is said of each by its name: so it was read."""
    text = DATA["valid"][name]
    if re.fullmatch(r"\s*(#.*\s*)?", text):
        path = tmp_path / "policy.toml"
        path.write_text(text, encoding="utf-8")
        assert Policy.load(path) == Policy()
        return
    said = refused(tmp_path, text.encode())
    assert "not TOML" not in said
    assert "unknown" in said


@pytest.mark.parametrize("name", DATA["invalid"])
def test_an_invalid_document_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text: str = DATA["invalid"][name]
    for before in (0, 3):
        said = refused(tmp_path, ("# a comment\n" * before + text).encode())
        found = re.search(r"not TOML: .*\bline (\d+)\b", said)
        assert found, said
        assert before < int(found[1]) <= before + text.count("\n") + 1


@pytest.mark.parametrize("name", NOT_UTF_8)
def test_bytes_that_are_no_utf_8_are_refused_with_their_line(name: str, tmp_path: Path) -> None:
    data, line = NOT_UTF_8[name]
    assert re.search(rf"not TOML: byte \d+ is not UTF-8 \(line {line}\)", refused(tmp_path, data))
