"""The recipes of docs/recipes/ that are for a server: each program as its page shows it, under that server."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import Exchange, FaultServer, Step, json_reply, reply
from servers.nginx_server import _free_ports
from servers.prometheus_server import Prometheus, run_prometheus

from sleepwalker import Policy
from tests.docs_page import blocks

pytestmark = [pytest.mark.once, pytest.mark.long, pytest.mark.left_to_ci]

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "recipes"


def files_of(recipe: str) -> dict[str, str]:
    """What the page shows, by the name that it has there."""
    return {block.directives["file"]: block.text for block in blocks(RECIPES / recipe) if "file" in block.directives}


#: Those of the pages whose programs do not share a name.
FILES = {**files_of("gunicorn.md"), **files_of("fastapi.md"), **files_of("celery.md"), **files_of("kubernetes.md")}


def command_of(recipe: str, start: str) -> list[str]:
    """The words of the one command of the page that begins so."""
    [words] = re.findall(rf"^\$ ({start}.*)$", (RECIPES / recipe).read_text(encoding="utf-8"), re.MULTILINE)
    return list(words.split())


@dataclass
class Orders:
    """The host that the programs ask: it says who asked, and holds back what asks for /orders/slow."""

    server: FaultServer = field(default_factory=FaultServer)
    released: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.server.default = self._answer

    def _answer(self, exchange: Exchange) -> Step:
        assert exchange.request is not None
        path = exchange.request.path
        if path.endswith("/slow"):
            with self.lock:
                self.waiting += 1
            while not self.released.is_set():
                exchange.pause(0.02)
        if path.endswith("/broken"):
            return reply(503)
        return json_reply({"path": path})


@pytest.fixture
def orders() -> Iterator[Orders]:
    made = Orders()
    with made.server:
        yield made
        made.released.set()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return laid_out(FILES, tmp_path)


def laid_out(files: dict[str, str], folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@contextlib.contextmanager
def running(folder: Path, *words: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of the environment's own, in a process group of its own, with what it says in `server.log`."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            words, cwd=folder, env={**kept, "PATH": path, "HOME": str(folder), "PYTHONPATH": str(folder), **env},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(fact: Callable[[], object], folder: Path, within: float = 60.0) -> None:
    """Wait until it is so; else fail with what the server said."""
    end = time.monotonic() + within
    while not fact():
        assert time.monotonic() < end, (folder / "server.log").read_text(errors="replace")[-4000:]
        time.sleep(0.05)


def get(url: str | urllib.request.Request) -> tuple[int, bytes]:
    """The status and the body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def events(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log: every one of them is whole."""
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


# --- gunicorn


@dataclass
class Gunicorn:
    process: subprocess.Popen[bytes]
    url: str
    folder: Path

    def targets(self) -> dict[str, int]:
        """The address of each worker's metrics, with its process."""
        found = {}
        for file in (self.folder / "metrics").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # its worker ended
                [group] = json.loads(file.read_text())
                found[group["targets"][0]] = int(file.stem)
        return found

    def calls(self, count: int) -> None:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(get, [f"{self.url}/orders/{number}" for number in range(count)]))
        assert Counter(status for status, _ in answers) == {200: count}
        assert {json.loads(body)["path"] for _, body in answers} == {f"/orders/{number}" for number in range(count)}


@pytest.fixture
def gunicorn(folder: Path, orders: Orders) -> Iterator[Gunicorn]:
    [port] = _free_ports(1)
    with running(
        folder, "gunicorn", "-c", "gunicorn_conf.py", "shop:application",
        BIND=f"127.0.0.1:{port}", ORDERS=orders.server.url, TARGETS=str(folder / "metrics"),
        EVENTS=str(folder / "events.jsonl"),
    ) as process:  # fmt: skip
        server = Gunicorn(process, f"http://127.0.0.1:{port}", folder)
        wait_for(lambda: len(server.targets()) == 4 and get(f"{server.url}/status/")[0] == 200, folder)
        yield server


def test_the_gunicorn_recipe_starts_as_it_stands(folder: Path, orders: Orders) -> None:
    """It was to write into folders that a fresh machine does not have."""
    [port] = _free_ports(1)
    with running(
        folder, "gunicorn", "-c", "gunicorn_conf.py", "shop:application",
        BIND=f"127.0.0.1:{port}", ORDERS=orders.server.url,
    ) as process:  # fmt: skip
        wait_for(lambda: process.poll() is not None or get(f"http://127.0.0.1:{port}/orders/1")[0] == 200, folder)
        assert process.poll() is None, (folder / "server.log").read_text()
        wait_for(lambda: len(list((folder / "run" / "metrics").glob("*.json"))) == 4, folder)
        assert [line for line in events(folder) if line["event"] == "request.finished"]


