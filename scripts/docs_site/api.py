"""The pages of the API, made from the code: signatures, types, docstrings.

Docstrings are Markdown, with the sections `Args:`, `Raises:` and `Example:`. The pages are Markdown as well, with a
directive of Sphinx around each name: so the index, the search and other projects' documentation find it.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic

from pydantic import BaseModel

from scripts.docs_site.stage import ROOT


@dataclass(frozen=True)
class Page:
    """A page of the API: what it is called, the page that explains it, and the names on it, `module:name`."""

    title: str
    explained_in: str
    names: tuple[str, ...]


def _all(module: str, *kinds: type) -> tuple[str, ...]:
    """The public names of a module, or of those only the classes below `kinds`, in the order of its `__all__`."""
    found = importlib.import_module(module)
    return tuple(
        f"{module}:{name}"
        for name in found.__all__
        if not kinds or (inspect.isclass(getattr(found, name)) and issubclass(getattr(found, name), kinds))
    )


def pages() -> dict[str, Page]:
    """Each page of `reference/api/`."""
    policies = tuple(name for name in _all("sleepwalker", BaseModel) if not name.endswith(":Policy"))
    return {
        "connection": Page(
            "Connection",
            "../connection.md",
            (
                "sleepwalker:Connection",
                "sleepwalker:Download",
                "sleepwalker:HostHealth",
                "sleepwalker:Attempt",
                "sleepwalker:ANONYMOUS",
            ),
        ),
        "connection-manager": Page(
            "ConnectionManager",
            "../connection-manager.md",
            ("sleepwalker:ConnectionManager", "sleepwalker:ConnectionHook", "sleepwalker.hosts:HostTable"),
        ),
        "asyncio": Page("asyncio", "../asyncio.md", _all("sleepwalker.aio")),
        "policies": Page("Policies", "../policies.md", ("sleepwalker:Policy", *policies)),
        "exceptions": Page("Exceptions", "../exceptions.md", _all("sleepwalker", Exception)),
        "links": Page("Links", "../links.md", _all("sleepwalker.links")),
        "services": Page("Services", "../services.md", _all("sleepwalker.service") + _all("sleepwalker.datarep")),
        "adapters": Page(
            "Adapters", "../adapters.md", _all("sleepwalker.adapters") + _all("sleepwalker.adapters.httpx2")
        ),
        "fleet": Page("Fleet", "../fleet.md", _all("sleepwalker.fleet")),
        "status": Page("Status page", "../status.md", _all("sleepwalker.status")),
        "metrics-and-traces": Page(
            "Metrics and traces", "../metrics.md", _all("sleepwalker.prometheus") + _all("sleepwalker.otel")
        ),
        "logging": Page(
            "Logging and events",
            "../events.md",
            (
                *_all("sleepwalker.logging"),
                "sleepwalker.events:Event",
                "sleepwalker.events:event_type",
                "sleepwalker.events:reader",
            ),
        ),
    }


def text(page: Page, known: dict[str, str]) -> str:
    """The page in Markdown; `known` has the full name of each name that code in a docstring may mean."""
    lines = [f"# {page.title}: API", "", f"[What it is for and how it behaves]({page.explained_in}).", ""]
    for name in page.names:
        module, _, attribute = name.partition(":")
        lines += [f"```{{py:currentmodule}} {module}", "```", ""]
        lines += _object(attribute, getattr(importlib.import_module(module), attribute), known)
    return "\n".join(lines)


@cache
def names() -> dict[str, str]:
    """Of all pages, each name and each method as code writes them (`Connection.get`), with the full name."""
    found: dict[str, str] = {}
    for page in pages().values():
        for name in page.names:
            module, _, attribute = name.partition(":")
            found.setdefault(attribute, f"{module}.{attribute}")
            thing = getattr(importlib.import_module(module), attribute)
            if inspect.isclass(thing):
                for member, _ in _members(thing):
                    found.setdefault(f"{attribute}.{member}", f"{module}.{attribute}.{member}")
    return found


def _object(name: str, thing: Any, known: dict[str, str]) -> Iterator[str]:
    if inspect.isclass(thing):
        kind = "exception" if issubclass(thing, BaseException) else "class"
        members = [line for member, value in _members(thing) for line in _member(member, value, known)]
        body = [*_bases(thing, known), *_docstring(thing, known), *_fields(thing, known), *members]
        yield from _directive(kind, name + _signature_of_class(thing), 6, body)
    elif callable(thing):
        yield from _function("function", name, thing, 6, known)
    else:
        yield from _directive("data", name, 6, _prose(_comment(name), known))


def _comment(name: str) -> str:
    """What the comment above a constant says, `#: ...`, where the package defines it."""
    for path in sorted((ROOT / "sleepwalker").rglob("*.py")):
        if found := re.search(rf"((?:^#: .*\n)+){name}\b.* = ", path.read_text(encoding="utf-8"), re.MULTILINE):
            return re.sub(r"^#: ", "", found[1], flags=re.MULTILINE)
    return ""


def _directive(kind: str, signature: str, level: int, body: list[str], *options: str) -> list[str]:
    fence = ":" * level
    return [f"{fence}{{py:{kind}}} {signature}", *options, "", *body, fence, ""]


def _function(kind: str, name: str, thing: Any, level: int, known: dict[str, str], *options: str) -> list[str]:
    if inspect.iscoroutinefunction(inspect.unwrap(thing)):
        options = (*options, ":async:")
    return _directive(kind, name + _signature(thing), level, _docstring(thing, known), *options)


def _member(name: str, value: Any, known: dict[str, str]) -> list[str]:
    if isinstance(value, property):
        returns = _annotation(inspect.signature(value.fget).return_annotation) if value.fget else ""
        options = [f":type: {returns}"] if returns else []
        return _directive("property", name, 5, _docstring(value, known), *options)
    if isinstance(value, classmethod):
        return _function("method", name, value.__func__, 5, known, ":classmethod:")
    if isinstance(value, staticmethod):
        return _function("method", name, value.__func__, 5, known, ":staticmethod:")
    return _function("method", name, value, 5, known)


def _members(thing: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that have a docstring, in the order in which the classes define them."""
    seen: set[str] = set()
    for owner in thing.__mro__:
        if not _is_ours(owner):
            continue
        for name, value in vars(owner).items():
            if name.startswith(("_", "model_")) or name in seen:  # pydantic's own begin with model_
                continue
            seen.add(name)
            function = getattr(value, "__func__", value)
            if (inspect.isfunction(function) or isinstance(value, property)) and function.__doc__:
                yield name, value


