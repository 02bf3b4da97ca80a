"""`sleepwalker get` against real servers: bodies, exit codes, attempts as they happen, and no secret anywhere."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import FaultServer, Nginx, refused_port, reply, reset, stall

from sleepwalker.cli import main

Output = pytest.CaptureFixture[bytes]

_CANARY = "c4n4ry"
_COMMAND = [sys.executable, "-m", "sleepwalker"]


@pytest.fixture(autouse=True)
def no_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user who runs the tests may have credentials for localhost."""
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def capture(capsysbinary: Output) -> Output:
    return capsysbinary


def _netrc(folder: Path, text: str) -> str:
    file = folder / "netrc"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return str(file)


def test_it_works_on_httpbin(httpbin: str, capture: Output) -> None:
    assert main(["get", f"{httpbin}/get?a=1"]) == 0
    out, err = capture.readouterr()
    assert json.loads(out)["args"] == {"a": "1"}
    assert b"200 OK, 1 attempt," in err


def test_it_works_on_nginx_with_its_own_certificate_authority(nginx: Nginx, capture: Output) -> None:
    assert main(["get", "--cacert", nginx.ca, f"{nginx.https}/100b.json"]) == 0
    assert json.loads(capture.readouterr().out)["name"] == "100b.json"


def test_all_that_is_written_fits_60_columns(monkeypatch: pytest.MonkeyPatch, capture: Output) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with FaultServer(default=reply(503)) as server:
        assert main(["get", "--policy", "standard", server.url]) == 1
        assert main(["get", "-n", "12", "-c", "4", server.url]) == 1
    out, err = (text.decode() for text in capture.readouterr())
    assert max(map(len, (out + err).splitlines())) <= 60
    assert "p99" in out
    assert f"GET {server.url}/: 12 calls" in out


def test_a_certificate_of_the_clients_own_is_shown(nginx: Nginx, tmp_path: Path, capture: Output) -> None:
    url = f"{nginx.mtls}/100b.json"
    assert main(["get", "--cacert", nginx.ca, url]) == 1  # which nginx answers with 400
    cert, key = nginx.cert
    assert main(["get", "--cacert", nginx.ca, "--cert", cert, "--key", key, url]) == 0
    both = tmp_path / "both.pem"
    both.write_text(Path(cert).read_text() + Path(key).read_text())
    capture.readouterr()
    assert main(["get", "--cacert", nginx.ca, "--cert", str(both), url]) == 0
    assert json.loads(capture.readouterr().out)["name"] == "100b.json"


def test_a_certificate_without_its_key_is_a_wrong_use(nginx: Nginx, capture: Output) -> None:
    assert main(["get", "--cacert", nginx.ca, "--cert", nginx.ca, f"{nginx.mtls}/100b.json"]) in (1, 2)
    assert b"Traceback" not in capture.readouterr().err


def test_a_certificate_without_a_known_authority_fails_unless_insecure(nginx: Nginx, capture: Output) -> None:
    assert main(["get", f"{nginx.https}/100b.json"]) == 1
    out, err = capture.readouterr()
    assert out == b""
    assert b"TLSError" in err
    assert main(["get", "-k", f"{nginx.https}/100b.json"]) == 0


def test_method_headers_and_body_arrive_as_given(httpbin: str, capture: Output) -> None:
    argv = ["get", "-X", "put", "-H", "X-One: 1", "-H", "X-Two: a", "-H", "X-Two: b", "-d", '{"é": 1}']
    assert main([*argv, "-H", "Content-Type: application/json", f"{httpbin}/anything"]) == 0
    echo = json.loads(capture.readouterr().out)
    assert echo["method"] == "PUT"
    assert echo["json"] == {"é": 1}
    assert (echo["headers"]["X-One"], echo["headers"]["X-Two"]) == ("1", "a, b")


def test_a_hedge_is_told_as_it_is_sent(server: FaultServer, tmp_path: Path, capture: Output) -> None:
    (tmp_path / "hedged.toml").write_text("[hedge]\ndelay = 0.05\n", encoding="utf-8")
    server.script(stall(), reply(200, b"copy"))
    assert main(["get", "--policy", str(tmp_path / "hedged.toml"), server.url]) == 0
    out, err = capture.readouterr()
    assert out == b"copy"
    assert b"attempt 2: sent beside one that is slow, after" in err
    assert b"200 OK, 2 attempts," in err


