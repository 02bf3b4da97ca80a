"""The status page of a worker of a fleet: its headline is that of all workers, whichever of them answers."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from sleepwalker import HostHealth, status
from sleepwalker.engine import Fellows
from sleepwalker.hosts.fleet import FleetHealth
from tests.unit.engine_driver import WALL, FakeClock
from tests.unit.status_driver import BROKEN, QUIET, Known, ask

STORE = "redis://db-1:6379/0"
ALL, SOME = Fellows(20, 3, 24, True), Fellows(1, 11, 24, False)
SAID = {"broken": 20, "fine": 3, "workers": 24, "verdict": True}
A, B = "https://a.test", "https://b.test"


class Worker(Known):
    """A manager in a fleet, of which it heard what a test says."""

    stands = FleetHealth(STORE, "billing", True, WALL - 600, None, 24)

    @property
    def fleet(self) -> FleetHealth:
        return self.stands


def _worker(*hosts: HostHealth, heard: dict[str, Fellows] | None = None, **changes: Any) -> Worker:
    worker = Worker(*hosts)
    worker.stands = replace(Worker.stands, hosts=heard or {}, **changes)
    return worker


def _page(worker: Worker, **options: Any) -> str:
    return ask(status.app(worker, clock=FakeClock(), **options)).text


def _head(worker: Worker) -> tuple[str, str, str]:
    """What the tab says, what the page is headed with, and how bad that is."""
    page = _page(worker)
    title, head, severity = (
        re.search(wanted, page)[1]  # type: ignore[index]
        for wanted in ("<title>(.*?) · Hosts</title>", r"<h1 .*?<span>(.*?)</span>", r'data-severity="(\d)"')
    )
    assert title == head
    assert f'href="#{["broken", "degraded", "isolated", "healthy", "unknown"][int(severity)]}"/></svg><span>' in page
    return unescape(title), head, severity


def _section(page: str) -> str:
    [section] = re.findall(r"<section .*?</section>", page)
    return unescape(re.sub(r"<[^>]*>", " ", section)).replace("\xa0", " ")


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        (QUIET,),
        (replace(BROKEN, fleet=ALL, opened_by="fleet"),),
        (replace(BROKEN, state="degraded", breaker="half-open"), QUIET),
        (replace(QUIET, host=B),),
        (replace(QUIET, state="unknown", last_success=None), BROKEN),
    ],
    ids=["asked nothing", "asked another", "told", "looks", "answered", "found it itself"],
)
def test_a_host_that_is_broken_for_all_is_the_headline_whichever_worker_answers(hosts: tuple[HostHealth, ...]) -> None:
    assert _head(_worker(*hosts, heard={B: ALL})) == (f"{B} is broken for all 24 workers",) * 2 + ("0",)


@pytest.mark.parametrize("hosts", [(), (QUIET,), (BROKEN, QUIET)], ids=["asked nothing", "asked another", "lies"])
def test_a_host_that_too_few_find_broken_is_degraded_for_all_of_them(hosts: tuple[HostHealth, ...]) -> None:
    assert _head(_worker(*hosts, heard={B: SOME})) == (f"{B} is broken for 1 of 24 workers",) * 2 + ("1",)


def test_the_worker_that_lies_says_that_it_is_the_one() -> None:
    others = [replace(BROKEN, host=f"https://h{number}.test") for number in range(5)]
    heard = dict.fromkeys((host.host for host in others), SOME)
    page = unescape(_page(_worker(*others, heard=heard)))
    assert "5 hosts are broken for 1 of 24 workers" in page
    found = "https://h0.test, https://h1.test, https://h2.test and 2 more"
    assert f"This worker finds {found} broken, but too few others agree." in page
    assert "Its own network may be the cause." in page
    assert "This worker finds" not in _page(_worker(QUIET, heard=heard))


def test_several_hosts_are_counted_and_the_worst_told() -> None:
    heard = {A: ALL, B: ALL, "https://c.test": SOME}
    assert _head(_worker(heard=heard))[0] == "2 hosts are broken for all 24 workers"


def test_what_the_worker_alone_finds_is_told_after_what_all_find_and_before_what_some_do() -> None:
    own = replace(BROKEN, host=A)
    assert _head(_worker(own, heard={B: SOME}))[0] == "a.test is broken"
    assert _head(_worker(own, heard={B: ALL}))[0] == f"{B} is broken for all 24 workers"
    assert "This worker alone: a.test is broken." in _page(_worker(own, heard={B: ALL}))


def test_the_headline_says_since_when_and_why_whichever_worker_answers() -> None:
    since = replace(ALL, since=WALL - 20, cause="Connect<b>Error")
    for hosts in ((), (replace(BROKEN, fleet=since, opened_by="fleet"),)):
        page = _page(_worker(*hosts, heard={B: since}))
        assert "<p>Since 11:59:40 UTC, for 20 s.</p><p>The last failure was Connect&lt;b&gt;Error.</p>" in page
        assert "<b>Error" not in page
        assert "3 were answered, since 11:59:40 UTC, after Connect<b>Error" in " ".join(_section(page).split())
    assert "Since 11:59:40 UTC" in _page(_worker(heard={B: replace(SOME, since=WALL - 20)}))
    several = {A: replace(ALL, since=WALL - 90, cause="503"), B: since, "https://c.test": replace(SOME, since=1.0)}
    assert f"<p>{A}, {B}: the first since 11:58:30 UTC, for 1 min 30 s.</p>" in _page(_worker(heard=several))
    assert "<p>Since" not in _page(_worker(heard={B: ALL})), "what is not known is not told"


def test_what_this_worker_alone_finds_has_its_own_since() -> None:
    own = replace(BROKEN, host=A)
    page = _page(_worker(own, heard={B: replace(SOME, since=WALL - 20, cause="503")}))
    assert "The last failure was" not in page


def test_the_section_says_how_many_workers_there_are_and_what_they_find() -> None:
    section = _section(_page(_worker(heard={B: ALL, A: SOME})))
    assert "24 workers of service billing share their findings." in " ".join(section.split())
    assert "https://b.test broken for all: 20 of 24 workers find it broken, 3 were answered" in " ".join(
        section.split()
    )
    assert "https://a.test not broken for all: 1 of 24 workers find it broken" in " ".join(section.split())
    assert section.index(B) < section.index(A), "the worst first"
    assert STORE in section
    assert "No worker finds a host broken." in _section(_page(_worker()))


def test_a_worker_that_is_alone_says_why_and_shows_what_it_found_itself() -> None:
    alone = _worker(BROKEN, heard={A: ALL}, joined=False, error="it refused the <user>", workers=0)
    assert _head(alone)[0] == "b.test is broken"
    section = _section(_page(alone))
    assert "This worker is alone since" in " ".join(section.split())
    assert "it refused the <user>" in section
    assert "a.test" not in section
    assert "<user>" not in _page(alone)


def test_of_ten_thousand_hosts_in_trouble_twenty_are_listed_and_the_json_has_all() -> None:
    worker = _worker(heard={f"https://h{number}.test": SOME for number in range(10_000)})
    page = _page(worker)
    assert page.count("find it broken") == 20
    assert "and 9,980 hosts more" in page
    assert len(ask(status.app(worker), "/hosts.json").json["fleets"][0]["hosts"]) == 10_000


def test_the_json_says_how_the_worker_stands_to_its_fleet() -> None:
    worker = _worker(replace(BROKEN, fleet=ALL), heard={B: ALL})
    document = ask(status.app(worker, clock=FakeClock()), "/hosts.json").json
    assert document["fleets"] == [
        {
            "store": STORE,
            "service": "billing",
            "joined": True,
            "since": WALL - 600,
            "error": None,
            "workers": 24,
            "hosts": {B: {**SAID, "since": None, "cause": None}},
        }
    ]
    assert document["hosts"][0]["fleet"] == {**SAID, "since": None, "cause": None}
    worker = _worker(heard={B: replace(ALL, since=WALL - 20, cause="503")})
    [fleet] = ask(status.app(worker, clock=FakeClock()), "/hosts.json").json["fleets"]
    assert fleet["hosts"] == {B: {**SAID, "since": WALL - 20, "cause": "503"}}


def test_managers_that_share_their_hosts_are_one_worker() -> None:
    worker = _worker(heard={B: ALL})
    other = _worker(heard={B: ALL})
    assert len(ask(status.app(worker, other), "/hosts.json").json["fleets"]) == 1
    different = _worker(service="other")
    assert len(ask(status.app(worker, different), "/hosts.json").json["fleets"]) == 2


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x>', "\x1b]0;x\x07"])
def test_what_others_wrote_into_the_store_is_text(evil: str) -> None:
    page = _page(_worker(heard={f"https://{evil}": ALL}, service=evil, store=evil))
    assert evil not in page
    assert page.count("<script") == 1


def test_a_row_says_what_the_workers_find() -> None:
    assert "for all: 20 of 24 workers say so" in _page(_worker(replace(BROKEN, fleet=ALL), heard={B: ALL}))
    assert "1 of 24 workers find it broken" in _page(_worker(replace(QUIET, fleet=SOME), heard={A: SOME}))


def test_a_circuit_that_the_word_of_others_opened_says_so() -> None:
    assert "by other workers" in _page(_worker(replace(BROKEN, fleet=ALL, opened_by="fleet")))


def test_without_a_fleet_the_page_says_nothing_of_one() -> None:
    page = ask(status.app(Known(BROKEN, QUIET), clock=FakeClock())).text
    assert "Fleet" not in page
    assert "1 of 2 hosts is broken" in page


def test_isolated_hosts_are_so_for_all() -> None:
    worker = _worker(replace(QUIET, state="isolated"))
    assert "1 host isolated by an operator, for all workers." in _page(worker)


def test_hosts_that_are_broken_for_all_lead_to_the_runbook() -> None:
    page = _page(_worker(heard={B: ALL}), runbook="https://wiki.test/#{kind}")
    assert "https://wiki.test/#broken" in page
