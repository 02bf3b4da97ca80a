"""Host records to metrics: each value, bounded labels, and counters that never go back."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sleepwalker import ANONYMOUS, Connection, ConnectionManager
from sleepwalker.engine import Host
from sleepwalker.engine.host.counters import BOUNDS
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.fleet import Fleet
from sleepwalker.policy import Policy
from sleepwalker.prometheus import Collector
from sleepwalker.telemetry.counted import CountedFleet, CountedHost
from sleepwalker.telemetry.metrics import FAMILIES, OTHER, HostMetrics, read_fleets
from tests.unit.engine_driver import HOST, FakeClock, World, answer, bearer, refused
from tests.unit.manager_driver import A, B, Bed

ROOT = Path(__file__).parents[2]

Values = dict[tuple[str, ...], float]


def read(metrics: HostMetrics, *hosts: Host, name: str = "sleepwalker_attempts") -> Values:
    """One family's values by labels."""
    found = dict(metrics.read([CountedHost(host, 1, None) for host in hosts]))
    [points] = [points for family, points in found.items() if family.name == name]
    assert len({point.labels for point in points}) == len(points), "no series comes twice"
    assert all(host == name for host, name, *_ in (point.labels for point in points)), "`find` was asked for none"
    return {(host, *rest): point.value for host, _, *rest, point in ((*point.labels, point) for point in points)}


