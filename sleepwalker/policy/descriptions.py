"""The texts of a policy's parts and fields: their docstrings, which editors show where a field is used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ast

__all__ = ["descriptions", "summary"]


def summary(cls: type) -> str:
    """What a part is for: its docstring without the example."""
    import inspect  # noqa: PLC0415 - most programs never ask

    return (inspect.getdoc(cls) or "").partition("\n\nExample:")[0]


@cache
def descriptions(cls: type) -> dict[str, str]:
    """The texts of the fields of a class and its bases, by name, each as one line.

    Read from the source, and only when a page or a schema asks: pydantic's own `use_attribute_docstrings` does it while
    the package is imported. Empty if there is no source.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("sleepwalker."):
            found.update(_of_class(base.__module__, base.__name__))
    return found


def _of_class(module: str, name: str) -> Iterator[tuple[str, str]]:
    import ast  # noqa: PLC0415 - most programs never ask
    import inspect  # noqa: PLC0415

    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):  # an archive that holds only compiled files
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield from _of_fields(node)


def _of_fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    import ast  # noqa: PLC0415 - as above

    for field, after in zip(node.body, node.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
