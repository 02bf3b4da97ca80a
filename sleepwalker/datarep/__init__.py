"""Resources of a service as objects: their data, their operations, and the targets of their relations."""

from __future__ import annotations

from sleepwalker.datarep.containers import ContainerDataRep, DictDataRep, ListDataRep
from sleepwalker.datarep.rep import DataRep
from sleepwalker.datarep.schema import Schema

#: Whether data is validated before it is sent, unless the service or its manager says otherwise.
VALIDATE_REQUEST = True
#: Whether responses are validated, unless the service or its manager says otherwise.
VALIDATE_RESPONSE = False

__all__ = [
    "VALIDATE_REQUEST",
    "VALIDATE_RESPONSE",
    "ContainerDataRep",
    "DataRep",
    "DictDataRep",
    "ListDataRep",
    "Schema",
]
