"""A signal handler that raises at any instruction of a download: nothing stays open or locked, and the next one works.

As in `test_struck.py`: the same download again and again, struck each time at a place where it was not struck before.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from servers import FaultServer, RangedFile, open_below

from sleepwalker import ANONYMOUS, Connection, Policy
from tests.interrupts import Place, forget, strike
from tests.ranges import some

CONTENT = os.urandom(300_000)
FILES = tuple(
    f"sleepwalker/{name}"
    for name in (
        "connection/calls.py",
        "connection/downloading.py",
        "connection/receiving.py",
        "downloads/part.py",
        "downloads/transfer.py",
        "engine/download.py",
    )
)
POLICY = Policy(
    timeout={"connect": 5, "read": 5, "attempt": 5, "total": 10},
    retry={"attempts": 3, "wait_initial": 0.0005, "wait_max": 0.001, "budget": None},
    breaker=False,
    pool={"size": 2, "block": True},
)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_download_that_is_struck_anywhere_leaves_nothing_open_and_the_next_one_works(tmp_path: Path) -> None:
    file, path, known = RangedFile(CONTENT), tmp_path / "big", set[Place]()
    with FaultServer(default=file.serve) as server, Connection(server.url, ANONYMOUS, policy=POLICY) as conn:

        def act() -> None:
            conn.download("/big", path)

        struck = 0
        while True:
            file.cuts = [100_000]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # what is torn away is closed by its end
                where = strike(act, files=FILES, known=known)
                forget()
            if where is None:
                break
            struck += 1
            assert open_below(tmp_path) == [], where
            assert conn.health.in_flight == 0, where
            if struck % some(8, 1) == 0:
                file.cuts = []
                act()
                assert path.read_bytes() == CONTENT, where
                assert [one.name for one in tmp_path.iterdir()] == ["big"], where
                path.unlink()
    assert struck > 100
