"""Where policies are read from: the shipped files by name, others by path."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeGuard

from sleepwalker.files import read_regular
from sleepwalker.policy.base import policy_error
from sleepwalker.policy.wording import closest

_SUFFIX = ".toml"
#: The most dots in a line, outside of texts: tomllib's time for a key such as `a.b.c` is quadratic in its parts.
_MOST_DOTS = 300
#: TOML's texts of all four kinds, also unterminated ones, and comments.
_TEXTS = re.compile(
    r'"""(?:[^\\]|\\(?:.|\Z))*?(?:"{3,5}|\Z)|"(?:[^"\\\n]|\\.)*"?' r"|'{3}.*?(?:'{3,5}|\Z)|'[^'\n]*'?|#[^\n]*",
    re.DOTALL,
)
#: The most bytes of a file; the shipped files have 3,000. A longer one is not a policy, but a log or the like, named by
#: mistake.
MOST_BYTES = 1_000_000
#: The most characters that are shown of the TOML reader's message, which may quote a key.
_LONGEST = 100


def names() -> tuple[str, ...]:
    """The names of the shipped policies, sorted."""
    return tuple(sorted(_shipped()))


def shipped_text(name: str) -> str:
    """A shipped file as it is, with its comments. Raises `KeyError` for a name that is not among `names()`."""
    return _shipped()[name].read_text(encoding="utf-8")


def is_name(name_or_path: object) -> TypeGuard[str]:
    """Whether this is a name rather than a path: a text with neither a `/` nor a suffix.

    Raises `PolicyError` for what is neither a text nor a path.
    """
    if isinstance(name_or_path, os.PathLike):
        return False
    if not isinstance(name_or_path, str):
        kind = type(name_or_path).__name__
        raise policy_error(
            "policy", [f"name_or_path: a {kind} is not allowed; must be a shipped policy's name or a path"]
        )
    separators = (os.sep, os.altsep or os.sep, ".")
    return not any(separator in name_or_path for separator in separators)


def read_name(name: str) -> tuple[str, dict[str, Any]]:
    """The name of a shipped file for errors, and its content. Raises `PolicyError` for an unknown name."""
    shipped = _shipped()
    if name in shipped:
        source = f"shipped policy {name}"
        return source, _parsed(source, shipped[name].read_bytes())
    close = closest(name, shipped)
    if os.path.isfile(name + _SUFFIX):  # noqa: PTH113 - False, where pathlib raises for a name that cannot be
        close = [repr(name + _SUFFIX)]
    hint = f"did you mean {close[0]}? " if close else ""
    raise policy_error(
        f"policy name {name[:60]!r}",
        [f"name: unknown; {hint}shipped: {', '.join(sorted(shipped))}; a path needs a / or the suffix {_SUFFIX}"],
    )


def read_path(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """The name of a file for errors, and its content.

    Raises `PolicyError` for a file that cannot be read, is not a regular file, is too large for a policy or is not
    TOML.
    """
    text = os.fsdecode(path)
    source = f"policy file {text}"
    if "://" in text:  # not shown: a URL may hold user information or a query
        raise policy_error("policy path", ["path: a URL is not allowed; must be the path of a file"])
    try:
        data = read_regular(Path(text), MOST_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        fault = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    else:
        return source, _parsed(source, data)
    raise policy_error(source, [fault])


def _shipped() -> dict[str, Traversable]:
    """The shipped files by name; the only place that knows where they are.

    The folder lies beside the package in a checkout and inside it in a wheel; the import system knows which. But not if
    Python was started in a checkout that is not installed, and found the package in the current folder.
    """
    try:
        folder = files("sleepwalker.policies")
    except ModuleNotFoundError:
        folder = Path(__file__).parents[2] / "policies"
    return {file.name.removesuffix(_SUFFIX): file for file in folder.iterdir() if file.name.endswith(_SUFFIX)}


def _parsed(source: str, data: bytes) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - `import sleepwalker` reads no policy

    fault = "not TOML for a policy: nested too deeply"
    try:
        text = data.decode("utf-8-sig")  # editors on Windows like to begin with a BOM
        if not _has_long_keys(text) or not _has_long_keys(_TEXTS.sub("", text)):
            return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, at, place = str(error).rpartition(" (at ")
        place = place.replace("end of document", f"the end, line {_line(data)}")
        fault = f"not TOML: {said if len(said) <= _LONGEST else said[:_LONGEST] + '…'}{at}{place}"
    except UnicodeDecodeError as error:
        fault = f"not TOML: byte {error.start} is not UTF-8 (line {_line(data[: error.start])})"
    except ValueError:
        fault = "not TOML for a policy: a number has more digits than Python reads"
    except RecursionError:
        pass
    raise policy_error(source, [fault])


def _line(before: bytes) -> int:
    return before.count(b"\n") + 1


def _has_long_keys(text: str) -> bool:
    return any(line.count(".") > _MOST_DOTS for line in text.splitlines())
