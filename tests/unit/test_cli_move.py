"""What the demo says of the server that moves follows what was measured."""

from __future__ import annotations

import pytest

from sleepwalker.cli.demo.move import Gap, Move
from sleepwalker.cli.summary import Call, summarise
from sleepwalker.events import BreakerHalfOpened, ConnectionEvicted, ConnectionHooked, HookFailed, HostBroken

OLD, NEW = "http://127.0.0.1:4001", "http://127.0.0.1:4002"
_FINE, _FAILED = Call("answered", 0.01, "200"), Call("failed", 0.2, "ConnectError", 3)
OURS, THEIRS = summarise([_FINE] * 98 + [_FAILED] * 2), summarise([_FINE] * 50 + [_FAILED] * 50)


class _Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> _Time:
    return _Time()


@pytest.fixture
def move(time: _Time) -> Move:
    """A server that left its port at 5 s, and was found 0.3 s after its last answer."""
    move = Move(5.0, time)
    move.observe(ConnectionHooked("moves", hook="DirectoryHook", target=OLD, duration=0.1))
    for at, address in ((0.1, OLD), (4.9, OLD)):
        time.now = at
        move.answered(address)
    time.now = 5.1
    move.observe(HostBroken(OLD, reason="connect", failures=3, cause="ConnectError"))
    move.observe(BreakerHalfOpened(OLD))
    time.now = 5.15
    move.observe(ConnectionEvicted("moves", reason="connect"))
    move.observe(ConnectionHooked("moves", hook="DirectoryHook", target=NEW, duration=0.1))
    for at in (5.2, 9.9):
        time.now = at
        move.answered(NEW)
    return move


def test_the_gap_is_from_the_last_answer_of_the_old_address_to_the_first_of_the_new(move: Move) -> None:
    assert move.gap() == Gap(OLD, NEW, last=4.9, first=5.2)


def test_answers_count_by_when_they_came_and_not_by_when_they_were_noted(move: Move, time: _Time) -> None:
    time.now = 5.18
    move.answered(NEW)
    assert move.gap() == Gap(OLD, NEW, last=4.9, first=5.18)


def test_the_sentence_tells_the_steps_the_price_and_what_plain_requests_missed(move: Move) -> None:
    text = move.sentence(OURS, THEIRS)
    assert "from port 4001 to 4002 at 5 s" in text
    assert "host.broken at 5.1 s, connection.evicted at 5.2 s, connection.hooked at 5.2 s." in text
    assert "no response for 0.30 s: 2 of 100 calls failed, and 50 through plain requests" in text
    assert text.endswith("The hook was called 2 times.")


def test_what_was_asked_to_see_whether_the_old_port_is_back_is_told_apart(move: Move) -> None:
    move.observe(ConnectionHooked("moves", hook="DirectoryHook", target=NEW, duration=0.1))
    move.observe(ConnectionEvicted("moves", reason="failback"))
    assert move.sentence(OURS, THEIRS).endswith("called 3 times, 1 of them to try the old port again.")


def test_a_hook_that_failed_was_asked_as_well(move: Move) -> None:
    move.observe(HookFailed("moves", hook="DirectoryHook", error="ConnectError", duration=0.1))
    assert move.hook_calls() == 3


def test_a_move_that_the_manager_did_not_get_over_is_admitted() -> None:
    move = Move(5.0, lambda: 1.0)
    move.answered(OLD)
    assert move.gap() is None
    assert "One of the two ports never answered: 50 of 100 calls failed" in move.sentence(THEIRS, THEIRS)
    assert move.to_dict()["to"] is None


def test_the_measured_values_are_ready_for_json(move: Move) -> None:
    told = move.to_dict()
    assert (told["from"], told["to"], told["moved_at"], told["hook_calls"]) == (OLD, NEW, 5.0, 2)
    assert (told["last_answer_before"], told["first_answer_after"]) == (4.9, 5.2)
    assert [event["event"] for event in told["events"]] == [
        "connection.hooked", "host.broken", "connection.evicted", "connection.hooked"
    ]  # fmt: skip
