"""What the status page says of one host: names, circuit, who refused, calls and errors, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from sleepwalker import status
from sleepwalker.engine import Latency, Recent, RejectedBy
from tests.unit.engine_driver import WALL, FakeClock
from tests.unit.status_driver import BROKEN, QUIET, Known, Tags, ask, page, text_of

DRY = replace(QUIET, breaker_mode="observe", breaker="open", opened_at=WALL - 60, opened_by="slow_ratio")


def cell(label: str, html: str) -> str:
    """The words of a cell of the first row."""
    found = re.search(rf'data-label="{label}"><span>(.*?)</span></td>', html)
    assert found is not None
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


# -- the circuit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "closed"),
        ({"share": 0.25}, "closed lets in 25 %"),
        ({"breaker_mode": "off"}, "off"),
        ({"breaker_mode": "observe"}, "closed dry run"),
        (
            {"breaker": "open", "retry_in": 3.2, "opened_at": WALL - 60, "opened_by": "failure_ratio"},
            "open next try in 3 s opened 11:59:00 by a share of failures",
        ),
        (
            {"breaker": "half-open", "opened_at": WALL - 60, "opened_by": "probe"},
            "half-open lets single calls try opened 11:59:00 by first calls that failed",
        ),
        (
            {"breaker": "open", "retry_in": 3.2, "opened_at": WALL - 60, "opened_by": "fleet"},
            "open next try in 3 s opened 11:59:00 told by other workers",
        ),
        (
            {"breaker_mode": "observe", "breaker": "half-open", "opened_at": WALL - 60, "opened_by": "consecutive"},
            "would be half-open dry run: refuses nothing since 11:59:00 by failures in a row",
        ),
    ],
)
def test_the_circuit_is_said_in_words_with_when_and_by_which_rule(changes: dict[str, Any], says: str) -> None:
    assert cell("Circuit", page(replace(QUIET, **changes))) == says


def test_a_dry_run_looks_like_one_and_never_like_a_circuit_that_refuses_calls() -> None:
    html = page(DRY)
    assert cell("Circuit", html) == "would be open dry run: refuses nothing since 11:59:00 by a share of slow calls"
    assert "next try" not in html.partition("<table")[2]
    assert "Dry run: 1 circuit would be open: a.test." in html
    assert "Dry run: 2 circuits would be open: a.test, b.test." in page(DRY, replace(DRY, host="https://b.test"))


# -- the state -----------------------------------------------------------------------------------


def test_a_half_open_host_is_broken_until_a_try_succeeds() -> None:
    assert "broken until a try succeeds" in page(replace(BROKEN, state="degraded", breaker="half-open", retry_in=None))
    assert "until a try" not in page(replace(QUIET, state="degraded"))


def test_since_when_a_host_is_in_its_state_stands_there_for_each_state() -> None:
    for state in ("broken", "degraded", "isolated", "healthy", "unknown"):
        assert cell("Since", page(replace(QUIET, state=state, state_since=WALL - 90))) == "1 min 30 s 11:58:30"
    assert cell("Since", page(replace(QUIET, state="unknown", state_since=None))) == "–"


@pytest.mark.parametrize(
    ("ago", "says"),
    [
        (0.5, "503 just now, 11:59:59"),
        (14_520, "503 4 h 2 min ago, 07:58:00"),
        (90_000, "503 1 d 1 h ago, 31 May 11:00"),
    ],
)
def test_the_last_error_says_when_it_was(ago: float, says: str) -> None:
    """An error that is hours old and one of now would look alike."""
    found = cell("Last error", page(replace(QUIET, last_error="503", last_error_at=WALL - ago)))
    assert found == f"{says} last success 5 s ago"


# -- names ---------------------------------------------------------------------------------------


def test_names_that_people_use_stand_before_the_address_and_each_can_be_copied() -> None:
    named = replace(QUIET, host="https://10.0.0.7:8443", names=("stock", "warehouse"))
    html = page(named)
    (row,) = re.findall(r"<th role=\"rowheader\".*?</th>", html)
    shown = " ".join(re.sub(r"<wbr>", "", re.sub(r"</?(span|bdi|small|svg|use|button).*?>", " ", row)).split())
    assert re.sub(r"<.*?>", "", shown).split() == ["stock", "warehouse", "https://", "10.0.0.7:8443"]
    copies = [attrs for tag, attrs in Tags(html).found if tag == "button" and attrs.get("class") == "copy"]
    assert [copy["data-copy"] for copy in copies] == ["stock", "warehouse", "https://10.0.0.7:8443"]
    assert [copy["aria-label"] for copy in copies] == ["Copy stock", "Copy warehouse", "Copy https://10.0.0.7:8443"]
    assert "and 2 more names" in page(replace(named, names=("a", "b", "c", "d", "e")))
    assert "stock#reports" in text_of(replace(named, host="https://10.0.0.7:8443#reports"))


def test_a_host_is_found_by_its_names() -> None:
    hosts = [replace(QUIET, host="https://10.0.0.7", names=("stock",)), BROKEN]
    found = ask(status.app(Known(*hosts)), "/hosts.json", "q=STO").json["hosts"]
    assert [(host["host"], host["names"]) for host in found] == [("https://10.0.0.7", ["stock"])]


# -- who refused ---------------------------------------------------------------------------------


def test_who_refused_calls_is_said_by_part() -> None:
    rejected = RejectedBy(breaker=1_000, bulkhead=2, rate_limit=3, cooldown=4, isolation=5)
    found = cell("Rejected", page(replace(QUIET, rejections=1_014, rejected=rejected)))
    assert found == "1,014 1,000 circuit 2 bulkhead 3 rate limit 4 cooldown 5 isolation"
    dry = replace(QUIET, rejections=0, would_reject=RejectedBy(breaker=7, bulkhead=2))
    assert cell("Rejected", page(dry)) == "0 dry run 9"


# -- calls and errors of the last 15 minutes -----------------------------------------------------


def recent(calls: list[int], errors: list[int], running: float = 5.0) -> Recent:
    """The last interval has been running for so many seconds."""
    return Recent(WALL - running - 15.0 * (len(calls) - 1), 15.0, tuple(calls), tuple(errors))


def line(found: Recent) -> dict[str, str | None]:
    html = page(replace(QUIET, recent=found))
    return next(attrs for tag, attrs in Tags(html).found if tag == "svg" and attrs.get("class") == "line")


def test_calls_a_second_are_those_of_the_running_interval_and_the_one_before() -> None:
    assert cell("Last 15 min", page(replace(QUIET, recent=recent([999, 30, 10], [0, 0, 0])))) == "2.0/s"
    assert cell("Last 15 min", page(replace(QUIET, recent=recent([10], [3], 4.0)))) == "2.5/s 3 errors"
    assert cell("Last 15 min", page(replace(QUIET, recent=recent([0, 1, 0], [0, 1, 0])))) == "3/min 1 error"
    assert cell("Last 15 min", page(replace(QUIET, recent=recent([9, 0, 0, 0], [0, 0, 0, 0])))) == "0/min"
    assert cell("Last 15 min", page(QUIET)) == "–"


def test_the_line_has_a_text_that_says_what_it_shows() -> None:
    found = line(recent([150, 300, 0, 10], [0, 40, 0, 0]))
    assert found["role"] == "img"
    assert found["aria-label"] == "30/min now, at most 20.0/s in the last 15 minutes; 40 errors, the latest 20 s ago"
    assert str(line(recent([15], [0]))["aria-label"]).endswith("no errors")


def test_the_line_ends_at_its_right_with_the_last_whole_interval_and_errors_are_drawn_where_they_were() -> None:
    html = page(replace(QUIET, recent=recent([10, 0, 20, 20, 7], [0, 0, 10, 0, 0])))
    paths = {attrs["class"]: attrs["d"] for tag, attrs in Tags(html).found if tag == "path" and "class" in attrs}
    assert paths["calls"] == "M56 24V12H57V24M58 24V1H60V24"
    assert paths["errors"] == "M58 24V12H59V24"


def test_a_single_error_among_many_calls_is_seen() -> None:
    html = page(replace(QUIET, recent=recent([100_000, 5], [1, 0])))
    assert 'class="errors" d="M59 24V22H60V24"' in html


# -- order ---------------------------------------------------------------------------------------

FLEET = [
    replace(BROKEN, host="https://d.test", calls=1),
    replace(
        QUIET, host="https://a.test", names=("zebra",), calls=30, latency=Latency(1.0, 9.0, 9.0), success_ratio=0.5
    ),
    replace(QUIET, host="https://b.test", calls=200, latency=Latency(None, None, None), success_ratio=None),
    replace(QUIET, host="https://c.test", calls=3, recent=recent([15, 15], [0, 0]), in_flight=90, rejections=0),
]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", "dabc"),
        ("sort=state", "dabc"),
        ("sort=-state", "cbad"),
        ("sort=host", "bcda"),
        ("sort=-host", "adcb"),
        ("sort=since", "abcd"),
        ("sort=-circuit", "dabc"),
        ("sort=-rate", "cdab"),
        ("sort=success", "dacb"),
        ("sort=-p95", "adcb"),
        ("sort=p95", "dcab"),
        ("sort=-in_flight", "cdab"),
        ("sort=-calls", "bacd"),
        ("sort=rejected", "cdab"),
        ("sort=-error", "dabc"),
    ],
)
def test_hosts_are_sorted_by_any_column_and_what_is_not_known_comes_last(sort: str, order: str) -> None:
    app = status.app(Known(*FLEET), clock=FakeClock())
    found = ask(app, "/hosts.json", sort).json["hosts"]
    assert "".join(host["host"][8] for host in found) == order
    rows = [attrs["data-key"] for tag, attrs in Tags(ask(app, "/", sort).text).found if "data-key" in attrs]
    assert "".join(str(key)[10] for key in rows) == order


def headings(query: str) -> dict[str | None, tuple[str | None, str | None]]:
    """What sorts by each column, and how it is sorted now, by the column's class."""
    html = page(*FLEET, query=query)
    found = re.findall(
        r'<th role="columnheader" scope="col" class="(\w+)"(?: aria-sort="(\w+)")?><a href="(.*?)"', html
    )
    return {name: (href.replace("&amp;", "&"), order or None) for name, order, href in found}


