"""The demo's sentences follow its numbers, also where these are not flattering."""

from __future__ import annotations

from typing import Any

from sleepwalker.cli.demo.conclusions import conclusions
from sleepwalker.cli.demo.move import Move
from sleepwalker.cli.demo.plan import FULL, HOSTS, SIDES, Side
from sleepwalker.cli.demo.report import Report
from sleepwalker.cli.summary import Call, Summary, summarise
from sleepwalker.cli.traffic import Lane

_DONE: dict[Side, float] = {"sleepwalker": 10.2, "requests": 20.4}


def _summaries(ours: list[Call], theirs: list[Call]) -> dict[str, dict[Side, Summary]]:
    """The same calls on all hosts."""
    return {host.name: {"sleepwalker": summarise(ours), "requests": summarise(theirs)} for host in HOSTS}


def _say(ours: list[Call], theirs: list[Call], transitions: Any = (), rejected_at: Any = (), done: Any = _DONE) -> str:
    move = Move(FULL.move_at, lambda: 0.0)
    return "\n".join(conclusions(FULL, _summaries(ours, theirs), transitions, rejected_at, done, move))


def _fine(duration: float = 0.01) -> Call:
    return Call("answered", duration, "200")


def _failed(sends: int = 1) -> Call:
    return Call("failed", 0.5, "503", sends)


def test_more_answers_are_said_to_be_more() -> None:
    text = _say([_fine(), _fine()], [_fine(), _failed()])
    assert "10 of 10 calls through sleepwalker, 5 through plain requests: 5 more" in text


def test_fewer_answers_are_said_to_be_fewer() -> None:
    assert "5 fewer" in _say([_fine(), _failed()], [_fine(), _fine()])


def test_as_many_answers_are_said_to_be_as_many() -> None:
    assert "as many" in _say([_fine()], [_fine()])


def test_the_timeout_of_plain_requests_is_explained_only_where_it_did_not_hold() -> None:
    assert "timeout=10 limits" in _say([_fine()], [_fine(12.0)])
    assert "timeout=10 limits" not in _say([_fine()], [_fine(9.0)])


def test_waiting_is_not_spoken_of_where_no_body_dripped_and_both_sides_ended_together() -> None:
    done = {"sleepwalker": 4.04, "requests": 4.05}
    assert "Waiting" not in _say([_fine(0.022)], [_fine(0.022)], done=done)
    slowest = "Waiting: the slowest call to drips took 2.04 s, and 12.0 s through plain requests. ("
    assert slowest in _say([_fine(2.04)], [_fine(12.0)], done=done)
    ended = "Waiting: all calls ended after 10.2 s, and after 20.4 s through plain requests."
    assert ended in _say([_fine()], [_fine()])


def test_the_price_is_named() -> None:
    rejected = Call("rejected", 0.0, "CircuitOpenError", 0)
    rejected_at = [(3.0, "dies"), (FULL.back_at + 1, "dies"), (FULL.back_at + 1, "flaky")]
    text = _say([_fine(0.0132), _failed(3), rejected, rejected], [_fine(0.012)] * 4, rejected_at=rejected_at)
    assert "12 retries for 24 calls; 12 calls rejected without being sent, 1 of them after dies was back" in text
    assert "calls to reboots took up to 0.50 s" in text
    assert "1.2 ms longer" in text


def test_a_faster_median_is_not_called_a_price() -> None:
    assert "2.0 ms shorter" in _say([_fine(0.010)], [_fine(0.012)])


def test_the_circuit_is_told_with_its_times() -> None:
    transitions = [{"at": 2.31, "host": "dies", "to": "open"}, {"at": 7.18, "host": "dies", "to": "half-open"}]
    text = _say([_fine(), _failed(3)], [_fine(), _failed()], transitions)
    assert "open at 2.3 s, half-open at 7.2 s" in text
    assert "3 requests to it failed, and 1 through plain requests" in text


def test_a_circuit_that_never_opened_is_not_mentioned() -> None:
    assert "Circuit" not in _say([_fine()], [_fine()], [{"at": 1.0, "host": "flaky", "to": "open"}])


def test_the_server_that_moves_is_left_out_of_the_sum_of_answers() -> None:
    """Plain requests is not told the new address: to count what it misses for that would flatter us."""
    text = _say([_fine()], [_fine()])
    assert f"all hosts but moves: {len(HOSTS) - 1} of {len(HOSTS) - 1} calls" in text
    assert "moves changed its port" in text


def test_progress_does_not_repeat_the_numbers_of_a_side_that_is_done() -> None:
    report = Report(FULL, {side: {"healthy": Lane(_fine, total=0, workers=1)} for side in SIDES})
    assert report.line().endswith("sleepwalker 0 ok, 0 failed, 0 rejected | requests 0 ok, 0 failed")
    report.done_after["sleepwalker"] = 10.2
    assert report.line().endswith("  sleepwalker is done | requests 0 ok, 0 failed")
