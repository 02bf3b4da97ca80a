"""Environment variables of a known number, for requests reads them at every call.

It looks for proxies in them, with Python 3.11 by going through all of them twice, and for a netrc file in the home
folder. What a bare request costs would otherwise depend on whose shell this is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def leave_out_the_environment(home: Path) -> None:
    """Keep PATH alone, and make `home` the home folder. No proxy, no netrc file."""
    path = os.environ.get("PATH", os.defpath)
    os.environ.clear()
    os.environ.update({"PATH": path, "HOME": str(home)})


@contextlib.contextmanager
def variables(number: int) -> Iterator[None]:
    """Within, the environment holds so many variables: the more are those that Kubernetes sets for its services."""
    more = {
        f"SERVICE_{at}_PORT_8080_TCP_ADDR": f"10.0.{at // 250}.{at % 250}" for at in range(number - len(os.environ))
    }
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            del os.environ[name]
