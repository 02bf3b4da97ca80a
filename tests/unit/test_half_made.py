"""An object whose constructor was ended by a signal handler that raises goes without a complaint, too."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

from sleepwalker.engine.host.refusals import Refusals
from sleepwalker.lookup.table import SlotTable
from sleepwalker.transport.aio.route import _Clients
from sleepwalker.transport.blocking.reader import ChunkReader, RawReader


@pytest.mark.parametrize("made", [RawReader, ChunkReader, Refusals, SlotTable, _Clients])
def test_what_its_constructor_never_set_is_not_missed(made: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    half = made.__new__(made)
    del half
    gc.collect()
    assert [str(one.exc_value) for one in complaints] == []


@pytest.mark.parametrize("made", [RawReader, ChunkReader])
def test_a_reader_without_a_socket_can_be_closed(made: type[Any]) -> None:
    """Python closes it when it is dropped; before 3.13 it says nothing of an error there."""
    half = made.__new__(made)
    half.close()
    assert half.closed
