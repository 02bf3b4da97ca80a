"""The processes that `make test` runs tests in: what they report, and what one that dies leaves to the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.left_to_ci]

ROOT = Path(__file__).parents[2]

#: Files of tests in which each process leaves its number.
CONFTEST = """
import os, pathlib, pytest
pytest_plugins = ("tests.side_by_side",)

@pytest.fixture(scope="session", autouse=True)
def process():
    yield
    pathlib.Path(f"torn-down-{os.getpid()}").touch()
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(CONFTEST)
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return suite.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, timeout=60)


MANY = """
import os, pathlib, pytest, time

@pytest.mark.parametrize("number", range(40))
def test_one(number):
    with pathlib.Path("pids").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    # here
    time.sleep(0.02)
"""


def test_each_test_runs_once_and_several_processes_share_them(suite: pytest.Pytester) -> None:
    suite.makepyfile(MANY)
    run(suite, "--processes=3").assert_outcomes(passed=40)
    pids = (suite.path / "pids").read_text().split()
    assert len(pids) == 40
    assert len(set(pids)) == 3
    assert {f"torn-down-{pid}" for pid in pids} == {path.name for path in suite.path.glob("torn-down-*")}


def test_every_outcome_is_told_with_its_output_and_its_warnings(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import os, warnings, pytest

        @pytest.fixture
        def breaks():
            raise OSError("no such fixture's server")

        @pytest.fixture
        def breaks_later():
            yield
            raise OSError("it went away")

        def test_passes(capsys):
            print("seen by none")

        def test_fails():
            os.write(1, b"said before")
            assert [1, 2] == [1, 3]

        def test_needs_it(breaks): ...
        def test_needs_it_to_the_end(breaks_later): ...

        @pytest.mark.skip(reason="not here")
        def test_skipped(): ...

        @pytest.mark.xfail
        def test_expected(): assert False

        def test_warns():
            warnings.warn("old names", DeprecationWarning)
        """
    )
    suite.makepyfile(test_more="def test_other(): print('of another file')")
    result = run(suite, "--processes=2", "-rs")
    result.assert_outcomes(passed=4, failed=1, errors=2, skipped=1, xfailed=1, warnings=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines_random(
        [
            "*assert [[]1, 2] == [[]1, 3]",
            "said before",
            "*OSError: no such fixture's server",
            "*OSError: it went away",
            "SKIPPED*not here",
            "*DeprecationWarning: old names*",
        ]
    )
    result.stdout.no_fnmatch_line("*of another file*")
    result.stdout.no_fnmatch_line("*seen by none*")


def test_a_part_of_a_test_that_fails_is_told(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import unittest

        class Test(unittest.TestCase):
            def test_parts(self):
                for number in range(3):
                    with self.subTest(number=number):
                        self.assertNotEqual(number, 1)

        def test_other(): ...
        """
    )
    result = run(suite, "--processes=2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*1 == 1*"])


