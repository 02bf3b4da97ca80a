"""How much of a range tests look at: some points of it at the desk, and all of it in CI, with one interpreter."""

from __future__ import annotations

from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

T = TypeVar("T")

_in_ci = _whole = False


def look_at_the_whole(*, in_ci: bool, here: bool) -> None:
    """Whether this is CI, and whether whole ranges are to be looked at. Said before files with tests are read."""
    global _in_ci, _whole
    _in_ci, _whole = in_ci, here


def some(here: T, in_ci: T, *, with_each: bool = False) -> T:
    """How many examples, steps or points there are; `with_each`: CI wants all with each interpreter."""
    return in_ci if _whole or (_in_ci and with_each) else here


def whole(*values: object, with_each: bool = False) -> ParameterSet:
    """A parameter's value that is left to CI; `with_each`: to CI with each interpreter."""
    return pytest.param(*values, marks=[] if _in_ci and with_each else pytest.mark.left_to_ci)
