"""The house has floors: a module imports only from floors below its own, and each library is known to one place.

All imports count: those inside functions, those under `TYPE_CHECKING` (a type from above is a dependency as well) and
`importlib.import_module("…")` with a name written out.
"""

from __future__ import annotations

import ast
import graphlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

#: What imports what is the same with each interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sleepwalker"

#: Lowest first. A name stands for that module or folder and everything in it; the longest one that fits counts.
#: Modules under one name may import each other, but not in a circle; modules under two names of one floor may not.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("clock", "files", "fork", "frames", "freezing", "functions", "value", "version"),
    ("attempt", "latch", "process"),
    ("events",),
    ("exceptions",),
    ("policy", "policies"),
    (
        "engine.host.activity",
        "engine.host.isolation",
        "engine.host.latencies",
        "engine.host.parts",
        "engine.host.permits",
        "engine.host.rate_limit",
        "engine.host.sources",
        "engine.host.window",
        "engine.outcome",
        "engine.retry_after",
    ),
    (
        "engine.host.adaptive",
        "engine.host.budget",
        "engine.host.counters",
        "engine.host.history",
        "engine.host.holdings",
        "engine.host.open_time",
        "engine.host.slow_calls",
        "engine.host.slow_start",
        "engine.host.snapshot",
        "engine.host.trip",
        "engine.retrying",
    ),
    ("engine.host.connects", "engine.host.cooldown", "engine.host.lock", "engine.host.machine"),
    (
        "engine.host.bulkhead",
        "engine.host.circuit",
        "engine.host.circuit_queue",
        "engine.host.cooldown_admission",
        "engine.host.refusals",
    ),
    ("engine.host.breaker", "engine.host.verdict"),
    ("engine.host.admission",),
    ("engine.host.outcomes", "engine.host.reading"),
    ("engine.host.host", "engine.compiled"),
    ("engine.host.fleet",),
    ("engine.host",),  # its __init__
    ("engine.steps",),
    ("engine.record",),
    ("engine.announcements", "engine.cooling"),
    ("engine.rejections",),
    ("engine.entry", "engine.hedging", "engine.retry_wait"),
    ("engine.admitting",),
    ("engine.call",),
    ("engine.download",),
    ("engine",),  # its __init__
    ("drivers", "telemetry", "transport"),
    ("fleet.verdicts",),
    ("fleet.store",),
    ("hosts", "fleet.local", "fleet.redis", "fleet.action", "fleet.known", "fleet.orders"),
    ("fleet.stores", "fleet.worker"),
    ("fleet.options",),
    ("fleet",),
    ("lookup",),
    ("transport.resolver",),
    ("transport.errors",),
    ("transport.blocking", "transport.aio"),
    ("downloads",),
    ("connection",),
    ("links", "definitions"),
    ("aio",),
    ("adapters",),
    ("datarep",),
    ("service",),
    ("logging", "otel", "prometheus"),
    ("",),  # the package's own __init__, which hands names on
    ("eventlog",),
    ("inspect",),
    ("cli", "status"),
    ("__main__",),
)

#: Which module or folder may import which library. Only the standard library is free to all.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "PyInstaller": ("freezing.hook-sleepwalker",),
    "brotli": ("transport.codings",),
    "brotlicffi": ("transport.codings",),
    "annotated_types": ("policy",),
    "pydantic": ("policy",),
    "pydantic_core": ("policy",),
    "socks": ("transport.blocking.socks",),
    "tenacity": ("engine.retrying",),
    "pybreaker": ("engine.host.machine", "engine.host.trip"),
    "structlog": ("telemetry.log",),
    # Its exceptions are the bases of ours, its types are in our signatures, and the demo compares itself with it.
    "requests": (
        "transport",
        "exceptions",
        "connection",
        "aio",
        "adapters",
        "downloads",
        "lookup.keys",
        "links",
        "cli.demo",
    ),
    "urllib3": ("transport", "exceptions"),
    "certifi": ("transport",),
    "aiohttp": ("transport.aio", "aio"),
    "yarl": ("transport.aio",),  # URLs, as aiohttp takes them: it comes with it
    "multidict": ("transport.aio",),  # likewise, headers
    "httpx": ("adapters",),
    "httpx2": ("adapters",),
    "redis": ("fleet.redis",),
    "rich": ("cli",),
    "shtab": ("cli.completion",),
    "duckdb": ("inspect.session",),
    "prometheus_client": ("prometheus",),
    "opentelemetry": ("otel",),
    "weblinking": ("links.header",),
    "reschema": ("definitions",),
    "jsonpointer": ("definitions",),
    # Of links that a server sends, and of those in a service's definition.
    # Of what a checker alone reads.
    "typing_extensions": ("connection.found", "aio.found"),
    "uritemplate": ("links.template", "definitions"),
}


