"""Downloads in several parts: what to request next, what a response means, what to keep."""

from __future__ import annotations

from sleepwalker.downloads.download import Download
from sleepwalker.downloads.progress import OnProgress
from sleepwalker.downloads.ranges import Take
from sleepwalker.downloads.transfer import OWN_HEADERS, Transfer, Wanted, check_own

__all__ = ["OWN_HEADERS", "Download", "OnProgress", "Take", "Transfer", "Wanted", "check_own"]
