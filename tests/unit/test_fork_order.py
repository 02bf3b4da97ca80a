"""In the child of a fork all is renewed from below: hosts before their connections, these before their manager."""

from __future__ import annotations

import importlib

import pytest

from sleepwalker import ANONYMOUS, Connection, ConnectionManager, adapters, fork


def test_each_stage_is_renewed_once_hosts_before_connections_before_managers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    importlib.import_module("sleepwalker.downloads.part")  # the one of them that is imported when it is needed
    stages = list(fork._renewals)
    assert set(stages) == set(fork._ORDER)
    for stage in reversed(stages):
        monkeypatch.setitem(fork._renewals, stage, lambda stage=stage: seen.append(stage))
    fork._renew_all()
    below = ["process", "threads", "lookups", "timers", "hosts", "host tables"]
    assert seen == [*below, "connections", "managers", "adapters", "downloads"]


def test_what_lives_is_renewed() -> None:
    manager = ConnectionManager()
    conn = Connection("https://h.test", ANONYMOUS)
    adapter = adapters.RequestsAdapter()
    before = (manager._finder.lock, conn._calls.waits, conn._record.lock.mutex, adapter._waits, adapter.poolmanager)
    fork._renew_all()
    after = (manager._finder.lock, conn._calls.waits, conn._record.lock.mutex, adapter._waits, adapter.poolmanager)
    assert all(old is not new for old, new in zip(before, after, strict=True))


def test_nothing_is_kept_alive_for_it() -> None:
    class Thing:
        renewed = False

        def renew(self) -> None:
            self.renewed = True

    before = fork._renewals["lookups"]
    try:
        living = fork.renewed_after_fork("lookups", Thing.renew)
        kept, gone = Thing(), Thing()
        living.add(kept)
        living.add(gone)
        del gone
        assert list(living) == [kept]
        fork._renewals["lookups"]()
        assert kept.renewed
    finally:
        fork._renewals["lookups"] = before
