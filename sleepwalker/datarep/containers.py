"""Representations of objects and arrays. Their members are representations too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

from sleepwalker.datarep.base import BaseDataRep
from sleepwalker.datarep.rep import DataRep
from sleepwalker.definitions import child_pointer


class ContainerDataRep(DataRep):
    """A representation with members. Each access creates a new member object; to change members, change `data`.

    All methods read `data`, so they may send a request.
    """

    def __len__(self) -> int:
        return len(self.data)

    def __contains__(self, value: Any) -> bool:
        return value in self.data

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def __getitem__(self, key: Any) -> Any:
        raise NotImplementedError

    def _member(self, key: Any) -> DataRep:
        whole = self if self.root is None else self.root
        return self.from_schema(root=whole, fragment=child_pointer(self.fragment, key))


class DictDataRep(ContainerDataRep):
    """A representation of an object. Members that its schema does not name appear only in `data`."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)

    def __getitem__(self, key: Any) -> DataRep:
        if key not in self.data:
            raise KeyError(key)
        return self._member(key)

    def get(self, key: Any, default: Any = None) -> Any:
        """The member, or `default` if there is none."""
        return self._member(key) if key in self.data else default

    def has_key(self, key: Any) -> bool:
        """Whether there is such a member."""
        return key in self.data

    def keys(self) -> Iterator[Any]:
        """The keys."""
        return iter(self.data)

    def values(self) -> Iterator[DataRep]:
        """The members, created one by one."""
        return (self._member(key) for key in self.data)

    def items(self) -> Iterator[tuple[Any, DataRep]]:
        """Keys and members, created one by one."""
        return ((key, self._member(key)) for key in self.data)


class ListDataRep(ContainerDataRep):
    """A representation of an array."""

    def __iter__(self) -> Iterator[DataRep]:
        return (self._member(index) for index in range(len(self.data)))

    @overload
    def __getitem__(self, key: slice) -> list[DataRep]: ...
    @overload
    def __getitem__(self, key: int) -> DataRep: ...
    def __getitem__(self, key: Any) -> Any:
        count = len(self.data)
        if isinstance(key, slice):
            return [self._member(index) for index in range(*key.indices(count))]
        try:
            index = int(key)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"an index must be a number or a slice, not {key!r:.80}") from None
        if not -count <= index < count:
            raise IndexError(f"there is no item {index}: the list has {count}")
        return self._member(index % count)

    def index(self, value: Any) -> int:
        """The index of the value in the data; ValueError if it is not there."""
        found: int = self.data.index(value)
        return found


BaseDataRep._classes.update(object=DictDataRep, array=ListDataRep)
