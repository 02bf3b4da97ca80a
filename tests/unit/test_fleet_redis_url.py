"""The URL of a fleet's Redis: what it may be, and what is said of one that is wrong, which shows nothing of it."""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest

from sleepwalker.fleet.redis import RedisStore
from sleepwalker.fleet.redis.address import Address, read


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache", "redis://cache:6379/0"),
        ("redis://app:s3cret@cache:6380/2", "redis://cache:6380/2"),
        ("redis://cache?db=3", "redis://cache:6379/3"),
        ("redis://[::1]:7000/1", "redis://[::1]:7000/1"),
        ("rediss://:s3cret@cache?ssl_ca_certs=/etc/ca.pem", "rediss://cache:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix://app:s3cret@/run/redis.sock?db=2", "unix:///run/redis.sock"),
        ("unix:///run/redis.sock?password=s3cret", "unix:///run/redis.sock"),
        ("redis+sentinel://a,b:1,[::2]/billing", "redis+sentinel://a:26379,b:1,[::2]:26379/billing/0"),
        ("rediss+sentinel://u:s3cret@a/billing/4?sentinel_password=s3cret", "rediss+sentinel://a:26379/billing/4"),
        ("redis+cluster://app:s3cret@a:7000,b", "redis+cluster://a:7000,b:6379"),
        ("rediss+cluster://a", "rediss+cluster://a:6379"),
    ],
)
def test_what_is_shown_of_a_url_has_no_credentials(url: str, shown: str) -> None:
    store = RedisStore(url, "billing", timeout=1)
    assert (store.shown, repr(store)) == (shown, f"RedisStore({shown!r})")
    assert "s3cret" not in repr(read(url))


def test_parts_of_a_url_are_read_as_they_were_escaped() -> None:
    found = read("rediss+sentinel://us%40er:p%2Fw%3A%25@a:1,b/bil%20ling/4?ssl_check_hostname=no&sentinel_username=s")
    assert found == Address(
        "sentinel",
        shown="rediss+sentinel://a:1,b:26379/bil ling/4",
        nodes=(("a", 1), ("b", 26379)),
        db=4,
        master="bil ling",
        tls=True,
        tls_options={"ssl_check_hostname": False},
        login=("us@er", "p/w:%"),
        sentinel_login=("s", None),
    )


WRONG = [
    ("http://u:s3cret@cache", "begins with one of redis://, rediss://"),
    ("s3cret", "begins with one of"),
    ("redis:s3cret", "begins with one of"),
    ("redis:///0?s3cret", "names no host"),
    ("redis://:s3cret@", "names no host"),
    ("redis://user:s3cret/more@cache", "must be escaped there"),
    ("redis://user:12?s3cret@cache", "must be escaped there"),
    ("redis://user:12#s3cret@cache", "must be escaped there"),
    ("redis://u:s3cret@cache#part", "must be escaped there"),
    ("redis://u:s3cret@cache/ 1", "a space or a control character"),
    ("redis://u:s3cret@cache:none", "a port that is not a number from 1 to 65535"),
    ("redis://cache:s3cret", "a port that is not a number from 1 to 65535"),
    ("redis://u:s3cret@cache:65536", "a port that is not a number"),
    ("redis://u:s3cret@[::1", "cannot be read: write an IPv6 address"),
    ("redis://u:s3cret@[::1]x", "cannot be read|a port that is not a number"),
    ("redis://cache/s3cret", "a database that is not a number"),
    ("redis://u:s3cret@cache/1/2", "has something after the database number"),
    ("redis://u:s3cret@a,b", "names several servers"),
    ("redis://u:s3cret@cache?timeout=1", r"an option that its scheme does not allow \(number 1\); allowed are: db$"),
    ("redis://u:s3cret@cache?ssl_ca_certs=x", r"\(ssl_ca_certs\); allowed are: db$"),
    ("redis://cache?s3cret=1", r"\(number 1\)"),
    ("rediss://u:s3cret@cache?ssl_cert_reqs=s3cret", "is one of: none, optional, required"),
    ("rediss://u:s3cret@cache?ssl_check_hostname=s3cret", "is one of: true"),
    ("redis+sentinel://u:s3cret@a", "lacks the name of the master that Sentinel monitors"),
    ("redis+cluster://u:s3cret@a/1", "has only database 0"),
    ("unix://u:s3cret@run/redis.sock", "three slashes"),
    ("unix:///run/redis.sock?db=s3cret", "a database that is not a number"),
]


@pytest.mark.parametrize(("number", "text"), [(number, text) for number, (_, text) in enumerate(WRONG)])
def test_a_wrong_url_is_told_without_anything_of_it(number: int, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        RedisStore(WRONG[number][0], "billing", timeout=1)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "\n" not in str(caught.value)
    whole = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame.locals for frame in whole.stack if "sleepwalker/fleet" in frame.filename]
    assert len(ours) > 1
    assert "s3cret" not in repr((str(caught.value), ours))


@pytest.mark.parametrize(("service", "timeout"), [("", 1), ("x" * 301, 1), ("billing", 0), ("billing", float("nan"))])
def test_a_service_has_a_name_and_a_timeout_is_positive(service: str, timeout: float) -> None:
    with pytest.raises(ValueError, match=r"^(service|timeout) must"):
        RedisStore("redis://cache", service, timeout=timeout)


def test_without_redis_a_store_cannot_be_made_and_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from sleepwalker.fleet.redis import RedisStore\n"
        "try: RedisStore('redis://cache', 'billing', timeout=1)\n"
        "except ModuleNotFoundError as error: print(error, '|', error.name, error.__context__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip() == "a fleet in Redis needs the package redis: pip install 'sleepwalker[fleet]' | redis None"
    )
