"""A storm of failures and cancellations in asyncio: no wrong answer, nothing twice or late, nothing left behind."""

from __future__ import annotations

import pytest

from benchmarks.aio import chaos

SECONDS = 5.0


@pytest.mark.long
@pytest.mark.parametrize("seed", [1])
def test_hosts_that_fail_in_every_way_and_tasks_that_are_cancelled_leave_nothing_wrong(seed: int) -> None:
    """The benchmark's storm, short; `make bench BENCH=aio ARGS='--section chaos'` is a minute of it."""
    found = chaos.measure(SECONDS, 100, seed)
    assert found["faults"] == []
    seen, reached = found["seen"], found["reached"]
    assert seen["outcomes"]["answered"] > 200
    assert seen["outcomes"]["cancelled"] > 10
    assert seen["outcomes"]["timed out from outside"] > 1
    assert reached["posted"] > 50
    assert len(reached["happened"]) > 15
