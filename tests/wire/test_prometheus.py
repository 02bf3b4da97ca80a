"""A real Prometheus scrapes a service under load, and is asked; the rules and the dashboard that we ship are tried."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import prometheus_client
import pytest
import yaml
from servers import FaultServer, reply
from servers.prometheus_server import Prometheus, run_prometheus

from sleepwalker import (
    ANONYMOUS,
    BulkheadFullError,
    CircuitOpenError,
    Connection,
    ConnectionManager,
    HostIsolatedError,
    Policy,
    RateLimitedError,
    SleepwalkerException,
)
from sleepwalker.prometheus import Collector
from sleepwalker.status.runbook import Kind

pytestmark = pytest.mark.once

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations"
RULES = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())["groups"][0]["rules"]
RULE_TESTS = yaml.safe_load((OPERATIONS / "alerts_test.yml").read_text())["tests"]
DASHBOARD = json.loads((OPERATIONS / "dashboard.json").read_text())
PANELS = [inner for panel in DASHBOARD["panels"] for inner in (panel["panels"] if panel["type"] == "row" else [panel])]

REJECTIONS = (BulkheadFullError, CircuitOpenError, HostIsolatedError, RateLimitedError)
#: Where the rules say that the runbook is, until a user writes another address there.
RUNBOOK = "https://runbooks.example.com/sleepwalker/runbook.md"
#: How long the service is under load, in seconds.
LOAD = 2.0


@dataclass
class Scene:
    """What the service did, by its own count, and the Prometheus that watched it."""

    prometheus: Prometheus
    collector: Collector
    outcomes: Counter[str]
    hosts: dict[str, str]
    """Origins by what their servers are like."""

    at: float
    """A moment at which Prometheus knew all of it."""

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        return self.prometheus.query(expression, self.at)


class Service:
    """A service that talks to hosts of all kinds."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        def server(**options: Any) -> str:
            return stack.enter_context(FaultServer(**options)).url

        numbers = itertools.count()
        self.hosts = {
            "good": server(default=reply(200, delay=0.03)),
            "flaky": server(default=lambda exchange: reply(503 if next(numbers) % 4 == 0 else 200)),
            "down": server(default=reply(503)),
            "isolated": server(),
            "full": server(default=reply(200, delay=0.03)),
            "limited": server(),
            "dry": server(default=reply(500)),
            "busy": server(default=reply(503, headers={"Retry-After": "60"})),
        }
        quick = Policy(retry={"wait_initial": 0.01, "wait_max": 0.01})
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.manager = ConnectionManager(policy=quick, fleet=f"file://{folder}/shop.fleet")
        stack.callback(self.manager.close)
        managed = ("good", "flaky", "down", "isolated")
        policies = {
            **dict.fromkeys(managed, quick),
            "full": Policy(bulkhead={"max_concurrent": 1}),
            "limited": Policy(rate_limit={"rate": 5, "burst": 1, "max_wait": 0.01}),
            "dry": Policy(breaker={"mode": "observe"}),
            "busy": Policy(retry={"after_binds": "host"}),
        }
        self.conns = {name: Connection(self.hosts[name], ANONYMOUS, policy=p) for name, p in policies.items()}
        for name in managed:
            self.manager.add(self.hosts[name], ANONYMOUS, self.conns[name])
        self.collector = Collector(self.manager, *self.conns.values())
        self.outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()

    def call(self, name: str, method: str = "GET") -> None:
        try:
            self.conns[name].request(method, "/path?query=1")
            outcome = "answered"
        except REJECTIONS:
            outcome = "rejected"
        except SleepwalkerException:
            outcome = "failed"
        with self._lock:
            self.outcomes[outcome] += 1

    def work(self, seconds: float) -> None:
        """Call them all, from several threads at once."""
        self.call("isolated")
        self.manager.isolate(self.hosts["isolated"])

        def loop(*names: str) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for name in names:
                    self.call(name, "POST" if name == "down" else "GET")
                time.sleep(0.01)

        threads = [
            threading.Thread(target=loop, args=names)
            for names in (("good",), ("full",), ("full",), ("flaky", "down", "limited", "dry", "busy", "isolated"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], Path]) -> Iterator[Scene]:
    path = program("prometheus")
    with contextlib.ExitStack() as stack:
        service = Service(stack)
        registry = prometheus_client.CollectorRegistry()
        registry.register(service.collector)
        exporter, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
        stack.callback(thread.join, 10)
        stack.callback(exporter.server_close)
        stack.callback(exporter.shutdown)
        prometheus = stack.enter_context(
            run_prometheus(
                tmp_path_factory.mktemp("prometheus"),
                f"127.0.0.1:{exporter.server_port}",
                OPERATIONS / "alerts.yml",
                path,
            )
        )
        prometheus.wait_for(lambda: prometheus.query("up") == {(f"127.0.0.1:{exporter.server_port}", "shop"): 1}, "up")
        service.work(LOAD)
        total = sum(service.outcomes.values())
        moments: list[float] = []

        def knows_all() -> bool:
            moments.append(time.time())
            return prometheus.query("sum(sleepwalker_calls_total)", moments[-1]) == {(): total}

        prometheus.wait_for(knows_all, f"{total} calls")
        yield Scene(prometheus, service.collector, service.outcomes, service.hosts, moments[-1])


