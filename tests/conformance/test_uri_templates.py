"""RFC 6570: every example of its sections 1.2 and 3.2, and what is no template or cannot be expanded.

The RFC leaves the order of a mapping's keys open. Here it is the order of the alphabet, as the library has it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sleepwalker.exceptions import InvalidParameter, LinkError
from sleepwalker.links.template import expand, variables_of

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "uri_templates.json").read_text(encoding="utf-8"))
EXPANSIONS = [(section, *pair) for section, pairs in DATA["expansions"].items() for pair in pairs]


def expanded(template: str) -> str:
    """With the values of the RFC; those that it does not define are left out."""
    return expand(template, {name: DATA["variables"].get(name) for name in variables_of(template)})


@pytest.mark.parametrize(("section", "template", "expected"), EXPANSIONS)
def test_an_example_is_expanded_as_it_says(section: str, template: str, expected: str) -> None:
    assert expanded(template) == expected


@pytest.mark.parametrize("template", DATA["refused"])
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises((LinkError, InvalidParameter)):
        expanded(template)
