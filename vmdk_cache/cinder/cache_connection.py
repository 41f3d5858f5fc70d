"""The running cache of a backend, if it could be opened.

A backend serves its volumes whether or not its cache is open: attach, detach and delete need no
cache. So a failure to open it is only logged, and the driver tries again until it succeeds.

    open()       at the backend's start, and periodically until it succeeds
    cache        the running cache, or None
    failure      why it is not open, or None
    close()      at the end, and before a restart
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from oslo_log import log as logging

from vmdk_cache import errors, wiring
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

#: Pause between two attempts. The session itself repeats a refused log-in less often.
RETRY_S = 60.0


class CacheConnection:
    """Opens the cache of one backend; thread-safe."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._build: Callable[[], wiring.RunningCache] | None = None
        self._is_enabled: Callable[[], bool] = lambda: False
        self._cache: wiring.RunningCache | None = None
        self._failure: errors.VmdkCacheError | None = None

    @property
    def cache(self) -> wiring.RunningCache | None:
        """The running cache; None before :meth:`start`, after a failure and after :meth:`close`."""
        return self._cache

    @property
    def failure(self) -> errors.VmdkCacheError | None:
        """The error of the last attempt; None if it succeeded."""
        return self._failure

    def start(
        self, build: Callable[[], wiring.RunningCache], is_enabled: Callable[[], bool]
    ) -> None:
        """Make the first attempt; :meth:`open` makes the others.

        :param build: connects to vCenter, see :func:`vmdk_cache.wiring.build`
        :param is_enabled: whether volumes can use the cache; if not, it only counts and deletes
            templates
        """
        self.close()
        with self._lock:
            self._build, self._is_enabled = build, is_enabled
        self.open()

    def open(self) -> None:
        """Open the cache if it is not open. Never raises: failures are logged."""
        with self._lock:
            if self._build is None or self._cache is not None:
                return
            before = self._failure
            try:
                self._cache = self._build()
            except Exception as failure:
                self._failure = _as_ours(failure)
                if before is None or not _is_same(before, self._failure):
                    self._log(self._failure)
                return
            self._failure = None
        if before is not None:
            LOG.info("The image cache of backend %s is available again", self._backend)

    def close(self) -> None:
        """Log out of vCenter; safe to call twice."""
        with self._lock:
            cache, self._cache, self._build, self._failure = self._cache, None, None, None
        if cache is not None:
            cache.close()

    def _log(self, failure: errors.VmdkCacheError) -> None:
        """Log each cause once, because the attempts continue while it lasts."""
        if self._is_enabled():
            LOG.error(
                "The image cache of backend %s is not available: %s. Volumes bypass it meanwhile "
                "(bypass: cache-unavailable). Correct the problem; the next attempt is in %d s, a "
                "restart is not necessary.",
                self._backend,
                failure,
                RETRY_S,
            )
        else:
            LOG.warning(
                "Left-over image templates of backend %s are neither counted nor purged: %s",
                self._backend,
                failure,
            )


def _as_ours(failure: Exception) -> errors.VmdkCacheError:
    """The error in this package's terms. A bug in the cache must not stop the backend; the
    traceback is logged."""
    if isinstance(failure, errors.VmdkCacheError):
        return failure
    LOG.debug("The image cache cannot be opened", exc_info=True)
    return errors.VmdkCacheError(f"bug in the image cache: {sentence(repr(failure))}")


def _is_same(before: errors.VmdkCacheError, failure: errors.VmdkCacheError) -> bool:
    """Whether two attempts failed for the same cause. The text of a refused log-in varies, because
    it includes the pause."""
    if isinstance(failure, errors.LoginRefused):
        return isinstance(before, errors.LoginRefused)
    return str(before) == str(failure)
