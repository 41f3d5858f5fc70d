"""The ledger of a command that may have nothing to count."""

from __future__ import annotations

import threading

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.events import Event
from vmdk_cache.cli.file_owner import check_owner
from vmdk_cache.ledger import Ledger

LOG = logging.getLogger(__name__)


class LateLedger:
    """Opens the ledger at the first event. If that fails, it logs a warning and counts nothing.

    Thread-safe.

    :param path: path of the file, see :class:`~vmdk_cache.ledger.Ledger`
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._ledger: Ledger | None = None
        self._failed = False

    def __call__(self, event: Event, /) -> None:
        with self._lock:
            if self._ledger is None and not self._failed:
                try:
                    check_owner(self._path, "image_cache_ledger")
                    self._ledger = Ledger.open(self._path)
                except errors.ConfigError as failure:
                    self._failed = True
                    LOG.warning("Events of this command are not counted: %s", failure)
            ledger = self._ledger
        if ledger is not None:
            ledger(event)

    def close(self) -> None:
        """Safe to call twice."""
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()
