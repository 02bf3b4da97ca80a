"""A storm of signals over calls of each kind: no place, permit or count is lost, and no thread hangs.

`test_struck.py` strikes each instruction of the package's in turn; here the moment is left to chance, so that it also
comes in what the package stands on, while other threads are at work. SLEEPWALKER_STORM is the number of calls in each
scene, where more are wished for.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from storm import SCENES

from tests.ranges import some, whole

#: Under CI=true always the same one: whether a change may land must not hang on the luck of a draw.
SEED = 1 if os.environ.get("CI", "").lower() not in ("", "0", "false") else random.randrange(10**6)
CALLS = int(os.environ.get("SLEEPWALKER_STORM", some(100, 150)))

#: Where the most is under way when a signal comes. Each of the others is a process of two seconds, too.
HERE = ("retried", "find")


@pytest.mark.once
@pytest.mark.parametrize("scene", [scene if scene in HERE else whole(scene) for scene in SCENES])
def test_a_storm_of_signals_leaves_nothing_behind(scene: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("storm.py")), scene, str(SEED), str(CALLS)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60 + CALLS / 5, check=False)
    told = f"seed {SEED}\n{ended.stdout}\n{ended.stderr}"
    assert ended.returncode == 0, told
    found = json.loads(ended.stdout)
    assert found["faults"] == [], told
    assert found["struck"] > CALLS / 20, told
    assert found["others"] > 0, told
