"""Policies go into TOML and come back, and the shipped ones are what they say."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.policies_page import page
from sleepwalker.engine import passes_rate_limit
from sleepwalker.exceptions import PolicyError
from sleepwalker.policy import (
    SAFE_METHODS,
    BreakerPolicy,
    HealthPolicy,
    LogPolicy,
    Policy,
    PoolPolicy,
    RetryPolicy,
    toml,
)
from sleepwalker.policy.base import PolicyModel, part_of
from sleepwalker.policy.constraints import longest_waits
from sleepwalker.policy.descriptions import descriptions
from tests import ranges
from tests.unit.engine_driver import World, answer

ROOT = Path(__file__).parents[2]
SHIPPED = ("batch", "careful", "interactive", "off", "standard")

# --- generated policies


def numbers(low: float, high: float, **options: Any) -> st.SearchStrategy[Any]:
    floats = st.floats(low, high, **options)
    return floats | st.integers(max(1, int(low)), int(high)) if high >= 1 else floats


seconds = numbers(0.001, 2_000_000)
seconds_or_zero = numbers(0, 2_000_000) | st.just(0)
ratios = numbers(0, 1, exclude_min=True)
modes = st.sampled_from(["enforce", "observe"])
counts = st.integers(1, 1_000_000)
some_statuses = st.integers(200, 999) | st.just("5xx")
statuses = st.lists(some_statuses) | st.frozensets(some_statuses)


def off(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([False, None]) | strategy


def some(required: dict[str, Any] | None = None, /, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required or {}, optional=optional)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    connect, attempt, total = sorted(draw(st.lists(seconds, min_size=3, max_size=3)))
    data: dict[str, Any] = {"timeout": {"connect": connect, "read": draw(seconds), "attempt": attempt, "total": total}}
    data["timeout"]["propagate"] = draw(off(st.from_regex(r"X-[-!#$%&'*+.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)))
    initial, longest = sorted(draw(st.lists(numbers(0, 100), min_size=2, max_size=2)))
    retry = draw(
        some(
            {"attempts": st.integers(1, 100), "wait_multiplier": numbers(1, 100)},
            jitter=st.sampled_from(["full", "equal", "decorrelated", "none"]),
            statuses=statuses,
            methods=st.lists(st.from_regex(r"[-!#$%&'*+.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)),
            retry_after_max=seconds_or_zero,
            never_sent=st.booleans(),
            budget=off(some(ratio=ratios, min_per_second=numbers(0, 1_000_000), window=seconds)),
        )
    )
    retry |= {"wait_initial": initial, "wait_max": longest}
    waits = longest_waits(retry["attempts"], initial, retry["wait_multiplier"], longest, retry.get("jitter", "full"))
    if waits >= total:
        retry["attempts"] = 1
    data["retry"] = draw(off(st.just(retry)))
    open_for, open_max = sorted(draw(st.lists(seconds, min_size=2, max_size=2)))
    breaker = some(
        {"open_for": st.just(open_for), "open_max": st.just(open_max)},
        failure_ratio=ratios,
        window=seconds,
        min_calls=counts,
        consecutive=counts,
        statuses=statuses,
        half_open_probes=counts,
        close_after=counts,
        ramp=seconds_or_zero,
        mode=modes,
    )
    slow: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.fixed_dictionaries(
        {"slow_ratio": ratios, "slow_call": st.just(max(0.001, total / 2))}
    )
    if total > 0.001:
        breaker = st.builds(lambda one, other: one | other, breaker, slow)
    data["breaker"] = draw(off(breaker))
    below_total = st.floats(0, total, exclude_max=True)
    data["bulkhead"] = draw(off(some(max_concurrent=counts, max_wait=below_total, adaptive=st.booleans(), mode=modes)))
    rate = {"rate": numbers(0.0001, 1_000_000)}
    data["rate_limit"] = draw(off(some(rate, burst=off(counts), max_wait=below_total, mode=modes)))
    data["hedge"] = draw(
        off(some({"percentile": st.floats(0, 100, exclude_min=True, exclude_max=True)}, max_extra=st.integers(1, 10)))
    )
    rehook_initial, rehook_max = sorted(draw(st.lists(seconds_or_zero, min_size=2, max_size=2)))
    data["health"] = draw(
        some(
            {"rehook_initial": st.just(rehook_initial), "rehook_max": st.just(rehook_max)},
            window=seconds,
            degraded_below=ratios,
            broken_after=counts,
            idle=seconds,
            max_age=off(seconds),
            probe=off(st.from_regex(r"/[!-\"$->@-~]{0,30}", fullmatch=True)),
            probe_interval=seconds,
            unauthorized_evicts=st.booleans(),
        )
    )
    levels = st.sampled_from(["debug", "info", "warning", "error", "off"])
    data["log"] = draw(some(finished=levels, sample=numbers(0, 1)))
    data["pool"] = draw(
        some(
            size=st.integers(1, 10_000),
            idle=seconds_or_zero,
            max_age=off(seconds),
            block=st.booleans(),
            require_close_notify=st.booleans(),
        )
    )
    for part in draw(st.sets(st.sampled_from(["bulkhead", "rate_limit", "hedge", "health", "log", "pool"]))):
        del data[part]
    return data


@settings(deadline=None, max_examples=ranges.some(20, 60))  # a busy machine is no fault
@given(policies())
def test_every_policy_survives_the_way_through_toml_json_and_dict(data: dict[str, Any]) -> None:
    policy = Policy.from_dict(data)
    assert Policy.from_dict(tomllib.loads(policy.to_toml())) == policy
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict(), allow_nan=False))) == policy
    assert Policy(**policy.to_dict()) == policy.replace() == policy
    assert hash(Policy.from_dict(policy.to_dict())) == hash(policy)
    assert tomllib.loads(policy.to_toml()) == tomllib.loads(tomli_w.dumps(policy.to_dict()))
    assert schema_faults(SCHEMA, policy.to_dict()) == []


def test_the_word_for_all_server_errors_stands_for_what_it_says() -> None:
    all_but_501 = [status for status in range(500, 600) if status != 501]
    policy = Policy.from_dict(tomllib.loads('[breaker]\nstatuses = ["5xx", 429]\n[retry]\nstatuses = ["5xx"]'))
    assert policy.breaker is not None
    assert policy.retry is not None
    assert sorted(status for status in policy.breaker.statuses if status < 600) == [429, *all_but_501]
    assert policy.retry.statuses == BreakerPolicy().statuses == policy.breaker.statuses - {429}
    assert policy.to_dict()["breaker"]["statuses"] == ["5xx", 429]
    assert policy.breaker.model_dump(mode="json")["statuses"] == ["5xx", 429]
    assert policy.replace(breaker={"statuses": []}).to_toml().count("statuses = []") == 1
    assert BreakerPolicy(statuses=all_but_501).to_dict()["statuses"] == all_but_501
    assert RetryPolicy(methods=["5xx"]).methods == {"5XX"}  # a token, so a method as any other


keys = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
tables = st.recursive(
    st.dictionaries(keys, scalars | st.lists(scalars, max_size=4), max_size=4),
    lambda inner: st.dictionaries(keys, scalars | inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=ranges.some(20, 50))
@given(tables)
def test_the_toml_writer_writes_what_a_parser_reads_back(table: dict[str, Any]) -> None:
    """An empty table inside is the one thing that is not written: no part of a policy is empty."""
    assert tomllib.loads(toml.dumps(table)) == without_empty(table)


def without_empty(table: dict[str, Any]) -> dict[str, Any]:
    inner = {key: without_empty(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: value for key, value in inner.items() if value != {}}


def test_toml_is_written_for_people() -> None:
    text = Policy(retry={"budget": False}, bulkhead=False).to_toml()
    assert text.startswith("bulkhead = false\nrate_limit = false\nhedge = false\n\n[timeout]\nconnect = 3.05\n")
    assert "\nstatuses = [408, 429, 502, 503, 504]\n" in text
    assert "\nbudget = false\n\n[breaker]\n" in text
    assert text.endswith("\n")


# --- shipped files


def test_the_shipped_policies_are_known_by_name() -> None:
    assert Policy.names() == SHIPPED


def test_the_names_are_those_of_the_folder() -> None:
    assert tuple(sorted(file.stem for file in (ROOT / "policies").glob("*.toml"))) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_loads_the_same_by_name_and_by_path(name: str) -> None:
    path = ROOT / "policies" / f"{name}.toml"
    assert Policy.load(name) == Policy.load(path) == Policy.load(str(path))


def test_the_standard_file_holds_the_defaults() -> None:
    assert Policy.load("standard") == Policy()


def test_the_standard_file_names_every_field() -> None:
    """It is the file that people copy from. The rate limit is a comment: see the next test."""
    text = (ROOT / "policies/standard.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text.replace("# rate_limit", "rate_limit")) == Policy().to_dict()


def test_of_the_shipped_policies_only_off_passes_a_hosts_rate_limit_by() -> None:
    """Said in a file that calls follow by default or that people copy, a limit would be off unintentionally."""
    assert [name for name in SHIPPED if passes_rate_limit(Policy.load(name))] == ["off"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_begins_with_when_to_use_it_and_explains_its_numbers(name: str) -> None:
    text = (ROOT / "policies" / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}: ")
    settings = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) >= max(5, len(settings) // 2)
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_shipped_policy_is_read_once() -> None:
    """A call may name its policy; it should not read a file each time."""
    assert Policy.load("batch") is Policy.load("batch")


def test_interactive_is_over_before_a_person_leaves_and_fits_two_whole_attempts() -> None:
    policy = Policy.load("interactive")
    assert policy.timeout.total <= 5
    assert policy.retry is not None
    assert policy.retry.attempts * policy.timeout.attempt + policy.retry.wait_initial < policy.timeout.total


def test_the_retries_of_one_batch_call_do_not_open_the_circuit_themselves() -> None:
    policy = Policy.load("batch")
    here = World(policy)
    assert len(here.call(answer(503)).sends) == 8
    assert here.host.snapshot().breaker == "closed"
    assert policy.timeout.total > 10 * Policy().timeout.total


def test_a_batch_call_waits_for_its_circuit_as_long_as_its_total_allows() -> None:
    policy = Policy.load("batch")
    assert policy.breaker is not None
    assert policy.breaker.max_wait >= policy.timeout.total


def test_careful_differs_from_standard_in_the_methods_alone() -> None:
    assert Policy.load("careful") == Policy().replace(retry={"methods": ["GET", "HEAD", "OPTIONS", "TRACE"]})
    assert {"GET", "HEAD", "OPTIONS", "TRACE"} == SAFE_METHODS


def test_off_is_one_plain_send() -> None:
    policy = Policy.load("off")
    assert [policy.retry, policy.breaker, policy.bulkhead, policy.rate_limit, policy.hedge] == [None] * 5
    assert policy.timeout.attempt == policy.timeout.total >= 3600
    assert (policy.health, policy.log, policy.pool) == (HealthPolicy(), LogPolicy(), PoolPolicy(max_age=None))


# --- loading


def failure(what: Any) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        Policy.load(what)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert len(caught.value.faults) >= 1
    return caught.value


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    error = failure("standrad")
    assert str(error) == (
        "1 fault in policy name 'standrad':\n  name: unknown; did you mean standard? shipped: batch, careful, "
        "interactive, off, standard; a path needs a / or the suffix .toml"
    )


@pytest.mark.parametrize("name", ["", "Standard", "__init__", "x" * 500, "standard ", "standard\n"])
def test_only_the_exact_name_loads(name: str) -> None:
    assert "shipped: batch, careful, interactive, off, standard" in str(failure(name))


@pytest.mark.parametrize("what", [None, 3, True, ["standard"], {"timeout": {}}, Policy(), b"standard"])
def test_what_is_neither_name_nor_path_is_refused(what: Any) -> None:
    assert f"name_or_path: a {type(what).__name__} is not allowed; must be a shipped" in str(failure(what))


def test_a_file_without_suffix_loads_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("retry = false\n")
    monkeypatch.chdir(tmp_path)
    assert Policy.load("./mine") == Policy.load(Path("mine")) == Policy(retry=False)


def test_a_file_that_begins_with_a_byte_order_mark_loads(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_bytes(b"\xef\xbb\xbf[timeout]\r\ntotal = 20\r\n")
    assert Policy.load(tmp_path / "p.toml").timeout.total == 20


def test_an_empty_file_is_the_standard_policy(tmp_path: Path) -> None:
    (tmp_path / "p.toml").touch()
    assert Policy.load(tmp_path / "p.toml") == Policy()


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("retry = false")
    assert Policy.load(path).retry is None
    path.write_text("")
    assert Policy.load(path).retry is not None


def test_a_table_for_many_hosts_may_stand_on_one_line(tmp_path: Path) -> None:
    """As `to_toml` writes it: it was called nested too deeply."""
    policy = Policy(host=[{"match": [f"https://h{number}.eu.example.com" for number in range(500)]}])
    path = tmp_path / "many.toml"
    path.write_text(policy.to_toml())
    assert Policy.load(path) == policy


@pytest.mark.parametrize(
    "text",
    ['"""\n"""', "'''\n'''", '"\'"', "'\"'", r'"\""', r'"""\"""""', '"""a"""""', "'" * 6, "'" * 8, '""', "1 # '"],
)
def test_a_long_key_takes_no_time_wherever_texts_begin_and_end(tmp_path: Path, text: str) -> None:
    path = tmp_path / "long.toml"
    path.write_text(f"a = {text}\n{'b.' * 100_000}b = 1\n")
    assert failure(path).faults == ("not TOML for a policy: nested too deeply",)
    path.write_text(f"a = {text}\nb = 1\n")
    assert failure(path).faults[0].startswith("a: unknown"), "it is TOML"


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[timeout]\nconnect = \n", r"not TOML: .*\(at line 2, column 11\)"),
        (b"[timeout\n", r"not TOML: .*\(at line 1, column 9\)"),
        (b"a = 1\na = 2\n", r"not TOML: .*\(at line 2, column 6\)"),
        (b"a = '\xff'\n", r"not TOML: byte 5 is not UTF-8 \(line 1\)"),
        (b"a = " + b"[" * 100_000, r"not TOML for a policy: nested too deeply"),
        (b"a = " + b"1" * 5_000, r"not TOML for a policy: a number has more digits than Python reads"),
        (b"[" + b"a" * 100_000 + b"]\n" + b"[" + b"a" * 100_000 + b"]\n", r"not TOML: .{,110}\(at line 2, .{,20}\)"),
    ],
)
def test_a_file_that_is_not_toml_is_named_with_the_place(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    error = failure(path)
    assert str(error).startswith(f"1 fault in policy file {path}:\n")
    assert re.fullmatch(fault, error.faults[0])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert str(failure(missing)) == f"1 fault in policy file {missing}:\n  cannot be read: No such file or directory"
    assert "cannot be read: Is a directory" in str(failure(tmp_path))
    assert "cannot be read: " in str(failure("a\0.toml"))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (os.mkfifo, "it is a pipe, not a regular file"),
        (lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "it is a socket, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a regular file"),
        (Path.mkdir, "Is a directory"),
        (lambda path: path.write_bytes(b"#" * 1_000_001), "it has more than 1,000,000 bytes"),
    ],
    ids=["pipe", "socket", "device", "folder", "large"],
)
def test_what_is_no_regular_file_of_a_policys_size_is_not_read(
    tmp_path: Path, made: Callable[[Path], object], says: str
) -> None:
    """A pipe would be waited for, a device read for ever."""
    path = tmp_path / "p.toml"
    made(path)
    assert str(failure(path)) == f"1 fault in policy file {path}:\n  cannot be read: {says}"


def test_the_largest_file_and_the_null_device_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"#" * 1_000_000)
    assert Policy.load(path) == Policy.load("/dev/null") == Policy()


@pytest.mark.parametrize(
    "content",
    [
        '[default]\naws_secret = "S3CRET"\n[db]\nurl = "postgres://u:S3CRET@h"\n[[keys]]\nlog = ["S3CRET"]\n',
        'token = "S3CRET"\ntoken = "S3CRET"\n',
        "token = S3CRET\n",
        "API_KEY=S3CRET",
        "S3CRET\n",
        'token = "S3CRET\n',
        'token = "\\S3CRET"\n',
        'a = { b = "S3CRET", b = "S3CRET" }\n',
        'log = "S3CRET"\nretry = ["S3CRET"]\n[timeout.connect]\na = "S3CRET"\n',
        "-----BEGIN PRIVATE KEY-----\nS3CRET\n",
        "machine h login u password S3CRET\n",
    ],
)
def test_a_file_that_is_no_policy_quotes_none_of_its_values(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secrets.toml"
    path.write_text(content, encoding="utf-8")
    error = failure(path)
    assert "S3CRET" not in str(error)
    assert "S3CRET" not in repr(error.faults)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_url_is_no_path_and_is_not_shown() -> None:
    error = failure("https://user:s3cr3t@example.com/policy.toml?token=s3cr3t")
    assert "a URL is not allowed" in str(error)
    assert "s3cr3t" not in str(error)


def test_all_faults_of_a_file_are_reported_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("hedge = true\n[timeout]\nconnect = '3'\nattempt = 40\n[retry.budget]\nratio = 0\nx = 1\n")
    error = failure(path)
    assert str(error).startswith(f"5 faults in policy file {path}:\n")
    assert [fault.partition(":")[0] for fault in error.faults] == [
        "timeout.connect",
        "timeout.attempt",
        "retry.budget.x",
        "retry.budget.ratio",
        "hedge",
    ]


@pytest.mark.parametrize("value", ["1979-05-27", "07:32:00", "nan", "inf", "'x'", "[1]", "{ a = 1 }"])
def test_what_toml_knows_and_a_duration_is_not_is_a_fault(tmp_path: Path, value: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(f"[timeout]\ntotal = {value}\n")
    assert failure(path).faults[0].startswith("timeout.total: ")


# --- schema


def schema_faults(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """What a JSON-schema validator would say, for the keywords that ours uses; any other keyword is an error."""
    known = {"$schema", "$defs", "title", "description", "default", "type"}
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool}
    kinds |= {"integer": int, "number": (int, float)}
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{path} type"]
    faults = []
    for keyword, rule in schema.items():
        match keyword:
            case "$ref":
                faults += schema_faults(SCHEMA["$defs"][rule.removeprefix("#/$defs/")], value, path)
            case "allOf":  # older pydantic wraps a reference that has a default
                faults += [fault for option in rule for fault in schema_faults(option, value, path)]
            case "anyOf":
                if all(schema_faults(option, value, path) for option in rule):
                    faults.append(f"{path} anyOf")
            case "const":
                if value != rule or type(value) is not type(rule):
                    faults.append(f"{path} const")
            case "enum":
                faults += [] if value in rule else [f"{path} enum"]
            case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
                if isinstance(value, int | float):
                    good = {"minimum": value >= rule, "maximum": value <= rule}
                    good |= {"exclusiveMinimum": value > rule, "exclusiveMaximum": value < rule}
                    faults += [] if good[keyword] else [f"{path} {keyword}"]
            case "pattern":
                if isinstance(value, str) and not re.search(rule, value):
                    faults.append(f"{path} pattern")
            case "uniqueItems":
                faults += [] if len(set(value)) == len(value) else [f"{path} uniqueItems"]
            case "minItems":
                faults += [] if len(value) >= rule else [f"{path} minItems"]
            case "items":
                faults += [fault for item in value for fault in schema_faults(rule, item, path)]
            case "properties":
                for key in set(value) & set(rule):
                    faults += schema_faults(rule[key], value[key], f"{path}.{key}".lstrip("."))
            case "additionalProperties":
                faults += [f"{path}.{key} unknown" for key in value if key not in schema["properties"]]
            case "required":
                faults += [f"{path}.{key} missing" for key in rule if key not in value]
            case _:
                assert keyword in known, keyword
    return sorted(faults, key=lambda fault: fault.split()[0])


SCHEMA = Policy.json_schema()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_schema_accepts_the_shipped_files(name: str) -> None:
    data = tomllib.loads((ROOT / "policies" / f"{name}.toml").read_text(encoding="utf-8"))
    assert schema_faults(SCHEMA, data) == []


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"timeout": {"connect": 0}}, "timeout.connect minimum"),
        ({"timeout": {"connect": "3"}}, "timeout.connect type"),
        ({"timeout": {"connect": True}}, "timeout.connect type"),
        ({"timeout": {"totl": 3}}, "timeout.totl unknown"),
        ({"timeout": False}, "timeout type"),
        ({"retry": True}, "retry anyOf"),
        ({"retry": {"statuses": [199]}}, "retry anyOf"),
        ({"breaker": {"statuses": ["4xx"]}}, "breaker anyOf"),
        ({"retry": {"methods": ["A B"]}}, "retry anyOf"),
        ({"rate_limit": {}}, "rate_limit anyOf"),
        ({"log": {"finished": "loud"}}, "log.finished enum"),
        ({"health": {"probe": "x"}}, "health.probe anyOf"),
        ({"health": {"degraded_below": 0}}, "health.degraded_below exclusiveMinimum"),
        ({"surprise": 1}, ".surprise unknown"),
    ],
)
def test_the_schema_refuses_what_the_policy_refuses(data: dict[str, Any], fault: str) -> None:
    assert schema_faults(SCHEMA, data) == [fault]
    with pytest.raises(PolicyError):
        Policy.from_dict(data)


def every_field(cls: type[PolicyModel], schema: dict[str, Any]) -> list[tuple[type[PolicyModel], str, dict[str, Any]]]:
    found = []
    for name in cls.model_fields:
        found.append((cls, name, schema["properties"][name]))
        part = part_of(cls, name)
        if part:
            found += every_field(part, SCHEMA["$defs"][part.__name__])
    return found


def test_the_schema_describes_every_field_and_knows_its_default_as_toml_writes_it() -> None:
    fields = every_field(Policy, SCHEMA)
    assert len(fields) > 55
    for cls, name, schema in fields:
        assert schema["description"] == descriptions(cls)[name]
        if not cls.model_fields[name].is_required():
            assert schema_faults(schema, schema["default"]) == []
    assert "null" not in json.dumps(SCHEMA)
    breaker = SCHEMA["$defs"][BreakerPolicy.__name__]["properties"]
    assert breaker["slow_call"]["default"] is False


def test_every_field_says_its_unit_and_reason() -> None:
    for cls, name, _ in every_field(Policy, SCHEMA):
        description = descriptions(cls)[name]
        assert len(description) > 20, f"{cls.__name__}.{name}"
        assert description.endswith("."), f"{cls.__name__}.{name}"
        if "minimum': 0.001" in str(cls.model_json_schema()["properties"][name]):
            assert description.startswith("Seconds"), f"{cls.__name__}.{name}"


# --- reference


def test_the_reference_page_is_the_generated_one() -> None:
    """`make reference` writes it anew."""
    assert (ROOT / "docs/reference/policies.md").read_text(encoding="utf-8") == page()


def test_the_reference_page_has_every_field() -> None:
    text = page()
    for cls, name, _ in every_field(Policy, SCHEMA):
        assert (f"| `{name}` |" in text) or part_of(cls, name), name
        if cls is Policy:
            assert f"\n## {name}\n" in text


def test_policies_are_found_where_python_was_started_in_a_checkout_that_is_not_installed() -> None:
    """Its current folder has the package, and beside that the folder of policies, which nothing maps into it."""
    run = (
        "import importlib.resources as resources, sys\n"
        "found = resources.files\n"
        "def files(name):\n"
        "    if name == 'sleepwalker.policies': raise ModuleNotFoundError(name)\n"
        "    return found(name)\n"
        "resources.files = files\n"
        "from sleepwalker import Policy\n"
        "print(*Policy.names(), Policy.load('batch').timeout.total)\n"
    )
    said = subprocess.run([sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == [*SHIPPED, str(Policy.load("batch").timeout.total)]


def test_the_repr_of_a_policy_names_statuses_as_a_file_does() -> None:
    """Not hundreds of numbers."""
    assert "statuses=['5xx']" in repr(Policy())
    assert len(repr(Policy())) < 2_000