def test_a_heading_sorts_by_its_column_and_asked_again_the_other_way_round() -> None:
    plain = headings("")
    assert plain["state"] == ("?sort=-state", "descending"), "worst first"
    assert (plain["p95"], plain["host"], plain["success"]) == (
        ("?sort=-p95", None),
        ("?sort=host", None),
        ("?sort=success", None),
    )
    assert headings("sort=-p95")["p95"] == ("?sort=p95", "descending")
    assert headings("sort=p95")["p95"] == ("?sort=-p95", "ascending")
    assert headings("sort=-state")["state"] == ("?", "ascending")
    assert headings("sort=nonsense") == plain


def test_the_order_is_kept_by_every_link_and_by_the_form() -> None:
    html = page(*FLEET, query="q=test&state=healthy&sort=-p95")
    links = [str(attrs["href"]) for tag, attrs in Tags(html).found if tag == "a"]
    assert links[0] == "?q=test&sort=-p95"
    assert all("sort=" in link for link in links if "sort=state" not in link and link not in ("?q=test&state=healthy",))
    hidden = {(attrs["name"], attrs["value"]) for tag, attrs in Tags(html).found if attrs.get("type") == "hidden"}
    assert hidden == {("state", "healthy"), ("sort", "-p95")}


def test_an_order_that_cannot_be_is_told_to_programs() -> None:
    answer = ask(status.app(Known()), "/hosts.json", "sort=size")
    assert answer.status == "400 Bad Request"
    assert answer.json["error"].startswith("sort is one of host, state, since, circuit, rate, success, p95, in_flight")
    assert answer.json["error"].endswith("or one of them after a '-', not 'size'")


