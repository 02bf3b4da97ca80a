"""Tests that need a program beyond Python are skipped loudly, and never in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test suite with this one's conftest, on a machine with nothing on its PATH."""
    pytester.makeconftest(CONFTEST.read_text())
    pytester.path.joinpath("system-packages.txt").write_text("# program package why\nno-such-server  its-package  x\n")
    pytester.makeini("[pytest]\nmarkers = needs(name): a program\n")
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def server():
            raise AssertionError("started without the program")

        @pytest.mark.needs("no-such-server")
        def test_with_marker(server): ...

        def test_with_fixture(program):
            program("no-such-server")

        def test_without(): ...
        """
    )
    return pytester


def test_a_missing_program_skips_its_tests_and_the_last_lines_name_the_package(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=2)
    assert "packages to run them:" in result.outlines[-2]
    assert result.outlines[-1].split() == ["its-package"]


def test_a_missing_program_fails_its_tests_in_ci(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*needs no-such-server (Debian package its-package); in CI*"])


def test_a_program_that_is_not_listed_is_a_mistake_in_the_test(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    suite.makepyfile(
        test_other="""
        import pytest

        @pytest.mark.needs("unheard-of")
        def test_it(): ...
        """
    )
    result = suite.runpytest_inprocess("-p", "no:cacheprovider", "test_other.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*system-packages.txt does not list 'unheard-of'*"])
