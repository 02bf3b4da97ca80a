"""The outage benchmark in small: its load keeps the clock, its books balance, and its pages say what was measured."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers import TooLate, timing_test

from benchmarks.outage import command, figures
from benchmarks.outage.clients import CLIENTS
from benchmarks.outage.figures import Run
from benchmarks.outage.load import OK, UNENDED, offer, work
from benchmarks.outage.report import BLOCKS, fill
from benchmarks.outage.scenario import Phase, Scenario, from_dict, varied
from benchmarks.outage.scenarios import (
    ALL,
    BATCH,
    ERRORS,
    HANG,
    INTERLOCK,
    MACHINES,
    OUTAGE,
    OUTAGES,
    PARTIAL,
    PEERS,
    RETRY,
    TAIL,
    quick,
)
from benchmarks.outage.server import UNANSWERED, Plan
from benchmarks.outage.targets import TARGETS

pytestmark = pytest.mark.left_to_ci

NO_BREAKER = "sleepwalker, without its breaker"
HEDGING = "sleepwalker, hedging"
SMALL = replace(OUTAGE, rate=40, phases=(Phase(0.5), Phase(1, "503"), Phase(1)))
Runs = Mapping[str, Run]


def _measured(*jobs: tuple[Scenario, str]) -> dict[str, dict[str, Run]]:
    """The runs as they are read back from a file."""
    return {
        name: {client: several[0] for client, several in clients.items()}
        for name, clients in _all_measured(*jobs).items()
    }


def _all_measured(*jobs: tuple[Scenario, str], lanes: int = 3) -> dict[str, dict[str, list[Run]]]:
    scenarios = {}
    for scenario, _ in jobs:
        clients = tuple(client for other, client in jobs if other.name == scenario.name)
        scenarios[scenario.name] = replace(scenario, clients=clients).to_dict()
    wanted = json.dumps([lanes, [(scenario.to_dict(), client) for scenario, client in jobs]])
    forking = [sys.executable, "tests/wire/forking.py", "outages", wanted]
    done = json.loads(subprocess.run(forking, cwd=command.ROOT, stdout=subprocess.PIPE, check=True, timeout=240).stdout)
    return figures.repeated(json.loads(json.dumps({"scenarios": list(scenarios.values()), "runs": done})))


#: Seconds that a call of each takes at most, waits between attempts included, where the machine does not stand still.
LONGEST = {"requests": 0.5, RETRY: 0.45, NO_BREAKER: 0.45, HEDGING: 0.4}


@timing_test
def _small() -> dict[str, dict[str, Run]]:
    tail = replace(TAIL, rate=50, phases=(Phase(2),), slow_share=0.1)
    runs = _measured((SMALL, "requests"), (SMALL, RETRY), (SMALL, NO_BREAKER), (tail, HEDGING))
    for run in (run for clients in runs.values() for run in clients.values()):
        if max(run.durations) > LONGEST[run.client]:
            raise TooLate(f"a call of {run.client} took {max(run.durations):.3f} s")
    return runs


@pytest.fixture(scope="module")
def small() -> dict[str, dict[str, Run]]:
    """A second of 503 for three clients, and a slow tail with hedging, over real sockets."""
    return _small()


def _calls(run: Run, *, within: bool) -> set[int]:
    """Those that the outage lasted for from their begin to their end, or (not `within`) for any part of that.

    A call that the machine holds up reaches the server later than it was due, and so maybe in another phase.
    """
    begin, end = SMALL.fault
    times = [(number / SMALL.rate, number / SMALL.rate + took) for number, took in enumerate(run.durations)]
    if within:
        return {number for number, (due, ended) in enumerate(times) if begin <= due and ended < end}
    return {number for number, (due, ended) in enumerate(times) if due < end and ended >= begin}


@pytest.fixture
def outage(small: dict[str, dict[str, Run]]) -> Runs:
    return small["outage"]


def test_every_request_of_a_bare_client_is_in_both_books(outage: Runs) -> None:
    """What the callers saw and what the server counted are independent; with one request per call they are the same."""
    run = outage["requests"]
    assert run.calls == run.requests == SMALL.calls
    assert sum(run.reached["200"]) == run.outcomes.count(OK)
    assert sum(run.reached["503"]) == run.outcomes.count("503")
    # One request for each call: that is 1, but for those that the machine let begin too late for their phase.
    during = SMALL.rate * (SMALL.fault[1] - SMALL.fault[0])
    assert run.amplification == pytest.approx(run.outcomes.count("503") / during)


def test_the_outage_is_when_the_plan_says(outage: Runs) -> None:
    run = outage["requests"]
    within, touched = _calls(run, within=True), _calls(run, within=False)
    assert {run.outcomes[number] for number in within} == {"503"}
    assert {run.outcomes[number] for number in set(range(run.calls)) - touched} == {OK}
    assert run.recovery == pytest.approx(0, abs=0.1)


def test_three_naive_attempts_triple_the_load_and_the_budget_does_not(outage: Runs) -> None:
    during = SMALL.rate * (SMALL.fault[1] - SMALL.fault[0])
    met, met_with_budget = (len(_calls(outage[client], within=False)) for client in (RETRY, NO_BREAKER))
    assert 2.5 < outage[RETRY].amplification <= 3 * met / during
    assert outage[RETRY].first_fast_failure is None
    # The budget is a fifth of the calls of the last ten seconds, and one for each of these.
    assert 1.2 < outage[NO_BREAKER].amplification <= (met_with_budget + 0.2 * SMALL.calls + 10) / during


def test_hedging_reaches_the_server_with_more_requests_than_calls(small: dict[str, dict[str, Run]]) -> None:
    run = small["tail"][HEDGING]
    assert run.success == 1
    assert run.calls < run.requests <= 1.3 * run.calls
    slow = TAIL.answer * TAIL.slow_factor
    assert run.duration(50) < slow < max(run.durations)  # nothing is hedged before there are latencies to go by


def _named(scenarios: tuple[Scenario, ...], name: str) -> Scenario:
    (found,) = (scenario for scenario in scenarios if scenario.name == name)
    return quick(found)


@pytest.fixture(scope="module")
def groups() -> dict[str, dict[str, list[Run]]]:
    """A few seconds of each group, all at a time: what is looked at below has a wide margin."""
    resets, fast, dead = (
        _named(PARTIAL, "partial-reset-30"),
        _named(MACHINES, "machines-503"),
        # Of three, and not of four: the connections that it had are made again one after the other, and of ten or more
        # at a time that is three at least, one of which comes to it.
        replace(_named(MACHINES, "machines-refused"), machines=3),
    )
    refused, cold = _named(OUTAGES, "outages-refused-20"), _named(OUTAGES, "outages-cold-20")
    restart = replace(_named(BATCH, "batch-refused-8"), items=200)
    return _all_measured(
        (resets, RETRY),
        (fast, "requests"),
        (fast, "sleepwalker"),
        (dead, "sleepwalker"),
        (varied(refused, 0), "sleepwalker"),
        (varied(refused, 1), "sleepwalker"),
        (varied(cold, 0), INTERLOCK),
        (restart, "requests + urllib3.Retry, patient"),
        lanes=8,
    )


def test_a_reset_is_an_attempt_that_failed_and_is_counted(groups: dict[str, dict[str, list[Run]]]) -> None:
    ((run,),) = groups["partial-reset-30"].values()
    assert set(run.reached) == {"200", "reset"}
    assert sum(run.reached["200"]) == run.outcomes.count(OK)
    assert run.amplification == run.requests / run.calls
    assert run.success > 0.9
    assert len(run.durations) == 100


def test_a_machine_that_fails_at_once_attracts_who_takes_the_socket_that_came_back_first(
    groups: dict[str, dict[str, list[Run]]],
) -> None:
    (bare,), (ours,) = groups["machines-503"].values()
    assert 0 < sum(bare.reached["503"]) == bare.outcomes.count("503")
    assert sum(bare.ill) >= sum(bare.reached["503"])
    assert ours.ill_share <= 0.25
    assert ours.ill_share < bare.ill_share
    assert ours.success_during >= 0.99


def test_a_dead_machine_resets_what_the_balancer_gives_it(groups: dict[str, dict[str, list[Run]]]) -> None:
    ((run,),) = groups["machines-refused"].values()
    assert 0 < sum(run.reached["reset"]) == sum(run.ill[-2:])
    assert run.success_during >= 0.99


def test_a_server_that_refuses_is_known_by_what_the_client_counted(groups: dict[str, dict[str, list[Run]]]) -> None:
    first, second = groups["outages-refused-20"]["sleepwalker"]
    for run in (first, second):
        assert run.counted
        assert sum(run.refused) > 0
        assert run.amplification == pytest.approx(
            sum(run.vain()) / (run.scenario.rate * run.scenario.phases[1].seconds), rel=0.2
        )
        assert "ConnectError" in run.outcomes
        assert run.outcomes[0] == OK
    assert first.scenario.fault[1] < second.scenario.fault[1]


def test_a_cold_server_turns_part_of_the_load_away(groups: dict[str, dict[str, list[Run]]]) -> None:
    ((run,),) = groups["outages-cold-20"].values()
    assert sum(run.reached["503"]) > 0
    assert run.outcomes[0] == OK


def test_workers_that_are_patient_get_through_a_restart(groups: dict[str, dict[str, list[Run]]]) -> None:
    ((run,),) = groups["batch-refused-8"].values()
    assert run.outcomes == (OK,) * 200
    assert not run.counted
    assert run.took > 1


def test_a_whole_run_writes_what_it_prints_and_can_be_redrawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ["--only", "requests", "--only", "sleepwalker"]
    given = ["--quick", "--scenario", "errors", "--scenario", "outages-503-2", "--runs", "2", *only]
    given += ["--output", str(tmp_path)]
    assert command.main(given) == 0
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "outage.md").read_text() + "\n"
    assert "4 of 4" in printed.err
    result = command.read(tmp_path)
    assert result["command"] == command.COMMAND + " " + " ".join(given)
    assert set(command.PACKAGES) <= set(result["versions"])
    bare, retried = (figures.runs(result)["errors"][client] for client in ("requests", "sleepwalker"))
    assert bare.success < 0.97
    assert retried.success >= 0.99
    assert [run.scenario.number for run in figures.repeated(result)["outages-503-2"]["sleepwalker"]] == [0, 1]
    # Each 503 was followed by another attempt, or was the end of a call that failed.
    assert retried.requests == retried.calls + sum(retried.reached["503"]) - retried.outcomes.count("503")
    (tmp_path / "outage.md").unlink()
    assert command.main(["--redraw", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "outage.md").read_text() + "\n" == printed.out


def test_a_run_that_is_terminated_leaves_nothing_behind(tmp_path: Path) -> None:
    """Each run removes its folder only after its server has ended."""
    arguments = [sys.executable, "-m", "benchmarks.outage", "--quick", "--scenario", "outage", "--only", "requests"]
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(arguments, cwd=command.ROOT, env=variables, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143
    assert list(tmp_path.iterdir()) == []


# -- the load ------------------------------------------------------------------------------------


def test_calls_begin_by_the_clock_while_earlier_ones_wait() -> None:
    """With a caller that waits for its answer first, only one call would ever begin."""
    begun, all_of_them = [], threading.Event()

    def call() -> None:
        begun.append(time.monotonic())
        if len(begun) == 20:
            all_of_them.set()
        all_of_them.wait(30)

    begins = time.monotonic() + 0.01
    offered = offer(call, rate=200, calls=20, begins=begins)
    assert offered.outcomes == [OK] * 20
    assert offered.threads == 20
    assert all(at >= begins + number / 200 for number, at in enumerate(sorted(begun)))
    assert offered.durations[0] >= 19 / 200


def test_a_call_that_begins_late_has_taken_so_much_longer() -> None:
    offered = offer(lambda: None, rate=100, calls=2, begins=time.monotonic() - 1)
    assert min(offered.durations) > 0.98
    assert min(offered.late) > 0.98


def test_a_call_that_never_ends_is_left_behind_and_named() -> None:
    forever = threading.Event()
    offered = offer(forever.wait, rate=100, calls=1, begins=time.monotonic(), patience=0.05)
    assert offered.outcomes == [UNENDED]
    assert offered.durations[0] >= 0.05
    forever.set()


def test_so_many_workers_make_the_calls_one_after_another() -> None:
    waiting, numbers, callers = threading.Barrier(3), itertools.count(), set()

    def call() -> None:
        callers.add(threading.get_ident())
        number = next(numbers)
        waiting.wait(30)
        if number >= 3:
            raise ValueError

    offered = work(call, workers=3, calls=6, begins=time.monotonic())
    assert len(callers) == 3
    assert offered.outcomes == [OK] * 3 + ["ValueError"] * 3
    forever = threading.Event()
    assert work(forever.wait, workers=1, calls=2, begins=time.monotonic(), patience=0.05).outcomes == [UNENDED] * 2
    forever.set()


#: All clients at once in one process: the figures do not count here.
_ALL_CLIENTS = """
import json, os, pathlib, sys
from concurrent.futures import ThreadPoolExecutor
from benchmarks.outage.clients import CLIENTS
from benchmarks.outage.job import run
from benchmarks.outage.scenario import from_dict

