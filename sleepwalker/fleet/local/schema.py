"""The tables of the file, and what happens to their rows after the machine has restarted."""

from __future__ import annotations

import os
import sqlite3

from sleepwalker.fleet.store import KEPT_FOR

__all__ = ["LAYOUT", "SCHEMA", "begin_anew"]

#: The version of the tables. This release cannot use a file with another one.
LAYOUT = 1

SCHEMA = """
CREATE TABLE clock (boot TEXT NOT NULL, zero REAL NOT NULL);
CREATE TABLE services (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, store TEXT NOT NULL, version INTEGER NOT NULL,
    counter INTEGER NOT NULL, kept_until REAL NOT NULL, swept_at REAL NOT NULL, swept INTEGER NOT NULL);
CREATE TABLE workers (
    service INTEGER NOT NULL, worker TEXT NOT NULL, label TEXT NOT NULL, ends REAL NOT NULL,
    PRIMARY KEY (service, worker)) WITHOUT ROWID;
CREATE TABLE hosts (
    service INTEGER NOT NULL, host TEXT NOT NULL, round INTEGER NOT NULL, since REAL NOT NULL, began REAL NOT NULL,
    failed_at REAL NOT NULL, cause TEXT, look_at REAL NOT NULL, accusers INTEGER NOT NULL, failing INTEGER NOT NULL,
    fine INTEGER NOT NULL, changed INTEGER NOT NULL, ends REAL NOT NULL, PRIMARY KEY (service, host)) WITHOUT ROWID;
CREATE INDEX hosts_changed ON hosts (service, changed);
CREATE INDEX hosts_in_trouble ON hosts (service, changed) WHERE accusers > 0;
CREATE TABLE views (
    service INTEGER NOT NULL, worker TEXT NOT NULL, host TEXT NOT NULL, opinion TEXT NOT NULL, cause TEXT,
    lasted REAL NOT NULL, PRIMARY KEY (service, worker, host)) WITHOUT ROWID;
CREATE INDEX views_of_host ON views (service, host);
CREATE TABLE orders (
    service INTEGER NOT NULL, name TEXT NOT NULL, is_reset INTEGER NOT NULL, kind TEXT NOT NULL,
    number INTEGER NOT NULL, reason TEXT, given_by TEXT, given_for REAL, ends REAL NOT NULL, changed INTEGER NOT NULL,
    PRIMARY KEY (service, name, is_reset)) WITHOUT ROWID;
"""


def begin_anew(connection: sqlite3.Connection, now: float) -> None:
    """Drop all workers and reports: the machine has restarted, and earlier times cannot be compared with `now`. The
    services get new ids, so that the present workers report everything again. Orders stay."""
    run = connection.execute
    run("DELETE FROM workers")
    run("DELETE FROM views")
    run("UPDATE hosts SET accusers = 0, failing = 0, fine = 0")
    run("UPDATE hosts SET since = 9e999, began = 9e999, failed_at = -9e999, cause = NULL")
    run("UPDATE hosts SET look_at = 0, ends = min(ends, ?)", (now + KEPT_FOR,))
    run("UPDATE orders SET ends = min(ends, ? + coalesce(given_for, ?))", (now, KEPT_FOR))
    run("UPDATE services SET kept_until = min(kept_until, ?), swept_at = min(swept_at, ?)", (now + KEPT_FOR, now))
    for (number,) in run("SELECT number FROM services").fetchall():
        run("UPDATE services SET store = ? WHERE number = ?", (os.urandom(12).hex(), number))