def everything(*sources: Any, **options: Any) -> Values:
    """What a scrape of these sources gives, by name and labels in the order of their names."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(Collector(*sources, **options))
    return parsed(registry)


def parsed(registry: prometheus_client.CollectorRegistry) -> Values:
    text = prometheus_client.generate_latest(registry).decode()
    values: Values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sorted(sample.labels.items())
            key = (sample.name, *(value for label, value in labels if label != "name"))
            assert key not in values
            values[key] = sample.value
    return values


def host(name: str, attempts: int = 1, policy: Policy | None = None) -> Host:
    clock = FakeClock()
    made = Host(name, Policy() if policy is None else policy, clock)
    for _ in range(attempts):
        call = Holdings()
        made.admission.enter(call, bulkhead=True)
        permit, _ = made.admission.admit(bearer(), clock.now, 1.0)
        made.outcomes.settle(permit, answer(200), clock.now, 0.02, first=True)  # type: ignore[arg-type]
        made.admission.leave(call, "answered", 0.02, 0.0, sent=True)
    return made


# --- values


def test_calls_by_outcome_attempts_retries_and_rejections() -> None:
    world = World(Policy(retry={"attempts": 2}, breaker={"consecutive_for": 0, "consecutive": 3}))
    world.call([answer(503), answer(200)])
    world.call(refused())
    world.call(answer(500), "POST")
    world.call([])  # rejected
    metrics = HostMetrics(10, None)
    calls = read(metrics, world.host, name="sleepwalker_calls")
    assert calls == {
        (HOST, "answered"): 1,
        (HOST, "failed"): 2,
        (HOST, "rejected"): 1,
        (HOST, "cancelled"): 0,
    }
    assert read(metrics, world.host) == {(HOST,): 5}
    assert read(metrics, world.host, name="sleepwalker_failed_attempts") == {(HOST,): 4}
    assert read(metrics, world.host, name="sleepwalker_retries") == {(HOST,): 2}
    rejections = read(metrics, world.host, name="sleepwalker_rejections")
    words = ("breaker", "bulkhead", "cooldown", "isolation", "rate_limit")
    assert rejections == {(HOST, by): by == "breaker" for by in words}
    assert read(metrics, world.host, name="sleepwalker_breaker_transitions") == {
        (HOST, to, mode): (to, mode) == ("open", "enforce")
        for to in ("open", "half-open", "closed")
        for mode in ("enforce", "observe")
    }


def test_states_are_one_series_each_of_which_one_is_1() -> None:
    world = World()
    metrics = HostMetrics(10, None)
    world.trip()
    broken = read(metrics, world.host, name="sleepwalker_host_state")
    assert {labels[1]: value for labels, value in broken.items()} == {
        "unknown": 0,
        "healthy": 0,
        "degraded": 0,
        "broken": 1,
        "isolated": 0,
    }
    circuit = read(metrics, world.host, name="sleepwalker_breaker_state")
    assert {labels[1]: value for labels, value in circuit.items()} == {"closed": 0, "open": 1, "half-open": 0}
    world.clock.advance(100)
    circuit = read(metrics, world.host, name="sleepwalker_breaker_state")
    assert circuit[HOST, "half-open"] == 1, "as of now, although there was no call since"


def test_gauges_tell_who_is_there_who_waits_and_what_the_limits_are() -> None:
    world = World(Policy(bulkhead={"max_concurrent": 1, "max_wait": 2}, rate_limit={"rate": 50, "burst": 10}))
    first, second = world.begin(), world.begin()
    metrics = HostMetrics(10, None)
    for name, value in (("in_flight", 1), ("queued", 1), ("max_in_flight", 1), ("rate_limit", 50), ("connections", 1)):
        assert read(metrics, world.host, name=f"sleepwalker_{name}") == {(HOST,): value}
    first.close()
    second.close()
    world.host.reconfigure(world.policy.replace(bulkhead=None, rate_limit=None))
    assert read(metrics, world.host, name="sleepwalker_max_in_flight") == {}
    assert read(metrics, world.host, name="sleepwalker_rate_limit") == {}


def test_a_calls_histogram_is_cumulative_and_ends_with_all_of_them() -> None:
    world = World()
    for took in (0.002, 0.3, 0.3, 9.0):
        world.call(answer(200), took=took)
    found = dict(HostMetrics(10, None).read([CountedHost(world.host, 1, None)]))
    [point] = next(points for family, points in found.items() if family.name == "sleepwalker_call_duration_seconds")
    by_bound = dict(point.buckets)
    assert [by_bound[bound] for bound in (0.0025, 0.25, 0.5, 5.0, 10.0, float("inf"))] == [1, 1, 3, 3, 4, 4]
    assert point.value == pytest.approx(9.602)
    assert len(point.buckets) == len(BOUNDS) + 1


# --- labels


def test_hosts_past_the_cap_share_one_label_and_keep_it() -> None:
    metrics = HostMetrics(2, None)
    early = [host("https://a", 3), host("https://b", 2)]
    late = [host("https://c", 5), host("https://d", 7)]
    assert read(metrics, *early) == {("https://a",): 3, ("https://b",): 2}
    assert read(metrics, *early, *late) == {("https://a",): 3, ("https://b",): 2, (OTHER,): 12}
    assert read(metrics, *late) == {("https://a",): 3, ("https://b",): 2, (OTHER,): 12}
    states = read(metrics, *early, *late, name="sleepwalker_host_state")
    assert states[OTHER, "healthy"] == 2
    assert states["https://a", "healthy"] == 1


def test_of_many_that_come_at_once_the_busiest_have_labels_of_their_own() -> None:
    hosts = [host(f"https://{number}", number) for number in range(1, 6)]
    assert read(HostMetrics(2, None), *hosts) == {("https://5",): 5, ("https://4",): 4, (OTHER,): 6}


def test_scopes_take_half_of_the_labels_and_later_ones_share_that_of_their_host() -> None:
    """A tenant each has a scope: that must not cost the hosts that come later their labels."""
    metrics = HostMetrics(4, None)
    tenants = [host(f"https://a#{number}", 10 - number) for number in range(5)]
    assert read(metrics, *tenants) == {("https://a#0",): 10, ("https://a#1",): 9, ("https://a",): 21}
    late = [host("https://b", 1), host("https://c", 1)]
    counts = {("https://a#0",): 10, ("https://a#1",): 9, ("https://a",): 22, ("https://b",): 1, (OTHER,): 1}
    assert read(metrics, *tenants, host("https://a", 1), *late) == counts
    assert read(metrics, host("https://c#1", 5))[OTHER,] == 6
    assert read(HostMetrics(1, None), host("https://a#1", 2)) == {("https://a",): 2}


def test_an_unused_record_takes_no_label() -> None:
    metrics = HostMetrics(1, None)
    assert dict(metrics.read([CountedHost(host("https://idle", 0), 0, None)]))[FAMILIES[0]] == []
    assert read(metrics, host("https://busy")) == {("https://busy",): 1}


def test_a_record_that_is_gone_leaves_its_counts_and_takes_its_states_along() -> None:
    metrics = HostMetrics(1, None)
    kept, gone = host("https://kept", 5), host("https://gone", 2)
    read(metrics, kept, gone)
    gone.counters.attempts += 1  # after the last scrape that saw it
    del gone
    gc.collect()
    for _ in range(2):
        assert read(metrics, kept) == {("https://kept",): 5, (OTHER,): 3}
    assert sum(read(metrics, kept, name="sleepwalker_host_state").values()) == 1
    again = host("https://gone", 4)
    assert read(metrics, kept, again) == {("https://kept",): 5, (OTHER,): 7}
    assert len(metrics._live) == 2


def test_no_counter_ever_goes_back_whatever_hosts_come_and_go() -> None:
    metrics, alive, before = HostMetrics(3, None), [], {}
    for number in range(40):
        alive.append(host(f"https://{number % 7}", number % 5))
        if number % 3 == 0:
            alive.pop(number % len(alive))
        now = read(metrics, *alive)
        assert all(now[labels] >= value for labels, value in before.items())
        assert len(now) <= 4
        before = now


def test_a_label_of_ones_own_adds_hosts_up() -> None:
    metrics = HostMetrics(10, lambda origin: origin.rpartition("-")[0])
    replicas = [host(f"https://api-{number}", number) for number in (1, 2)]
    assert read(metrics, *replicas, host("https://db-1", 4)) == {("https://api",): 3, ("https://db",): 4}
    assert read(metrics, *replicas, name="sleepwalker_max_in_flight")[("https://api",)] == 2000


def test_a_label_of_ones_own_has_no_name_of_one_of_its_hosts() -> None:
    metrics = HostMetrics(10, lambda origin: origin.rpartition("-")[0])
    records = [CountedHost(host(f"https://api-{name}", 1), 1, name) for name in ("first", "second")]
    found = dict(metrics.read(records))
    assert [point.labels for point in found[FAMILIES[1]]] == [("https://api", "https://api")]


@pytest.mark.parametrize("label", [lambda origin: 1 / 0, lambda origin: None, lambda origin: 7])
def test_a_label_function_that_fails_hides_no_host(label: Any) -> None:
    assert read(HostMetrics(10, label), host("https://a")) == {(OTHER,): 1}


# --- sources


def test_a_manager_gives_all_its_hosts_and_their_connections() -> None:
    bed = Bed()
    bed.manager.find(A)
    bed.manager.find(A, ("user", "word"))
    bed.answers(A)
    bed.manager.find(B)
    values = everything(bed.manager)
    assert values["sleepwalker_connections", A] == 2
    assert values["sleepwalker_connections", B] == 1
    assert values["sleepwalker_attempts_total", A] == 1


def test_what_a_connection_counted_before_a_manager_took_it_stays() -> None:
    bed = Bed()
    conn = bed.conn(A)
    collector = Collector(conn)
    registry = prometheus_client.CollectorRegistry()
    registry.register(collector)
    conn._record.counters.attempts += 3
    assert parsed(registry)["sleepwalker_attempts_total", A] == 3
    bed.manager.add(A, ANONYMOUS, conn)
    collector.add(bed.manager)
    bed.answers(A)
    values = parsed(registry)
    assert values["sleepwalker_attempts_total", A] == 4, "and the host behind both counts once"
    assert values["sleepwalker_connections", A] == 1
    assert values["sleepwalker_host_state", A, "healthy"] == 1


def test_metrics_survive_eviction_reset_reload_and_close() -> None:
    bed = Bed()
    for change in (
        lambda: bed.manager.evict(A),
        bed.manager.reset,
        lambda: bed.manager.reload(Policy(breaker=None, health={"window": 5})),
        bed.manager.close,
    ):
        conn = bed.manager.find(A)
        bed.answers(A)
        bed.record(A).counters.calls += 1
        del conn
        before = everything(bed.manager)
        change()
        gc.collect()
        after = everything(bed.manager)
        grows = [key for key in before if key[0].endswith(("_total", "_bucket", "_sum", "_count"))]
        assert {key: after[key] for key in grows} == {key: before[key] for key in grows}
    assert after["sleepwalker_attempts_total", A] == 4


def test_a_closed_connection_is_held_no_more() -> None:
    conn = Connection(A, ANONYMOUS, clock=FakeClock())
    conn._record.counters.calls += 1
    assert everything(conn)["sleepwalker_connections", A] == 1
    conn.close()
    assert everything(conn)["sleepwalker_connections", A] == 0


def test_managers_say_whether_they_hear_the_others_of_their_service(tmp_path: Path) -> None:
    with (
        ConnectionManager(fleet=f"file://{tmp_path}/x.fleet") as there,
        ConnectionManager(fleet=Fleet(f"file://{tmp_path}/not/there.fleet", service="billing")) as alone,
        ConnectionManager() as without,
    ):
        end = time.monotonic() + 30
        while not (there.fleet and there.fleet.joined):
            assert time.monotonic() < end
            time.sleep(0.01)
        values = everything(there, alone, without)
        found = {key: value for key, value in values.items() if key[0].startswith("sleepwalker_fleet")}
        assert found == {
            ("sleepwalker_fleet_joined", "billing"): 0,
            ("sleepwalker_fleet_joined", "default"): 1,
            ("sleepwalker_fleet_workers", "billing"): 0,
            ("sleepwalker_fleet_workers", "default"): 1,
        }
    assert not [key for key in everything(there, without) if key[0].startswith("sleepwalker_fleet")]


def test_of_several_workers_in_one_process_all_must_have_joined() -> None:
    fleets = [CountedFleet("billing", joined, workers) for joined, workers in ((True, 3), (False, 0), (True, 4))]
    joined, workers = (points for _, points in read_fleets(fleets))
    assert [(point.labels, point.value) for point in (*joined, *workers)] == [(("billing",), 0), (("billing",), 4)]


def test_registering_reads_no_host_and_names_every_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConnectionManager, "_records", lambda manager: pytest.fail("it was read"))
    registry = prometheus_client.CollectorRegistry()
    registry.register(Collector(ConnectionManager()))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector(ConnectionManager()))


def test_every_name_label_and_kind_is_one_that_prometheus_takes() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"sleepwalker_[a-z_]+", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert "host" not in family.labels
        assert family.kind != "histogram" or family.name.endswith("_seconds")


def test_the_child_of_a_fork_can_be_scraped_though_the_parent_was_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that another thread of the parent held stays locked in the child."""
    metrics = HostMetrics(1, None)
    first = host("https://a")
    read(metrics, first)
    metrics._lock.acquire()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    found: list[Values] = []
    scrape = threading.Thread(target=lambda: found.append(read(metrics, first, host("https://b"))), daemon=True)
    scrape.start()
    scrape.join(5)
    assert found == [{("https://a",): 1, (OTHER,): 1}]


