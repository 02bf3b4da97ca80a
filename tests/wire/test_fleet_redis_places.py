"""A fleet's store in a Redis behind TLS, behind Sentinel, and in a cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from servers import RedisServer, TlsMaterial, free_ports, refused_port, run_redis

from sleepwalker.fleet.redis import RedisStore
from sleepwalker.fleet.store import Said, StoreError, View

A = "https://a.example.com"
TIMEOUT = 20.0
WORD = Said("w1", "web-7 w1", 600.0, views={A: View("broken", cause="503")})


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def failure(url: str, timeout: float = TIMEOUT) -> str:
    with pytest.raises(StoreError) as caught:
        RedisStore(url, "billing", timeout=timeout).sync(WORD)
    assert caught.value.__context__ is None
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


# TLS


@pytest.fixture(scope="module")
def tls_redis(
    tmp_path_factory: pytest.TempPathFactory, tls: TlsMaterial, program: Callable[[str], Path]
) -> Iterator[RedisServer]:
    """It wants a client's certificate."""
    (port,) = free_ports(1)
    files = ("--tls-cert-file", str(tls.server.cert), "--tls-key-file", str(tls.server.key))
    options = ("--tls-port", str(port), *files, "--tls-ca-cert-file", str(tls.ca), "--requirepass", "s3cret")
    with run_redis(tmp_path_factory.mktemp("tls-redis"), program("redis-server"), *options) as server:
        server.tls_port = port
        yield server


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_tls_with_an_authority_and_a_certificate_of_its_own(
    tls_redis: RedisServer, tls: TlsMaterial, host: str
) -> None:
    files = f"ssl_ca_certs={tls.ca}&ssl_certfile={tls.client.cert}&ssl_keyfile={tls.client.key}"
    store = RedisStore(f"rediss://:s3cret@{host}:{tls_redis.tls_port}?{files}", "billing", timeout=TIMEOUT)
    assert store.sync(WORD).tallies[A].broken == 1
    store.close()


def test_an_authority_that_nobody_named_is_not_trusted(tls_redis: RedisServer) -> None:
    said = failure(f"rediss://:s3cret@localhost:{tls_redis.tls_port}")
    assert "its certificate is not trusted: self-signed certificate in certificate chain" in said


def test_a_certificate_for_another_host_is_not_trusted_unless_that_is_wanted(
    tls_redis: RedisServer, tls: TlsMaterial
) -> None:
    files = f"ssl_ca_certs={tls.ca}&ssl_certfile={tls.client.cert}&ssl_keyfile={tls.client.key}"
    url = f"rediss://:s3cret@127.0.0.2:{tls_redis.tls_port}?{files}"
    with tls_redis.client(password="s3cret") as admin:
        admin.config_set("bind", "127.0.0.1 127.0.0.2")
    assert "its certificate is not trusted: IP address mismatch" in failure(url)
    store = RedisStore(f"{url}&ssl_check_hostname=false", "billing", timeout=TIMEOUT)
    assert store.sync(WORD).workers == 1
    store.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("ssl_cert_reqs=none", ": "),  # the server wants a certificate: TLS 1.3 hears of that with the first answer
        ("ssl_ca_certs=/nowhere/s3cret.pem", "there is no such socket or file"),
    ],
)
def test_what_else_is_wrong_with_tls_is_told(tls_redis: RedisServer, options: str, text: str) -> None:
    assert text in failure(f"rediss://:s3cret@127.0.0.1:{tls_redis.tls_port}?{options}")


def test_tls_to_a_server_without_it_is_told_and_so_is_the_reverse(own: RedisServer, tls_redis: RedisServer) -> None:
    said = failure(f"rediss://:s3cret@127.0.0.1:{own.port}?ssl_cert_reqs=none", timeout=0.3)
    assert "no answer in time (0.3 s), or it does not speak TLS" in said
    assert "the connection was" in failure(f"redis://:s3cret@127.0.0.1:{tls_redis.tls_port}")


@pytest.fixture
def own(tmp_path: Path, program: Callable[[str], Path]) -> Iterator[RedisServer]:
    (port,) = free_ports(1)
    with run_redis(tmp_path / "own", program("redis-server"), port=port) as server:
        yield server


# Sentinel

WATCHED = """
sentinel monitor billing 127.0.0.1 {port} 1
sentinel auth-pass billing s3cret
sentinel down-after-milliseconds billing 400
sentinel failover-timeout billing 3000
requirepass watch
"""


@pytest.fixture
def watched(tmp_path: Path, program: Callable[[str], Path]) -> Iterator[tuple[list[RedisServer], int]]:
    """A master and a replica, and the port of a Sentinel that watches them."""
    first, second, sentinel = free_ports(3)
    server, login = program("redis-server"), ("--requirepass", "s3cret", "--masterauth", "s3cret")
    config = WATCHED.format(port=first)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context
        master = run(run_redis(tmp_path / "master", server, *login, "--repl-diskless-sync-delay", "0", port=first))
        copy = run(run_redis(tmp_path / "copy", server, *login, "--replicaof", "127.0.0.1", str(first), port=second))
        with copy.client(password="s3cret") as admin:
            until(lambda: admin.info("replication")["master_link_status"] == "up", "the replica has the data")
        watch = run(run_redis(tmp_path / "sentinel", program("redis-sentinel"), port=sentinel, sentinel_config=config))
        with watch.client(password="watch") as admin:
            until(lambda: admin.sentinel_masters()["billing"]["num-slaves"] == 1, "the Sentinel knows the replica")
        yield [master, copy], sentinel


