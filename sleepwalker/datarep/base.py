"""A representation's resource (or part of one), schema and data."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Final, Self

from sleepwalker.datarep.capabilities import Usable, capabilities
from sleepwalker.datarep.protocols import AnyService
from sleepwalker.definitions import put_at, schema_at, value_at
from sleepwalker.exceptions import DataPullError, FragmentError


class State(Enum):
    """A stand-in for missing data. Compared by identity; a copy is the same object."""

    UNSET = "not asked for yet"
    FAIL = "could not be fetched"
    DELETED = "deleted"
    FRAGMENT = "part of the root's"


_NO_DATA = (State.UNSET, State.FAIL, State.DELETED)


class BaseDataRep:
    """The constructor, attributes and data of a `DataRep`, which adds the operations."""

    UNSET: Final = State.UNSET
    FAIL: Final = State.FAIL
    DELETED: Final = State.DELETED
    FRAGMENT: Final = State.FRAGMENT

    #: The class for each kind of data. `rep.py` and `containers.py` add theirs.
    _classes: ClassVar[dict[str, Any]] = {}

    service: AnyService
    uri: str
    jsonschema: Any
    fragment: str | None
    root: Self | None
    path_vars: Any
    has_query_vars: bool
    relations: Any
    links: Any

    def __init__(
        self,
        service: AnyService | None = None,
        uri: str | None = None,
        jsonschema: Any = None,
        fragment: str | None = "",
        root: Self | None = None,
        data: Any = State.UNSET,
        path_vars: Any = None,
    ) -> None:
        self.fragment = fragment
        self.path_vars = path_vars
        if fragment or root is not None:
            if service or uri or jsonschema or data is not State.UNSET:
                raise FragmentError(
                    "a fragment takes service, uri, jsonschema and data from its root: leave these arguments out"
                )
            self._be_part(root, fragment)
        else:
            self._be_whole(service, uri, jsonschema, data)
        self.relations = self.jsonschema.relations
        self.links = self.jsonschema.links

    def _be_whole(self, service: Any, uri: Any, jsonschema: Any, data: Any) -> None:
        given = {"service": service, "uri": uri, "jsonschema": jsonschema}
        if missing := [name for name, value in given.items() if not value]:
            raise TypeError(
                f"a DataRep without a fragment needs service, uri and jsonschema: no {' and no '.join(missing)}"
            )
        self.service, self.uri, self.jsonschema = service, uri, jsonschema
        self.root = None
        self.has_query_vars = bool(split_query(uri)[1])
        self._data: Any = data
        self._getlink: Usable
        self._setlink: Usable
        self._createlink: Usable
        self._deletelink: Usable
        self._getlink, self._setlink, self._createlink, self._deletelink = capabilities(jsonschema)

    def _be_part(self, root: Self | None, fragment: str | None) -> None:
        if root is None:
            raise FragmentError(f"fragment {fragment!r} has no root: pass root=, the DataRep it belongs to")
        if not fragment:
            raise FragmentError(
                f"fragment must be a JSON pointer such as '/items/0' where root is given, not {fragment!r}"
            )
        self.jsonschema = schema_at(root.jsonschema, fragment)
        if root.root is not None:  # a part of a part is a part of the whole
            root, self.fragment = root.root, f"{root.fragment}{fragment}"
        self.root = root
        self.service, self.uri, self.has_query_vars = root.service, root.uri, root.has_query_vars
        self._data = State.FRAGMENT
        self._getlink, self._setlink = root._getlink, root._setlink
        self._createlink, self._deletelink = root._createlink, root._deletelink

    def __repr__(self) -> str:
        if "links" not in vars(self):  # a traceback with locals, of a constructor that failed
            return f"<{type(self).__name__}, not made>"
        part = f"#{self.fragment}" if self.fragment else ""
        return f"<DataRep '{self.uri}{part}' type:{self.jsonschema.fullname()}>"

    @property
    def data(self) -> Any:
        """The data itself, not a copy. Pulled on first use.

        Raises DataPullError for a deleted resource, and what `pull` raises. A fragment raises JsonPointerException if
        the root's data no longer has this part.
        """
        if self.root is not None and self.fragment is not None:
            return value_at(self.root.data, self.fragment)
        if self._data is State.UNSET:
            self.pull()
        data = self._data
        if data is State.DELETED:
            raise DataPullError(f"{self._shown} was deleted; pull() fetches it again")
        if data is State.FAIL:
            raise DataPullError(f"the data of {self._shown} could not be fetched; pull() tries again")
        return data

    @data.setter
    def data(self, value: Any) -> None:
        if self.root is not None and self.fragment is not None:
            put_at(self.root.data, self.fragment, value)
        else:
            self._data = value

    def data_valid(self) -> bool:
        """Whether there is data; for a fragment, whether its root has data. Sends nothing."""
        data = self._raw
        return not any(data is state for state in _NO_DATA)

    def data_unset(self) -> bool:
        """Whether the data was not pulled yet. Sends nothing."""
        return self._raw is State.UNSET

    def __bool__(self) -> bool:
        return bool(self.data)

    def pull(self) -> Self:
        """Pull the data."""
        raise NotImplementedError

    @property
    def _shown(self) -> str:
        """Its name in the texts of exceptions, without the query, which may hold secrets."""
        part = f"#{self.fragment}" if self.fragment else ""
        return f"{self.jsonschema.fullname()} at {split_query(self.uri)[0]}{part}"

    @property
    def _raw(self) -> Any:
        """The root's data, or the `State` in its place."""
        return self._data if self.root is None else self.root._data


def split_query(uri: str) -> tuple[str, str]:
    """The part of a URI before the query, and its query. The part after `#` belongs to neither."""
    path, _, query = uri.partition("#")[0].partition("?")
    return path, query
