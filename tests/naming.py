"""Names of parametrised tests: the same in each run, so that one that failed is found again."""

from __future__ import annotations

import re


def steady(value: object) -> str:
    """`ascii(value)` without the addresses of objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", ascii(value))
