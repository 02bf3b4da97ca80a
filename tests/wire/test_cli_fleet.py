"""`sleepwalker fleet` against real stores: what workers said is shown, and what an operator orders reaches them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import RedisServer, run_redis

from sleepwalker.cli import main
from sleepwalker.fleet.store import Said, Store, StoreError, View
from sleepwalker.fleet.stores import open_store
from tests.terminal import Screen

pytestmark = pytest.mark.once

PAY, MAIL = "https://pay.example.com", "https://mail.example.com"
BROKEN, FINE = View("broken", cause="ConnectError", lasted=2.0), View("fine")

Run = tuple[int, str, str]
Fleet = Callable[..., Run]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store's, of the kind that the test asks for."""
    if getattr(request, "param", "file") == "redis":
        return request.getfixturevalue("redis_server").url  # type: ignore[no-any-return]
    return f"file://{tmp_path}/billing.fleet"


both = pytest.mark.parametrize("url", ["file", "redis"], indirect=True)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with contextlib.closing(open_store(url, "default", 5.0)) as store:
        yield store


@pytest.fixture
def fleet(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Run one command on the store: its exit code, and what it wrote."""
    monkeypatch.setenv("SLEEPWALKER_FLEET", url)
    monkeypatch.delenv("SLEEPWALKER_FLEET_SERVICE", raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*argv: str) -> Run:
        code = main(["fleet", *argv])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def _worker(at: Store, number: int, **said: Any) -> Any:
    """What a worker hears that says so."""
    return at.sync(Said(f"id-{number}", f"web-{number // 4} {4000 + number}", 60.0, **said))


def _trouble(store: Store) -> None:
    """Four of five workers find a host broken; one of them alone another one."""
    for number in range(5):
        _worker(store, number)
    for number in range(5):
        _worker(store, number, views={PAY: BROKEN if number < 4 else FINE, **({MAIL: BROKEN} if number == 4 else {})})


@both
def test_where_nobody_finds_a_host_broken_all_is_well(fleet: Fleet, store: Store) -> None:
    _worker(store, 1)
    code, out, err = fleet("status")
    assert (code, err) == (0, "")
    assert out.replace("\n", " ").replace(" ", "").startswith(f"1workerofservicedefaultat{store.shown}")
    assert "no worker finds a host broken, and no host is isolated" in out


@both
def test_trouble_is_shown_with_who_says_so_and_ends_with_3(fleet: Fleet, store: Store) -> None:
    _trouble(store)
    assert fleet("status", "--quorum", "0.9")[0] == 3
    code, out, err = fleet("status", "--json")
    assert (code, err) == (3, "")
    whole = json.loads(out)
    assert [worker["label"] for worker in whole["workers"]] == [f"web-{n // 4} {4000 + n}" for n in range(5)]
    pay, mail = whole["hosts"]
    assert (pay["host"], pay["broken"], pay["fine"], pay["needed"], pay["cause"]) == (PAY, 4, 1, 3, "ConnectError")
    assert {one["label"]: one["says"] for one in pay["workers"]}["web-1 4004"] == "fine"
    assert (mail["host"], mail["broken"], mail["needed"], mail["broken_for_all"]) == (MAIL, 1, 2, False)
    time.sleep(max(0.0, 0.6 - 0.1))  # the hearing
    code, out, _ = fleet("status")
    assert code == 3
    assert "2 hosts in trouble, 1 broken for all" in out
    rows = {line.split()[0]: line.split()[1:] for line in reversed(out.splitlines()) if line.startswith("https://")}
    assert rows[PAY][:3] == ["broken", "4", "1"]
    assert rows[MAIL][:5] == ["needs", "2", "workers", "1", "0"]
    assert re.search(r"at .*, 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", " ".join(out.split())), "as of when"
    assert fleet("status", "--json", "--min-reporters", "5")[1].count('"broken_for_all": true') == 0


@both
def test_a_service_sees_nothing_of_another_one(fleet: Fleet, store: Store) -> None:
    _trouble(store)
    code, out, err = fleet("status", "--service", "other")
    assert code == 1
    assert "0 workers of service other" in out
    assert " ".join(err.split()) == (
        "sleepwalker: service other has no running workers; "
        "use --service or SLEEPWALKER_FLEET_SERVICE to name another service"
    )


@both
def test_the_service_may_come_from_the_environment(fleet: Fleet, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _worker(store, 1)
    monkeypatch.setenv("SLEEPWALKER_FLEET_SERVICE", "other")
    assert "0 workers of service other" in fleet("status")[1]
    assert fleet("isolate", PAY)[2].startswith("sleepwalker: service other has no running workers; use --service or")
    assert fleet("status", "--service", "default")[::2] == (0, ""), "what is given counts before it"
    monkeypatch.setenv("SLEEPWALKER_FLEET_SERVICE", "")
    assert fleet("status")[::2] == (0, "")


@both
def test_an_isolation_reaches_the_workers_with_its_reason_and_its_end(fleet: Fleet, store: Store) -> None:
    since = _worker(store, 1).version
    code, out, err = fleet("isolate", "HTTPS://Pay.example.com:443/", "--for", "1h30m", "--reason", "it moves")
    assert (code, err) == (0, "")
    assert " ".join(out.split()).startswith(f"{PAY} is isolated for 1 worker, until ")
    assert " ".join(out.split()).endswith("UTC, 90 minutes: it moves")
    heard = _worker(store, 1, since=since, store=store.version()[0])  # type: ignore[index]
    order = heard.orders[PAY]
    assert (order.kind, order.reason) == ("isolate", "it moves")
    assert order.left == pytest.approx(5_400, abs=30)
    assert order.by == f"the command line on {socket.gethostname()}"

    code, out, _ = fleet("status")
    assert code == 3
    assert f"{PAY} isolated until " in out
    assert "it moves" in out

    code, out, _ = fleet("isolate", PAY)
    assert "is isolated for 1 worker, until it is restored; this replaces its earlier isolation" in " ".join(
        out.split()
    )
    code, out, err = fleet("restore", PAY)
    assert (code, out, err) == (0, f"{PAY} is restored for 1 worker\n", "")
    assert fleet("status")[0] == 0
    assert fleet("restore", PAY)[1].replace("\n ", "").endswith("; it was not isolated in this store\n")


def test_an_end_may_be_a_moment_and_a_scope_is_isolated_alone(fleet: Fleet, store: Store) -> None:
    _worker(store, 1)
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 7_200))
    code, out, _ = fleet("isolate", f"{PAY}#reports", "--until", f"{end}+00:00", "--json")
    assert code == 0
    said = json.loads(out)
    assert (said["order"], said["host"], said["reason"]) == ("isolate", f"{PAY}#reports", None)
    assert (said["workers"], said["was_isolated"]) == (1, False)
    assert said["until"][:16] == end[:16] or said["until"][:13] == end[:13]
    assert store.overview().orders[f"{PAY}#reports"].left == pytest.approx(7_200, abs=30)


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("127.0.0.1:8901", "http://127.0.0.1:8901 or https://127.0.0.1:8901"),
        ("Pay", "http://pay or https://pay"),
        ("pay two", "https://example.net"),
    ],
)
@pytest.mark.parametrize("command", ["isolate", "restore", "reset"])
def test_of_a_host_without_a_scheme_it_says_what_it_is_taken_for(
    command: str, host: str, meant: str, fleet: Fleet, store: Store
) -> None:
    """A slip would look as if it had worked: no store knows the hosts that are well, nor the names that hooks know."""
    _worker(store, 1)
    code, out, err = fleet(command, host, "--json")
    assert (code, json.loads(out)["host"]) == (0, host.lower())
    assert " ".join(err.split()) == (
        f"sleepwalker: {host.lower()} is treated as a name that a hook knows; for a host, give its URL, such as {meant}"
    )
    assert fleet(command, PAY)[2] == ""


@both
def test_a_reset_reaches_the_workers_that_are_there(fleet: Fleet, store: Store) -> None:
    heard = _worker(store, 1)
    code, out, err = fleet("reset", PAY)
    assert (code, out, err) == (0, f"{PAY}: 1 worker will close its circuits\n", "")
    assert _worker(store, 1, since=heard.version, store=heard.store).orders[PAY].kind == "reset"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("isolate", "Workers that start within"),
        ("restore", "No worker had it isolated"),
        ("reset", "Only a worker that starts"),
    ],
)
def test_where_no_worker_is_there_an_order_says_so(command: str, says: str, fleet: Fleet, store: Store) -> None:
    _worker(store, 1)
    store.leave("id-1")
    code, _, err = fleet(command, PAY)
    assert code == 0
    assert err.startswith("sleepwalker: service default has no running workers; ")
    assert says in " ".join(err.split())


def test_the_password_of_a_url_in_a_reason_is_not_kept(fleet: Fleet, store: Store) -> None:
    _worker(store, 1)
    code, out, err = fleet("isolate", PAY, "--reason", "see https://u:pass-word@wiki/")
    assert code == 0
    assert "pass-word" not in out + err + repr(store.overview())


def test_a_file_that_is_no_store_is_said_to_be_none(fleet: Fleet, url: str) -> None:
    Path(url.removeprefix("file://")).write_bytes(b"no database at all " * 1000)
    for command in (["status"], ["isolate", PAY]):
        code, out, err = fleet(*command)
        assert (code, out) == (1, "")
        told = "".join(err.split())
        assert told.startswith(f"sleepwalker:{url.removeprefix('file://')}isno")
        assert told.count("billing.fleet") == 1


@contextlib.contextmanager
def _process(*argv: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "sleepwalker", "fleet", *argv],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "300"},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _refused() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"redis://anna:pass-word@127.0.0.1:{taken.getsockname()[1]}/0"


@contextlib.contextmanager
def _silent() -> Iterator[str]:
    """A server that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://:pass-word@127.0.0.1:{server.getsockname()[1]}"


def _is_given_up(run: Run) -> None:
    code, out, err = run
    assert (code, out) == (1, "")
    assert re.match(r"sleepwalker: redis://127\.0\.0\.1:\d+", err)
    assert "pass-word" not in err
    assert "anna" not in err


@pytest.mark.parametrize("command", [["status"], ["status", "--watch"], ["isolate", PAY]], ids=" ".join)
def test_a_store_that_is_not_there_is_given_up_and_no_password_is_shown(
    command: list[str], fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLEEPWALKER_FLEET", _refused())
    _is_given_up(fleet(*command))


def test_a_store_that_says_nothing_is_given_up_within_seconds(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    with _silent() as silent:
        monkeypatch.setenv("SLEEPWALKER_FLEET", silent)
        begin = time.monotonic()
        _is_given_up(fleet("status"))
        assert 2 < time.monotonic() - begin < 8


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "share-verdicts-in-a-fleet.md"


@pytest.fixture
def limited(redis_server: RedisServer) -> Iterator[str]:
    """The URL of a real server with the user that the docs make."""
    [line] = re.findall(r"^ *ACL SETUSER billing on (.*)$", PAGE.read_text(), re.MULTILINE)
    with redis_server.client() as client:
        client.execute_command("ACL SETUSER", "billing", "on", *line.replace(">PASSWORD", ">pass/word").split())
        yield f"unix://billing:pass%2Fword@{redis_server.socket}"
        client.execute_command("ACL DELUSER", "billing")


def test_the_rights_that_the_docs_give_are_enough_and_no_more(
    limited: str, redis_server: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that workers and operators do, with the password in the environment."""
    monkeypatch.setenv("SLEEPWALKER_FLEET", limited)
    with contextlib.closing(open_store(limited, "billing", 5.0)) as store:
        _trouble(store)
        since = store.version()
        assert since is not None
        _worker(
            store, 0, since=since[1], store=since[0], looks={PAY: 1.0}, views={PAY: View(None, back=True)}, renew=True
        )
        for command in (["isolate", PAY, "--for", "2h"], ["restore", PAY], ["reset", PAY], ["status"]):
            code = main(["fleet", *command, "--service", "billing"])
            out, err = capsys.readouterr()
            assert (code, err) == (3 if command == ["status"] else 0, "")
            assert "word" not in out
        store.leave("id-1")
    assert main(["fleet", "status", "--service", "other"]) == 1
    err = capsys.readouterr().err
    assert "may not run the script or touch the keys" in " ".join(err.split())
    assert "pass" not in err


def test_the_rights_that_the_docs_give_are_those_of_the_script() -> None:
    """One that it does not use is one too many; one that a test does not come by would be missed in the night."""
    scripts = "".join(path.read_text() for path in (ROOT / "sleepwalker" / "fleet" / "redis").glob("*.lua"))
    called = {name.lower() for name in re.findall(r'\b(?:call|in_parts)\("([A-Z]+)"', scripts)}
    assert len(called) > 10
    [line] = re.findall(r"^ *ACL SETUSER billing on (.*)$", PAGE.read_text(), re.MULTILINE)
    assert set(re.findall(r"\+([a-z]+)", line)) == called | {"get", "hgetall", "eval", "evalsha"}


def test_a_password_is_rotated_without_a_worker_that_is_alone(limited: str, redis_server: RedisServer) -> None:
    with contextlib.ExitStack() as stack, redis_server.client() as client:
        old = stack.enter_context(contextlib.closing(open_store(limited, "billing", 5.0)))
        _worker(old, 1)
        client.execute_command("ACL SETUSER", "billing", ">new")
        new = stack.enter_context(contextlib.closing(open_store(limited.replace("pass%2Fword", "new"), "billing", 5.0)))
        assert _worker(new, 2).workers == 2
        client.execute_command("ACL SETUSER", "billing", "<pass/word")
        assert _worker(old, 1).workers == 2, "its connection is open"
        old.close()
        with pytest.raises(StoreError, match="refused the user or the password"):
            _worker(old, 1)
        assert _worker(new, 2).workers == 2


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    seen = ""
    assert process.stdout is not None
    end = time.monotonic() + 60
    while text not in seen:
        assert select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0], seen
        part = os.read(process.stdout.fileno(), 65536).decode()
        assert part, seen + (process.stderr.read() if process.stderr else "")
        seen += part
    return seen


def test_a_watch_tells_each_change_and_ctrl_c_ends_it(url: str, store: Store) -> None:
    for number in range(5):
        _worker(store, number)
    with _process("status", "--store", url, "--watch", "--json") as process:
        first = json.loads(_read_until(process, "\n"))
        assert first["hosts"] == []
        _trouble(store)
        changed = [
            json.loads(line) for line in _read_until(process, '"broken_for_all": true').splitlines() if line[-1] == "}"
        ]
        assert changed[-1]["hosts"][0]["host"] == PAY
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (3, ""), "the trouble that was there at the end"


def test_a_watch_waits_for_a_store_that_went_away(tmp_path: Path, program: Callable[[str], Path]) -> None:
    with (
        run_redis(tmp_path / "redis", program("redis-server")) as server,
        contextlib.closing(open_store(server.url, "default", 5.0)) as store,
    ):
        _worker(store, 1)
        with _process("status", "--store", server.url, "--watch") as process:
            _read_until(process, "no worker finds")
            server.stop()
            assert process.stderr is not None
            assert process.stderr.readline().startswith(f"sleepwalker: {server.url}: the connection was ")
            server.start()
            with contextlib.suppress(StoreError):  # its connection was to the server that is gone
                _worker(store, 1)
            _worker(store, 1)
            assert process.stderr.readline() == f"sleepwalker: {server.url} answers again\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[1] == ""
            assert process.returncode == 0


def test_a_watch_ends_as_a_service_manager_wants(url: str, store: Store) -> None:
    _worker(store, 1)
    with _process("status", "--store", url, "--watch") as process:
        _read_until(process, "no worker finds")
        process.terminate()
        assert process.communicate(timeout=30)[1] == ""
        assert process.returncode == 128 + signal.SIGTERM


def test_on_a_terminal_it_moves_in_colour_and_leaves_the_last_picture(url: str, store: Store) -> None:
    for number in range(5):
        _worker(store, number)
    child, terminal = pty.fork()
    if child == 0:
        env = {
            "PATH": os.environ["PATH"],
            "TERM": "xterm-256color",
            "COLUMNS": "80",
            "LINES": "24",
            "SLEEPWALKER_FLEET": url,
        }
        os.execve(sys.executable, [sys.executable, "-m", "sleepwalker", "fleet", "status", "--watch"], env)
    screen = Screen(terminal)
    try:
        screen.until(b"watching, Ctrl-C ends it")
        screen.until(b"no worker finds")
        _trouble(store)
        screen.until(b"1 broken for all")
        screen.seen = b""
        os.write(terminal, b"\x03")
        screen.until(b"web-1: 4004")
        screen.to_the_end()
        _, status = os.waitpid(child, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 3
    assert b"\x1b[1;31m" in screen.seen, "red"
    assert b"watching" not in screen.seen.rpartition(b"workers of service")[2]


def test_a_closed_output_is_no_traceback(url: str, store: Store) -> None:
    _trouble(store)
    with _process("status", "--store", url, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_four_hundred_workers_and_a_thousand_hosts_are_shown_at_once(fleet: Fleet, store: Store) -> None:
    """Of them one host is broken for all."""
    for number in range(400):
        _worker(store, number)
    hosts = {f"https://h{number}.example.com": BROKEN for number in range(1000)}
    _worker(store, 0, views=hosts)
    for number in range(1, 300):
        _worker(store, number, views={"https://h777.example.com": BROKEN})
    time.sleep(0.6)
    code, out, _ = fleet("status")
    lines = out.splitlines()
    assert code == 3
    assert "400 workers of service default" in lines[0]
    assert "1,000 hosts in trouble, 1 broken for all" in out
    assert next(line for line in lines if line.startswith("https://")).split()[:3] == [
        "https://h777.example.com",
        "broken",
        "300",
    ]
    assert "and 950 more with less trouble; --json shows all" in lines
    assert max(map(len, lines)) <= 80
