"""Read by PyInstaller where a program imports sleepwalker: the files and modules that it does not find by itself."""

from __future__ import annotations

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

#: The shipped policies, what the pages are made of, and the version.
datas: list[tuple[str, str]] = [
    *collect_data_files("sleepwalker", excludes=["**/py.typed"]),
    *collect_data_files("sleepwalker.policies"),
    *copy_metadata("sleepwalker"),
]
#: Found by their names: the folder of the policies and, with the extra `services`, what the package has on demand.
hiddenimports: list[str] = ["sleepwalker.policies"]
if find_spec("reschema") is not None:
    hiddenimports += ["sleepwalker.datarep", "sleepwalker.definitions", "sleepwalker.service"]
#: The fields of a policy are described by their source.
module_collection_mode: dict[str, str] = {"sleepwalker.policy": "pyz+py"}