def _sum(targets: dict[str, int]) -> tuple[float, set[str]]:
    """The calls that all workers count, and the names that they have for the host."""
    total, names = 0.0, set()
    for target in targets:
        text = get(f"http://{target}/metrics")[1].decode()
        for labels, value in re.findall(r"^sleepwalker_calls_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            total += float(value)
            names |= set(re.findall(r'name="([^"]*)"', labels))
    return total, names


def test_gunicorn_workers_share_a_log_and_have_metrics_of_their_own(gunicorn: Gunicorn) -> None:
    calls = 0

    def finished() -> list[dict[str, Any]]:
        return [line for line in events(gunicorn.folder) if line["event"] == "request.finished"]

    def several_worked() -> bool:
        nonlocal calls
        gunicorn.calls(100)
        calls += 100
        return len({line["pid"] for line in finished()}) > 1

    wait_for(several_worked, gunicorn.folder)  # which worker takes a request is the kernel's to say
    workers = gunicorn.targets()
    assert _sum(workers) == (calls, {"orders"})
    lines = finished()
    assert len(lines) == len({line["call"] for line in lines}) == calls
    assert {line["pid"] for line in lines} <= set(workers.values())
    assert {line["name"] for line in lines} == {"orders"}


def test_a_gunicorn_worker_that_is_killed_takes_its_address_along_and_another_takes_its_place(
    gunicorn: Gunicorn,
) -> None:
    before = gunicorn.targets()
    killed = min(before.values())
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(now := gunicorn.targets().values()) == 4 and killed not in now, gunicorn.folder)
    gunicorn.calls(20)
    assert not list((gunicorn.folder / "metrics").glob("*.new"))


def test_gunicorn_ends_with_what_is_in_flight_answered(gunicorn: Gunicorn, orders: Orders) -> None:
    gunicorn.calls(8)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(get, f"{gunicorn.url}/orders/slow")
        wait_for(lambda: orders.waiting, gunicorn.folder)
        gunicorn.process.send_signal(signal.SIGTERM)
        said = gunicorn.folder / "server.log"
        wait_for(lambda: said.read_text().count("Worker exiting") >= 3, gunicorn.folder)  # all but the one at work
        orders.released.set()
        status, body = slow.result(60)
    assert (status, json.loads(body)) == (200, {"path": "/orders/slow"})
    assert gunicorn.process.wait(60) == 0
    assert gunicorn.targets() == {}


@pytest.mark.needs("prometheus")
def test_prometheus_finds_the_workers_by_the_files_that_the_recipe_writes(
    gunicorn: Gunicorn, program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = FILES["prometheus.yml"].replace("/srv/shop/run/metrics", str(gunicorn.folder / "metrics"))
    rules = ROOT / "docs" / "operations" / "alerts.yml"
    place = tmp_path_factory.mktemp("prometheus")
    quick = "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
    with run_prometheus(place, "", rules, program("prometheus"), config=quick + config) as prometheus:
        instances = set(gunicorn.targets())

        def up() -> bool:
            return {labels[0] for labels, value in prometheus.query("up").items() if value == 1} == instances

        prometheus.wait_for(up, "all workers are scraped")
        gunicorn.calls(40)
        assert isinstance(prometheus, Prometheus)
        prometheus.wait_for(lambda: prometheus.query("sum(sleepwalker_calls_total)") == {(): 40}, "40 calls")


# --- uvicorn with FastAPI


@pytest.fixture(params=["api", "api_threads"])
def api(request: pytest.FixtureRequest, folder: Path, orders: Orders) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    [port] = _free_ports(1)
    words = command_of("fastapi.md", f"uvicorn {request.param}:")
    with running(folder, *words, "--port", str(port), ORDERS=orders.server.url) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: get(f"{url}/ready")[0] == 200, folder)
        yield process, url