def names(metrics: HostMetrics, *records: tuple[Host, int, str | None]) -> dict[str, str]:
    """The name that stands beside each host in all of its series."""
    found = {point.labels[:2] for _, points in metrics.read(CountedHost(*one) for one in records) for point in points}
    assert len(dict(found)) == len(found), "a host has one"
    return dict(found)


def test_a_host_bears_the_name_that_it_was_found_by_and_else_its_origin() -> None:
    metrics = HostMetrics(10, None)
    one, other, scope = host("https://a"), host("https://b"), host("https://a#reports")
    found = names(metrics, (one, 1, "billing"), (other, 1, None), (scope, 0, "billing"))
    assert found == {"https://a": "billing", "https://b": "https://b", "https://a#reports": "billing#reports"}


def test_a_host_keeps_its_name_so_that_no_series_ends_or_begins_anew() -> None:
    metrics, one = HostMetrics(10, None), host("https://a")
    assert names(metrics, (one, 1, "billing")) == names(metrics, (one, 1, "invoices")) == {"https://a": "billing"}


def test_hosts_past_the_most_have_no_name_of_their_own() -> None:
    records = [(host(f"https://{number}", number), 1, f"service-{number}") for number in (3, 2, 1)]
    assert names(HostMetrics(2, None), *records) == {
        "https://3": "service-3",
        "https://2": "service-2",
        OTHER: OTHER,
    }


