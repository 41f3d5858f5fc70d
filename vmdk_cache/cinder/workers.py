"""The workers of cinder-volume: how many requests it serves concurrently, and how many may import.

A volume that waits for its clone or for an import occupies a worker of oslo.messaging. A driver
cannot wait anywhere else, because the return of ``clone_image`` decides the fate of the volume. If
all workers are waiting, an attach request waits as well and fails after ``rpc_response_timeout``.
So cinder-volume needs more workers than volumes are created at once.

A waiting worker costs little, but a plain import costs bandwidth and memory. The number of
concurrent plain imports is limited to the number of workers of a service without the cache.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import oslo_messaging.opts
from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

OPTION = "executor_thread_pool_size"
#: Number of volumes that can be created at once without delaying other operations.
BURST = 500
#: How long a plain import waits for others; after that it starts anyway.
IMPORT_WITHIN_S = 24 * 3600.0


class Workers:
    """The workers of this process; thread-safe. There is no limit before :meth:`limit`.

    :ivar option: oslo.messaging's definition of the option
    :ivar usual: oslo.messaging's default, the number of workers of a service without the cache
    :ivar wanted: enough for a burst, and the usual number for everything else
    """

    def __init__(self) -> None:
        self.option = _option()
        self.usual: int = self.option.default
        self.wanted = BURST + self.usual
        self._lock = threading.Lock()
        self._count: int | None = None  # once it is known
        self._creating = 0
        self._warned = False
        self._importing: threading.BoundedSemaphore | None = None

    def provide(self, conf: cfg.ConfigOpts) -> None:
        """Raise the option's default; the operator's value wins. Then :meth:`limit`.

        It takes effect for RPC servers created later. Cinder creates its server in
        ``cinder.service.Service.start``, after ``do_setup``.
        """
        self._register(conf)
        oslo_messaging.opts.set_defaults(conf, executor_thread_pool_size=self.wanted)
        self.limit(conf)

    def limit(self, conf: cfg.ConfigOpts) -> None:
        """Limit imports from now on, and log a warning, once, if there are too few workers.

        Enabling the cache while the service runs does not change the number of workers.
        """
        self._register(conf)
        with self._lock:
            if self._count is not None:
                return
            self._count = conf[OPTION]
            self._importing = threading.BoundedSemaphore(self.usual)
        if self._count < self.wanted:
            LOG.warning(
                "[DEFAULT] %s is %d. If more volumes than that are created from images at once, "
                "attaching, detaching and deleting volumes has to wait until some of them are "
                "done. For bursts of up to %d volumes, remove the option or set it to %d or more, "
                "then restart cinder-volume.",
                OPTION,
                self._count,
                BURST,
                self.wanted,
            )

    def _register(self, conf: cfg.ConfigOpts) -> None:
        with contextlib.suppress(cfg.DuplicateOptError):  # the same option, defined differently
            conf.register_opt(self.option)

    @contextlib.contextmanager
    def creating(self) -> Iterator[None]:
        """A block that creates a volume from an image; logs a warning, once, if no worker is
        left."""
        with self._lock:
            self._creating += 1
            is_full = self._count is not None and self._creating >= self._count
            warns, self._warned = is_full and not self._warned, self._warned or is_full
        if warns:
            LOG.warning(
                "All %d workers of this service are creating volumes from images: attaching, "
                "detaching and deleting volumes has to wait. To avoid this, raise [DEFAULT] %s.",
                self._count,
                OPTION,
            )
        try:
            yield
        finally:
            with self._lock:
                self._creating -= 1
                if self._creating == 0:
                    self._warned = False

    @contextlib.contextmanager
    def importing(self) -> Iterator[bool]:
        """A block with a plain import; it waits while too many others run. Yields whether it had to
        wait."""
        semaphore = self._importing
        is_acquired = semaphore is None or semaphore.acquire(blocking=False)
        has_waited = not is_acquired
        if semaphore is not None and has_waited:
            is_acquired = semaphore.acquire(timeout=IMPORT_WITHIN_S)
        try:
            yield has_waited
        finally:
            if semaphore is not None and is_acquired:
                semaphore.release()


def _option() -> cfg.Opt:
    """The option as oslo.messaging registers it with its servers."""
    (found,) = (
        option
        for group, options in oslo_messaging.opts.list_opts()
        for option in options
        if group is None and option.name == OPTION
    )
    return found