def test_fastapi_routes_wait_while_the_others_are_served_and_uvicorn_ends_with_what_is_in_flight_answered(
    api: tuple[subprocess.Popen[bytes], str], orders: Orders, folder: Path
) -> None:
    process, url = api
    assert get(f"{url}/orders/1")[0] == 200
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        slow = [pool.submit(get, f"{url}/orders/slow") for _ in range(30)]
        wait_for(lambda: orders.waiting >= 20, folder)  # the bulkhead's limit
        wait_for(lambda: sum(one.done() for one in slow) == 10, folder)
        assert get(f"{url}/ready") == (200, b'{"ready":true}')
        assert {one.result()[0] for one in slow if one.done()} == {503}
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: get(f"{url}/ready")[0] == 0, folder)
        orders.released.set()
        answers = Counter(one.result(60) for one in slow)
    refused = (503, b'{"detail":"orders: BulkheadFullError"}')
    assert answers == {(200, b'{"path":"/orders/slow"}'): 20, refused: 10}
    assert process.wait(60) in (0, -signal.SIGTERM)  # uvicorn ends by the signal that it was sent
    assert "Application shutdown complete" in (folder / "server.log").read_text()
    orders.server.wait_for_open(0)  # the manager was closed


def test_fastapi_is_ready_and_shows_its_status_page_while_a_host_is_broken(
    api: tuple[subprocess.Popen[bytes], str], folder: Path
) -> None:
    _, url = api

    def state() -> str:
        hosts = json.loads(get(f"{url}/status/hosts.json")[1])["hosts"]
        return hosts[0]["breaker"] if hosts else ""

    assert get(f"{url}/orders/7") == (200, b'{"path":"/orders/7"}')
    wait_for(lambda: (get(f"{url}/orders/broken"), state() == "open")[1], folder)
    assert get(f"{url}/ready")[0] == 200
    status, page = get(f"{url}/status/")
    assert status == 200
    assert b"orders" in page
    [deployment] = yaml.safe_load_all(FILES["deployment.yaml"])
    path = deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
    opened = rb'^sleepwalker_breaker_transitions_total\{(?=.*name="orders")(?=.*to="open").*\} [1-9]'
    assert re.search(opened, get(f"{url}{path}")[1], re.MULTILINE)


def test_fastapi_passes_its_callers_deadline_on(folder: Path, orders: Orders) -> None:
    """The host hears how long its answer is of use, and the caller has one in time."""
    [port] = _free_ports(1)
    words = command_of("fastapi.md", "uvicorn api:")
    with running(folder, *words, "--port", str(port), ORDERS=orders.server.url):
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: get(f"{url}/ready")[0] == 200, folder)

        def timed(path: str, seconds: str) -> tuple[int, float]:
            asked = urllib.request.Request(f"{url}{path}", headers={"X-Request-Timeout": seconds})
            began = time.monotonic()
            return get(asked)[0], time.monotonic() - began

        def told() -> float:
            [request] = orders.server.requests[-1:]
            return float(request.header("X-Request-Timeout") or 0)

        assert timed("/orders/7", "2")[0] == 200
        assert 1 < told() <= 2
        assert timed("/orders/7", "3600")[0] == 200
        assert 9 < told() <= 10, "no longer than the policy's own attempt"
        assert timed("/orders/7", "soon")[0] == 422
        status, seconds = timed("/orders/slow", "0.5")
        assert status == 503
        assert 0.5 <= seconds < 3


# --- Django


