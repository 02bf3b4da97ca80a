"""Which of the idle sockets of a pool is taken next, and which is closed."""

from __future__ import annotations

import math
import random
import threading
from typing import Any

import pytest

from sleepwalker.transport.addresses import Peer
from sleepwalker.transport.blocking.connection_queue import ConnectionQueue
from sleepwalker.transport.blocking.deadline import AttemptDeadline, run_with_deadline
from tests.unit.engine_driver import FakeClock


class Conn:
    """A connection as its pool knows it."""

    holder: Any = None
    taken_at = idle_since = opened_at = 0.0
    good_until = math.inf
    is_answering = False

    def __init__(self, name: str) -> None:
        self.name, self.closed, self.peer = name, False, Peer()

    def close(self) -> None:
        self.closed = True

    def is_usable(self, now: float) -> bool:
        return now <= self.good_until and not self.closed


class Pool:
    """Places in a time of their own; connections are known by letters."""

    def __init__(self, size: int = 8) -> None:
        self.queue, self.now, self.deadline = ConnectionQueue(size), 100.0, None
        self.conns: dict[str, Conn] = {}

    def fill(self, names: str) -> None:
        """So many are in use at once, were taken in that order, and come back."""
        for name in names:
            self.conns[name] = self.queue.admit(Conn(name), None)
            self.conns[name].taken_at = self.conns[name].opened_at = self.now
            self.now += 0.001
        for name in names:
            self.back(name)
            self.now += 0.001

    def take(self, **terms: Any) -> str:
        """Which connection an attempt gets; "" for a new one."""
        limits = None
        if terms:
            avoid = tuple(self.conns[name].peer for name in terms.pop("avoid", ""))
            limits = AttemptDeadline(FakeClock(), connect=1, read=1, ends_at=self.now + 10, **terms)
            limits.avoid = avoid
        conn = self.queue.take(limits, self.now)
        return "" if conn is None else str(conn.name)

    def back(self, name: str) -> None:
        self.conns[name].idle_since = self.now
        self.queue.put(self.conns[name])

    def use(self, took: float = 0.01, **terms: Any) -> str:
        name = self.take(**terms)
        self.now += took
        if name:
            self.back(name)
        return name


def test_connections_in_use_are_taken_in_turn() -> None:
    pool = Pool()
    pool.fill("abcd")
    assert "".join(pool.use() for _ in range(12)) == "abcdabcdabcd"


def test_one_that_is_back_sooner_is_not_taken_more_often() -> None:
    """Three machines take 50 ms for an answer, and the one behind `a` fails in no time."""
    pool = Pool()
    pool.fill("abcd")
    busy: list[tuple[float, str]] = []
    taken = ""
    for _ in range(40):
        pool.now += 0.02
        for due, name in [one for one in busy if one[0] <= pool.now]:
            busy.remove((due, name))
            pool.back(name)
        name = pool.take()
        taken += name
        if name == "a":
            pool.back(name)
        else:
            busy.append((pool.now + 0.05, name))
    assert {name: taken.count(name) for name in "abcd"} == dict.fromkeys("abcd", 10)


def test_of_those_that_lay_idle_for_long_the_one_used_last_is_taken() -> None:
    """The others grow old: what a burst left over is closed in the end, and no server hangs up on those in use."""
    pool = Pool()
    pool.fill("abcd")
    pool.use()
    for _ in range(5):
        pool.now += 5.0
        assert pool.use() == "a"


def test_what_traffic_does_not_need_grows_old_while_the_rest_takes_turns() -> None:
    pool = Pool()
    pool.fill("abcdefgh")
    taken = ""
    for _ in range(40):
        pool.now += 0.39
        taken += pool.use()
    assert len(set(taken[-20:])) == 2
    assert taken[-20:] == taken[-2:] * 10


def test_one_past_its_time_is_taken_first_so_that_it_is_closed() -> None:
    pool = Pool()
    pool.fill("abc")
    pool.conns["a"].good_until = pool.now + 1.0
    pool.now += 2.0
    assert pool.take() == "a"