def test_a_failover_is_followed(watched: tuple[list[RedisServer], int]) -> None:
    (master, copy), sentinel = watched
    with refused_port() as gone:  # the first Sentinel that is named is down
        url = f"redis+sentinel://:s3cret@127.0.0.1:{gone},127.0.0.1:{sentinel}/billing?sentinel_password=watch"
        store = RedisStore(url, "billing", timeout=TIMEOUT)
        before = store.sync(WORD)
    assert before.tallies[A].broken == 1
    with master.client(password="s3cret") as admin:
        assert admin.exists("sleepwalker:{billing}:state")
        assert admin.wait(1, 20_000) == 1
    master.stop()
    told: set[str] = set()

    def again() -> bool:
        try:
            heard = store.sync(Said("w2", "web-7 w2", 600.0))
        except StoreError as error:
            told.add(str(error).partition(": ")[2])
            return False
        return (heard.store, heard.workers, heard.tallies[A].broken) == (before.store, 2, 1)

    until(again, "the new master is asked")
    assert told
    assert told <= {
        "the connection was closed",
        "the connection was refused",
        "it is a replica, which accepts no writes",
        "the Sentinel names a server that is a replica: it is failing over",
    }
    with copy.client(password="s3cret") as admin:
        assert admin.info("replication")["role"] == "master"
    store.close()


def test_what_is_wrong_with_sentinel_is_told(watched: tuple[list[RedisServer], int]) -> None:
    _, sentinel = watched
    where = f"127.0.0.1:{sentinel}"
    assert "the Sentinel monitors no master with the name in the URL" in failure(
        f"redis+sentinel://:s3cret@{where}/other?sentinel_password=watch"
    )
    assert "it refused the user or the password" in failure(f"redis+sentinel://:s3cret@{where}/billing")
    assert "it refused the user or the password" in failure(
        f"redis+sentinel://:no-s3cret@{where}/billing?sentinel_password=watch"
    )
    with refused_port() as gone:
        assert "the connection was refused" in failure(f"redis+sentinel://:s3cret@127.0.0.1:{gone}/billing")


# A cluster


@pytest.fixture
def cluster(tmp_path: Path, program: Callable[[str], Path]) -> Iterator[list[RedisServer]]:
    """Three nodes with a third of the slots each."""
    ports = free_ports(3, also_above=10_000)
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "500")
    with contextlib.ExitStack() as stack:
        nodes = [
            stack.enter_context(run_redis(tmp_path / str(port), program("redis-server"), *options, port=port))
            for port in ports
        ]
        for at, node in enumerate(nodes):
            with node.client() as admin:
                admin.execute_command("CLUSTER", "ADDSLOTSRANGE", at * 5461, at * 5461 + 5460 + (at == 2))
                admin.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        for node in nodes:
            with node.client() as admin:
                until(lambda: b"cluster_state:ok" in _info(admin), "the nodes have met")
        yield nodes


def _info(admin: redis.Redis) -> bytes:
    return admin.execute_command("CLUSTER", "INFO", NEVER_DECODE=True)  # type: ignore[no-any-return]


def test_a_cluster_is_asked_where_the_keys_are_and_followed_when_they_move(cluster: list[RedisServer]) -> None:
    slot = redis.crc.key_slot(b"sleepwalker:{billing}:state")
    owner = cluster[slot // 5461]
    other, third = (node for node in cluster if node is not owner)
    stores = [RedisStore(f"redis+cluster://127.0.0.1:{node.port}", "billing", timeout=TIMEOUT) for node in cluster]
    assert [store.sync(WORD).workers for store in stores] == [1, 1, 1]
    first = stores[0].version()
    with owner.client() as old, other.client() as new:
        keys = old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        assert len(keys) == 7
        ids = [admin.execute_command("CLUSTER", "MYID").decode() for admin in (old, new)]
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        old.execute_command("MIGRATE", "127.0.0.1", other.port, "", 0, 20_000, "KEYS", *keys)
        for store in stores:
            with pytest.raises(StoreError, match="the cluster is moving the keys"):
                store.version()
        new.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        old.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
    assert [store.version() for store in stores] == [first] * 3
    owner.stop()
    # Of those whose only named node is gone, too: they know the others.
    assert stores[cluster.index(owner)].version() == first
    said = failure(f"redis://127.0.0.1:{third.port}")
    assert "it is a node of a cluster: write redis+cluster:// in the URL" in said
    other.stop()
    assert "the connection was refused" in failure(f"redis+cluster://127.0.0.1:{other.port}")
    until(lambda: "the cluster is down" in failure(f"redis+cluster://127.0.0.1:{third.port}"), "it is told")
    for store in stores:
        store.close()