def test_a_manager_says_what_find_was_asked_for() -> None:
    bed = Bed()
    bed.manager.add("https://plain.test", None, Connection("https://plain.test", ANONYMOUS))
    bed.manager.add("billing", None, Connection("https://a.test", ANONYMOUS))
    assert {one.origin: name for one, _, name in bed.manager._records()} == {
        "https://plain.test": None,
        "https://a.test": "billing",
    }


def test_the_percentiles_of_a_host_are_those_of_its_health_and_of_all_others_there_are_none() -> None:
    metrics, slow, quick = HostMetrics(1, None), host("https://slow", 3), host("https://quick", 2)
    assert read(metrics, slow, quick, name="sleepwalker_latency_seconds") == {
        ("https://slow", quantile): pytest.approx(0.02, rel=0.03) for quantile in ("0.5", "0.95", "0.99")
    }


def test_scrapes_at_the_same_time_agree() -> None:
    collector = Collector(*(Connection(f"https://h{number}.test", ANONYMOUS) for number in range(50)), max_hosts=10)
    for source in collector._sources:
        source._records()[0].host.counters.attempts += 2
    totals: list[float] = []

    def scrape() -> None:
        [family] = [family for family in collector.collect() if family.name == "sleepwalker_attempts"]
        totals.append(sum(sample.value for sample in family.samples))

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert totals == [100] * 8


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        (("https://a",), {}, TypeError, "source must be a Connection or a ConnectionManager, not str"),
        ((), {"max_hosts": 0}, ValueError, "max_hosts must be a positive number, not 0"),
        ((), {"max_hosts": True}, ValueError, "max_hosts must be a positive number, not True"),
        ((), {"label": "host"}, TypeError, "label must be callable with an origin, not str"),
    ],
)
def test_arguments_that_cannot_be_are_named(arguments: Any, options: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Collector(*arguments, **options)
    if arguments:
        with pytest.raises(error, match=says):
            Collector().add(*arguments)


def test_without_the_library_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import sleepwalker.prometheus"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: sleepwalker.prometheus needs the package prometheus-client: "
        "pip install 'sleepwalker[prometheus]'"
    )
