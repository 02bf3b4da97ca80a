"""The services are an extra: loaded when they are asked for, and missed in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import sleepwalker

ROOT = Path(__file__).parents[2]
NAMES = ("DataRep", "Schema", "Service", "ServiceDefManager", "ServiceManager", "datarep", "mgr", "service")

#: As if the package were not installed: neither found nor imported.
_WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Hide(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hide())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name == {missing!r} else found(name, *args)
"""


def _run(code: str) -> str:
    """What the code prints in a fresh interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    return run.stdout.strip()


@pytest.mark.parametrize("stand_in", ["types.ModuleType('reschema')", "None"])
def test_a_test_that_puts_something_in_reschemas_place_can_import_sleepwalker(stand_in: str) -> None:
    assert _run(f"import sys, types; sys.modules['reschema'] = {stand_in}; import sleepwalker; print('fine')") == "fine"


WAYS_IN = (
    "import sleepwalker.service",
    "import sleepwalker.datarep",
    "import sleepwalker; sleepwalker.mgr",
    "from sleepwalker import ServiceManager",
    "from sleepwalker import ServiceDefManager",
)


@pytest.mark.parametrize("missing", ["reschema", "jsonpointer", "uritemplate"])
def test_without_the_extra_one_sentence_says_what_to_install(missing: str) -> None:
    """Each way in is tried by a process that has come no further than to `import sleepwalker`."""
    code = f"""
import os, sleepwalker
for way in {WAYS_IN!r}:
    if not (child := os.fork()):
        try:
            exec(way)
        except ImportError as e:
            print(e, e.__cause__, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
    sentence = f"sleepwalker's services need the package {missing}: pip install 'sleepwalker[services]' None"
    assert _run(_WITHOUT.format(missing=missing) + code).splitlines() == [sentence] * len(WAYS_IN)


def test_without_the_extra_all_else_works() -> None:
    code = """
import inspect, sleepwalker
from sleepwalker import *
print(len(inspect.getmembers(sleepwalker)) > 50, ConnectionManager.__name__)
"""
    assert _run(_WITHOUT.format(missing="reschema") + code) == "True ConnectionManager"


def test_with_the_extra_a_star_import_has_the_names_and_importing_alone_loads_nothing() -> None:
    code = """
import sys, sleepwalker
print("reschema" in sys.modules, "sleepwalker.service" in sys.modules, "mgr" in vars(sleepwalker))
from sleepwalker import *
print(Service.__module__, mgr is sleepwalker.mgr, sleepwalker.service.Service is Service)
"""
    assert _run(code).splitlines() == ["False False False", "sleepwalker.service True True"]


def test_reschema_can_be_imported_where_warnings_are_errors_and_nothing_is_compiled_yet(tmp_path: Path) -> None:
    """A stray backslash in it is a SyntaxWarning, and so a SyntaxError, where warnings are errors."""
    code = f"""
import sys, warnings, sleepwalker
assert "reschema" not in sys.modules
sys.pycache_prefix = {str(tmp_path)!r}
warnings.simplefilter("error")
before = list(warnings.filters)
import sleepwalker.service
print(warnings.filters == before)
"""
    assert _run(code) == "True"


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there_and_stays_the_same(name: str) -> None:
    assert name in sleepwalker.__all__
    assert name in dir(sleepwalker)
    assert getattr(sleepwalker, name) is getattr(sleepwalker, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Servise'"):
        sleepwalker.Servise  # noqa: B018


def test_threads_that_use_the_manager_first_get_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(sleepwalker), "mgr", raising=False)
    seen = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(10)
        seen.append(sleepwalker.mgr)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 8
    assert len(set(map(id, seen))) == 1