def _modules() -> dict[str, Path]:
    """Every module of the package: dotted name below `sleepwalker` ("" for the package itself) to file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _fits(name: str, prefix: str) -> bool:
    return name == prefix or (prefix != "" and name.startswith(prefix + "."))


def _place(module: str) -> tuple[int, str]:
    """The module's floor, and the name in the table that says so."""
    fitting = [(len(name), floor, name) for floor, names in enumerate(FLOORS) for name in names if _fits(module, name)]
    if not fitting:
        raise LookupError(f"sleepwalker.{module} has no floor: give it one in FLOORS")
    _, floor, name = max(fitting)
    return floor, name


def _imports(module: str, source: str, is_package: bool) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, module, names taken from it) of every import in the source, relative ones resolved."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name, ()) for alias in names)
            case ast.ImportFrom(module=target, names=names, level=level):
                if level:
                    package = f"sleepwalker.{module}".rstrip(".").split(".")
                    package = package[: len(package) - level + is_package]
                    target = ".".join([*package, *([target] if target else [])])
                yield node.lineno, target or "", tuple(alias.name for alias in names)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(target)), *_],
            ):
                yield node.lineno, target, ()


def _own(target: str, names: tuple[str, ...], modules: dict[str, Path]) -> set[str]:
    """The modules of the package that an import of `names` from `target` means."""
    module = target.removeprefix("sleepwalker").removeprefix(".")
    if not names:
        return {module}
    below = {name: f"{module}.{name}".lstrip(".") for name in names}
    return {below[name] if below[name] in modules else module for name in names}


def _faults(module: str, source: str, modules: dict[str, Path], is_package: bool = False) -> list[str]:
    """Every import of the module that goes up or sideways, or to a library that it may not know."""
    floor, name = _place(module)
    faults = []
    for line, target, names in _imports(module, source, is_package):
        library = target.split(".")[0]
        if library == "sleepwalker":
            for other in _own(target, names, modules):
                other_floor, other_name = _place(other)
                if other_floor >= floor and other_name != name:
                    faults.append(f"line {line}: imports sleepwalker.{other} (floor {other_floor}) from floor {floor}")
        elif library not in sys.stdlib_module_names and not any(
            _fits(module, owner) for owner in LIBRARIES.get(library, ())
        ):
            owners = ", ".join(LIBRARIES.get(library, ())) or "no module; the core has five dependencies"
            faults.append(f"line {line}: imports {library}, which is known to {owners}")
    return faults


@pytest.mark.parametrize("module", MODULES)
def test_every_import_goes_down_and_to_libraries_that_the_module_may_know(module: str) -> None:
    path = MODULES[module]
    faults = _faults(module, path.read_text(encoding="utf-8"), MODULES, path.name == "__init__.py")
    assert faults == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        found = _imports(module, path.read_text(encoding="utf-8"), path.name == "__init__.py")
        own = [_own(target, names, MODULES) for _, target, names in found if target.split(".")[0] == "sleepwalker"]
        graph[module] = set().union(*own) - {module}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which shows the circle


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        ("clock", "from sleepwalker.engine.call import run", "imports sleepwalker.engine.call"),
        ("clock", "import sleepwalker.cli", "imports sleepwalker.cli"),
        ("clock", "import sleepwalker", "imports sleepwalker. "),
        ("clock", "from sleepwalker import exceptions", "imports sleepwalker.exceptions"),
        ("clock", "from . import exceptions", "imports sleepwalker.exceptions"),
        ("clock", "from .exceptions import URLError", "imports sleepwalker.exceptions"),
        ("clock", "def f():\n    import sleepwalker.exceptions", "line 2: imports sleepwalker.exceptions"),
        ("clock", "if TYPE_CHECKING:\n    from sleepwalker.exceptions import URLError", "line 2"),
        ("clock", "importlib.import_module('sleepwalker.cli')", "imports sleepwalker.cli"),
        ("clock", "from sleepwalker.events import Event", "imports sleepwalker.events"),
        ("telemetry.log", "from sleepwalker.transport import send", "imports sleepwalker.transport"),
        ("engine.outcome", "from ..connection import Connection", "imports sleepwalker.connection"),
        ("engine.call", "import requests", "known to transport, exceptions, connection"),
        ("telemetry.log", "def f():\n    import rich.table", "known to cli"),
        ("connection", "import flask", "known to no module"),
    ],
)
def test_an_import_that_goes_up_or_aside_is_found(module: str, source: str, says: str) -> None:
    """The guard itself: one that found nothing would pass for ever."""
    modules = dict.fromkeys(["", "cli", "clock", "connection", "engine.call", "exceptions", "transport"], Path())
    [fault] = _faults(module, source, modules)
    assert says in fault