def test_what_urllib3_is_given_is_fit_and_what_is_not_is_closed() -> None:
    pool = Pool()
    pool.fill("abc")
    pool.conns["a"].good_until = pool.conns["b"].good_until = -1.0
    assert pool.queue.get(block=False) is pool.conns["c"]
    assert [pool.conns[name].closed for name in "abc"] == [True, True, False]
    assert pool.queue.qsize() == 7


def test_the_next_attempt_gets_none_that_the_call_has_used() -> None:
    pool = Pool()
    pool.fill("abc")
    assert pool.take(avoid="a") == "b"
    assert pool.take(avoid="abc") == ""
    pool.now += 5.0
    assert pool.take(avoid="a") == "c"
    assert pool.take(avoid="a") == ""
    assert pool.take() == "a"


def test_the_next_attempt_gets_none_to_the_same_address_of_several() -> None:
    pool = Pool()
    pool.fill("abc")
    for name, address in (("a", 1), ("b", 1), ("c", 2)):
        pool.conns[name].peer = Peer(address, several=True)
    assert pool.take(avoid="a") == "c"
    assert pool.take(avoid="a") == ""


def test_one_that_has_not_answered_since_is_passed_over() -> None:
    pool = Pool()
    pool.fill("abc")
    since = pool.now
    pool.now += 0.1
    assert pool.take(proven_since=since) == ""
    pool.conns["b"].idle_since = pool.now
    assert pool.take(proven_since=since) == "b"
    assert pool.take(proven_since=math.inf) == ""


def test_those_in_doubt_are_taken_after_those_that_answered_since() -> None:
    pool = Pool()
    pool.fill("abc")
    pool.queue.suspect_before = pool.now
    pool.now += 0.1
    pool.conns["c"].idle_since = pool.now
    assert [pool.take(), pool.take(), pool.take()] == ["c", "b", "a"]


def test_one_that_lost_to_a_copy_ends_no_turns() -> None:
    """A machine may be slow now and then. Before, one socket got all calls from then on."""
    pool = Pool()
    pool.fill("abcd")
    for lost in range(10):
        loser = pool.take()
        pool.queue.note_hedge_loss(pool.now)
        pool.queue.note_hedge_loss(pool.now)  # cut twice
        pool.now += 0.05
        pool.back(loser)  # as new
        turn = [pool.use() for _ in range(4)]
        assert sorted(turn) == ["a", "b", "c", "d"], lost


def test_where_each_loses_to_a_copy_those_that_lie_idle_since_before_are_in_doubt() -> None:
    """After a failover all of them are dead."""
    pool = Pool()
    pool.fill("abcdef")
    for loser in "ab":
        assert pool.take() == loser
        pool.queue.note_hedge_loss(pool.now)
        pool.now += 0.05
        pool.fill("xy"["ab".index(loser)])  # the copy's
    assert [pool.use() for _ in range(4)] == ["x", "y", "x", "y"]


def test_what_was_lost_long_ago_counts_for_nothing() -> None:
    pool = Pool()
    pool.fill("ab")
    assert pool.take() == "a"
    pool.queue.note_hedge_loss(pool.now)
    pool.queue.drop(pool.conns["a"])
    pool.now += 5.0
    pool.queue.drop(pool.conns[pool.take()])
    pool.fill("stuv")
    assert pool.take() == "s"
    pool.queue.note_hedge_loss(pool.now)
    assert [pool.use() for _ in range(6)] == ["t", "u", "v"] * 2


