"""Looks at one backend's vCenter for the exporter's scrapes, without delaying them.

    no look in progress  start a thread for one
    a look in progress   share it: a hundred concurrent scrapes cause one look
    it takes too long    the scrape continues without it, and the look ends by itself

The first successful look opens the connection, and later ones reuse it. The session
(vim/session.py) and the change stream (vim/change_stream.py) recover by themselves when vCenter
comes up later, restarts or ends the session.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cli.measurement import Look
from vmdk_cache.clock import Clock
from vmdk_cache.quoting import sentence
from vmdk_cache.vim.account import LOGIN_REFUSED_PAUSE_S

if TYPE_CHECKING:
    from vmdk_cache.wiring import RunningCache

LOG = logging.getLogger(__name__)

#: Pause after a refusal that a retry cannot cure; as long as the session's own pause.
REFUSED_PAUSE_S = LOGIN_REFUSED_PAUSE_S
_REFUSALS = (errors.LoginRefused, errors.NoPermission, errors.ConfigError)

PendingLook = concurrent.futures.Future["Look | None"]


class Observer:
    """Observes one backend; thread-safe. Starts no thread and sends no request before the first
    look.

    :param backend: its name, for the log
    :param connect: opens the connection; raises VmdkCacheError
    """

    def __init__(self, backend: str, connect: Callable[[], RunningCache], clock: Clock) -> None:
        self._backend = backend
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: PendingLook | None = None
        self._cache: RunningCache | None = None
        self._closed = False
        self._refused_at: float | None = None
        self._complaint: str | None = None

    def look(self) -> PendingLook:
        """A future with vCenter's current state; its result is None if vCenter does not answer."""
        try:
            with self._lock:
                if self._under_way is None:
                    self._under_way = self._begun()
                return self._under_way
        except RuntimeError as failure:  # no thread could be started
            self._tell(str(failure))
            none: PendingLook = concurrent.futures.Future()
            none.set_result(None)
            return none

    def _begun(self) -> PendingLook:
        look: PendingLook = concurrent.futures.Future()
        threading.Thread(
            target=self._run, args=(look,), name=f"look-{self._backend}", daemon=True
        ).start()
        return look

    def answer(self, look: PendingLook, within_s: float) -> Look | None:
        """The result of :meth:`look`, or None if it takes longer than ``within_s`` seconds."""
        try:
            return look.result(max(0.0, within_s))
        except TimeoutError:
            self._tell("it did not answer in time")
            return None

    def close(self) -> None:
        """Log out; never raises. A look in progress ends without an answer."""
        with self._lock:
            self._closed = True
            cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()

    def _run(self, look: PendingLook) -> None:
        found: Look | None = None
        try:
            found = self._look_now()
            self._tell(None)
        except errors.VmdkCacheError as failure:
            self._tell(str(failure))
        except Exception as failure:
            # A bug here must not stop the other backends' metrics, or later looks at this one.
            LOG.debug("A look at %s failed", self._backend, exc_info=True)
            self._tell(sentence(repr(failure)))
        finally:
            with self._lock:
                self._under_way = None
            look.set_result(found)

    def _look_now(self) -> Look | None:
        cache = self._connected()
        if cache is None:
            return None
        entries = cache.store.entries()
        return Look(entries, cache.placement.spaces(), cache.placement.datastore_names())

    def _connected(self) -> RunningCache | None:
        """The cache; None during the pause after a refusal, and after :meth:`close`."""
        with self._lock:
            if self._cache is not None or self._closed:
                return self._cache
        refused_at = self._refused_at
        if refused_at is not None and self._clock.monotonic() - refused_at < REFUSED_PAUSE_S:
            return None
        try:
            cache = self._connect()
        except _REFUSALS:
            # Timed from the end of the attempt, so that the session's own pause ends earlier.
            self._refused_at = self._clock.monotonic()
            raise
        with self._lock:
            if not self._closed:
                self._cache = cache
                return cache
        cache.close()
        return None

    def _tell(self, complaint: str | None) -> None:
        """Log a line when the state has changed."""
        with self._lock:
            before, self._complaint = self._complaint, complaint
        if complaint == before or self._closed:
            return
        if complaint is None:
            LOG.info("vCenter of backend %s is answering again.", self._backend)
        else:
            LOG.warning("No vCenter metrics for backend %s: %s", self._backend, complaint)