def _bases(thing: type, known: dict[str, str]) -> list[str]:
    shown = []
    for base in _public_bases(thing):
        full = f"{base.__module__}.{base.__qualname__}".removeprefix("builtins.")
        shown.append(f"{{py:obj}}`{known[base.__name__]}`" if _is_ours(base) else f"`{full}`")
    return ["Bases: " + ", ".join(shown), ""] if shown else []


def _public_bases(thing: type) -> Iterator[type]:
    """What a reader knows the class by: of bases that no page has, those above them."""
    for base in thing.__bases__:
        if base in (object, BaseModel, Generic) or base.__name__ == "NamedTuple":
            continue
        if _is_ours(base) and base.__name__ not in names():
            yield from _public_bases(base)
        else:
            yield base


def _is_ours(thing: type) -> bool:
    return thing.__module__.startswith("sleepwalker")


def _fields(thing: type, known: dict[str, str]) -> Iterator[str]:
    """Of a policy, its fields: what each is for, and its default."""
    if not issubclass(thing, BaseModel):
        return
    for name, value in thing.model_fields.items():
        options = [f":type: {_annotation(thing.__annotations__.get(name, value.annotation))}"]
        default = value.get_default(call_default_factory=True)
        if not value.is_required() and not isinstance(default, BaseModel):
            options.append(f":value: {default!r}")
        yield from _directive("attribute", name, 5, _prose(value.description or "", known), *options)


def _signature_of_class(thing: type) -> str:
    if issubclass(thing, BaseModel):
        return "(**fields)"
    if issubclass(thing, enum.Enum) or (issubclass(thing, BaseException) and "__init__" not in vars(thing)):
        return ""
    try:
        return _signature(thing, result=False)
    except ValueError:
        return ""


def _signature(thing: Any, *, result: bool = True) -> str:
    signature = inspect.signature(thing)
    parameters = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    parameters = [
        one.replace(annotation=_Shown(_annotation(one.annotation)) if one.annotation is not one.empty else one.empty)
        for one in parameters
    ]
    parameters = [
        one if one.default is one.empty else one.replace(default=_Shown(_default(one.default))) for one in parameters
    ]
    returns = signature.return_annotation
    arrow = f" -> {_annotation(returns)}" if result and returns is not signature.empty else ""
    return str(inspect.Signature(parameters)) + arrow


class _Shown:
    """Stands in a signature for a default or an annotation, and is printed as the text that it has."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _annotation(annotation: Any) -> str:
    shown = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:typing|collections\.abc|types|sleepwalker(?:\.\w+)*)\.", "", shown)


#: Letters of a default that help; what is longer is a value of ours with all its fields.
_LONG = 40


def _default(value: Any) -> str:
    """The default as code that can be written, or three dots."""
    shown = repr(value)
    try:
        ast.parse(shown, mode="eval")
    except SyntaxError:
        return "..."
    return shown if len(shown) <= _LONG else "..."


def _docstring(thing: Any, known: dict[str, str]) -> list[str]:
    return _prose(inspect.getdoc(thing) or "", known)


_SECTION = re.compile(r"^(Args|Raises|Example):\n((?:(?: {4}.*)?\n?)*)", re.MULTILINE)
_ENTRY = re.compile(r"^(\S[^:\n]*): (.*(?:\n {4}.*)*)", re.MULTILINE)


def _prose(docstring: str, known: dict[str, str]) -> list[str]:
    """A docstring as the pages have it: arguments and errors as fields, code that is a name as a link to it."""

    def section(match: re.Match[str]) -> str:
        body = textwrap.dedent(match[2]).strip()
        if match[1] == "Example":
            return f"\n**Example**\n\n{body}\n\n"
        return "\n" + "\n".join(_entries(match[1], body)) + "\n\n"

    docstring = _SECTION.sub(section, docstring)
    docstring = re.sub(r"(?<![`\w}])`([\w.]+)`(?!`)", lambda match: _reference(match, known), docstring)
    return [*docstring.rstrip().splitlines(), ""]


def _entries(kind: str, body: str) -> Iterator[str]:
    field = {"Args": "param", "Raises": "raises"}[kind]
    for name, text in _ENTRY.findall(body):
        yield f":{field} {name}: " + re.sub(r"\n\s*", " ", text)


def _reference(match: re.Match[str], known: dict[str, str]) -> str:
    full = known.get(match[1])
    return f"{{py:obj}}`{match[1]} <{full}>`" if full else match[0]
