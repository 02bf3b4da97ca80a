"""Loads logs into a DuckDB database of its own and queries it. The only file that imports DuckDB."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.eventlog import columns
from sleepwalker.eventlog.errors import EventLogError, InspectError
from sleepwalker.eventlog.sources import Source, fault, find, is_whole, readable_as_it_is, unpack
from sleepwalker.events import CATALOGUE
from sleepwalker.inspect.aside import Aside
from sleepwalker.inspect.lines import SHOWN, LineCounts, judge, places
from sleepwalker.inspect.model import BadLine, FileFacts, Misdated
from sleepwalker.inspect.window import Filter, believable

if TYPE_CHECKING:
    import duckdb

__all__ = ["QueryResult", "Session", "missing"]

#: DuckDB uses all that it may, and the rest of the process adds about half as much. A larger table is on disk anyway.
_MEMORY = "1GB"
#: Each thread that reads JSON holds large buffers, and two cores already read faster than most disks.
_MOST_THREADS = 8
#: Bytes. A smaller log is read before more threads would have started.
_FOR_THREADS = 2_000_000
#: Up to this many lines, events and calls are copied into tables, instead of being extracted anew for each query.
_KEPT = 50_000

Row = tuple[Any, ...]
Progress = Callable[[float], None]


class QueryResult:
    """The result of a statement: the names of its columns, and its rows."""

    def __init__(self, names: Sequence[str], fetch: Callable[[int], list[Row]]) -> None:
        self.names: list[str] = list(names)
        self._fetch = fetch

    def rows(self) -> Iterator[Row]:
        """All rows, in order."""
        while block := self._fetch(10_000):
            yield from block


class Session:
    """A database of loaded event logs, in a temporary folder that is removed when the session is closed.

    Example:
        ```python
        with Session() as session:
            session.load(session.find(["events.jsonl"], sys.stdin.buffer))
            report = make(session, Filter(hosts=("api.example.com",)))
        ```
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Raises `InspectError` if DuckDB is not installed, or no temporary folder can be made."""
        self._duckdb = _library()
        self._clock = clock
        try:
            self._home = tempfile.TemporaryDirectory(prefix="sleepwalker-inspect-")
        except OSError as error:
            raise InspectError(f"no folder for temporary files ({error.strerror}): set TMPDIR to one") from None
        self.folder: Path = Path(self._home.name)
        self._database = self.folder / "events.duckdb"
        self._aside = Aside()
        self._bytes = 0
        self._conn = self._connect(read_only=False)
        self._run(columns.create_table())
        self._names: list[str] = []
        self._counts: list[LineCounts] = []
        self._places: dict[int, int] = {}
        """The line numbers of the first misdated events, by their rows in the table."""
        self._kind: columns.Kind | None = None
        self._writable = True
        self._events: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the database and its folder."""
        self._conn.close()
        self._aside.end()
        self._home.cleanup()

    # -- loading ---------------------------------------------------------------------------------

    def find(self, words: Sequence[str], stdin: IO[bytes] | None, *, pipes: bool = True) -> list[Source]:
        """The files that `words` name. Raises `EventLogError` for unreadable ones, and without `pipes` for pipes."""
        return find(words, self.folder, stdin, pipes=pipes)

    def load(self, sources: Sequence[Source], progress: Progress = lambda _: None) -> None:
        """Read the sources, one after the other. `progress` gets the share of their bytes that has been read.

        Sources with the same name are parts of one file. Raises `EventLogError` for a file that cannot be read.
        """
        total = sum(source.size for source in sources) or 1
        done = furthest = 0.0

        def tell(share: float) -> None:
            nonlocal furthest
            # DuckDB reports 0 again after a statement, and a file may be read a second time.
            furthest = max(furthest, (done + share * source.size) / total)
            progress(furthest)

        self._bytes += total
        if self._bytes > _FOR_THREADS:
            self._run(f"SET threads = {_threads()}")
        for source in sources:
            self._load_one(source, tell)
            done += source.size
            progress(done / total)

    def _load_one(self, source: Source, progress: Progress) -> None:
        if source.name not in self._names:
            self._names.append(source.name)
            self._counts.append(LineCounts())
        file = self._names.index(source.name)
        before = self._one("SELECT coalesce(max(rowid), -1) FROM log")
        try:
            if source.size and not (readable_as_it_is(source) and self._inserted(file, source, progress)):
                # For a line longer than any event, or a damaged gzip file, DuckDB fails the whole file.
                copy, whole = unpack(source, self.folder, columns.LONGEST_LINE // 2)
                self._counts[file].cut |= not whole
                self._insert(file, copy, progress)
                copy.path.unlink()
            elif source.zipped and not is_whole(source):
                self._counts[file].cut = True
            self._count(file, source, before)
        except (OSError, self._duckdb.Error) as error:
            what = fault(error, self.folder) if isinstance(error, OSError) else str(error).splitlines()[0]
            raise EventLogError(f"cannot read {source.name}: {what}") from None

    def _inserted(self, file: int, source: Source, progress: Progress) -> bool:
        try:
            self._insert(file, source, progress)
        except self._duckdb.Error:
            return False
        return True

    def _insert(self, file: int, source: Source, progress: Progress) -> None:
        path = source.path
        if not _is_text(str(path)):  # DuckDB takes only names in UTF-8
            path = self.folder / "named"
            path.unlink(missing_ok=True)
            path.symlink_to(source.path.absolute())
        statement = columns.insert(file, str(path), "gzip" if source.zipped else "uncompressed")
        self._aside.do(
            lambda: self._conn.execute(statement),
            self._conn.interrupt,
            lambda: progress(max(0.0, self._conn.query_progress()) / 100),
        )

    def _count(self, file: int, source: Source, before: int) -> None:
        """Count the events, the other JSON lines and the unreadable lines of a source."""
        first, last, nested = self._row(
            f"SELECT min(rowid), max(rowid), count(nested) FROM log WHERE file = {file} AND rowid > {before}"
        )
        if first is None:
            return
        mine = f"file = {file} AND rowid >= {first}"
        if nested:
            self._run(columns.unnest_fields(file))
        names = ", ".join(map(columns.literal, CATALOGUE))
        counts = self._counts[file]
        is_event = f"event IN ({names}) AND time IS NOT NULL AND host IS NOT NULL"
        lines, events, other, misdated = self._row(f"""
            SELECT count(*), count(*) FILTER ({is_event}), count(*) FILTER (event NOT IN ({names})),
                count(*) FILTER ({is_event} AND NOT ({self.dated()}))
            FROM log WHERE {mine}""")
        counts.events += events
        counts.other += other
        if misdated and counts.misdated < SHOWN:
            counts.misdated += misdated
            found = self.rows(f"""
                SELECT rowid - {first} FROM log WHERE {mine} AND {is_event} AND NOT ({self.dated()})
                ORDER BY rowid LIMIT {SHOWN}""")
            numbers = places(source, [ordinal for (ordinal,) in found])
            self._places.update((first + ordinal, number) for ordinal, number in numbers)
        if lines == events + other:
            judge(source, iter(()), counts, last - first)
            return
        suspects = self._asked(
            self._conn.cursor(),
            f"""
                SELECT rowid - {first}, CASE WHEN event IS NULL THEN NULL
                    WHEN time IS NULL THEN 'an event without a readable timestamp' ELSE 'an event without a host' END
                FROM log WHERE {mine} AND (event IS NULL OR (event IN ({names}) AND (time IS NULL OR host IS NULL)))
                ORDER BY rowid""",
        )
        judge(source, suspects.rows(), counts, last - first)

    def files(self) -> list[FileFacts]:
        """How many lines of each kind each file has, in the order of reading."""
        return [
            FileFacts(name, one.events, one.other, one.malformed, one.unfinished, one.cut)
            for name, one in zip(self._names, self._counts, strict=True)
        ]

    def bad_lines(self) -> list[BadLine]:
        """The first unreadable lines of each file, as many as a person would look at."""
        return [line for one in self._counts for line in one.shown]

    def dated(self) -> str:
        """An SQL condition on `time`: from 2020 to a day from now. Other times are those of a wrong clock."""
        return believable(self._clock.wall())

    def misdated(self, condition: str) -> list[Misdated]:
        """The first events that fulfil the condition, with their line numbers where these were kept."""
        question = f"SELECT file, line, epoch_us(time) / 1e6 FROM events WHERE {condition} ORDER BY line LIMIT {SHOWN}"
        return [Misdated(self._names[file], self._places.get(row), time) for file, row, time in self.rows(question)]

    # -- asking ----------------------------------------------------------------------------------

    def use(self, chosen: Filter) -> Filter:
        """Include only these of the events loaded so far. Returns the filter, with `also` filled in."""
        kind: columns.Kind = "TABLE" if self._one("SELECT count(*) FROM log") <= _KEPT else "VIEW"
        if self._kind not in (None, kind):
            self._run("DROP TABLE calls; DROP TABLE everything")  # a log that is followed has grown
        self._kind = kind
        self._run(columns.everything(kind))
        self._events = frozenset(event for (event,) in self.rows("SELECT DISTINCT event FROM everything"))
        if chosen.hosts:
            hooks = "everything WHERE event = 'connection.hooked' AND target IS NOT NULL"
            found = self.rows(f"""
                SELECT DISTINCT host FROM everything WHERE name IS NOT NULL AND {chosen.fits("name")}
                UNION SELECT DISTINCT target FROM {hooks} AND {chosen.fits("host")}
                UNION SELECT DISTINCT host FROM {hooks} AND {chosen.fits("target")}""")
            chosen = replace(chosen, also=tuple(sorted(one for (one,) in found)))
        for statement in columns.views(chosen.condition(), kind):
            self._run(statement)
        return chosen

    def has(self, *begins: str) -> bool:
        """Whether the log has events whose names begin so."""
        return any(event.startswith(begins) for event in self._events)

    def rows(self, question: str, *about: str) -> list[Row]:
        """The rows of one of our own queries. None, without asking, if the log has no events that it is `about`."""
        if about and not self.has(*about):
            return []
        return self._aside.do(lambda: self._conn.execute(question).fetchall(), self._conn.interrupt)

    def _run(self, statement: str) -> None:
        self._aside.do(lambda: self._conn.execute(statement), self._conn.interrupt)

    def _asked(self, conn: duckdb.DuckDBPyConnection, question: str) -> QueryResult:
        self._aside.do(lambda: conn.execute(question), conn.interrupt)
        names = [column[0] for column in conn.description or ()]
        return QueryResult(names, lambda size: self._aside.do(lambda: conn.fetchmany(size), conn.interrupt))

    def _row(self, question: str) -> Row:
        return self.rows(question)[0]

    def _one(self, question: str) -> Any:
        return self._row(question)[0]

    @contextlib.contextmanager
    def ask(self, statement: str) -> Iterator[QueryResult]:
        """Run a user's query, in SQL, after `use`. Nothing more can be loaded afterwards.

        It runs on a read-only connection without access to files, network and settings. Raises `InspectError` with the
        text of DuckDB's error.
        """
        if not _is_text(statement):
            raise InspectError("the query is not UTF-8")
        if self._writable:
            self._prepare_to_be_asked()
        self._conn.close()
        self._conn = self._connect(read_only=True)
        try:
            kinds = [str(one.type).rpartition(".")[2] for one in self._conn.extract_statements(statement)]
            if kinds not in (["SELECT"], ["EXPLAIN"]):
                raise InspectError("only one SELECT is allowed (or DESCRIBE, SUMMARIZE, EXPLAIN)")
            self._run("SET enable_external_access = false; SET lock_configuration = true")
            yield self._asked(self._conn, statement)
        except (self._duckdb.Error, ModuleNotFoundError) as error:
            if "pytz" in str(error):  # not a dependency: only DuckDB before 2.0.1 needs it, for this alone
                raise InspectError("times with a zone cannot be shown: cast them, as in now()::TIMESTAMP") from None
            raise InspectError(str(error).strip()) from None

    def _prepare_to_be_asked(self) -> None:
        """Create the remaining views, and write everything to the database's file."""
        if self._kind is None:
            self.use(Filter())
        for statement in (*columns.more_views(), "CHECKPOINT"):
            self._run(statement)
        self._writable = False

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        conn: duckdb.DuckDBPyConnection = self._duckdb.connect(
            str(self._database),
            read_only=read_only,
            config={
                "threads": _threads() if self._bytes > _FOR_THREADS else 1,
                "memory_limit": _MEMORY,
                "temp_directory": str(self.folder / "spill"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_persistent_secrets": False,
            },
        )
        # The files are removed after the last query: nothing needs to be written when the connection is closed.
        settings = """SET TimeZone = 'UTC'; SET enable_progress_bar = true; SET enable_progress_bar_print = false;
            PRAGMA disable_checkpoint_on_shutdown"""
        return self._aside.do(lambda: conn.execute(settings), conn.interrupt)


def _threads() -> int:
    return min(_MOST_THREADS, os.cpu_count() or 1)


def _is_text(text: str) -> bool:
    """False for an argument that was not UTF-8: Python keeps its bytes as lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def missing() -> str | None:
    """What to install for a session; None if nothing is missing."""
    try:
        _library()
    except InspectError as error:
        return str(error)
    return None


def _library() -> Any:
    try:
        import duckdb  # noqa: PLC0415 - an extra, imported where it is needed
    except ImportError:
        raise InspectError("inspect needs the package duckdb: pip install 'sleepwalker[cli,inspect]'") from None
    return duckdb
