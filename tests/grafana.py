"""Whether a dashboard is what Grafana's own types say: a value of another type, a panel or a key that Grafana does not
know is a fault.

Grafana's package reads what it knows and leaves the rest aside in silence, so two things are looked at: that all values
are of the types that its classes declare, and that what it writes again is all that it was given.
"""

from __future__ import annotations

import enum
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import UnknownDataquery, panelcfg_config
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import Dashboard

#: What only the form of "Import" looks at; it is not stored.
OF_THE_FORM = ("__inputs", "__requires", "__elements")
_INPUT = {
    "datasource": {"name", "label", "description", "type", "pluginId", "pluginName"},
    "constant": {"name", "label", "description", "type", "value"},
}


def faults(dashboard: Mapping[str, Any]) -> list[str]:
    """What Grafana would not take, with its path."""
    register_default_plugins()
    stored = {key: value for key, value in dashboard.items() if key not in OF_THE_FORM}
    found = list(_form_faults(dashboard))
    for panel in _panels(stored):
        kind = panel.get("type")
        if kind != "row" and panelcfg_config(str(kind)) is None:
            found.append(f"panel {panel.get('title')!r}: no panel is of the type {kind!r}")
    try:
        read = Dashboard.from_json(stored)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [*found, f"cannot be read: {type(error).__name__}: {error}"]
    found += _value_faults(read, Dashboard, "")
    # The formats are read by Grafana's Prometheus alone, and so are no matter of Grafana's own types.
    lost = _lost(stored, json.loads(json.dumps(read, cls=JSONEncoder)), "")
    found += [fault for fault in lost if not re.match(r"\.annotations\.list\[\d+\]\.(title|text)Format:", fault)]
    return found


def _panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for panel in dashboard.get("panels", []):
        yield panel
        yield from panel.get("panels", [])


def _form_faults(dashboard: Mapping[str, Any]) -> Iterator[str]:
    """The inputs that the form asks for; Grafana has no types of them."""
    for number, one in enumerate(dashboard.get("__inputs", [])):
        wanted = _INPUT.get(one.get("type"))
        if wanted is None or set(one) != wanted or not all(isinstance(value, str) and value for value in one.values()):
            yield f"__inputs[{number}]: must be texts {_INPUT}"
    for number, one in enumerate(dashboard.get("__requires", [])):
        if set(one) != {"type", "id", "name", "version"} or one["type"] not in ("grafana", "datasource", "panel"):
            yield f"__requires[{number}]: must have type, id, name, version"


def _value_faults(value: object, wanted: Any, path: str) -> Iterator[str]:
    """Where a value is not of the type that is declared for it."""
    origin, of = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted in (Any, object) or isinstance(wanted, typing.TypeVar):
        return
    if origin in (typing.Union, types.UnionType):
        several = [list(_value_faults(value, one, path)) for one in of]
        if all(several):
            yield min(several, key=len)[0]
    elif origin is list:
        if not isinstance(value, list):
            yield f"{path}: {value!r:.60} is no list"
        else:
            for number, item in enumerate(value):
                yield from _value_faults(item, of[0], f"{path}[{number}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{path}: {value!r:.60} is no object"
        else:
            for key, item in value.items():
                yield from _value_faults(item, of[1], f"{path}.{key}")
    elif origin is typing.Literal:
        if value not in of:
            yield f"{path}: {value!r:.60} is none of {of}"
    else:
        yield from _plain_faults(value, wanted, path)


def _plain_faults(value: object, wanted: Any, path: str) -> Iterator[str]:
    if wanted is None or wanted is type(None):
        if value is not None:
            yield f"{path}: {value!r:.60} is not null"
    elif issubclass(wanted, enum.Enum):
        if isinstance(value, bool) or value not in [member.value for member in wanted]:
            yield f"{path}: {value!r:.60} is none of {[member.value for member in wanted]}"
    elif wanted in (bool, str):
        if not isinstance(value, wanted):
            yield f"{path}: {value!r:.60} is no {wanted.__name__}"
    elif wanted in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float if wanted is float else int):
            yield f"{path}: {value!r:.60} is no {wanted.__name__}"
    elif wanted is Dataquery:
        if isinstance(value, UnknownDataquery) or not isinstance(value, Dataquery):
            yield f"{path}: no query of a data source that Grafana knows"
        else:
            yield from _object_faults(value, type(value), path)
    else:
        yield from _object_faults(value, wanted, path)


def _object_faults(value: object, wanted: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):  # some parts are handed on as they came
        try:
            read = wanted.from_json(value)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            yield f"{path}: cannot be read as {wanted.__name__}: {error}"
            return
        yield from _lost(value, json.loads(json.dumps(read, cls=JSONEncoder)), path)
        value = read
    if not isinstance(value, wanted):
        yield f"{path}: {value!r:.60} is no {wanted.__name__}"
        return
    for name, kind in typing.get_type_hints(wanted).items():
        inner = getattr(value, name)
        if name in ("options", "custom") and hasattr(inner, "from_json"):  # a panel's own, typed by its kind
            yield from _object_faults(inner, type(inner), f"{path}.{name}")
        elif inner is not None or type(None) not in typing.get_args(kind):
            yield from _value_faults(inner, kind, f"{path}.{name}")


def _lost(given: object, written: object, path: str) -> Iterator[str]:
    """What was given and is not written again: a key that Grafana does not know."""
    if isinstance(given, dict) and isinstance(written, dict):
        for key, value in given.items():
            if key not in written:
                if value is not None:
                    yield f"{path}.{key}: Grafana knows no such key"
            else:
                yield from _lost(value, written[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(written, list):
        for number, (one, other) in enumerate(zip(given, written, strict=False)):
            yield from _lost(one, other, f"{path}[{number}]")
    elif isinstance(written, dict | list):
        yield f"{path}: {given!r:.60} is neither read as an object nor as a list"