def next_in_turn(pool: Pool, idle: set[str], avoid: str, since: float) -> str:
    """What `take` is to give: of those used within a second the one not taken for longest, else the one taken last."""
    fit = [pool.conns[name] for name in idle if name not in avoid and pool.conns[name].idle_since >= since]
    trusted = [conn for conn in fit if conn.idle_since >= pool.queue.suspect_before] or fit
    in_use = [conn for conn in trusted if conn.idle_since >= max(pool.now - 1.0, pool.queue.suspect_before)]
    if in_use:
        return min(in_use, key=lambda conn: conn.taken_at).name
    return max(trusted, key=lambda conn: conn.taken_at).name if trusted else ""


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_next_in_turn_is_taken(seed: int) -> None:
    """What is remembered of those that lie idle for long must not hide one whose call took long."""
    dice = random.Random(seed)
    pool = Pool(99)
    pool.fill("abcdefghijkl")
    idle, away = set(pool.conns), set()
    for _ in range(1500):
        pool.now += dice.choice([0.01, 0.1, 0.1, 0.3, 0.7])
        if dice.random() < 0.004:
            pool.queue.suspect_before = pool.now
        if away and dice.random() < 0.5:
            name = dice.choice(sorted(away))
            pool.back(name)
            away.remove(name)
            idle.add(name)
        elif idle:
            avoid = "".join(dice.sample(sorted(pool.conns), dice.choice([0, 0, 0, 3])))
            since = pool.now - 2.0 if dice.random() < 0.1 else -math.inf
            expected = next_in_turn(pool, idle, avoid, since)
            assert pool.take(avoid=avoid, proven_since=since) == expected
            if expected:
                idle.remove(expected)
                away.add(expected)


def test_where_many_lie_idle_few_are_looked_at() -> None:
    class Watched(Conn):
        looked = 0

        @property
        def peer(self) -> Peer:
            Watched.looked += 1
            return self._peer

        @peer.setter
        def peer(self, peer: Peer) -> None:
            self._peer = peer

    pool = Pool(2000)
    for number in range(1000):
        conn = pool.queue.admit(Watched(str(number)), None)
        conn.taken_at = conn.idle_since = pool.now
        pool.queue.put(conn)
        pool.now += 0.0001
    pool.now += 5.0
    pool.fill("abcd")
    pool.use(avoid="a")
    before = Watched.looked
    for _ in range(100):
        assert pool.use(avoid="a") in "bcd"
    assert Watched.looked == before


def test_one_too_many_takes_the_place_of_the_one_not_taken_for_longest() -> None:
    pool = Pool(2)
    pool.fill("abc")
    assert [pool.conns[name].closed for name in "abc"] == [True, False, False]
    assert (pool.take(), pool.take(), pool.take()) == ("b", "c", "")


def test_a_pool_that_is_closed_keeps_none() -> None:
    pool = Pool()
    pool.fill("ab")
    pool.take()
    pool.queue.close()
    pool.back("a")
    assert (pool.conns["a"].closed, pool.take()) == (True, "b")


def test_closing_a_pool_within_an_attempt_closes_the_sockets_too_that_the_attempt_must_not_use() -> None:
    """A response hook may close the connection; no idle socket is left open."""
    pool = Pool()
    pool.fill("ab")
    limits = AttemptDeadline(FakeClock(), connect=1, read=1, ends_at=math.inf)
    limits.avoid = (pool.conns["a"].peer, pool.conns["b"].peer)
    pool.queue.close()
    assert {run_with_deadline(limits, pool.queue.get, False).name for _ in range(2)} == {"a", "b"}


@pytest.mark.parametrize("size", [1, 2])
def test_in_a_full_pool_that_blocks_a_new_connection_takes_the_place_of_one_not_to_be_used(size: int) -> None:
    pool = Pool(size)
    pool.fill("ab"[:size])
    limits = AttemptDeadline(FakeClock(), connect=1, read=1, ends_at=math.inf)
    limits.avoid = tuple(conn.peer for conn in pool.conns.values())
    made = pool.queue.wait(lambda: Conn("new"), limits, lambda: 1.0)
    assert made.name == "new"
    assert [conn.closed for conn in pool.conns.values()] == [True, False][:size]
    assert pool.queue.qsize() == size - 1


def test_threads_that_take_and_give_back_lose_none() -> None:
    queue = ConnectionQueue(4)
    for number in range(4):
        queue.put(queue.admit(Conn(str(number)), None))

    def work() -> None:
        for turn in range(500):
            conn = queue.take(None, float(turn % 3))
            if conn is not None:
                queue.put(conn)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.qsize() == 4
    assert sorted(conn.name for conn in queue._idle) == ["0", "1", "2", "3"]
