"""That axe-core finds what is wrong with a page, so that finding nothing says something."""

from __future__ import annotations

import pytest
from axe import violations
from browser import Browser

pytestmark = pytest.mark.left_to_ci

BAD = "data:text/html,<html lang=en><title>a</title><main><h1>a</h1><img src=x><p style='color:%23ccc'>pale</p></main>"


def test_axe_finds_an_image_without_a_text_and_a_text_too_pale(browser: Browser) -> None:
    browser.open(BAD)
    rules = [text.split(" ")[0] for text in violations(browser)]
    assert rules == ["color-contrast", "image-alt"]
