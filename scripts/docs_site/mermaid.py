"""Fetches the script that draws the Mermaid blocks, as `mermaid.toml` pins it, into a folder that is kept."""

from __future__ import annotations

import tomllib
from pathlib import Path

from scripts import npm
from scripts.docs_site.stage import SiteError

PIN = tomllib.loads((Path(__file__).parent / "mermaid.toml").read_text(encoding="utf-8"))


def fetch(folder: Path) -> None:
    """Have `mermaid.js` in the folder; nothing is fetched where it is there.

    Raises SiteError where npm is missing or its file is not the one that was pinned.
    """
    script = folder / "mermaid.js"
    if script.is_file() and npm.integrity(script.read_bytes()) == PIN["script"]:
        return
    try:
        archive = npm.pack(PIN["package"], PIN["version"])
    except npm.NpmError as error:
        raise SiteError(str(error)) from error
    if (found := npm.integrity(archive)) != PIN["archive"]:
        wanted = f"{PIN['package']}@{PIN['version']}"
        raise SiteError(f"npm's {wanted} has the hash {found}; mermaid.toml says {PIN['archive']!r}.")
    content = npm.unpack(archive, PIN["file"])
    if npm.integrity(content) != PIN["script"]:
        raise SiteError(f"{PIN['file']} has the hash {npm.integrity(content)}; mermaid.toml says {PIN['script']!r}.")
    folder.mkdir(parents=True, exist_ok=True)
    script.write_bytes(content)
