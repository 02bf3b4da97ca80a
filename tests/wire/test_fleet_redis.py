"""A fleet's store in one Redis: what it costs, what it keeps, and every way in which the server can fail it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from servers import RedisServer, elapsed, refused_port, run_redis, timing_test, unanswered_port

from sleepwalker.fleet.redis import RedisStore
from sleepwalker.fleet.store import Heard, Order, Said, StoreError, View

A, B = "https://a.example.com", "https://b.example.com"
BROKEN = View("broken", cause="503")
TIMEOUT = 20.0
FOREIGN = "other data is stored under the fleet's keys"


def word(worker: str = "w1", last: Heard | None = None, **more: object) -> Said:
    since, store = (last.version, last.store) if last else (-1, None)
    said: dict[str, object] = {"worker": worker, "label": f"web-7 {worker}", "ttl": 600.0, "since": since}
    return Said(**{**said, "store": store, **more})  # type: ignore[arg-type]


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    made = RedisStore(redis_server.url, "billing", timeout=TIMEOUT)
    yield made
    made.close()


@pytest.fixture
def admin(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def own_redis(tmp_path: Path, program: Callable[[str], Path]) -> Iterator[RedisServer]:
    """A server of the test's own, to do harm to."""
    with run_redis(tmp_path / "redis", program("redis-server")) as server:
        yield server


def failure(act: Callable[[], object], *secrets: str) -> str:
    """The text of the StoreError that comes of it: one line, with no secret in it nor in what a traceback shows."""
    with pytest.raises(StoreError) as caught:
        act()
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame.locals for frame in whole.stack if "/sleepwalker/fleet/" in frame.filename]
    shown = repr((str(error), ours))
    assert not [secret for secret in secrets if secret in shown]
    assert "\n" not in str(error)
    return str(error)


# What it costs


def test_a_sync_without_news_is_one_small_command_with_three_in_it(store: RedisStore, admin: redis.Redis) -> None:
    first = store.sync(word(views={A: BROKEN}))
    store.sync(word("w2"))
    admin.config_resetstat()
    for _ in range(10):
        store.sync(word(last=first))
    calls = {name: entry["calls"] for name, entry in admin.info("commandstats").items()}
    calls = {name: count for name, count in calls.items() if name not in ("cmdstat_config|resetstat", "cmdstat_info")}
    assert calls == dict.fromkeys(("cmdstat_evalsha", "cmdstat_time", "cmdstat_get", "cmdstat_hset"), 10)
    stats = admin.info("stats")
    assert stats["total_net_input_bytes"] < 10 * 350
    assert stats["total_net_output_bytes"] < 10 * 150 + 2000, "with what the look at it cost"


def test_the_version_is_one_get(store: RedisStore, admin: redis.Redis) -> None:
    store.sync(word())
    admin.config_resetstat()
    store.version()
    assert set(admin.info("commandstats")) == {"cmdstat_get", "cmdstat_config|resetstat"}


def test_an_answer_does_not_grow_with_the_number_of_workers(store: RedisStore, admin: redis.Redis) -> None:
    sizes = []
    for count in (2, 40):
        for worker in range(count):
            store.sync(word(f"w{worker}", views={A: BROKEN, B: BROKEN}))
        admin.config_resetstat()
        store.sync(word("w0"))
        sizes.append(admin.info("stats")["total_net_output_bytes"])
    assert sizes[1] - sizes[0] < 50


# What it keeps


def test_each_key_has_a_time_to_live_and_lies_in_the_slot_of_its_service(
    store: RedisStore, admin: redis.Redis, redis_server: RedisServer
) -> None:
    store.sync(word(views={A: BROKEN, B: BROKEN}, looks={A: 1.0}, orders={A: Order("isolate"), B: Order("reset")}))
    store.sync(word("w2", views={A: View("fine")}))
    store.sync(word("w2", views={B: View(None, back=True)}))
    store.leave("w2")
    store.leave("w1")
    store.order(A, Order("restore"))
    store.sync(word("w3", views={A: BROKEN}, renew=True))
    keys = [key.decode() for key in admin.keys("*")]
    assert sorted(key.removeprefix("sleepwalker:{billing}:") for key in keys) == [
        *("changed", "hosts", "orders", "said:w3", "state", "trouble", "workers"),
    ]
    assert all(29 * 86_400 < admin.ttl(key) <= 30 * 86_400 for key in keys)


