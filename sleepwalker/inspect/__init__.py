"""Reads event logs, and answers what an on-call person asks: which host, since when, what was done, is it over?"""

from __future__ import annotations

from sleepwalker.inspect.charts import check_charts
from sleepwalker.inspect.errors import InspectError
from sleepwalker.inspect.follow import Follower
from sleepwalker.inspect.model import Report
from sleepwalker.inspect.page import page
from sleepwalker.inspect.report import make
from sleepwalker.inspect.session import Answer, Session, missing
from sleepwalker.inspect.sources import Source
from sleepwalker.inspect.window import Filter, moment

__all__ = [
    "Answer",
    "Filter",
    "Follower",
    "InspectError",
    "Report",
    "Session",
    "Source",
    "check_charts",
    "make",
    "missing",
    "moment",
    "page",
]