scenario = from_dict(json.loads(sys.argv[1]))
with ThreadPoolExecutor(len(CLIENTS)) as pool:
    runs = pool.map(lambda client: run(scenario, client, pathlib.Path(sys.argv[2])), sys.argv[3:])
    words = {found["client"]: list(found["outcomes"].values()) for found in runs}
print(json.dumps(words), flush=True)
os._exit(0)
"""


def test_no_client_takes_an_error_for_an_answer(tmp_path: Path) -> None:
    """Some raise on a status by themselves, some have to be asked: a benchmark that forgets it finds no failures.

    The patient ones, which would take minutes to fail, differ from others in numbers only.
    """
    impatient = [client for client in CLIENTS if not client.endswith(("patient", "batch"))]
    down = replace(SMALL, rate=20, phases=(Phase(0.2, "503"),))
    arguments = [sys.executable, "-c", _ALL_CLIENTS, json.dumps(down.to_dict()), str(tmp_path), *impatient]
    output = subprocess.run(arguments, cwd=command.ROOT, capture_output=True, text=True, timeout=240, check=True).stdout
    found = json.loads(output.splitlines()[-1])
    assert set(found) == set(impatient)
    assert {client for client, words in found.items() if OK in words} == set()
    rejected = {"CircuitOpenError", "CircuitBreakerError", "CircuitOpenRequestError"}
    assert {word for words in found.values() for word in words} - rejected == {"503", "RetryError"}


# -- the plan ------------------------------------------------------------------------------------


def test_the_server_keeps_to_the_plan_by_its_own_clock() -> None:
    plan = Plan(HANG, begins=100.0)
    begin, end = HANG.fault
    answered = [plan.receive(100.0 + second)[0] for second in (0, begin - 0.01, begin, end - 0.01, end, 1000)]
    assert answered == [200, 200, UNANSWERED, UNANSWERED, 200, 200]


def test_the_shares_are_what_the_plan_says_and_the_same_for_everyone() -> None:
    statuses, others = ([plan.receive(0)[0] for _ in range(5000)] for plan in (Plan(ERRORS), Plan(ERRORS)))
    assert statuses == others
    assert statuses.count(503) == pytest.approx(250, rel=0.2)
    plan = Plan(TAIL)
    slow = [plan.receive(0)[1] for _ in range(5000)].count(TAIL.answer * TAIL.slow_factor)
    assert slow == pytest.approx(150, rel=0.25)


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_a_scenario_survives_json_and_has_a_short_form_and_known_clients(scenario: Scenario) -> None:
    assert from_dict(json.loads(json.dumps(scenario.to_dict()))) == scenario
    assert [phase.kind for phase in quick(scenario).phases] == [phase.kind for phase in scenario.phases]
    assert set(scenario.clients) <= set(CLIENTS)


def test_there_are_enough_calls_to_tell_999_of_1000_from_less() -> None:
    assert ERRORS.calls >= 5000


# -- the figures ---------------------------------------------------------------------------------

#: Ten calls a second: 1 s well, 2 s of 503, 3 s well.
_PLAN = replace(OUTAGE, rate=10, phases=(Phase(1), Phase(2, "503"), Phase(3)))


def _run(
    outcomes: str, durations: Mapping[int, float] | None = None, reached: Mapping[str, Mapping[int, int]] | None = None
) -> Run:
    """A run by its outcomes, a letter for each: `.` is well and `x` is not. Calls take 5 ms unless said otherwise."""
    words = tuple({".": OK, "x": "503"}[letter] for letter in outcomes)
    taken = tuple((durations or {}).get(number, 0.005) for number in range(len(words)))
    steps = range(round(_PLAN.seconds / 0.1))
    counts = {status: tuple(series.get(step, 0) for step in steps) for status, series in (reached or {}).items()}
    return Run(_PLAN, "client", taken, words, counts)


def test_amplification_is_what_arrived_during_the_outage_for_each_call_due_then() -> None:
    run = _run("." * 60, reached={"200": {9: 7, 30: 5}, "503": {10: 4, 29: 6}})
    assert run.amplification == 10 / 20
    assert run.requests == 22


def test_recovery_is_the_begin_of_the_first_second_that_is_well_enough() -> None:
    assert _run("." * 10 + "x" * 20 + "." * 30).recovery == 0
    late = _run("." * 10 + "x" * 20 + "xx..x" + "." * 25)
    assert late.recovery == pytest.approx(0.5)
    assert late.failed_after == 3
    assert _run("." * 10 + "x" * 20 + ".........x" * 3).recovery is None


def test_failing_calls_are_those_that_were_due_during_the_outage() -> None:
    run = _run("x" * 60, durations={5: 9.0, 10: 0.5, 11: 0.02, 12: 0.2, 40: 9.0})
    assert run.failing(99) == 0.5
    assert run.failing(50) == 0.005
    assert run.first_fast_failure == pytest.approx(0.305)
    assert run.success_during == 0
    assert _run("." * 60).failing(50) is None
    assert _run("." * 60).first_fast_failure is None


def test_calls_in_flight_are_counted_from_when_they_were_due() -> None:
    run = _run("." * 60, durations={0: 1.05, 1: 0.22})
    assert [count for _, count in run.in_flight(0.07)][:7] == [1, 1, 2, 2, 2, 1, 1]


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (51, 3), (75, 3), (99, 4), (100, 4), (1, 1)])
def test_a_percentile_is_one_of_the_figures(percent: float, expected: int) -> None:
    assert figures.percentile([4, 2, 3, 1], percent) == expected


# -- what is committed ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    return command.read(command.RESULTS)


def test_the_committed_tables_and_plots_are_those_of_the_committed_result(committed: dict[str, Any]) -> None:
    """`python -m benchmarks.outage --redraw` sets it right."""
    stale = [
        name
        for name, text in command.drawn(committed).items()
        if (command.RESULTS / name).read_text(encoding="utf-8") != text
    ]
    assert stale == []


@pytest.mark.parametrize("page", command.PAGES, ids=lambda page: page.name)
def test_the_figures_in_the_documentation_are_those_of_the_committed_result(
    page: Path, committed: dict[str, Any]
) -> None:
    """`python -m benchmarks.outage --redraw` sets it right."""
    assert fill(page, committed) == page.read_text(encoding="utf-8")


def test_the_pages_repeat_blocks_that_there_are() -> None:
    """One whose name is misspelt would never be written anew."""
    pages = "".join(page.read_text(encoding="utf-8") for page in command.PAGES)
    named = re.findall(r"<!-- outage: (.+?) -->", pages)
    assert len(named) > 5
    assert set(named) <= BLOCKS.keys()


def test_the_committed_result_is_of_a_whole_run(committed: dict[str, Any]) -> None:
    assert [from_dict(scenario) for scenario in committed["scenarios"]] == list(ALL)
    for name, clients in figures.repeated(committed).items():
        (scenario,) = (scenario for scenario in ALL if scenario.name == name)
        assert tuple(clients) == scenario.clients
        for several in clients.values():
            assert [run.calls for run in several] == [
                varied(scenario, number).calls for number in range(scenario.repeat)
            ]
    assert set(PEERS) <= set(figures.runs(committed)["outage"])


def test_the_plots_are_well_formed_and_say_their_figures_to_a_screen_reader(committed: dict[str, Any]) -> None:
    drawn = {name: text for name, text in command.drawn(committed).items() if name.endswith(".svg")}
    assert len(drawn) == 6
    for text in drawn.values():
        root = ET.fromstring(text)
        title, description = (root.findtext(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "desc"))
        assert title
        assert description
        assert "sleepwalker" in description


def test_a_scenario_measured_again_leaves_the_others_as_they_were_and_says_so(
    tmp_path: Path, committed: dict[str, Any]
) -> None:
    (tmp_path / "outage.json").write_text(json.dumps(committed))
    runs = [run for run in committed["runs"] if run["scenario"] == "tail"]
    again = {**committed, "date": "today", "scenarios": [TAIL.to_dict()], "runs": runs}
    merged = command.merged(tmp_path, again)
    assert merged["date"] == "today"
    assert committed["date"] in merged["measured earlier"]
    assert figures.runs(merged) == figures.runs(committed)


def test_the_committed_result_has_a_figure_for_every_target(committed: dict[str, Any]) -> None:
    found = figures.repeated(committed)
    assert [target.words for target in TARGETS if target.measured(found) is None] == []


def test_a_client_that_takes_no_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--scenario", "tail", "--only", "elastic-transport"]) == 1
    assert "takes part" in capsys.readouterr().err
