"""A file that is fetched in as many parts as it takes: what is asked for next, what a response means, what is kept."""

from __future__ import annotations

from sleepwalker.downloads.download import Download
from sleepwalker.downloads.progress import OnProgress
from sleepwalker.downloads.ranges import Take
from sleepwalker.downloads.transfer import OWN_HEADERS, Transfer, Wanted, check_own

__all__ = ["OWN_HEADERS", "Download", "OnProgress", "Take", "Transfer", "Wanted", "check_own"]
