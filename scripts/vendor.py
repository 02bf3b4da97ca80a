"""Fetches the charting library that the package carries from npm, and checks it or, given a version, takes that one.

`sleepwalker/inspect/vendor/pin.toml` says which it is and why. npm asks the registry that this machine is set up with.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "sleepwalker" / "inspect" / "vendor"
PIN = FOLDER / "pin.toml"


def integrity(content: bytes) -> str:
    """The hash as npm writes it, and as browsers do in `integrity`."""
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def fetch(package: str, version: str, names: list[str]) -> tuple[str, dict[str, bytes]]:
    """The archive's hash, and the content of those of its files."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{package}@{version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            members = {name: packed.extractfile(f"package/{name}") for name in names}
            content = {name: member.read() for name, member in members.items() if member is not None}
        return integrity(archive.read_bytes()), content


def main(version: str | None) -> int:
    """0: the package's file is what npm has, or has become it; 1: it is not."""
    text = PIN.read_text(encoding="utf-8")
    pin = tomllib.loads(text)
    archive, content = fetch(pin["package"], version or pin["version"], [pin["file"], "LICENSE"])
    script = content[pin["file"]]
    found = {"version": version or pin["version"], "archive": archive, "script": integrity(script)}
    if version is None and any(pin[name] != value for name, value in found.items()):
        print(f"vendor: npm's {pin['package']} {pin['version']} is not what {PIN.name} says: {found}", file=sys.stderr)
        return 1
    for name, value in found.items():
        text = re.sub(rf'^{name} = ".*"$', f'{name} = "{value}"', text, flags=re.MULTILINE)
    PIN.write_text(text, encoding="utf-8")
    for name, data in content.items():
        (FOLDER / name).write_bytes(data)
    print(f"vendor: {pin['package']} {found['version']}, {len(script):,} bytes, as npm has it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