# --- what Prometheus knows


def test_it_counts_what_the_service_counted(scene: Scene) -> None:
    counts = scene.query("sum by (outcome) (sleepwalker_calls_total)")
    assert counts == {(end,): scene.outcomes[end] for end in ("answered", "failed", "rejected", "cancelled")}
    assert min(scene.outcomes[end] for end in ("answered", "failed", "rejected")) > 0
    by = scene.query("sum by (by) (sleepwalker_rejections_total) > 0")
    assert {word for (word,) in by} == {"breaker", "bulkhead", "cooldown", "rate_limit", "isolation"}


def test_a_rate_over_time_is_what_the_load_was(scene: Scene) -> None:
    answered = scene.query('sum(increase(sleepwalker_calls_total{outcome="answered"}[1m]))')[()]
    assert answered == pytest.approx(scene.outcomes["answered"], rel=0.2)


def test_the_quantiles_of_a_histogram_are_what_the_server_takes(scene: Scene) -> None:
    good = f'{{host="{scene.hosts["good"]}"}}'
    for metric in ("sleepwalker_call_duration_seconds", "sleepwalker_attempt_duration_seconds"):
        for share in (0.01, 0.5):
            found = scene.query(f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{good}[1m])))")
            assert 0.025 <= found[()] <= 0.25  # 0.03 s, and this machine
        [mean] = scene.query(f"{metric}_sum{good} / {metric}_count").values()
        assert 0.03 <= mean <= 0.25


def test_it_says_which_hosts_are_in_trouble(scene: Scene) -> None:
    states = scene.query("sum by (host, state) (sleepwalker_host_state) == 1")
    by_host = dict(states.keys())
    assert {name: by_host[host] for name, host in scene.hosts.items() if name in ("good", "isolated")} == {
        "good": "healthy",
        "isolated": "isolated",
    }
    assert by_host[scene.hosts["down"]] in ("broken", "degraded"), "its circuit may be half-open by now"
    opened = scene.query('sum by (host, mode) (sleepwalker_breaker_transitions_total{to="open"}) > 0')
    assert set(opened) == {(scene.hosts["down"], "enforce"), (scene.hosts["dry"], "observe")}


def test_series_are_of_few_labels_and_none_has_a_path_or_a_query(scene: Scene) -> None:
    series = scene.prometheus.ask("series", **{"match[]": '{__name__=~"sleepwalker_.+"}'})
    assert {name for one in series for name in one} == {
        *("__name__", "instance", "job"),
        *("host", "name", "outcome", "reason", "by", "to", "mode", "state", "le", "quantile", "service"),
    }
    of_fleets = [one for one in series if one["__name__"].startswith("sleepwalker_fleet_")]
    assert [("host" in one, one["service"]) for one in of_fleets] == [(False, "default")] * 2
    assert {one["host"] for one in series if one not in of_fleets} == set(scene.hosts.values())
    assert "path" not in json.dumps(series)
    assert len(series) < 100 * len(scene.hosts)


