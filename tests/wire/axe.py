"""axe-core, which finds what keeps people from reading a page, run in the tests' own browser.

It comes with `axe_playwright_python`; only the script is taken from there, for importing that needs Playwright.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from browser import Browser

#: Rules by WCAG and good practice, all that axe-core runs by default. Texts of a violation, short enough to be read.
_RUN = """axe.run(arguments[0], {resultTypes: ["violations"]}).then((found) => found.violations.flatMap((rule) =>
  rule.nodes.map((node) => `${rule.id} (${rule.impact}): ${node.target.join(" ")}: ` +
    [...node.any, ...node.all, ...node.none].map((check) => check.message).join("; "))))"""


@cache
def _script() -> str:
    spec = find_spec("axe_playwright_python")
    assert spec is not None, "axe-playwright-python is not installed: make setup"
    [folder] = spec.submodule_search_locations or []
    return (Path(folder) / "axe.min.js").read_text(encoding="utf-8")


def violations(browser: Browser, within: str = "html", without: Sequence[str] = ()) -> list[str]:
    """What axe-core finds wrong with the page as it is shown now: a text for each element and rule.

    It takes a second of CPU for some thousand elements: `within` says where to look, and `without` where not.
    """
    browser.driver.execute_script(_script())
    return list(browser.run(_RUN, {"include": [[within]], "exclude": [[selector] for selector in without]}))