def test_times_to_live_are_put_off_once_an_hour(store: RedisStore, admin: redis.Redis) -> None:
    last = store.sync(word(views={A: BROKEN}))
    for key in admin.keys("*"):
        admin.expire(key, 100)
    store.sync(word(last=last))
    assert {admin.ttl(key) for key in admin.keys("*")} <= {99, 100}
    state, said = b"sleepwalker:{billing}:state", b"sleepwalker:{billing}:said:w1"
    *fields, renewed = admin.get(state).split(b" ")  # type: ignore[union-attr]
    admin.set(state, b" ".join([*fields, b"%d" % (int(renewed) - 3601)]), keepttl=True)
    store.sync(word(last=last))
    assert min(admin.ttl(key) for key in (*admin.keys("*"), said)) > 86_400


@pytest.mark.parametrize("service", ["bil{l}ing", "}", "{}", "a b", "ü%7B", "100%"])
def test_a_service_may_have_any_name(admin: redis.Redis, redis_server: RedisServer, service: str) -> None:
    store = RedisStore(redis_server.url, service, timeout=TIMEOUT)
    assert store.sync(word(views={A: BROKEN})).workers == 1
    keys = admin.keys("*")
    assert all(key.count(b"{") == key.count(b"}") == 1 for key in keys)
    assert len({redis.crc.key_slot(key) for key in keys}) == 1
    store.close()


@pytest.mark.parametrize("missing", ["state", "workers", "hosts", "changed", "trouble", "orders", "said:w1"])
def test_workers_begin_anew_where_a_key_is_missing(store: RedisStore, admin: redis.Redis, missing: str) -> None:
    """A server that is full evicts what it likes; nothing of a host must stay for ever, nor be counted twice."""
    views = {A: BROKEN, B: BROKEN}
    old = store.sync(word(views=views, orders={A: Order("isolate")})).store
    store.sync(word("w2", views=views))
    admin.delete(f"sleepwalker:{{billing}}:{missing}")
    store.sync(word("w2", views={A: View("broken", failed=True)}, orders={B: Order("reset")}, renew=True))
    store.leave("w2")
    heard = store.sync(word("w1", views={A: View(None), B: View(None)}))
    assert heard.store != old
    seen = store.overview()
    assert (seen.workers, seen.tallies) == ({"w1": "web-7 w1"}, {})


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        *((key, "text") for key in ("state", "workers", "hosts", "changed", "trouble", "orders", "said:w1")),
        *((key, "member") for key in ("workers", "hosts", "orders", "said:w1")),
    ],
)
def test_foreign_data_is_told_and_left_alone(store: RedisStore, admin: redis.Redis, key: str, kind: str) -> None:
    store.sync(word(views={A: BROKEN}, orders={A: Order("isolate")}))
    name = f"sleepwalker:{{billing}}:{key}"
    if kind == "text":
        admin.delete(name)
        admin.set(name, b"\xff garbage", ex=1000)
    else:
        for field in admin.hkeys(name):
            if field:
                admin.hset(name, field, b"?")
    before = {one: admin.dump(one) for one in admin.keys("*")}
    acts = [
        lambda: store.sync(word(views={A: View("broken", failed=True)}, orders={B: Order("reset")}, renew=True)),
        *([store.overview] if key not in ("changed", "said:w1") or kind == "member" else []),
    ]
    assert all(FOREIGN in failure(act) for act in acts)
    assert {one: admin.dump(one) for one in admin.keys("*")} == before, "as a whole or not at all"
    if key == "state":
        assert FOREIGN in failure(store.version)
    admin.flushall()
    assert store.sync(word()).workers == 1


def test_a_full_server_is_told_and_used_again_when_it_has_room(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.url, "billing", timeout=TIMEOUT)
    store.sync(word())
    with own_redis.client() as admin:
        admin.config_set("maxmemory", 1)
        assert "it is full (maxmemory)" in failure(lambda: store.sync(word(views={A: BROKEN})))
        assert store.version() is not None
        admin.config_set("maxmemory", 0)
    assert store.sync(word(views={A: BROKEN})).tallies[A].broken == 1
    store.close()


def test_a_replica_is_told(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.url, "billing", timeout=TIMEOUT)
    store.sync(word())
    with own_redis.client() as admin:
        admin.replicaof("127.0.0.1", "1")
        assert "it is a replica, which accepts no writes" in failure(lambda: store.sync(word()))
        admin.replicaof("no", "one")
    assert store.sync(word()).workers == 1
    store.close()


