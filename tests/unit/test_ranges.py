"""What a download asks for next, and what a response means: no byte of one version ends up in another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from requests.structures import CaseInsensitiveDict

from sleepwalker.downloads import ranges
from sleepwalker.downloads.ranges import ALL, STEP, Advance, Answer, Ask, Kept, Take, answer, ask, validator_of
from tests.ranges import some

TAG = '"v1"'
KEPT = Kept(TAG, 100)
#: The rest of 100 bytes, of which 50 are there.
REST = Ask(40, KEPT, 50)
MODIFIED = "Sat, 01 Jun 2024 11:00:00 GMT"


@pytest.fixture(autouse=True, scope="module")
def overlap() -> Iterator[None]:
    """A short one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "OVERLAP", 10)
        yield


def headers(**fields: str) -> CaseInsensitiveDict[str]:
    return CaseInsensitiveDict({name.replace("_", "-"): value for name, value in fields.items()})


def rest(content_range: str = "bytes 40-99/100", **fields: str) -> CaseInsensitiveDict[str]:
    return headers(**{"Content_Range": content_range, "ETag": TAG, **fields})


# What to ask for


def test_the_rest_is_asked_for_with_the_version_that_it_must_be_of() -> None:
    assert ask(KEPT, 50).headers() == {"Range": "bytes=40-", "If-Range": TAG}
    assert ask(KEPT, 50) == REST


@pytest.mark.parametrize(
    ("kept", "size"), [(None, 40), (Kept(None, 100), 40), (KEPT, 0), (KEPT, 10), (KEPT, 101)],
    ids=["no note", "no validator", "nothing there", "no more than the overlap", "more than there is"],
)  # fmt: skip
def test_all_is_asked_for_where_nothing_can_be_gone_on_with(kept: Kept | None, size: int) -> None:
    assert ask(kept, size).headers() == {}


def test_of_a_whole_part_the_last_bytes_are_asked_for_which_tell_whether_it_is_still_the_same() -> None:
    assert ask(KEPT, 100) == Ask(90, KEPT, 100)


# Validators


@pytest.mark.parametrize(
    ("fields", "validator"),
    [
        ({"ETag": TAG}, TAG),
        ({"ETag": ' "a,b" '}, '"a,b"'),
        ({"ETag": 'W/"v1"'}, None),
        ({"ETag": "v1"}, None),
        ({"ETag": '"a"b"'}, None),
        ({"ETag": f'"{"x" * 2000}"'}, None),
        ({"ETag": TAG, "Accept-Ranges": "none"}, None),
        ({"Last-Modified": MODIFIED, "Date": "Sat, 01 Jun 2024 11:00:01 GMT"}, MODIFIED),
        ({"Last-Modified": MODIFIED, "Date": MODIFIED}, None),
        ({"Last-Modified": MODIFIED}, None),
        ({"Last-Modified": "yesterday", "Date": MODIFIED}, None),
        ({"Last-Modified": f"{MODIFIED}\x01", "Date": "Sat, 01 Jun 2024 12:00:00 GMT"}, None),
        ({"Last-Modified": f"{MODIFIED} \u2603", "Date": "Sat, 01 Jun 2024 12:00:00 GMT"}, None),
        ({"Last-Modified": MODIFIED, "Date": "Sat, 01 Jun 2024 12:00:00 GMT", "ETag": 'W/"v1"'}, None),
        ({}, None),
    ],
)
def test_only_a_strong_validator_may_be_sent_in_if_range(fields: dict[str, str], validator: str | None) -> None:
    """RFC 9110, sections 13.1.5 and 8.8.2.2."""
    assert validator_of(CaseInsensitiveDict(fields)) == validator


# What a response means


@pytest.mark.parametrize("asked", [ALL, REST], ids=["all", "rest"])
def test_a_200_is_the_whole_file_also_where_the_rest_was_asked_for(asked: Ask) -> None:
    taken = answer(asked, 200, headers(Content_Length="120", ETag='"v2"'))
    assert taken == Take(0, 120, Kept('"v2"', 120))


@pytest.mark.parametrize("says", ["bytes 40-99/100", "bytes 0-39/100", "bytes 0-39/*"])
def test_a_200_that_says_it_is_a_range_is_not_the_whole_file(says: str) -> None:
    """As of a server that means 206. Its body would be a file that begins in the middle."""
    assert answer(REST, 200, rest(says)) is Answer.ANEW
    assert answer(ALL, 200, rest(says)) is Answer.NO_FILE


