"""Answers an on-call person's questions from event logs: which host, since when, what was done, is it over?"""

from __future__ import annotations

from sleepwalker.eventlog.errors import EventLogError, InspectError
from sleepwalker.eventlog.sources import Source
from sleepwalker.inspect.document import document
from sleepwalker.inspect.follow import Follower
from sleepwalker.inspect.model import Report
from sleepwalker.inspect.page import page
from sleepwalker.inspect.report import make
from sleepwalker.inspect.session import QueryResult, Session, missing
from sleepwalker.inspect.window import Filter, moment

__all__ = [
    "EventLogError",
    "Filter",
    "Follower",
    "InspectError",
    "QueryResult",
    "Report",
    "Session",
    "Source",
    "document",
    "make",
    "missing",
    "moment",
    "page",
]
