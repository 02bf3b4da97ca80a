"""Errors of services, their links and their representations."""

from __future__ import annotations

from sleepwalker.exceptions.base import SleepwalkerException

__all__ = [
    "DataNotSetError",
    "DataPullError",
    "FragmentError",
    "InvalidParameter",
    "LinkError",
    "MissingServiceDef",
    "MissingVariable",
    "RelationError",
    "ResourceException",
    "ServiceException",
    "TypeException",
]


class ServiceException(SleepwalkerException):
    """A service cannot be used as asked."""


class MissingServiceDef(ServiceException):
    """A service has no definition."""


class ResourceException(ServiceException):
    """A service has no such resource."""


class TypeException(ServiceException):
    """A service has no such type."""


class MissingVariable(SleepwalkerException):
    """A variable of a link is missing."""


class InvalidParameter(SleepwalkerException):
    """A link has no such parameter."""


class RelationError(SleepwalkerException):
    """There is no such relation."""


class LinkError(SleepwalkerException):
    """There is no such link, or it does not support the operation."""


class DataPullError(SleepwalkerException):
    """The data cannot be pulled in its present state."""


class DataNotSetError(SleepwalkerException):
    """There is no data to send."""


class FragmentError(SleepwalkerException):
    """A fragment cannot be made from these arguments."""
