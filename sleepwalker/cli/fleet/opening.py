"""Opens the store of a command, and says why it cannot be used."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator

from sleepwalker.cli.parser import UsageError
from sleepwalker.fleet.store import Store, StoreError
from sleepwalker.fleet.stores import DEFAULT_SERVICE, check_service, file_path, open_store, scheme_of

#: The environment variable with the store's URL, including its password if it has one.
VARIABLE = "SLEEPWALKER_FLEET"
#: The environment variable with the name of the service.
SERVICE_VARIABLE = "SLEEPWALKER_FLEET_SERVICE"
#: Timeout of the store in seconds: a person is waiting.
_TIMEOUT = 3.0


class Unusable(Exception):
    """The store cannot be used now. The text is one line without credentials."""


@contextlib.contextmanager
def store_of(args: argparse.Namespace) -> Iterator[Store]:
    """A context with the store, which it closes. Raises `UsageError` for an invalid URL, `Unusable` for a missing file.

    A `StoreError` in the context becomes an `Unusable` that names the store. Sets `args.service` to the service.
    """
    given: str | None = args.store
    args.store = None  # it may hold a password, and is not needed again
    url = given or os.environ.get(VARIABLE)
    where = "--store" if given else VARIABLE
    if not url:
        raise UsageError(f"--store is missing: give the URL that the workers use as fleet=, or set {VARIABLE}")
    whose = "--service"
    if args.service is None:
        whose, args.service = SERVICE_VARIABLE, os.environ.get(SERVICE_VARIABLE) or DEFAULT_SERVICE
    try:
        check_service(args.service)
    except ValueError as error:
        raise UsageError(f"{whose}: {error}") from None
    try:
        # The workers create the file. Created here, it would belong to this user, and a typo would go unnoticed.
        missing = scheme_of(url) == "file" and not file_path(url).exists()
        store = None if missing else open_store(url, args.service, _TIMEOUT)
    except (ValueError, ImportError) as error:
        raise UsageError(f"{where}: {error}") from None
    if store is None:
        raise Unusable(f"there is no file {file_path(url)}: no worker has started with it, or the path is wrong")
    with contextlib.closing(store):
        try:
            yield store
        except StoreError as error:
            raise Unusable(named(store, error)) from None


def nobody(service: str) -> str:
    """The text if the store knows no worker of the service."""
    return f"service {service} has no running workers; use --service or {SERVICE_VARIABLE} to name another service"


def named(store: Store, error: StoreError) -> str:
    """The text of a store's error, with the store's address if that is not in it."""
    text = str(error)
    return text if store.shown.partition("://")[2] in text else f"{store.shown}: {text}"