# --- the rules


@pytest.mark.left_to_ci
@pytest.mark.needs("promtool")
def test_the_rules_hold_in_their_unit_tests(program: Callable[[str], Path]) -> None:
    environment = {**os.environ, "GOGC": "800", "GOMAXPROCS": "1"}  # its collector takes a quarter of its time
    for arguments in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        command = [program("promtool"), *arguments]
        run = subprocess.run(command, cwd=OPERATIONS, env=environment, capture_output=True, text=True)
        assert (run.returncode, "SUCCESS" in run.stdout) == (0, True), run.stdout + run.stderr


@pytest.mark.parametrize("name", [rule["alert"] for rule in RULES])
def test_every_alert_is_tried_firing_and_silent_and_says_what_to_do(name: str) -> None:
    tried = [case["exp_alerts"] for test in RULE_TESTS for case in test["alert_rule_test"] if case["alertname"] == name]
    assert any(alerts for alerts in tried)
    assert [] in tried
    [rule] = [rule for rule in RULES if rule["alert"] == name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    address, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert address == RUNBOOK
    assert f"`{name}`" in sections()[anchor], "and the section says that it is about this alert"
    assert f"| [{name}](runbook.md#{anchor}) |" in (OPERATIONS / "README.md").read_text()


def sections() -> dict[str, str]:
    """The sections of the runbook by each of their anchors: that of the heading, and those that are written out."""
    found: dict[str, str] = {}
    for part in (OPERATIONS / "runbook.md").read_text().split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        anchors = [heading.lower().replace(" ", "-"), *re.findall(r'<a id="([^"]+)"></a>', text)]
        assert not found.keys() & set(anchors)
        found.update(dict.fromkeys(anchors, text))
    return found


#: What alerts, the status page and `inspect` link to: people keep such links in tickets and wikis.
ANCHORS = {
    *("broken", "total", "degraded", "partial", "slow", "retried", "budget", "flapping", "limited", "bulkhead"),
    *("rate-limit", "isolated", "hooks", "moved", "together", "labels", "alone", "dry-run"),
}


def test_the_anchors_of_the_runbook_stay() -> None:
    alerts = {rule["alert"].lower() for rule in RULES}
    assert sections().keys() == {*ANCHORS, *alerts, "the-first-minute"}
    for rule in RULES:
        anchor = rule["annotations"]["runbook_url"].partition("#")[2]
        assert sections()[rule["alert"].lower()] == sections()[anchor]


def test_each_kind_of_trouble_that_the_status_page_tells_apart_has_a_section() -> None:
    assert set(get_args(Kind)) <= ANCHORS


@pytest.mark.parametrize("anchor", sorted(ANCHORS))
def test_each_section_says_how_to_see_the_trouble_and_what_to_do_now(anchor: str) -> None:
    text = sections()[anchor]
    assert "**Do now.**" in text
    assert "```" in text or "The status page says" in text, "how to see it: a query, or a command"


@pytest.mark.needs("promtool")
def test_one_command_puts_the_address_of_a_users_runbook_in(tmp_path: Path) -> None:
    """Into the rules and into their tests alike, so these hold as they do with ours."""
    for name in ("alerts.yml", "alerts_test.yml"):
        (tmp_path / name).write_bytes((OPERATIONS / name).read_bytes())
    [command] = re.findall(r"^   \$ (sed .*)$", (OPERATIONS / "README.md").read_text(), re.MULTILINE)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    theirs = "https://wiki.example.net/hosts/runbook.md#"
    for name in ("alerts.yml", "alerts_test.yml"):
        text, ours = (tmp_path / name).read_text(), (OPERATIONS / name).read_text()
        assert yaml.safe_load(text) == yaml.safe_load(ours.replace(f"{RUNBOOK}#", theirs))
        assert RUNBOOK not in text.partition("\ngroups:" if name == "alerts.yml" else "\ntests:")[2]
    assert (tmp_path / "alerts.yml").read_text().count(theirs) == len(RULES)


def queries_of_the_runbook() -> list[str]:
    """Each query in it, for the one service of this test and any host."""
    blocks = re.findall(r"```text\n(.*?)```", (OPERATIONS / "runbook.md").read_text(), re.DOTALL)
    lines = [re.sub(r"\n *(?=[/+*-] )", " ", block).replace("JOB", "shop") for block in blocks]
    return [
        re.sub(r'host="HOST"', 'host=~".+"', line.strip())
        for block in lines
        for line in block.splitlines()
        if line.strip()
    ]


@pytest.mark.parametrize("number", range(len(queries_of_the_runbook())))
def test_every_query_of_the_runbook_has_an_answer(scene: Scene, number: int) -> None:
    query = queries_of_the_runbook()[number]
    found = scene.prometheus.ask("query", query=query, time=str(scene.at))["result"]
    # Nothing is `other` here, and no retry of this load was forbidden by anything.
    assert found or '"other"' in query, query


def test_prometheus_takes_the_rules_and_raises_them(scene: Scene) -> None:
    scene.prometheus.wait_for(
        lambda: all(r["health"] == "ok" for g in scene.prometheus.ask("rules")["groups"] for r in g["rules"]),
        "all rules evaluated",
    )

    def pending() -> set[tuple[str, str]]:
        alerts = [alert["labels"] for alert in scene.prometheus.ask("alerts")["alerts"]]
        return {(labels["alertname"], labels["host"]) for labels in alerts}

    hosts = scene.hosts
    expected = {
        ("SleepwalkerHostBroken", hosts["down"]),
        ("SleepwalkerBulkheadFull", hosts["full"]),
        ("SleepwalkerRateLimited", hosts["limited"]),
        ("SleepwalkerHostStillIsolated", hosts["isolated"]),
    }
    scene.prometheus.wait_for(lambda: pending() >= expected, f"{expected}, but {pending()}")
    assert not {name for name, host in pending() if host == hosts["good"]}


# --- the dashboard


def expressions() -> list[str]:
    """Every query of the dashboard, as Grafana would fill it in."""
    written = [target["expr"] for panel in PANELS for target in panel["targets"]]
    written += [note["expr"] for note in DASHBOARD["annotations"]["list"]]
    filled = [re.sub(r"\$(job|name|host)\b", ".+", text.replace("$__rate_interval", "1m")) for text in written]
    assert not [text for text in filled if "$" in text]
    return filled


def names(expression: str) -> set[str]:
    """The metrics that a query names: words that are no functions, labels, or words of the language."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    words = re.findall(r"(?<![\w:])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", bare)
    return set(words) - {"and", "or", "unless", "offset", "bool"}


def test_the_names_in_a_query_are_found() -> None:
    assert names('sum by (a, b) (rate(x_total{y="z (q)"}[5m])) / on (c) max_over_time(w[1m]) > 3 * v offset 1h') == {
        "x_total",
        "w",
        "v",
    }


def test_every_metric_that_the_rules_and_the_dashboard_name_is_exported(scene: Scene) -> None:
    exported = {sample.name for family in scene.collector.collect() for sample in family.samples}
    used = set().union(*(names(text) for text in [*expressions(), *(rule["expr"] for rule in RULES)]))
    assert used - exported == set()
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exported}
    assert {re.sub(r"_(total|bucket)$", "", name) for name in used} == families, "and nothing is left out of them"
    variables = [v["query"]["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    assert {name for text in variables for name in re.findall(r"sleepwalker_\w+", text)} <= exported


@pytest.mark.parametrize("number", range(len(expressions())))
def test_every_query_of_the_dashboard_has_an_answer(scene: Scene, number: int) -> None:
    assert scene.query(expressions()[number])
