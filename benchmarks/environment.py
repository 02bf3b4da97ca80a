"""Environment variables of a known number, for requests reads them at every call.

It looks for proxies in them, before Python 3.13 by going through all of them twice, and for a netrc file in the home
folder. What a bare request costs would otherwise depend on whose shell this is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

#: A shell on the machine where this was written had 35.
MANY = 40


def leave_out_the_environment(home: Path) -> None:
    """Keep PATH alone, and make `home` the home folder. No proxy, no netrc file."""
    path = os.environ.get("PATH", os.defpath)
    os.environ.clear()
    os.environ.update({"PATH": path, "HOME": str(home)})


@contextlib.contextmanager
def many_variables() -> Iterator[None]:
    """Within, there are `MANY` variables that mean nothing to anybody."""
    names = {f"SERVICE_{number}_ADDRESS": f"10.0.0.{number}:8080" for number in range(MANY)}
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
