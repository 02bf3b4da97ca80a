"""How `make test` runs tests side by side: which of them stay together, and which come first.

pytest-xdist starts the processes and brings their reports together. All of them collect the same tests; the first one
writes down in which units they may be handed out, for only there marks and fixtures are known, and the `Scheduler` in
the process that reports hands a unit to a process that has run out of tests.

- Tests that share a fixture of their module or class are one unit: it is often a benchmark's run.
- So are tests of a browser, for it takes a second to start.
- Other tests of a file are handed out a few at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

#: So many tests of a file are handed out at once. Fewer would balance the processes better at the end of the run, but
#: each message costs time.
_AT_ONCE = 12

#: Folders in the order in which their tests are begun: what waits most comes first, for it may take long.
_FIRST = ("tests/wire/", "tests/test_docs.py", "tests/services/", "tests/unit/")

#: Where the first process leaves its plan, in what the reporting one tells it.
_PLAN = "plan_of_units"

_FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()

Unit = list[int]
"""Tests, by their index among those that were collected."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three for each core: most tests wait more than they work. Each collects all tests anew, so more do not pay."""
    if told := os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return int(told)
    return min(3 * len(os.sched_getaffinity(0)), 12)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    config = node.config
    if _FOLDER not in config.stash:
        folder = config.stash[_FOLDER] = tempfile.TemporaryDirectory(prefix="side-by-side-")
        config.add_cleanup(folder.cleanup)
    node.workerinput[_PLAN] = f"{config.stash[_FOLDER].name}/plan.json"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> Scheduler | None:
    return Scheduler(config) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """In a fresh checkout each process compiles its share of the files first, and finds the others' share compiled."""
    told = getattr(session.config, "workerinput", None)
    if told is None:
        return
    folders = [folder for argument in session.config.args if (folder := Path(argument).resolve()).is_dir()]
    files = sorted(path for folder in folders for path in folder.rglob("test_*.py"))
    for path in files[int(told["workerid"].removeprefix("gw")) :: told["workercount"]]:
        name = ".".join(path.relative_to(session.config.rootpath).with_suffix("").parts)
        # What fails here does so again when it is collected, where it is told of.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(name)


@pytest.hookimpl(tryfirst=True)  # xdist tells the reporting process of the collection, which then looks for the plan
def pytest_collection_finish(session: pytest.Session) -> None:
    told = getattr(session.config, "workerinput", {})
    if told.get("workerid") == "gw0":
        Path(told[_PLAN]).write_text(json.dumps(plan(session.items)), encoding="utf-8")


def plan(items: Sequence[pytest.Item]) -> list[Unit]:
    """Units in the order in which they are begun."""
    units: list[Unit] = []
    kept: dict[str, Unit] = {}
    for _, of_file in itertools.groupby(range(len(items)), key=lambda index: items[index].path):
        loose: Unit = []
        for index in of_file:
            if key := _kept_together(items[index]):
                if key not in kept:
                    kept[key] = []
                    units.append(kept[key])
                kept[key].append(index)
            else:
                loose.append(index)
        units += (loose[at : at + _AT_ONCE] for at in range(0, len(loose), _AT_ONCE))
    return sorted(units, key=lambda unit: _rank(items[unit[0]]))


def _kept_together(item: pytest.Item) -> str | None:
    """What all tests have in common that are to run in one process; None where that does not matter."""
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009
    if "chromium" in definitions:
        return "chromium"
    shared = {name: one for name, (*_, one) in definitions.items() if one.scope in ("class", "module")}
    for name, definition in shared.items():
        if not any(other in shared for other in definition.argnames):  # all that stands on it goes with it
            return f"{item.path} {name}"
    return None


def _rank(item: pytest.Item) -> tuple[bool, int]:
    place = next((at for at, folder in enumerate(_FIRST) if item.nodeid.startswith(folder)), len(_FIRST))
    takes_long = item.get_closest_marker("long") or item.get_closest_marker("selftest")
    return not takes_long, place


class Scheduler:
    """Hands units of tests to processes; a scheduler of pytest-xdist's, which calls a process a node.

    A process runs a test only when it was sent another one or was told that there will be none: it tears down what the
    next one does not use. So each is kept two tests ahead.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._expected = len(config.getvalue("tx"))
        self._collections: dict[WorkerController, list[str]] = {}
        self._tests: list[str] | None = None
        self._units: deque[Unit] = deque()
        #: What each process has still to do; the first is what it does now.
        self._sent: dict[WorkerController, Unit] = {}

    @property
    def nodes(self) -> list[WorkerController]:
        return list(self._sent)

    @property
    def collection_is_completed(self) -> bool:
        return len(self._collections) >= self._expected

    @property
    def tests_finished(self) -> bool:
        return self.collection_is_completed and not self._units and all(len(sent) < 2 for sent in self._sent.values())

    @property
    def has_pending(self) -> bool:
        return bool(self._units or any(self._sent.values()))

    def add_node(self, node: WorkerController) -> None:
        self._sent[node] = []

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        self._collections[node] = list(collection)

    def schedule(self) -> None:
        """When all have collected, and again when one has that came in place of another."""
        if self._tests is None:
            first, *others = self._collections.values()
            if any(other != first for other in others):
                self._config.hook.pytest_collectreport(report=_differ(first, others))
                return
            self._tests = first
            told = next(iter(self._collections)).workerinput[_PLAN]
            self._units.extend(json.loads(Path(told).read_text(encoding="utf-8")))
        for node in self.nodes:
            self._feed(node)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        self._sent[node].remove(item_index)
        self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """For plugins that want a test once more; none of ours does."""
        raise NotImplementedError

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """What a process gave back, which none is asked for here."""
        raise NotImplementedError

    def remove_node(self, node: WorkerController) -> str | None:
        """A process has ended. Where it died, the test that it ran; what else was sent to it goes to others."""
        died_in, *left = self._sent.pop(node) or [None]
        if left:
            self._units.appendleft(left)
        for other in self.nodes:
            self._feed(other)
        return None if died_in is None else self._collections[node][died_in]

    def _feed(self, node: WorkerController) -> None:
        if node.shutting_down or node not in self._collections:
            return
        while self._units and len(self._sent[node]) < 2:
            self._send(node, self._units.popleft())
        if not self._units:
            node.shutdown()

    def _send(self, node: WorkerController, unit: Unit) -> None:
        self._sent[node] += unit
        node.send_runtest_some(unit)


def _differ(first: list[str], others: list[list[str]]) -> pytest.CollectReport:
    """Only one process had these tests: names that are made from what changes from process to process."""
    names = sorted(set().union(*(set(first) ^ set(other) for other in others)))[:10]
    return pytest.CollectReport("", "failed", f"Collected by some processes and not by others: {names}", None, [])
