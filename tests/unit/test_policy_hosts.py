"""One policy for many hosts: tables that say what differs for those that a pattern fits."""

from __future__ import annotations

import copy
import json
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sleepwalker.cli import main
from sleepwalker.engine import passes_rate_limit
from sleepwalker.exceptions import PolicyError
from sleepwalker.policy import BreakerPolicy, Policy
from sleepwalker.policy.match import Patterns, fault_of
from tests.unit.test_policy_files import SCHEMA, schema_faults

FILE = """
[timeout]
total = 20

[breaker]
open_for = 2

[[host]]
match = "https://billing*"
retry = false
breaker.consecutive = 2

[[host]]
match = ["stock", "https://*.stock.test:8443"]
timeout.total = 40
rate_limit = { rate = 3 }

[[host]]
match = "https://*"
breaker = false
"""


def loaded(text: str = FILE) -> Policy:
    return Policy.from_dict(tomllib.loads(text))


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as caught:
        loaded(text)
    return caught.value.faults


def test_a_host_gets_what_its_table_says_and_for_the_rest_what_the_file_says() -> None:
    billing = loaded().for_host("https://billing.test")
    assert billing == Policy(timeout={"total": 20}, breaker={"open_for": 2, "consecutive": 2}, retry=False)
    stock = loaded().for_host("stock")
    assert stock == Policy(timeout={"total": 40}, breaker={"open_for": 2}, rate_limit={"rate": 3})


def test_a_host_that_no_table_fits_gets_the_rest_of_the_file() -> None:
    other = loaded().for_host("elsewhere")
    assert other == Policy(timeout={"total": 20}, breaker={"open_for": 2})
    assert other.hosts == ()
    plain = Policy()
    assert plain.for_host("https://a.test") is plain


def test_the_first_table_that_fits_counts_and_no_other() -> None:
    assert loaded().for_host("https://billing.test").breaker is not None
    assert loaded().for_host("https://other.test").breaker is None
    assert [loaded().table_for(host) for host in ("https://billing.test", "https://x.test", "x")] == [0, 2, None]


def test_of_several_names_of_a_host_the_earliest_table_counts_whatever_their_order() -> None:
    for names in (("https://x.test", "stock"), ("stock", "https://x.test")):
        assert loaded().table_for(*names) == 1


def test_a_part_that_is_off_comes_on_in_a_table_with_its_defaults() -> None:
    policy = loaded('breaker = false\n[[host]]\nmatch = "a"\nbreaker.consecutive = 9')
    assert policy.breaker is None
    assert policy.for_host("a").breaker == BreakerPolicy(consecutive=9)


def test_a_table_may_leave_to_the_rest_of_the_file_what_has_no_default() -> None:
    """`rate` has none, and a table that only changes `burst` need not say it again."""
    policy = loaded('[rate_limit]\nrate = 7\n[[host]]\nmatch = "a"\nrate_limit.burst = 2')
    limit = policy.for_host("a").rate_limit
    assert limit is not None
    assert (limit.rate, limit.burst) == (7, 2)
    assert schema_faults(SCHEMA, {"host": [{"match": "a", "rate_limit": {"burst": 2}}]}) == []


def test_a_rate_limit_that_a_table_has_off_is_said_to_be_off() -> None:
    policy = loaded('[[host]]\nmatch = "a"\nrate_limit = false')
    assert not passes_rate_limit(policy)
    assert passes_rate_limit(policy.for_host("a"))


@pytest.mark.parametrize(
    ("pattern", "fits", "not_so"),
    [
        ("https://a.test", ["https://A.Test", "https://a.test/", "https://a.test:443", "https://a.test/v1"],
         ["http://a.test", "https://a.test:8443", "https://a.test.evil", "a.test"]),
        ("https://a.test:443/", ["https://a.test"], ["https://a.test:8443"]),
        ("http://a.test:80", ["http://a.test"], ["https://a.test"]),
        ("HTTPS://*.A.test", ["https://x.a.test", "https://x.y.a.test"], ["https://a.test", "https://x.a.test:8443"]),
        ("https://a.test:*", ["https://a.test", "https://a.test:8443"], ["https://a.test.evil"]),
        ("https://a.test/v1", ["https://a.test/v1/"], ["https://a.test", "https://a.test/v2"]),
        ("https://[::1]:8443", ["https://[::1]:8443"], ["https://1:8443", "https://[::2]:8443"]),
        ("https://[::1]:*", ["https://[::1]:8443", "https://[::1]"], ["https://1:8443"]),
        ("https://[*]:8443", ["https://[::1]:8443"], ["https://1:8443"]),
        ("https://[ab].example.com", ["https://a.example.com", "https://b.example.com"], ["https://c.example.com"]),
        ("http://10.0.0.[12]", ["http://10.0.0.1", "http://10.0.0.2:80"], ["http://10.0.0.3"]),
        ("Billing", ["billing", "BILLING/"], ["billing-2", "https://billing"]),
        ("billing-?", ["billing-2"], ["billing", "billing-22"]),
        ("*", ["https://a.test:8443", "billing"], []),
        ("https://a.test/*", ["https://a.test/v1"], ["https://a.test"]),
    ],
)  # fmt: skip
def test_a_pattern_fits_hosts_as_they_are_one_host(pattern: str, fits: list[str], not_so: list[str]) -> None:
    """Letter case, a default port and a trailing slash make no difference, as in a manager's tables."""
    assert fault_of(pattern) is None
    patterns = Patterns([(pattern, 7)])
    assert [host for host in fits if patterns.first([host]) != 7] == []
    assert [host for host in not_so if patterns.first([host]) is not None] == []