def test_a_server_that_was_restarted_is_used_with_the_next_call(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.url, "billing", timeout=TIMEOUT)
    before = store.sync(word(views={A: BROKEN})).store
    own_redis.stop()
    assert "the connection was closed" in failure(store.version)
    assert "there is no such socket" in failure(store.version)
    own_redis.start()
    assert store.version() is None
    heard = store.sync(word())
    assert heard.store != before
    assert heard.tallies == {}
    store.close()


@timing_test
def test_a_frozen_server_costs_no_more_than_the_timeout(own_redis: RedisServer) -> None:
    timeout = 0.3
    store = RedisStore(own_redis.url, "billing", timeout=timeout)
    store.sync(word())
    own_redis.freeze()
    try:
        for _ in range(2):  # with the connection that it has, and with a new one
            with elapsed() as took:
                assert "no answer in time (0.3 s)" in failure(lambda: store.sync(word(views={A: BROKEN})))
            took.assert_within(timeout, tolerance=0.15)
        with elapsed() as took:
            store.close()
        took.assert_at_most(0.05)
    finally:
        own_redis.thaw()
    store = RedisStore(own_redis.url, "billing", timeout=TIMEOUT)
    assert store.sync(word()).workers == 1
    store.close()


@timing_test
def test_a_server_that_drips_costs_no_more_than_the_timeout() -> None:
    """Each of its bytes comes in time; all of them would take a minute."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            taken, _ = listener.accept()
            with taken:
                while not over.wait(0.05):
                    taken.sendall(b"+")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        store = RedisStore(f"redis://127.0.0.1:{listener.getsockname()[1]}", "billing", timeout=0.3)
        with elapsed() as took:
            assert "no answer in time (0.3 s)" in failure(store.version)
        over.set()
        thread.join(60)
    took.assert_within(0.3, tolerance=0.15)


@timing_test
def test_a_port_that_does_not_answer_costs_no_more_than_the_timeout() -> None:
    with unanswered_port() as port:
        store = RedisStore(f"redis://127.0.0.1:{port}", "billing", timeout=0.3)
        with elapsed() as took:
            assert "no answer in time (0.3 s)" in failure(store.version)
    took.assert_within(0.3, tolerance=0.15)


def test_a_port_that_refuses_is_told() -> None:
    with refused_port() as port:
        store = RedisStore(f"redis://app:s3cret@127.0.0.1:{port}/3", "billing", timeout=TIMEOUT)
        said = failure(store.version, "s3cret")
    assert said == f"redis://127.0.0.1:{port}/3: the connection was refused"


def test_a_name_that_nobody_has_is_told() -> None:
    store = RedisStore("redis://app:s3cret@nowhere.invalid", "billing", timeout=TIMEOUT)
    assert failure(store.version, "s3cret") == "redis://nowhere.invalid:6379/0: the name was not found"


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xff\r\n", b":x\r\n", b"$x\r\n", b"+" * 99, b""]
)
def test_what_is_no_redis_is_told(said: bytes) -> None:
    def answer(listener: socket.socket) -> None:
        taken, _ = listener.accept()
        with taken, contextlib.suppress(OSError):
            taken.recv(1000)
            taken.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        store = RedisStore(f"redis://:s3cret@127.0.0.1:{listener.getsockname()[1]}", "billing", timeout=TIMEOUT)
        failure(store.version, "s3cret")
        thread.join(60)


# Who may


@pytest.fixture
def guarded(own_redis: RedisServer) -> Iterator[tuple[RedisServer, redis.Redis]]:
    """A server on which the user `app` may do what the store needs, with the password `s3cret`."""
    with own_redis.client() as admin:
        admin.ping()
        admin.execute_command(
            "ACL", "SETUSER", "app", "on", ">s3cret", "~sleepwalker:*", "+@all", "-@dangerous", "+keys"
        )
        admin.execute_command("ACL", "SETUSER", "default", "resetpass", ">admin")
        yield own_redis, admin


def guarded_store(server: RedisServer, login: str) -> RedisStore:
    return RedisStore(server.url.replace("unix://", f"unix://{login}"), "billing", timeout=TIMEOUT)


def test_a_user_with_a_password_gets_in(guarded: tuple[RedisServer, redis.Redis]) -> None:
    store = guarded_store(guarded[0], "app:s3cret@")
    assert store.sync(word(views={A: BROKEN})).workers == 1
    assert store.overview().tallies[A].broken == 1
    store.close()


@pytest.mark.parametrize("login", ["app:wr0ng@", ":wr0ng@", "other-user:wr0ng@", "other-user@", ""])
def test_who_may_not_get_in_is_told_so(guarded: tuple[RedisServer, redis.Redis], login: str) -> None:
    store = guarded_store(guarded[0], login)
    said = failure(lambda: store.sync(word()), "wr0ng", "other-user")
    assert said == f"{guarded[0].url}: it refused the user or the password"


def test_a_password_that_changes_shuts_the_store_until_it_is_made_with_the_new_one(
    guarded: tuple[RedisServer, redis.Redis],
) -> None:
    server, admin = guarded
    store = guarded_store(server, "app:s3cret@")
    store.sync(word())
    admin.execute_command("ACL", "SETUSER", "app", "resetpass", ">n3w")
    admin.client_kill_filter(_type="normal", user="app")
    failure(lambda: store.sync(word()), "s3cret")
    assert "it refused the user or the password" in failure(lambda: store.sync(word()), "s3cret")
    renewed = guarded_store(server, "app:n3w@")
    assert renewed.sync(word()).workers == 1
    renewed.close()


@pytest.mark.parametrize("rule", ["-@scripting", "-hset", "resetkeys", "-select"])
def test_a_user_that_may_not_do_what_is_needed_is_told_so(guarded: tuple[RedisServer, redis.Redis], rule: str) -> None:
    server, admin = guarded
    admin.execute_command("ACL", "SETUSER", "app", rule)
    store = RedisStore(server.url.replace("unix://", "unix://app:s3cret@") + "?db=1", "billing", timeout=TIMEOUT)
    assert failure(lambda: store.sync(word()), "s3cret", "'app'").partition(": ")[2] == (
        "the user may not run the script or touch the keys: allow evalsha, eval, get, hgetall, what the script uses, "
        "and the keys sleepwalker:{billing}:*; is billing the right service?"
    )


def test_a_user_that_has_the_keys_of_another_service_is_told_which_were_asked_for(
    guarded: tuple[RedisServer, redis.Redis],
) -> None:
    """Who leaves out `service=` is refused, and may look for the fault in the user's rights."""
    server, admin = guarded
    admin.execute_command("ACL", "SETUSER", "app", "resetkeys", "~sleepwalker:{billing}:*")
    store = RedisStore(server.url.replace("unix://", "unix://app:s3cret@"), "default", timeout=TIMEOUT)
    said = failure(lambda: store.sync(word()), "s3cret")
    assert said.endswith("the keys sleepwalker:{default}:*; is default the right service?")
    assert guarded_store(server, "app:s3cret@").sync(word()).workers == 1


