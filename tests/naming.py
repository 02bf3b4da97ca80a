"""Names of parametrised tests: the same in each process that collects them, or they could not run side by side."""

from __future__ import annotations

import re


def steady(value: object) -> str:
    """`ascii(value)` without the addresses of objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", ascii(value))