def test_many_patterns_are_looked_through_in_their_order() -> None:
    patterns = Patterns([("https://*", 0), ("b", 1), ("*", 2), ("b", 3), ("https://x", 4)])
    assert [patterns.first([host]) for host in ("https://x", "b", "c")] == [0, 1, 2]
    assert patterns.first([]) is None
    assert patterns.first(["c", "https://x"]) == 0


def test_every_fault_of_every_table_is_told_with_its_place() -> None:
    faults = faults_of(
        """
        [timeout]
        total = 5
        [[hosts]]
        [[host]]
        matsh = "a"
        breaker.open_for = -1
        [[host]]
        match = ["a", "https://u:s3cr3t@b", 3, " ", ""]
        brekaer.x = 1
        host = []
        [[host]]
        match = "A"
        timeout.attempt = 40
        [[host]]
        match = []
        """
    )
    assert [fault.partition(":")[0] for fault in faults] == [
        "hosts",
        "timeout.attempt",
        "host[0].match",
        "host[0].matsh",
        "host[0].breaker.open_for",
        "host[1].match[1]",
        "host[1].match[2]",
        "host[1].match[3]",
        "host[1].match[4]",
        "host[1].brekaer",
        "host[1].host",
        "host[2].match",
        "host[2].timeout.attempt",
        "host[3].match",
    ]
    assert "did you mean host?" in faults[0]
    assert "did you mean host[0].match?" in faults[3]
    assert "did you mean host[1].breaker" in faults[9]
    assert faults[11] == "host[2].match: 'A' is already in host[1], which comes first and wins"
    assert "must be at most host[2].timeout.total (5)" in faults[12]
    assert "s3cr3t" not in str(faults)


def test_a_fault_of_the_rest_is_not_told_again_for_each_table() -> None:
    (fault,) = faults_of('[breaker]\nopen_for = 90\n[[host]]\nmatch = "a"\nretry = false\n[[host]]\nmatch = "b"')
    assert fault.startswith("breaker.open_for: 90 is too much")