def test_django_workers_share_the_manager_that_was_made_before_they_were_forked(tmp_path: Path, orders: Orders) -> None:
    folder = laid_out(files_of("django.md"), tmp_path)
    [port] = _free_ports(1)
    words = command_of("django.md", "gunicorn ")
    with running(folder, *words, BIND=f"127.0.0.1:{port}", ORDERS=orders.server.url) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: get(f"{url}/orders/1")[0] == 200, folder)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(get, [f"{url}/orders/{number}" for number in range(100)]))
        assert {status for status, _ in answers} == {200}
        assert {json.loads(body)["path"] for _, body in answers} == {f"/orders/{number}" for number in range(100)}
        assert get(f"{url}/orders/broken") == (502, b'{"detail": "orders: 503"}')
        [host] = json.loads(get(f"{url}/status/hosts.json")[1])["hosts"]
        assert host["names"] == ["orders"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "attempt.failed" in (folder / "server.log").read_text(), "events go to Django's logging"
    orders.server.wait_for_open(0)


# --- Celery

_FILESYSTEM = """
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
result_backend = "file://results"
"""

#: What a program that has work for the workers does; in a process of its own. It reads paths, a list in a line.
_CLIENT = """
import json, sys
from tasks import fetch
for line in sys.stdin:
    sent = [fetch.delay(path) for path in json.loads(line)]
    print(json.dumps([one.get(timeout=90, interval=0.05) for one in sent]), flush=True)
"""


@pytest.fixture
def celery(folder: Path, orders: Orders) -> Iterator[subprocess.Popen[bytes]]:
    for name in ("queue", "control", "results"):
        (folder / name).mkdir()
    results = f"file://{folder / 'results'}"
    (folder / "celeryconfig.py").write_text(_FILESYSTEM.replace("file://results", results))
    words = command_of("celery.md", "celery ")
    quietly = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    with running(folder, *words, *quietly, ORDERS=orders.server.url) as process:
        yield process


@contextlib.contextmanager
def asking(folder: Path) -> Iterator[Callable[[Sequence[str]], list[Any]]]:
    """A running client of the workers: what came of the paths."""
    pipe = subprocess.PIPE
    with (
        (folder / "client.log").open("wb") as said,
        subprocess.Popen([sys.executable, "-c", _CLIENT], cwd=folder, stdin=pipe, stdout=pipe, stderr=said) as client,
    ):
        assert client.stdin is not None
        assert client.stdout is not None

        def ask(paths: Sequence[str]) -> list[Any]:
            client.stdin.write(json.dumps(paths).encode() + b"\n")
            client.stdin.flush()
            line = client.stdout.readline()
            assert line, "".join((folder / name).read_text(errors="replace") for name in ("client.log", "server.log"))
            found: list[Any] = json.loads(line)
            return found

        yield ask


def test_celery_processes_have_a_manager_each_and_soft_time_limits_leave_it_well(
    celery: subprocess.Popen[bytes], folder: Path, orders: Orders
) -> None:
    paths = [f"/orders/{number}" for number in range(12)]
    late = ["/orders/slow"] * 4
    with asking(folder) as ask:
        assert ask(paths) == [{"path": path} for path in paths]
        assert ask(late) == [{"late": "/orders/slow"}] * 4
        orders.released.set()
        assert ask([*paths, *late]) == [{"path": path} for path in [*paths, *late]]
    lines = events(folder)
    finished = [line for line in lines if line["event"] == "request.finished"]
    assert len(finished) == 28
    cut = [line for line in lines if line["event"] == "request.failed"]
    assert [line["error"] for line in cut] == ["SoftTimeLimitExceeded"] * 4
    cut_attempts = [line for line in lines if line["event"] == "attempt.failed"]
    assert {line["error"] for line in cut_attempts} <= {"SoftTimeLimitExceeded"}
    told = {line["event"] for line in lines} - {"request.finished", "request.failed", "attempt.failed"}
    assert told == {"connection.hooked"}, "no retry, and no circuit: the host is not blamed"
    assert len({line["pid"] for line in finished}) > 1
    celery.send_signal(signal.SIGTERM)
    assert celery.wait(60) == 0


# --- Kubernetes


def test_a_pod_may_end_its_calls_and_is_ready_whatever_other_hosts_do() -> None:
    [deployment] = yaml.safe_load_all(FILES["deployment.yaml"])
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [_, wait] = container["lifecycle"]["preStop"]["exec"]["command"]
    total = Policy().timeout.total
    graceful = float(container["args"][container["args"].index("--timeout-graceful-shutdown") + 1])
    assert graceful >= total
    assert pod["terminationGracePeriodSeconds"] >= int(wait) + graceful
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    ready = container["readinessProbe"]["httpGet"]
    assert ready["path"] == "/ready", "the route whose test above is answered while a circuit is open"
    [port] = container["ports"]
    assert ready["port"] == port["name"]
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert container["args"][container["args"].index("--port") + 1] == str(port["containerPort"])
    alive = container["livenessProbe"]
    assert alive["httpGet"] == container["readinessProbe"]["httpGet"]
    assert alive["periodSeconds"] * alive["failureThreshold"] > total, "a pod that only waits is not restarted"
    assert container["args"][:2] == ["uvicorn", "api:app"]


def test_the_servers_wait_for_longer_than_a_call_may_take() -> None:
    values: dict[str, Any] = {}
    total = Policy().timeout.total
    for recipe in ("gunicorn.md", "django.md"):
        exec(files_of(recipe)["gunicorn_conf.py"], values)
        assert values["graceful_timeout"] > total
        assert values["timeout"] > total
    for program in ("api", "api_threads"):
        assert int(command_of("fastapi.md", f"uvicorn {program}:")[-1]) > total
