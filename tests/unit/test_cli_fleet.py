"""What `sleepwalker fleet status` shows of what a store keeps: the worst first, in any width, and nothing that steers
a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from sleepwalker.cli import main
from sleepwalker.cli.display import console
from sleepwalker.cli.fleet.orders import moment, span
from sleepwalker.cli.fleet.trouble import document, picture
from sleepwalker.cli.fleet.view import render
from sleepwalker.cli.fleet.words import iso, lasting, short
from sleepwalker.fleet.store import Order, Overview, View
from sleepwalker.fleet.verdicts import Opinion, Quorum, Tally

NOW = datetime(2026, 12, 1, 7, 0, tzinfo=UTC).timestamp()


def _overview(
    hosts: Mapping[str, Mapping[int, Opinion]],
    workers: int,
    *,
    per_machine: int = 4,
    since: float = 10.0,
    cause: str | None = "ConnectError",
    orders: Mapping[str, Order] | None = None,
) -> Overview:
    """Workers `w0`, `w1`, … on machines of so many, and what some of them say of hosts."""
    tallies = {}
    views = {}
    for host, said in hosts.items():
        opinions = list(said.values())
        tallies[host] = Tally(
            broken=opinions.count("broken"), fine=opinions.count("fine"), failing=opinions.count("failing"),
            since=NOW - since, began=NOW - since - 1, round=3, failed_at=NOW - 1, cause=cause,
        )  # fmt: skip
        views[host] = {f"w{number}": View(one, 3, cause) for number, one in said.items()}
    labels = {f"w{number}": f"web-{number // per_machine} {4000 + number}" for number in range(workers)}
    return Overview(NOW, labels, tallies, views, orders or {})


def _drawn(overview: Overview, monkeypatch: pytest.MonkeyPatch, width: int = 80, height: int | None = None) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    file = io.StringIO()
    screen = console(file)
    screen.width = width
    screen.print(render(picture(overview, Quorum()), "redis://db-1:6379", "billing", width, height))
    return file.getvalue()


def test_a_host_is_shown_with_what_each_worker_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[int, Opinion] = {**dict.fromkeys(range(5), "broken"), 5: "fine", 6: "failing"}
    text = _drawn(_overview({"https://pay.example.com": said}, 8), monkeypatch, 100)
    assert "8 workers of service billing at redis://db-1:6379, 2026-12-01 07:00:00 UTC" in text
    assert "1 host in trouble, 1 broken for all" in text
    [row] = [line.split() for line in text.splitlines() if line.startswith("https://pay")]
    assert row == ["https://pay.example.com", "broken", "5", "1", "1", "06:59:50", "ConnectError", "BBBB", "Bfx."]
    assert "web-0: 4000 4001 4002 4003" in text
    assert "web-1: 4004 4005 4006 4007" in text


def test_a_worker_that_stands_alone_breaks_nothing_and_it_is_said_how_many_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: dict[int, Opinion] = {0: "broken", **dict.fromkeys(range(1, 12), "fine")}
    text = _drawn(_overview({"https://pay.example.com": said}, 12), monkeypatch, 100)
    assert "1 host in trouble, 0 broken for all" in text
    assert "needs 7 of 12" in text
    assert "needs 2 workers" in _drawn(_overview({"https://a": {0: "broken"}}, 12), monkeypatch)


def test_until_the_others_are_heard_it_is_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[int, Opinion] = {0: "broken", 1: "broken"}
    for since, word in ((0.1, "soon"), (0.6, "broken")):
        text = _drawn(_overview({"https://a": said}, 2, since=since), monkeypatch)
        [row] = [line.split() for line in text.splitlines() if line.startswith("https://a")]
        assert row[1] == word


def test_the_worst_come_first() -> None:
    shown = picture(
        _overview(
            {
                "https://few": {0: "broken", 1: "fine", 2: "fine"},
                "https://contradicted": {**dict.fromkeys(range(4), "broken"), **dict.fromkeys(range(4, 9), "fine")},
                "https://b": {0: "broken", 1: "broken"},
                "https://a": {0: "broken", 1: "broken"},
                "https://most": {0: "broken", 1: "broken", 2: "broken"},
                "https://back": {},
            },
            9,
        ),
        Quorum(),
    )
    hosts = [one.host.removeprefix("https://") for one in shown.hosts]
    assert hosts == ["most", "a", "b", "contradicted", "few"], "those that are broken for all, then the others"


def test_of_ten_thousand_hosts_the_worst_are_shown_and_the_rest_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = {f"https://host-{number:05}.example.com": {0: "broken", 1: "fine", 2: "fine"} for number in range(10_000)}
    overview = _overview({**hosts, "https://host-07777.example.com": {0: "broken", 1: "broken", 2: "broken"}}, 400)
    lines = _drawn(overview, monkeypatch).splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("https://")]
    assert shown[0] == "https://host-07777.example.com"
    assert len(set(shown)) == 50
    assert "and 9,950 more with less trouble; --json shows all" in lines
    assert len(document(picture(overview, Quorum()), "", "", Quorum())["hosts"]) == 10_000
    for width in (60, 80, 100, 200):
        assert 14 <= len(_drawn(overview, monkeypatch, width, 24).splitlines()) <= 22, "and two of the watch itself"


def test_many_workers_are_counted_by_machine_the_worst_first(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[int, Opinion] = {**dict.fromkeys(range(20, 40), "broken"), 41: "broken", 60: "fine", 80: "broken"}
    text = _drawn(_overview({"https://pay.example.com": said}, 400, per_machine=20), monkeypatch, 120)
    assert "web-1 20 of 20, web-2 1 of 20, web-4 1 of 20" in text
    narrow = _drawn(_overview({"https://pay.example.com": said}, 400, per_machine=20), monkeypatch, 60)
    assert "web-1 20 of 20, 2 more" in narrow


@pytest.mark.parametrize("width", [60, 61, 79, 80, 100, 137, 200])
@pytest.mark.parametrize("workers", [1, 8, 24, 60, 61, 400])
def test_all_of_it_fits_and_no_count_is_cut(width: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "https://a-host-with-a-name-as-long-as-no-other.of-a-region.of-a-cloud.example.com:8443"
    said: dict[int, Opinion] = dict.fromkeys(range(workers), "broken")
    orders = {long: Order("isolate", 3, "it moves " * 20, 7_200.0, "the command line on ops-1")}
    text = _drawn(
        _overview({long: said, "https://b#reports": {0: "broken"}}, workers, orders=orders), monkeypatch, width
    )
    assert max(map(len, text.splitlines())) <= width
    rows = [line for line in text.splitlines() if line.startswith("https://a-host") and " isolated " not in line]
    assert any(f" {workers} " in f"{row} " for row in rows), "how many find it broken"
    assert any("06:59:50" in row for row in rows)
    assert all(row.split()[0].endswith("com:8443") for row in rows if "…" in row)
    if any("…" in row for row in rows):
        assert f"com:8443is{long}" in "".join(text.split()), "an order takes the whole name"


def test_isolations_are_told_with_reason_end_and_who_gave_them(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = {
        "https://pay.example.com": Order("isolate", 7, "it moves", 7_200.0, "web-7 4711"),
        "mail": Order("isolate", 8, None, None, None),
        "https://back.example.com": Order("restore", 9),
        "https://reset.example.com": Order("reset", 10),
    }
    text = " ".join(_drawn(_overview({}, 2, orders=orders), monkeypatch, 200).split())
    assert "0 hosts in trouble, 0 broken for all, 2 isolated" in text
    assert (
        "https://pay.example.com isolated until 2026-12-01 09:00:00 UTC, for 2 hours more, by web-7 4711: it moves"
        in text
    )
    assert "mail isolated until it is restored" in text
    assert "back.example.com" not in text
    assert "reset.example.com" not in text


def test_what_others_wrote_into_the_store_cannot_steer_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    orders = {f"https://i{evil}": Order("isolate", 1, evil, None, evil)}
    overview = _overview({f"https://h{evil}": {0: "broken"}}, 1, cause=evil, orders=orders)
    for height in (None, 24):
        text = _drawn(
            Overview(NOW, {"w0": f"web {evil}"}, overview.tallies, overview.views, orders), monkeypatch, 200, height
        )
        assert "https://h" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_the_json_has_all_that_there_is_in_values_that_json_knows() -> None:
    orders = {"https://pay.example.com": Order("isolate", 7, "it moves", 60.0, "web-7 4711")}
    overview = _overview({"https://a": {0: "broken", 1: "fine"}}, 2, orders=orders)
    whole: Any = json.loads(
        json.dumps(document(picture(overview, Quorum()), "file:///x", "billing", Quorum()), allow_nan=False)
    )
    assert whole == {
        "store": "file:///x",
        "service": "billing",
        "now": "2026-12-01T07:00:00.000Z",
        "quorum": 0.5,
        "min_reporters": 2,
        "trouble": True,
        "workers": [{"id": "w0", "label": "web-0 4000"}, {"id": "w1", "label": "web-0 4001"}],
        "hosts": [
            {
                "host": "https://a",
                "broken_for_all": False,
                "broken": 1,
                "failing": 0,
                "fine": 1,
                "needed": 2,
                "since": "2026-12-01T06:59:50.000Z",
                "began": "2026-12-01T06:59:49.000Z",
                "failed_at": "2026-12-01T06:59:59.000Z",
                "cause": "ConnectError",
                "round": 3,
                "workers": [
                    {"id": "w0", "label": "web-0 4000", "says": "broken", "cause": "ConnectError"},
                    {"id": "w1", "label": "web-0 4001", "says": "fine", "cause": "ConnectError"},
                ],
            }
        ],
        "isolated": [
            {
                "host": "https://pay.example.com",
                "reason": "it moves",
                "by": "web-7 4711",
                "number": 7,
                "until": "2026-12-01T07:01:00.000Z",
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7_200), ("1h30m", 5_400), ("3D", 259_200), ("0s", 0)]
)
def test_a_time_is_written_as_people_write_it(text: str, seconds: float) -> None:
    assert span(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-2h", "1.5h", "2h!", "2h 3", "9" * 5000 + "h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is not a time: use 90s"):
        span(text)


def test_a_moment_needs_its_time_zone() -> None:
    assert moment("2026-12-01T08:00+01:00").timestamp() == NOW
    assert moment("2026-12-01T07:00Z").timestamp() == NOW
    with pytest.raises(Exception, match="has no time zone: add Z"):
        moment("2026-12-01T08:00")
    with pytest.raises(Exception, match="is not a date and time"):
        moment("tomorrow")


def test_times_read_well() -> None:
    said = [lasting(seconds) for seconds in (0.4, 1, 59, 59.9, 89, 5_399.9, 7_199.9, 86_400, 200_000)]
    assert said == [
        "0 seconds",
        "1 second",
        "59 seconds",
        "1 minute",
        "89 seconds",
        "90 minutes",
        "2 hours",
        "1 day",
        "2 days",
    ]
    assert short(NOW - 60, NOW) == "06:59:00"
    assert short(NOW - 86_400 * 3, NOW) == "11-28 07:00"
    assert short(NOW - 8 * 3600, NOW) == "11-30 23:00", "yesterday, though a few hours ago"
    assert [iso(value) for value in (None, float("inf"), float("-inf"))] == [None, None, None]


STORE = ["--store", "file:///nowhere/x"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["isolate", "https://h", *STORE, "--for", "soon"], "argument --for: 'soon' is not a time: use 90s"),
        (["isolate", "https://h", *STORE, "--for", "400d"], "--for must end in the future and within a year"),
        (["isolate", "https://h", *STORE, "--for", "0s"], "--for must end in the future"),
        (["isolate", "https://h", *STORE, "--until", "2020-01-01T00:00Z"], "--until must end in the future"),
        (["isolate", "https://h", *STORE, "--until", "2026-12-01T08:00"], "has no time zone"),
        (["isolate", "https://h", *STORE, "--for", "2h", "--until", "2026-12-01T08:00Z"], "not allowed with argument"),
        (["isolate", "https://h", *STORE, "--reason", "x" * 201], "--reason: reason must be one line of 1 to 200"),
        (["isolate", "ftp://u:pass-word@h", *STORE], "HOST: host (not shown) has credentials in it"),
        (["isolate", "https://u:pass-word@h", *STORE], "HOST: "),
        (["restore", "redis://pass-word@h"], "HOST is the URL of a store (not shown)"),
        (["reset", "  ", *STORE], "HOST: host is a blank str"),
        (["isolate", "https://h# x", *STORE], "HOST: the scope in host"),
        (["isolate", "pay#reports", *STORE], "HOST is a name with ? or #"),
        (["reset", "pay?pass-word", *STORE], "HOST is a name with ? or #"),
        (["status"], "--store is missing: give the URL that the workers use as fleet=, or set SLEEPWALKER_FLEET"),
        (["status", "--store", "http://:pass-word@h"], "the store's URL (not shown) has another scheme"),
        (
            ["status", "--store", "pass-word"],
            "redis://, rediss:// (or either with +sentinel or +cluster), unix:// or file:///",
        ),
        (["status", "--store", "redis:pass-word"], "the store's URL of redis: lacks its //"),
        (["status", "--store", "file://pass-word/x"], "file:///run/billing.fleet, without host and query"),
        (["status", "--store", "file:pass-word"], "file:///run/billing.fleet, without host and query"),
        (["status", "--store", "file:///x?pass-word"], "without host and query"),
        (["status", "--store", "file:///pass-word%ff"], "not UTF-8"),
        (["status", "--store", "file:///pass-word/"], "names a folder"),
        (["status", "--store", "redis://:pass-word@h\n"], "cannot be printed"),
        (["status", *STORE, "--service", "a b"], "--service: service must be 1 to 60 characters"),
        (["status", *STORE, "--service", ""], "--service: service must be 1 to 60 characters"),
        (["status", *STORE, "--quorum", "1.1"], "'1.1' is not a number above 0 and at most 1"),
        (["status", *STORE, "--quorum", "0"], "'0' is not a number above 0 and at most 1"),
        (["status", *STORE, "--quorum", "nan"], "'nan' is not a number above 0 and at most 1"),
        (["status", *STORE, "--min-reporters", "0"], "is not a whole number of 1 or more"),
    ],
)
def test_used_wrongly_it_says_how_and_shows_no_password(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLEEPWALKER_FLEET", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["fleet", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "pass-word" not in err


def test_a_bad_url_of_the_environment_is_said_to_be_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLEEPWALKER_FLEET", "amqp://:pass-word@h")
    assert main(["fleet", "status"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("sleepwalker: SLEEPWALKER_FLEET: the store's URL (not shown)")
    assert "pass-word" not in err


def test_a_bad_service_of_the_environment_is_said_to_be_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLEEPWALKER_FLEET_SERVICE", "a b")
    assert main(["fleet", "status", *STORE]) == 2
    assert capsys.readouterr().err.startswith("sleepwalker: SLEEPWALKER_FLEET_SERVICE: service must be 1 to 60")


def test_a_file_that_no_worker_made_is_not_made_by_looking_at_it(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["status"], ["isolate", "https://h"]):
        assert main(["fleet", *command, "--store", f"file://{tmp_path}/new%20one.fleet"]) == 1
        assert f"there is no file {tmp_path}/new one.fleet: no worker" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