# -- the runbook ---------------------------------------------------------------------------------


def links(*hosts: Any, runbook: str | None) -> list[str | None]:
    html = page(*hosts, runbook=runbook)
    return [attrs["href"] for tag, attrs in Tags(html).found if tag == "a" and attrs.get("class") == "runbook"]


def test_hosts_in_trouble_link_to_the_runbook_at_the_place_for_their_kind_of_trouble() -> None:
    hosts = [
        BROKEN,
        replace(QUIET, state="degraded"),
        replace(QUIET, host="login", state="unknown", hooks_since=WALL - 60),
        replace(QUIET, state="isolated"),
        QUIET,
        replace(QUIET, state="unknown"),
        replace(BROKEN, used=False),
        DRY,
    ]
    found = links(*hosts, runbook="https://wiki.test/hosts?v=1&k={kind}#{kind}")
    kinds = ("broken", "degraded", "hooks", "isolated", "dry-run", "moved")
    assert found == [f"https://wiki.test/hosts?v=1&k={kind}#{kind}" for kind in kinds]
    assert links(*hosts, runbook="https://wiki.test/hosts") == ["https://wiki.test/hosts"] * 6
    assert links(*hosts, runbook=None) == []
    both = [replace(BROKEN, host=f"https://{name}.test") for name in "ab"]
    assert links(*both, runbook="https://wiki.test/#{kind}")[0] == "https://wiki.test/#together", "at the head"


@pytest.mark.parametrize(
    "runbook",
    [
        "wiki",
        "",
        "//wiki.test",
        "javascript:alert(1)",
        "ftp://wiki.test",
        "https://",
        "https://u:p@wiki.test",
        "https://[",
        "https://a b",
        "https://a\n",
    ],
)
def test_what_is_no_runbook_is_refused_without_showing_it(runbook: str) -> None:
    with pytest.raises(ValueError, match="runbook \\(not shown\\) is not the URL of a page"):
        status.app(Known(), runbook=runbook)
    with pytest.raises(TypeError, match="runbook must be a URL, not int"):
        status.app(Known(), runbook=7)  # type: ignore[arg-type]