def test_a_200_with_a_range_of_all_bytes_is_the_whole_file() -> None:
    assert answer(ALL, 200, rest("bytes 0-99/100", Content_Length="100")) == Take(0, 100, KEPT)


def test_a_chunked_200_has_no_length_and_can_be_gone_on_with() -> None:
    taken = answer(ALL, 200, headers(Transfer_Encoding="chunked", Content_Length="7", ETag=TAG))
    assert taken == Take(0, None, Kept(TAG, None))


def test_an_encoded_200_is_decoded_and_cannot_be_gone_on_with() -> None:
    taken = answer(ALL, 200, headers(Content_Encoding="gzip", Content_Length="50", ETag=TAG))
    assert taken == Take(0, None, Kept(None, None), encoded=True)


def test_the_range_that_was_asked_for_is_taken() -> None:
    assert answer(REST, 206, rest(Content_Length="60")) == Take(40, 60, KEPT, partial=True)


def test_a_shorter_range_is_taken_and_is_not_the_end() -> None:
    taken = answer(REST, 206, rest("bytes 40-59/100"))
    assert isinstance(taken, Take)
    assert (taken.length, taken.is_whole(60), taken.is_whole(100)) == (20, False, True)


def test_a_range_of_an_unknown_whole_is_not_the_end() -> None:
    taken = answer(Ask(40, Kept(TAG, None)), 206, rest("bytes 40-99/*"))
    assert isinstance(taken, Take)
    assert not taken.is_whole(100)


def test_a_range_tells_the_length_of_all() -> None:
    taken = answer(Ask(40, Kept(TAG, None)), 206, rest())
    assert isinstance(taken, Take)
    assert taken.kept == KEPT


@pytest.mark.parametrize(
    "fields",
    [
        rest("bytes 41-99/100"),
        rest("bytes 0-99/100"),
        rest("bytes 40-99/101"),
        rest("bytes 40-100/100"),
        rest("bytes 40-120/*"),
        rest("bytes 40-39/100"),
        rest("bytes 40-"),
        rest("lines 40-99/100"),
        rest("bytes 40-99/100", Content_Length="61"),
        rest("bytes 40-99/100", ETag='"v2"'),
        rest("bytes 40-99/100", ETag='W/"v1"'),
        rest("bytes 40-99/100", Content_Encoding="gzip"),
        headers(Content_Type="multipart/byteranges; boundary=x", ETag=TAG),
        rest(Content_Type="Multipart/Byteranges"),
        headers(ETag=TAG),
    ],
    ids=lambda fields: " ".join(fields.values())[:50],
)
def test_another_range_than_was_asked_for_is_of_no_use(fields: CaseInsensitiveDict[str]) -> None:
    assert answer(REST, 206, fields) is Answer.ANEW


def test_a_range_of_a_file_with_another_date_is_of_no_use() -> None:
    asked = Ask(40, Kept(MODIFIED, 100))
    fields = headers(Content_Range="bytes 40-99/100", Last_Modified="Sat, 01 Jun 2024 11:00:09 GMT")
    assert answer(asked, 206, fields) is Answer.ANEW


def test_a_range_of_a_file_that_is_shorter_than_what_is_there_is_of_no_use() -> None:
    assert answer(Ask(40, Kept(TAG, None), 50), 206, rest("bytes 40-44/45")) is Answer.ANEW


def test_a_range_without_a_validator_of_its_own_is_taken() -> None:
    assert isinstance(answer(REST, 206, headers(Content_Range="bytes 40-99/100")), Take)


def test_a_416_means_that_it_is_another_file_for_bytes_that_are_there_were_asked_for() -> None:
    assert answer(REST, 416, headers(Content_Range="bytes */40")) is Answer.ANEW
    assert answer(ALL, 416, headers(Content_Range="bytes */40")) is Answer.REFUSED


@pytest.mark.parametrize(
    ("status", "meant"),
    [(404, Answer.REFUSED), (503, Answer.REFUSED), (204, Answer.NO_FILE), (304, Answer.NO_FILE), (206, Answer.NO_FILE)],
)
def test_a_response_without_a_file_is_no_file(status: int, meant: Answer) -> None:
    assert answer(ALL, status, rest("bytes 0-99/100")) is meant


# Progress


def test_progress_is_a_step_further_than_ever_before_in_the_call() -> None:
    advance = Advance(1000)
    assert not advance.is_progress(1000 + STEP - 1)
    assert advance.is_progress(1000 + STEP)  # together
    assert not advance.is_progress(1001 + STEP)
    assert not advance.is_progress(STEP)  # it began anew
    assert advance.is_progress(1000 + 2 * STEP)


