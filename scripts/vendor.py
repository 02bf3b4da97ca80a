"""Fetches the charting library that the package carries from npm, and checks it or, given a version, takes that one.

`sleepwalker/inspect/vendor/pin.toml` says which it is and why. npm asks the registry that this machine is set up with.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from scripts import npm

FOLDER = Path(__file__).parents[1] / "sleepwalker" / "inspect" / "vendor"
PIN = FOLDER / "pin.toml"


def main(version: str | None) -> int:
    """0: the package's file is what npm has, or has become it; 1: it is not, or npm could not fetch it."""
    text = PIN.read_text(encoding="utf-8")
    pin = tomllib.loads(text)
    try:
        archive = npm.pack(pin["package"], version or pin["version"])
    except npm.NpmError as error:
        print(f"vendor: {error}", file=sys.stderr)
        return 1
    content = {name: npm.unpack(archive, name) for name in (pin["file"], "LICENSE")}
    script = content[pin["file"]]
    found = {"version": version or pin["version"], "archive": npm.integrity(archive), "script": npm.integrity(script)}
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