def test_a_module_without_a_floor_is_found() -> None:
    with pytest.raises(LookupError, match=r"sleepwalker\.newcomer has no floor"):
        _place("newcomer")


def test_every_name_in_the_table_stands_for_one_floor() -> None:
    names = [name for floor in FLOORS for name in floor]
    assert len(names) == len(set(names))


def test_every_folder_of_the_package_is_shipped() -> None:
    """pyproject.toml lists the packages by hand: a new folder must not be left out of the wheel."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    folders = {f"sleepwalker.{module}".rstrip(".") for module, path in MODULES.items() if path.name == "__init__.py"}
    folders |= {"sleepwalker." + ".".join(p.parent.relative_to(PACKAGE).parts) for p in PACKAGE.glob("*/**/*.py")}
    assert set(tools["setuptools"]["packages"]) == folders | {"sleepwalker.policies"}


OPTIONAL = (
    "aiohttp", "duckdb", "httpx", "httpx2", "jsonpointer", "opentelemetry", "prometheus_client", "pybreaker", "redis",
    "reschema", "rich", "structlog", "uritemplate", "weblinking", "sleepwalker.cli",
)  # fmt: skip

_PROBE = """
import json, sys, threading
import pydantic, requests, tenacity

# What the libraries do when they are first used is theirs: pydantic looks for its plugins then.
class _(pydantic.BaseModel):
    x: int

seen, imports = [], []

def hook(event, args):
    if event == "import":
        imports.append(args[0])  # also of what is not installed
    elif event.startswith("socket.") or event in ("subprocess.Popen", "os.fork", "_thread.start_new_thread"):
        seen.append(event)
    elif event == "open" and not str(args[0]).endswith((".py", ".pyc", ".so")):
        seen.append(f"open {args[0]}")

sys.addaudithook(hook)
import sleepwalker
done, imported = list(seen), list(imports)

import logging
print(json.dumps({
    "done": done,
    "imports": imported,
    "threads": [thread.name for thread in threading.enumerate()],
    "handlers": [str(h) for name in (None, "sleepwalker") for h in logging.getLogger(name).handlers],
    "level": logging.getLogger("sleepwalker").level,
}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """What `import sleepwalker` did in a fresh interpreter."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", _PROBE], env=env, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode == 0
    return json.loads(run.stdout)


def test_importing_the_package_opens_no_file_and_no_socket_and_starts_nothing(imported: dict[str, list[str]]) -> None:
    assert imported["done"] == []
    assert imported["threads"] == ["MainThread"]


def test_importing_the_package_imports_no_extra_and_no_command_line(imported: dict[str, list[str]]) -> None:
    taken = {optional for optional in OPTIONAL for name in imported["imports"] if f"{name}.".startswith(f"{optional}.")}
    assert taken == set()


def test_importing_the_package_configures_no_logging(imported: dict[str, list[str]]) -> None:
    assert imported["handlers"] == []
    assert imported["level"] == 0


def _loops_under_a_lock(code: ast.AST) -> list[int]:
    """The lines of loops within a `with` of a lock; from 3.12 on comprehensions are such loops, too."""
    loops = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp)

    def found(node: ast.AST) -> list[int]:
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.GeneratorExp):
            return []
        own = [node.lineno] if isinstance(node, loops) else []
        return own + [line for child in ast.iter_child_nodes(node) for line in found(child)]

    held = [
        node
        for node in ast.walk(code)
        if isinstance(node, ast.With) and any(map(re.compile("lock|mutex").search, map(ast.unparse, node.items)))
    ]
    return [line for node in held for child in node.body for line in found(child)]


@pytest.mark.parametrize("module", MODULES)
def test_no_loop_stands_within_a_lock(module: str) -> None:
    """Since Python 3.12 a loop jumps back outside of a `with`: a signal handler that raises there leaves it held."""
    assert _loops_under_a_lock(ast.parse(MODULES[module].read_text(encoding="utf-8"))) == []


def test_a_loop_within_a_lock_would_be_found() -> None:
    source = "with lock:\n    act()\n    for one in many:\n        pass\n    a = [x for x in y], all(x for x in y)\n"
    assert _loops_under_a_lock(ast.parse(source)) == [3, 5]