# A server, files that change, and a client that goes on


class Downloads(RuleBasedStateMachine):
    """A client that goes on with what it has, and a server whose file changes and which answers in any way.

    The invariant is the one that matters: what is there is always the beginning of one version, the one that the note
    names, or it is not gone on with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.versions = [b"0" * 30]
        self.there = bytearray()
        self.kept: Kept | None = None
        self.whole: bytes | None = None

    @property
    def tag(self) -> str:
        return f'"v{len(self.versions) - 1}"'

    @property
    def file(self) -> bytes:
        return self.versions[-1]

    @rule(size=st.integers(0, 60))
    def change(self, size: int) -> None:
        number = len(self.versions)
        self.versions.append(bytes([65 + number % 26]) * size)

    @rule(cut=st.integers(0, 60), tagged=st.sampled_from(["strong", "weak", "none"]), length=st.booleans())
    def all_of_it(self, cut: int, tagged: str, length: bool) -> None:
        """As a server without ranges answers, or one whose file has changed."""
        fields = {"strong": {"ETag": self.tag}, "weak": {"ETag": f"W/{self.tag}"}, "none": {}}[tagged]
        framing = {"Content-Length": str(len(self.file))} if length else {"Transfer-Encoding": "chunked"}
        self._receive(200, {**fields, **framing}, self.file, cut)

    @precondition(lambda self: self._asked().start is not None)
    @rule(cut=st.integers(0, 60), knows=st.booleans(), total=st.booleans(), says=st.booleans(), most=st.integers(1, 60))
    def rest_of_it(self, cut: int, knows: bool, total: bool, says: bool, most: int) -> None:
        """As a server with ranges answers; one that does not know If-Range says at least of which version it sends."""
        asked = self._asked()
        assert asked.start is not None
        same = asked.kept.validator == self.tag
        if knows and not same:
            return self.all_of_it(cut=cut, tagged="strong", length=True)
        if asked.start >= len(self.file):
            return self._receive(416, {"Content-Range": f"bytes */{len(self.file)}"}, b"", 0)
        part = self.file[asked.start : asked.start + most]
        last, of = asked.start + len(part) - 1, str(len(self.file)) if total else "*"
        fields = {"Content-Range": f"bytes {asked.start}-{last}/{of}"}
        if says or not same:
            fields["ETag"] = self.tag
        return self._receive(206, fields, part, cut)

    @precondition(lambda self: self._asked().start is not None)
    @rule(start=st.integers(0, 60), cut=st.integers(0, 60))
    def another_range(self, start: int, cut: int) -> None:
        """As a server answers that gets ranges wrong."""
        if start == self._asked().start or start >= len(self.file):
            return
        fields = {"Content-Range": f"bytes {start}-{len(self.file) - 1}/{len(self.file)}", "ETag": self.tag}
        self._receive(206, fields, self.file[start:], cut)

    @invariant()
    def what_is_there_is_the_beginning_of_the_version_that_the_note_names(self) -> None:
        if self.kept is not None and self.kept.validator is not None:
            version = self.versions[int(self.kept.validator[2:-1])]
            assert version.startswith(bytes(self.there))
            assert self.kept.total in (None, len(version))

    @invariant()
    def what_is_whole_is_a_version(self) -> None:
        assert self.whole is None or self.whole in self.versions

    def _asked(self) -> Ask:
        return ask(self.kept, len(self.there))

    def _receive(self, status: int, fields: dict[str, str], body: bytes, cut: int) -> None:
        meant = answer(self._asked(), status, CaseInsensitiveDict(fields))
        if meant is Answer.ANEW:
            self.there, self.kept = bytearray(), None  # what the next response, to a request for all, does
        elif isinstance(meant, Take):
            proof = bytes(self.there[meant.start :]) if meant.partial else b""
            came = body[:cut]
            if came[: len(proof)] != proof[: len(came)]:
                self.there, self.kept = bytearray(), None
                return
            if not meant.partial:
                self.there.clear()
            self.kept = meant.kept
            self.there += came[len(proof) :]
            if cut >= len(body) >= len(proof) and meant.is_whole(len(self.there)):
                self._finish()

    def _finish(self) -> None:
        self.whole = bytes(self.there)
        self.there, self.kept = bytearray(), None


TestDownloads = Downloads.TestCase
TestDownloads.settings = settings(max_examples=some(40, 200), stateful_step_count=30)
