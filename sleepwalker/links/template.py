"""Templates of URLs (RFC 6570): which variables they have, and their expansion."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sleepwalker.exceptions import InvalidParameter, LinkError, MissingVariable
from sleepwalker.links.link import shown_names
from sleepwalker.transport.segments import dotted_by, may_have_dots

try:
    import uritemplate
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "sleepwalker.links needs the package uritemplate: pip install 'sleepwalker[services]'", name=_error.name
    ) from None

#: Most characters of a template; no honest server sends longer ones.
_MAX_LENGTH = 65_536

# The grammar of RFC 6570, section 2, in which each character can be read in one way only. The library accepts anything
# as a template, and is slow with one that is full of open braces.
_NAME = r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})(?:\.?(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*"
_VARIABLE = rf"{_NAME}(?:\*|:[1-9][0-9]{{0,3}})?"
_EXPRESSION = re.compile(rf"\{{([+#./;?&]?)({_VARIABLE}(?:,{_VARIABLE})*)\}}")
_LITERAL = re.compile(r"[^{}]*")


def variables_of(template: str) -> dict[str, bool]:
    """The template's variables in order, and whether each is required. LinkError if it is no template.

    A variable without a separator, as in `/orders/{id}` or `{+base}/orders`, is required: without it the URL would be
    another one. Those with their own separator, as in `{?page,size}` or `{/part}`, are optional.
    """
    needed: dict[str, bool] = {}
    for operator, name, _ in _variables(template):
        needed[name] = needed.get(name, False) or operator in ("", "+")
    return needed


def _variables(template: str) -> Iterator[tuple[str, str, bool]]:
    """For each variable: the operator of its expression, its name, and whether only a prefix of its value is used."""
    if len(template) > _MAX_LENGTH:
        raise LinkError(f"its template has {len(template)} characters; at most {_MAX_LENGTH} are allowed")
    end = len(_LITERAL.match(template)[0])  # type: ignore[index]
    while end < len(template):
        found = _EXPRESSION.match(template, end)
        if found is None:
            raise LinkError(f"its template does not follow RFC 6570, from character {end} on")
        for variable in found[2].split(","):
            name, prefix, _ = variable.rstrip("*").partition(":")
            yield found[1], name, bool(prefix)
        end = _LITERAL.match(template, found.end()).end()  # type: ignore[union-attr]


def expand(template: str, values: Mapping[str, Any], options: frozenset[str] = frozenset()) -> str:
    """Expand the template with the values. None leaves a variable out.

    `options` are names that a caller cannot use as keywords for variables. Raises InvalidParameter for a variable that
    the template does not have, and for a value that it cannot hold or that puts a dot segment into the path;
    MissingVariable if a required variable has no value.
    """
    needed = variables_of(template)
    has = f"it has {shown_names(needed)}" if needed else "it has none"
    missing = [name for name, must in needed.items() if must and name not in values]
    if unknown := [name for name in values if name not in needed]:
        also = f", and needs {shown_names(missing)}" if missing else ""
        raise InvalidParameter(f"its template has no variable {shown_names(unknown)} ({has}{also})")
    if missing:
        words = [name for name in missing if name.isidentifier() and name not in options]
        how = f"{words[0]}=..." if words[:1] == missing[:1] else f"variables={{{missing[0]!r:.80}: ...}}"
        raise MissingVariable(f"its template needs {shown_names(missing)} ({has}): pass {how}, or None to leave it out")
    held = {name: _value(name, value) for name, value in values.items()}
    if cut := [name for _, name, prefix in _variables(template) if prefix and isinstance(held.get(name), dict | list)]:
        raise InvalidParameter(
            f"its template uses the first characters of {shown_names(cut)}, which a list or mapping "
            "does not have (RFC 6570, 2.4.1): pass a str, a number or another single value"
        )
    try:
        uri = str(uritemplate.expand(template, held))
    except UnicodeEncodeError:
        uri = None
    if uri is None:  # raised here, outside of `except`: Python's own error contains the text
        raise InvalidParameter("a value for its template has lone surrogates, which UTF-8 cannot encode")
    if may_have_dots(uri):
        expressions = dotted_by(template, uri, lambda one: str(uritemplate.expand(one, held)))
        if expressions is not None:
            raise InvalidParameter(
                f"the value of {shown_names(variables_of(expressions))} puts a dot segment (. or ..) into the path of "
                f"its template, which would lead to another resource"
            )
    return uri


def _value(name: str, value: object) -> Any:
    """A value as the library takes it: a text, a list or a mapping of texts. None inside these is left out."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {str(key): _text(name, item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_text(name, item) for item in value if item is not None]
    return _text(name, value)


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | Mapping) or hasattr(value, "__iter__"):
        raise InvalidParameter(
            f"the variable {shown_names([name])} must be a str, a number or another single value, or a list or "
            f"mapping of these, and contains one of type {type(value).__name__}"
        )
    return str(value)