def test_a_body_makes_it_a_post_and_may_come_from_a_file(server: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\x00\xff\r\n")
    assert main(["get", "-d", f"@{tmp_path / 'body'}", server.url]) == 0
    [request] = server.requests
    assert (request.method, request.body) == ("POST", b"\x00\xff\r\n")


def test_a_full_disk_is_one_line_of_text(server: FaultServer, monkeypatch: pytest.MonkeyPatch, capture: Output) -> None:
    says = b"sleepwalker: cannot write the output: No space left on device\n"
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run([*_COMMAND, "get", server.url], stdout=full, stderr=subprocess.PIPE)
    assert (run.returncode, run.stderr) == (1, says)
    # That nothing is left to be written when the interpreter ends is seen above.
    for argv in (["get", "--json", server.url], ["policy", "show", "standard"]):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            monkeypatch.setattr(sys, "stdout", full)
            assert main(argv) == 1
        assert capture.readouterr().err == says


def test_the_fragment_of_a_url_stays_here(server: FaultServer) -> None:
    assert main(["get", f"{server.url}/a?b=1#c"]) == 0
    assert server.requests[0].target == "/a?b=1"


def test_a_path_that_begins_with_two_slashes_is_no_host(server: FaultServer) -> None:
    assert main(["get", f"{server.url}//example.net/x"]) == 0
    assert server.requests[0].target == "//example.net/x"


@pytest.mark.parametrize(("status", "code"), [(204, 0), (404, 1), (401, 1), (500, 1)])
def test_the_exit_code_says_whether_it_was_answered(server: FaultServer, status: int, code: int) -> None:
    server.script(reply(status))
    assert main(["get", server.url]) == code


def test_the_body_of_a_refusal_is_shown_all_the_same(server: FaultServer, capture: Output) -> None:
    server.script(reply(404, "no such thing"))
    assert main(["get", server.url]) == 1
    out, err = capture.readouterr()
    assert out == b"no such thing"
    assert b"404 Not Found" in err


def test_attempts_that_fail_are_shown_with_what_came_of_them(server: FaultServer, capture: Output) -> None:
    server.script(reply(503), reset(), reply(200, "at last"))
    assert main(["get", f"{server.url}/x?token={_CANARY}"]) == 0
    out, err = capture.readouterr()
    assert out == b"at last"
    lines = err.decode().splitlines()
    assert lines[0].startswith("attempt 1: 503 (")
    assert lines[1].startswith("  again in ")
    assert lines[2].startswith("attempt 2: ")
    assert lines[3].startswith("  again in ")
    assert lines[4].startswith(f"GET {server.url}/x: 200 OK, 3 attempts, ")
    assert len(lines) == 5


def test_an_attempt_is_shown_while_the_next_one_still_runs(server: FaultServer) -> None:
    server.script(reply(503), stall())
    command = [*_COMMAND, "get", server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        try:
            assert running.stderr.readline().startswith(b"attempt 1: 503")
            assert running.poll() is None
        finally:
            running.kill()


def test_a_host_that_refuses_connections_is_a_failed_call(capture: Output) -> None:
    with refused_port() as port:
        assert main(["get", "--json", f"http://127.0.0.1:{port}/"]) == 1
    outcome = json.loads(capture.readouterr().out)
    assert (outcome["answered"], outcome["status"], outcome["error"]) == (False, None, "ConnectError")
    assert [attempt["number"] for attempt in outcome["attempts"]] == [1, 2, 3]


def test_the_policy_decides_how_often_it_is_tried(server: FaultServer, tmp_path: Path, capture: Output) -> None:
    server.default = reply(503)
    mine = tmp_path / "mine.toml"
    mine.write_text("[retry]\nattempts = 2\nwait_initial = 0.0\n", encoding="utf-8")
    assert main(["get", "--policy", "off", server.url]) == 1
    assert len(server.requests) == 1
    assert main(["get", "--policy", str(mine), server.url]) == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("url", "begin"),
    [
        ("localhost", "http://localhost"),
        ("localhost:8080/x", "http://localhost:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("example.net", "https://"),
    ],
)
def test_a_url_without_a_scheme_is_told_the_likely_one(url: str, begin: str, capture: Output) -> None:
    assert main(["get", url]) == 2
    err = capture.readouterr().err.decode()
    assert "has no scheme" in err
    assert re.findall(r"https?://[^\s']*", err)[0] == begin


def test_a_timeout_is_kept(server: FaultServer, capture: Output) -> None:
    server.default = stall()
    begin = time.monotonic()
    # Also the time to connect: less would be over where the machine stands still meanwhile.
    assert main(["get", "--policy", "off", "--timeout", "1.2", server.url]) == 1
    assert 1.2 <= time.monotonic() - begin < 10
    assert b"ReadTimeout" in capture.readouterr().err


def test_the_outcome_as_json_has_every_attempt_and_leaves_the_body_out(server: FaultServer, capture: Output) -> None:
    server.script(reply(503), reply(200, _CANARY))
    assert main(["get", "--json", f"{server.url}/x?q={_CANARY}"]) == 0
    out, err = capture.readouterr()
    outcome = json.loads(out)
    assert _CANARY.encode() not in out + err
    assert outcome["request"] == f"GET {server.url}/x"
    assert (outcome["answered"], outcome["status"], outcome["bytes"]) == (True, 200, len(_CANARY))
    assert [attempt["status"] for attempt in outcome["attempts"]] == [503, 200]
    numbers = [attempt[name] for attempt in outcome["attempts"] for name in ("start", "duration", "wait")]
    assert numbers == [round(number, 4) for number in numbers]
    assert outcome["duration"] == round(outcome["duration"], 4)


def test_the_body_goes_to_a_file_if_one_is_named(server: FaultServer, tmp_path: Path, capture: Output) -> None:
    server.script(reply(200, b"\x00\x01\xff"))
    assert main(["get", "-o", str(tmp_path / "body"), server.url]) == 0
    assert (tmp_path / "body").read_bytes() == b"\x00\x01\xff"
    assert capture.readouterr().out == b""


def test_events_are_appended_to_the_log(server: FaultServer, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    server.script(reply(503), reply(200), reply(200))
    assert main(["get", "--log", str(log), server.url]) == 0
    assert main(["get", "--log", str(log), server.url]) == 0
    events = [json.loads(line)["event"] for line in log.read_text(encoding="utf-8").splitlines()]
    assert events == ["attempt.failed", "retry.scheduled", "request.finished", "request.finished"]


# -- credentials ---------------------------------------------------------------------------------


def _credentials(server: FaultServer) -> str | None:
    header = server.requests[-1].header("Authorization")
    return base64.b64decode(header.removeprefix("Basic ")).decode() if header else None


def test_credentials_are_sent_and_shown_nowhere(server: FaultServer, tmp_path: Path, capture: Output) -> None:
    server.script(reply(503), reply(503), reply(503))
    log = tmp_path / "log"
    argv = ["get", "--auth", f"anna:{_CANARY}:1", "-H", f"X-Api-Key: {_CANARY}", "-d", _CANARY, "-X", "PUT"]
    assert main([*argv, "--log", str(log), f"{server.url}/x?token={_CANARY}"]) == 1
    assert _credentials(server) == f"anna:{_CANARY}:1"
    out, err = capture.readouterr()
    assert _CANARY.encode() not in out + err + log.read_bytes()
    assert len(log.read_bytes().splitlines()) > 3


def test_without_auth_a_netrc_entry_is_used(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", _netrc(tmp_path, "machine 127.0.0.1 login anna password from-netrc\n"))
    assert main(["get", server.url]) == 0
    assert _credentials(server) == "anna:from-netrc"


def test_a_netrc_file_that_others_may_read_is_warned_of_in_a_line(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capture: Output
) -> None:
    file = Path(_netrc(tmp_path, f"machine 127.0.0.1 login anna password {_CANARY}\n"))
    file.chmod(0o644)
    monkeypatch.setenv("NETRC", str(file))
    with warnings.catch_warnings():  # as in a program, which has no filters of pytest's
        warnings.simplefilter("default")
        assert main(["get", server.url]) == 0
    err = capture.readouterr().err.decode()
    first, *_ = err.splitlines()
    assert first == (
        f"sleepwalker: netrc file {str(file)!r} has the mode 0644, so others may read or change it: chmod 0600"
    )
    assert _CANARY not in err


def test_without_a_netrc_entry_none_are_sent(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", _netrc(tmp_path, f"default login anna password {_CANARY}\n"))
    assert main(["get", server.url]) == 0
    assert _credentials(server) is None


def test_a_header_of_ones_own_is_not_replaced_by_netrc(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", _netrc(tmp_path, "machine 127.0.0.1 login anna password from-netrc\n"))
    assert main(["get", "-H", "authorization: Bearer mine", server.url]) == 0
    assert server.requests[0].header("Authorization") == "Bearer mine"


def test_a_netrc_file_that_cannot_be_read_is_named_without_its_content(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capture: Output
) -> None:
    monkeypatch.setenv("NETRC", _netrc(tmp_path, f"machine 127.0.0.1 {_CANARY} {_CANARY}\n"))
    assert main(["get", server.url]) == 2
    err = capture.readouterr().err
    assert b"netrc" in err
    assert _CANARY.encode() not in err
    assert server.requests == []


def test_a_missing_password_needs_a_terminal(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, capture: Output
) -> None:
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert main(["get", "--auth", "anna", server.url]) == 2
    assert b"netrc" in capture.readouterr().err


# -- many calls ----------------------------------------------------------------------------------


def test_many_calls_end_in_a_table(httpbin: str, capture: Output) -> None:
    assert main(["get", "-n", "20", "-c", "4", f"{httpbin}/get"]) == 0
    out = capture.readouterr().out.decode()
    assert "20 calls in" in out
    assert "p95" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_many_calls_as_json_add_up(server: FaultServer, capture: Output) -> None:
    server.script(
        *[reply(404) if number % 4 == 0 else reply(503) if number % 4 == 1 else reply() for number in range(12)]
    )
    assert main(["get", "-n", "10", "-c", "2", "--json", f"{server.url}/x?q={_CANARY}"]) == 1
    out, err = capture.readouterr()
    numbers = json.loads(out)
    assert numbers["calls"] == 10
    assert numbers["answered"] + numbers["failed"] + numbers["rejected"] == numbers["calls"]
    assert sum(numbers["results"].values()) == numbers["calls"]
    assert numbers["retries"] == len(server.requests) - 10
    assert numbers["p50"] <= numbers["p95"] <= numbers["p99"]
    assert _CANARY.encode() not in out + err


def test_as_many_calls_as_asked_for_are_in_flight(server: FaultServer) -> None:
    gate = threading.Barrier(3)  # passed only if three requests are there at the same time

    def meet(_exchange: object) -> object:
        gate.wait(20)
        return reply()

    server.default = meet
    assert main(["get", "-n", "6", "-c", "3", server.url]) == 0


def test_calls_that_the_open_circuit_refused_are_told_apart(tmp_path: Path, capture: Output) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[breaker]\nconsecutive_for = 0\n")
    with refused_port() as port:
        assert main(["get", "-n", "20", "--policy", str(policy), "--json", f"http://127.0.0.1:{port}/"]) == 1
    numbers = json.loads(capture.readouterr().out)
    assert numbers["rejected"] == numbers["results"]["CircuitOpenError"] > 0
    assert numbers["failed"] + numbers["rejected"] == 20
    assert numbers["breaker"] == "open"


# -- as a process --------------------------------------------------------------------------------


def test_ctrl_c_ends_one_call_and_many_with_130_and_no_traceback(server: FaultServer) -> None:
    server.default = stall()
    for more in ([], ["-n", "4", "-c", "2"]):
        seen = len(server.requests)
        command = [*_COMMAND, "get", *more, server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            server.wait_for_requests(seen + (2 if more else 1), within=60)
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=60)
        assert running.returncode == 130
        assert b"Traceback" not in err
        assert b"interrupted" in err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_leaves_early_is_no_error(server: FaultServer, unbuffered: str) -> None:
    """Unbuffered, Python's stdout makes short writes instead of raising at once."""
    server.script(reply(200, b"line\n" * 200_000))
    command, env = [*_COMMAND, "get", server.url], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.read(5) == b"line\n"
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 0


@pytest.mark.once
def test_without_rich_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    code = """
from sleepwalker.cli import main
assert [main(["get", "http://127.0.0.1:9/"]), main(["demo"]), main(["policy", "list"])] == [2, 2, 0]
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
    assert run.returncode == 0
    assert run.stderr == "sleepwalker: this command needs the package rich: pip install 'sleepwalker[cli]'\n" * 2


# -- on a terminal -------------------------------------------------------------------------------


OnTerminal = Callable[..., bytes]


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[OnTerminal]:
    """What a command shows on stdout, if that is a terminal."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def show(*argv: str) -> bytes:
        shown = bytearray()
        reader = threading.Thread(target=_read, args=(ours, shown))
        reader.start()
        with os.fdopen(theirs, "w", encoding="utf-8") as stdout, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stdout)
            assert main(list(argv)) == 0
        reader.join(30)
        return bytes(shown)

    yield show
    os.close(ours)


def _read(ours: int, shown: bytearray) -> None:
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux says EIO once the other end is closed
            return
        if not data:
            return
        shown.extend(data)


def test_a_body_cannot_steer_the_terminal(server: FaultServer, on_terminal: OnTerminal) -> None:
    server.script(reply(200, b"a\x1b[2Jb\x07\r\nc", {"Content-Type": "text/plain; charset=utf-8"}))
    shown = on_terminal("get", server.url)
    assert b"\x1b" not in shown
    assert b"\x07" not in shown
    assert shown.decode().splitlines() == ["a\ufffd[2Jb\ufffd", "c"]


def test_binary_data_is_not_thrown_at_a_terminal(server: FaultServer, on_terminal: OnTerminal) -> None:
    server.script(reply(200, b"\x7fELF\x00\x01"))
    assert on_terminal("get", server.url) == b""


def test_colour_is_for_terminals_and_can_be_refused(server: FaultServer, on_terminal: OnTerminal) -> None:
    assert b"\x1b[32m" in on_terminal("get", "-n", "2", server.url)


def test_no_color_is_honoured(server: FaultServer, on_terminal: OnTerminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = on_terminal("get", "-n", "2", server.url)
    assert b"answered" in shown
    assert b"\x1b[32m" not in shown