def test_a_rule_between_fields_holds_for_what_comes_of_a_table() -> None:
    (fault,) = faults_of('[timeout]\ntotal = 20\n[[host]]\nmatch = "a"\ntimeout.total = 8')
    assert fault.startswith("host[0].timeout.attempt: 10 is too much; must be at most host[0].timeout.total (8)")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"match": "a"}, "host: a single table is not allowed; must be a list of tables: write [[host]]"),
        ("a", "host: a str is not allowed; must be a list of tables"),
        (None, "host: a NoneType is not allowed"),
        (False, "host: a bool is not allowed"),
        (["a"], "host[0]: a str is not allowed; must be a table"),
        ([{"match": None}], "host[0].match: a NoneType is not allowed; must be a pattern"),
        ([{"match": "a\nb"}], "host[0].match: a text of 3 characters, or not all of them printable"),
        ([{"match": "a" * 300}], "host[0].match: a text of 300 characters"),
        ([{}], "host[0].match: missing"),
    ],
)
def test_what_is_no_list_of_tables_is_refused(given: Any, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(host=given)
    (fault,) = caught.value.faults
    assert fault.startswith(says)


def test_a_policy_with_tables_is_a_value_like_any_other() -> None:
    policy = loaded()
    assert (
        loaded() == policy == pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == Policy(**policy.to_dict())
    )
    assert Policy.from_dict(tomllib.loads(policy.to_toml())) == policy
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    assert hash(loaded()) == hash(policy)
    assert policy != policy.replace(host=())
    assert policy.replace(host=()).to_dict() == policy.for_host("elsewhere").to_dict()
    assert "host=[{'match': ['https://billing*'], 'retry': False" in repr(policy)
    assert "host" not in Policy().to_dict()


def test_a_table_is_written_as_what_it_says_and_no_more() -> None:
    tables = loaded().to_dict()["host"]
    assert tables[0] == {"match": ["https://billing*"], "retry": False, "breaker": {"consecutive": 2}}
    assert (
        '[[host]]\nmatch = ["https://billing*"]\nretry = false\n\n[host.breaker]\nconsecutive = 2\n'
        in loaded().to_toml()
    )


def test_a_name_in_any_letters_survives_toml() -> None:
    policy = Policy(host=[{"match": ['Bücher 🐘 \\ "', "\u3042"], "retry": False}])
    assert Policy.from_dict(tomllib.loads(policy.to_toml())) == policy


def test_however_a_table_is_written_it_is_the_same() -> None:
    one = Policy(host=[{"match": "a", "retry": {"statuses": [503, 429], "methods": ("get",), "budget": None}}])
    two = Policy(host=({"match": ("a",), "retry": {"statuses": {429, 503}, "methods": {"GET"}, "budget": False}},))
    assert one == two
    part = BreakerPolicy(consecutive=2)
    assert Policy(host=[{"match": "a", "breaker": part}]).for_host("a").breaker == part


def test_a_changed_policy_has_its_tables_still() -> None:
    policy = loaded().replace(breaker={"open_for": 3}, timeout={"total": 25})
    billing = policy.for_host("https://billing.test")
    assert billing.breaker == BreakerPolicy(open_for=3, consecutive=2)
    assert (billing.timeout.total, policy.for_host("stock").timeout.total) == (25, 40)
    with pytest.raises(PolicyError, match=r"host\[1\]\.timeout"):
        policy.replace(
            timeout={"attempt": 22, "total": 25}, host=[{"match": "b"}, {"match": "a", "timeout": {"total": 3}}]
        )


def test_the_schema_knows_the_tables() -> None:
    assert schema_faults(SCHEMA, loaded().to_dict()) == []
    for bad in (
        [{}],
        [{"match": ""}],
        [{"match": []}],
        [{"match": "a", "surprise": 1}],
        [{"match": "a", "breaker": {"surprise": 1}}],
        [{"match": "a", "timeout": {"read": -1}}],
        [{"match": "a", "host": []}],
        {"match": "a"},
    ):
        assert schema_faults(SCHEMA, {"host": bad}) != [], bad
        with pytest.raises(PolicyError):
            Policy.from_dict({"host": bad})


def test_in_a_table_the_schema_names_no_defaults() -> None:
    """What is absent there is what the rest of the file says."""
    tables = [text for name, text in SCHEMA["$defs"].items() if name.endswith("OfHost")]
    assert len(tables) == 11
    assert '"default":' not in json.dumps(tables)


# --- the command line


def test_the_command_shows_what_a_host_gets_and_from_which_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("all.toml").write_text(FILE)
    assert main(["policy", "show", "all.toml", "--host", "https://Billing.test:443/"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# all.toml for https://billing.test: host[0], which is for https://billing*\n")
    assert loaded(out) == loaded().for_host("https://billing.test")
    assert main(["policy", "show", "all.toml", "--host", "elsewhere"]) == 0
    assert capsys.readouterr().out.startswith("# all.toml for elsewhere: none of its tables fits\n")
    assert main(["policy", "show", "batch", "--host", "elsewhere"]) == 0
    assert capsys.readouterr().out.startswith("# batch for elsewhere: it has no tables for hosts\n")
    assert main(["policy", "show", "all.toml", "--json", "--host", "https://x.test", "--host", "stock"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["policy"] == loaded().for_host("stock").to_dict()
    assert (shown["table"], shown["match"]) == (1, ["stock", "https://*.stock.test:8443"])
    assert main(["policy", "show", "all.toml"]) == 0
    assert loaded(capsys.readouterr().out) == loaded()


@pytest.mark.parametrize("host", ["https://u:s3cr3t@h", "", "https://", "  "])
def test_what_is_no_host_is_a_wrong_use(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "standard", "--host", host]) == 2
    out, err = capsys.readouterr()
    assert (out, "--host: " in err, "s3cr3t" in err) == ("", True, False)


def test_a_check_lists_the_faults_of_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.toml"
    file.write_text(FILE + '[[host]]\nmatch = "c"\nbreaker.open_for = 99\nsurprise = 1\n')
    assert main(["policy", "check", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"{file}: 2 faults" in out
    assert f"{file}:{len(FILE.splitlines()) + 4}:1: host[3].surprise: unknown" in out
    assert ": host[3].breaker.open_for: 99 is too much; must be at most host[3].breaker.open_max (10)" in out