def test_what_the_last_test_leaves_to_the_garbage_collector_fails_the_run(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        class Broken:
            def __init__(self): self.me = self
            def __del__(self): raise OSError("left open")

        def test_first(): ...
        def test_last(): Broken()
        """
    )
    result = run(suite, "--processes=2", "-W", "error")
    assert result.ret != pytest.ExitCode.OK
    assert "left open" in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise KeyboardInterrupt", "was ended by a KeyboardInterrupt"),
        ("os.fork() or time.sleep(60); os.kill(os.getpid(), 9)", "was killed by signal 9"),
        ("os.kill(os.getpid(), 9)", "was killed by signal 9"),
        ("os._exit(7)", "ended with exit code 7"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("pytest.exit('enough')", "ended with exit code 1"),
    ],
)
def test_a_test_that_ends_its_process_fails_and_all_others_run(suite: pytest.Pytester, how: str, said: str) -> None:
    suite.makepyfile(MANY.replace("# here", f"if number == 17: {how}"))
    begin = time.monotonic()
    result = run(suite, "--processes=2")
    assert time.monotonic() - begin < 50
    result.assert_outcomes(passed=39, failed=1)
    result.stdout.fnmatch_lines(["*test_one[[]17[]]*"])
    assert said in result.stdout.str()


def test_enough_failures_end_the_run(suite: pytest.Pytester) -> None:
    suite.makepyfile(MANY.replace("# here", "assert number != 3"))
    result = run(suite, "--processes=2", "-x")
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len((suite.path / "pids").read_text().split()) < 40


def test_what_a_test_has_forked_and_not_ended_runs_no_other_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(MANY.replace("# here", "if number == 17: os.fork()"))
    run(suite, "--processes=2").assert_outcomes(passed=40)


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_a_run_that_is_to_end_leaves_no_process_and_tears_fixtures_down(
    suite: pytest.Pytester, signum: int, times: int
) -> None:
    """At the second Ctrl-C nothing is waited for."""
    suite.makepyfile(MANY.replace("0.02", "30"))
    if times == 2:
        suite.makeconftest(CONFTEST.replace("    yield\n", "    yield\n    import time; time.sleep(8)\n"))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--processes=2"]
    with subprocess.Popen(
        command, cwd=suite.path, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        late = time.monotonic() + 30
        pids: list[str] = []
        while len(pids) < 2:
            assert time.monotonic() < late
            time.sleep(0.05)
            pids = (suite.path / "pids").read_text().split() if (suite.path / "pids").exists() else []
        for _ in range(times):
            (os.killpg if signum == signal.SIGINT else os.kill)(running.pid, signum)
            time.sleep(1)
        said, _ = running.communicate(timeout=6 if times == 2 else 30)
    assert running.returncode == pytest.ExitCode.INTERRUPTED, said
    for pid in pids:
        assert (suite.path / f"torn-down-{pid}").exists() == (times == 1)
        assert not Path(f"/proc/{pid}").exists()


def test_tests_that_share_a_fixture_of_their_module_run_in_one_process(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pathlib, pytest

        @pytest.fixture(scope="module")
        def costly():
            with pathlib.Path("made").open("a") as file:
                file.write("once\\n")

        @pytest.mark.parametrize("number", range(30))
        def test_one(costly, number): ...

        @pytest.mark.parametrize("number", range(30))
        def test_without(number): ...
        """
    )
    run(suite, "--processes=4").assert_outcomes(passed=60)
    assert (suite.path / "made").read_text() == "once\n"


def test_a_file_that_starts_a_thread_is_refused_with_the_way_out(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        f"import threading, time\nthreading.Thread(target=time.sleep, args=[60], daemon=True).start()\n{MANY}"
    )
    result = run(suite, "--processes=2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "start them in a fixture, or run with --processes=1" in result.stdout.str() + result.stderr.str()


def test_a_number_that_is_none_is_refused(suite: pytest.Pytester) -> None:
    suite.makepyfile(MANY)
    result = run(suite, "--processes=many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--processes is 'many': give a number of processes, or 'auto'*"])


def test_one_folder_for_all_is_refused(suite: pytest.Pytester) -> None:
    suite.makepyfile(MANY)
    result = run(suite, "--processes=2", "--basetemp=here")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--basetemp is one folder, which each process would empty: add --processes=1"])


def test_a_failed_test_leaves_its_files(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pathlib, pytest

        def test_fails(tmp_path):
            pathlib.Path("where").write_text(str(tmp_path))
            assert False

        def test_other(): ...
        """
    )
    run(suite, "--processes=2").assert_outcomes(passed=1, failed=1)
    assert Path((suite.path / "where").read_text()).is_dir()


def test_files_that_cannot_be_read_are_told_as_ever(suite: pytest.Pytester) -> None:
    suite.makepyfile("import no_such_module")
    result = run(suite, "--processes=2")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*No module named 'no_such_module'*", "*1 error during collection*"])
