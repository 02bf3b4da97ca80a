"""Environment variables of a known number, for requests reads them at every call.

It looks for proxies in them, before Python 3.13 by going through all of them twice, and for a netrc file in the home
folder. What a bare request costs would otherwise depend on whose shell this is.
"""

from __future__ import annotations

import os
from pathlib import Path


def leave_out_the_environment(home: Path) -> None:
    """Keep PATH alone, and make `home` the home folder. No proxy, no netrc file."""
    path = os.environ.get("PATH", os.defpath)
    os.environ.clear()
    os.environ.update({"PATH": path, "HOME": str(home)})