def test_a_database_that_is_not_there_is_told(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url + "?db=99", "billing", timeout=TIMEOUT)
    assert "it answered with an error: DB index is out of range" in failure(store.version)


# Processes and threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_a_connection_of_its_own_and_leaves_its_parents_alone(
    store: RedisStore, admin: redis.Redis
) -> None:
    first = store.sync(word("parent"))
    connections = len(admin.client_list())
    ready, go_on = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            heard = store.sync(word("child"))
            os.write(go_on, b"%d" % heard.workers)
            time.sleep(60)
        finally:
            os._exit(1)
    try:
        assert os.read(ready, 10) == b"2"
        assert len(admin.client_list()) == connections + 1
        assert store.sync(word("parent", first)).workers == 2
        assert len(admin.client_list()) == connections + 1, "the parent has the one that it had"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(go_on)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_abandons_its_copy_ends_nothing_of_its_parent(store: RedisStore, admin: redis.Redis) -> None:
    first = store.sync(word())
    connections = len(admin.client_list())
    pid = os.fork()
    if not pid:
        try:
            store.abandon()
            store.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert store.sync(word(last=first)).version == first.version
    assert len(admin.client_list()) == connections


def test_it_has_no_thread_and_closing_it_leaves_nothing(store: RedisStore, admin: redis.Redis) -> None:
    threads, connections = threading.active_count(), len(admin.client_list())
    store.sync(word())
    assert threading.active_count() == threads
    assert len(admin.client_list()) == connections + 1
    store.close()
    until = time.monotonic() + 20
    while len(admin.client_list()) != connections and time.monotonic() < until:
        time.sleep(0.01)
    assert len(admin.client_list()) == connections
